"""The table of figures: ours, the rivals' of the same run, how many times better, the goal, and whether it is met.

Knows how figures are told, and nothing of how they are got.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Figure = float | str
"""A number in the row's unit, or words where there is none ("never")."""


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `goal` is in its unit, the most that is good enough, or with `more_is_better` the least; or
    the very word that is wanted.

    Rows without a goal show what else is worth knowing. `also` are further numbers for the JSON.
    """

    figure: str
    ours: Figure
    unit: str = ""
    goal: Figure | None = None
    more_is_better: bool = False
    rivals: Mapping[str, Figure] = field(default_factory=dict)
    also: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_met(self) -> bool | None:
        if self.goal is None:
            return None
        if isinstance(self.ours, str) or isinstance(self.goal, str):
            return self.ours == self.goal
        return self.ours >= self.goal if self.more_is_better else self.ours <= self.goal

    @property
    def times_better(self) -> float | None:
        """Than the best rival that has a number."""
        numbers = [each for each in self.rivals.values() if not isinstance(each, str)]
        if not numbers or isinstance(self.ours, str):
            return None
        if self.more_is_better:
            return self.ours / max(numbers) if max(numbers) else None
        return min(numbers) / self.ours if self.ours else None

    def as_dict(self) -> dict[str, Any]:
        return {
            "figure": self.figure,
            "ours": self.ours,
            "unit": self.unit,
            "rivals": dict(self.rivals),
            "times_better": self.times_better,
            "goal": self.goal,
            "more_is_better": self.more_is_better,
            "met": self.is_met,
            **({"also": dict(self.also)} if self.also else {}),
        }


def percentile(values: Sequence[float], percent: int) -> float:
    """Of at least one value, the nearest from above."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def table(rows: Sequence[Row], rivals: Sequence[str]) -> str:
    """The rows as a table in Markdown, its columns in line."""
    head = ["figure", "farmd", *rivals, "times better", "goal", "met"]
    lines = [head, ["---"] * len(head), *([*_cells(row, rivals)] for row in rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(head))]
    lines[1] = ["-" * width for width in widths]
    return "\n".join("| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines)


def _cells(row: Row, rivals: Sequence[str]) -> list[str]:
    times = row.times_better
    return [
        row.figure,
        _told(row.ours, row.unit),
        *(_told(row.rivals[name], row.unit) if name in row.rivals else "-" for name in rivals),
        "-" if times is None else f"{times:.3g}",
        _goal(row),
        {True: "yes", False: "NO", None: "-"}[row.is_met],
    ]


def _goal(row: Row) -> str:
    if row.goal is None or isinstance(row.goal, str):
        return row.goal or "-"
    return f"{'>=' if row.more_is_better else '<='} {_told(row.goal, row.unit)}"


def _told(figure: Figure, unit: str) -> str:
    if isinstance(figure, str):
        return figure
    number = f"{figure:,.0f}" if abs(figure) >= 1000 else f"{figure:.3g}"
    return f"{number} {unit}".rstrip()
