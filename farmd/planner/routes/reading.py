"""JSON to stations and routes, strictly, and what makes them meaningless. Part of `reader.py`.

Knows the fields and which may be left out. Knows nothing of planning.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from farmd.model.errors import ErrorCode
from farmd.planner.fields import (
    BAD_NUMBER,
    DUPLICATE_ID,
    MISSING_FIELD,
    UNKNOWN_FIELD,
    UNKNOWN_NAME,
    WRONG_TYPE,
    Reader,
    join,
    kind,
)
from farmd.planner.problem import Problem
from farmd.planner.routes.data import BatchRoom, Operation, Route, Station

NO_STATION = ErrorCode(
    "planning-no-station",
    "no station of the problem can ever do this operation",
    "add a station that can, correct the types of its durations or its size, or leave it out",
)
CIRCLE = ErrorCode(
    "planning-circle",
    "operations of a route wait for each other in a circle",
    "correct what they come `after`",
)
RECIPE = ErrorCode(
    "planning-recipe",
    "an operation's recipe does not say what a furnace's cycle is",
    "name a recipe, and give all operations of a recipe the same durations, loading and crew",
)
MOST_STATIONS = 500
MOST_OPERATIONS = 50_000
_STATION = ("name", "type", "available_s", "capacity", "batch", "shut")
_ROUTE = ("id", "of", "release_s", "due_s", "weight", "count", "operations")
_OPERATION = (
    "id", "duration_s", "after", "lag_min_s", "lag_max_s", "crewed", "load_s", "unload_s", "recipe",
    "items", "area_mm2", "volume_mm3",
)  # fmt: skip
_OWN = ("release_s", "due_s", "weight", "count")


def sizes(doc: Mapping[str, Any]) -> tuple[tuple[str, int, int, str], ...]:
    """(field, how many, the most, of what) for `reader.py`; things of a wrong type do not count."""
    routes = [item for item in _array(doc.get("routes")) if isinstance(item, Mapping)]
    counts = {
        item["id"]: item.get("count", 1)
        for item in _array(doc.get("builds"))
        if isinstance(item, Mapping) and isinstance(item.get("id"), str)
    }
    operations = 0
    for route in routes:
        count = counts.get(route["of"], 1) if isinstance(route.get("of"), str) else route.get("count", 1)
        operations += len(_array(route.get("operations"))) * (count if isinstance(count, int) else 1)
    return (
        ("stations", len(_array(doc.get("stations"))), MOST_STATIONS, "stations"),
        ("routes", max(operations, len(routes)), MOST_OPERATIONS, "operations"),
    )


def _array(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def read_stations(r: Reader, doc: Mapping[str, Any], where: str) -> tuple[Station, ...]:
    """The stations of a problem; none where the field is left out."""
    place = join(where, "stations")
    return tuple(_station(r, item, join(place, i)) for i, item in enumerate(r.items(doc, "stations", where)))


def read_routes(r: Reader, doc: Mapping[str, Any], where: str) -> tuple[Route, ...]:
    """The routes of a problem; none where the field is left out."""
    place = join(where, "routes")
    return tuple(_route(r, item, join(place, i)) for i, item in enumerate(r.items(doc, "routes", where)))


def _station(r: Reader, value: object, where: str) -> Station:
    item = r.members(value, where, _STATION)
    capacity = r.whole(item, "capacity", where, 1, least=1)
    batch = None if item.get("batch") is None else _room(r, item["batch"], join(where, "batch"))
    if batch is not None and capacity != 1:
        what = f"must be 1 where batches are made, not {capacity}; `batch` says how much goes in"
        r.refuse(BAD_NUMBER, what, join(where, "capacity"))
    shut = []
    for i, span in enumerate(r.items(item, "shut", where)):
        place, before = join(join(where, "shut"), i), len(r.errors)
        start, end = r.pair(span, place)
        if len(r.errors) == before and end <= start:
            r.refuse(BAD_NUMBER, f"must end after it starts, not {start:g} to {end:g}", place)
        shut.append((start, end))
    return Station(
        name=r.text(item, "name", where),
        type=r.text(item, "type", where),
        available_s=r.number(item, "available_s", where),
        capacity=capacity,
        batch=batch,
        shut=tuple(shut),
    )


def _text(r: Reader, value: object, where: str) -> str:
    if isinstance(value, str):
        return value
    r.refuse(WRONG_TYPE, f"must be a string, not {kind(value)}", where)
    return ""


def _room(r: Reader, value: object, where: str) -> BatchRoom:
    item = r.members(value, where, ("max_items", "area_mm2", "volume_mm3"))
    return BatchRoom(
        max_items=None if item.get("max_items") is None else r.whole(item, "max_items", where, None, least=1),
        area_mm2=_or_none(r, item, "area_mm2", where),
        volume_mm3=_or_none(r, item, "volume_mm3", where),
    )


def _or_none(r: Reader, item: Mapping[str, Any], key: str, where: str) -> float | None:
    return None if item.get(key) is None else r.number(item, key, where)


def _route(r: Reader, value: object, where: str) -> Route:
    item = r.members(value, where, _ROUTE)
    of = r.text_or_null(item, "of", where)
    if of is not None:
        for key in _OWN:
            if key in item:
                r.refuse(UNKNOWN_FIELD, f"is that of {of!r}, and not the route's own", join(where, key))
    steps = tuple(
        _operation(r, step, join(join(where, "operations"), i))
        for i, step in enumerate(r.items(item, "operations", where, required=True))
    )
    if not steps and "operations" in item and isinstance(item["operations"], list):
        r.refuse(BAD_NUMBER, "must hold an operation at least", join(where, "operations"))
    own = of is None
    return Route(
        id=r.text(item, "id", where),
        operations=steps,
        of=of,
        release_s=r.number(item, "release_s", where) if own else None,
        due_s=r.number_or_null(item, "due_s", where) if own else None,
        weight=r.number(item, "weight", where, 1.0) if own else 1.0,
        count=r.whole(item, "count", where, 1, least=1) if own else 1,
    )


def _operation(r: Reader, value: object, where: str) -> Operation:
    item = r.members(value, where, _OPERATION)
    if "duration_s" not in item:
        r.missing(item, "duration_s", where)
    durations = r.members(item.get("duration_s", {}), join(where, "duration_s"))
    after = None
    if item.get("after") is not None:
        after = [
            _text(r, other, join(join(where, "after"), i))
            for i, other in enumerate(r.items(item, "after", where))
        ]
    name = r.text(item, "id", where)
    if "/" in name:
        r.refuse(BAD_NUMBER, "must not contain /, which parts it from its run in a plan", join(where, "id"))
    low = r.number(item, "lag_min_s", where, 0.0)
    high = _or_none(r, item, "lag_max_s", where)
    if high is not None and high < low:
        r.refuse(
            BAD_NUMBER, f"must not be below lag_min_s, {low:g}, and is {high:g}", join(where, "lag_max_s")
        )
    return Operation(
        id=name,
        duration_s={
            name: r.plain_number(seconds, join(join(where, "duration_s"), name))
            for name, seconds in durations.items()
        },
        after=None if after is None else tuple(after),
        lag_min_s=low,
        lag_max_s=high,
        crewed=r.flag(item, "crewed", where),
        load_s=r.number(item, "load_s", where, 0.0),
        unload_s=r.number(item, "unload_s", where, 0.0),
        recipe=r.text_or_null(item, "recipe", where),
        items=r.whole(item, "items", where, 1, least=1),
        area_mm2=r.number(item, "area_mm2", where, 0.0),
        volume_mm3=r.number(item, "volume_mm3", where, 0.0),
    )


def names_of_routes(r: Reader, problem: Problem, where: str) -> None:
    """No name twice, what is named exists, and nothing waits for itself."""
    stations, routes = join(where, "stations"), join(where, "routes")
    places = [
        (m.name, join(join(join(where, "machines"), i), "name")) for i, m in enumerate(problem.machines)
    ]
    places += [(s.name, join(join(stations, i), "name")) for i, s in enumerate(problem.stations)]
    r.unique(places[len(problem.machines) :], "the station")
    machines = dict(places[: len(problem.machines)])
    for name, at in places[len(problem.machines) :]:
        if name in machines:
            r.refuse(DUPLICATE_ID, f"the name {name!r} is already at {machines[name]}", at)
    made = {build.id for build in problem.builds} | {part.id for part in problem.parts}
    ids, ofs = [], []
    for i, route in enumerate(problem.routes):
        place = join(routes, i)
        ids.append((route.id, join(place, "id")))
        if route.of is not None:
            ofs.append((route.of, join(place, "of")))
            if route.of not in made:
                r.refuse(UNKNOWN_NAME, f"there is no build or part {route.of!r}", join(place, "of"))
        elif route.id in made:
            r.refuse(DUPLICATE_ID, f"the id {route.id!r} is a build's or a part's", join(place, "id"))
        _steps(r, route, join(place, "operations"))
    r.unique(ids, "the route")
    r.unique(ofs, "a route of")


def _steps(r: Reader, route: Route, where: str) -> None:
    """The ids of a route's operations are its own, those they come after exist, and there is no circle."""
    known = {operation.id for operation in route.operations}
    before = len(r.errors)
    r.unique(((o.id, join(join(where, i), "id")) for i, o in enumerate(route.operations)), "the operation")
    for i, operation in enumerate(route.operations):
        for k, name in enumerate(operation.after or ()):
            if name and name not in known:
                place = join(join(join(where, i), "after"), k)
                r.refuse(UNKNOWN_NAME, f"the route has no operation {name!r}", place)
    if len(r.errors) > before or any(n not in known for o in route.operations for n in o.after or ()):
        return
    waiting = {i: set(route.before(i)) for i in range(len(route.operations))}
    while waiting:
        free = [i for i, others in waiting.items() if not others & waiting.keys()]
        if not free:
            names = ", ".join(route.operations[i].id for i in sorted(waiting))
            r.refuse(CIRCLE, f"{names} wait for each other", where)
            return
        for i in free:
            del waiting[i]


