"""What the driver remembers of its runs on disk, so that its history is an authority.

A run is written down before the first byte of it is sent, and its place every few seconds while it is
fed. After a restart, a run that was open has failed at that place, and a run that is not in here never
began. One small JSON file, replaced as a whole. Knows no link and no machine. May block for a moment,
and raises `OSError` where the disk fails.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from farmd.driver import Finished
from farmd.model.errors import ErrorCode, MachineFault, Refused
from farmd.model.work import Outcome, Place

RUNS_KEPT = 20
RUN_LOG_UNWRITABLE = ErrorCode(
    "run-log-unwritable",
    "the driver cannot write down the run, so it does not begin it",
    "make room on the disk of the data folder, and let the service write there",
)
CUT_OFF = "farmd ended while it was feeding this run"

RUN_LOG_DAMAGED = ErrorCode(
    "run-log-damaged",
    "the driver's record of its runs cannot be read, so it cannot tell what was started",
    "look at the machine's bed, then move the file away",
)


class RunLog:
    """The runs of one machine, in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "runs.json"
        self._ended: list[dict[str, Any]] = []
        self._open: dict[str, Any] | None = None

    def history(self) -> tuple[Finished, ...]:
        """The last runs that are over, newest last."""
        return tuple(_finished(entry) for entry in self._ended)

    def load(self) -> None:
        """Read what is on disk; a run left open has failed. Raises `MachineFault`."""
        try:
            stored = json.loads(self._path.read_bytes())
            self._ended = stored["ended"]
            self._open = stored["open"]
            if self._open is not None:
                self._ended.append({**self._open, "outcome": Outcome.FAILED, "reason": CUT_OFF})
                self._open = None
            self.history()
        except FileNotFoundError:
            self._ended, self._open = [], None
        except (ValueError, KeyError, TypeError) as error:
            raise MachineFault(RUN_LOG_DAMAGED, str(error), where=str(self._path)) from error

    def begin(self, run_id: str) -> None:
        """The run is about to be sent; on disk when this returns. Raises `Refused`."""
        self._open = {"run_id": run_id, "place": None}
        try:
            self._write(durable=True)
        except OSError as error:
            self._open = None
            raise Refused(RUN_LOG_UNWRITABLE, str(error), where=str(self._path)) from error

    def forget(self) -> None:
        """Nothing of the run just begun was sent."""
        self._open = None
        self._write(durable=True)

    def at(self, place: Place) -> None:
        """How far the open run is."""
        if self._open is not None:
            self._open["place"] = asdict(place)
            self._write(durable=False)

    def end(self, outcome: Outcome, reason: str, place: Place | None, used_g: float) -> None:
        """The open run is over."""
        if self._open is not None:
            self._open["place"] = None if place is None else asdict(place)
            self._ended.append({**self._open, "outcome": outcome, "reason": reason, "used_g": used_g})
            self._open = None
            self._write(durable=False)

    def _write(self, *, durable: bool) -> None:
        self._ended = self._ended[-RUNS_KEPT:]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_suffix(".new")
        with fresh.open("w") as file:
            json.dump({"ended": self._ended, "open": self._open}, file)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        fresh.replace(self._path)
        if durable:
            folder = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def _finished(entry: dict[str, Any]) -> Finished:
    place = entry["place"]
    return Finished(
        entry["run_id"],
        Outcome(entry["outcome"]),
        entry["reason"],
        None if place is None else Place(**place),
        entry.get("used_g", 0.0),
    )
