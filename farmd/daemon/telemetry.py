"""Collects what machines measure into minutes, and has them written beside the record now and then.

A value a second from each machine at most; the others are not worth their cost. To note one is a few numbers in
memory. What cannot be written is dropped and told of once: nothing waits for telemetry. Knows no link.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from math import isfinite

import structlog

from farmd.driver import Temperatures, now, offload, sleep
from farmd.store import Rolled, Telemetry, TelemetryFailed

NOTE_S = 1.0
FLUSH_S = 60.0
FORGET_S = 3600.0
MOST_WAITING = 100_000
"""Minutes that wait to be written, at most; older ones are dropped first."""

log = structlog.get_logger("telemetry")


@dataclass(slots=True)
class _Minute:
    at: int
    n: int
    low: float
    high: float
    total: float
    last: float


class Collector:
    """Takes values from the loop, and writes minutes off it."""

    def __init__(self, file: Telemetry, writer: Executor, *, minutes_days: float, hours_days: float) -> None:
        self._file = file
        self._writer = writer
        self._minutes_days = minutes_days
        self._hours_days = hours_days
        self._noted: dict[tuple[str, str], float] = {}
        self._open: dict[tuple[str, str], _Minute] = {}
        self._done: list[Rolled] = []
        self._failed = False

    def note(self, machine: str, kind: str, values: Mapping[str, float]) -> None:
        """Values of one moment; `kind` tells events of a machine apart that come by themselves."""
        at = now()
        if abs(at - self._noted.get((machine, kind), 0.0)) < NOTE_S:
            return
        self._noted[machine, kind] = at
        minute = int(at // 60) * 60
        for measure, value in values.items():
            if not isfinite(value):
                continue
            known = self._open.get((machine, measure))
            if known is None or known.at != minute:
                if known is not None:
                    self._done.append(_rolled(machine, measure, known))
                self._open[machine, measure] = _Minute(minute, 1, value, value, value, value)
                continue
            known.n += 1
            known.low, known.high = min(known.low, value), max(known.high, value)
            known.total += value
            known.last = value

    def note_temperatures(self, machine: str, read: Temperatures) -> None:
        values = {f"{name}.actual_c": value for name, value in read.actual_c.items()}
        self.note(
            machine, "heat", values | {f"{name}.target_c": value for name, value in read.target_c.items()}
        )

    async def run(self) -> None:
        """Write what is complete, for ever; what is open when it ends, too."""
        forget_at = 0.0
        try:
            while True:
                await self.flush()
                if now() >= forget_at:
                    forget_at = now() + FORGET_S
                    await self._tried_forget()
                await sleep(FLUSH_S)
        finally:
            self._close_minutes(float("inf"))
            minutes, self._done = self._done, []
            self._write(minutes)

    async def flush(self) -> None:
        self._close_minutes(now() - 60.0)
        minutes, self._done = self._done[-MOST_WAITING:], []
        if minutes:
            await offload(lambda: self._write(minutes), self._writer)

    def _close_minutes(self, before: float) -> None:
        for key in [key for key, minute in self._open.items() if minute.at <= before]:
            self._done.append(_rolled(*key, self._open.pop(key)))

    def _write(self, minutes: list[Rolled]) -> None:
        try:
            self._file.add(minutes)
        except TelemetryFailed as error:
            self._fail(error)
        else:
            self._failed = False

    async def _tried_forget(self) -> None:
        at = now()
        try:
            await offload(lambda: self._file.forget(at, self._minutes_days, self._hours_days), self._writer)
        except TelemetryFailed as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        if not self._failed:
            log.warning("telemetry not written", why=str(error))
        self._failed = True


def _rolled(machine: str, measure: str, minute: _Minute) -> Rolled:
    return Rolled(machine, measure, minute.at, minute.n, minute.low, minute.high, minute.total, minute.last)
