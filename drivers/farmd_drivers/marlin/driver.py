"""The driver of machines with Marlin firmware on a serial port, printed by feeding them line by line.

A machine fed by us does not print without us, so a run is never adopted: when the link or this process
goes, the run has failed, its place is told, and the heaters are switched off: at once as well as they can
be, and in the handshake of the next link for certain. Runs are written down before they are sent, so what
is not in the history never began. What the machine is sent around a file is ADDED_BEFORE and ADDED_AFTER;
nothing else, but M105 (every few seconds, where the firmware does not report temperatures by itself).
"""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

from farmd.driver import (
    MACHINE_NOT_READY,
    Attention,
    Capabilities,
    Driver,
    DriverSettings,
    Report,
    StartOrder,
    now,
    offload,
)
from farmd.model.errors import ErrorCode, LinkLost, Refused
from farmd.model.machine import MachineSpec
from farmd_drivers.marlin.account import EMERGENCY_STOP, EVIDENCE, Account, FedRun
from farmd_drivers.marlin.job import Batch, JobFile
from farmd_drivers.marlin.runlog import RUN_LOG_UNWRITABLE, RunLog
from farmd_drivers.marlin.settings import MarlinSettings
from farmd_drivers.marlin.transport import Connection, Port, open_port
from farmd_drivers.marlin.wire import Wire, states
from farmd_drivers.marlin.wire.dialogue import DRAIN
from farmd_drivers.marlin.wire.outbox import HELLO, SYNC
from farmd_drivers.marlin.wire.replies import command_of
from farmd_drivers.marlin.wire.states import Phase

ADDED_BEFORE = (command_of(HELLO), SYNC)
"""Sent before the first line of a file: numbers from 0, and the proof that the machine follows."""
ADDED_AFTER = DRAIN
"""Sent after the last line of a file, at a pause and at a cancel: motion over, and the proof of it."""
ADDED_COMMANDS = re.compile(
    rb"M110 N0|M105|M400|M115|M113 S1|M155 S2|M108|M104 (?:T\d+ )?S0|M140 S0|M141 S0|M107"
)
"""Whatever the driver adds to what files say. From M108 on, only where a run was stopped or has failed:
heaters off, at once and again in the next handshake."""
PROGRESS_S = 0.25
PLACE_EVERY, SEEN_EVERY = 20, 120
"""The place of the run goes to disk with every 20th progress, so every 5 s; without a run, that the
machine answers goes there every 30 s."""
FAREWELL_S = 1.5
"""A machine that is left in mid-run gets so long to confirm that its heaters are off."""
LEFT = "farmd stopped feeding the machine"

NO_ANSWER = ErrorCode(
    "no-answer",
    "the machine does not answer on its serial port",
    "compare `baud` with the firmware's, switch the machine off and on, look at its cable",
)
NO_FILE = ErrorCode(
    "no-file", "a run on this machine needs a file and has none", "submit the job with a sliced file"
)
FILE_UNREADABLE = ErrorCode(
    "file-unreadable", "the file of the run cannot be read", "look at the vault with `farmd verify`"
)


