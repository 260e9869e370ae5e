"""Pause, resume, stop and going on, between the protocol's core and the strict emulator, in virtual time.

The oracles are the emulator's record of what it executed, and where its head is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import pytest

from farmd.gcode import parse_line
from farmd_drivers.marlin.driver import ADDED_COMMANDS
from farmd_drivers.marlin.emulator import Marlin
from farmd_drivers.marlin.emulator.build import Build
from farmd_drivers.marlin.emulator.noise import Noise
from farmd_drivers.marlin.wire import Wire, park, states
from farmd_drivers.marlin.wire.modal import Modal
from farmd_drivers.marlin.wire.states import Phase
from farmd_drivers.marlin.wire.window import RX_BYTES, Sending

PARK = park.Park(10.0, 200.0, lift_mm=5.0, retract_mm=2.0)
HEIGHT_MM = 210.0
ENDS = (states.RunDone, states.RunFailed, states.RunCancelled, states.LinkDead)
BEGIN = [b"M190 S60", b"M109 S210", b"G28", b"G90", b"M83", b"G1 Z0.2 F600"]
DRAIN = [b"M400", b"M105"]


def modal_of(commands: Iterable[bytes]) -> Modal:
    modal = Modal()
    for command in commands:
        if not modal.follow(command):
            for part in parse_line(command):
                modal.take(part.name, part.sub, part.values)
    return modal


def pause_at_once(event: states.Drained, modal: Modal) -> park.Parking:
    if event.is_parked or not event.is_placed or park.obstacle(modal):
        return park.STAY
    if event.stopping:
        return park.Parking(park.stop(PARK, modal, HEIGHT_MM))
    return park.pause(PARK, modal, HEIGHT_MM)


@dataclass
class Shop:
    """A wire that parks, and a machine, with a link between them, in virtual time."""

    build: Build = field(default_factory=Build)
    noise: Noise = field(default_factory=lambda: Noise(0))
    answer: Callable[[states.Drained, Modal], park.Parking] = pause_at_once
    sending: Sending = Sending.AUTO
    now: float = 100.0

    def __post_init__(self) -> None:
        self.machine = Marlin(self.build)
        self.machine.power_on(self.now)
        self.wire = Wire(self.now)
        self.wire.send_by(self.sending, RX_BYTES)
        self.events: list[states.WireEvent] = []
        self.seen = self.fed = 0
        self.job: list[bytes] = []
        self.pauses: dict[int, str] = {}
        self.until(states.Ready)
        self.handshake = len(self.machine.executed)

    def begin(self, job: list[bytes], approach: Iterable[park.Script] = ()) -> None:
        self.job, self.fed = job, 0
        self.wire.begin(self.now, asks=True, approach=tuple(approach))
        self._feed()

    def _feed(self) -> None:
        end = min([self.fed + 16, len(self.job), *(at for at in self.pauses if at > self.fed)])
        self.wire.feed(self.job[self.fed : end], self.pauses.get(end))
        self.fed = end
        if end == len(self.job):
            self.wire.end_of_job()

    def _collect(self) -> None:
        while (event := self.wire.next_event()) is not None:
            self.events.append(event)
            if isinstance(event, states.NeedLines):
                self._feed()
            elif isinstance(event, states.Drained):
                self.wire.park(self.answer(event, modal_of(self.job[: event.lines_accepted])))

    def turn(self) -> None:
        data = self.wire.data_to_send(self.now)
        self._collect()
        if data:
            self.now += 0.0005
            self.machine.receive(self.noise.toward_machine(data), self.now)
            return
        self.machine.step(self.now)
        if self.machine.output:
            self.now += 0.0005
            data = bytes(self.machine.output)
            self.machine.output.clear()
            self.wire.receive_data(self.noise.toward_host(data), self.now)
            self._collect()
            return
        due = self.wire.get_timer()
        self.now = max(
            self.now, min(self.machine.next_time(), math.inf if due is None else due, self.now + 1)
        )
        self.wire.handle_timer(self.now)
        self._collect()

    def until(self, *kinds: type, turns: int = 60_000) -> states.WireEvent:
        for _ in range(turns):
            while self.seen < len(self.events):
                self.seen += 1
                if isinstance(event := self.events[self.seen - 1], kinds):
                    return event
            self.turn()
        raise AssertionError(f"none of {kinds} came; {self.wire.phase} {self.wire.link} {self.events[-5:]}")

    def till(self, condition: Callable[[], object], turns: int = 60_000) -> None:
        for _ in range(turns):
            if condition():
                return
            self.turn()
        raise AssertionError(f"it did not come about; {self.wire.phase} {self.wire.link} {self.events[-5:]}")

    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        self.till(lambda: self.now >= end, 200_000)

    @property
    def executed(self) -> list[bytes]:
        return self.machine.executed[self.handshake :]

    @property
    def at(self) -> tuple[float, float, float]:
        x, y, z = (self.machine.body.position[axis] for axis in "XYZ")
        return x, y, z

    def of_job(self) -> list[bytes]:
        """What was executed of the job's moves, each of which is unlike the others."""
        moves = set(self.job[len(BEGIN) :])
        return [command for command in self.executed if command in moves]

    def told(self, kind: type) -> int:
        return sum(isinstance(event, kind) for event in self.events)


