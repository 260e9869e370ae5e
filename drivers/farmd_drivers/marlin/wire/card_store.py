"""How a file gets onto the machine's card, whole, or not at all: the first half of `STAGE`.

It is stored as a job of the wire's (`begin`, `feed`): every line of it with its number, probed and resynchronised,
so stored once and in order. Before the firmware itself has told that the file is open, nothing of it is sent: it
would be executed. And before it has told, of the file that it then opened for printing, the size that was
sent, nothing is said to be stored. What is given up is removed. Knows bytes of lines, and no sliced file.
"""

from __future__ import annotations

from collections.abc import Sequence

from farmd_drivers.marlin.wire import card, states
from farmd_drivers.marlin.wire.card_asks import CardAsks
from farmd_drivers.marlin.wire.card_stages import STORING, NotStored, Stage, Stored
from farmd_drivers.marlin.wire.core import Wire

OPEN_TRIES = 3


class CardStore(CardAsks):
    """The storing of files on one link. `now` is the time of its opening."""

    def __init__(self, wire: Wire, now: float) -> None:
        super().__init__(wire, now)
        self.name = ""
        self.position = 0
        self.size = 0
        self._first: list[bytes] = []
        self._sizes: tuple[int, ...] = ()
        self._opened: card.CardOpened | None = None
        self._trouble = ""
        self._reason = ""
        self._is_void = False
        """This try to open a file is over: it is closed, and lines behind that would be executed."""

    @property
    def is_storing(self) -> bool:
        """A file is on its way to the card, or is removed again; nothing of it is printed."""
        return self.stage in STORING

    # What the caller asks for.

    def store(self, name: str, first: Sequence[bytes]) -> None:
        """Write a file of that 8.3 name, which begins with these lines; Stored or NotStored follows.

        NeedLines asks for more. Only when idle.
        """
        self._go("store")
        self.name, self._first = name, list(first)
        self._trouble, self._tries = "", 0
        self._ask((card.MOUNT,), self._mounted)

    def feed(self, lines: list[bytes]) -> None:
        """The next lines of the file."""
        if self.stage is Stage.WRITING:
            self.wire.feed(lines)

    def end_of_file(self, sizes: Sequence[int]) -> None:
        """All lines were fed; the file's size is then one of these, as the firmware ends its lines."""
        if self.stage is Stage.WRITING:
            self._sizes = tuple(sizes)
            self.wire.feed([card.CLOSE_FILE])
            self.wire.end_of_job()

    def give_up(self, reason: str) -> None:
        """Do not print what is being stored, or is; NotStored follows once it is removed again."""
        if self.stage not in STORING or self.stage is Stage.REMOVING:
            return
        self._reason = reason
        self._forget_questions()
        self._go("give-up")
        if self.wire.in_run:
            self.wire.cancel(reason)
        else:
            self._remove()

    def _mounted(self) -> None:
        if self._trouble:
            self.give_up(self._trouble)
        else:
            self._go("mounted")
            self._open()

    def _open(self) -> None:
        # Until the firmware says that the file is open, a line of it would be executed.
        self._tries += 1
        self._is_void = False
        self.wire.card.saving = True
        self.wire.begin(self._now)
        self.wire.feed([card.open_for_writing(self.name)])

    def _on_job_event(self, event: states.WireEvent) -> None:
        """The wire tells of the job by which the file is stored."""
        match event:
            case states.NeedLines() if self.stage is Stage.WRITING and not self._sizes:
                self._events.append(event)
            case states.RunBegan() if self.stage is Stage.OPENING:
                # It has not said so, or noise has eaten its word. Whatever it says now comes too late.
                self._is_void = True
                self.wire.feed([card.CLOSE_FILE])
                self.wire.end_of_job()
            case states.RunDone() if self.stage is Stage.OPENING:
                if self._tries < OPEN_TRIES:
                    self._open()
                else:
                    self.give_up(self._trouble or "the machine does not open a file on its card")
            case states.RunDone() if self.stage is Stage.WRITING:
                self._go("written")
                self._tries = 0
                self._check()
            case states.RunDone() | states.RunCancelled() | states.RunFailed() if (
                self.stage is Stage.REMOVING
            ):
                self._remove()
            case states.RunCancelled(reason, _) | states.RunFailed(reason, _):
                self.give_up(reason)
            case _:
                pass

    def _check(self) -> None:
        self._tries += 1
        self._opened = None
        self._ask((card.select(self.name),), self._checked)

    def _checked(self) -> None:
        opened = self._opened
        if opened is not None and opened.size in self._sizes:
            self.size, self.position = opened.size, 0
            self._go("checked")
            self._events.append(Stored(opened.size))
        elif self._tries < card.ANSWER_TRIES:
            self._check()
        else:
            has = "no such file" if opened is None else f"a file of {opened.size} bytes"
            self.give_up(self._trouble or f"the card has {has}, where {self._sizes[0]} were sent")

    def _remove(self) -> None:
        # To release the card closes a file that was chosen already, so that nobody goes on with it.
        self._ask((card.RELEASE, card.MOUNT, card.remove(self.name)), self._removed)

    def _removed(self) -> None:
        self._go("removed")
        self._forget_file()
        self._events.append(NotStored(self._reason))

    def _forget_file(self) -> None:
        self.name, self.size, self._sizes, self._first = "", 0, (), []

    # What is heard.

    def _on_card_file(self, event: card.CardWriting | card.CardOpened | card.CardTrouble) -> None:
        match event:
            case card.CardWriting() if self.stage is Stage.OPENING and not self._is_void:
                self._go("writing")
                self.wire.feed(self._first)
            case card.CardOpened():
                self._opened = event
            case card.CardTrouble(text):
                self._trouble = text
                if self.stage is Stage.WRITING:
                    self.give_up(text)
            case _:
                pass

    def _lose(self, reason: str) -> None:
        """Nothing answers any more; what is on the card stays there."""
        self._go("lost")
        self._queue.clear()
        self._asked = None
        self._forget_file()
        self._events.append(NotStored(reason))
