"""The simulated machine's truth on disk, so that it outlives the daemon that talks to it.

`NAME.json` is the machine's whole state, replaced atomically; since a state says what will be due
and when, whoever reads it later finds the machine having gone on. `NAME.starts` gets one JSON line
for every START that reached the machine, taken or not: tests count them. Knows no driver.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from farmd.driver import Finished
from farmd.model.machine import Fault
from farmd.model.work import Outcome, Place

from .state import Answer, Phase, SimulatedRun, Truth


@dataclass(frozen=True, slots=True)
class ReceivedStart:
    """One line of the starts file."""

    at: float
    run_id: str
    fence: int
    answer: Answer


class TruthFiles:
    """The two files of one machine in `folder`, which is made when it is missing."""

    def __init__(self, folder: Path, machine: str, *, fsync: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._state = folder / f"{machine}.json"
        self._starts = folder / f"{machine}.starts"
        self._fsync = fsync

    def load(self) -> Truth | None:
        """The state last written; None when the machine has never been."""
        try:
            text = self._state.read_text()
        except FileNotFoundError:
            return None
        return _truth(json.loads(text))

    def save(self, truth: Truth) -> None:
        """Replaces the state; a reader sees the old one or the new one, never a half."""
        fresh = self._state.with_name(f"{self._state.name}.{os.getpid()}")
        with fresh.open("w") as file:
            json.dump(asdict(truth), file)
            if self._fsync:
                file.flush()
                os.fsync(file.fileno())
        fresh.replace(self._state)

    def log_start(self, start: ReceivedStart) -> None:
        """Appends one line in one write."""
        line = json.dumps(asdict(start)) + "\n"
        handle = os.open(self._starts, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, line.encode())
            if self._fsync:
                os.fsync(handle)
        finally:
            os.close(handle)

    def starts(self) -> tuple[ReceivedStart, ...]:
        """Every START that has reached the machine, oldest first."""
        try:
            lines = self._starts.read_text().splitlines()
        except FileNotFoundError:
            return ()
        rows = map(json.loads, lines)
        return tuple(ReceivedStart(**{**row, "answer": Answer(row["answer"])}) for row in rows)


def _truth(row: dict[str, Any]) -> Truth:
    return Truth(
        **{
            **row,
            "phase": Phase(row["phase"]),
            "run": None if row["run"] is None else SimulatedRun(**row["run"]),
            "history": tuple(_finished(entry) for entry in row["history"]),
            "fault": None if row["fault"] is None else Fault(**row["fault"]),
        }
    )


def _finished(row: dict[str, Any]) -> Finished:
    place = None if row["place"] is None else Place(**row["place"])
    return Finished(**{**row, "outcome": Outcome(row["outcome"]), "place": place})
