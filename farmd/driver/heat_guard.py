"""A second guard over heaters, behind the firmware's own: from temperatures alone, with their times.

For any driver: feed it every reading by `read`, ask it now and then by `check`, and bring the machine to a halt at
once when either gives an `Alarm`. Pure: knows no machine, no link and no clock; times are seconds of any monotonic
clock, temperatures degrees Celsius.

It must find what burns houses and never stop a sound print, so every rule is slower than the firmware's own, each
reading counts as the middle one of the last three (lines of temperatures carry no checksum), and a rule that
rests on fine readings waits until this sensor has shown them:

- **no-rise**: a heater far below its target gets no warmer.
- **too-hot**: a heater is far above its target and above the lowest it has had since that target was set, which
  leaves time to cool; off, it rises although nothing else in the machine is as hot. Or it is above the limit.
- **frozen**: a hot heater that should cool gives the same reading to the last digit for minutes; or one at its
  target does, whose readings were never still for so long before.
- **broken-sensor**: a heater that is on reads what no heater can have, three times in a row.
- **lost**: a heater is on, the link lives, and no temperature comes.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from farmd.model.errors import ErrorCode
from farmd.model.machine import MachineSpec

Rule = Literal["no-rise", "too-hot", "frozen", "broken-sensor", "lost"]

HEAT_GUARD = ErrorCode(
    "heat-guard",
    "a heater or its sensor does not behave as a sound one does, so the machine was stopped",
    "cut the machine's power; look at the heater, its sensor and their wires before it is heated again",
)

LOST_S = 30.0
GAP_S = 30.0
"""After a longer time without readings, everything but the target begins anew."""
COLDEST_C, HOTTEST_C = -10.0, 500.0
"""What no sensor of a heater in use reads: an open one reads less, a short one more."""
MOVED_C = 5.0
"""A sensor that has never moved so far is none: some firmware reports a constant where nothing is connected."""
JUMP_C, JUMP_C_PER_S = 10.0, 20.0
"""No heater changes faster: the report is of another one now, as after a change of tools."""
COOLING_C = 30.0
"""So far above its target a heater cools visibly."""
FINE_C, FINE_CHANGES, FINE_TIMES = 0.06, 30, 20.0
"""At its target a sensor is trusted to flicker when it has done so this often in steps no larger than this, and
is called frozen when it is still for so many times longer than ever before."""


@dataclass(frozen=True, slots=True)
class HeaterRules:
    """How one kind of heater behaves when it is sound, with room to spare."""

    near_c: float
    """So far below its target a heater still gets warmer, unless it is broken."""
    rise_c: float
    rise_s: float
    """By how much, within what time."""
    over_c: float
    over_s: float
    """How far above, and for how long, it may be when it overshoots."""
    cooling_s: float
    """A hot heater that cools may give the same reading for so long."""
    steady_s: float
    """The same at its target, for a sensor that flickers."""
    soak_c: float
    """How warm others in the machine can make it while it is off."""
    limit_c: float
    """It is never hotter than this."""


def rules_of(machine: MachineSpec) -> dict[str, HeaterRules]:
    """The rules for the heaters of a machine with these limits, by kind: "nozzle", "bed", "chamber".

    Marlin, Klipper and RepRapFirmware stop after 20 to 40 s without a rise; these wait longer. A bed takes
    minutes, and a chamber is often warmed by the bed alone.
    """
    over_bed_c, over_chamber_c = 10.0, 25.0
    return {
        "nozzle": HeaterRules(
            near_c=15.0,
            rise_c=2.0,
            rise_s=60.0,
            over_c=15.0,
            over_s=15.0,
            cooling_s=120.0,
            steady_s=300.0,
            soak_c=max(85.0, machine.max_bed_c),
            limit_c=machine.max_nozzle_c + 15.0,
        ),
        "bed": HeaterRules(
            near_c=10.0,
            rise_c=2.0,
            rise_s=180.0,
            over_c=over_bed_c,
            over_s=60.0,
            cooling_s=600.0,
            steady_s=900.0,
            soak_c=max(70.0, machine.max_chamber_c + 10.0),
            limit_c=machine.max_bed_c + over_bed_c,
        ),
        "chamber": HeaterRules(
            near_c=10.0,
            rise_c=1.0,
            rise_s=1800.0,
            over_c=over_chamber_c,
            over_s=300.0,
            cooling_s=math.inf,
            steady_s=math.inf,
            soak_c=math.inf,
            limit_c=machine.max_chamber_c + over_chamber_c,
        ),
    }


@dataclass(frozen=True, slots=True)
class Alarm:
    """A verdict: which heater ("nozzle", "nozzle1", "bed", "chamber"; "" for all), by which rule, in words."""

    heater: str
    rule: Rule
    what: str


class HeatGuard:
    """The guard of one machine. `slowness` stretches every time in the rules: 3 for heaters three times as slow."""

    def __init__(self, rules: Mapping[str, HeaterRules], *, slowness: float = 1.0) -> None:
        self._rules = rules
        self._slowness = slowness
        self._heaters: dict[str, _Heater] = {}
        self._seen_at = -math.inf

    def reset(self) -> None:
        """The link is new, or the firmware has restarted: nothing is known."""
        self._heaters.clear()
        self._seen_at = -math.inf

    def read(
        self,
        actual_c: Mapping[str, float],
        target_c: Mapping[str, float],
        now: float,
        *,
        limited: bool = True,
    ) -> Alarm | None:
        """Take in one report; an alarm when it is the one too many.

        A heater that is missing in `target_c` has an unknown target. `limited` False: somebody at the machine may
        have chosen a target above its limits, because no run of ours is open.
        """
        self._seen_at = now
        for name, value in actual_c.items():
            heater = self._heaters.get(name)
            if heater is None:
                rules = self._rules.get(name.rstrip("0123456789"))
                if rules is None:
                    continue
                heater = self._heaters[name] = _Heater(name, rules, self._slowness)
            if (alarm := heater.read(value, target_c.get(name), now, limited=limited)) is not None:
                return alarm
        return None

    def check(self, now: float, *, expected: bool = True) -> Alarm | None:
        """Ask for a verdict between reports. `expected` False: none can come now, as in a long command."""
        if not expected:
            self._seen_at = max(self._seen_at, now)
        silent_s = now - self._seen_at
        if silent_s <= LOST_S * self._slowness or silent_s == math.inf:
            return None
        on = [heater.name for heater in self._heaters.values() if heater.is_on]
        if not on:
            return None
        return Alarm("", "lost", f"no temperature came for {silent_s:.0f} s, with {' and '.join(on)} heated")


class _Heater:
    """What is remembered of one heater. `middle` is the middle one of the last three readings."""

    def __init__(self, name: str, rules: HeaterRules, slowness: float) -> None:
        self.name = name
        self._rules = rules
        self._slowness = slowness
        self._target: float | None = None
        self._rumoured: float | None = None
        """A new target that one report has told; the next confirms it."""
        self._lowest_ever = math.inf
        self._highest_ever = -math.inf
        self._begin(-math.inf)

    def _begin(self, now: float) -> None:
        self._last: deque[float] = deque(maxlen=3)
        self._at = self._begun_at = self._middle_at = now
        self._middle = 0.0
        self._lowest = math.inf
        """Since the target was set."""
        self._base: tuple[float, float] | None = None
        """From what temperature and when it is to rise."""
        self._over_since: float | None = None
        self._still_since = now
        self._changes = 0
        self._finest = math.inf
        self._longest_still_s = 0.0

    @property
    def is_on(self) -> bool:
        return self._target is not None and self._target > 0

    def read(self, value: float, target: float | None, now: float, *, limited: bool) -> Alarm | None:
        if now - self._at > GAP_S * self._slowness:
            self._begin(now)
        self._at = now
        self._take_target(target, now)
        still_s = self._stillness(value, now)
        self._last.append(value)
        if len(self._last) < 3:
            return None
        middle = sorted(self._last)[1]
        jumped = abs(middle - self._middle) > JUMP_C + JUMP_C_PER_S * (now - self._middle_at)
        if jumped and self._middle_at > self._begun_at:
            self._begin(now)
            return None
        self._middle, self._middle_at = middle, now
        self._lowest_ever = min(self._lowest_ever, middle)
        self._highest_ever = max(self._highest_ever, middle)
        known = None if target is None else self._target
        return (
            self._broken(middle, known)
            or self._no_rise(middle, known, now)
            or self._too_hot(middle, known, now, limited=limited)
            or self._frozen(middle, known, still_s)
        )

    def _take_target(self, target: float | None, now: float) -> None:
        if target is None or target == self._target:
            self._rumoured = None
        elif self._target is None or target == self._rumoured:
            self._target, self._rumoured = target, None
            self._lowest = math.inf
            self._over_since = None
            self._still_since = now
        else:
            self._rumoured = target

    def _stillness(self, value: float, now: float) -> float:
        """For how long the reading has been the same; learns how fine and how lively this sensor is."""
        if self._last and value == self._last[-1]:
            return now - self._still_since
        if self._last and self._target and abs(value - self._target) < self._rules.near_c:
            self._changes += 1
            self._finest = min(self._finest, abs(value - self._last[-1]))
            self._longest_still_s = max(self._longest_still_s, now - self._still_since)
        self._still_since = now
        return 0.0

    def _broken(self, middle: float, target: float | None) -> Alarm | None:
        if not target or any(COLDEST_C <= value <= HOTTEST_C for value in self._last):
            return None
        return self._alarm("broken-sensor", f"reads {middle:g} °C, which no heater has", target)

    def _no_rise(self, middle: float, target: float | None, now: float) -> Alarm | None:
        if target is None:
            return None
        rules = self._rules
        if target <= 0 or middle >= target - rules.near_c:
            self._base = None
        elif self._base is None or middle >= self._base[0] + rules.rise_c:
            self._base = (middle, now)
        elif (for_s := now - self._base[1]) >= rules.rise_s * self._slowness:
            what = f"got no {rules.rise_c:g} °C warmer in {for_s:.0f} s, at {middle:g} °C"
            return self._alarm("no-rise", what, target)
        return None

    def _too_hot(self, middle: float, target: float | None, now: float, *, limited: bool) -> Alarm | None:
        rules = self._rules
        highest = rules.limit_c
        if target is not None:
            self._lowest = min(self._lowest, middle)
            aim = (target if target > 0 else rules.soak_c) + rules.over_c
            highest = max(min(aim, highest) if limited else aim, self._lowest + rules.over_c)
        if middle <= highest:
            self._over_since = None
            return None
        if self._over_since is None:
            self._over_since = now
        if (for_s := now - self._over_since) < rules.over_s * self._slowness:
            return None
        return self._alarm("too-hot", f"was above {highest:g} °C for {for_s:.0f} s, at {middle:g} °C", target)

    def _frozen(self, middle: float, target: float | None, still_s: float) -> Alarm | None:
        if target is None or self._highest_ever - self._lowest_ever < MOVED_C:
            return None
        rules = self._rules
        if middle > max(rules.soak_c, target + COOLING_C):
            allowed_s = rules.cooling_s * self._slowness
        elif (
            target > 0
            and abs(middle - target) < rules.near_c
            and self._changes >= FINE_CHANGES
            and self._finest <= FINE_C
        ):
            allowed_s = max(rules.steady_s * self._slowness, FINE_TIMES * self._longest_still_s)
        else:
            return None
        if still_s < allowed_s:
            return None
        return self._alarm("frozen", f"reads {middle:g} °C without any change for {still_s:.0f} s", target)

    def _alarm(self, rule: Rule, what: str, target: float | None) -> Alarm:
        aim = "" if target is None else f" (target {target:g} °C)" if target > 0 else " (switched off)"
        return Alarm(self.name, rule, f"the {self.name} {what}{aim}")
