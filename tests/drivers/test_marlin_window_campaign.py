"""Ways of sending against the strict emulator with a link that takes time, in virtual time, and what loss costs.

The oracle is the emulator's record of what it executed.
"""

from __future__ import annotations

import random
import statistics
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from farmd_drivers.marlin.emulator import Marlin
from farmd_drivers.marlin.emulator.build import Build
from farmd_drivers.marlin.emulator.noise import Fault, Noise
from farmd_drivers.marlin.wire import Wire, states
from farmd_drivers.marlin.wire.states import Phase
from farmd_drivers.marlin.wire.window import Sending

ENDS = (states.RunDone, states.RunFailed, states.RunCancelled, states.LinkDead)
Spoil = Callable[[bytes], bytes]
AVR = Build(rx_bytes=128, baud=115200, move_scale=1.0)
MODES = {
    "ping-pong": (Sending.PING_PONG, False),
    "advanced-ok": (Sending.AUTO, True),
    "counting": (Sending.COUNTING, False),
    "counting with numbers": (Sending.COUNTING, True),
}


def as_it_is(data: bytes) -> bytes:
    return data


@dataclass
class Hall:
    """A wire and a machine, and between them a link on which bytes take `latency_s` each way."""

    build: Build = field(default_factory=Build)
    sending: Sending = Sending.AUTO
    rx_bytes: int = 128
    latency_s: float = 0.001
    noise: Noise = field(default_factory=lambda: Noise(0))
    batch: int = 50
    now: float = 100.0
    to_machine: Spoil = as_it_is
    to_host: Spoil = as_it_is

    def __post_init__(self) -> None:
        self.machine = Marlin(self.build)
        self.machine.power_on(self.now)
        self.wire = Wire(self.now)
        self.wire.send_by(self.sending, self.rx_bytes)
        self.events: list[states.WireEvent] = []
        self.seen = self.fed = 0
        self.job: list[bytes] = []
        self.most_bytes = self.most_lines = 0
        self._out: deque[tuple[float, bytes]] = deque()
        self._in: deque[tuple[float, bytes]] = deque()

    def feed(self) -> None:
        end = min(self.fed + self.batch, len(self.job))
        self.wire.feed(self.job[self.fed : end])
        self.fed = end
        if end == len(self.job):
            self.wire.end_of_job()

    def begin(self, job: list[bytes]) -> None:
        self.job, self.fed = job, 0
        self.wire.begin(self.now)
        self.feed()

    def collect(self) -> None:
        while (event := self.wire.next_event()) is not None:
            self.events.append(event)
            if isinstance(event, states.NeedLines):
                self.feed()

    def turn(self) -> None:
        """Everything that happens now, then on to the next moment at which anything does."""
        if data := self.wire.data_to_send(self.now):
            window = self.wire._line.window
            self.most_bytes = max(self.most_bytes, window.used)
            self.most_lines = max(self.most_lines, len(window.sizes))
            self._out.append((self.now + self.latency_s, self.noise.toward_machine(self.to_machine(data))))
        self.collect()
        if output := self.machine.output:
            said = self.noise.toward_host(self.to_host(bytes(output)))
            output.clear()
            self._in.append((self.now + self.latency_s, said))
        dues = [self.machine.next_time(), self.wire.get_timer() or self.now + 1.0]
        dues += [queue[0][0] for queue in (self._out, self._in) if queue]
        if not data:
            self.now = max(self.now, min(dues))
        if self._out and self._out[0][0] <= self.now:
            self.machine.receive(self._out.popleft()[1], self.now)
        self.machine.step(self.now)
        if self._in and self._in[0][0] <= self.now:
            self.wire.receive_data(self._in.popleft()[1], self.now)
        self.wire.handle_timer(self.now)
        self.collect()

    def until(self, *kinds: type, turns: int = 200_000) -> states.WireEvent:
        for _ in range(turns):
            while self.seen < len(self.events):
                self.seen += 1
                if isinstance(event := self.events[self.seen - 1], kinds):
                    return event
            self.turn()
        raise AssertionError(f"none of {kinds}: {self.wire.phase} {self.wire.link} {self.events[-3:]}")

    def ready(self) -> Hall:
        self.until(states.Ready)
        return self

    def printed(self) -> list[bytes]:
        wanted = set(self.job)
        return [line for line in self.machine.executed if line in wanted]


def hall_of(mode: str, build: Build = AVR, **more: object) -> Hall:
    sending, advanced = MODES[mode]
    return Hall(build=replace(build, advanced_ok=advanced), sending=sending, **more).ready()  # type: ignore[arg-type]


