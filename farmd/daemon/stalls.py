"""Notices when the event loop stands still, and by whose code.

A thread of its own looks at a beat that the loop keeps. It alone can tell what blocks the loop, because nothing on the
loop runs meanwhile. Knows nothing of the farm.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback
from types import FrameType

import structlog

LIMIT_S = 0.25
"""A loop that does not turn for so long is told of (real seconds)."""
BEAT_S = 0.05
DEEPEST = 30
"""So many of the innermost calls are told."""

log = structlog.get_logger("stalls")


class StallWatch:
    """Watches the loop that it is entered on, until it is left."""

    def __init__(self, limit_s: float = LIMIT_S) -> None:
        self.count = 0
        """Stalls that are over."""
        self.longest_s = 0.0
        self._limit_s = limit_s
        self._beaten_at = 0.0
        self._stopped = threading.Event()
        self._beat: asyncio.TimerHandle | None = None

    def __enter__(self) -> StallWatch:
        self._keep_beat(asyncio.get_running_loop())
        loop_thread = threading.get_ident()
        threading.Thread(target=self._watch, args=(loop_thread,), name="stalls", daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopped.set()
        if self._beat is not None:
            self._beat.cancel()

    def _keep_beat(self, loop: asyncio.AbstractEventLoop) -> None:
        self._beaten_at = time.monotonic()
        self._beat = loop.call_later(BEAT_S, self._keep_beat, loop)

    def _watch(self, loop_thread: int) -> None:
        while not self._stopped.wait(self._limit_s / 2):
            beaten_at = self._beaten_at
            if time.monotonic() - beaten_at < self._limit_s + BEAT_S:
                continue
            where = stack_of(sys._current_frames().get(loop_thread))
            log.warning("the loop stands still", after_s=self._limit_s, where=where)
            while self._beaten_at == beaten_at and not self._stopped.wait(BEAT_S):
                pass
            stalled_s = time.monotonic() - beaten_at
            self.count += 1
            self.longest_s = max(self.longest_s, stalled_s)
            log.warning("the loop goes on", stalled_s=round(stalled_s, 3))


def stack_of(frame: FrameType | None) -> list[str]:
    """Calls as "file:line function", the innermost last."""
    if frame is None:
        return []
    found = traceback.extract_stack(frame)[-DEEPEST:]
    return [f"{each.filename}:{each.lineno} {each.name}" for each in found]
