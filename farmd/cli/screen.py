"""The terminal of the live view: the whole screen while it lasts, and the keys that end it.

`Screen` is for one thread; `wait` sleeps, `ended` never does, so an event loop can use it too.
"""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.live import Live

from farmd.cli.errors import NoDaemon
from farmd.cli.live import Frame, render
from farmd.cli.text import since_time

if TYPE_CHECKING:
    from farmd.cli.client import Client

JOBS = 200


class Screen:
    """Shows frames on the whole terminal between `with` and its end, then gives the terminal back."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, screen=True, auto_refresh=False)
        self._before: list[Any] | None = None

    def __enter__(self) -> Self:
        if sys.stdin.isatty():
            self._before = termios.tcgetattr(sys.stdin)
            # Keys come at once and unseen; Ctrl-C still interrupts.
            tty.setcbreak(sys.stdin)
        self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._live.stop()
        if self._before is not None:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._before)

    def show(self, frame: Frame) -> None:
        """Draw the frame in the size that the terminal has now."""
        width, height = self._console.size
        self._live.update(render(frame, width, height), refresh=True)

    def wait(self, seconds: float) -> bool:
        """Sleep so long, or until somebody presses q; True for q."""
        if self._before is None:
            select.select([], [], [], seconds)
            return False
        ready, _, _ = select.select([sys.stdin], [], [], seconds)
        return bool(ready) and b"q" in os.read(sys.stdin.fileno(), 64).lower()

    def ended(self) -> bool:
        """Whether somebody has pressed q. Does not wait."""
        return self.wait(0.0)


def frame_from(client: Client, now: datetime, before: Frame | None = None) -> Frame:
    """A frame from the API. When the daemon is lost, the frame `before` with a notice, if there is one."""
    try:
        farm = client.get("farm")
        today = since_time(None, datetime.fromisoformat(farm["now"]))
        return Frame(
            farm=farm,
            machines=client.get("machines")["machines"],
            jobs=client.get("jobs", state="open", limit=JOBS)["jobs"],
            tasks=client.get("next")["tasks"],
            throughput=client.get("throughput", since=today),
        )
    except NoDaemon as error:
        if before is None:
            raise
        return replace(before, notice=f"{error.code.name}: {error.what}, since {now:%H:%M:%S}")