def moves(count: int, *, first: int = 0) -> list[bytes]:
    return [b"G1 X%d.5 Y%d E0.0%d F%d" % (n % 200, n % 7, 1 + n, 1000 + n) for n in range(first, count)]


def part(count: int = 60) -> list[bytes]:
    return [*BEGIN, *moves(count)]


AWAY = [
    b"G90",
    b"M83",
    b"G1 F1500 E-2.0000",
    b"G1 F600 Z5.2000",
    b"G1 F6000 X10.0000 Y200.0000",
    *DRAIN,
]


def back(x: float, y: float, feed: int, *, z: float = 0.2) -> list[bytes]:
    return [
        b"M109 S210",
        b"G90",
        b"M83",
        b"G1 F6000 X%.4f Y%.4f" % (x, y),
        b"G1 F600 Z%.4f" % z,
        b"G1 F1500 E2.0000",
        b"G90",
        b"M83",
        b"G1 F%d" % feed,
        b"M105",
    ]


def test_a_pause_takes_the_head_away_and_brings_it_back_exactly() -> None:
    shop = Shop()
    job = part()
    shop.pauses = {40: "look at it"}
    shop.begin(job)
    assert shop.until(states.RunPaused) == states.RunPaused("look at it")
    assert shop.executed == [b"M110 N0", b"M105", *job[:40], *DRAIN, *AWAY]
    assert shop.at == (10.0, 200.0, 5.2)
    assert shop.machine.body.bed.target_c == 60
    shop.wire.resume()
    shop.until(states.RunResumed)
    assert shop.at == (33.5, 33 % 7, 0.2)
    shop.until(states.RunDone)
    home = back(33.5, 33 % 7, 1033)
    assert shop.executed == [b"M110 N0", b"M105", *job[:40], *DRAIN, *AWAY, *home, *job[40:], *DRAIN]
    assert all(ADDED_COMMANDS.fullmatch(command) for command in (*AWAY, *home))
    assert not any(ADDED_COMMANDS.fullmatch(command) for command in moves(60))


def test_the_motion_is_over_before_the_head_leaves_and_before_it_is_told() -> None:
    shop = Shop(Build(move_scale=1.0))
    shop.pauses = {len(BEGIN) + 3: "now"}
    shop.begin([*BEGIN, b"G1 X50 Y0 F600", b"G1 X100", b"G1 X150", b"G1 X160"])
    began = shop.now
    shop.until(states.Drained)
    assert shop.now - began >= 15.0
    shop.until(states.RunPaused)
    assert shop.at == (10.0, 200.0, 5.2)
    assert shop.machine.is_off is False
    assert shop.now - began >= 15.0 + math.dist((150, 0), (10, 200)) / 100


