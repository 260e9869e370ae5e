"""A plan, `farmd-plan/1`, as frozen data, and its JSON.

Knows the format. Knows neither the problem a plan is for nor how it was found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from farmd.planner.fields import WRONG_TYPE, Reader, join
from farmd.planner.routes.data import PlannedOperation

FORMAT = "farmd-plan/1"
STATUSES = ("optimal", "feasible", "infeasible")


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a part's bounding box lies on the plate: its lower left corner.

    The part is `rotated` by a quarter turn counter-clockwise, and by `turn_deg` besides (0, 90, 180 or 270).
    """

    part: str
    x_mm: float
    y_mm: float
    rotated: bool = False
    turn_deg: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        out = {"part": self.part, "x_mm": self.x_mm, "y_mm": self.y_mm, "rotated": self.rotated}
        if self.turn_deg:
            out["turn_deg"] = self.turn_deg
        return out


@dataclass(frozen=True, slots=True)
class Assignment:
    """One run of a build, or one batch of parts, on one machine.

    `operator_start_s` is when the person's work before it starts (None: nobody is needed), done by
    `crew` (None: no crews in the problem, or nobody needed). Exactly one of `build` (a run's name,
    `b1#1`) and `parts` is set.
    """

    machine: str
    start_s: float
    end_s: float
    build: str | None = None
    parts: tuple[str, ...] = ()
    crew: str | None = None
    operator_start_s: float | None = None
    placements: tuple[Placement, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        out: dict[str, Any] = {"machine": self.machine}
        if self.build is not None:
            out["build"] = self.build
        else:
            out["parts"] = list(self.parts)
        if self.operator_start_s is not None:
            out["crew"] = self.crew
            out["operator_start_s"] = self.operator_start_s
        out["start_s"] = self.start_s
        out["end_s"] = self.end_s
        if self.placements:
            out["placements"] = [placement.as_dict() for placement in self.placements]
        return out


@dataclass(frozen=True, slots=True)
class Value:
    """What a plan is worth; `makespan_s` is the latest end on the problem's clock.

    `wear_s` is the price of running the machines, in weighted seconds of tardiness.
    """

    weighted_tardiness_s: float
    makespan_s: float
    changeovers: int
    operator_s: float
    wear_s: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """As in `farmd-plan/1`; `wear_s` only where there is any."""
        out: dict[str, Any] = {
            "weighted_tardiness_s": self.weighted_tardiness_s,
            "makespan_s": self.makespan_s,
            "changeovers": self.changeovers,
            "operator_s": self.operator_s,
        }
        if self.wear_s:
            out["wear_s"] = self.wear_s
        return out


@dataclass(frozen=True, slots=True)
class Plan:
    """`status`, a proven lower `bound` of the objective or None, the value, and the assignments by time.

    The objective is `makespan_s`, or `weighted_tardiness_s + operator_price * operator_s + wear_s`. An
    infeasible plan has no assignments, and `reasons` says of each build or part what is in the way.
    `conflicts` are builds and parts, by id, whose deadlines do not hold together: where `proved`, no
    plan holds all of one such set; else the best attempt missed these.
    """

    status: str
    bound: float | None
    value: Value
    assignments: tuple[Assignment, ...]
    reasons: tuple[str, ...] = ()
    conflicts: tuple[tuple[str, ...], ...] = ()
    proved: bool = False
    operations: tuple[PlannedOperation, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The plan as `farmd-plan/1`; operations, reasons and conflicts (with `proved`) only where there are any."""
        out: dict[str, Any] = {
            "format": FORMAT,
            "status": self.status,
            "bound": self.bound,
            "value": self.value.as_dict(),
            "assignments": [assignment.as_dict() for assignment in self.assignments],
        }
        if self.operations:
            out["operations"] = [operation.as_dict() for operation in self.operations]
        if self.reasons:
            out["reasons"] = list(self.reasons)
        if self.conflicts:
            out["conflicts"] = [list(ids) for ids in self.conflicts]
            out["proved"] = self.proved
        return out


def read_plan(data: object, *, where: str = "") -> Plan:
    """The plan in decoded JSON; raises `PlanningErrors` with every fault found."""
    r = Reader()
    doc = r.members(
        data,
        where,
        (
            "format", "status", "bound", "value", "assignments", "operations", "reasons", "conflicts", "proved",
        ),
    )  # fmt: skip
    if r.word(doc, "format", where, (FORMAT,)) != FORMAT:
        r.finish()
    place = join(where, "value")
    value = r.members(
        doc.get("value"),
        place,
        ("weighted_tardiness_s", "makespan_s", "changeovers", "operator_s", "wear_s"),
    )
    plan = Plan(
        status=r.word(doc, "status", where, STATUSES),
        bound=None if doc.get("bound") is None else r.number(doc, "bound", where),
        value=Value(
            r.number(value, "weighted_tardiness_s", place),
            r.number(value, "makespan_s", place),
            r.whole(value, "changeovers", place, None, least=0),
            r.number(value, "operator_s", place),
            r.number(value, "wear_s", place, 0.0),
        ),
        assignments=tuple(
            _assignment(r, item, join(join(where, "assignments"), i))
            for i, item in enumerate(r.items(doc, "assignments", where, required=True))
        ),
        reasons=_texts(r, doc, "reasons", where),
        conflicts=tuple(
            _strings(r, ids, join(join(where, "conflicts"), i))
            for i, ids in enumerate(r.items(doc, "conflicts", where))
        ),
        proved=r.flag(doc, "proved", where),
        operations=tuple(
            _operation(r, item, join(join(where, "operations"), i))
            for i, item in enumerate(r.items(doc, "operations", where))
        ),
    )
    r.finish()
    return plan


def _assignment(r: Reader, value: object, where: str) -> Assignment:
    item = r.members(
        value,
        where,
        ("machine", "build", "parts", "crew", "operator_start_s", "start_s", "end_s", "placements"),
    )
    if ("build" in item) == ("parts" in item):
        r.refuse(WRONG_TYPE, "must have either a build or parts", where)
    started = item.get("operator_start_s") is not None
    return Assignment(
        machine=r.text(item, "machine", where),
        start_s=r.number(item, "start_s", where),
        end_s=r.number(item, "end_s", where),
        build=r.text(item, "build", where) if "build" in item else None,
        parts=_texts(r, item, "parts", where),
        crew=r.text_or_null(item, "crew", where),
        operator_start_s=r.number(item, "operator_start_s", where) if started else None,
        placements=tuple(
            _placement(r, p, join(join(where, "placements"), i))
            for i, p in enumerate(r.items(item, "placements", where))
        ),
    )


def _operation(r: Reader, value: object, where: str) -> PlannedOperation:
    item = r.members(
        value, where, ("operation", "station", "crew", "unload_crew", "batch", "start_s", "end_s")
    )
    return PlannedOperation(
        operation=r.text(item, "operation", where),
        station=r.text(item, "station", where),
        start_s=r.number(item, "start_s", where),
        end_s=r.number(item, "end_s", where),
        crew=r.text_or_null(item, "crew", where),
        unload_crew=r.text_or_null(item, "unload_crew", where),
        batch=r.text_or_null(item, "batch", where),
    )


def _placement(r: Reader, value: object, where: str) -> Placement:
    item = r.members(value, where, ("part", "x_mm", "y_mm", "rotated", "turn_deg"))
    return Placement(
        r.text(item, "part", where),
        r.number(item, "x_mm", where),
        r.number(item, "y_mm", where),
        r.flag(item, "rotated", where),
        r.number(item, "turn_deg", where, 0.0),
    )


def _texts(r: Reader, parent: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    """The strings of an array field, which may be missing."""
    return _strings(r, parent[key], join(where, key)) if key in parent else ()


def _strings(r: Reader, value: object, where: str) -> tuple[str, ...]:
    out = []
    for i, text in enumerate(r.array(value, where)):
        if isinstance(text, str):
            out.append(text)
        else:
            r.refuse(WRONG_TYPE, "must be a string", join(where, i))
    return tuple(out)
