"""JSON to `Problem`, strictly: all faults of a file at once, each with its place.

Knows which fields `farmd-problem/1` has and which may be left out. Knows nothing of planning. A few bytes can
ask for a billion runs, so the size of a problem is looked at before anything else is read.
Left out may be: windows, crews, objective, builds, parts, announced, operator_price, weight,
count, a machine's setup (then nothing is known of it), what is optional of a chamber or part, and
every term that a shop may not have (shut, wear_price, grams_left, grams, spool_change_s, deadline_s,
owner, power_groups, buffers, flow_price, a wish's share, stations, routes). Any other time may never be left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from farmd.model.errors import ErrorCode
from farmd.planner.fields import BAD_NUMBER, WRONG_TYPE, Reader, join, kind
from farmd.planner.meaning import names_of, places_of
from farmd.planner.problem import (
    FORMAT,
    OBJECTIVES,
    Announced,
    Build,
    Chamber,
    Changeover,
    Crew,
    Machine,
    Part,
    PowerGroup,
    Problem,
)
from farmd.planner.routes import reading as routes

TOO_LARGE = ErrorCode(
    "planning-too-large",
    "a planning problem is larger than the planner takes",
    "plan less at once: leave out what is due last, or split the shop",
)

MOST_RUNS = 200_000
MOST_PARTS = 20_000
MOST_MACHINES = 2_000
MOST_PAIRS = 20_000_000
"""Of a build, or a part, and a machine."""
MOST_SETUPS = 1_000
MOST_CREWS = 200
MOST_WINDOWS = 10_000
MOST_BUFFERS = 8
MOST_POWER_GROUPS = 200
MOST_SHUT = 10_000
"""Spans in which a machine is shut, of all machines."""
MOST_GRAMS = 1_000_000.0

_PROBLEM = (
    "format", "now_s", "objective", "windows", "crews", "clear_s", "changeover_s",
    "machines", "builds", "parts", "announced", "operator_price", "buffers", "flow_price",
    "power_groups", "spool_change_s", "stations", "routes",
)  # fmt: skip
_MACHINE = (
    "name", "type", "process", "available_s", "setup", "chamber", "shut", "wear_price", "grams_left",
)  # fmt: skip
_CHAMBER = (
    "setup_s", "s_per_mm3", "s_per_mm", "area_mm2", "height_mm", "precision", "cooldown_s", "crewed", "size_mm",
    "packing_density", "boxes",
)  # fmt: skip
_BUILD = (
    "id", "setup", "duration_s", "release_s", "due_s", "weight", "count", "deadline_s", "grams", "owner",
)  # fmt: skip
_PART = (
    "id", "setup", "volume_mm3", "height_mm", "area_mm2", "precision", "release_s", "due_s", "weight",
    "size_mm", "outline_mm", "deadline_s", "owner",
)  # fmt: skip
_POWER_GROUP = ("name", "machines", "at_once", "warm_up_s")


def read_problem(data: object, *, where: str = "") -> Problem:
    """The problem in decoded JSON. `where` goes before each place named in an error.

    Raises `PlanningErrors` with every fault found.
    """
    r = Reader()
    doc = r.members(data, where, _PROBLEM)
    if r.word(doc, "format", where, (FORMAT,)) != FORMAT:
        r.finish()
    _bounds(r, doc, where)
    problem = Problem(
        now_s=r.number(doc, "now_s", where),
        clear_s=r.number(doc, "clear_s", where),
        changeover_s=_changeover(r, doc, where),
        machines=tuple(
            _machine(r, item, join(join(where, "machines"), i))
            for i, item in enumerate(r.items(doc, "machines", where, required=True))
        ),
        objective=r.word(doc, "objective", where, OBJECTIVES) if "objective" in doc else OBJECTIVES[0],
        windows=_windows(r, doc.get("windows", {}), join(where, "windows")),
        crews=tuple(
            _crew(r, item, join(join(where, "crews"), i))
            for i, item in enumerate(r.items(doc, "crews", where))
        ),
        builds=tuple(
            _build(r, item, join(join(where, "builds"), i))
            for i, item in enumerate(r.items(doc, "builds", where))
        ),
        parts=tuple(
            _part(r, item, join(join(where, "parts"), i))
            for i, item in enumerate(r.items(doc, "parts", where))
        ),
        announced=tuple(
            _announced(r, item, join(join(where, "announced"), i))
            for i, item in enumerate(r.items(doc, "announced", where))
        ),
        operator_price=r.number(doc, "operator_price", where, 0.0),
        buffers=tuple(
            r.pair(item, join(join(where, "buffers"), i))
            for i, item in enumerate(r.items(doc, "buffers", where))
        ),
        flow_price=r.number(doc, "flow_price", where, 0.0),
        power_groups=tuple(
            _power_group(r, item, join(join(where, "power_groups"), i))
            for i, item in enumerate(r.items(doc, "power_groups", where))
        ),
        spool_change_s=r.number(doc, "spool_change_s", where, 0.0),
        stations=routes.read_stations(r, doc, where),
        routes=routes.read_routes(r, doc, where),
    )
    names_of(r, problem, where)
    routes.names_of_routes(r, problem, where)
    r.finish()
    places_of(r, problem, where)
    routes.places_of_routes(r, problem, where)
    r.finish()
    return problem


def _bounds(r: Reader, doc: Mapping[str, Any], where: str) -> None:
    """Refuse, and read no further, what would take too much memory. Things of a wrong type do not count here."""
    machines, builds, parts, crews = (_objects(doc, key) for key in ("machines", "builds", "parts", "crews"))
    counts = [build.get("count", 1) for build in builds]
    runs = sum(count for count in counts if isinstance(count, int) and count > 0)
    names = (item.get("setup") for item in (*machines, *builds))
    setups = len({name for name in names if isinstance(name, str)})
    spans = doc.get("windows")
    windows = sum(len(s) for s in spans.values() if isinstance(s, list)) if isinstance(spans, Mapping) else 0
    pairs = (len(builds) + len(parts)) * len(machines)
    for key, number, most, what in (
        ("builds", runs, MOST_RUNS, "runs"),
        ("parts", len(parts), MOST_PARTS, "parts"),
        ("machines", len(machines), MOST_MACHINES, "machines"),
        ("machines", pairs, MOST_PAIRS, "pairs of a build or part and a machine"),
        ("builds", setups, MOST_SETUPS, "setups"),
        ("crews", len(crews), MOST_CREWS, "crews"),
        ("windows", windows, MOST_WINDOWS, "windows"),
        ("machines", sum(_length(machine, "shut") for machine in machines), MOST_SHUT, "spans of shut"),
        ("power_groups", _length(doc, "power_groups"), MOST_POWER_GROUPS, "power groups"),
        ("buffers", _length(doc, "buffers"), MOST_BUFFERS, "buffers"),
        *routes.sizes(doc),
    ):
        if number > most:
            r.refuse(TOO_LARGE, f"more than {most} {what}", join(where, key))
    if any(error.code is TOO_LARGE for error in r.errors):
        r.finish()


def _objects(doc: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    items = doc.get(key)
    return [item for item in items if isinstance(item, Mapping)] if isinstance(items, list) else []


def _length(item: Mapping[str, Any], key: str) -> int:
    value = item.get(key)
    return len(value) if isinstance(value, list) else 0


def _windows(r: Reader, value: object, where: str) -> dict[str, tuple[tuple[float, float], ...]]:
    return {name: _spans(r, spans, join(where, name)) for name, spans in r.members(value, where).items()}


def _spans(r: Reader, value: object, where: str) -> tuple[tuple[float, float], ...]:
    """Pairs of times, each of which ends after it starts."""
    read = []
    for i, span in enumerate(r.array(value, where)):
        place = join(where, i)
        before = len(r.errors)
        start, end = r.pair(span, place)
        if len(r.errors) == before and end <= start:
            r.refuse(BAD_NUMBER, f"must end after it starts, not {start:g} to {end:g}", place)
        read.append((start, end))
    return tuple(read)


def _power_group(r: Reader, value: object, where: str) -> PowerGroup:
    item = r.members(value, where, _POWER_GROUP)
    place = join(where, "machines")
    names = []
    for i, name in enumerate(r.items(item, "machines", where, required=True)):
        if isinstance(name, str):
            names.append(name)
        else:
            r.refuse(WRONG_TYPE, f"must be a string, not {kind(name)}", join(place, i))
    r.unique(((name, join(place, i)) for i, name in enumerate(names)), "the machine")
    return PowerGroup(
        r.text(item, "name", where),
        tuple(names),
        r.whole(item, "at_once", where, None, least=1),
        r.number(item, "warm_up_s", where),
    )


def _grams(r: Reader, item: Mapping[str, Any], key: str, where: str) -> float:
    grams = r.number(item, key, where, 0.0)
    if grams > MOST_GRAMS:
        r.refuse(BAD_NUMBER, f"must be at most {MOST_GRAMS:g}, not {grams:g}", join(where, key))
    return grams


def _deadline(r: Reader, item: Mapping[str, Any], where: str) -> float | None:
    return r.number_or_null(item, "deadline_s", where) if "deadline_s" in item else None


def _crew(r: Reader, value: object, where: str) -> Crew:
    item = r.members(value, where, ("name", "window", "people"))
    people: int | None = None
    if "people" not in item:
        r.missing(item, "people", where)
    elif item["people"] is not None:
        people = r.whole(item, "people", where, 0, least=0)
    return Crew(r.text(item, "name", where), r.text(item, "window", where), people)


def _changeover(r: Reader, doc: Mapping[str, Any], where: str) -> Changeover:
    place = join(where, "changeover_s")
    if "changeover_s" not in doc:
        r.missing(doc, "changeover_s", where)
        return Changeover(0.0)
    item = r.members(doc["changeover_s"], place, ("default", "pairs"))
    pairs: list[tuple[str, str, float]] = []
    names: list[tuple[str, str]] = []
    for i, pair in enumerate(r.items(item, "pairs", place)):
        at = join(join(place, "pairs"), i)
        triple = r.array(pair, at)
        if len(triple) != 3:
            if isinstance(pair, list):
                r.refuse(WRONG_TYPE, f"must be [from, to, seconds], not {len(triple)} values", at)
            continue
        if not isinstance(triple[0], str) or not isinstance(triple[1], str):
            r.refuse(WRONG_TYPE, f"must name two setups, not {kind(triple[0])} and {kind(triple[1])}", at)
            continue
        pairs.append((triple[0], triple[1], r.plain_number(triple[2], join(at, 2))))
        names.append((f"{triple[0]} -> {triple[1]}", at))
    r.unique(names, "the pair")
    return Changeover(r.number(item, "default", place), tuple(pairs))


def _machine(r: Reader, value: object, where: str) -> Machine:
    item = r.members(value, where, _MACHINE)
    chamber = item.get("chamber")
    return Machine(
        name=r.text(item, "name", where),
        type=r.text(item, "type", where),
        process=r.text(item, "process", where),
        available_s=r.number(item, "available_s", where),
        setup=r.text_or_null(item, "setup", where),
        chamber=None if chamber is None else _chamber(r, chamber, join(where, "chamber")),
        shut=_spans(r, item["shut"], join(where, "shut")) if "shut" in item else (),
        wear_price=r.number(item, "wear_price", where, 0.0),
        grams_left=None if item.get("grams_left") is None else _grams(r, item, "grams_left", where),
    )


def _chamber(r: Reader, value: object, where: str) -> Chamber:
    item = r.members(value, where, _CHAMBER)
    area_mm2 = r.number(item, "area_mm2", where)
    if area_mm2 == 0 and item.get("packing_density") is not None:
        what = "must be above 0 where parts lie above each other"
        r.refuse(BAD_NUMBER, what, join(where, "area_mm2"))
    return Chamber(
        setup_s=r.number(item, "setup_s", where),
        s_per_mm3=r.number(item, "s_per_mm3", where),
        s_per_mm=r.number(item, "s_per_mm", where),
        area_mm2=area_mm2,
        height_mm=r.number(item, "height_mm", where),
        precision=r.number(item, "precision", where),
        cooldown_s=r.number(item, "cooldown_s", where),
        crewed=r.flag(item, "crewed", where),
        size_mm=r.pair_or_null(item, "size_mm", where),
        packing_density=r.share_or_null(item, "packing_density", where),
        boxes=r.whole(item, "boxes", where, 1, least=1),
    )


def _build(r: Reader, value: object, where: str) -> Build:
    item = r.members(value, where, _BUILD)
    durations: dict[str, float] = {}
    place = join(where, "duration_s")
    if "duration_s" not in item:
        r.missing(item, "duration_s", where)
    else:
        for name, seconds in r.members(item["duration_s"], place).items():
            durations[name] = r.plain_number(seconds, join(place, name))
    return Build(
        id=r.text(item, "id", where),
        setup=r.text(item, "setup", where),
        duration_s=durations,
        release_s=r.number(item, "release_s", where),
        due_s=r.number_or_null(item, "due_s", where),
        weight=r.number(item, "weight", where, 1.0),
        count=r.whole(item, "count", where, 1, least=1),
        deadline_s=_deadline(r, item, where),
        grams=_grams(r, item, "grams", where),
        owner=r.text_or_null(item, "owner", where),
    )


def _part(r: Reader, value: object, where: str) -> Part:
    item = r.members(value, where, _PART)
    outline = None
    if item.get("outline_mm") is not None:
        place = join(where, "outline_mm")
        points = r.array(item["outline_mm"], place)
        outline = tuple(r.pair(p, join(place, i), least=-math.inf) for i, p in enumerate(points))
        if len(outline) < 3:
            r.refuse(WRONG_TYPE, f"must have at least 3 points, not {len(outline)}", place)
            outline = None
        elif _on_a_line(outline):
            r.refuse(BAD_NUMBER, "must enclose something; its points lie on a line", place)
            outline = None
    return Part(
        id=r.text(item, "id", where),
        setup=r.text(item, "setup", where),
        volume_mm3=r.number(item, "volume_mm3", where),
        height_mm=r.number(item, "height_mm", where),
        area_mm2=r.number(item, "area_mm2", where),
        precision=r.number(item, "precision", where),
        release_s=r.number(item, "release_s", where),
        due_s=r.number_or_null(item, "due_s", where),
        weight=r.number(item, "weight", where, 1.0),
        size_mm=r.pair_or_null(item, "size_mm", where),
        outline_mm=outline,
        deadline_s=_deadline(r, item, where),
        owner=r.text_or_null(item, "owner", where),
    )


def _on_a_line(points: Sequence[tuple[float, float]]) -> bool:
    """Whether the points lie on one line, or are all the same."""
    (x, y), far = points[0], max(points, key=lambda p: math.dist(p, points[0]))
    return all((far[0] - x) * (b - y) == (far[1] - y) * (a - x) for a, b in points)


def _announced(r: Reader, value: object, where: str) -> Announced:
    item = r.members(value, where, ("id", "machine", "start_s", "share"))
    return Announced(
        r.text(item, "id", where),
        r.text(item, "machine", where),
        r.number(item, "start_s", where),
        r.number(item, "share", where, 1.0),
    )