@pytest.mark.parametrize("twice", [False, True])
def test_the_machines_own_wish_to_pause_parks_and_asked_twice_is_once(twice: bool) -> None:
    shop = Shop()
    shop.begin(part(200))
    shop.till(lambda: len(shop.of_job()) > 5)
    shop.machine.say(b"//action:pause")
    if twice:
        shop.wire.pause("again")
        shop.machine.say(b"//action:pause")
    shop.until(states.RunPaused)
    shop.wire.pause("again")
    shop.wait(5)
    assert shop.executed.count(AWAY[-3]) == 1
    assert shop.told(states.RunPaused) == 1
    shop.machine.say(b"//action:resume")
    shop.until(states.RunDone)
    assert shop.of_job() == shop.job[len(BEGIN) :]
    assert shop.told(states.RunResumed) == 1


def test_what_the_machine_has_paused_itself_is_not_moved() -> None:
    shop = Shop()
    shop.begin(part(200))
    shop.until(states.RunBegan)
    shop.machine.say(b"//action:paused")
    shop.until(states.RunPaused)
    shop.wait(5)
    shop.machine.say(b"//action:resumed")
    shop.until(states.RunDone)
    assert shop.executed == [b"M110 N0", b"M105", *shop.job, *DRAIN]


def test_resuming_while_it_parks_brings_it_back_once_it_is_there() -> None:
    shop = Shop(Build(move_scale=1.0))
    shop.begin(part(60))
    shop.till(lambda: len(shop.of_job()) > 5)
    shop.wire.pause("asked")
    shop.until(states.Drained)
    shop.wire.resume()
    shop.until(states.RunPaused)
    shop.until(states.RunResumed)
    shop.until(states.RunDone)
    assert shop.of_job() == shop.job[len(BEGIN) :]
    assert shop.executed.count(AWAY[-3]) == 1


def test_resuming_before_it_stands_still_parks_nothing() -> None:
    shop = Shop(Build(move_scale=1.0))
    shop.begin(part(60))
    shop.till(lambda: len(shop.of_job()) > 5)
    shop.wire.pause("asked")
    shop.turn()
    shop.wire.resume()
    shop.until(states.RunDone)
    assert shop.of_job() == shop.job[len(BEGIN) :]
    assert shop.told(states.Drained) == shop.told(states.RunPaused) == 0


def test_pausing_while_it_comes_back_parks_again() -> None:
    shop = Shop(Build(move_scale=1.0))
    shop.begin(part(60))
    shop.till(lambda: len(shop.of_job()) > 5)
    shop.wire.pause("first")
    shop.until(states.RunPaused)
    done = shop.of_job()
    shop.wire.resume()
    shop.till(lambda: shop.executed[-1] == b"M109 S210")
    shop.wire.pause("second")
    assert shop.until(states.RunPaused) == states.RunPaused("second")
    assert shop.of_job() == done
    assert shop.at == (10.0, 200.0, 5.2)
    shop.wire.resume()
    shop.until(states.RunDone)
    assert shop.of_job() == shop.job[len(BEGIN) :]


def test_the_nozzle_cools_after_a_while_and_is_waited_for() -> None:
    plan = park.Park(10.0, 200.0, 5.0, standby_after_s=600, standby_c=150)
    shop = Shop(Build(heat_c_per_s=2.0), answer=lambda _, modal: park.pause(plan, modal, HEIGHT_MM))
    shop.pauses = {20: "for a while"}
    shop.begin(part())
    shop.until(states.RunPaused)
    shop.wait(590)
    assert shop.machine.body.nozzle.target_c == 210
    shop.wait(3000)
    assert (shop.machine.body.nozzle.target_c, shop.machine.body.bed.target_c) == (150, 60)
    assert shop.executed.count(b"M104 S150") == 1
    shop.wire.resume()
    shop.until(states.RunResumed)
    assert shop.machine.body.nozzle.actual_c >= 209
    shop.until(states.RunDone)
    assert shop.of_job() == shop.job[len(BEGIN) :]


