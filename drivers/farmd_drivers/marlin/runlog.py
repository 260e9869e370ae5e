"""What the driver remembers on disk, so that its history is an authority and its absence is known.

`runs.json` is durable: a run is written down before the first byte of it is sent, and again when it is
over. After a restart, a run that was open has failed, and a run that is not in here never began. It also
keeps whether the machine was left with heaters that may be on. `seen.json` is expendable: when the machine
last answered, and how far the open run was then; it is replaced every few seconds and never synced.

Changes of the state are made at once, by one thread; `save` and `save_seen` may block and be called from
any other, and always write the newest state. Knows no link and no machine.
"""

from __future__ import annotations

import json
import os
import threading
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from farmd.driver import Finished
from farmd.model.errors import ErrorCode, MachineFault
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


@dataclass(frozen=True, slots=True)
class _Runs:
    """`hot`: the heaters may have been left on. `broke_off`: where the last run did, if that is known exactly.
    `displaced`: the head is not, for certain, where the last line of the last run has brought it."""

    ended: tuple[Finished, ...] = ()
    open: str | None = None
    hot: bool = False
    broke_off: Place | None = None
    displaced: bool = False


@dataclass(frozen=True, slots=True)
class _Seen:
    """`at` in seconds since the epoch; None: never. `is_known` False: it was written and cannot be read."""

    at: float | None = None
    run_id: str | None = None
    place: Place | None = None
    is_known: bool = True


