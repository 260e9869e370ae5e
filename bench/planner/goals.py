"""The planner's goals: how a part of the bench says a figure beside its goal, and how those are gathered.

A part prints `told` lines among all that it prints; whoever runs it reads them back. Knows no measurement.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

MARK = "goal: "


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure and what it is to be at most, or with `at_least` at least; `stretch` is what it would be at best."""

    name: str
    figure: float
    goal: float
    at_least: bool = False
    stretch: float | None = None

    @property
    def met(self) -> bool:
        return self.figure >= self.goal if self.at_least else self.figure <= self.goal

    def verdict(self) -> str:
        """`yes`, or by how much not."""
        if self.met:
            reached = self.stretch is not None and (
                self.figure >= self.stretch if self.at_least else self.figure <= self.stretch
            )
            return "yes, stretch too" if reached else "yes"
        if self.goal:
            return f"no, by {abs(self.figure / self.goal - 1.0):.1%}"
        return f"no, by {abs(self.figure - self.goal):.3g}"


def told(
    name: str, figure: float, goal: float, *, at_least: bool = False, stretch: float | None = None
) -> None:
    """Print the figure as a line that `read` knows again."""
    print(MARK + json.dumps(asdict(Goal(name, figure, goal, at_least, stretch))), flush=True)


def read(line: str) -> Goal | None:
    """The goal that a line tells; None for any other line."""
    return Goal(**json.loads(line[len(MARK) :])) if line.startswith(MARK) else None


def table(goals: Sequence[Goal]) -> str:
    """One line for each goal: what it is, the figure, the goal, whether it is met or by how much not."""
    lines = ["| figure | measured | goal | met |", "|---|---|---|---|"]
    for each in goals:
        sign = "≥" if each.at_least else "≤"
        best = "" if each.stretch is None else f" ({each.stretch:g})"
        lines.append(f"| {each.name} | {each.figure:.4g} | {sign} {each.goal:g}{best} | {each.verdict()} |")
    return "\n".join(lines)
