"""One figure beside its goal, and by how much it falls short. Knows nothing of how figures are got."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """A figure. `goal` is the most that is good enough, or with `more_is_better` the least; None: none is set."""

    figure: str
    ours: float
    unit: str = ""
    goal: float | None = None
    more_is_better: bool = False
    note: str = ""

    @property
    def is_met(self) -> bool:
        if self.goal is None:
            return True
        return self.ours >= self.goal if self.more_is_better else self.ours <= self.goal

    @property
    def met(self) -> str:
        """`yes`, or by how much it is missed; a dash without a goal."""
        if self.goal is None:
            return "-"
        if self.is_met:
            return "yes"
        if not self.goal:
            return f"no, {number(self.ours)}"
        return (
            f"no, {abs(self.ours - self.goal) / self.goal:.0%} {'under' if self.more_is_better else 'over'}"
        )


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def table(rows: Sequence[Row]) -> str:
    """In Markdown."""
    lines = ["| figure | farmd | goal | met | how |", "|---|---|---|---|---|"]
    for row in rows:
        sign = "≥" if row.more_is_better else "≤"
        goal = "-" if row.goal is None else f"{sign} {number(row.goal)} {row.unit}".rstrip()
        ours = f"{number(row.ours)} {row.unit}".rstrip()
        lines.append(f"| {row.figure} | {ours} | {goal} | {row.met} | {row.note} |")
    return "\n".join(lines)


def percentile(values: Sequence[float], percent: float) -> float:
    """Of at least one value, the nearest from above."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def load() -> str:
    """How busy the computer is, for the table's head."""
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