def test_a_resumed_run_does_not_cool() -> None:
    plan = park.Park(10.0, 200.0, 5.0, standby_after_s=10, standby_c=150)
    shop = Shop(Build(move_scale=1.0), answer=lambda _, modal: park.pause(plan, modal, HEIGHT_MM))
    shop.pauses = {20: "for a moment"}
    shop.begin(part())
    shop.until(states.RunPaused)
    shop.wire.resume()
    shop.until(states.RunDone)
    assert b"M104 S150" not in shop.executed


@pytest.mark.parametrize(
    ("modes", "restored"),
    [
        ([b"G90", b"M82"], [b"G90", b"M82", b"G92 E1.50000", b"G1 F1800"]),
        ([b"M83", b"G90"], [b"M83", b"G90", b"G1 F1800"]),
        ([b"G90", b"M83"], [b"G90", b"M83", b"G1 F1800"]),
        ([b"G90", b"M82", b"G91"], [b"M82", b"G91", b"G1 F1800"]),
        ([b"G91", b"G90", b"M82"], [b"G90", b"M82", b"G92 E1.50000", b"G1 F1800"]),
    ],
    ids=lambda commands: b" ".join(commands[:3]).decode(),
)
def test_modes_come_back_in_the_order_of_the_file(modes: list[bytes], restored: list[bytes]) -> None:
    commands = [b"M109 S200", b"G28", b"G90", b"G1 X1 Y1 Z1 F1800", *modes, b"G92 E0", b"G1 X5 E1.5"]
    parking = park.pause(PARK, modal_of(commands), HEIGHT_MM)
    assert list(parking.back[-len(restored) :]) == restored
    assert parking.back[-len(restored) - 1] == b"G1 F1500 E2.0000"


def test_inches_and_moved_origins_lead_to_the_same_place_on_the_machine() -> None:
    shop = Shop()
    head = [b"G28", b"G90", b"M83", b"G1 X10 Y10 Z1 F600", b"G92 X0 Y0 Z0"]
    parking = park.pause(PARK, modal_of([*head, b"G1 X5"]), HEIGHT_MM)
    assert parking.away[2:] == (b"G1 F600 Z5.0000", b"G1 F6000 X0.0000 Y190.0000")
    assert parking.back[2:4] == (b"G1 F6000 X5.0000 Y0.0000", b"G1 F600 Z0.0000")
    inches = park.pause(PARK, modal_of([*head, b"G20", b"G1 X1 F10"]), HEIGHT_MM)
    assert inches.away[0] == b"G21"
    assert inches.back[-2:] == (b"G1 F254", b"G20")
    assert b"G1 F6000 X25.4000 Y0.0000" in inches.back
    assert shop.told(states.RunPaused) == 0


def test_the_head_clears_what_stands_higher_than_it_and_stays_below_the_machines_top() -> None:
    commands = [b"G28", b"G90", b"M83", b"G1 X1 Y1 Z80 F600", b"G1 X2 E1", b"G1 Z0.2", b"G1 X9 E1"]
    assert b"G1 F600 Z85.0000" in park.pause(PARK, modal_of(commands), HEIGHT_MM).away
    assert b"G1 F600 Z83.0000" in park.pause(PARK, modal_of(commands), 83.0).away
    stays = park.pause(PARK, modal_of(commands), 80.2).away
    assert not any(b"X" in command or b"Z" in command for command in stays)


