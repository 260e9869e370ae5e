"""The daemon as a service: until SIGTERM or Ctrl-C, with its API; tells systemd when it is ready."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from zoneinfo import ZoneInfo

import structlog

from farmd.api import Auth, HttpServer, bind, create_app, load_or_create_token
from farmd.app import Setup, run_farm
from farmd.cli.watchdog import feed, tell_systemd, watchdog_s
from farmd.config import Config
from farmd.daemon.pauses import spare_pauses
from farmd.daemon.plan_seats import ServiceSeats
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
        policy="plan",
        budget_s=planner.budget_s,
        stability_price_s=planner.stability_price_s,
        seats=ServiceSeats(planner.socket) if planner.socket else None,
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
            with service.stalls:
                await _until_stopped(service, server, stop)
            tell_systemd("STOPPING=1")

    try:
        await run_farm(Setup(config, planners), body)
    finally:
        listener.close()
        await planners.close()


async def _until_stopped(service: Service, server: HttpServer, stop: asyncio.Event) -> None:
    """Return when `stop` is set; raises what ends the server or the watchdog's feeder."""
    lasting = {asyncio.create_task(server.run(), name="http")}
    if (every_s := watchdog_s()) is not None:
        lasting.add(asyncio.create_task(feed(service, every_s), name="watchdog"))
    stopping = asyncio.create_task(stop.wait(), name="stop")
    ended, _ = await asyncio.wait({*lasting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    for task in {*lasting, stopping} - ended:
        task.cancel()
    for task in ended & lasting:
        task.result()


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
