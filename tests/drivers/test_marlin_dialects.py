"""The wire against every firmware it speaks to, emulated, in memory and virtual time.

The oracle is the emulated machine's record of what it executed.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from farmd_drivers.marlin.emulator.firmwares import MACHINES, machine_of
from farmd_drivers.marlin.emulator.klipper import Klipper, State
from farmd_drivers.marlin.emulator.machine import Marlin
from farmd_drivers.marlin.emulator.noise import Fault, Noise
from farmd_drivers.marlin.emulator.repetier import Repetier
from farmd_drivers.marlin.emulator.reprapfirmware import RepRapFirmware
from farmd_drivers.marlin.emulator.smoothie import Smoothie
from farmd_drivers.marlin.emulator.voice import Voice, Voiced
from farmd_drivers.marlin.wire import Wire, states
from farmd_drivers.marlin.wire.dialects import (
    DIALECTS,
    KLIPPER,
    MARLIN,
    PRUSA_BUDDY,
    PRUSA_MK3,
    REPETIER,
    REPRAPFIRMWARE,
    SMOOTHIE,
    UNKNOWN,
    Dialect,
    dialect_of,
    kind_of,
)
from farmd_drivers.marlin.wire.replies import Kind, firmware_info
from farmd_drivers.marlin.wire.states import Phase

NAMES = (*MACHINES, "klipper")
COUNTING = tuple(name for name in NAMES if DIALECTS[name].checks_numbers)
ENDS = (states.RunDone, states.RunFailed, states.RunCancelled, states.LinkDead)
SEEDS = range(12)


def nothing(line: bytes) -> bytes:
    return line


class Shop:
    """A wire and a machine with a link between them, in virtual time.

    `to_machine` and `to_host` are given what passes, and give what arrives.
    """

    def __init__(self, machine: Marlin | Klipper, *, dialect: str = "auto") -> None:
        self.now = 100.0
        self.machine = machine
        machine.power_on(self.now)
        self.wire = Wire(self.now)
        if dialect != "auto":
            self.wire.speak(dialect)
        self.events: list[states.WireEvent] = []
        self.to_machine: Callable[[bytes], bytes] = nothing
        self.to_host: Callable[[bytes], bytes] = nothing
        self.job: list[bytes] = []
        self.fed = self.seen = 0

    def _collect(self) -> None:
        while (event := self.wire.next_event()) is not None:
            self.events.append(event)
            if isinstance(event, states.NeedLines):
                self._feed()

    def _feed(self) -> None:
        self.wire.feed(self.job[self.fed : self.fed + 16])
        self.fed += 16
        if self.fed >= len(self.job):
            self.wire.end_of_job()

    def begin(self, job: list[bytes]) -> None:
        self.job, self.fed = job, 0
        self.wire.begin(self.now)
        self._feed()

    def turn(self) -> None:
        """One exchange, or else a step to the next moment at which anything is due."""
        data = self.wire.data_to_send(self.now)
        self._collect()
        if data:
            self.now += 0.0005
            if data := self.to_machine(data):
                self.machine.receive(data, self.now)
            return
        self.machine.step(self.now)
        if self.machine.output:
            self.now += 0.0005
            data = bytes(self.machine.output)
            self.machine.output.clear()
            self.wire.receive_data(self.to_host(data), self.now)
            self._collect()
            return
        due = self.wire.get_timer()
        self.now = max(self.now, min(self.machine.next_time(), due if due is not None else self.now + 1))
        self.wire.handle_timer(self.now)
        self._collect()

    def until(self, *kinds: type) -> states.WireEvent:
        """Turn until the next event of one of these kinds, counted from the last one found so."""
        for _ in range(60_000):
            while self.seen < len(self.events):
                self.seen += 1
                if isinstance(event := self.events[self.seen - 1], kinds):
                    return event
            self.turn()
        raise AssertionError(f"none of {kinds} came; {self.wire.phase} {self.wire.link} {self.events[-5:]}")

    def when(self, condition: Callable[[], bool]) -> None:
        for _ in range(60_000):
            if condition():
                return
            self.turn()
        raise AssertionError(f"it did not come about; {self.wire.phase} {self.wire.link} {self.events[-5:]}")

    def ready(self) -> Shop:
        self.until(states.Ready)
        return self

    def streaming(self, job: list[bytes], executed: int = 5) -> Shop:
        """In mid-run, with so many lines of the job executed."""
        self.ready().begin(job)
        self.when(lambda: len(self.executed_job()) >= executed)
        return self

    def executed_job(self) -> list[bytes]:
        lines = set(self.job)
        return [line for line in self.machine.executed if line in lines]

    def notes(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, states.Noted)]


def shop_of(name: str, *, move_scale: float = 0.0, heat_c_per_s: float = 200.0) -> Shop:
    return Shop(machine_of(name, move_scale=move_scale, heat_c_per_s=heat_c_per_s))


def job_of(count: int) -> list[bytes]:
    return [b"G1 X%d.25 Y10 E0.02" % n for n in range(count)]


def is_cold(machine: Marlin | Klipper) -> bool:
    heated = machine if isinstance(machine, Klipper) else machine.body
    return heated.nozzle.target_c == heated.bed.target_c == 0


class Once:
    """Lets everything pass but the first reply, or line, that has `part` in it after `arm` was called."""

    def __init__(self, part: bytes) -> None:
        self._part = part
        self._armed = False
        self.lost = b""

    def arm(self) -> None:
        self._armed = True

    def __call__(self, data: bytes) -> bytes:
        if not self._armed or self._part not in data:
            return data
        self._armed = False
        lines = data.splitlines(keepends=True)
        self.lost = next(line for line in lines if self._part in line)
        lines.remove(self.lost)
        return b"".join(lines)


# Who it is.

_M115 = [
    (
        b"FIRMWARE_NAME:Marlin 2.1.2.4 (Jun 10 2024 12:00:00) SOURCE_CODE_URL:github.com/MarlinFirmware/Marlin "
        b"PROTOCOL_VERSION:1.0 MACHINE_TYPE:Ender-3 V2 EXTRUDER_COUNT:1 UUID:cede2a2f-41a2",
        MARLIN,
    ),
    (
        b"FIRMWARE_NAME:Marlin V1.0.2; Sprinter/grbl mashup for gen6 FIRMWARE_URL:https://github.com/ErikZalm/Marlin/ "
        b"PROTOCOL_VERSION:1.0 MACHINE_TYPE:Mendel EXTRUDER_COUNT:1",
        MARLIN,
    ),
    (
        b"FIRMWARE_NAME:Sovol SV06 1.2 SOURCE_CODE_URL:github.com/MarlinFirmware/Marlin PROTOCOL_VERSION:1.0 "
        b"MACHINE_TYPE:SV06 EXTRUDER_COUNT:1",
        MARLIN,
    ),
    (
        b"FIRMWARE_NAME:Prusa-Firmware 3.8.1 based on Marlin FIRMWARE_URL:https://github.com/prusa3d/Prusa-Firmware "
        b"PROTOCOL_VERSION:1.0 MACHINE_TYPE:Prusa i3 MK3S EXTRUDER_COUNT:1 UUID:00000000-0000-0000",
        PRUSA_MK3,
    ),
    (
        b"FIRMWARE_NAME:Prusa-Firmware-Buddy 6.2.4+8909 (Github) SOURCE_CODE_URL:https://github.com/prusa3d/"
        b"Prusa-Firmware-Buddy PROTOCOL_VERSION:1.0 MACHINE_TYPE:Prusa-MK4S EXTRUDER_COUNT:1 UUID:cede2a2f",
        PRUSA_BUDDY,
    ),
    (b"FIRMWARE_NAME:Klipper FIRMWARE_VERSION:v0.12.0-272-g13c75ea87", KLIPPER),
    (
        b"FIRMWARE_NAME: RepRapFirmware for Duet 2 WiFi/Ethernet FIRMWARE_VERSION: 3.4.6 ELECTRONICS: Duet WiFi 1.02 "
        b"or later FIRMWARE_DATE: 2023-07-21 14:08:28",
        REPRAPFIRMWARE,
    ),
    (
        b"FIRMWARE_NAME:Smoothieware, FIRMWARE_URL:http%3A//smoothieware.org, X-SOURCE_CODE_URL:https://github.com/"
        b"Smoothieware/Smoothieware, FIRMWARE_VERSION:edge-3332442, PROTOCOL_VERSION:1.0, X-CNC:0",
        SMOOTHIE,
    ),
    (
        b"FIRMWARE_NAME:Repetier_1.0.4 COMPILED:Apr 11 2021 FIRMWARE_URL:https://github.com/repetier/"
        b"Repetier-Firmware/ PROTOCOL_VERSION:1.0 MACHINE_TYPE:Mendel EXTRUDER_COUNT:2 REPETIER_PROTOCOL:3",
        REPETIER,
    ),
    (
        b"FIRMWARE_NAME:Teacup FIRMWARE_URL:http://github.com/traumflug/Teacup_Firmware PROTOCOL_VERSION:1.0",
        UNKNOWN,
    ),
    (b"FIRMWARE_NAME: PROTOCOL_VERSION:1.0", UNKNOWN),
]


@pytest.mark.parametrize(
    ("line", "dialect"), _M115, ids=[f"{n}-{row.name}" for n, (_, row) in enumerate(_M115)]
)
def test_firmware_is_known_by_its_answer_to_m115(line: bytes, dialect: Dialect) -> None:
    assert kind_of(line, UNKNOWN) is Kind.FIRMWARE
    assert dialect_of(firmware_info(line)) is dialect


def test_firmware_is_known_by_its_banner_until_it_answers() -> None:
    assert dialect_of({}) is UNKNOWN
    assert dialect_of({}, b"// Klipper state: Ready") is KLIPPER
    assert dialect_of({}, b"Smoothie Running @120MHz") is SMOOTHIE
    assert dialect_of({}, b"start") is UNKNOWN


@pytest.mark.parametrize(
    ("line", "dialect", "kind"),
    [
        (b"!! Must home axis first", KLIPPER, Kind.REFUSED),
        (b"!!", SMOOTHIE, Kind.STOPPED),
        (b"!!", UNKNOWN, Kind.STOPPED),
        (b"Soft Endstop X was exceeded - reset or $X or M999 required", SMOOTHIE, Kind.STOPPED),
        (b"// Klipper state: Shutdown", UNKNOWN, Kind.FATAL),
        (b"// Klipper state: Ready", UNKNOWN, Kind.START),
        (b'// Unknown command:"M113"', UNKNOWN, Kind.UNKNOWN_COMMAND),
        (b"// probe at 10,10 is z=1", KLIPPER, Kind.TEXT),
        (b"Error: Bad command: M413", REPRAPFIRMWARE, Kind.UNKNOWN_COMMAND),
        (b"Error: G0/G1: insufficient axes homed", REPRAPFIRMWARE, Kind.REFUSED),
        (b"Error: M110: Machine is halted", UNKNOWN, Kind.REFUSED),
        (b'{"status":"I","heaters":[21.0]}', REPRAPFIRMWARE, Kind.TEXT),
        (b"Error: G0/G1: insufficient axes homed", MARLIN, Kind.TEXT),
        (b"rs N12 Expected checksum 67", SMOOTHIE, Kind.RESEND),
        (b"ok Emergency Stop Requested - reset or M999 required", UNKNOWN, Kind.STOPPED),
        (b"fatal:Heater decoupled - Printer stopped", REPETIER, Kind.STOPPED),
        (b"skip 12", REPETIER, Kind.SKIPPED),
        (b"busy:processing", REPETIER, Kind.BUSY),
        (b"Unknown M code: M108", PRUSA_MK3, Kind.UNKNOWN_COMMAND),
        (b"Error:Printer halted. kill() called!", PRUSA_MK3, Kind.FATAL),
    ],
)
def test_words_mean_what_their_firmware_means(line: bytes, dialect: Dialect, kind: Kind) -> None:
    if dialect is UNKNOWN and line.endswith(b"Machine is halted"):
        kind = Kind.STOPPED
    if dialect is MARLIN and line.startswith(b"Error:"):
        kind = Kind.ERROR
    assert kind_of(line, dialect) is kind


@pytest.mark.parametrize("name", NAMES)
def test_each_emulated_firmware_is_recognised(name: str) -> None:
    shop = shop_of(name).ready()
    assert shop.wire.firmware.dialect is DIALECTS[name]
    assert shop.wire.firmware.name


def test_setting_overrides_what_the_firmware_says() -> None:
    shop = Shop(machine_of("marlin"), dialect="klipper").ready()
    assert shop.wire.firmware.dialect is KLIPPER
    assert b"M113 S1" not in shop.machine.executed


# Runs.


@pytest.mark.parametrize("name", NAMES)
def test_clean_print_is_exact(name: str) -> None:
    shop = shop_of(name).ready()
    before = len(shop.machine.executed)
    job = [b"G28", b"M104 S200", b"M109 S200", b"M190 S60", *job_of(200), b"M104 S0", b"M140 S0"]
    shop.begin(job)
    assert isinstance(shop.until(*ENDS), states.RunDone)
    added = [b"M110 N0", b"M105"], [b"M400", b"M105"]
    assert shop.machine.executed[before:] == [*added[0], *job, *added[1]]
    assert shop.wire.counters.resends == shop.wire.counters.probes == 0
    assert not shop.machine.unknown or name == "repetier", "nothing is sent that the firmware does not know"


@pytest.mark.parametrize("name", NAMES)
def test_done_only_when_motion_is_over(name: str) -> None:
    shop = shop_of(name, move_scale=1.0).ready()
    began = shop.now
    shop.begin([b"G91", *[b"G1 X10 F600"] * 30])
    assert isinstance(shop.until(*ENDS), states.RunDone)
    assert shop.now - began == pytest.approx(30.0, abs=1.0)
    assert len(shop.executed_job()) == 31


@pytest.mark.parametrize("name", NAMES)
def test_pause_and_resume_are_exact(name: str) -> None:
    shop = shop_of(name, move_scale=0.2).streaming(job_of(120))
    shop.wire.pause("asked")
    shop.until(states.RunPaused)
    held = shop.executed_job()
    assert held == shop.job[: shop.wire.lines_accepted]
    until = shop.now + 20
    shop.when(lambda: shop.now > until)
    assert shop.executed_job() == held
    shop.wire.resume()
    assert isinstance(shop.until(*ENDS), states.RunDone)
    assert shop.executed_job() == shop.job


@pytest.mark.parametrize("name", NAMES)
def test_cancel_leaves_it_cold_and_ready(name: str) -> None:
    shop = shop_of(name).streaming([b"M104 S200", b"M140 S60", *job_of(120)])
    shop.wire.cancel("asked")
    cancelled = shop.until(*ENDS)
    assert isinstance(cancelled, states.RunCancelled)
    assert shop.executed_job() == shop.job[: cancelled.lines_accepted]
    assert is_cold(shop.machine)
    assert shop.wire.phase is Phase.IDLE
    shop.begin(job_of(130)[120:])
    assert isinstance(shop.until(*ENDS), states.RunDone)


@pytest.mark.parametrize("name", NAMES)
def test_emergency_stop_switches_off_and_the_run_has_failed(name: str) -> None:
    shop = shop_of(name).streaming([b"M104 S200", b"M140 S60", *job_of(120)])
    done = len(shop.executed_job())
    shop.machine.receive(shop.wire.estop(shop.now), shop.now)
    failed = shop.until(*ENDS)
    assert isinstance(failed, states.RunFailed)
    assert failed.reason == "emergency stop"
    assert done - 1 <= failed.lines_accepted <= done
    shop.when(lambda: is_cold(shop.machine))
    assert len(shop.executed_job()) <= done + 1
    assert isinstance(halted := shop.until(states.Halted, states.LinkDead), states.Halted)
    assert halted.confirmed


@pytest.mark.parametrize("name", ["klipper", "smoothie", "repetier", "reprapfirmware"])
def test_recover_brings_it_back_and_it_prints(name: str) -> None:
    shop = shop_of(name).streaming(job_of(60))
    shop.machine.stop_moving()
    assert isinstance(shop.until(*ENDS), states.RunFailed)
    shop.until(states.Halted)
    shop.wire.recover(shop.now)
    shop.until(states.Ready)
    shop.begin(job_of(90)[60:])
    assert isinstance(shop.until(*ENDS), states.RunDone)
    assert shop.executed_job() == shop.job


@pytest.mark.parametrize("name", ["klipper", "smoothie", "repetier", "reprapfirmware"])
def test_halted_firmware_is_no_idle_machine(name: str) -> None:
    machine = machine_of(name)
    shop = Shop(machine)
    machine.stop_moving()
    machine.output.clear()
    halted = shop.until(states.Halted, states.Ready)
    assert isinstance(halted, states.Halted)
    assert halted.text


# Lost lines and replies, where numbers are checked.


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", COUNTING)
def test_lost_lines_and_oks_are_made_good(name: str, seed: int) -> None:
    """Whole lines are lost on the way there; on the way back anything may happen to one."""
    shop = shop_of(name, move_scale=0.2 * (seed % 2)).ready()
    there = Noise(seed, to_machine=0.04, faults=(Fault.LOSE,))
    back = Noise(seed + 1, to_host=0.04)
    shop.to_machine, shop.to_host = there.toward_machine, back.toward_host
    shop.begin(job_of(120))
    end = shop.until(*ENDS)
    assert isinstance(end, states.RunDone), end
    assert shop.executed_job() == shop.job
    assert there.injected
    assert back.injected


@pytest.mark.parametrize("part", [b"ok", b"G1 X7."])
def test_repetiers_skipped_probe_does_not_count_twice(part: bytes) -> None:
    """The line that came twice is answered by `skip` and an ok without a number."""
    shop = shop_of("repetier").streaming(job_of(40), executed=7)
    gate = Once(part)
    shop.to_host = shop.to_machine = gate
    gate.arm()
    assert isinstance(shop.until(*ENDS), states.RunDone)
    assert gate.lost
    assert shop.executed_job() == shop.job
    assert shop.wire.counters.probes == 1


def test_smoothie_is_not_waited_for_after_a_resend() -> None:
    """It sends no ok after `rs N`, and is known for it."""
    shop = shop_of("smoothie").streaming(job_of(40))
    gate = Once(b"G1 X")
    spoilt: list[bytes] = []

    def spoil(data: bytes) -> bytes:
        if not spoilt and b"G1 X" in data:
            spoilt.append(data)
            return data.replace(b"Y10", b"Y11")
        return gate(data)

    shop.to_machine = spoil
    before = shop.now
    assert isinstance(shop.until(*ENDS), states.RunDone)
    assert shop.executed_job() == shop.job
    assert spoilt
    assert shop.wire.counters.resends == 1
    assert shop.now - before < states.QUIET_LIMIT_S


# Firmware that does not check numbers.


@pytest.mark.parametrize("name", ["klipper", "reprapfirmware"])
@pytest.mark.parametrize("where", ["line", "answer"])
def test_lost_reply_or_line_fails_the_run_and_nothing_is_sent_twice(name: str, where: str) -> None:
    shop = shop_of(name).streaming(job_of(100), executed=20)
    gate = Once(b"G1 X" if where == "line" else b"ok")
    if where == "line":
        shop.to_machine = gate
    else:
        shop.to_host = gate
    gate.arm()
    failed = shop.until(*ENDS)
    assert isinstance(failed, states.RunFailed)
    assert "lost" in failed.reason
    done = shop.executed_job()
    assert done == shop.job[: len(done)], "never twice"
    assert failed.lines_accepted == len(done) - (where == "answer")
    assert isinstance(shop.until(states.Ready, states.Halted, states.LinkDead), states.Ready)
    assert is_cold(shop.machine)
    assert shop.executed_job() == done


@pytest.mark.parametrize("name", ["klipper", "reprapfirmware"])
@pytest.mark.parametrize("seed", SEEDS)
def test_noise_never_makes_a_line_run_twice(name: str, seed: int) -> None:
    shop = shop_of(name).ready()
    noise = Noise(seed, to_machine=0.01, to_host=0.01, faults=(Fault.LOSE, Fault.DOUBLE))
    shop.to_machine, shop.to_host = noise.toward_machine, noise.toward_host
    shop.begin(job_of(150))
    end = shop.until(*ENDS)
    done = shop.executed_job()
    assert len(set(done)) == len(done), "never twice"
    if isinstance(end, states.RunDone):
        assert done == shop.job
    else:
        assert isinstance(end, states.RunFailed)
        assert done == shop.job[: len(done)]
        assert abs(end.lines_accepted - len(done)) <= 1 + shop.wire.counters.stray_oks


def test_klippers_slow_commands_are_waited_for_without_end() -> None:
    """Nothing says that it works; one question is asked, and its answer waits its turn."""
    shop = shop_of("klipper", move_scale=1.0, heat_c_per_s=0.2).ready()
    shop.begin([b"START_PRINT BED=60", b"M190 S110", b"G4 S400", b"G1 X100 F30", *job_of(40)])
    assert isinstance(shop.until(*ENDS), states.RunDone)
    assert shop.executed_job() == shop.job
    assert not shop.notes()


def test_klipper_that_says_nothing_any_more_is_dead() -> None:
    shop = shop_of("klipper").streaming([b"M104 S200", *job_of(60)])
    shop.machine.hang()
    began = shop.now
    failed = shop.until(*ENDS)
    assert failed == states.RunFailed("no answer", len(shop.executed_job()))
    assert shop.now - began < states.ANSWER_S + 300
    shop.until(states.LinkDead)


@pytest.mark.parametrize("name", ["klipper", "reprapfirmware"])
def test_refused_line_fails_the_run_with_its_words_and_is_not_counted(name: str) -> None:
    shop = shop_of(name).ready()
    job = [b"M140 S60", *job_of(40), b"G1 X5000", *job_of(80)[40:]]
    shop.begin(job)
    failed = shop.until(*ENDS)
    assert isinstance(failed, states.RunFailed)
    assert ("Move out of range" if name == "klipper" else "outside machine limits") in failed.reason
    assert failed.lines_accepted == 41
    shop.until(states.Ready)
    assert shop.executed_job() == job[:41]
    assert is_cold(shop.machine)


def test_klippers_shutdown_in_mid_run_is_told_with_its_reason() -> None:
    shop = shop_of("klipper").streaming(job_of(80), executed=30)
    shop.machine.kill(b"MCU 'mcu' shutdown: Timer too close")
    at, done = shop.now, len(shop.executed_job())
    failed = shop.until(*ENDS)
    assert isinstance(failed, states.RunFailed)
    assert "Timer too close" in failed.reason
    assert abs(failed.lines_accepted - done) <= 1
    assert shop.now - at < 0.5
    halted = shop.until(states.Halted)
    assert isinstance(halted, states.Halted)
    assert halted.confirmed
    assert len(shop.executed_job()) == done


def test_klipper_in_shutdown_takes_no_run() -> None:
    """It answers ok to the hello and `ok T:0` to M105 all the same."""
    machine = machine_of("klipper")
    shop = Shop(machine)
    machine.kill(b"MCU 'mcu' shutdown: ADC out of range")
    halted = shop.until(states.Halted, states.Ready)
    assert isinstance(halted, states.Halted)
    assert "ADC out of range" in halted.text


def test_klipper_that_starts_is_waited_for() -> None:
    machine = machine_of("klipper")
    assert isinstance(machine, Klipper)
    shop = Shop(machine)
    machine.restart(shop.now)
    machine.output.clear()
    began = shop.now
    ready = shop.until(states.Halted, states.Ready, states.LinkDead)
    assert isinstance(ready, states.Ready)
    assert 2.0 < shop.now - began < 8.0


def test_klipper_that_never_starts_is_a_fault() -> None:
    machine = machine_of("klipper")
    assert isinstance(machine, Klipper)
    shop = Shop(machine)
    machine.state, machine._why = State.STARTUP, "Printer is not ready"
    machine._ready_at = math.inf
    began = shop.now
    halted = shop.until(states.Halted, states.Ready, states.LinkDead)
    assert isinstance(halted, states.Halted)
    assert "not ready" in halted.text
    assert shop.now - began < states.STARTING_S + 10


def test_klipper_restarted_in_mid_run_fails_it_and_never_repeats_it() -> None:
    shop = shop_of("klipper").streaming(job_of(80), executed=30)
    assert isinstance(shop.machine, Klipper)
    shop.machine.restart(shop.now)
    done = len(shop.executed_job())
    assert isinstance(shop.until(*ENDS), states.RunFailed)
    shop.until(states.Ready)
    assert len(shop.executed_job()) == done
    assert not shop.executed_job()[done:]


def test_wrong_checksum_on_reprapfirmware_is_silence_and_fails_the_run() -> None:
    shop = shop_of("reprapfirmware").streaming(job_of(60), executed=20)
    spoilt: list[bytes] = []

    def spoil(data: bytes) -> bytes:
        if not spoilt and b"G1 X" in data:
            spoilt.append(data)
            return data.replace(b"Y10", b"Y11")
        return data

    shop.to_machine = spoil
    assert isinstance(shop.until(*ENDS), states.RunFailed)
    assert isinstance(shop.machine, RepRapFirmware)
    assert shop.machine.dropped == 1
    done = shop.executed_job()
    assert done == shop.job[: len(done)]


def test_reprapfirmware_halted_by_somebody_else_is_found_out_by_its_refusals() -> None:
    shop = shop_of("reprapfirmware").streaming(job_of(60), executed=20)
    shop.machine.stop_moving()
    shop.machine.output.clear()
    failed = shop.until(*ENDS)
    assert isinstance(failed, states.RunFailed)
    assert isinstance(shop.until(states.Halted, states.Ready), states.Halted)


# What kills, and what does not.


def test_mk3_says_that_it_was_killed_and_restarts_at_once() -> None:
    shop = shop_of("prusa-mk3").streaming(job_of(80), executed=30)
    shop.machine.kill(b"MAXTEMP")
    done = len(shop.executed_job())
    failed = shop.until(*ENDS)
    assert isinstance(failed, states.RunFailed)
    assert "MAXTEMP" in failed.reason
    assert isinstance(halted := shop.until(states.Halted, states.Restarted), states.Halted)
    assert "MAXTEMP" in halted.text, "it restarts, and is a fault all the same"
    shop.until(states.Restarted)
    shop.until(states.Ready)
    assert len(shop.executed_job()) == done


@pytest.mark.parametrize(
    ("name", "words"), [("smoothie", "Temperature runaway"), ("repetier", "Heater decoupled")]
)
def test_fatal_words_halt_the_machine_and_fail_the_run(name: str, words: str) -> None:
    shop = shop_of(name).streaming(job_of(80), executed=30)
    shop.machine.kill()
    done = len(shop.executed_job())
    failed = shop.until(*ENDS)
    assert isinstance(failed, states.RunFailed)
    assert words in failed.reason
    shop.until(states.Halted)
    assert len(shop.executed_job()) == done
    assert isinstance(shop.machine, Smoothie | Repetier)
    assert not [line for line in shop.machine.refused if line.startswith(b"G1")]


# Firmware that nobody knows.


class Stranger(Voiced):
    """Counts lines as Marlin does, under a name of its own."""

    voice = Voice(
        "stranger", b"FIRMWARE_NAME:ACME 1.0 PROTOCOL_VERSION:1.0 MACHINE_TYPE:Anvil EXTRUDER_COUNT:1\n"
    )


class Careless(RepRapFirmware):
    """Counts nothing, under a name of its own."""

    voice = Voice("careless", b"FIRMWARE_NAME:ACME 0.1 PROTOCOL_VERSION:1.0\n", banner=b"start\n")


def test_stranger_that_counts_lines_shows_it_at_once_and_is_fed_as_marlin() -> None:
    shop = Shop(Stranger()).ready()
    assert shop.wire.firmware.dialect is UNKNOWN
    assert shop.wire.counters.resends == 1, "the question with a number that was not due"
    gate = Once(b"ok")
    shop.to_host = gate
    shop.begin(job_of(60))
    shop.when(lambda: len(shop.executed_job()) >= 20)
    gate.arm()
    assert isinstance(shop.until(*ENDS), states.RunDone)
    assert gate.lost
    assert shop.executed_job() == shop.job


def test_stranger_that_does_not_count_is_never_sent_a_line_twice() -> None:
    shop = Shop(Careless()).ready()
    gate = Once(b"ok")
    shop.to_host = gate
    shop.begin(job_of(60))
    shop.when(lambda: len(shop.executed_job()) >= 20)
    gate.arm()
    failed = shop.until(*ENDS)
    assert isinstance(failed, states.RunFailed)
    done = shop.executed_job()
    assert done == shop.job[: len(done)]
    assert failed.lines_accepted == len(done) - 1


def test_name_that_noise_has_touched_is_asked_for_again() -> None:
    gate = Once(b"FIRMWARE_NAME")
    shop = shop_of("klipper")
    shop.to_host = gate
    gate.arm()
    shop.ready()
    assert gate.lost
    assert shop.wire.firmware.dialect is KLIPPER