@pytest.mark.parametrize(
    "commands",
    [
        [],
        [b"G90", b"M83", b"G1 X1 Y1 Z1 F600"],
        [b"G28", b"G90", b"M83", b"G1 X1 Y1 F600"],
        [b"G28", b"G1 X1 Y1 Z1 F600"],
        [b"G28", b"G90", b"G1 X1 Y1 Z1"],
        [b"G28", b"G90", b"G1 X1 Y1 Z1 F600", b"G29"],
        [b"G28", b"G90", b"G1 X1 Y1 Z1 F600", b"M84"],
        [b"G28", b"G90", b"G92 X5", b"G1 X1 Y1 Z1 F600"],
        [b"G28 X", b"G90", b"G1 X1 Y1 Z1 F600"],
    ],
)
def test_a_head_whose_place_is_not_known_is_not_moved(commands: list[bytes]) -> None:
    assert park.obstacle(modal_of(commands))


def test_cold_filament_is_not_drawn_back() -> None:
    parking = park.pause(PARK, modal_of([b"G28", b"G90", b"M83", b"G1 X1 Y1 Z1 F600"]), HEIGHT_MM)
    assert not any(b" E" in command or command[:4] == b"M109" for command in (*parking.away, *parking.back))


def test_an_answer_that_nobody_waits_for_any_more_is_dropped() -> None:
    shop = Shop()
    shop.begin(part(60))
    shop.till(lambda: len(shop.of_job()) > 5)
    parking = pause_at_once(states.Drained(0, False, False, True), modal_of(part(9)))
    assert parking.away
    shop.wire.park(parking)
    shop.wire.pause("asked")
    shop.wire.park(parking)
    shop.until(states.RunPaused)
    shop.wire.park(parking)
    shop.wire.resume()
    shop.wire.park(parking)
    shop.until(states.RunDone)
    assert shop.executed.count(AWAY[-3]) == 1
    assert shop.of_job() == shop.job[len(BEGIN) :]


# Stop.


def test_a_stop_switches_off_then_takes_the_head_away() -> None:
    shop = Shop(Build(move_scale=1.0))
    shop.begin(part(200))
    shop.till(lambda: len(shop.of_job()) > 30)
    shop.wire.cancel("asked")
    at = len(shop.executed)
    cancelled = shop.until(states.RunCancelled)
    assert cancelled == states.RunCancelled("asked", len(BEGIN) + len(shop.of_job()))
    assert shop.executed[at:][-len(AWAY) - 5 :] == [b"M104 S0", b"M140 S0", b"M107", *DRAIN, *AWAY]
    assert shop.machine.is_off
    assert shop.at == (10.0, 200.0, 5.2)
    assert shop.wire.phase is Phase.IDLE


@pytest.mark.parametrize("when", ["parking", "paused", "returning"])
def test_a_stop_at_any_moment_of_a_pause(when: str) -> None:
    shop = Shop(Build(move_scale=1.0))
    shop.begin(part(100))
    shop.till(lambda: len(shop.of_job()) > 30)
    shop.wire.pause("asked")
    if when == "parking":
        shop.till(lambda: AWAY[3] in shop.executed)
    else:
        shop.until(states.RunPaused)
    if when == "returning":
        shop.wire.resume()
        shop.till(lambda: shop.executed[-1] == b"G1 F600 Z0.2000")
    done = shop.of_job()
    shop.wire.cancel("enough")
    shop.until(states.RunCancelled)
    assert shop.machine.is_off
    assert shop.at == (10.0, 200.0, 5.2)
    assert shop.of_job() == done
    assert shop.executed.count(AWAY[-3]) == (1 if when == "paused" else 1 + (when == "returning"))
    shop.begin(part(20))
    shop.until(states.RunDone)


