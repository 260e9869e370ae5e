"""What the driver remembers on disk of runs that the machine prints from its own card.

`card.json` is durable: which file name belongs to which run, before its first byte is sent, and that it is
to be printed, before it is; and which files of ours may be on the card still. `card-map.json` has where in the
sliced file each part of the stored one belongs, written once before the print. `card-seen.json` is expendable:
how far the print was. A run that is open here may be going on while nobody looks.

Changes are made at once, by one thread; `save`, `save_map` and `save_seen` may block and be called from any
other. Knows no link and no machine.
"""

from __future__ import annotations

import json
import threading
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from farmd.model.errors import ErrorCode, MachineFault, Refused
from farmd.model.work import Place
from farmd_drivers.marlin.runlog import RUN_LOG_DAMAGED, write_whole
from farmd_drivers.marlin.wire.card import card_name

NAMES_KEPT = 200
MARK_LINES = 64
"""A mark for every so many lines: a place is told that exactly, and in between in proportion."""
CARD_NAME_TAKEN = ErrorCode(
    "card-name-taken",
    "the name that the run's file would get on the machine's card is that of another run",
    "submit the job again: its next run gets another id, and another name",
)


@dataclass(slots=True)
class CardMap:
    """Places in the sliced file, by what had been stored of it: (commands, their bytes without line ends, place)."""

    marks: list[tuple[int, int, Place]] = field(default_factory=list)
    lines: int = 0
    chars: int = 0

    def add(self, command: bytes, place: Place | None) -> None:
        """One more command is stored; with `place`, that is where it stands."""
        if place is not None:
            self.marks.append((self.lines, self.chars, place))
        self.lines += 1
        self.chars += len(command)

    def size(self, line_end: int) -> int:
        """Bytes of the stored file when each line ends with so many."""
        return self.chars + line_end * self.lines

    def place(self, position: int, size: int) -> Place:
        """Where the byte at `position` of the stored file of `size` bytes belongs."""
        line_end = (size - self.chars) / max(1, self.lines)

        def begin(mark: tuple[int, int, Place]) -> float:
            return mark[1] + line_end * mark[0]

        index = bisect_right(self.marks, float(position), key=begin) - 1
        if index < 0:
            return Place(line=0, byte=0, fraction=0.0)
        before = self.marks[index][2]
        if index + 1 == len(self.marks):
            return before
        after = self.marks[index + 1][2]
        first, next_one = begin(self.marks[index]), begin(self.marks[index + 1])
        share = (position - first) / max(1.0, next_one - first)

        def between(low: float | None, high: float | None) -> float:
            return (low or 0.0) + share * ((high or 0.0) - (low or 0.0))

        return replace(
            before,
            line=int(between(before.line, after.line)),
            byte=int(between(before.byte, after.byte)),
            fraction=min(1.0, between(before.fraction, after.fraction)),
        )

    def content(self) -> dict[str, Any]:
        """As JSON."""
        marks = [[lines, chars, asdict(place)] for lines, chars, place in self.marks]
        return {"marks": marks, "lines": self.lines, "chars": self.chars}

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> CardMap:
        marks = [(int(lines), int(chars), Place(**place)) for lines, chars, place in content["marks"]]
        return cls(marks, int(content["lines"]), int(content["chars"]))


@dataclass(frozen=True, slots=True)
class CardRun:
    """A run on the card. `size` bytes, 0 until it is to be printed; `is_seen`: the machine has shown it printing."""

    run_id: str
    name: str
    mass_g: float = 0.0
    size: int = 0
    is_seen: bool = False
    is_paused: bool = False


@dataclass(frozen=True, slots=True)
class _Kept:
    open: CardRun | None = None
    names: tuple[tuple[str, str], ...] = ()
    left: tuple[str, ...] = ()


