"""Runs from the machine's own card, the driver's side: file, record, and what is told of them.

Such a run goes on when the link or farmd is away. So it is written down before its file is sent and again before
it is begun; and at every connect the machine is asked first. What it prints is ours when the size of the file or
its name says so: then the run is adopted. When it prints nothing, a run that was begun may have ended in any
way, and nobody is told how; but one whose `M24` was never sent has surely not begun, and one that was under way
when the board restarted has failed. Prints begun at the machine's panel are told as foreign, on machines that
are fed by us too. The dialogue itself is `wire.card_talk`; this knows files, the disk and the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path

from farmd.driver import (
    MACHINE_NOT_READY,
    Activity,
    Attention,
    Capabilities,
    ForeignEnded,
    ForeignStarted,
    StartOrder,
    offload,
)
from farmd.model.errors import ErrorCode, Refused
from farmd_drivers.marlin.account import Account
from farmd_drivers.marlin.card_account import EVIDENCE, CardAccount
from farmd_drivers.marlin.card_log import CardLog, CardRun
from farmd_drivers.marlin.card_upload import CARD_NOT_STORED, check_firmware, check_speed, stored_lines
from farmd_drivers.marlin.job import Batch, JobFile
from farmd_drivers.marlin.runlog import RUN_LOG_UNWRITABLE, RunLog
from farmd_drivers.marlin.transport import Connection
from farmd_drivers.marlin.wire import card, states
from farmd_drivers.marlin.wire.card import CardStatus, shown_name
from farmd_drivers.marlin.wire.card_stages import (
    RUNNING,
    CardTold,
    ForeignPrint,
    ForeignPrintOver,
    Looked,
    NotStored,
    Stored,
    Tidied,
)
from farmd_drivers.marlin.wire.card_talk import CardTalk

SEEN_TURNS = 20
"""The position goes to disk with every 20th turn of the driver's watch, so every 5 s."""
CARD_BUSY = ErrorCode(
    "card-busy",
    "the machine prints something from its own card, or does not say whether it does",
    "wait for its end, or end it at the machine; `farmctl machine NAME` shows its name",
)


