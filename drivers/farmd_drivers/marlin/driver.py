"""The driver of machines with Marlin firmware on a serial port, fed line by line; or from their card (`card_run`).

A machine fed by us does not print without us, so a run is never adopted: when the link or this process
goes, the run has failed, its place is told, and the heaters are switched off: at once as well as they can
be, and in the handshake of the next link for certain. Runs are written down before they are sent, so what
is not in the history never began. What the machine is sent around a file is ADDED_BEFORE and ADDED_AFTER;
nothing else, but M105 (every few seconds, where the firmware does not report temperatures by itself).
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from farmd.driver import (
    MACHINE_NOT_READY,
    Attention,
    Capabilities,
    Driver,
    DriverSettings,
    Reply,
    Report,
    StartOrder,
    TerminalLine,
    now,
    offload,
)
from farmd.driver.heat_guard import HEAT_GUARD, Alarm
from farmd.gcode import limits_of
from farmd.model.errors import ErrorCode, LinkLost, Refused
from farmd.model.machine import MachineSpec
from farmd_drivers.marlin.account import EMERGENCY_STOP, EVIDENCE, Account, FedRun
from farmd_drivers.marlin.added import ADDED_AFTER as ADDED_AFTER
from farmd_drivers.marlin.added import ADDED_BEFORE as ADDED_BEFORE
from farmd_drivers.marlin.added import ADDED_COMMANDS as ADDED_COMMANDS
from farmd_drivers.marlin.card_run import CardRuns
from farmd_drivers.marlin.feeding import FILE_UNREADABLE, Feeder
from farmd_drivers.marlin.head import Head
from farmd_drivers.marlin.health import tell_health
from farmd_drivers.marlin.heat import HeatWatch
from farmd_drivers.marlin.job import JobFile
from farmd_drivers.marlin.probing import NO_ANSWER, PortFinder
from farmd_drivers.marlin.runlog import RUN_LOG_UNWRITABLE, RunLog
from farmd_drivers.marlin.settings import MarlinSettings
from farmd_drivers.marlin.terminal import Terminal
from farmd_drivers.marlin.transport import Connection, Port
from farmd_drivers.marlin.typist import Typist
from farmd_drivers.marlin.wire import Wire, states
from farmd_drivers.marlin.wire.replies import Heat
from farmd_drivers.marlin.wire.states import Phase
from farmd_drivers.marlin.wire.window import Sending

PROGRESS_S = 0.25
PLACE_EVERY, SEEN_EVERY = 20, 120
"""The place of the run goes to disk with every 20th progress, so every 5 s; without a run, that the
machine answers goes there every 30 s."""
FAREWELL_S = 1.5
"""A machine that is left in mid-run gets so long to confirm that its heaters are off."""
LEFT = "farmd stopped feeding the machine"

NO_FILE = ErrorCode(
    "no-file", "a run on this machine needs a file and has none", "submit the job with a sliced file"
)


class MarlinDriver(Driver):
    """One machine on one port. See `Driver` for what each method owes."""

    settings_type = MarlinSettings
    capabilities = Capabilities(
        pause=True,
        history_authoritative=True,
        commands=True,
        evidence=EVIDENCE,
        file_kinds=("gcode", "gco", "g", "bgcode"),
    )

    def __init__(self, machine: MachineSpec, settings: DriverSettings, *, state_dir: Path) -> None:
        if not isinstance(settings, MarlinSettings):
            raise TypeError(f"settings of another driver: {type(settings).__name__}")
        self._machine = machine
        self._settings = settings
        self._log = RunLog(state_dir)
        self._account = Account(self._log)
        self._head = Head(machine, settings, self._log)
        self._feeder = Feeder(self._account, self._log, self._head)
        self._card = CardRuns(self._account, self._log, state_dir, prints=settings.print_from == "card")
        self.capabilities = self._card.capabilities(
            replace(MarlinDriver.capabilities, continues=settings.rehome is not None)
        )
        self._worker: Executor
        self._finder = PortFinder(settings, state_dir)
        self._heat = HeatWatch(machine, settings)
        self._connection: Connection | None = None
        self._leaving: Connection | None = None
        """A link that is being left: nothing is asked of it any more, but to stop in an emergency."""
        self._terminal = Terminal()
        self._typist = Typist(machine)
        self._error: Exception | None = None
        self._wake = asyncio.Event()
        self._settled = asyncio.Event()
        """The machine answers and is at rest, or never will."""
        self._preparing = False
        self._disturbed = ""
        """What has happened to the machine since the start that is being prepared was given."""
        self._lost_at: float | None = None
        """When the machine was left that this instance saw last, by the loop's clock."""

    async def serve(self, report: Report) -> None:
        # A thread of this machine's own: a device that hangs, or a long file, holds up no other.
        thread = ThreadPoolExecutor(1, thread_name_prefix=f"marlin {self._machine.name}")
        self._worker = thread
        try:
            await offload(self._log.load, self._worker)
            await offload(self._card.load, self._worker)
            await self._serve(report, await self._finder.open(self._worker))
        except LinkLost as lost:
            if lost.code is not NO_ANSWER or self._account.is_observed:
                raise
            raise await self._finder.explain(lost, self._worker) from lost
        finally:
            thread.shutdown(wait=False)

    async def _serve(self, report: Report, port: Port) -> None:
        loop = asyncio.get_running_loop()
        self._error = None
        self._wake.clear()
        self._settled.clear()
        self._account.connect(report, unseen=self._was_out_of_sight())
        wire = Wire(loop.time(), banner_s=self._settings.banner_wait_s, cold=self._log.is_hot)
        wire.speak(self._settings.dialect)
        wire.send_by(Sending(self._settings.sending), self._settings.rx_buffer_bytes)
        self._terminal.cut()
        connection = Connection(port, wire, self._on_event, self._on_error, self._worker, self._terminal.note)
        self._connection = connection
        self._card.connect(connection, self._worker)
        watching = loop.create_task(self._watch(connection))
        watching.add_done_callback(self._on_watched)
        try:
            while True:
                if self._error is not None:
                    raise self._error
                await self._feeder.read_ahead(connection, self._worker)
                await self._head.answer(connection, self._account, self._worker)
                await self._save()
                await self._wake.wait()
                self._wake.clear()
        finally:
            watching.cancel()
            self._connection = None
            try:
                await self._leave(connection)
            finally:
                await connection.close()
                self._leaving = None

    async def _leave(self, connection: Connection) -> None:
        """End what is open, as cold as it can be."""
        self._disturbed, self._leaving = "the link was lost", connection
        loop, wire = asyncio.get_running_loop(), connection.wire
        self._typist.break_off(connection)
        if was_in_run := wire.in_run:
            self._settled.clear()
            wire.fail(f"the link was lost: {self._error}" if self._error else LEFT, loop.time())
            connection.write_now(wire.data_to_send(loop.time()))
            while (event := wire.next_event()) is not None:
                self._on_event(event)
        if self._account.is_observed:
            self._lost_at = loop.time()
            self._log.saw(now(), None)
            await self._write(self._log.save_seen)
        self._account.leave()
        self._card.leave()
        if was_in_run and connection.is_open:
            connection.pump()
            try:
                async with asyncio.timeout(FAREWELL_S):
                    await self._settled.wait()
            except TimeoutError:
                connection.write_now(wire.firmware.farewell())
        await self._save()

    def _was_out_of_sight(self) -> bool:
        """Whether the machine was away for so long that somebody may have printed on it meanwhile."""
        if self._lost_at is None:
            return self._log.was_away(now(), self._settings.absence_grace_s)
        return asyncio.get_running_loop().time() - self._lost_at > self._settings.unseen_grace_s

    # Commands.

    async def start(self, order: StartOrder) -> None:
        self._idle_connection()
        if self._preparing:
            raise Refused(MACHINE_NOT_READY, "another start is being prepared; nothing was sent")
        if self._log.knows(order.run_id) or self._card.knows(order.run_id):
            raise Refused(MACHINE_NOT_READY, f"{order.run_id} was begun here before; nothing was sent")
        if order.file is None:
            raise Refused(NO_FILE)
        self._head.check(order.resume_at)
        limits = limits_of(self._machine)
        job = JobFile(order.file, limits, self._machine.allow, after=order.resume_at)
        self._preparing, self._disturbed = True, ""
        try:
            await self._card.look(self._check_undisturbed)
            if self._card.prints and order.resume_at is None:
                await self._card.start(order, job, self._check_undisturbed)
                job.close()
                return
            first, approach = await self._feeder.prepare(job, order.run_id, self._worker, self._undisturbed)
            connection = self._undisturbed()
        except OSError as error:
            job.close()
            raise Refused(FILE_UNREADABLE, str(error), where=job.name) from error
        except BaseException:
            job.close()
            self._wake.set()  # for `serve` to write down that nothing was begun
            raise
        finally:
            self._preparing = False
        self._feeder.begin(connection, FedRun(order.run_id, job, order.mass_g), first, approach)

    async def pause(self) -> None:
        connection = self._linked()
        if not self._card.pause():
            connection.wire.pause("asked for")
            connection.pump()

    async def resume(self) -> None:
        connection = self._linked()
        if not self._card.resume():
            connection.wire.resume()
            connection.pump()

    async def stop(self) -> None:
        self._disturbed = "the run was stopped"
        connection = self._linked()
        if not self._card.stop():
            connection.wire.cancel("asked for")
            connection.pump()

    async def recover(self) -> None:
        connection = self._linked()
        if self._account.fault is None:
            return
        tried = connection.wire.phase is not Phase.IDLE
        self._account.recover(tried=tried)
        if tried:
            connection.pulse_reset()
            connection.wire.recover(asyncio.get_running_loop().time())
            connection.pump()

    async def command(self, text: str) -> Reply:
        if self._preparing:
            raise Refused(MACHINE_NOT_READY, "a start is being prepared; nothing was sent")
        return await self._typist.send(self._linked(), text, self._note_typed)

    async def _note_typed(self, text: str) -> None:
        """What a command may do to the head is on disk before it is sent."""
        self._head.typed(text)
        if not self._log.is_saved:
            try:
                await offload(self._log.save, self._worker)
            except OSError as error:
                raise Refused(RUN_LOG_UNWRITABLE, str(error)) from error
        if self._preparing or self._connection is None:
            raise Refused(MACHINE_NOT_READY, "something came between; nothing was sent")

    def terminal(self, after: int = 0) -> list[TerminalLine]:
        return self._terminal.lines(after, now() - asyncio.get_running_loop().time())

    def estop(self) -> None:
        connection = self._connection or self._leaving or self._linked()
        self._stop_at_once(connection, EMERGENCY_STOP, EMERGENCY_STOP.meaning, "emergency stop")

    def _stop_at_once(self, connection: Connection, code: ErrorCode, what: str, reason: str) -> None:
        self._disturbed = what
        connection.write_now(connection.wire.estop(asyncio.get_running_loop().time(), reason))
        self._card.estop(reason)
        self._account.set_fault(code, what)
        connection.pump()

    def _feel(self, heat: Heat) -> None:
        in_run = self._account.run is not None or self._card.in_run
        self._judge(self._heat.heard(heat, asyncio.get_running_loop().time(), in_run=in_run))

    def _judge(self, alarm: Alarm | None) -> None:
        connection = self._connection
        if alarm is not None and connection is not None and connection.wire.phase is not Phase.HALTED:
            self._stop_at_once(connection, HEAT_GUARD, alarm.what, alarm.what)

    def _linked(self) -> Connection:
        if self._connection is None:
            raise Refused(MACHINE_NOT_READY, f"there is no link to {self._settings.port}")
        return self._connection

    def _idle_connection(self) -> Connection:
        connection = self._linked()
        if (
            self._account.fault is not None
            or connection.wire.phase is not Phase.IDLE
            or not self._card.is_free
        ):
            doing = "faulted" if self._account.fault else self._card.doing or connection.wire.phase
            raise Refused(MACHINE_NOT_READY, f"the machine is {doing}; nothing was sent")
        return connection

    def _check_undisturbed(self) -> None:
        if self._disturbed:
            what = f"while the start was prepared, {self._disturbed}; nothing was begun"
            raise Refused(MACHINE_NOT_READY, what)

    def _undisturbed(self) -> Connection:
        self._check_undisturbed()
        return self._idle_connection()

    # Record.

    async def _watch(self, connection: Connection) -> None:
        """Tell and write down how far the run is, and that the machine is in sight."""
        noted = -SEEN_EVERY
        for turn in itertools.count(1):
            await asyncio.sleep(PROGRESS_S)
            at = asyncio.get_running_loop().time()
            self._judge(self._heat.overdue(connection.wire, at))
            tell_health(turn, connection.wire, at, self._account, self._terminal)
            accepted = connection.wire.lines_accepted
            self._account.tell_progress(accepted)
            if self._card.tick():
                await self._write(self._card.note)
            run = self._account.run
            if self._account.is_observed and turn - noted >= (PLACE_EVERY if run else SEEN_EVERY):
                noted = turn
                self._log.saw(now(), run.job.place(accepted) if run else None)
                await self._write(self._log.save_seen)

    def _on_watched(self, watching: asyncio.Task[None]) -> None:
        if not watching.cancelled() and (error := watching.exception()) is not None:
            self._on_error(error if isinstance(error, Exception) else RuntimeError(repr(error)))

    async def _save(self) -> None:
        for log in (self._log, self._card):
            if not log.is_saved:
                await self._write(log.save)

    async def _write(self, write: Callable[[], None]) -> None:
        """A full disk does not stop a print: what is written here is a second record."""
        try:
            await offload(write, self._worker)
        except OSError as error:
            self._account.tell(Attention(RUN_LOG_UNWRITABLE.name, str(error)))

    # Events of the link.

    def _on_error(self, error: Exception) -> None:
        self._error = self._error or error
        self._wake.set()
        self._settled.set()

    def _on_event(self, event: states.WireEvent) -> None:
        is_for_card = self._card.on_event(event)
        match event:
            case _ if is_for_card:
                pass
            case states.NeedLines():
                self._feeder.is_wanted = True
                self._wake.set()
            case states.Drained():
                self._head.ask(event)
                self._wake.set()
            case states.Answered():
                self._typist.answered(event)
            case states.LinkDead():
                self._account.link_died()
                self._on_error(LinkLost(NO_ANSWER, where=self._settings.port))
            case Heat():
                self._account.on_event(event)
                self._feel(event)
            case states.Ready():
                self._settled.set()
                self._finder.answered()
                self._heat.reset()
                self._account.on_ready(event)
            case states.Halted():
                self._heat.reset()
                self._disturbed = "the firmware halted"
                pulsed = (
                    not event.confirmed and self._connection is not None and self._connection.pulse_reset()
                )
                self._account.on_halted(event, pulsed=pulsed)
            case _:
                if isinstance(event, states.Restarted):
                    self._heat.reset()
                    self._disturbed = "the machine restarted"
                self._account.on_event(event)
        if not (self._log.is_saved and self._card.is_saved):
            self._wake.set()
