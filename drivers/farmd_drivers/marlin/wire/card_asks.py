"""What is asked of a machine about its card, one thing at a time, and the prints that others have begun.

Everything is performed by the wire in its phase IDLE, and proven before it counts as answered; what cannot be
asked now waits. The texts of the answers are in `wire.card`. Knows no file of ours but names to be removed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from farmd_drivers.marlin.wire import card
from farmd_drivers.marlin.wire.card import CardName, CardStatus, shown_name
from farmd_drivers.marlin.wire.card_stages import (
    RUNNING,
    STAGE,
    CardTold,
    ForeignPrint,
    ForeignPrintOver,
    Looked,
    Stage,
    Tidied,
)
from farmd_drivers.marlin.wire.core import Wire
from farmd_drivers.marlin.wire.states import Phase

POLL_S = 3.0
"""How often M27 is asked, where the firmware does not report by itself."""
Then = Callable[[], None]


def nothing() -> None:
    """What to do about an answer that changes nothing."""


class CardAsks:
    """The questions on one link. `now` is the time of its opening."""

    def __init__(self, wire: Wire, now: float) -> None:
        self.wire = wire
        self.stage = Stage.IDLE
        self.foreign: CardName | None = None
        """What the machine prints that was not begun here."""
        self._events: deque[CardTold] = deque()
        self._queue: deque[tuple[tuple[bytes, ...], Then]] = deque()
        self._asked: Then | None = None
        """What to do once the present question is answered."""
        self._heard_at = now
        self._now = now
        self._tries = 0
        """How often the present thing was tried."""

    def next_event(self) -> CardTold | None:
        return self._events.popleft() if self._events else None

    @property
    def is_idle(self) -> bool:
        """Nothing of ours is on its way to the card, printed from it, or being removed."""
        return self.stage is Stage.IDLE

    # What the caller asks for.

    def look(self) -> None:
        """Ask what the machine does with its card; Looked follows. Only when idle."""
        self._tries = 0
        self._look()

    def tidy(self, names: Sequence[str], *, is_open: bool = False) -> None:
        """Remove files of ours that were left on the card; Tidied follows. `is_open`: one of them is chosen still."""
        if names:
            # To release the card closes a file, so that nobody goes on with it.
            closing = (card.RELEASE, card.MOUNT) if is_open else ()
            self._ask((*closing, *(card.remove(name) for name in names)), self._tidied)

    def see_foreign(self, name: CardName | None) -> None:
        """Something is printed that was not begun here; None: no more."""
        self.foreign = name
        self._note_print()

    # Questions.

    @property
    def _reports(self) -> bool:
        return "AUTOREPORT_SD_STATUS" in self.wire.firmware.has

    def _ask(self, commands: tuple[bytes, ...], then: Then) -> None:
        self._queue.append((commands, then))
        self._pump()

    def _pump(self) -> None:
        if self._asked is None and self._queue and self.wire.phase is Phase.IDLE:
            commands, self._asked = self._queue.popleft()
            self.wire.perform(*commands)

    def _answered(self) -> None:
        then, self._asked = self._asked or nothing, None
        then()
        self._pump()

    def _forget_questions(self) -> None:
        """What is on its way will be answered, to nobody."""
        self._queue.clear()
        if self._asked is not None:
            self._asked = nothing

    def _is_poll_due(self, patience_s: float) -> bool:
        quiet = self._asked is None and not self._queue and self.wire.phase is Phase.IDLE
        due = quiet and self.wire.has_card and self._now - self._heard_at >= patience_s
        if due:
            self._heard_at = self._now
        return due

    def _look(self) -> None:
        self._tries += 1
        self.wire.card.forget()
        self._ask((card.ASK_STATUS, card.ASK_NAME), self._looked)

    def _looked(self) -> None:
        status = self.wire.card.status
        if status is None and self._tries < card.ANSWER_TRIES:
            self._look()
        else:
            self._named()
            self._events.append(Looked(status, self.wire.card.name))

    def _tidied(self) -> None:
        self._events.append(Tidied())

    # Prints of others.

    def _watch_foreign(self, status: CardStatus) -> None:
        """A report while nothing of ours is printed."""
        looks = (self._named, self._looked)
        is_looking = self._asked in looks or any(then in looks for _, then in self._queue)
        if status.printing != (self.foreign is not None) and not is_looking:
            self.wire.card.name = None
            self._ask((card.ASK_STATUS, card.ASK_NAME), self._named)

    def _named(self) -> None:
        """It was asked what file is open, as something was begun or ended at the machine."""
        status, name = self.wire.card.status, self.wire.card.name
        if self.stage is not Stage.IDLE or status is None:
            return
        if self.foreign is None and status.printing:
            self.see_foreign(name or CardName(""))
            self._events.append(ForeignPrint(shown_name(name)))
        elif self.foreign is not None and not status.printing and not (name and name.name):
            self._forget_foreign()

    def _forget_foreign(self) -> None:
        if self.foreign is not None:
            self.see_foreign(None)
            self._events.append(ForeignPrintOver())

    def _note_print(self) -> None:
        self.wire.print_by_itself(self.stage in RUNNING or self.foreign is not None)

    def _go(self, event: str) -> None:
        self.stage = STAGE[self.stage][event]
        self._note_print()
