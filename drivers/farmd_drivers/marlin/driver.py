"""The driver of machines with Marlin firmware on a serial port, printed by feeding them line by line.

Translates between the public driver interface and the wire: orders into jobs, events of the link into
events of the machine. A machine fed by us does not print without us, so a run is never adopted: when
the link or this process goes, the run has failed, its place is told, and the heaters are switched off as
well as they can be. Runs are written down before they are sent, so what is not in the history never began.
What the machine is sent around a file is ADDED_BEFORE and ADDED_AFTER; nothing else,
but M105 (every few seconds, where the firmware does not report temperatures by itself).
"""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydantic import Field

from farmd.driver import (
    MACHINE_NOT_READY,
    Activity,
    Attention,
    Capabilities,
    Driver,
    DriverSettings,
    Ended,
    Event,
    Faulted,
    Observed,
    Paused,
    Progressed,
    Rebooted,
    Recovered,
    Report,
    Resumed,
    Started,
    StartOrder,
    Temperatures,
    offload,
)
from farmd.model.errors import ErrorCode, LinkLost, Refused
from farmd.model.machine import Fault, MachineSpec
from farmd.model.work import Outcome, Place
from farmd_drivers.marlin import states
from farmd_drivers.marlin.job import Batch, JobFile
from farmd_drivers.marlin.outbox import HELLO, SYNC
from farmd_drivers.marlin.replies import Heat, command_of
from farmd_drivers.marlin.runlog import RUN_LOG_UNWRITABLE, RunLog
from farmd_drivers.marlin.states import Phase
from farmd_drivers.marlin.transport import Connection, open_port
from farmd_drivers.marlin.wire import DRAIN, Wire

ADDED_BEFORE = (command_of(HELLO), SYNC)
"""Sent before the first line of a file: numbers from 0, and the proof that the machine follows."""
ADDED_AFTER = DRAIN
"""Sent after the last line of a file, at a pause and at a cancel: motion over, and the proof of it."""
ADDED_COMMANDS = re.compile(rb"M110 N0|M105|M400|M115|M113 S1|M155 S2")
"""Whatever the driver adds at the connect and to a run that is neither stopped nor failed (those also get
the commands of `heaters_off`)."""
PROGRESS_S = 0.25
PLACE_EVERY = 20
"""The place of the run goes to disk with every 20th progress, so every 5 s."""
NOTES_PER_RUN = 20
"""Firmware messages told per run; noise can make any number of them."""

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
FIRMWARE_HALTED = ErrorCode(
    "firmware-halted",
    "the firmware has stopped the machine to protect it",
    "find out why, let it cool, then switch it off and on and say `farmctl release`",
)
EMERGENCY_STOP = ErrorCode(
    "emergency-stop",
    "the machine was stopped as an emergency",
    "make it safe, switch it off and on, then say `farmctl release`",
)


class MarlinSettings(DriverSettings):
    """Settings of a Marlin machine."""

    port: str
    """The serial port, best by its name in /dev/serial/by-id."""
    baud: int = Field(default=115200, gt=0)
    """The speed that the firmware was built for; boards with native USB take any."""
    banner_wait_s: float = Field(default=states.BANNER_S, ge=0)
    """How long to wait for a board that opening the port resets."""
    unseen_grace_s: float = Field(default=60.0, ge=0)
    """A link lost for no longer than this hides no print that somebody else started."""


@dataclass(slots=True)
class _Run:
    id: str
    job: JobFile
    mass_g: float
    started: bool = False
    reading: bool = False
    all_read: bool = False
    told: int = -1
    notes: int = 0


