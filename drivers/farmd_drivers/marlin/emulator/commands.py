"""What the emulated firmware does on each command: `HANDLERS`, by word.

A handler gets the machine, the parameters by letter, the whole command and the `Job` that is its execution:
it may say when, or upon what, that is over. Whoever adds a subject (a card) adds handlers to one machine's
own table. Knows no bytes of the wire but what a command prints.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from farmd_drivers.marlin.emulator.body import Heater
    from farmd_drivers.marlin.emulator.machine import Marlin

Values = dict[str, float]
_PARAMETER = re.compile(rb"([A-Z])(-?(?:\d+\.?\d*|\.\d+))?")


class Busy(StrEnum):
    """What the keep-alive says of a command in work."""

    PROCESSING = "processing"
    FOR_USER = "paused for user"
    FOR_INPUT = "paused for input"


@dataclass(slots=True)
class Job:
    """A command in work: until when, or upon what it is over."""

    number: int | None
    command: bytes
    until: float
    asked: bool = True
    """It came by the wire, and is answered with ok."""
    ready: Callable[[], bool] | None = None
    """Looked at when `until` has come."""
    busy: Busy = Busy.PROCESSING
    says_busy: bool = True
    breakable: bool = False
    """M108 ends it."""
    next_report: float = math.inf
    """When a heat wait tells the temperatures next."""
    last_words: bytes = b""
    """Said before its ok."""
    next_busy: float = math.inf


Handler = Callable[["Marlin", Values, bytes, Job], None]


def move(machine: Marlin, values: Values, command: bytes, job: Job) -> None:
    job.until = machine.body.move(values, machine.now)


def dwell(machine: Marlin, values: Values, command: bytes, job: Job) -> None:
    lasts_s = values.get("S", 0.0) + values.get("P", 0.0) / 1000
    job.until = machine.body.planner.synchronize(machine.now) + lasts_s * machine.build.move_scale


def home(machine: Marlin, values: Values, command: bytes, job: Job) -> None:
    job.until = machine.body.planner.synchronize(machine.now) + machine.build.home_s
    machine.body.home(values)


def absolute(machine: Marlin, values: Values, command: bytes, job: Job) -> None:
    machine.body.relative = machine.body.relative_e = command.startswith(b"G91")


def absolute_e(machine: Marlin, values: Values, command: bytes, job: Job) -> None:
    machine.body.relative_e = command.startswith(b"M83")


def set_position(machine: Marlin, values: Values, command: bytes, job: Job) -> None:
    machine.body.set_position(values)


def tell_position(machine: Marlin, values: Values, command: bytes, job: Job) -> None:
    machine.output += machine.body.where()


def _prompt(machine: Marlin, text: str) -> None:
    """Ask the person at the machine, by way of the host."""
    for words in ("end", f"begin {text}", "button Continue", "show"):
        machine.say(b"//action:prompt_" + words.encode())


def wait_for_user(machine: Marlin, values: Values, command: bytes, job: Job) -> None:
    """M0 and M1: bare, until M108 or the button; with S or P, for a time."""
    still_at = machine.body.planner.synchronize(machine.now)
    lasts_s = values.get("S", 0.0) + values.get("P", 0.0) / 1000
    job.busy, job.breakable = Busy.FOR_USER, True
    job.until = still_at + lasts_s * machine.build.move_scale if lasts_s else math.inf
    if machine.build.prompts:
        _prompt(machine, "M0/1 Break Called")


def change_filament(machine: Marlin, values: Values, command: bytes, job: Job) -> None:
    """M600: parks, says `paused` (once or twice), and waits for a person; M108 or M876 goes on."""
    machine.body.planner.synchronize(machine.now)
    job.busy, job.breakable, job.until = Busy.FOR_USER, True, math.inf
    job.last_words = b"//action:resumed\n"
    machine.output += b"//action:paused\n" * (2 if machine.build.says_twice else 1)
    if machine.build.prompts:
        _prompt(machine, "Nozzle Parked")


def _heat(machine: Marlin, heater: Heater, values: Values) -> None:
    machine.body.warm(machine.now)
    heater.target_c = values.get("S", values.get("R", heater.target_c))
    if not machine.build.heat_c_per_s:
        machine.body.warm(machine.now)


def _wait_for_heat(machine: Marlin, heater: Heater, values: Values, job: Job) -> None:
    _heat(machine, heater, values)
    job.ready = lambda: heater.is_warm
    job.breakable, job.says_busy = True, machine.build.busy_while_heating
    job.next_report = machine.now + 1.0


def heat_nozzle(machine: Marlin, values: Values, command: bytes, job: Job) -> None:
    _heat(machine, machine.body.nozzle, values)


def heat_bed(machine: Marlin, values: Values, command: bytes, job: Job) -> None:
    _heat(machine, machine.body.bed, values)


def wait_for_nozzle(machine: Marlin, values: Values, command: bytes, job: Job) -> None:
    _wait_for_heat(machine, machine.body.nozzle, values, job)


def wait_for_bed(machine: Marlin, values: Values, command: bytes, job: Job) -> None:
    _wait_for_heat(machine, machine.body.bed, values, job)


def number_lines(machine: Marlin, values: Values, command: bytes, job: Job) -> None:
    # The number was set when the line was read, and Marlin 2 sets it again here.
    if "N" in values:
        machine.last_number = int(values["N"])


def keepalive(machine: Marlin, values: Values, command: bytes, job: Job) -> None:
    if "S" in values:
        machine.keepalive_s = values["S"]
    else:
        machine.output += b"echo:M113 S%d\n" % machine.keepalive_s


def identify(machine: Marlin, values: Values, command: bytes, job: Job) -> None:
    machine.output += machine.build.identity()


def report_temperatures(machine: Marlin, values: Values, command: bytes, job: Job) -> None:
    if machine.build.autoreport:
        machine.autoreport_s = values.get("S", 0.0)
        machine.next_report = machine.now + machine.autoreport_s if machine.autoreport_s else math.inf


def wait_for_moves(machine: Marlin, values: Values, command: bytes, job: Job) -> None:
    job.until = machine.body.planner.synchronize(machine.now)


def quick_stop(machine: Marlin, values: Values, command: bytes, job: Job) -> None:
    machine.body.planner.drop()


def die(machine: Marlin, values: Values, command: bytes, job: Job) -> None:
    machine.kill(echo=b"M112 Shutdown")


def card_status(machine: Marlin, values: Values, command: bytes, job: Job) -> None:
    machine.output += b"Not SD printing\n"


def answer_prompt(machine: Marlin, values: Values, command: bytes, job: Job) -> None:
    pass  # it was heard when it was read; in the ring behind a wait it comes too late


def go_on(machine: Marlin, values: Values, command: bytes, job: Job) -> None:
    """M999: alive again; what was sent behind it is flushed, and asked for."""
    machine.stopped = False
    if not values.get("S"):
        machine.ask_again()


def values_of(command: bytes, skipped: int) -> Values:
    """The parameters of a command by letter, after its first `skipped` bytes; a bare letter is 0."""
    values: Values = {}
    try:
        for part in command[skipped:].split():
            values[chr(part[0])] = float(part[1:])
    except ValueError:
        found = _PARAMETER.findall(command[skipped:])
        return {letter.decode(): float(number or 0) for letter, number in found}
    return values


HANDLERS: dict[bytes, Handler] = {
    **dict.fromkeys((b"G0", b"G1", b"G2", b"G3"), move),
    b"G4": dwell,
    b"G28": home,
    b"G90": absolute,
    b"G91": absolute,
    b"G92": set_position,
    b"M0": wait_for_user,
    b"M1": wait_for_user,
    b"M18": wait_for_moves,
    b"M27": card_status,
    b"M82": absolute_e,
    b"M83": absolute_e,
    b"M84": wait_for_moves,
    b"M104": heat_nozzle,
    b"M109": wait_for_nozzle,
    b"M110": number_lines,
    b"M112": die,
    b"M113": keepalive,
    b"M114": tell_position,
    b"M115": identify,
    b"M140": heat_bed,
    b"M155": report_temperatures,
    b"M190": wait_for_bed,
    b"M400": wait_for_moves,
    b"M410": quick_stop,
    b"M600": change_filament,
    b"M876": answer_prompt,
    b"M999": go_on,
}
MOVES = frozenset({b"G0", b"G1", b"G2", b"G3"})
