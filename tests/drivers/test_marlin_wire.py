"""The Marlin protocol core against the strict emulator, in memory and virtual time, over bad links.

The oracle is the emulator's record of what it executed.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from farmd_drivers.marlin.emulator import Marlin
from farmd_drivers.marlin.emulator.build import Build
from farmd_drivers.marlin.emulator.noise import Noise
from farmd_drivers.marlin.wire import Wire, states
from farmd_drivers.marlin.wire.states import LINK, PHASE, Link, Phase

Cut = Callable[[bytes], list[bytes]]
ENDS = (states.RunDone, states.RunFailed, states.RunCancelled, states.LinkDead)


def whole(data: bytes) -> list[bytes]:
    return [data]


def byte_by_byte(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def random_pieces(seed: int) -> Cut:
    source = random.Random(seed)

    def cut(data: bytes) -> list[bytes]:
        pieces = []
        while data:
            size = source.randint(1, 12)
            pieces.append(data[:size])
            data = data[size:]
        return pieces

    return cut


@dataclass
class Shop:
    """A wire and a machine with a link between them, in virtual time."""

    build: Build = field(default_factory=Build)
    cut: Cut = whole
    noise: Noise = field(default_factory=lambda: Noise(0))
    latency_s: float = 0.0005
    now: float = 100.0
    batch: int = 16

    def __post_init__(self) -> None:
        self.machine = Marlin(self.build)
        self.machine.power_on(self.now)
        self.wire = Wire(self.now)
        self.events: list[states.WireEvent] = []
        self.job: list[bytes] = []
        self.fed = self.seen = 0
        self.pauses: dict[int, str] = {}

    def _collect(self) -> None:
        while (event := self.wire.next_event()) is not None:
            self.events.append(event)
            if isinstance(event, states.NeedLines):
                self._feed()

    def _feed(self) -> None:
        end = min(self.fed + self.batch, len(self.job))
        stop = min((at for at in self.pauses if self.fed < at <= end), default=None)
        end = end if stop is None else stop
        self.wire.feed(self.job[self.fed : end], self.pauses.get(end) if stop else None)
        self.fed = end
        if self.fed == len(self.job):
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
            self.now += self.latency_s
            for piece in self.cut(self.noise.toward_machine(data)):
                self.machine.receive(piece, self.now)
            return
        self.machine.step(self.now)
        if self.machine.output:
            self.now += self.latency_s
            data = bytes(self.machine.output)
            self.machine.output.clear()
            for piece in self.cut(self.noise.toward_host(data)):
                self.wire.receive_data(piece, self.now)
            self._collect()
            return
        due = self.wire.get_timer()
        self.now = max(self.now, min(self.machine.next_time(), due if due is not None else self.now + 1))
        self.wire.handle_timer(self.now)
        self._collect()

    def until(self, *kinds: type, turns: int = 60_000) -> states.WireEvent:
        """Turn until the next event of one of these kinds, counted from the last one found so."""
        for _ in range(turns):
            while self.seen < len(self.events):
                self.seen += 1
                if isinstance(event := self.events[self.seen - 1], kinds):
                    return event
            self.turn()
        raise AssertionError(f"none of {kinds} came; {self.wire.phase} {self.wire.link} {self.events[-5:]}")

    def ready(self) -> Shop:
        self.until(states.Ready)
        return self

    def executed_job(self) -> list[bytes]:
        lines = set(self.job)
        return [line for line in self.machine.executed if line in lines]


def job_of(count: int) -> list[bytes]:
    return [b"G1 X%d.25 Y10 E0.02" % n for n in range(count)]


def told(shop: Shop, kind: type) -> int:
    return sum(isinstance(event, kind) for event in shop.events)


@pytest.mark.parametrize("cut", [whole, byte_by_byte, random_pieces(5)])
def test_job_is_executed_exactly_with_listed_additions(cut: Cut) -> None:
    shop = Shop(cut=cut).ready()
    handshake = [b"M110 N0", b"M115", b"M113 S1", b"M155 S2", b"M105"]
    assert shop.machine.executed == handshake
    job = [b"G28", b"M109 S200", *job_of(300), b"M104 S0"]
    shop.begin(job)
    shop.until(states.RunDone)
    assert shop.machine.executed == [*handshake, b"M110 N0", b"M105", *job, b"M400", b"M105"]
    assert told(shop, states.RunBegan) == 1
    assert shop.wire.counters.resends == shop.wire.counters.probes == shop.wire.counters.starved == 0


def test_done_only_when_motion_is_over() -> None:
    shop = Shop(build=Build(move_scale=1.0)).ready()
    began = shop.now
    shop.begin([b"G91", *[b"G1 X10 F600"] * 30])
    shop.until(states.RunDone)
    assert shop.now - began == pytest.approx(30.0, abs=1.0)
    assert shop.wire.counters.probes == 0


def test_long_heating_with_silent_firmware_is_waited_for() -> None:
    shop = Shop(build=Build(keepalive=False, autoreport=False, heat_c_per_s=0.5)).ready()
    shop.begin([b"M109 S210", b"G1 X1"])
    shop.until(states.RunDone)
    assert shop.executed_job() == [b"M109 S210", b"G1 X1"]


def test_polls_temperatures_where_firmware_does_not_report() -> None:
    shop = Shop(build=Build(autoreport=False)).ready()
    began = shop.now
    while shop.now < began + 21:
        shop.turn()
    assert shop.machine.executed.count(b"M105") == 1 + 4
    assert told(shop, states.Heat) == 1 + 4


@pytest.mark.parametrize("lost", [b"ok\n", b""])
def test_lost_ok_or_line_costs_seconds_not_a_print(lost: bytes) -> None:
    shop = Shop().ready()
    shop.begin([b"G4 P0", *job_of(40)])
    shop.until(states.RunBegan)
    shop.machine.say(b"echo:busy: processing")
    shop.turn()
    while not (data := shop.wire.data_to_send(shop.now)):
        shop.turn()
    if lost:  # executed, but the ok never comes
        shop.machine.receive(data, shop.now)
        shop.machine.step(shop.now)
        shop.machine.output.clear()
    before = shop.now
    shop.until(states.RunDone)
    assert shop.executed_job() == shop.job
    assert shop.wire.counters.probes == 1
    assert shop.now - before < states.KEEPALIVE_S + states.BUSY_MARGIN_S + 0.1


def test_wait_from_firmware_is_a_hint() -> None:
    shop = Shop(build=Build(says_wait=True)).ready()
    shop.begin(job_of(40))
    shop.until(states.RunBegan)
    while not shop.wire.data_to_send(shop.now):
        shop.turn()
    before = shop.now
    shop.until(states.RunDone)
    assert shop.executed_job() == shop.job
    assert shop.now - before < 1.5


def test_no_ok_after_resend() -> None:
    noise = Noise(3, to_machine=0.05)
    shop = Shop(build=Build(ok_after_resend=False), noise=noise).ready()
    shop.begin(job_of(200))
    shop.until(states.RunDone)
    assert shop.executed_job() == shop.job
    assert noise.injected
    assert shop.wire.counters.resends


def test_drifted_oks_end_at_the_next_report() -> None:
    shop = Shop(build=Build(move_scale=1.0)).ready()
    shop.begin([b"G91", *[b"G1 X10 F600"] * 20])
    shop.until(states.RunBegan)
    for _ in range(3):
        shop.machine.say(b"ok")
    began = shop.now
    shop.until(states.RunDone)
    assert shop.now - began > 19.0, "a doubled ok must not end a run before its motion"
    assert len(shop.executed_job()) == len(shop.job)


@pytest.mark.parametrize("banner", [b"start", b"echo:start", b"sta\xffrt", b"", b"strt"])
@pytest.mark.parametrize("after", [3, 150])
def test_reset_in_mid_print_fails_the_run_and_never_repeats_it(banner: bytes, after: int) -> None:
    shop = Shop(build=Build(keepalive=False)).ready()
    shop.begin(job_of(400))
    shop.until(states.RunBegan)
    while len(shop.executed_job()) < after:
        shop.turn()
    shop.machine.power_on(shop.now)
    shop.machine.output.clear()
    if banner:
        shop.machine.say(banner)
    executed = len(shop.executed_job())
    failed = shop.until(*ENDS)
    assert isinstance(failed, states.RunFailed)
    assert abs(failed.lines_accepted - executed) <= 1
    shop.until(states.Ready)
    assert shop.executed_job() == shop.job[:executed]
    assert b"M140 S0" in shop.machine.executed or shop.machine.body.bed.target_c == 0


def test_kill_is_told_with_all_of_its_text() -> None:
    shop = Shop().ready()
    shop.begin(job_of(400))
    shop.until(states.RunBegan)
    shop.machine.kill(b"Thermal Runaway, system stopped! Heater_ID: 0")
    at = shop.now
    failed = shop.until(*ENDS)
    assert isinstance(failed, states.RunFailed)
    assert "Thermal Runaway" in failed.reason
    assert "kill() called" in failed.reason
    assert shop.now - at < 0.5
    halted = shop.until(states.Halted)
    assert isinstance(halted, states.Halted)
    assert halted.confirmed
    shop.machine.power_on(shop.now)
    shop.until(states.Restarted)
    shop.until(states.Ready)


def test_hang_is_found_and_the_heaters_are_told_off() -> None:
    shop = Shop().ready()
    shop.begin([b"M106", b"G0 F6000", *job_of(400)])
    shop.until(states.RunBegan)
    shop.machine.hang()
    at = shop.now
    sent = b""
    while not any(isinstance(event, states.LinkDead) for event in shop.events):
        shop.turn()
        sent += shop.wire.data_to_send(shop.now)
    assert told(shop, states.RunFailed) == 1
    assert shop.now - at < 30
    assert b"M104 S0\nM140 S0\nM107\n" in sent


def test_pause_and_resume_are_exact() -> None:
    shop = Shop().ready()
    shop.pauses = {100: "M0 in the file"}
    shop.begin(job_of(300))
    shop.until(states.RunBegan)
    shop.wire.pause("asked")
    shop.until(states.RunPaused)
    held = shop.executed_job()
    for _ in range(200):
        shop.turn()
    assert shop.executed_job() == held
    shop.wire.pause("again")
    shop.wire.resume()
    shop.until(states.RunResumed)
    paused = shop.until(states.RunPaused)
    assert paused == states.RunPaused("M0 in the file")
    assert len(shop.executed_job()) == 100
    shop.machine.say(b"//action:resume")
    shop.until(states.RunDone)
    assert shop.executed_job() == shop.job


def test_pause_before_the_first_line_holds() -> None:
    shop = Shop().ready()
    shop.begin(job_of(30))
    shop.wire.pause("at once")
    shop.until(states.RunPaused)
    assert shop.executed_job() == []
    shop.wire.resume()
    shop.until(states.RunDone)
    assert shop.executed_job() == shop.job


def test_host_actions() -> None:
    shop = Shop().ready()
    shop.begin(job_of(500))
    shop.until(states.RunBegan)
    shop.machine.say(b"//action:paused")
    assert shop.until(states.RunPaused) == states.RunPaused("paused at the machine")
    shop.machine.say(b"//action:paused")
    shop.machine.say(b"//action:resumed")
    shop.until(states.RunResumed)
    shop.machine.say(b"//action:pause")
    shop.until(states.RunPaused)
    shop.machine.say(b"//action:cancel")
    cancelled = shop.until(*ENDS)
    assert isinstance(cancelled, states.RunCancelled)
    assert cancelled.lines_accepted == len(shop.executed_job())


def test_cancel_ends_a_heat_wait_and_leaves_it_cold() -> None:
    shop = Shop(build=Build(heat_c_per_s=0.1)).ready()
    shop.begin([b"M190 S110", *job_of(50)])
    while shop.machine.body.bed.target_c != 110:
        shop.turn()
    shop.wire.cancel("asked")
    at = shop.now
    shop.until(states.RunCancelled)
    assert shop.now - at < 5
    assert shop.machine.body.bed.target_c == shop.machine.body.nozzle.target_c == 0
    assert shop.executed_job() == [b"M190 S110"]
    assert shop.wire.phase is Phase.IDLE
    shop.begin(job_of(60))
    shop.until(states.RunDone)


def test_emergency_stop() -> None:
    shop = Shop().ready()
    shop.begin(job_of(100))
    shop.until(states.RunBegan)
    data = shop.wire.estop(shop.now)
    assert data.startswith(b"\nM112\nN")
    shop.machine.receive(data, shop.now)
    assert not shop.machine.alive
    assert shop.until(*ENDS) == states.RunFailed("emergency stop", len(shop.executed_job()))
    assert isinstance(halted := shop.until(states.Halted), states.Halted)
    assert halted.confirmed


def test_emergency_stop_unheard_is_told_within_a_second() -> None:
    shop = Shop().ready()
    shop.machine.hang()
    shop.wire.estop(shop.now)
    at = shop.now
    assert isinstance(halted := shop.until(states.Halted), states.Halted)
    assert not halted.confirmed
    assert shop.now - at <= 1.01


def test_emergency_stop_swallowed_by_a_damaged_line_is_said_again() -> None:
    """Without an emergency parser, a line in error makes the firmware flush whatever follows it."""
    shop = Shop(build=Build(emergency_parser=False)).ready()
    shop.begin(job_of(100))
    shop.until(states.RunBegan)
    while not (data := shop.wire.data_to_send(shop.now)):
        shop.turn()
    stop = shop.wire.estop(shop.now)
    shop.machine.receive(data.replace(b"G1", b"G3") + stop, shop.now)
    assert shop.machine.alive
    at = shop.now
    assert isinstance(halted := shop.until(states.Halted), states.Halted)
    assert halted.confirmed
    assert not shop.machine.alive
    assert shop.now - at < 1.01


def test_confirmed_emergency_stop_is_not_said_again() -> None:
    shop = Shop().ready()
    shop.machine.receive(shop.wire.estop(shop.now), shop.now)
    shop.wire.receive_data(bytes(shop.machine.output), shop.now)
    shop.now += states.STOP_AGAIN_S
    shop.wire.handle_timer(shop.now)
    assert shop.wire.data_to_send(shop.now) == b""
    assert isinstance(shop.wire.next_event(), states.Halted)


def test_heaters_are_off_in_the_handshake_after_a_failed_run() -> None:
    """The farewell has no number: a line in error before it swallows it."""
    shop = Shop(build=Build(move_scale=1.0)).ready()
    shop.begin([b"M104 S200", b"M140 S60", *job_of(100)])
    shop.until(states.RunBegan)
    while not shop.machine.body.bed.target_c:
        shop.turn()
    shop.wire.fail("for a test", shop.now)
    shop.machine.receive(b"N5 G1 X5*1\n" + shop.wire.data_to_send(shop.now), shop.now)
    assert shop.machine.body.nozzle.target_c == 200
    shop.until(states.Ready)
    assert shop.machine.body.nozzle.target_c == shop.machine.body.bed.target_c == 0
    ready = len(shop.machine.executed)
    shop.machine.power_on(shop.now + 10)
    shop.now += 10
    shop.until(states.Ready)
    assert b"M140 S0" not in shop.machine.executed[ready:], "no run since: nothing of ours is hot"


def test_start_said_twice_at_connect_is_no_restart() -> None:
    shop = Shop().ready()
    shop.machine.power_on(shop.now)
    shop.until(states.Ready)
    assert told(shop, states.Restarted) == 0
    shop.now += 10
    shop.machine.power_on(shop.now)
    shop.until(states.Restarted)
    shop.until(states.Ready)


@pytest.mark.parametrize("seed", range(300))
def test_any_noise_keeps_the_sequence_or_fails_at_the_right_place(seed: int) -> None:
    source = random.Random(seed)
    noise = Noise(seed, to_machine=source.choice([0, 0.02, 0.05]), to_host=source.choice([0, 0.02, 0.05]))
    build = Build(
        keepalive=source.random() < 0.7,
        autoreport=source.random() < 0.5,
        says_wait=source.random() < 0.3,
        ok_after_resend=source.random() < 0.8,
        move_scale=source.choice([0.0, 0.2]),
    )
    cut = source.choice([whole, byte_by_byte, random_pieces(seed)])
    shop = Shop(build=build, cut=cut, noise=noise, batch=source.choice([7, 64])).ready()
    shop.begin(job_of(source.choice([40, 160])))
    upset = source.choice([None, None, shop.machine.hang, shop.machine.kill, shop.machine.power_on])
    if upset is not None:
        at = source.randrange(len(shop.job))
        while len(shop.executed_job()) < at and not any(isinstance(e, ENDS) for e in shop.events):
            shop.turn()
        if upset == shop.machine.power_on:
            upset(shop.now)
        else:
            upset()
    end = shop.until(*ENDS)
    done = shop.executed_job()
    assert done == shop.job[: len(done)], "never twice, never out of order, never one left out"
    if isinstance(end, states.RunDone):
        assert done == shop.job
        assert upset is None or shop.machine.executed[-1] == b"M105", "upset when all was done already"
    else:
        assert isinstance(end, states.RunFailed)
        assert upset is not None, f"noise alone of 5 % must not end a print: {end}"
        assert abs(end.lines_accepted - len(done)) <= 1 + shop.wire.counters.stray_oks


def test_tables_are_closed_and_every_state_is_reached() -> None:
    for table, first in ((LINK, Link.CLEAR), (PHASE, Phase.LISTENING)):
        reached = {first}
        while more := {after for state in reached for after in table[state].values()} - reached:
            reached |= more
        assert reached == set(table)