def test_a_stop_in_a_heat_wait_on_the_way_back_ends_it() -> None:
    plan = park.Park(10.0, 200.0, 5.0, standby_after_s=1, standby_c=0)
    shop = Shop(Build(heat_c_per_s=10.0), answer=lambda event, modal: pause_at_once(event, modal))
    shop.answer = lambda event, modal: park.STAY if event.stopping else park.pause(plan, modal, HEIGHT_MM)
    shop.pauses = {20: "for a while"}
    shop.begin(part())
    shop.until(states.RunPaused)
    shop.wait(60)
    assert shop.machine.body.nozzle.actual_c < 30
    shop.wire.resume()
    shop.till(lambda: shop.executed[-1] == b"M109 S210")
    at = shop.now
    shop.wire.cancel("enough")
    shop.until(states.RunCancelled)
    assert shop.now - at < 3
    assert shop.machine.body.nozzle.target_c == 0


# What may befall a machine.


def befall(shop: Shop, what: str) -> None:
    """A restart by its word, a kill, silence, or the loss of the port."""
    if what == "kill":
        shop.machine.kill(b"Thermal Runaway, system stopped! Heater_ID: 0")
    elif what == "silence":
        shop.machine.hang()
    elif what == "fail":
        shop.wire.fail("the port went away", shop.now)
    else:
        shop.machine.power_on(shop.now)
        shop.machine.output.clear()
        shop.machine.say(what.encode())


@pytest.mark.parametrize("phase", [Phase.PARKING, Phase.PAUSED, Phase.RETURNING])
@pytest.mark.parametrize("what", ["start", "echo:start", "kill", "silence", "fail"])
def test_whatever_happens_in_a_pause_ends_the_run_at_its_place(phase: Phase, what: str) -> None:
    shop = Shop(Build(move_scale=1.0))
    shop.begin(part(100))
    shop.till(lambda: len(shop.of_job()) > 30)
    shop.wire.pause("asked")
    shop.till(lambda: shop.wire.phase is Phase.PARKING)
    if phase is not Phase.PARKING:
        shop.until(states.RunPaused)
    if phase is Phase.RETURNING:
        shop.wire.resume()
    assert shop.wire.phase is phase
    done = shop.of_job()
    befall(shop, what)
    failed = shop.until(*ENDS)
    assert isinstance(failed, states.RunFailed)
    assert failed.lines_accepted == len(BEGIN) + len(done)
    assert shop.of_job() == done
    if what in ("start", "echo:start", "fail"):
        shop.until(states.Ready)
        assert shop.machine.body.nozzle.target_c == shop.machine.body.bed.target_c == 0
        shop.begin(part(20))
        shop.until(states.RunDone)


@pytest.mark.parametrize("sending", [Sending.PING_PONG, Sending.ADVANCED_OK, Sending.COUNTING])
@pytest.mark.parametrize("seed", range(8))
def test_pauses_over_a_bad_link_are_exact(seed: int, sending: Sending) -> None:
    shop = Shop(Build(advanced_ok=True), Noise(seed, 0.02, 0.02), sending=sending)
    shop.pauses = {at: f"at {at}" for at in (20, 21, 60, 100)}
    shop.begin(part(150))
    for _ in shop.pauses:
        if not isinstance(shop.until(states.RunPaused, *ENDS), states.RunPaused):
            break
        assert shop.at == (10.0, 200.0, 5.2)
        shop.wire.resume()
    else:
        ended = shop.until(*ENDS)
        assert isinstance(ended, states.RunDone)
        assert shop.of_job() == shop.job[len(BEGIN) :]
        return
    assert shop.of_job() == shop.job[len(BEGIN) :][: len(shop.of_job())]