def short_moves(count: int) -> list[bytes]:
    """Moves of some 20 ms, each another, as a slicer writes them."""
    return [
        b"G1 X%.3f Y%.3f E0.0234%s" % (n % 2 + n / 1e4, n / 500, b" F6000" * (n == 0)) for n in range(count)
    ]


def slow_moves(count: int, seconds: float) -> list[bytes]:
    """Moves of so many seconds each."""
    return [b"G1 X%d F%d" % (n % 2 * 60, 3600 / seconds) for n in range(count)]


# A clean link.


@pytest.mark.parametrize("mode", MODES)
def test_a_clean_run_is_exact_and_asks_for_nothing(mode: str) -> None:
    hall = hall_of(mode, replace(AVR, min_move_s=0.03))
    hall.begin([b"G28", b"M109 S200", *short_moves(900), b"M104 S0"])
    hall.until(states.RunDone)
    assert hall.printed() == hall.job
    counters = hall.wire.counters
    assert (counters.resends, counters.probes, counters.stray_oks, counters.garbled) == (0, 0, 0, 0)
    assert hall.machine.lost_bytes == 0
    assert hall.most_bytes <= 127
    assert hall.most_lines <= (4 if mode == "advanced-ok" else 127)
    if mode != "ping-pong":
        assert hall.most_lines >= 2, "the planner is full most of the time"
    assert mode.split(" ")[0] in hall.wire.health(hall.now).mode


def test_counting_is_faster_than_ping_pong() -> None:
    """With moves that take no time and 4 ms of latency each way the link is the limit."""
    took = {}
    for mode in MODES:
        hall = hall_of(mode, replace(AVR, move_scale=0.0), latency_s=0.004)
        began = hall.now
        hall.begin(short_moves(600))
        hall.until(states.RunDone)
        took[mode] = hall.now - began
    assert took["counting"] < 0.7 * took["ping-pong"]
    assert took["advanced-ok"] <= 1.01 * took["ping-pong"]


def test_lines_in_the_ring_outlast_a_host_that_is_held_up() -> None:
    """Moves of a quarter of a second, a planner of two, and a host that is away for 1.2 s again and again."""
    stops = {}
    for mode in ("ping-pong", "advanced-ok"):
        hall = hall_of(mode, replace(AVR, planner_blocks=3, min_move_s=0.25))
        hall.begin(short_moves(60))
        hall.until(states.RunBegan)
        began, away = hall.now, 0.0
        while not any(isinstance(event, states.RunDone) for event in hall.events):
            if hall.now > began + away + 3.0:
                away += 3.0
                hall.machine.step(hall.now + 1.2)
                hall.now += 1.2
            hall.turn()
        stops[mode] = hall.now - began
        assert hall.printed() == hall.job
    assert stops["advanced-ok"] < stops["ping-pong"] - 0.5


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("keepalive", [True, False])
@pytest.mark.parametrize("seconds", [0.9, 4.0, 25.0])
def test_slow_moves_are_never_asked_after(mode: str, keepalive: bool, seconds: float) -> None:
    build = replace(AVR, keepalive=keepalive)
    hall = hall_of(mode, build)
    hall.begin([b"G28", b"G92 X0", b"M109 S210", *slow_moves(40, seconds), b"G4 S30", b"G1 X3 F600"])
    began = hall.now
    hall.until(states.RunDone)
    assert hall.now - began > 39 * seconds
    assert hall.wire.counters.probes == 0
    assert hall.wire.counters.timeouts == 0
    assert len(hall.printed()) == len(hall.job)


def test_slow_kinds_of_moves_are_explained_without_busy() -> None:
    hall = hall_of("ping-pong", replace(AVR, keepalive=False))
    arc = b"G2 X60 Y0 I30 J0 F120"
    hall.begin(
        [
            *(
                b"G28",
                b"G92 X0 Y0 Z0 E0",
                b"G21",
                arc,
                b"G3 X0 Y0 R30 F60",
                b"G91",
                b"G1 Z20 F120",
                b"G1 X1Y1F20",
            ),
            *(b"G90", b"M82", b"G1 E30 F40", b"G4 P12000", b"G20", b"G1 X1 F4", b"G21", b"G1 X3 F6000"),
            *(b"M220 S50", b"G1 X40 F300", b"M220 S100", b"G0 X0 F9000"),
        ]
        + [b"G1 X%d" % (n % 7) for n in range(60)]
    )
    hall.until(states.RunDone)
    assert hall.wire.counters.probes == 0


