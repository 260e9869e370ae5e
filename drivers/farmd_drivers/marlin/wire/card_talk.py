"""A run from the machine's own card: printed, paused, stopped, and seen to end. The second half of `STAGE`.

Stands above a `Wire`; `card_store` has the way of the file to the card. What is said here is performed between
runs of the wire (`Wire.perform`): commands with numbers, and `M105` behind them, whose answer proves that they
were executed. So a command whose ok was lost is never executed again, `M24` least of all.

`Not SD printing` alone ends nothing: motion is waited for first, then it is asked again, with the name of the file
that is open, which is ours while the print is paused. A print that was not begun here is told, and never touched.

Sans-IO: `on_event` takes the wire's events, `tick` the time, `next_event` gives what came of it. Positions are
bytes of the stored file. Knows no loop, no sliced file and no run id.
"""

from __future__ import annotations

from farmd_drivers.marlin.wire import card, states
from farmd_drivers.marlin.wire.card import CardName, CardStatus
from farmd_drivers.marlin.wire.card_asks import POLL_S, nothing
from farmd_drivers.marlin.wire.card_stages import RUNNING, STAGE, STORING, Stage
from farmd_drivers.marlin.wire.card_store import CardStore
from farmd_drivers.marlin.wire.core import Wire

STOP_TRIES = 3
STRANGE_SIZES = 3
"""So many reports in a row of a file of another size are no noise."""
AT_THE_MACHINE = "paused at the machine"
FOR_A_PERSON = "the machine waits for a person"


