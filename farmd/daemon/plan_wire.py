"""What goes between the daemon and its planner's workers, as bytes: problems one way, plans the other.

A problem goes as what the worker does not have yet: of ten thousand builds an event changes a handful. It is
pickled, since the daemon is whom the worker trusts. A plan comes back in columns of numbers over the problem's own
order of names, and is believed nothing: whatever does not read as a plan raises `ValueError`. Pure.
"""

from __future__ import annotations

import json
import math
import pickle
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from farmd.planner.plans import STATUSES, Assignment, Placement, Plan, Value
from farmd.planner.problem import Build, Part, Problem
from farmd.planner.routes.data import PlannedOperation

READY = {"ready": True}
"""A worker's first line, when it has compiled or loaded all that it plans with."""
CHUNK = 250
"""How many builds are pickled in one go: other threads wait for so long."""
INTEGER, FLOAT = "i", "d"
COLUMNS = (INTEGER, INTEGER, INTEGER, FLOAT, FLOAT, FLOAT)
"""Of an assignment: machine, run, crew (-1: none), start, end, start of the person's work (NaN: none)."""
WIDTHS = [array(kind).itemsize for kind in COLUMNS]


@dataclass(frozen=True, slots=True)
class Question:
    """One question to a worker; `number` comes back with its answer."""

    number: int
    problem: Problem
    seconds: float | None
    effort: int | None
    """The budget: one of the two."""
    seed: int
    policy: str
    stability_price_s: float
    incumbent: Plan | None = None
    at_once: bool = False
    """Whether what is left of the incumbent, renewed and unchecked, will do."""


@dataclass(slots=True)
class Held:
    """The builds and parts that a worker has, by id."""

    builds: dict[str, Build] = field(default_factory=dict)
    parts: dict[str, Part] = field(default_factory=dict)


# --- questions --------------------------------------------------------------------------------


def pack_question(question: Question, held: Held) -> tuple[list[bytes], Held]:
    """The pieces of a question for a worker that has `held`, and what it has when it has read them."""
    problem = question.problem
    builds = [build for build in problem.builds if _is_new(build, held.builds.get(build.id))]
    parts = [part for part in problem.parts if _is_new(part, held.parts.get(part.id))]
    head = (
        replace(question, problem=replace(problem, builds=(), parts=()), incumbent=None),
        [build.id for build in problem.builds],
        [part.id for part in problem.parts],
        None if question.incumbent is None else pack_plan(question.incumbent, problem),
    )
    pieces = [pickle.dumps(each) for each in (head, *_chunks(builds), *_chunks(parts))]
    return pieces, Held({b.id: b for b in problem.builds}, {part.id: part for part in problem.parts})


def _is_new(item: object, held: object) -> bool:
    return item is not held and item != held


def _chunks(items: list[Any]) -> Iterator[list[Any]]:
    return (items[i : i + CHUNK] for i in range(0, len(items), CHUNK))


def unpack_question(pieces: Iterable[bytes], held: Held) -> Question:
    """The question that the pieces make with what this worker has; raises `KeyError` when that is not enough."""
    head, *more = (pickle.loads(piece) for piece in pieces)
    question: Question = head[0]
    builds, parts, incumbent = head[1:]
    for each in more:
        for item in each:
            (held.builds if isinstance(item, Build) else held.parts)[item.id] = item
    held.builds = {name: held.builds[name] for name in builds}
    held.parts = {name: held.parts[name] for name in parts}
    problem = replace(question.problem, builds=tuple(held.builds.values()), parts=tuple(held.parts.values()))
    known = None if incumbent is None else unpack_plan(incumbent[0], incumbent[1], problem)
    return replace(question, problem=problem, incumbent=known)


# --- plans ------------------------------------------------------------------------------------


