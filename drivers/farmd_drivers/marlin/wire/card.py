"""The machine's own card in words: its commands, what the firmware says of it, and the names of our files.

Pure: bytes in, events out; `CardState` is what one link knows of the card. No phases and no runs (those are
in `card_talk`), no time, no file and no device. Facts are from Marlin's `cardreader.cpp`, `queue.cpp` and
`M27.cpp`, 1.1 to 2.1.

Three of them shape everything here. While a file is open for writing (M28 to M29) *every* line with a number
is stored and none is executed, so nothing but lines of the file may be sent, and any line that holds the word
`M29` closes it. Lines are stored without number and checksum and end with CR LF (LF in some derivatives). And
`Not SD printing` is also said of a print that is paused, or read to its end and still moving.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

CLOSE_FILE = b"M29"
ASK_STATUS = b"M27"
ASK_NAME = b"M27 C"
REPORT_S = 2
ASK_REPORTS = b"M27 S%d" % REPORT_S
STOP_REPORTS = b"M27 S0"
MOUNT, RELEASE = b"M21", b"M22"
PRINT, HALT_PRINT, REWIND = b"M24", b"M25", b"M26 S0"
ABORT = b"M524"
ADDED = rb"M2[1-9](?: .*)?|M30 .*|M524"
"""Whatever is sent about a card, as a regular expression."""
LINE_ENDS = (2, 1)
"""How many bytes the firmware may put after each stored line."""

_CLOSES = re.compile(rb"M29(?![0-9])")
_STATUS = re.compile(rb"SD printing byte (\d+)/(\d+)$")
_OPENED = re.compile(rb"File opened: ?(\S+) Size: ?(\d+)$")
_WRITING = re.compile(rb"Writing to file: ?(\S+)$")
_NAME = re.compile(rb"Current file: ?(.*)$")
_NOT_PRINTING = re.compile(rb"Not SD printing\.?$")
_PAUSED = re.compile(rb"SD print(?:ing)? paused")
_PRINTED = re.compile(rb"Done printing file$")
_SAVED = re.compile(rb"Done saving file\.?$")
_TROUBLE = re.compile(
    rb"open failed|cannot open|no sd card|no media|sd init fail|init failed|volume\.init|openroot"
    rb"|error writing|read-only",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class CardStatus:
    """The answer to M27. `position` and `size` in bytes of the file; both 0 when nothing is printed."""

    printing: bool
    position: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True)
class CardName:
    """The file that is open on the card, printed or not: its 8.3 name and the long one; "" for none."""

    name: str
    long_name: str = ""


@dataclass(frozen=True, slots=True)
class CardOpened:
    """A file was opened for reading, so that it can be printed."""

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class CardWriting:
    """A file was opened for writing: lines with numbers are stored from now on."""

    name: str


@dataclass(frozen=True, slots=True)
class CardSaved:
    """The file that was written is closed."""


@dataclass(frozen=True, slots=True)
class CardPrinted:
    """A print from the card has come to its end."""


@dataclass(frozen=True, slots=True)
class CardTrouble:
    """The card or a file on it could not be used."""

    text: str


@dataclass(frozen=True, slots=True)
class CardBusy:
    """The idle host is told that something is executed; `for_person`: it waits for somebody."""

    for_person: bool


CardEvent = (
    CardStatus | CardName | CardOpened | CardWriting | CardSaved | CardPrinted | CardTrouble | CardBusy
)


def heard(line: bytes) -> CardEvent | None:
    """What a cleaned reply says of the card; None when it speaks of something else."""
    if found := _STATUS.match(line):
        return CardStatus(True, int(found[1]), int(found[2]))
    if _NOT_PRINTING.match(line) or _PAUSED.match(line):
        return CardStatus(False)
    if found := _NAME.match(line):
        name, _, long_name = found[1].decode("latin-1").partition(" ")
        return CardName("") if name.startswith("(no") else CardName(name, long_name.strip())
    if _PRINTED.match(line):
        return CardPrinted()
    if found := _OPENED.match(line):
        return CardOpened(found[1].decode("latin-1"), int(found[2]))
    if found := _WRITING.match(line):
        return CardWriting(found[1].decode("latin-1"))
    if _SAVED.match(line):
        return CardSaved()
    return CardTrouble(line.decode("latin-1")) if _TROUBLE.search(line) else None


class CardState:
    """What one link knows of the card since its last handshake."""

    def __init__(self) -> None:
        self.saving = False
        """A file may be open for writing."""
        self.restarted = False
        """The firmware has said `start` since this was last set to False."""
        self.in_print = False
        """The machine prints from its card, as far as is known."""
        self.status: CardStatus | None = None
        self.name: CardName | None = None
        self._asked = 0

    def forget(self) -> None:
        """A handshake begins."""
        self.status = self.name = None
        self._asked = 0

    def questions(self) -> tuple[bytes, ...]:
        """What is still to be asked in this handshake. Noise may eat an answer, but not three of them."""
        if self.status is not None or self._asked == ANSWER_TRIES:
            return ()
        self._asked += 1
        return (ASK_STATUS, ASK_NAME)

    def note(self, event: CardEvent) -> None:
        if isinstance(event, CardStatus):
            self.status = event
        elif isinstance(event, CardName):
            self.name = event


ANSWER_TRIES = 3
"""A question to which only noise came back is asked so many times."""


# Files.

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_OURS = re.compile(rf"R-[{_ALPHABET}]{{10}}")
_NAMED = re.compile(rf"([{_ALPHABET}]{{8}})\.G([{_ALPHABET}]{{2}})")


def card_name(run_id: str) -> str:
    """The 8.3 name of a run's file.

    A run id of the daemon (`R-` and ten letters) fits whole, since the firmware wants of the ending only
    that it begins with G. Any other gets ten letters of its hash, the first of which no run id has.
    """
    letters = run_id[2:]
    if not _OURS.fullmatch(run_id):
        number = int.from_bytes(hashlib.sha256(run_id.encode()).digest()[:8])
        letters = "U" + "".join(_ALPHABET[number >> 5 * place & 31] for place in range(9))
    return f"{letters[:8]}.G{letters[8:]}"


def run_id_of(name: str) -> str | None:
    """The run id of the daemon that a file's name shows; None for any other name."""
    found = _NAMED.fullmatch(name.upper())
    return f"R-{found[1]}{found[2]}" if found else None


def shown_name(name: CardName | None) -> str:
    """By what a print is shown: our run id where the file's name has one; "" when it is not known."""
    if name is None:
        return ""
    return run_id_of(name.name) or name.long_name or name.name


def path_of(name: str) -> bytes:
    """The file in the card's root, wherever somebody has gone at the machine's panel."""
    return b"/" + name.encode("ascii")


def open_for_writing(name: str) -> bytes:
    return b"M28 " + path_of(name)


def select(name: str) -> bytes:
    return b"M23 " + path_of(name)


def remove(name: str) -> bytes:
    return b"M30 " + path_of(name)


def as_stored(command: bytes) -> bytes:
    """A command as the firmware stores it: its escape character is dropped on arrival, and what follows
    the first `*` is taken for the checksum. Only texts (M117) can hold either."""
    return command.replace(b"\\", b"").partition(b"*")[0].rstrip()


def closes_file(command: bytes) -> bool:
    """Whether the firmware would take this line of a file for the end of the file, its escape character gone."""
    return _CLOSES.search(command.replace(b"\\", b"")) is not None
