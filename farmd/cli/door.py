"""The way into a running farm: its API at an address and on the local socket, and who may come in.

Puts the API together from the configuration; the service and the demo open it. Knows no route.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import structlog

from farmd.api import (
    Auth,
    Certificate,
    HttpServer,
    Limits,
    PeerRoles,
    bind,
    create_app,
    keep_fresh,
    listen_locally,
    load_or_create_token,
    peer_roles,
    sees_all_accounts,
    sha256_of_token,
)
from farmd.config import Config
from farmd.daemon.keys import Keys
from farmd.daemon.service import Service
from farmd.driver import offload

log = structlog.get_logger("farmd")


@dataclass(frozen=True, slots=True)
class Door:
    """What can be wrong with the way in is found when it is made, before a machine is touched."""

    listener: socket.socket
    peers: PeerRoles
    certificate: Certificate | None


def make_door(config: Config) -> Door:
    """Raises `ConfigError`. The listener is the caller's to close."""
    api = config.api
    peers = peer_roles(api.socket_users, api.socket_groups)
    certificate = None
    if api.tls_cert is not None and api.tls_key is not None:
        certificate = Certificate(api.tls_cert, api.tls_key)
    return Door(bind(api.host, api.port), peers, certificate)


@asynccontextmanager
async def served(service: Service, config: Config, door: Door | None = None) -> AsyncIterator[HttpServer]:
    """The API of a running farm, at the configured address. Raises `ConfigError`."""
    api = config.api
    if door is None:
        door = await offload(lambda: make_door(config))
    await _take_first_token(service, config)
    if door.certificate is None and not _is_here(api.host):
        log.warning("the API speaks plain HTTP to other computers", listen=api.listen)
    app = create_app(
        service,
        auth=Auth(service.ledger, door.peers),
        max_upload_bytes=api.max_upload_mb << 20,
        zone=ZoneInfo(config.farm.timezone),
        limits=Limits(api.requests_per_s),
        certificate=door.certificate,
    )
    path = config.socket_path
    if (api.socket_users or api.socket_groups) and not sees_all_accounts():
        log.warning(
            "users of the local socket cannot be told apart here; see `PrivateUsers` in docs/OPERATIONS.md"
        )
    to_all = bool(api.socket_users or api.socket_groups)
    local = await offload(lambda: listen_locally(path, to_all=to_all))
    tls = door.certificate.context if door.certificate is not None else None
    server = HttpServer(app, api.host, api.port, door.listener, tls=tls, local=local)
    await server.start()
    renewing = asyncio.create_task(keep_fresh(door.certificate), name="tls") if door.certificate else None
    try:
        yield server
    finally:
        if renewing is not None:
            renewing.cancel()
        await server.stop()
        local.close()
        with suppress(OSError):
            path.unlink()


async def _take_first_token(service: Service, config: Config) -> None:
    secret = await offload(lambda: load_or_create_token(config.api.token_file))
    first = await Keys(service.ledger).take_first(sha256_of_token(secret))
    if first.revoked_at is not None:
        log.info("the token in the token file has been revoked", token_file=str(config.api.token_file))


def _is_here(host: str) -> bool:
    """Whether an address is this computer's alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
