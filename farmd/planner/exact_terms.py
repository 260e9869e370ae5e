"""In CP-SAT, the terms that a shop may or may not have: maintenance, power groups, deadlines, material left.

One function a term; each adds nothing where the problem does not have it. The variables are those of `exact.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ortools.sat.python import cp_model

from farmd.planner.compiled import INFINITY, PLENTY, Compiled

SLACK_S = 0.05
"""For what whole grains add up to in a row of runs."""


@dataclass(frozen=True, slots=True)
class Variables:
    """By run j: o work start, s start, e end, x[j, m] on machine m; arc[i, j, m] j follows i there (-1: is first)."""

    cp: cp_model.CpModel
    c: Compiled
    grains: Callable[[float], int]
    most: int
    o: list[cp_model.IntVar]
    s: list[cp_model.IntVar]
    e: list[cp_model.IntVar]
    x: dict[tuple[int, int], cp_model.IntVar]
    arc: dict[tuple[int, int, int], cp_model.IntVar]


def maintenance(v: Variables) -> None:
    """From the begin of its work to its end no run overlaps a span in which its machine is shut."""
    for m, spans in enumerate(v.c.terms.shut):
        mine = [j for j in range(v.c.runs) if (j, m) in v.x]
        if not spans or not mine:
            continue
        blocks = []
        for j in mine:
            size = v.cp.new_int_var(0, v.most, f"b{j},{m}")
            blocks.append(v.cp.new_optional_interval_var(v.o[j], size, v.e[j], v.x[j, m], f"block{j},{m}"))
        for begin, end in spans:
            first, size_s = v.grains(begin), v.grains(end) - v.grains(begin)
            blocks.append(v.cp.new_fixed_size_interval_var(first, size_s, f"shut{m},{begin}"))
        v.cp.add_no_overlap(blocks)


def power(v: Variables) -> None:
    """Never more runs of a power group in their first seconds than may be."""
    c = v.c
    for g, (machines, at_once, warm_up_s) in enumerate(c.terms.power):
        warm = []
        for (j, m), here in v.x.items():
            if m in machines:
                seconds = min(warm_up_s, c.jobs.durations[j][c.class_of[m]])
                warm.append(
                    v.cp.new_optional_fixed_size_interval_var(
                        v.s[j], v.grains(seconds), here, f"warm{g},{j},{m}"
                    )
                )
        v.cp.add_cumulative(warm, [1] * len(warm), at_once)


def deadlines(v: Variables, *, assumed: bool) -> dict[int, cp_model.IntVar]:
    """Every run ends by its deadline. `assumed`: only if its build's literal, which is given back, holds."""
    held: dict[int, cp_model.IntVar] = {}
    for j in range(v.c.runs):
        deadline, build = v.c.jobs.deadline[j], v.c.build_of[j]
        if deadline == INFINITY:
            continue
        kept = v.cp.add(v.e[j] <= v.grains(deadline + SLACK_S))
        if assumed:
            if build not in held:
                held[build] = v.cp.new_bool_var(f"deadline{build}")
            kept.only_enforce_if(held[build])
    return held


def spools(v: Variables) -> dict[int, cp_model.IntVar]:
    """Of each run a literal that the spool is changed before it, since the lot loaded at first has too little left."""
    c, cp = v.c, v.cp
    if not c.spools:
        return {}
    gone = max(c.left0) + 1
    runs = range(c.runs)
    spent = [cp.new_int_var(0, gone, f"spent{j}") for j in runs]
    """Grams that the lot has given when run j is done; `gone` where it is not loaded any more."""
    kept, short, other = (
        [cp.new_bool_var(f"{name}{j}") for j in runs] for name in ("kept", "short", "other")
    )
    for j in runs:
        cp.add_exactly_one(kept[j], short[j], other[j])
        cp.add(spent[j] == gone).only_enforce_if(~kept[j])
    for (i, j, m), arc in v.arc.items():
        left, grams = c.left0[m], c.grams[j]
        before = c.setup0[m] if i < 0 else c.jobs.setup[i]
        if left == PLENTY or before != c.jobs.setup[j]:
            cp.add_implication(arc, other[j])
            continue
        given: cp_model.LinearExprT = 0 if i < 0 else spent[i]
        cp.add(spent[j] == given + grams).only_enforce_if(arc, kept[j])
        cp.add(spent[j] <= left).only_enforce_if(arc, kept[j])
        if i < 0:
            cp.add_implication(arc, kept[j] if grams <= left else short[j])
            continue
        cp.add(spent[i] <= left).only_enforce_if(arc, short[j])
        cp.add(spent[i] + grams > left).only_enforce_if(arc, short[j])
        cp.add(spent[i] == gone).only_enforce_if(arc, other[j])
    return dict(enumerate(short))
