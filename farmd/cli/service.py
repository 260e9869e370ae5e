"""The daemon as a service: until SIGTERM or Ctrl-C, with its API; tells systemd when it is ready."""

from __future__ import annotations

import asyncio
import gc
import signal

import structlog

from farmd.api import HttpServer
from farmd.app import Setup, run_farm
from farmd.cli.door import make_door, served
from farmd.cli.watchdog import feed, tell_systemd, watchdog_s
from farmd.config import Config
from farmd.daemon.pauses import spare_pauses
from farmd.daemon.plan_seats import ServiceSeats
from farmd.daemon.planner_process import PlannerProcess
from farmd.daemon.service import Service
from farmd.driver import offload
from farmd.logging import set_up_logging
from farmd.store import DataLock

log = structlog.get_logger("farmd")


def serve(config: Config) -> None:
    """Run the farm until it is told to stop. Raises what `run_farm` raises."""
    set_up_logging()
    # First of all: who has the farm is told before a port is tried or a machine is touched.
    with DataLock(config.farm.data_dir) as lock:
        asyncio.run(_serve(config, lock))


async def _serve(config: Config, lock: DataLock) -> None:
    planner = config.planner
    planners = PlannerProcess(
        policy="plan",
        budget_s=planner.budget_s,
        stability_price_s=planner.stability_price_s,
        seats=ServiceSeats(planner.socket) if planner.socket else None,
    )
    # A port that is taken is told before a machine is touched.
    door = await offload(lambda: make_door(config))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    async def body(service: Service) -> None:
        async with served(service, config, door) as server:
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
        await run_farm(Setup(config, planners, lock=lock), body)
    finally:
        door.listener.close()
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
