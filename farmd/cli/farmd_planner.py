"""`farmd planner`: the planner as a service of its own."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    @app.command()
    def planner(
        socket: Annotated[
            Path,
            typer.Option("--socket", metavar="PATH", help="Where the daemon finds it.", show_default=False),
        ],
    ) -> None:
        """Plan for a daemon that names this socket in [planner] socket, until SIGTERM or Ctrl-C.

        It needs no network, no configuration and no data; only its own user and root are served.
        A daemon that cannot reach it starts workers of its own until it can.

        \b
        farmd planner --socket /run/farmd-planner/planner.sock
        """
        from farmd.logging import set_up_logging

        set_up_logging()
        asyncio.run(_serve(socket))


async def _serve(path: Path) -> None:
    from farmd.cli.watchdog import tell_systemd
    from farmd.daemon.plan_service import PlanService

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    service = PlanService(path)
    await service.start()
    tell_systemd("READY=1")
    try:
        await stop.wait()
    finally:
        tell_systemd("STOPPING=1")
        await service.close()