class CardLog:
    """The record of one machine's card, in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.map = CardMap()
        """Of the open run."""
        self.position = 0
        """How far the open run was, when that was last known."""
        self._path = folder / "card.json"
        self._map_path = folder / "card-map.json"
        self._seen_path = folder / "card-seen.json"
        self._kept = self._saved = _Kept()
        self._is_loaded = False
        self._lock = threading.Lock()

    @property
    def run(self) -> CardRun | None:
        """The open run: being stored, or begun and not known to be over."""
        return self._kept.open

    @property
    def left(self) -> tuple[str, ...]:
        """Names of files of ours that may be on the card and have no use there."""
        return self._kept.left

    @property
    def is_saved(self) -> bool:
        return self._saved is self._kept

    def knows(self, run_id: str) -> bool:
        """Whether that run was handed to this machine's card before."""
        return any(known == run_id for _, known in self._kept.names)

    def run_of(self, name: str) -> str | None:
        """The run that a file's name was given to."""
        return dict(self._kept.names).get(name.upper())

    # Changes.

    def claim(self, run_id: str, mass_g: float) -> CardRun:
        """Open a run, whose file gets its name; `save` before a byte of it is sent. Raises `Refused`."""
        name = card_name(run_id)
        if (other := self.run_of(name)) is not None:
            raise Refused(CARD_NAME_TAKEN, f"{name} is the file of {other}; nothing was sent")
        run = CardRun(run_id, name, mass_g)
        self.map, self.position = CardMap(), 0
        self._kept = replace(self._kept, open=run, names=(*self._kept.names, (name, run_id))[-NAMES_KEPT:])
        return run

    def change(self, run: CardRun) -> None:
        """The open run is now that."""
        self._kept = replace(self._kept, open=run)

    def close(self, *, is_left: bool = False) -> None:
        """No run is open any more; `is_left`: its file may be on the card still."""
        run = self._kept.open
        if run is not None:
            left = (*self._kept.left, run.name) if is_left else self._kept.left
            self._kept = replace(self._kept, open=None, left=left)

    def tidied(self) -> None:
        """What was left on the card has been removed."""
        if self._kept.left:
            self._kept = replace(self._kept, left=())

    # The disk.

    def load(self) -> None:
        """Read what is on disk, the first time. Raises `MachineFault`."""
        if self._is_loaded:
            return
        try:
            stored = json.loads(self._path.read_bytes())
            run = stored["open"]
            self._kept = self._saved = _Kept(
                None if run is None else CardRun(**run),
                tuple((str(name), str(run_id)) for name, run_id in stored["names"]),
                tuple(str(name) for name in stored["left"]),
            )
            if run is not None and run["size"]:
                self.map = CardMap.of(json.loads(self._map_path.read_bytes()))
        except FileNotFoundError:
            self._kept = self._saved = self._kept
        except (ValueError, KeyError, TypeError) as error:
            raise MachineFault(RUN_LOG_DAMAGED, str(error), where=str(self._path)) from error
        self._load_seen()
        self._is_loaded = True

    def _load_seen(self) -> None:
        try:
            seen = json.loads(self._seen_path.read_bytes())
            if self.run is not None and seen["run_id"] == self.run.run_id:
                self.position = int(seen["position"])
        except (OSError, ValueError, KeyError, TypeError):
            self.position = 0  # it is a second record: the machine tells anew, if it still prints

    def save(self) -> None:
        """On disk when this returns. Raises `OSError`."""
        with self._lock:
            kept = self._kept
            stored = {
                "open": None if kept.open is None else asdict(kept.open),
                "names": kept.names,
                "left": kept.left,
            }
            write_whole(self._path, stored, durable=True)
            self._saved = kept

    def save_map(self) -> None:
        """Write the map of the open run, before it is printed. Raises `OSError`."""
        with self._lock:
            write_whole(self._map_path, self.map.content(), durable=True)

    def save_seen(self) -> None:
        """Write how far the open run is. Raises `OSError`."""
        with self._lock:
            run_id = None if self.run is None else self.run.run_id
            write_whole(self._seen_path, {"run_id": run_id, "position": self.position}, durable=False)
