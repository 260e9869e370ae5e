"""The guard over heaters, against seeded models: every fault is found in time, and no sound print is stopped."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from farmd.driver.heat_guard import Alarm, HeatGuard, Rule, rules_of
from farmd.model.machine import MachineSpec

SPEC = MachineSpec("mk4", "marlin", "mk4", "MEX", (250.0, 210.0, 220.0), max_nozzle_c=290, max_bed_c=120)
STEP_S = 0.5


@dataclass
class Model:
    """A heater with its sensor: first order with a lag, driven by a PI regulator, noise and rounding on the reading."""

    source: random.Random
    heats_c_per_s: float
    """At full power and room temperature."""
    loses_per_s: float
    """Of the difference to the air around it."""
    lag_s: float
    noise_c: float
    digits: int
    room_c: float = 21.0
    target_c: float = 0.0
    draught: float = 1.0
    """How much faster than usual it loses heat: a fan, an open door."""
    power: Callable[[float], float] = field(default=lambda asked: asked)
    """What the heater makes of the power asked for; a fault replaces it."""
    sensor: Callable[[float], float] = field(default=lambda value: value)
    real_c: float = 21.0
    felt_c: float = 21.0
    integral: float = 0.0

    def step(self, step_s: float) -> None:
        off_by = self.target_c - self.reads()
        band_c = 12.0
        asked = 0.0
        if self.target_c:
            hold = self.loses_per_s * (self.target_c - self.room_c) / self.heats_c_per_s
            if abs(off_by) < band_c:
                self.integral += off_by * step_s * 0.002
                self.integral = max(-0.3, min(0.3, self.integral))
            asked = max(0.0, min(1.0, hold + off_by / band_c + self.integral))
        made = self.power(asked)
        loss = self.loses_per_s * self.draught * (self.real_c - self.room_c)
        self.real_c += (self.heats_c_per_s * made - loss) * step_s
        self.felt_c += (self.real_c - self.felt_c) * min(1.0, step_s / self.lag_s)

    def reads(self) -> float:
        return self.sensor(self.felt_c)

    def report(self) -> float:
        value = self.reads()
        return round(value + self.source.gauss(0, self.noise_c), self.digits) if self.noise_c else value


def nozzle(source: random.Random, digits: int = 2) -> Model:
    return Model(
        source,
        heats_c_per_s=source.uniform(2.2, 5.0),
        loses_per_s=source.uniform(0.003, 0.005),
        lag_s=source.uniform(1.0, 4.0),
        noise_c=source.uniform(0.03, 0.4),
        digits=digits,
    )


def bed(source: random.Random, digits: int = 2) -> Model:
    return Model(
        source,
        heats_c_per_s=source.uniform(0.15, 0.6),
        loses_per_s=source.uniform(0.0006, 0.001),
        lag_s=source.uniform(4.0, 20.0),
        noise_c=source.uniform(0.01, 0.15),
        digits=digits,
    )


class Shop:
    """One machine and its guard; `every_s` between reports."""

    def __init__(self, seed: int, *, digits: int = 2, every_s: float = 2.0, slowness: float = 1.0) -> None:
        self.source = random.Random(seed)
        self.heaters = {"nozzle": nozzle(self.source, digits), "bed": bed(self.source, digits)}
        self.guard = HeatGuard(rules_of(SPEC), slowness=slowness)
        self.every_s = every_s
        self.now = 1000.0
        self.alarm: Alarm | None = None
        self.spoil: Callable[[dict[str, float]], dict[str, float]] = lambda values: values
        self.readings = 0

    def run(self, seconds: float, *, silent: bool = False) -> Alarm | None:
        """Let time pass; the first alarm, or None."""
        end = self.now + seconds
        due = self.now
        while self.now < end and self.alarm is None:
            for each in self.heaters.values():
                each.step(STEP_S)
            self.now += STEP_S
            if self.now >= due and not silent:
                due += self.every_s
                actual = self.spoil({name: each.report() for name, each in self.heaters.items()})
                target = {name: each.target_c for name, each in self.heaters.items()}
                self.readings += 1
                self.alarm = self.guard.read(actual, target, self.now)
            self.alarm = self.alarm or self.guard.check(self.now, expected=not silent)
        return self.alarm

    def until_hot(self) -> None:
        self.heaters["bed"].target_c = 60.0
        self.heaters["nozzle"].target_c = 215.0
        self.run(900)
        assert self.alarm is None
        assert abs(self.heaters["nozzle"].real_c - 215) < 5
        assert abs(self.heaters["bed"].real_c - 60) < 5


SEEDS = range(6)


def found(shop: Shop, rule: Rule, heater: str, within_s: float) -> float:
    """The seconds that it took."""
    before = shop.now
    alarm = shop.run(within_s + 5)
    assert alarm is not None, f"{rule} of the {heater} not found in {within_s} s"
    assert (alarm.rule, alarm.heater) == (rule, heater), alarm
    assert shop.now - before <= within_s
    return shop.now - before


# What is broken is found.


@pytest.mark.parametrize("seed", SEEDS)
def test_a_nozzle_that_does_not_heat(seed: int) -> None:
    shop = Shop(seed)
    shop.heaters["nozzle"].power = lambda asked: 0.0
    shop.heaters["nozzle"].target_c = 215.0
    found(shop, "no-rise", "nozzle", 66)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_bed_that_does_not_heat(seed: int) -> None:
    shop = Shop(seed)
    shop.heaters["bed"].power = lambda asked: 0.0
    shop.heaters["bed"].target_c = 60.0
    found(shop, "no-rise", "bed", 190)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_heater_that_fails_in_mid_print(seed: int) -> None:
    shop = Shop(seed)
    shop.until_hot()
    shop.heaters["nozzle"].power = lambda asked: 0.0
    # It falls by 15 °C first, and then has its 60 s.
    found(shop, "no-rise", "nozzle", 100)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_sensor_that_fell_out_while_the_heater_goes_on(seed: int) -> None:
    shop = Shop(seed)
    shop.until_hot()
    hot = shop.heaters["nozzle"]
    out_at = shop.now
    hot.sensor = lambda value: 21 + 194 * 2.718 ** (-(shop.now - out_at) / 20)
    found(shop, "no-rise", "nozzle", 75)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_switch_that_stays_closed(seed: int) -> None:
    shop = Shop(seed)
    shop.until_hot()
    shop.heaters["nozzle"].power = lambda asked: 1.0
    found(shop, "too-hot", "nozzle", 45)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_switch_that_closes_while_everything_is_off(seed: int) -> None:
    shop = Shop(seed)
    shop.run(60)
    shop.heaters["nozzle"].power = lambda asked: 1.0
    found(shop, "too-hot", "nozzle", 100)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_bed_that_stays_on_when_it_is_switched_off(seed: int) -> None:
    shop = Shop(seed)
    shop.until_hot()
    shop.heaters["bed"].power = lambda asked: 1.0
    shop.heaters["bed"].target_c = 0.0
    found(shop, "too-hot", "bed", 300)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_sensor_that_freezes_at_the_target(seed: int) -> None:
    shop = Shop(seed)
    shop.until_hot()
    shop.run(600)
    hot = shop.heaters["nozzle"]
    stuck = hot.report()
    shop.spoil = lambda values: values | {"nozzle": stuck}
    found(shop, "frozen", "nozzle", 320)


@pytest.mark.parametrize("digits", [0, 1, 2])
def test_a_sensor_that_freezes_while_it_cools(digits: int) -> None:
    shop = Shop(3, digits=digits)
    shop.until_hot()
    stuck = shop.heaters["nozzle"].report()
    shop.spoil = lambda values: values | {"nozzle": stuck}
    shop.heaters["nozzle"].target_c = 0.0
    found(shop, "frozen", "nozzle", 130)


@pytest.mark.parametrize("value", [-15.0, 999.0])
def test_a_sensor_that_breaks(value: float) -> None:
    shop = Shop(1)
    shop.until_hot()
    shop.spoil = lambda values: values | {"nozzle": value}
    found(shop, "broken-sensor", "nozzle", 10)


def test_readings_that_stop() -> None:
    shop = Shop(1)
    shop.until_hot()
    before = shop.now
    while (alarm := shop.guard.check(shop.now)) is None:
        shop.now += 1
    assert alarm == Alarm("", "lost", alarm.what)
    assert "nozzle and bed" in alarm.what
    assert shop.now - before <= 31


def test_a_target_above_the_limits_of_the_machine_in_a_run() -> None:
    guard = HeatGuard(rules_of(SPEC))
    at_the_panel = HeatGuard(rules_of(SPEC))
    alarms = []
    for second in range(0, 200, 2):
        actual = {"nozzle": min(330.0, 25.0 + 4 * second)}
        alarms.append(guard.read(actual, {"nozzle": 330.0}, float(second)))
        assert at_the_panel.read(actual, {"nozzle": 330.0}, float(second), limited=False) is None
    first = next(alarm for alarm in alarms if alarm)
    assert (first.rule, first.heater) == ("too-hot", "nozzle")


def test_the_second_nozzle_is_a_nozzle() -> None:
    guard = HeatGuard(rules_of(SPEC))
    told = [guard.read({"nozzle1": 25.0}, {"nozzle1": 200.0}, t) for t in range(0, 70, 2)]
    assert [alarm.heater for alarm in told if alarm][:1] == ["nozzle1"]


# What is sound is left alone.


def one_print(shop: Shop, hours: float) -> None:
    """A print with all that is ordinary in one."""
    source, hot, plate = shop.source, shop.heaters["nozzle"], shop.heaters["bed"]
    plate.target_c = source.choice([0.0, 55.0, 60.0, 85.0, 100.0])
    hot.target_c = source.choice([150.0, 170.0])
    shop.run(source.uniform(60, 400))
    hot.target_c = source.uniform(195, 260)
    shop.run(120)
    end = shop.now + hours * 3600
    while shop.now < end and shop.alarm is None:
        match source.randrange(8):
            case 0:  # the part fan, a door
                hot.draught = source.uniform(1.0, 1.6)
            case 1:
                plate.draught = source.uniform(1.0, 1.5)
            case 2:  # a tower of temperatures, another filament
                hot.target_c = source.uniform(190, 260)
            case 3:  # M109 R: wait for it to cool
                hot.target_c = max(150.0, hot.target_c - source.uniform(20, 80))
                shop.run(200)
                hot.target_c = source.uniform(195, 250)
            case 4:  # a command that takes minutes, without reports
                shop.run(source.uniform(20, 600), silent=True)
            case 5:  # a pause with the nozzle off, then on
                before, hot.target_c = hot.target_c, 0.0
                shop.run(source.uniform(30, 900))
                hot.target_c = before
            case 6:
                plate.target_c = source.choice([0.0, 55.0, 60.0, 70.0, 90.0])
            case _:
                pass
        shop.run(source.uniform(60, 900))
    hot.target_c = plate.target_c = 0.0
    hot.draught = plate.draught = 1.0
    shop.run(1200)


@pytest.mark.parametrize("digits", [0, 1, 2])
@pytest.mark.parametrize("seed", range(4))
def test_hours_of_printing_without_a_false_alarm(seed: int, digits: int) -> None:
    shop = Shop(100 + seed, digits=digits, every_s=random.Random(seed).choice([1.0, 2.0, 4.0, 5.0]))
    for _ in range(2):
        one_print(shop, 2.0)
    assert shop.alarm is None
    assert shop.readings > 3000


@pytest.mark.parametrize("seed", range(3))
def test_damaged_lines_are_no_alarm(seed: int) -> None:
    """A digit lost or changed on the way, in one report of twenty."""
    shop = Shop(200 + seed)
    source = random.Random(seed)

    def spoil(values: dict[str, float]) -> dict[str, float]:
        if source.random() < 0.05:
            name = source.choice(["nozzle", "bed"])
            return values | {name: values[name] * source.choice([0.1, 0.01, 10.0, 1.3, -1.0])}
        return values

    shop.spoil = spoil
    one_print(shop, 2.0)
    assert shop.alarm is None


def test_a_machine_that_tells_no_targets_or_nothing_real() -> None:
    guard = HeatGuard(rules_of(SPEC))
    for second in range(0, 7200, 2):
        assert guard.read({"nozzle": 0.0}, {}, float(second)) is None  # Klipper's `ok T:0`
        assert guard.read({"bed": 100.0}, {"bed": 0.0}, float(second)) is None  # a dummy sensor
        assert guard.read({"board": 45.0}, {}, float(second)) is None
        assert guard.read({"nozzle1": -15.0}, {"nozzle1": 0.0}, float(second)) is None  # nothing connected
        assert guard.check(second + 1.0) is None


def test_a_steady_sensor_that_never_flickers_is_no_alarm() -> None:
    guard = HeatGuard(rules_of(SPEC))
    values = [25.0 + n for n in range(0, 190, 4)] + [215.0] * 5000
    alarms = [guard.read({"nozzle": value}, {"nozzle": 215.0}, 2.0 * n) for n, value in enumerate(values)]
    assert not any(alarms)


def test_another_tool_in_the_same_report_is_no_alarm() -> None:
    """Marlin's `T:` is of the tool in use: here both are off, and the one that is chosen is hotter."""
    guard = HeatGuard(rules_of(SPEC))
    values = [40.0] * 20 + [190.0 - n for n in range(120)]
    assert not any(guard.read({"nozzle": v}, {"nozzle": 0.0}, 2.0 * n) for n, v in enumerate(values))
    # A heater that truly rises while it is off does so by degrees.
    rising = [40.0 + 3 * n for n in range(100)]
    alarms = [guard.read({"nozzle": v}, {"nozzle": 0.0}, 300 + 2.0 * n) for n, v in enumerate(rising)]
    assert next(alarm for alarm in alarms if alarm).rule == "too-hot"


def test_a_long_command_excuses_silence_and_a_new_link_forgets() -> None:
    guard = HeatGuard(rules_of(SPEC))
    for second in range(0, 40, 2):
        assert guard.read({"nozzle": 25.0 + 4 * second}, {"nozzle": 215.0}, float(second)) is None
    assert guard.check(600.0, expected=False) is None
    assert guard.check(625.0) is None
    assert guard.check(631.0) is not None
    guard.reset()
    assert guard.check(700.0) is None


def test_slow_heaters_have_their_setting() -> None:
    shop = Shop(5)
    slow = Shop(5, slowness=4.0)
    for each in (shop, slow):
        each.heaters["bed"].heats_c_per_s = 0.037
        each.heaters["bed"].loses_per_s = 0.0005
        each.heaters["bed"].target_c = 90.0
        each.run(5000)
    assert shop.alarm is not None
    assert slow.alarm is None