class MarlinDriver(Driver):
    """One machine on one port. See `Driver` for what each method owes."""

    settings_type = MarlinSettings
    capabilities = Capabilities(
        pause=True,
        history_authoritative=True,
        evidence="the machine accepted the first line of the file, after it had answered to M105",
        file_kinds=("gcode", "gco", "g"),
    )

    def __init__(self, machine: MachineSpec, settings: DriverSettings, *, state_dir: Path) -> None:
        if not isinstance(settings, MarlinSettings):
            raise TypeError(f"settings of another driver: {type(settings).__name__}")
        self._settings = settings
        self._log = RunLog(state_dir)
        self._connection: Connection | None = None
        self._report: Report = _nobody
        self._run: _Run | None = None
        self._fault: Fault | None = None
        self._error: Exception | None = None
        self._wake = asyncio.Event()
        self._observed = False
        self._starting = False
        self._abandoned = False
        self._recovering = False
        self._restarted = False
        self._unseen = False
        self._lost_at: float | None = None

    async def serve(self, report: Report) -> None:
        loop = asyncio.get_running_loop()
        settings = self._settings
        self._report = report
        self._error = None
        self._observed = self._restarted = self._recovering = False
        self._wake.clear()
        await offload(self._log.load)
        port = await offload(partial(open_port, settings.port, settings.baud))
        away_s = 0.0 if self._lost_at is None else loop.time() - self._lost_at
        self._unseen = away_s > settings.unseen_grace_s
        wire = Wire(loop.time(), banner_s=settings.banner_wait_s)
        self._connection = Connection(port, wire, self._on_event, self._on_error)
        progress = loop.create_task(self._tell_progress())
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                if self._error is not None:
                    raise self._error
                await self._read_ahead()
        finally:
            progress.cancel()
            self._leave()
            self._lost_at = loop.time()

    def _leave(self) -> None:
        """End what is open, cold, and close; awaits nothing."""
        connection = self._connection
        if connection is None:
            return
        reason = "the link was lost" if self._error is not None else "farmd stopped feeding the machine"
        wire = connection.wire
        if wire.in_run:
            wire.fail(
                f"{reason}: {self._error}" if self._error else reason, asyncio.get_running_loop().time()
            )
            connection.write_now(wire.data_to_send(0.0))
            while (event := wire.next_event()) is not None:
                self._on_event(event)
        connection.close()
        self._connection = None

    # Commands.

    async def start(self, order: StartOrder) -> None:
        self._idle_wire()
        if order.file is None:
            raise Refused(NO_FILE)
        job = JobFile(order.file)
        self._starting, self._abandoned = True, False
        try:
            await offload(job.check)
            first = await offload(job.next_batch)
            await offload(partial(self._log.begin, order.run_id))
        except OSError as error:
            raise Refused(FILE_UNREADABLE, str(error), where=order.file.name) from error
        finally:
            self._starting = False
        try:
            if self._abandoned:
                raise Refused(MACHINE_NOT_READY, "the run was stopped before it began")
            connection = self._idle_wire()
        except Refused:
            job.close()
            await offload(self._log.forget)
            raise
        self._run = _Run(order.run_id, job, order.mass_g)
        connection.wire.begin(asyncio.get_running_loop().time())
        self._feed(connection, self._run, first)

    async def pause(self) -> None:
        connection = self._linked()
        connection.wire.pause("asked for")
        connection.pump()

    async def resume(self) -> None:
        connection = self._linked()
        connection.wire.resume()
        connection.pump()

    async def stop(self) -> None:
        self._abandoned = self._starting
        connection = self._linked()
        connection.wire.cancel("asked for")
        connection.pump()

    async def recover(self) -> None:
        connection = self._linked()
        if self._fault is None:
            return
        if connection.wire.phase is Phase.IDLE:
            self._fault = None
            self._tell(Recovered())
            return
        self._recovering = True
        connection.pulse_reset()
        connection.wire.recover(asyncio.get_running_loop().time())
        connection.pump()

    def estop(self) -> None:
        connection = self._linked()
        connection.write_now(connection.wire.estop(asyncio.get_running_loop().time()))
        self._set_fault(EMERGENCY_STOP, EMERGENCY_STOP.meaning)
        connection.pump()

    def _linked(self) -> Connection:
        if self._connection is None:
            raise Refused(MACHINE_NOT_READY, f"there is no link to {self._settings.port}")
        return self._connection

    def _idle_wire(self) -> Connection:
        connection = self._linked()
        if self._fault is not None or self._starting or connection.wire.phase is not Phase.IDLE:
            doing = "faulted" if self._fault else connection.wire.phase
            raise Refused(MACHINE_NOT_READY, f"the machine is {doing}; nothing was sent")
        return connection

    # Feeding.

    async def _read_ahead(self) -> None:
        run, connection = self._run, self._connection
        if run is None or connection is None or run.all_read:
            return
        run.reading = True
        try:
            batch = await offload(run.job.next_batch)
        except (OSError, Refused) as error:
            connection.wire.fail(f"the file cannot be read on: {error}", asyncio.get_running_loop().time())
            connection.pump()
        else:
            if self._run is run:
                self._feed(connection, run, batch)
        finally:
            run.reading = False
            if self._run is not run:
                run.job.close()

    def _feed(self, connection: Connection, run: _Run, batch: Batch | None) -> None:
        if batch is None:
            run.all_read = True
            connection.wire.end_of_job()
        else:
            connection.wire.feed(batch.commands, batch.pause)
        connection.pump()

    async def _tell_progress(self) -> None:
        for turn in itertools.count(1):
            await asyncio.sleep(PROGRESS_S)
            run, connection = self._run, self._connection
            if run is None or connection is None or not run.started:
                continue
            accepted = connection.wire.lines_accepted
            if accepted != run.told:
                run.told = accepted
                self._tell(Progressed(run.id, run.job.fraction(accepted), run.job.layer(accepted)))
                if turn % PLACE_EVERY == 0:
                    self._write_down(partial(self._log.at, run.job.place(accepted)))

    def _write_down(self, write: Callable[[], None]) -> None:
        """A full disk does not stop a print: what is written here is a second record."""
        try:
            write()
        except OSError as error:
            self._tell(Attention(RUN_LOG_UNWRITABLE.name, str(error)))

    # Events of the link.

    def _tell(self, event: Event) -> None:
        """Report; before the connection's first `Observed`, only a fault is, and as that."""
        if not self._observed:
            if isinstance(event, Faulted):
                event = Observed(Activity.FAULT, history=self._log.history(), fault=event.fault)
            if not isinstance(event, Observed):
                return
            self._observed = True
        self._report(event)

    def _on_error(self, error: Exception) -> None:
        self._error = error
        self._wake.set()

    def _on_event(self, event: states.WireEvent) -> None:
        match event:
            case states.NeedLines():
                self._wake.set()
            case Heat():
                self._tell(Temperatures(event.actual_c, event.target_c))
            case states.Ready():
                self._on_ready(event)
            case states.Restarted():
                self._restarted = True
                self._tell(Rebooted("the firmware said `start`"))
            case states.Halted():
                self._on_halted(event)
            case states.LinkDead():
                if self._recovering and self._fault is not None:
                    self._tell(Faulted(self._fault))
                self._on_error(LinkLost(NO_ANSWER, where=self._settings.port))
            case states.Noted():
                self._on_note(event.text)
            case _:
                if self._run is not None:
                    self._on_run_event(event, self._run)

    def _on_run_event(self, event: states.WireEvent, run: _Run) -> None:
        if isinstance(event, states.RunBegan | states.RunPaused | states.RunDone) and not run.started:
            run.started = True
            self._tell(Started(run.id, self.capabilities.evidence))
        match event:
            case states.RunPaused():
                self._tell(Paused(run.id, event.reason))
            case states.RunResumed():
                self._tell(Resumed(run.id))
            case states.RunDone():
                self._end(run, Outcome.OK)
            case states.RunCancelled():
                self._end(run, Outcome.CANCELLED, event.reason, run.job.place(event.lines_accepted))
            case states.RunFailed():
                self._end(run, Outcome.FAILED, event.reason, run.job.place(event.lines_accepted))
            case _:
                pass

    def _end(self, run: _Run, outcome: Outcome, reason: str = "", place: Place | None = None) -> None:
        self._run = None
        if not run.reading:
            run.job.close()
        share = 1.0 if outcome is Outcome.OK else (place and place.fraction) or 0.0
        used_g = run.mass_g * share
        self._write_down(partial(self._log.end, outcome, reason, place, used_g))
        self._tell(Ended(run.id, outcome, reason, place, used_g))

    def _on_ready(self, event: states.Ready) -> None:
        rebooted, unseen = self._restarted, self._unseen
        self._restarted = self._unseen = False
        recovered, self._recovering = self._recovering, False
        if recovered:
            self._fault = None
        self._tell(
            Observed(
                Activity.IDLE if self._fault is None else Activity.FAULT,
                history=self._log.history(),
                fault=self._fault,
                rebooted=rebooted,
                unseen_start=unseen,
                firmware=event.firmware,
            )
        )
        if recovered:
            self._tell(Recovered())
        if "THERMAL_PROTECTION" not in event.capabilities:
            what = "the firmware does not say that it watches its heaters (THERMAL_PROTECTION)"
            self._tell(Attention("no-thermal-protection", what))

    def _on_halted(self, event: states.Halted) -> None:
        if self._fault is None or self._fault.code != EMERGENCY_STOP.name:
            self._set_fault(FIRMWARE_HALTED, event.text)
        elif not event.confirmed:
            pulsed = self._connection is not None and self._connection.pulse_reset()
            more = "its reset line was pulled" if pulsed else "its port has no reset line: cut the power"
            self._set_fault(EMERGENCY_STOP, f"the firmware did not confirm the emergency stop; {more}")

    def _set_fault(self, code: ErrorCode, what: str) -> None:
        self._fault = Fault(code.name, what, code.remedy)
        self._recovering = False
        self._tell(Faulted(self._fault))

    def _on_note(self, text: str) -> None:
        if self._run is not None:
            self._run.notes += 1
            if self._run.notes > NOTES_PER_RUN:
                return
        self._tell(Attention("firmware-message", text))


def _nobody(event: object) -> None:
    raise RuntimeError(f"an event before anybody serves this machine: {event}")
