"""What `farmd demo` shows: the live view of `farmctl top`, fed by the demo's own API."""

from __future__ import annotations

import asyncio
import shutil
import signal
import tempfile
import threading
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console

import farmd
from farmd.api import load_or_create_token
from farmd.cli.client import Client
from farmd.cli.door import served
from farmd.cli.screen import Screen, frame_from
from farmd.config import Config
from farmd.daemon.service import Service
from farmd.driver import offload
from farmd.logging import set_up_logging
from farmd.sim.demo import DemoRequest, demo

REFRESH_S = 0.25


def shop_file(name: str) -> Path:
    """A shop that comes with farmd: from the installed package, else from the source tree."""
    package = Path(farmd.__file__).parent
    installed = package / "_data" / "shops" / name
    return installed if installed.exists() else package.parent / "config" / "shops" / name


def show(*, speed: float | None, until_done: bool, quiet: bool, seed: int, listen: str) -> dict[str, Any]:
    """Run the demo to its end and return its summary; with `quiet` nothing is drawn.

    Its folder is kept, and named in the summary, when something in it does not agree.
    """
    folder = Path(tempfile.mkdtemp(prefix="farmd-demo-"))
    with (folder / "demo.log").open("w", encoding="utf-8") as stream:
        set_up_logging("info", stream)
        request = DemoRequest(
            shop_file("demo-25.toml"),
            folder,
            speed=speed,
            until_done=until_done,
            seed=seed,
            listen=listen,
        )
        console = Console(stderr=quiet)
        summary = asyncio.run(_show(request, None if quiet or not console.is_terminal else console))
    if disagreement(summary):
        summary["folder"] = str(folder)
    else:
        shutil.rmtree(folder)
    return summary


def disagreement(summary: dict[str, Any]) -> str:
    """What is wrong in a demo's summary; empty when all of it agrees."""
    if not summary["journal_agrees"]:
        return "the parts counted are not those of the journal"
    wrong = [name for name, told in summary["serial"].items() if not told["exact"]]
    return f"{wrong[0]} executed other commands than its files have" if wrong else ""


async def _show(request: DemoRequest, console: Console | None) -> dict[str, Any]:
    end = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end.set)

    async def face(service: Service, config: Config) -> None:
        async with served(service, config) as server:
            token = load_or_create_token(config.api.token_file)
            if console is not None:
                await offload(lambda: _draw(server.url, token, console, end, loop, gone))
            await asyncio.Event().wait()

    gone = threading.Event()
    try:
        return await demo(request, face, end)
    finally:
        gone.set()


def _draw(
    url: str,
    token: str,
    console: Console,
    end: asyncio.Event,
    loop: asyncio.AbstractEventLoop,
    gone: threading.Event,
) -> None:
    """In a thread of its own: the view is a client like any other."""
    frame = None
    with Client(url, token) as client, Screen(console) as screen:
        while not gone.is_set():
            frame = frame_from(client, datetime.now().astimezone(), frame)
            screen.show(frame)
            if screen.wait(REFRESH_S):
                loop.call_soon_threadsafe(end.set)
                return