@pytest.mark.parametrize("what", ["start", "echo:start", "kill", "silence", "fail"])
@pytest.mark.parametrize("seed", range(4))
def test_wherever_it_breaks_off_the_place_is_right(what: str, seed: int) -> None:
    shop = Shop(Build(move_scale=0.01))
    shop.begin(part(200))
    shop.till(lambda: len(shop.of_job()) > 20 + 37 * seed)
    for _ in range(seed):
        shop.turn()
    befall(shop, what)
    executed = len(BEGIN) + len(shop.of_job())
    failed = shop.until(*ENDS)
    assert isinstance(failed, states.RunFailed)
    assert executed - 1 <= failed.lines_accepted <= executed
    assert len(BEGIN) + len(shop.of_job()) == executed
    assert not shop.machine.alive or shop.until(states.Ready)
    assert shop.machine.body.nozzle.target_c == 0 or what == "silence"


# Going on.


def test_two_runs_make_one() -> None:
    """The machine restarts in mid-print; the second run goes on behind the last line accepted."""
    shop = Shop()
    job = [*BEGIN, b"M106 S120", b"M204 P900 T1500", b"M221 S95", *moves(100)]
    shop.begin(job)
    shop.till(lambda: len(shop.of_job()) > 60 and shop.wire.lines_accepted == len(BEGIN) + len(shop.of_job()))
    shop.machine.power_on(shop.now)
    failed = shop.until(*ENDS)
    assert isinstance(failed, states.RunFailed)
    shop.until(states.Ready)
    first = shop.of_job()
    accepted = failed.lines_accepted
    assert first == job[len(BEGIN) : accepted]
    modal = modal_of(job[:accepted])
    rehome = park.Rehome((b"G28 X Y",), keeps_z=True, lift_mm=4.0, prime_mm=1.5)
    assert park.approach_obstacle(rehome, modal, HEIGHT_MM) == ""
    begun = len(shop.executed)
    shop.begin(job[accepted:], park.approach(rehome, modal, HEIGHT_MM))
    shop.until(states.RunBegan)
    shop.until(states.Arrived)
    assert shop.at == modal.coordinates()
    assert (shop.machine.body.nozzle.actual_c, shop.machine.body.bed.actual_c) == (210, 60)
    assert shop.told(states.RunResumed) == 0
    shop.until(states.RunDone)
    last = accepted - len(BEGIN) - 4
    assert shop.executed[begun:][: 2 + 26] == [
        *(b"M110 N0", b"M105"),
        *(b"M140 S60", b"M104 S210", b"M190 S60", b"M109 S210"),
        *(b"G92 Z0.2000", b"G90", b"G1 F600 Z4.2000", *DRAIN, b"G28 X Y", b"G90", b"G1 F600 Z4.2000"),
        *(b"M204 P900 T1500", b"M221 S95", b"M106 P0 S120", b"M83"),
        b"G1 F6000 X%.4f Y%.4f" % (last % 200 + 0.5, last % 7),
        *(b"G1 F600 Z0.2000", b"G1 F1500 E1.5000", b"G90", b"M83", b"G1 F%d" % (1000 + last), *DRAIN),
        *job[accepted:][:2],
    ]
    assert first + shop.executed[begun + 26 : -2] == job[len(BEGIN) :]


def test_a_stop_on_the_way_to_the_place_parks_nothing() -> None:
    """Until the position is found anew, nobody knows where a move would lead."""
    shop = Shop(Build(heat_c_per_s=5.0))
    modal = modal_of(part(30))
    rehome = park.Rehome((b"G28",), keeps_z=False, lift_mm=4.0)
    shop.begin(moves(60, first=30), park.approach(rehome, modal, HEIGHT_MM))
    shop.till(lambda: shop.executed[-1:] == [b"M190 S60"])
    shop.wire.pause("wait")
    shop.wire.cancel("no")
    drained = shop.until(states.Drained)
    assert isinstance(drained, states.Drained)
    assert not drained.is_placed
    shop.until(states.RunCancelled)
    assert not any(command[:2] == b"G1" for command in shop.executed)
    assert shop.machine.is_off


