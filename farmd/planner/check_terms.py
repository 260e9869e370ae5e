"""The checker's rules of the terms that a shop may or may not have: maintenance, deadlines, power, material left.

Like `check.py`, which asks these, it knows the problem and the plan's own numbers and must never know how plans
are made. Answers are (code, sentence) pairs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from farmd.planner.problem import Build, Machine, Part, Problem

TOLERANCE_S = 1.0


class Span(NamedTuple):
    """One assignment on the clock: from the begin of its work, or of itself, by its start to its end."""

    name: str
    machine: Machine
    build: Build | None
    parts: tuple[Part, ...]
    begins_s: float
    start_s: float
    end_s: float


class Lot:
    """What is left of the lot that is loaded on a machine at first; of any other there is enough."""

    def __init__(self, machine: Machine) -> None:
        self._left = None if machine.grams_left is None else math.floor(machine.grams_left)

    def is_short(self, build: Build, *, changed: bool) -> bool:
        """Take a run's material, after a changeover where there is one; whether the spool is changed for it."""
        if changed or self._left is None:
            self._left = None
            return False
        grams = math.ceil(build.grams)
        if grams > self._left:
            self._left = None
            return True
        self._left -= grams
        return False


def broken_terms(problem: Problem, spans: list[Span]) -> Iterator[tuple[str, str]]:
    """Each term that these assignments break."""
    for span in spans:
        yield from _in_maintenance(span)
        yield from _past_deadline(span)
    for group in problem.power_groups:
        members = [span for span in spans if span.machine.name in group.machines]
        yield from _too_much_power(group.name, group.at_once, group.warm_up_s, members)


def _in_maintenance(span: Span) -> Iterator[tuple[str, str]]:
    """From the begin of the work at a machine to the end of its run, it is not shut. It may cool down then."""
    for begin, end in span.machine.shut:
        if min(end, span.end_s) - max(begin, span.begins_s) > TOLERANCE_S:
            yield (
                "in-maintenance",
                f"{span.name} is on {span.machine.name} from {span.begins_s:.10g} to {span.end_s:.10g}, "
                f"which is shut from {begin:.10g} to {end:.10g}",
            )


def _past_deadline(span: Span) -> Iterator[tuple[str, str]]:
    """A run or part ends by its deadline."""
    if span.build is not None:
        deadlines = [(span.name, span.build.deadline_s)]
    else:
        deadlines = [(f"part {part.id}", part.deadline_s) for part in span.parts]
    for name, deadline in deadlines:
        if deadline is not None and span.end_s > deadline + TOLERANCE_S:
            yield "past-deadline", f"{name} ends at {span.end_s:.10g}; its deadline is {deadline:.10g}"


def _too_much_power(
    name: str, at_once: int, warm_up_s: float, spans: Iterable[Span]
) -> Iterator[tuple[str, str]]:
    """At no time do more machines of a power group warm up than may. Overlaps up to the tolerance are none."""
    events: list[tuple[float, int]] = []
    for span in spans:
        warm_s = min(warm_up_s, span.end_s - span.start_s)
        if warm_s > TOLERANCE_S:
            events += [(span.start_s, 1), (span.start_s + warm_s - TOLERANCE_S, -1)]
    warm, worst, when = 0, 0, 0.0
    for time, change in sorted(events):
        warm += change
        if warm > worst:
            worst, when = warm, time
    if worst > at_once:
        yield (
            "too-much-power",
            f"{worst} machines of {name} warm up at {when:.10g}; at most {at_once} may at once",
        )
