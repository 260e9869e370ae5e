"""What is told and recorded of a run that the machine prints from its own card: events of the dialogue to events
of the machine. Knows no link, no port and no loop.
"""

from __future__ import annotations

from dataclasses import replace

from farmd.driver import Ended, Finished, Paused, Progressed, Resumed, Started
from farmd.model.work import Outcome
from farmd_drivers.marlin.account import Account
from farmd_drivers.marlin.card_log import CardLog, CardRun
from farmd_drivers.marlin.runlog import RunLog
from farmd_drivers.marlin.wire import states
from farmd_drivers.marlin.wire.card_stages import CardTold

EVIDENCE = (
    "the machine took M24 for the file whose size it had told, and tells that it prints (M27) or works (busy)"
)
RESTARTED = "the machine restarted while it printed from its card"
NEVER_BEGAN = "farmd ended while the file was on its way to the card; nothing was printed"


class CardAccount:
    """One machine's account of its card, from connection to connection."""

    def __init__(self, account: Account, runs: RunLog, log: CardLog) -> None:
        self._account = account
        self._runs = runs
        self._log = log
        self._told = -1

    def connect(self) -> None:
        """A new connection: a run whose file was on its way has not begun."""
        self._told = -1
        self._account.on_card = None

    def hear(self, told: CardTold, run: CardRun) -> None:
        """What has come of the open run."""
        match told:
            case states.RunBegan():
                self._log.change(replace(run, is_seen=True))
                self._account.tell(Started(run.run_id, EVIDENCE))
            case states.RunPaused(reason):
                self._log.change(replace(run, is_paused=True))
                self._account.tell(Paused(run.run_id, reason))
            case states.RunResumed():
                self._log.change(replace(run, is_paused=False))
                self._account.tell(Resumed(run.run_id))
            case states.RunDone():
                self._account.tell(self._end(run, Outcome.OK, "", None))
            case states.RunCancelled(reason, position):
                self._account.tell(self._end(run, Outcome.CANCELLED, reason, position))
            case states.RunFailed(reason, position):
                self._account.tell(self._end(run, Outcome.FAILED, reason, position))
            case _:
                pass

    def tell_progress(self, position: int) -> None:
        """How far the open run is, if that is new."""
        run = self._log.run
        if run is not None and run.is_seen and position != self._told:
            self._told = self._log.position = position
            place = self._log.map.place(position, run.size)
            self._account.tell(Progressed(run.run_id, place.fraction or 0.0, place.layer))

    def not_begun(self, run: CardRun) -> None:
        """Surely so: its file was on its way when farmd ended."""
        self._runs.note(Finished(run.run_id, Outcome.NOT_STARTED, NEVER_BEGAN))
        self._log.close(is_left=True)

    def restarted(self, run: CardRun) -> None:
        """The machine has restarted while nobody looked; the history tells what that was for the run."""
        self._end(run, Outcome.FAILED, RESTARTED, self._log.position)
        self._account.note_restart()

    def _end(self, run: CardRun, outcome: Outcome, reason: str, position: int | None) -> Ended:
        place = None if position is None else self._log.map.place(position, run.size)
        used_g = run.mass_g * (1.0 if place is None else place.fraction or 0.0)
        self._log.close(is_left=True)
        self._runs.note(Finished(run.run_id, outcome, reason, place, used_g))
        return Ended(run.run_id, outcome, reason, place, used_g)