class RunLog:
    """The record of one machine, in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._runs_path = folder / "runs.json"
        self._seen_path = folder / "seen.json"
        self._runs = self._saved = _Runs()
        self._seen = _Seen()
        self._is_loaded = False
        self._was_displaced = False
        self._lock = threading.Lock()

    @property
    def history(self) -> tuple[Finished, ...]:
        """The last runs that are over, newest last."""
        return self._runs.ended

    @property
    def is_hot(self) -> bool:
        """A run was left in such a way that the heaters may be on still."""
        return self._runs.hot

    @property
    def broke_off(self) -> Place | None:
        """The exact place at which the last run failed; None when it did not, or nobody knows."""
        return self._runs.broke_off

    @property
    def is_displaced(self) -> bool:
        """The head may have been moved away from where the last run has brought it."""
        return self._runs.displaced

    @property
    def is_saved(self) -> bool:
        """Whether `runs.json` has the newest state."""
        return self._saved is self._runs

    def knows(self, run_id: str) -> bool:
        """Whether that run was begun here before, as far as is remembered."""
        return self._runs.open == run_id or any(past.run_id == run_id for past in self._runs.ended)

    def was_away(self, now: float, grace_s: float) -> bool:
        """Whether the machine was out of sight for longer than that, by wall time.

        A clock that went back, or a record that cannot be read, accounts for nothing. A machine never
        seen before was not away.
        """
        at = self._seen.at
        return not self._seen.is_known or (at is not None and not 0.0 <= now - at <= grace_s)

    # Changes.

    def begin(self, run_id: str, *, elsewhere: bool = False) -> None:
        """The run is about to be sent; `save` before it is. `elsewhere`: the head has a way to go before."""
        self._was_displaced = self._runs.displaced
        self._runs = replace(self._runs, open=run_id, hot=True, displaced=elsewhere)

    def forget(self) -> None:
        """Nothing of the run just begun was sent."""
        self._runs = replace(self._runs, open=None, hot=False, displaced=self._was_displaced)

    def displace(self) -> None:
        """The head is about to be moved by others than the lines of a file."""
        if not self._runs.displaced:
            self._runs = replace(self._runs, displaced=True)

    def overrun(self) -> None:
        """Somebody else prints: what the last run has left is not there any more."""
        self._runs = replace(self._runs, broke_off=None, displaced=True)

    def arrive(self) -> None:
        """The head is where the lines of the open run have brought it."""
        if self._runs.displaced:
            self._runs = replace(self._runs, displaced=False)

    def end(self, outcome: Outcome, reason: str, place: Place | None, used_g: float) -> None:
        """The open run is over. One that was not fed to its end may have left the heaters on."""
        if self._runs.open is not None:
            finished = Finished(self._runs.open, outcome, reason, place, used_g)
            hot = outcome is Outcome.FAILED
            ended = (*self._runs.ended, finished)[-RUNS_KEPT:]
            broke_off = place if outcome is Outcome.FAILED else None
            self._runs = _Runs(ended, None, hot, broke_off, self._runs.displaced)

    def note(self, finished: Finished) -> None:
        """A run that was not fed by us is over; where it has left the head is not known."""
        ended = (*self._runs.ended, finished)[-RUNS_KEPT:]
        self._runs = replace(self._runs, ended=ended, broke_off=None, displaced=True)

    def cooled(self) -> None:
        """The heaters were switched off, and the machine has said so."""
        if self._runs.hot and self._runs.open is None:
            self._runs = replace(self._runs, hot=False)

    def saw(self, at: float, place: Place | None) -> None:
        """The machine answers; `place` is how far the open run is."""
        self._seen = _Seen(at, self._runs.open, place)

    # The disk.

    def load(self) -> None:
        """Read what is on disk, the first time; a run left open has failed. Raises `MachineFault`."""
        if self._is_loaded:
            return
        seen = self._load_seen()
        left_open = False
        try:
            stored = json.loads(self._runs_path.read_bytes())
            ended = tuple(_finished(entry) for entry in stored["ended"])
            hot = bool(stored["hot"])
            broke_off = stored.get("broke_off")
            displaced = bool(stored.get("displaced", True))
            if left_open := (run_id := stored["open"]) is not None:
                place = seen.place if seen.run_id == run_id else None
                ended = (*ended, Finished(str(run_id), Outcome.FAILED, CUT_OFF, place))
                broke_off = None  # that place is of some time before
            self._runs = _Runs(ended, None, hot, None if broke_off is None else Place(**broke_off), displaced)
        except FileNotFoundError:
            self._runs = _Runs()
        except (ValueError, KeyError, TypeError) as error:
            raise MachineFault(RUN_LOG_DAMAGED, str(error), where=str(self._runs_path)) from error
        self._seen, self._is_loaded = seen, True
        if not left_open:
            self._saved = self._runs

    def _load_seen(self) -> _Seen:
        try:
            stored = json.loads(self._seen_path.read_bytes())
            place = stored["place"]
            return _Seen(float(stored["at"]), stored["run_id"], None if place is None else Place(**place))
        except FileNotFoundError:
            return _Seen()
        except (ValueError, KeyError, TypeError):
            return _Seen(is_known=False)

    def save(self) -> None:
        """Write down the runs; on disk when this returns. Raises `OSError`."""
        with self._lock:
            runs = self._runs
            stored = {
                "ended": [asdict(past) for past in runs.ended],
                "open": runs.open,
                "hot": runs.hot,
                "broke_off": None if runs.broke_off is None else asdict(runs.broke_off),
                "displaced": runs.displaced,
            }
            write_whole(self._runs_path, stored, durable=True)
            self._saved = runs

    def save_seen(self) -> None:
        """Write down when the machine answered last. Raises `OSError`."""
        with self._lock:
            seen = self._seen
            place = None if seen.place is None else asdict(seen.place)
            write_whole(
                self._seen_path, {"at": seen.at, "run_id": seen.run_id, "place": place}, durable=False
            )


def write_whole(path: Path, content: dict[str, Any], *, durable: bool) -> None:
    """Replace a file by this, whole or not at all. Raises `OSError`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    with fresh.open("w") as file:
        json.dump(content, file)
        file.flush()
        if durable:
            os.fsync(file.fileno())
    fresh.replace(path)
    if durable:
        folder = os.open(path.parent, os.O_RDONLY)
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
        entry["used_g"],
    )