def test_a_machine_that_moves_nothing_before_homing_does_not_home_in_the_part() -> None:
    shop = Shop()
    rehome = park.Rehome((b"G28 X Y",), keeps_z=True, lift_mm=4.0)
    shop.begin(moves(60, first=30), park.approach(rehome, modal_of(part(30)), HEIGHT_MM))
    shop.till(lambda: b"G92 Z0.2000" in shop.executed)
    shop.machine.say(b"echo:Home XYZ First")
    failed = shop.until(*ENDS)
    assert failed == states.RunFailed("echo:Home XYZ First", 0)
    shop.until(states.Ready)
    assert b"G28 X Y" not in shop.executed
    assert shop.machine.is_off


def test_a_pause_on_the_way_to_the_place_is_made_there() -> None:
    shop = Shop()
    rehome = park.Rehome((b"G28",), keeps_z=False, lift_mm=4.0)
    job = moves(60, first=30)
    shop.answer = lambda event, modal: pause_at_once(
        event, modal_of([*part(30), *shop.job[: event.lines_accepted]])
    )
    shop.begin(job, park.approach(rehome, modal_of(part(30)), HEIGHT_MM))
    shop.until(states.RunBegan)
    shop.wire.pause("wait")
    shop.until(states.RunPaused)
    assert shop.at == (10.0, 200.0, 5.2)
    assert not any(line in shop.executed for line in job)
    shop.wire.resume()
    shop.until(states.RunDone)
    assert [line for line in shop.executed if line in job] == job


@pytest.mark.parametrize(
    ("extra", "why"),
    [
        ([b"G90"], "filament"),
        ([b"M82", b"G91"], "filament"),
        ([b"M82"], "filament stands"),
        ([b"G1 X1 Z208", b"G1 X2 E1"], "no room"),
        ([b"M84"], "homed"),
        ([b"G29"], "where the head is"),
    ],
)
def test_where_nobody_can_go_on(extra: list[bytes], why: str) -> None:
    rehome = park.Rehome((b"G28 X Y",), keeps_z=True, lift_mm=4.0)
    assert why in park.approach_obstacle(rehome, modal_of([*part(5), *extra]), HEIGHT_MM - 1.8)


def test_all_that_was_set_is_set_again() -> None:
    commands = [
        *(b"M140 S70", b"M141 S40", b"M104 T0 S200", b"M104 T1 S215", b"G28", b"G90", b"M82", b"G17"),
        *(b"M201 X500 Y500", b"M201 X700", b"M205 J0.02", b"M900 K0.04", b"M220 S90", b"M106 P1 S80"),
        *(b"T1", b"G1 X20 Y30 Z0.4 F4800", b"G92 X0 E0", b"G3 X10 Y40 I5 J5 E3.25", b"M106 S255", b"M107"),
    ]
    rehome = park.Rehome((b"G28 X Y", b"M420 S1"), keeps_z=False, lift_mm=6.0)
    modal = modal_of(commands)
    assert park.approach_obstacle(rehome, modal, HEIGHT_MM) == ""
    up, on = park.approach(rehome, modal, HEIGHT_MM)
    assert (*up, b"-", *on) == (
        *(b"M140 S70", b"M141 S40", b"M104 T0 S200", b"M104 T1 S215"),
        *(b"M190 S70", b"M191 S40", b"M109 T0 S200", b"M109 T1 S215"),
        *(b"G91", b"G1 F600 Z6.0000", b"G90", b"-", b"G28 X Y", b"M420 S1", b"G90", b"G1 F600 Z6.4000"),
        *(
            b"T1",
            b"G17",
            b"M201 X700 Y500",
            b"M205 J0.02",
            b"M900 K0.04",
            b"M220 S90",
            b"M106 P1 S80",
            b"M83",
        ),
        *(b"G1 F6000 X30.0000 Y40.0000", b"G1 F600 Z0.4000", b"G92 X10.0000 Y40.0000 Z0.4000"),
        *(b"G90", b"M82", b"G92 E3.25000", b"G1 F4800"),
    )
