"""Where the head of one machine is put: away from the part at a pause and at a stop, and to the place of a run
that broke off, which another run goes on with.

Works out from the file what is set where the run stands, has the scripts of `wire.park` made for it, and hands
them to the wire. The machine's record is told before the head leaves its place: should the run break off then,
nobody may take the height of the place for the head's.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor

from farmd.driver import NOT_SUPPORTED, Attention, Event, offload
from farmd.gcode import check_command, limits_of
from farmd.gcode.manual import is_harmless
from farmd.model.errors import ErrorCode, Refused
from farmd.model.machine import MachineSpec
from farmd.model.work import Place
from farmd_drivers.marlin.account import Account
from farmd_drivers.marlin.job import JobFile
from farmd_drivers.marlin.runlog import RunLog
from farmd_drivers.marlin.settings import MarlinSettings
from farmd_drivers.marlin.transport import Connection
from farmd_drivers.marlin.wire import park, states
from farmd_drivers.marlin.wire.modal import Modal

CANNOT_CONTINUE = ErrorCode(
    "cannot-continue",
    "this run cannot be gone on with at its place; nothing was sent",
    "clear the bed and print the file from its beginning",
)
NOT_PARKED = "not-parked"
"""Code of the attention that the head was left on the part, and why."""


class Head:
    """The scripts of one machine. `asks`: at a pause and at a stop there is something for the head to do."""

    def __init__(self, machine: MachineSpec, settings: MarlinSettings, log: RunLog) -> None:
        self._machine = machine
        self._height_mm = machine.volume_mm[2]
        self._park = None if settings.park is None else settings.park.plan()
        self._rehome = None if settings.rehome is None else settings.rehome.plan()
        self._motors_off = (park.MOTORS_OFF,) if settings.motors_off_at_stop else ()
        self._log = log
        self._asked: states.Drained | None = None
        self.asks = self._park is not None or bool(self._motors_off)

    # A pause, a stop.

    def ask(self, event: states.Drained) -> None:
        """Motion is over; `answer` is to be called soon."""
        self._asked = event

    async def answer(self, connection: Connection, account: Account, worker: Executor) -> None:
        """Hand the wire the script that it waits for, if it does."""
        event, run, tell = self._asked, account.run, account.tell
        if event is None or run is None:
            return
        parking = await self._parking(event, run.job, worker, tell)
        if parking.away and not event.stopping:
            self._log.displace()
            try:
                await offload(self._log.save, worker)
            except OSError as error:
                tell(Attention(NOT_PARKED, f"the head stays where it is: {error}"))
                parking = park.STAY
        if self._asked is event:  # else the run has come to something new meanwhile
            self._asked = None
            connection.wire.park(parking)
            connection.pump()

    async def _parking(
        self, event: states.Drained, job: JobFile, worker: Executor, tell: Callable[[Event], None]
    ) -> park.Parking:
        """Its script; where the head cannot be moved safely, none."""
        motors_off = self._motors_off if event.stopping else ()
        if self._park is None or event.is_parked or not event.is_placed:
            return park.Parking(motors_off)
        try:
            modal = await offload(lambda: job.modal_at(event.lines_accepted), worker)
            obstacle = park.obstacle(modal)
        except (OSError, Refused) as error:
            obstacle = f"the file cannot be read again: {error}"
        if obstacle:
            tell(Attention(NOT_PARKED, f"the head stays where it is: {obstacle}"))
            return park.Parking(motors_off)
        if event.stopping:
            return park.Parking((*park.stop(self._park, modal, self._height_mm), *motors_off))
        return park.pause(self._park, modal, self._height_mm)

    def typed(self, text: str) -> None:
        """A person is about to send a command, which may move the head."""
        if not is_harmless(text):
            self._log.displace()

    # Going on.

    def check(self, place: Place | None) -> None:
        """Raises `Refused` when this machine cannot go on there, as far as is known without the file."""
        if place is None:
            return
        if self._rehome is None:
            raise Refused(NOT_SUPPORTED, "the machine's `rehome` does not say how it finds its position anew")
        for command in self._rehome.commands:
            if finding := check_command(command, limits_of(self._machine), self._machine.allow):
                raise Refused(CANNOT_CONTINUE, f"`rehome` has {finding.text}, which {finding.reason}")
        if not place.line or place.byte is None or place.z_mm is None:
            raise Refused(CANNOT_CONTINUE, "the place has no line, byte or height")
        last = self._log.broke_off
        if last is None or (last.line, last.byte) != (place.line, place.byte):
            what = (
                "the last run on this machine did not break off there, or where it did is not known exactly"
            )
            raise Refused(CANNOT_CONTINUE, what)
        if self._rehome.keeps_z and self._log.is_displaced:
            raise Refused(CANNOT_CONTINUE, "the head was moved since, so its height is not that of the place")

    def approach(self, job: JobFile) -> tuple[park.Script, ...]:
        """What leads to the place at which a prepared job goes on; () for a job from the beginning.

        Raises `Refused`.
        """
        if job.at_break is None or self._rehome is None:
            return ()
        modal, is_height_sure = job.at_break
        if obstacle := self._obstacle(modal, is_height_sure, self._rehome):
            raise Refused(CANNOT_CONTINUE, obstacle, where=job.name)
        return park.approach(self._rehome, modal, self._height_mm)

    def _obstacle(self, modal: Modal, is_height_sure: bool, rehome: park.Rehome) -> str:
        if rehome.keeps_z and not is_height_sure:
            return "the height changes so near to the place that nobody knows at which one the head stands"
        return park.approach_obstacle(rehome, modal, self._height_mm)