def places_of_routes(r: Reader, problem: Problem, where: str) -> None:
    """Every operation has a station that can do it, and furnaces know its cycle."""
    furnaces = {station.type for station in problem.stations if station.batch is not None}
    cycles: dict[tuple[str, str], tuple[object, str]] = {}
    for i, route in enumerate(problem.routes):
        for k, operation in enumerate(route.operations):
            place = join(join(join(join(where, "routes"), i), "operations"), k)
            if not any(operation.runs_on(station) for station in problem.stations):
                types = ", ".join(sorted(operation.duration_s)) or "no type"
                r.refuse(NO_STATION, f"operation {operation.id!r} (runs on {types}) fits no station", place)
            heated = sorted(furnaces & operation.duration_s.keys())
            if heated and operation.recipe is None:
                r.refuse(
                    MISSING_FIELD, f"{heated[0]} makes batches, of one recipe each", join(place, "recipe")
                )
                continue
            for type_ in heated:
                cycle = (operation.duration_s[type_], operation.load_s, operation.unload_s, operation.crewed)
                known, first = cycles.setdefault((operation.recipe or "", type_), (cycle, place))
                if known != cycle:
                    what = f"recipe {operation.recipe!r} has another cycle on {type_} at {first}"
                    r.refuse(RECIPE, what, place)