# A loss each.


def lose(which: int, *, ok: bool) -> tuple[Spoil, Callable[[], bool]]:
    """What loses the `which`th ok, or line, of a print, and whether it has."""
    count, lost = 0, False

    def spoil(data: bytes) -> bytes:
        nonlocal count, lost
        kept = []
        for line in data.splitlines(keepends=True):
            if (line.startswith(b"ok") and b"T:" not in line) if ok else (b"G1" in line and not lost):
                count += 1
                if count == which:
                    lost = True
                    continue
            kept.append(line)
        return b"".join(kept)

    return spoil, lambda: lost


def recover(mode: str, seed: int, *, ok: bool, build: Build = AVR) -> float:
    """How long printing stands still for want of one ok, or one line, in mid-job: between lines executed."""
    source = random.Random(seed)
    hall = hall_of(mode, replace(build, min_move_s=0.0), batch=64)
    hall.begin([b"G28", *short_moves(160)])
    hall.until(states.RunBegan)
    while len(hall.printed()) < 40:
        hall.turn()
    spoil, is_lost = lose(source.randrange(1, 100), ok=ok)
    if ok:
        hall.to_host = spoil
    else:
        hall.to_machine = spoil
    longest, count, since, lost_at = 0.0, len(hall.printed()), hall.now, 0.0
    while not any(isinstance(event, ENDS) for event in hall.events):
        hall.turn()
        if is_lost() and not lost_at:
            lost_at = hall.now
        if len(hall.printed()) > count:
            if lost_at:
                longest = max(longest, hall.now - max(since, lost_at))
            count, since = len(hall.printed()), hall.now
    assert hall.printed() == hall.job
    assert is_lost()
    assert isinstance(hall.until(*ENDS), states.RunDone)
    return longest


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("ok", [True, False], ids=["ok", "line"])
@pytest.mark.parametrize("keepalive", [True, False], ids=["busy", "silent"])
def test_a_loss_costs_about_a_second_and_nothing_twice(mode: str, ok: bool, keepalive: bool) -> None:
    build = replace(AVR, keepalive=keepalive)
    times = [recover(mode, seed, ok=ok, build=build) for seed in range(12)]
    assert statistics.median(times) <= 1.2
    assert max(times) <= 2.5


# Any noise.


def place_is_right(hall: Hall, accepted: int) -> bool:
    """Every line told as accepted was, but for oks that noise made; none surely executed is missing from it."""
    slack = hall.wire.counters.stray_oks + hall.noise.injected
    return len(hall.printed()) - 5 - slack <= accepted <= len(hall.printed()) + 5 + slack


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", range(60))
def test_any_noise_keeps_the_sequence_or_fails_at_the_right_place(mode: str, seed: int) -> None:
    source = random.Random(f"{mode} {seed}")
    noise = Noise(seed, source.choice([0, 0.01, 0.05]), source.choice([0, 0.01, 0.05]), tuple(Fault))
    build = Build(
        rx_bytes=source.choice([128, 1024]),
        baud=0 if "counting" in mode else source.choice([0, 115200, 250000]),  # it is for native USB
        move_scale=source.choice([0.0, 0.5]),
        keepalive=source.random() < 0.7,
        autoreport=source.random() < 0.5,
        says_wait=source.random() < 0.3,
        ok_after_resend=source.random() < 0.8,
        early_resend_ok=source.random() < 0.3,
    )
    hall = hall_of(mode, build, latency_s=source.choice([0.0002, 0.002, 0.02]), batch=source.choice([7, 64]))
    hall.noise = noise
    hall.begin(short_moves(source.choice([40, 200])))
    upset = source.choice([None, None, None, hall.machine.hang, hall.machine.kill, hall.machine.power_on])
    if upset is not None:
        at = source.randrange(len(hall.job))
        while len(hall.printed()) < at and not any(isinstance(event, ENDS) for event in hall.events):
            hall.turn()
        if upset == hall.machine.power_on:
            hall.machine.power_on(hall.now)
        else:
            upset()
    end = hall.until(*ENDS)
    done = hall.printed()
    assert done == hall.job[: len(done)], "never twice, never out of order, never one left out"
    if isinstance(end, states.RunDone):
        assert done == hall.job
    else:
        assert isinstance(end, states.RunFailed)
        assert upset is not None, f"noise alone of 5 % must not end a print: {end}"
        assert place_is_right(hall, end.lines_accepted)
    assert hall.wire.phase in (Phase.IDLE, Phase.LISTENING, Phase.HALTED, Phase.DEAD)