class CardTalk(CardStore):
    """What is said of the card on one link. `now` is the time of its opening."""

    def __init__(self, wire: Wire, now: float) -> None:
        super().__init__(wire, now)
        self.waits_for_person = False
        """The print stands at an M0 or M600."""
        self._printed = False
        """The firmware has told the end of the print."""
        self._pause_wanted: str | None = None
        self._paused_at: int | None = None
        """Where it was reported first after it was paused."""
        self._strange = 0
        self._abort_unknown = False

    # What the caller asks for.

    def begin_print(self) -> None:
        """Print what was stored, once; RunBegan or RunFailed follows."""
        self._go("print")
        self._begin_run()
        # The file's own commands come before whatever is asked behind it, and may take minutes.
        reports = (card.ASK_REPORTS,) if self._reports else ()
        self._ask((*reports, card.PRINT, card.ASK_STATUS), self._started)

    def adopt(self, name: str, status: CardStatus, size: int, *, paused: bool) -> None:
        """A run that was begun on an earlier link goes on, or is paused. Only when idle."""
        self._go("adopt-paused" if paused else "adopt")
        self._begin_run()
        self.name, self.size, self.position = name, size, status.position
        if self._reports:
            self._ask((card.ASK_REPORTS,), nothing)

    def pause(self, reason: str) -> None:
        """Stop reading the file and wait until motion is over; RunPaused follows. Not printing: nothing."""
        if self.stage is Stage.STARTING:
            self._pause_wanted = reason
        elif self.stage is Stage.PRINTING and not self.waits_for_person:
            self._go("pause")
            self._reason = reason
            self._ask((card.HALT_PRINT, b"M400"), self._halted)

    def resume(self) -> None:
        """Go on; RunResumed follows. Not paused: nothing."""
        self._pause_wanted = None
        if self.waits_for_person:
            self.wire.nudge()
        elif self.stage is Stage.PAUSED:
            self._go("resume")
            self._tries = 0
            self._ask((card.PRINT, card.ASK_STATUS), self._resumed)

    def cancel(self, reason: str) -> None:
        """End the print at once, heaters off; RunCancelled follows. Not printing: nothing."""
        if "cancel" not in STAGE[self.stage]:
            return
        self._go("cancel")
        self._reason, self._tries = reason, 0
        self._forget_questions()
        self.wire.nudge()
        self._abort()

    def fail(self, reason: str) -> None:
        """The print has ended, and badly. None: nothing."""
        if self.stage in RUNNING:
            self._over(states.RunFailed(reason, self.position))

    def _begin_run(self) -> None:
        self._printed = False
        self._pause_wanted = self._paused_at = None
        self._strange = self._tries = 0
        self.waits_for_person = False

    def _started(self) -> None:
        if self.stage is not Stage.STARTING:
            return
        self._tries += 1
        if self._tries < card.ANSWER_TRIES:
            self._ask((card.ASK_STATUS,), self._started)
        else:
            self.fail("the machine does not say that it prints")

    def _seen_printing(self) -> None:
        self._go("printing")
        self._events.append(states.RunBegan())
        if self._pause_wanted is not None:
            self.pause(self._pause_wanted)

    def _halted(self) -> None:
        if self.stage is Stage.PAUSING:
            self._go("paused")
            self._paused_at = None
            self._events.append(states.RunPaused(self._reason))

    def _resumed(self) -> None:
        if self.stage is not Stage.RESUMING:
            return
        self._tries += 1
        if self._tries < card.ANSWER_TRIES:
            self._ask((card.ASK_STATUS,), self._resumed)
        else:
            self._settle()

    def _settle(self) -> None:
        """It does not print any more, it seems: wait until motion is over, and ask again."""
        self._go("still")
        self._tries = 0
        self._forget_questions()
        self._ask_settled()

    def _ask_settled(self) -> None:
        self._tries += 1
        self.wire.card.forget()
        self._ask((b"M400", card.ASK_STATUS, card.ASK_NAME), self._settled)

    def _settled(self) -> None:
        if self.stage is not Stage.ENDING:
            return
        status, name = self.wire.card.status, self.wire.card.name
        if self._printed:
            self._over(states.RunDone())
        elif status is not None and status.printing:
            self._go("printing")
        elif self._tries < card.ANSWER_TRIES:
            self._ask_settled()
        elif name is not None and self._is_ours(name):
            self._hold()
        else:
            self.fail("the machine ended it without saying that it was done")
            if name is not None:  # else it may be paused, and wants its heat
                self._ask(self.wire.firmware.heaters_off(), nothing)

    def _abort(self) -> None:
        self._tries += 1
        self._abort_unknown = False
        self._ask((card.ABORT, b"M400"), self._aborted)

    def _aborted(self) -> None:
        if self.stage is not Stage.STOPPING:
            return
        if self._abort_unknown:
            self._ask((card.HALT_PRINT, card.REWIND, b"M400"), self._look_stopped)
        else:
            self._look_stopped()

    def _look_stopped(self) -> None:
        if self.stage is not Stage.STOPPING:
            return
        self.wire.card.forget()
        off = self.wire.firmware.heaters_off()
        self._ask((*off, b"M400", card.ASK_STATUS, card.ASK_NAME), self._stopped)

    def _stopped(self) -> None:
        if self.stage is not Stage.STOPPING:
            return
        status, name = self.wire.card.status, self.wire.card.name
        if status is not None and not status.printing:
            if name is not None and name.name:
                self._ask((card.RELEASE, card.MOUNT), nothing)  # nobody is to go on with it
            self._over(states.RunCancelled(self._reason, self.position))
        elif self._tries < STOP_TRIES:
            self._abort()
        else:
            self._go("printing")
            self._events.append(states.Noted("the machine prints on, whatever it is told"))

    def _over(self, event: states.RunDone | states.RunCancelled | states.RunFailed) -> None:
        """Tell the end of the print; its file is removed as soon as there is a link to do it."""
        self.waits_for_person = False
        self._go("over")
        self._queue.clear()
        self._events.append(event)
        reports = (card.STOP_REPORTS,) if self._reports else ()
        self._ask((*reports, card.remove(self.name)), self._tidied)
        self._forget_file()

    def _is_ours(self, name: CardName) -> bool:
        return name.name.upper() == self.name.upper()

    # What is heard.

    def on_event(self, event: states.WireEvent, now: float) -> None:
        """Take in any event of the wire."""
        self._now = now
        match event:
            case states.Performed():
                self._person_is_done()
                self._answered()
            case CardStatus():
                self._heard_at = now
                self._on_status(event)
            case card.CardPrinted():
                self._on_printed()
            case card.CardWriting() | card.CardOpened() | card.CardTrouble():
                self._on_card_file(event)
            case card.CardBusy(for_person):
                self._on_busy(for_person=for_person)
            case states.Acted(action):
                self._on_action(action)
            case states.Noted(text) if "M524" in text:
                self._abort_unknown = True
            case states.Restarted():
                self._on_lost("the machine restarted")
            case states.Halted(text, _):
                self._on_lost(text)
            case states.Ready():
                self._on_ready()
            case states.LinkDead(reason) if self.stage in STORING:
                self._lose(self._reason if self.stage is Stage.REMOVING else reason)
            case _:
                self._on_job_event(event)

    def tick(self, now: float) -> None:
        """Ask for the state of the card when it has not been told for a while. Call it a few times a second."""
        self._now = now
        reports = self._reports and self.stage in RUNNING
        if self.stage in (Stage.IDLE, Stage.PRINTING):
            if self._is_poll_due(3 * card.REPORT_S if reports else POLL_S):
                self._ask((card.ASK_STATUS,), nothing)
        elif self.stage is Stage.PAUSED and self._is_poll_due(POLL_S):
            self.wire.card.forget()
            self._ask((card.ASK_STATUS, card.ASK_NAME), self._looked_paused)

    def _looked_paused(self) -> None:
        status, name = self.wire.card.status, self.wire.card.name
        closed = name is not None and not name.name
        if self.stage is Stage.PAUSED and closed and status is not None and not status.printing:
            self.fail("it was ended at the machine while it was paused")

    def _on_status(self, status: CardStatus) -> None:
        if self.stage is Stage.IDLE:
            self._watch_foreign(status)
        elif self.stage in RUNNING and status.printing and status.size != self.size:
            self._strange += 1
            if self._strange >= STRANGE_SIZES and self.stage is not Stage.STOPPING:
                self.fail("the machine prints another file")
        elif self.stage in RUNNING:
            self._strange = 0
            moved = status.printing and status.position > self.position
            if status.printing:
                self.position = status.position
            self._on_our_status(status, moved=moved)

    def _on_our_status(self, status: CardStatus, *, moved: bool) -> None:
        match self.stage:
            case Stage.STARTING if status.printing:
                self._seen_printing()
            case Stage.PRINTING if not status.printing:
                self._settle()
            case Stage.PRINTING if moved:
                self._person_is_done()
            case Stage.RESUMING if status.printing:
                self._go_on()
            case Stage.PAUSED if status.printing:
                if self._paused_at is not None and status.position > self._paused_at:
                    self._go_on()  # by whoever stands at the machine
                self._paused_at = status.position
            case _:
                pass

    def _on_printed(self) -> None:
        if self.stage not in RUNNING or self.stage is Stage.STOPPING:
            return
        self._printed = True
        if self.stage is Stage.STARTING:
            self._seen_printing()
        if self.stage is not Stage.ENDING:
            self._settle()

    def _on_busy(self, *, for_person: bool) -> None:
        if self.stage is Stage.STARTING and self.wire.is_past(card.PRINT):
            self._seen_printing()  # it works at something, and what is asked behind it has to wait
        if not for_person:
            self._person_is_done()
        elif self.stage in (Stage.PRINTING, Stage.PAUSED) and not self.waits_for_person:
            self.waits_for_person = True
            if self.stage is Stage.PRINTING:
                self._events.append(states.RunPaused(FOR_A_PERSON))

    def _person_is_done(self) -> None:
        if self.waits_for_person:
            self.waits_for_person = False
            if self.stage is Stage.PRINTING:
                self._events.append(states.RunResumed())
            elif self.stage is Stage.PAUSED:
                self._go_on()

    def _on_action(self, action: str) -> None:
        """The machine's own wishes; they also come of what we have asked for ourselves."""
        if action in ("pause", "paused") and self.stage is Stage.PRINTING and not self.waits_for_person:
            self._hold()
        elif action in ("resume", "resumed") and self.stage is Stage.PAUSED:
            self.waits_for_person = False
            self._go_on()

    def _hold(self) -> None:
        self._go("hold")
        self._paused_at = None
        self._events.append(states.RunPaused(AT_THE_MACHINE))

    def _go_on(self) -> None:
        self._go("printing")
        self._events.append(states.RunResumed())

    def _on_lost(self, reason: str) -> None:
        """The firmware has forgotten what it did, and what it was asked."""
        self._queue.clear()
        self._asked = None
        self._forget_foreign()
        if self.stage in RUNNING:
            self.fail(reason)
        elif self.stage is Stage.REMOVING:
            self._remove()
        elif self.stage in STORING:
            self.give_up(reason)

    def _on_ready(self) -> None:
        """A handshake is over: what was asked before it will not be answered."""
        lost, self._asked = self._asked is not None, None
        if self.stage is Stage.STORED or (lost and self.stage in STORING):
            self._on_lost("the link was made anew")
        elif lost and self.stage is Stage.STARTING:
            self._ask((card.ASK_STATUS,), self._started)
        elif lost and self.stage is Stage.STOPPING:
            self._abort()
        elif lost and self.stage in RUNNING:
            self._settle()
        self._pump()