class CardRuns:
    """The card of one machine, from connection to connection. `prints`: runs are printed from it."""

    def __init__(self, account: Account, log: RunLog, folder: Path, *, prints: bool) -> None:
        self.prints = prints
        self._account = account
        self._log = CardLog(folder)
        self._record = CardAccount(account, log, self._log)
        self._talk: CardTalk | None = None
        self._connection: Connection
        self._worker: Executor
        self._news = asyncio.Event()
        """Something came of the talk, or something has come between."""
        self._outcome: Stored | NotStored | None = None
        self._looked: Looked | None = None
        self._needs_lines = False
        self._was_writing = False
        """A file may have been left open for writing when a link was lost."""
        self._turns = 0

    def capabilities(self, fed: Capabilities) -> Capabilities:
        """What the driver can do, given what it could if it fed the machine."""
        if not self.prints:
            return fed
        return replace(fed, adopts=True, history_authoritative=False, continues=False, evidence=EVIDENCE)

    # From connection to connection.

    def load(self) -> None:
        """Read the record; blocks. Raises `MachineFault`."""
        self._log.load()

    def connect(self, connection: Connection, worker: Executor) -> None:
        self._connection, self._worker = connection, worker
        self._record.connect()
        if (run := self._log.run) is not None and not run.size:
            self._record.not_begun(run)
            self._was_writing = True
        connection.wire.card.saving = self._was_writing
        self._talk = CardTalk(connection.wire, asyncio.get_running_loop().time())

    def leave(self) -> None:
        """The link is gone; what the machine prints by itself goes on."""
        talk, self._talk = self._talk, None
        if talk is not None and self._outcome is None:
            self._was_writing = self._was_writing or talk.wire.card.saving
            self._outcome = NotStored("the link was lost")
        self._news.set()

    @property
    def is_saved(self) -> bool:
        return self._log.is_saved

    def save(self) -> None:
        """Write the record; blocks. Raises `OSError`."""
        self._log.save()

    @property
    def in_print(self) -> bool:
        """The machine prints from its card, whoever began it."""
        return self._talk is not None and self._talk.wire.card.in_print

    @property
    def in_run(self) -> bool:
        """The machine prints a run of ours from its card."""
        return self._talk is not None and self._talk.stage in RUNNING

    @property
    def is_free(self) -> bool:
        """Nothing of the card is in the way of a start."""
        return self._talk is not None and self._talk.is_idle and self._talk.foreign is None

    @property
    def doing(self) -> str:
        """What is, in a few words."""
        if self._talk is None or self.is_free:
            return ""
        return "printing from its card" if self.in_print else f"{self._talk.stage} a file on its card"

    def knows(self, run_id: str) -> bool:
        return self._log.knows(run_id)

    # Commands. Each tells whether it was the card's to follow.

    def pause(self) -> bool:
        return self._command(lambda talk: talk.pause("asked for"))

    def resume(self) -> bool:
        return self._command(lambda talk: talk.resume())

    def stop(self) -> bool:
        self._news.set()
        return self._command(lambda talk: talk.cancel("asked for"))

    def estop(self, why: str) -> None:
        self._news.set()
        self._command(lambda talk: talk.fail(why))

    def _command(self, what: Callable[[CardTalk], None]) -> bool:
        talk = self._talk
        if talk is None or talk.stage not in RUNNING:
            return False
        what(talk)
        self._drain(talk)
        self._connection.pump()
        return True

    async def look(self, check: Callable[[], object]) -> None:
        """Make sure that the machine prints nothing by itself. Raises `Refused`."""
        talk = self._talk
        if talk is None or not talk.wire.has_card:
            return
        self._looked = None
        talk.look()
        self._connection.pump()
        while self._looked is None:
            await self._next_news()
            check()
        status, name = self._looked.status, self._looked.name
        if status is None:
            raise Refused(CARD_BUSY, "it does not say whether it prints; nothing was sent")
        if status.printing or (name is not None and name.name):
            raise Refused(CARD_BUSY, f"{shown_name(name) or 'a file'} is open on it; nothing was sent")

    async def start(self, order: StartOrder, job: JobFile, check: Callable[[], object]) -> None:
        """Store the file and have it printed, once; `Started` follows.

        Raises `Refused`, or `OSError` of the file: surely not started.
        `check` raises `Refused` when anything has happened to the machine that calls the start off.
        """
        talk = self._talk
        if talk is None or not talk.is_idle:
            raise Refused(MACHINE_NOT_READY, "the card is busy; nothing was sent")
        check_firmware(talk.wire.firmware)
        first = await offload(job.prepare, self._worker)
        check()
        run = self._log.claim(order.run_id, order.mass_g)
        try:
            await self._write(self._log.save)
            check()
            size = await self._store(talk, job, run.name, first, check)
            self._log.change(run := replace(run, size=size))
            await self._write(self._log.save_map)
            await self._write(self._log.save)
            check()
        except BaseException as error:
            self._call_off(talk, str(error) or "the start was broken off")
            raise
        talk.begin_print()
        self._drain(talk)
        self._connection.pump()

    def _call_off(self, talk: CardTalk, why: str) -> None:
        self._log.close(is_left=True)
        if talk is self._talk:
            talk.give_up(why)
            self._drain(talk)
            self._connection.pump()

    async def _write(self, write: Callable[[], None]) -> None:
        try:
            await offload(write, self._worker)
        except OSError as error:
            raise Refused(RUN_LOG_UNWRITABLE, str(error)) from error

    async def _next_news(self) -> None:
        await self._news.wait()
        self._news.clear()

    # Storing.

    async def _store(
        self, talk: CardTalk, job: JobFile, name: str, first: Batch, check: Callable[[], object]
    ) -> int:
        """Get the file onto the card; returns its size there. Raises `Refused`, or `OSError` of the file."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._outcome, self._needs_lines = None, False
        talk.store(name, stored_lines(job, first, self._log.map, talk.wire.firmware))
        self._connection.pump()
        while self._outcome is None:
            await self._next_news()
            check()
            if not self._needs_lines:
                continue
            self._needs_lines = False
            batch = await offload(job.next_batch, self._worker)
            check()
            if batch is None:
                talk.end_of_file([self._log.map.size(end) for end in card.LINE_ENDS])
            else:
                talk.feed(stored_lines(job, batch, self._log.map, talk.wire.firmware))
                check_speed(job.fraction(batch.first + 1), loop.time() - began)
            self._connection.pump()
        if isinstance(self._outcome, NotStored):
            raise Refused(CARD_NOT_STORED, f"{self._outcome.reason}; nothing was printed", where=job.name)
        return self._outcome.size

    # Events.

    def on_event(self, event: states.WireEvent) -> bool:
        """Any event of the wire; whether it is the card's alone."""
        talk = self._talk
        if talk is None:
            return False
        was_storing = talk.is_storing
        talk.on_event(event, asyncio.get_running_loop().time())
        if isinstance(event, states.Ready):
            self._settle(talk)
            # The handshake has asked the same, and what was asked before it will not be answered.
            self._looked = self._looked or Looked(talk.wire.card.status, talk.wire.card.name)
            self._news.set()
        self._drain(talk)
        return was_storing and isinstance(event, _OF_A_JOB)

    def tick(self) -> bool:
        """A few times a second: ask what is due, tell how far the run is; whether that is to be noted on disk."""
        talk = self._talk
        if talk is None:
            return False
        talk.tick(asyncio.get_running_loop().time())
        self._drain(talk)
        self._connection.pump()
        if talk.stage in RUNNING:
            self._record.tell_progress(talk.position)
        self._turns += 1
        return self._turns % SEEN_TURNS == 0 and self._log.run is not None

    def note(self) -> None:
        """Write down how far the run is; blocks. Raises `OSError`."""
        self._log.save_seen()

    def _drain(self, talk: CardTalk) -> None:
        while (told := talk.next_event()) is not None:
            self._on_told(told)

    def _on_told(self, told: CardTold) -> None:
        run = self._log.run
        match told:
            case states.NeedLines():
                self._needs_lines = True
                self._news.set()
            case Stored() | NotStored():
                self._outcome = self._outcome or told
                self._was_writing = False
                if isinstance(told, NotStored):
                    self._log.tidied()
                self._news.set()
            case Looked():
                self._looked = told
                self._news.set()
            case Tidied():
                self._log.tidied()
            case ForeignPrint(name):
                self._account.tell(ForeignStarted(name))
            case ForeignPrintOver():
                self._account.tell(ForeignEnded())
            case states.Noted(text):
                self._account.tell(Attention("firmware-message", text))
            case _ if run is not None:
                self._record.hear(told, run)
            case _:
                pass

    # What the machine shows after a handshake.

    def _settle(self, talk: CardTalk) -> None:
        """Before anything is told: what became of a run that was open, and what is printed now."""
        told = talk.wire.card
        run, status = self._log.run, told.status
        self._was_writing = False
        self._account.on_card = None
        if talk.stage in RUNNING:
            self._show(Activity.RUNNING, run.run_id if run else "", talk.position, talk.size)
            return
        if not talk.is_idle or (run is not None and not run.size):
            return
        if run is not None and self._adopt(talk, run):
            return
        is_open = told.name is not None and bool(told.name.name)
        prints = status is not None and status.printing
        is_ours = run is not None and told.name is not None and told.name.name.upper() == run.name
        if run is not None and told.restarted:
            self._record.restarted(run)
        self._log.close(is_left=True)
        told.restarted = False
        if status is not None and (prints or (is_open and not is_ours)):
            talk.see_foreign(told.name or card.CardName(""))
            activity = Activity.RUNNING if prints else Activity.PAUSED
            self._show(activity, shown_name(told.name), status.position, status.size)
        else:
            talk.tidy(self._log.left, is_open=is_open)

    def _adopt(self, talk: CardTalk, run: CardRun) -> bool:
        """Whether the machine prints our run still, or has paused it."""
        status, name = talk.wire.card.status, talk.wire.card.name
        named = name is not None and name.name.upper() == run.name
        if status is None:
            return False
        if status.printing and (named or status.size == run.size):
            activity = Activity.PAUSED if run.is_paused else Activity.RUNNING
        elif not status.printing and named and run.is_seen:
            activity = Activity.PAUSED
            status = CardStatus(False, self._log.position, run.size)
        else:
            return False
        talk.adopt(run.name, status, run.size, paused=activity is Activity.PAUSED)
        self._log.position = status.position
        self._log.change(replace(run, is_seen=True, is_paused=activity is Activity.PAUSED))
        self._show(activity, run.run_id, status.position, run.size)
        return True

    def _show(self, activity: Activity, name: str, position: int, size: int) -> None:
        self._account.on_card = (activity, name or None, min(1.0, position / size) if size else None)


_OF_A_JOB = (
    states.NeedLines
    | states.RunBegan
    | states.RunPaused
    | states.RunResumed
    | states.RunDone
    | states.RunCancelled
    | states.RunFailed
)
