"""What ended runs teach about the next ones: how long machines really take, and how often runs fail.

Pure. Knows the recent runs that it was told of and nothing else, so the same facts teach the same. With few runs it
believes what it was told at first; what it learns moves in steps, so that plans do not flutter.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median

from farmd.model.machine import MachineSpec
from farmd.model.work import Build, Outcome, Run

RECENT = 500
"""Runs that are remembered: some weeks of a small shop, a day of a large one."""
FIRST_FAILURE_RATE = 0.04
"""What is taken for granted before anything was seen, with the weight of so many runs:"""
RUNS_OF_FAITH = 50
RUNS_OF_A_KIND = 10
STEP = 0.05
"""Ratios are learnt to this step."""
SLOWEST, FASTEST = 2.0, 0.5
HOUR_S = 3600.0
EARLY = ((5 * HOUR_S, 0.3), (12 * HOUR_S, 0.1), (24 * HOUR_S, 0.05), (48 * HOUR_S, 0.03), (96 * HOUR_S, 0.02))
"""(before_s, share) at the first failure rate: about how often what is planned to end so long before its due date
is late for a failure, or for work that came after."""
MOST = 3.0


@dataclass(frozen=True, slots=True)
class Ended:
    """A run that ended by itself: on which kind of machine, its estimate, and its length (None: it failed)."""

    kind: str
    estimated_s: float
    actual_s: float | None


@dataclass(frozen=True, slots=True)
class Learnt:
    """`ratio` of the real to the estimated length of runs by kind of machine, and the share of runs that fail."""

    ratios: Mapping[str, float] = field(default_factory=dict)
    failure_rate: float = FIRST_FAILURE_RATE
    runs: int = 0
    """Of how many runs that is learnt."""

    def told(self) -> str:
        """In a line, for people."""
        slow = [f"{kind} {ratio:.2f}" for kind, ratio in self.ratios.items() if ratio != 1.0]
        times = f"; runs over their estimates: {', '.join(slow)}" if slow else ""
        return f"learnt of {self.runs} runs: {self.failure_rate:.0%} fail{times}"

    def ratio(self, kind: str) -> float:
        return self.ratios.get(kind, 1.0)

    def buffers(self, scale: float = 1.0) -> tuple[tuple[float, float], ...]:
        """The buffers of a problem; `scale` is how much of them is wanted, 0 none."""
        if scale <= 0.0:
            return ()
        times = scale * min(MOST, 0.5 + 0.5 * self.failure_rate / FIRST_FAILURE_RATE)
        return tuple((before_s, round(share * times, 3)) for before_s, share in EARLY)


def kind_of(spec: MachineSpec) -> str:
    """Machines of one kind are alike; every powder bed and every station is one of its own."""
    if spec.chamber is not None or spec.is_station:
        return spec.name
    return f"{spec.group}:{spec.driver}:{'x'.join(f'{side:g}' for side in spec.volume_mm)}"


def ended_of(run: Run, build: Build, spec: MachineSpec | None) -> Ended | None:
    """What a run that is over teaches; None for one that was stopped, went on with another, or was people's work."""
    if spec is None or spec.is_station or run.continues is not None or run.started_at is None:
        return None
    if run.outcome is Outcome.OK and run.ended_at is not None:
        return Ended(kind_of(spec), build.duration_s, run.ended_at - run.started_at)
    if run.outcome is Outcome.FAILED:
        return Ended(kind_of(spec), build.duration_s, None)
    return None


class Estimates:
    """The recent runs."""

    def __init__(self) -> None:
        self._runs: deque[Ended] = deque(maxlen=RECENT)

    def saw(self, ended: Ended) -> None:
        if ended.estimated_s > 0.0:
            self._runs.append(ended)

    def learnt(self) -> Learnt:
        """What the recent runs teach."""
        of_kind: dict[str, list[float]] = {}
        failed = 0
        for run in self._runs:
            if run.actual_s is None:
                failed += 1
            else:
                of_kind.setdefault(run.kind, []).append(run.actual_s / run.estimated_s)
        rate = (failed + RUNS_OF_FAITH * FIRST_FAILURE_RATE) / (len(self._runs) + RUNS_OF_FAITH)
        return Learnt(
            {kind: _ratio(seen) for kind, seen in sorted(of_kind.items())}, round(rate, 2), len(self._runs)
        )


def _ratio(seen: list[float]) -> float:
    """The median, drawn towards 1 where little was seen, in steps."""
    drawn = (len(seen) * median(seen) + RUNS_OF_A_KIND) / (len(seen) + RUNS_OF_A_KIND)
    return min(SLOWEST, max(FASTEST, round(drawn / STEP) * STEP))