def pack_plan(plan: Plan, problem: Problem) -> tuple[dict[str, Any], bytes]:
    """A plan of this problem: a head for JSON, and the columns."""
    machines = {machine.name: i for i, machine in enumerate(problem.machines)}
    runs = {run: i for i, run in enumerate(_runs(problem))}
    crews: dict[str | None, int] = {crew.name: i for i, crew in enumerate(problem.crews)}
    parts = {part.id: i for i, part in enumerate(problem.parts)}
    batches = [
        [
            i,
            [parts[name] for name in a.parts],
            [[parts[p.part], p.x_mm, p.y_mm, p.rotated, p.turn_deg] for p in a.placements],
        ]
        for i, a in enumerate(plan.assignments)
        if a.build is None
    ]
    columns = (
        array(INTEGER, [machines[a.machine] for a in plan.assignments]),
        array(INTEGER, [-1 if a.build is None else runs[a.build] for a in plan.assignments]),
        array(INTEGER, [crews.get(a.crew, -1) for a in plan.assignments]),
        array(FLOAT, [a.start_s for a in plan.assignments]),
        array(FLOAT, [a.end_s for a in plan.assignments]),
        array(
            FLOAT, [math.nan if a.operator_start_s is None else a.operator_start_s for a in plan.assignments]
        ),
    )
    head = {
        "status": plan.status,
        "bound": plan.bound,
        "value": plan.value.as_dict(),
        "reasons": list(plan.reasons),
        "conflicts": [list(ids) for ids in plan.conflicts],
        "proved": plan.proved,
        "rows": len(plan.assignments),
        "batches": batches,
        "operations": [o.as_dict() for o in plan.operations],
    }
    return head, b"".join(column.tobytes() for column in columns)


def unpack_plan(head: dict[str, Any], body: bytes, problem: Problem) -> Plan:
    """The plan of this problem; raises `ValueError` for what is none."""
    try:
        return _plan(head, body, problem)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"not a plan: {error!r}") from error


def _plan(head: dict[str, Any], body: bytes, problem: Problem) -> Plan:
    rows = head["rows"]
    if type(rows) is not int or rows < 0 or len(body) != rows * sum(WIDTHS):
        raise ValueError(f"not a plan: {rows!r} rows in {len(body)} bytes")
    columns: list[Any] = []
    at = 0
    for kind, width in zip(COLUMNS, WIDTHS, strict=True):
        column = array(kind)
        column.frombytes(body[at : at + rows * width])
        columns.append(column)
        at += rows * width
    machine, run, crew, start, end, operator = columns
    runs = list(_runs(problem))
    for column, least, names in ((machine, 0, problem.machines), (run, -1, runs), (crew, -1, problem.crews)):
        if rows and not least <= min(column) <= max(column) < len(names):
            raise ValueError("not a plan: it names what the problem has not")
    if not all(map(math.isfinite, start)) or not all(map(math.isfinite, end)):
        raise ValueError("not a plan: its times are no numbers")
    names = [each.name for each in problem.machines]
    crews = [each.name for each in problem.crews]
    assignments = [
        Assignment(
            names[m],
            begins,
            ends,
            runs[r] if r >= 0 else None,
            (),
            crews[c] if c >= 0 else None,
            works if works == works else None,
        )
        for m, r, c, begins, ends, works in zip(machine, run, crew, start, end, operator, strict=True)
    ]
    for i, members, placements in head["batches"]:
        if assignments[i].build is not None:
            raise ValueError("not a plan: a batch in the place of a run")
        assignments[i] = replace(
            assignments[i],
            parts=tuple(problem.parts[p].id for p in members),
            placements=tuple(
                Placement(problem.parts[p].id, _number(x), _number(y), bool(rotated), _number(turn))
                for p, x, y, rotated, turn in placements
            ),
        )
    value = head["value"]
    if head["status"] not in STATUSES:
        raise ValueError(f"not a plan: its status is {head['status']!r}")
    return Plan(
        status=head["status"],
        bound=None if head["bound"] is None else _number(head["bound"]),
        value=Value(
            _number(value["weighted_tardiness_s"]),
            _number(value["makespan_s"]),
            int(_number(value["changeovers"])),
            _number(value["operator_s"]),
            _number(value.get("wear_s", 0.0)),
        ),
        assignments=tuple(assignments),
        reasons=tuple(str(reason) for reason in head["reasons"]),
        conflicts=tuple(tuple(str(name) for name in ids) for ids in head["conflicts"]),
        proved=bool(head["proved"]),
        operations=tuple(
            PlannedOperation(
                operation=str(o["operation"]),
                station=str(o["station"]),
                start_s=_number(o["start_s"]),
                end_s=_number(o["end_s"]),
                **{key: str(o[key]) for key in ("crew", "unload_crew", "batch") if key in o},
            )
            for o in head.get("operations", ())
        ),
    )


def _number(value: object) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):  # type: ignore[arg-type]
        raise ValueError(f"not a plan: {value!r} is no number")
    return float(value)  # type: ignore[arg-type]


def _runs(problem: Problem) -> Iterator[str]:
    return (run for build in problem.builds for run in build.run_ids())


def head_of(line: bytes) -> dict[str, Any]:
    """A line of JSON that is an object; raises `ValueError`."""
    head = json.loads(line)
    if not isinstance(head, dict):
        raise ValueError(f"not an object: {line[:40]!r}")
    return head