class MarlinDriver(Driver):
    """One machine on one port. See `Driver` for what each method owes."""

    settings_type = MarlinSettings
    capabilities = Capabilities(
        pause=True,
        history_authoritative=True,
        evidence=EVIDENCE,
        file_kinds=("gcode", "gco", "g", "bgcode"),
    )

    def __init__(self, machine: MachineSpec, settings: DriverSettings, *, state_dir: Path) -> None:
        if not isinstance(settings, MarlinSettings):
            raise TypeError(f"settings of another driver: {type(settings).__name__}")
        self._name = machine.name
        self._settings = settings
        self._log = RunLog(state_dir)
        self._account = Account(self._log)
        self._worker: Executor
        self._connection: Connection | None = None
        self._error: Exception | None = None
        self._wake = asyncio.Event()
        self._settled = asyncio.Event()
        """The machine answers and is at rest, or never will."""
        self._needs_lines = False
        self._preparing = False
        self._disturbed = ""
        """What has happened to the machine since the start that is being prepared was given."""
        self._lost_at: float | None = None
        """When the machine was left that this instance saw last, by the loop's clock."""

    async def serve(self, report: Report) -> None:
        # A thread of this machine's own: a device that hangs, or a long file, holds up no other.
        thread = ThreadPoolExecutor(1, thread_name_prefix=f"marlin {self._name}")
        self._worker = thread
        try:
            await offload(self._log.load, self._worker)
            await self._serve(report, await self._open())
        finally:
            thread.shutdown(wait=False)

    async def _open(self) -> Port:
        opening = asyncio.ensure_future(
            offload(partial(open_port, self._settings.port, self._settings.baud), self._worker)
        )
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            await asyncio.wait({opening})
            if opening.exception() is None:
                opening.result().close()
            raise

    async def _serve(self, report: Report, port: Port) -> None:
        loop = asyncio.get_running_loop()
        self._error = None
        self._wake.clear()
        self._settled.clear()
        self._account.connect(report, unseen=self._was_out_of_sight())
        wire = Wire(loop.time(), banner_s=self._settings.banner_wait_s, cold=self._log.is_hot)
        connection = Connection(port, wire, self._on_event, self._on_error, self._worker)
        self._connection = connection
        watching = loop.create_task(self._watch(connection))
        watching.add_done_callback(self._on_watched)
        try:
            while True:
                if self._error is not None:
                    raise self._error
                await self._read_ahead(connection)
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

    async def _leave(self, connection: Connection) -> None:
        """End what is open, as cold as it can be."""
        self._disturbed = "the link was lost"
        loop, wire = asyncio.get_running_loop(), connection.wire
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
        if self._log.knows(order.run_id):
            raise Refused(MACHINE_NOT_READY, f"{order.run_id} was begun here before; nothing was sent")
        if order.file is None:
            raise Refused(NO_FILE)
        job = JobFile(order.file)
        self._preparing, self._disturbed = True, ""
        try:
            first = await self._prepare(job, order.run_id)
            connection = self._undisturbed()
        except BaseException:
            job.close()
            raise
        finally:
            self._preparing = False
        run = self._account.run = FedRun(order.run_id, job, order.mass_g)
        self._needs_lines = False
        connection.wire.begin(asyncio.get_running_loop().time())
        self._feed(connection, run, first)

    async def _prepare(self, job: JobFile, run_id: str) -> Batch:
        """Check the file and write the run down; no byte has been sent when this returns."""
        try:
            first = await offload(job.prepare, self._worker)
        except OSError as error:
            raise Refused(FILE_UNREADABLE, str(error), where=job.name) from error
        self._undisturbed()
        self._log.begin(run_id)
        try:
            await offload(self._log.save, self._worker)
            self._undisturbed()
        except OSError as error:
            self._log.forget()
            raise Refused(RUN_LOG_UNWRITABLE, str(error)) from error
        except BaseException:
            self._log.forget()
            self._wake.set()  # for `serve` to write that down
            raise
        return first

    async def pause(self) -> None:
        connection = self._linked()
        connection.wire.pause("asked for")
        connection.pump()

    async def resume(self) -> None:
        connection = self._linked()
        connection.wire.resume()
        connection.pump()

    async def stop(self) -> None:
        self._disturbed = "the run was stopped"
        connection = self._linked()
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

    def estop(self) -> None:
        connection = self._linked()
        self._disturbed = EMERGENCY_STOP.meaning
        connection.write_now(connection.wire.estop(asyncio.get_running_loop().time()))
        self._account.set_fault(EMERGENCY_STOP, EMERGENCY_STOP.meaning)
        connection.pump()

    def _linked(self) -> Connection:
        if self._connection is None:
            raise Refused(MACHINE_NOT_READY, f"there is no link to {self._settings.port}")
        return self._connection

    def _idle_connection(self) -> Connection:
        connection = self._linked()
        if self._account.fault is not None or connection.wire.phase is not Phase.IDLE:
            doing = "faulted" if self._account.fault else connection.wire.phase
            raise Refused(MACHINE_NOT_READY, f"the machine is {doing}; nothing was sent")
        return connection

    def _undisturbed(self) -> Connection:
        if self._disturbed:
            what = f"while the start was prepared, {self._disturbed}; nothing was sent"
            raise Refused(MACHINE_NOT_READY, what)
        return self._idle_connection()

    # Feeding.

    async def _read_ahead(self, connection: Connection) -> None:
        run = self._account.run
        if not self._needs_lines or run is None or run.all_read:
            return
        self._needs_lines = False
        try:
            batch = await offload(run.job.next_batch, self._worker)
        except (OSError, Refused) as error:
            if self._account.run is run:
                reason = f"the file cannot be read on: {error}"
                connection.wire.fail(reason, asyncio.get_running_loop().time())
                connection.pump()
        else:
            if self._account.run is run:
                self._feed(connection, run, batch)

    def _feed(self, connection: Connection, run: FedRun, batch: Batch | None) -> None:
        if batch is None:
            run.all_read = True
            connection.wire.end_of_job()
        else:
            connection.wire.feed(batch.commands, batch.pause)
        connection.pump()

    # Record.

    async def _watch(self, connection: Connection) -> None:
        """Tell and write down how far the run is, and that the machine is in sight."""
        noted = -SEEN_EVERY
        for turn in itertools.count(1):
            await asyncio.sleep(PROGRESS_S)
            accepted = connection.wire.lines_accepted
            self._account.tell_progress(accepted)
            run = self._account.run
            if self._account.is_observed and turn - noted >= (PLACE_EVERY if run else SEEN_EVERY):
                noted = turn
                self._log.saw(now(), run.job.place(accepted) if run else None)
                await self._write(self._log.save_seen)

    def _on_watched(self, watching: asyncio.Task[None]) -> None:
        if not watching.cancelled() and (error := watching.exception()) is not None:
            self._on_error(error if isinstance(error, Exception) else RuntimeError(repr(error)))

    async def _save(self) -> None:
        if not self._log.is_saved:
            await self._write(self._log.save)

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
        match event:
            case states.NeedLines():
                self._needs_lines = True
                self._wake.set()
            case states.LinkDead():
                self._account.link_died()
                self._on_error(LinkLost(NO_ANSWER, where=self._settings.port))
            case states.Ready():
                self._settled.set()
                self._account.on_ready(event)
            case states.Halted():
                self._disturbed = "the firmware halted"
                pulsed = (
                    not event.confirmed and self._connection is not None and self._connection.pulse_reset()
                )
                self._account.on_halted(event, pulsed=pulsed)
            case _:
                if isinstance(event, states.Restarted):
                    self._disturbed = "the machine restarted"
                self._account.on_event(event)
        if not self._log.is_saved:
            self._wake.set()
