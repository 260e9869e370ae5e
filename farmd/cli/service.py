"""The daemon as a service: until SIGTERM or Ctrl-C, with its API; tells systemd when it is ready."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from zoneinfo import ZoneInfo

import structlog

from farmd.api import Auth, HttpServer, bind, create_app, load_or_create_token
from farmd.app import Setup, run_farm
from farmd.config import Config
from farmd.daemon.pauses import spare_pauses
from farmd.daemon.planner_process import PlannerProcess
from farmd.daemon.service import Service
from farmd.driver import offload
from farmd.logging import set_up_logging

log = structlog.get_logger("farmd")


def serve(config: Config) -> None:
    """Run the farm until it is told to stop. Raises what `run_farm` raises."""
    set_up_logging()
    asyncio.run(_serve(config))


async def _serve(config: Config) -> None:
    planner = config.planner
    planners = PlannerProcess(
        policy="plan", budget_s=planner.budget_s, stability_price_s=planner.stability_price_s
    )
    # A port that is taken is told before a machine is touched.
    listener = await offload(lambda: bind(config.api.host, config.api.port))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    async def body(service: Service) -> None:
        async with served(service, config, listener) as server:
            spare_pauses()
            log.info("ready", api=server.url, token_file=str(config.api.token_file))
            # What has been made until now lives as long as the daemon: to look through it again and again for
            # garbage would stop the loop for up to some tenths of a second each time.
            gc.collect()
            gc.freeze()
            tell_systemd("READY=1")
            failing = asyncio.create_task(server.run(), name="http")
            stopping = asyncio.create_task(stop.wait(), name="stop")
            await asyncio.wait({failing, stopping}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if failing.done():
                failing.result()
            failing.cancel()
            tell_systemd("STOPPING=1")

    try:
        await run_farm(Setup(config, planners), body)
    finally:
        listener.close()
        await planners.close()


@asynccontextmanager
async def served(
    service: Service, config: Config, listener: socket.socket | None = None
) -> AsyncIterator[HttpServer]:
    """The API of a running farm, at the configured address. Raises `ConfigError`."""
    api = config.api
    token = await offload(lambda: load_or_create_token(api.token_file))
    zone = ZoneInfo(config.farm.timezone)
    app = create_app(service, auth=Auth(token), max_upload_bytes=api.max_upload_mb << 20, zone=zone)
    server = HttpServer(app, api.host, api.port, listener)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def tell_systemd(state: str) -> None:
    """Tell the service manager about our state, where one started us (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    # A manager that has gone away is no reason to stop.
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
        notify.connect(address)
        notify.sendall(state.encode())
