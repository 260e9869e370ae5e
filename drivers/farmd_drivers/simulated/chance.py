"""Seeded chance: what befalls a simulated machine, its runs and its cable.

Every draw comes from a stream of its own, named by (seed, machine, subject), so it depends neither
on the order of calls nor on what else was drawn. Only `Random.random` is used, whose sequence
Python promises to keep. Knows no machine state, clock or driver.
"""

from __future__ import annotations

import hashlib
import math
import random
from dataclasses import dataclass
from statistics import NormalDist

HOUR_S = 3600.0

# Shares of the reasons why managed filament printers lose a run; a "first layer" fails early.
_FILAMENT_REASONS = (
    (0.35, "the first layer did not hold"),
    (0.25, "the part came off the plate"),
    (0.20, "the nozzle jammed"),
    (0.10, "the material ran out"),
    (0.10, "the machine stopped by itself"),
)
_POWDER_REASONS = ((0.5, "the recoater struck a part"), (0.5, "the powder bed got too cold"))
_STATION_REASONS = ((1.0, "the operation was broken off"),)
REASONS = {"MEX": _FILAMENT_REASONS, "PBF": _POWDER_REASONS, "station": _STATION_REASONS}
EARLY_SHARE = 0.02


def stream(seed: int, *subject: str) -> random.Random:
    """The random stream of one subject."""
    digest = hashlib.sha256("\0".join((str(seed), *subject)).encode()).digest()
    return random.Random(int.from_bytes(digest[:16], "big"))


def exponential(u: float, mean: float) -> float:
    """An exponential variate of that mean from `u` in [0, 1)."""
    return -mean * math.log1p(-u)


def lognormal(u: float, sigma: float) -> float:
    """A lognormal variate with mean 1 and log deviation `sigma` from `u` in [0, 1)."""
    if sigma == 0.0:
        return 1.0
    return math.exp(NormalDist(-sigma * sigma / 2, sigma).inv_cdf(max(u, 1e-12)))


@dataclass(frozen=True, slots=True)
class Odds:
    """How likely things are; a rate or mean of 0 means never."""

    seed: int
    machine: str
    process: str = "MEX"
    noise: float = 0.0
    failure_rate: float = 0.0
    mtbf_h: float = 0.0
    drop_rate: float = 0.0
    panel_every_h: float = 0.0
    reboot_every_h: float = 0.0


@dataclass(frozen=True, slots=True)
class Fate:
    """What is drawn for one run: its true length, where it is broken off, and by what.

    `share` is the share of the length that is done when it ends; 1 when it succeeds. `breaks` says
    that the machine itself fails and needs a person.
    """

    length: float
    share: float = 1.0
    reason: str = ""
    breaks: bool = False


def fate(odds: Odds, run_id: str, duration_s: float) -> Fate:
    """Draws one run. Faults come at a constant rate per hour of running, so runs are independent."""
    draw = stream(odds.seed, odds.machine, "run", run_id).random
    noise_u, fails_u, reason_u, place_u, fault_u = draw(), draw(), draw(), draw(), draw()
    length = lognormal(noise_u, odds.noise)
    share, reason, breaks = 1.0, "", False
    if fails_u < odds.failure_rate:
        reason = _pick(REASONS.get(odds.process, _FILAMENT_REASONS), reason_u)
        share = place_u * (EARLY_SHARE if reason == _FILAMENT_REASONS[0][1] else 1.0)
    if odds.mtbf_h > 0.0:
        fault_s = exponential(fault_u, odds.mtbf_h * HOUR_S)
        if fault_s < share * length * duration_s:
            share = fault_s / (length * duration_s)
            reason, breaks = "the machine broke down", True
    return Fate(length, share, reason, breaks)


def drops_start(odds: Odds, run_id: str) -> bool:
    """Whether this run's START is silently dropped."""
    return stream(odds.seed, odds.machine, "drop", run_id).random() < odds.drop_rate


def gap_s(odds: Odds, kind: str, count: int, every_h: float) -> float:
    """Seconds between the happening `count` of a kind and the one before; infinite when never."""
    if every_h <= 0.0:
        return math.inf
    return exponential(stream(odds.seed, odds.machine, kind, str(count)).random(), every_h * HOUR_S)


def _pick(shares: tuple[tuple[float, str], ...], u: float) -> str:
    total = 0.0
    for share, name in shares:
        total += share
        if u < total:
            return name
    return shares[-1][1]


class Cable:
    """The link between daemon and machine: lost at seeded times, or pulled by a test.

    It is not the machine: what the machine does goes on meanwhile.
    """

    def __init__(self, odds: Odds, *, lost_every_h: float, lost_s: float) -> None:
        self._odds = odds
        self._every_h = lost_every_h
        self._lost_s = lost_s
        self._count = 0
        self._next_loss_at: float | None = None
        self._down_until = -math.inf

    def up(self, now: float) -> bool:
        self._advance(now)
        return now >= self._down_until

    def next_loss_at(self, now: float) -> float:
        """When the link is lost next by chance; infinite when never."""
        return self._advance(now)

    def pull(self, until: float) -> None:
        """Down until that time."""
        self._down_until = max(self._down_until, until)

    def plug(self) -> None:
        """Up again at once."""
        self._down_until = -math.inf

    def _advance(self, now: float) -> float:
        loss_at = self._next_loss_at
        if loss_at is None:
            loss_at = now + gap_s(self._odds, "cable", 0, self._every_h)
        while loss_at <= now:
            u = stream(self._odds.seed, self._odds.machine, "cable-for", str(self._count)).random()
            self.pull(loss_at + exponential(u, self._lost_s))
            self._count += 1
            loss_at += gap_s(self._odds, "cable", self._count, self._every_h)
        self._next_loss_at = loss_at
        return loss_at
