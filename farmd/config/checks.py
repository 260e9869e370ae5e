"""What the tables of the file must agree on, and what a machine's driver says of its settings.

Works on the tables as read, before or beside their models, so that one mistake hides no other.
Knows no file and no line: a problem names its key.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from farmd.config.lines import Path
from farmd.config.models import Config, counted_names
from farmd.driver import find_driver
from farmd.model.errors import ConfigError, ErrorCode
from farmd.model.machine import STATION
from farmd.model.work import PRINT

UNKNOWN_KEY = ErrorCode(
    "config-unknown-key",
    "there is no setting of this name",
    "correct or remove it; docs/CONFIGURATION.md lists all settings",
)
MISSING_KEY = ErrorCode(
    "config-missing-key",
    "a setting that is needed is not there",
    "add it; docs/CONFIGURATION.md says what it means",
)
BAD_VALUE = ErrorCode(
    "config-bad-value",
    "a setting has a value that it cannot have",
    "correct it as docs/CONFIGURATION.md says",
)
DUPLICATE = ErrorCode(
    "config-duplicate",
    "two tables have the same name, or two machines one port",
    "rename or remove one of them",
)
UNKNOWN_MATERIAL = ErrorCode(
    "config-unknown-material",
    "no [[material]] has this name or is its family",
    "correct the name, or add a [[material]] for it",
)

UNKNOWN_MACHINE = ErrorCode(
    "config-unknown-machine",
    "no [[machine]] has this name",
    "correct the name, or add a [[machine]] for it",
)


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake and the key it is at; `other` is a second key that it names."""

    path: Path
    code: ErrorCode
    what: str
    remedy: str = ""
    other: Path | None = None


def validation_problems(error: ValidationError, model: type[BaseModel], at: Path = ()) -> Iterator[Problem]:
    """What pydantic found in a table of `model` that stands at `at`."""
    for detail in error.errors(include_url=False, include_context=False, include_input=True):
        loc = detail["loc"]
        path: Path = (*at, *loc)
        key = str(path[-1]) if path else ""
        if detail["type"] == "extra_forbidden":
            near = difflib.get_close_matches(key, _keys_at(model, loc[:-1]), n=1)
            remedy = f"did you mean {near[0]!r}?" if near else ""
            yield Problem(path, UNKNOWN_KEY, f"{dotted(path)} is not a setting", remedy)
        elif detail["type"] == "missing":
            yield Problem(path, MISSING_KEY, f"{dotted(path)} is missing")
        else:
            what = detail["msg"].removeprefix("Value error, ")
            yield Problem(path, BAD_VALUE, f"{dotted(path)} = {_short(detail['input'])}: {what}")


def dotted(path: Path) -> str:
    """A key as people write it: `machine[2].link.baud`, arrays counted from 1."""
    text = ""
    for part in path:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _short(value: Any) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _keys_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """The keys that the table at `loc` within `model` has."""
    for part in loc:
        if isinstance(part, int):
            continue
        inner = next(
            (f.annotation for name, f in model.model_fields.items() if part in (f.alias, name)), None
        )
        found = _model_in(inner)
        if found is None:
            return []
        model = found
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation if issubclass(annotation, BaseModel) else None
    return next((found for arm in typing.get_args(annotation) if (found := _model_in(arm))), None)


# --- what several settings must agree on ----------------------------------------------------


def problems(raw: Mapping[str, Any]) -> Iterator[Problem]:
    """Every mistake in the tables as read; empty when the configuration holds."""
    try:
        Config.model_validate(dict(raw))
    except ValidationError as error:
        yield from validation_problems(error, Config)
    for array in ("machine", "shift", "material", "power_group"):
        yield from _duplicates(raw, array, ("name",))
    yield from _counted(raw)
    yield from _duplicates(raw, "changeover", ("from", "to"))
    yield from _materials(raw)
    yield from _power_groups(raw)
    sole: dict[tuple[str, str, str], Path] = {}
    for index, machine in _tables(raw, "machine"):
        path: Path = ("machine", index)
        yield from _kind(machine, path)
        yield from _driver(machine, path, sole)


def _tables(raw: Mapping[str, Any], array: str) -> Iterator[tuple[int, dict[str, Any]]]:
    found = raw.get(array)
    if isinstance(found, list):
        yield from ((index, table) for index, table in enumerate(found) if isinstance(table, dict))


def _duplicates(raw: Mapping[str, Any], array: str, keys: tuple[str, ...]) -> Iterator[Problem]:
    seen: dict[tuple[str, ...], Path] = {}
    for index, table in _tables(raw, array):
        values = tuple(table[key] for key in keys if isinstance(table.get(key), str))
        if len(values) != len(keys):
            continue
        path: Path = (array, index, keys[0])
        if values in seen:
            named = " to ".join(repr(value) for value in values)
            yield Problem(path, DUPLICATE, f"[[{array}]] {named} is there already", other=seen[values])
        else:
            seen[values] = path


def _counted(raw: Mapping[str, Any]) -> Iterator[Problem]:
    """No machine has a name that another table's `count` makes."""
    made: dict[str, Path] = {}
    for index, table in _tables(raw, "machine"):
        name, count = table.get("name"), table.get("count")
        if isinstance(name, str) and isinstance(count, int) and 0 < count <= 1000:
            made |= dict.fromkeys(counted_names(name, count), ("machine", index, "count"))
    for index, table in _tables(raw, "machine"):
        if (other := made.get(str(table.get("name")))) is not None and "count" not in table:
            what = f"[[machine]] {table['name']!r} is made by a `count` already"
            yield Problem(("machine", index, "name"), DUPLICATE, what, other=other)


def _materials(raw: Mapping[str, Any]) -> Iterator[Problem]:
    """Once materials are listed, whatever names one must name a listed one or one of its family."""
    known = [table["name"] for _, table in _tables(raw, "material") if isinstance(table.get("name"), str)]
    if not known:
        return
    for array, keys in (("machine", ("material",)), ("changeover", ("from", "to"))):
        for index, table in _tables(raw, array):
            for key in keys:
                name = table.get(key)
                if not isinstance(name, str) or not name.strip() or {name, name.split()[0]} & set(known):
                    continue
                near = difflib.get_close_matches(name, known, n=1)
                remedy = f"did you mean {near[0]!r}? else add a [[material]]" if near else ""
                yield Problem((array, index, key), UNKNOWN_MATERIAL, f"no [[material]] {name!r}", remedy)


def _power_groups(raw: Mapping[str, Any]) -> Iterator[Problem]:
    """The machines of a power group are there, and none is in it twice."""
    known: dict[str, str] = {}
    for _, table in _tables(raw, "machine"):
        name, count = table.get("name"), table.get("count")
        if isinstance(name, str):
            known[name] = name
            if isinstance(count, int) and 0 < count <= 1000:
                known |= dict.fromkeys(counted_names(name, count), name)
    for index, group in _tables(raw, "power_group"):
        machines = group.get("machines")
        seen: set[str] = set()
        for i, name in enumerate(machines if isinstance(machines, list) else ()):
            if not isinstance(name, str):
                continue
            path: Path = ("power_group", index, "machines", i)
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                remedy = f"did you mean {near[0]!r}?" if near else ""
                yield Problem(path, UNKNOWN_MACHINE, f"no [[machine]] {name!r}", remedy)
            elif name in seen or known[name] in seen:
                yield Problem(path, DUPLICATE, f"{name!r} is in the group already")
            seen.add(name)


def _kind(machine: Mapping[str, Any], path: Path) -> Iterator[Problem]:
    """Stations finish parts and machines print them; each has its own settings."""
    process = machine.get("process")
    if not isinstance(process, str):
        return
    operations = machine.get("operations", [PRINT])
    prints = isinstance(operations, list) and PRINT in operations
    needed: tuple[str, ...]
    foreign: tuple[str, ...]
    if process == STATION:
        needed, foreign = ("operations", "operation_minutes"), ("volume_mm", "nozzle_mm", "chamber")
        if prints and "operations" in machine:
            yield Problem((*path, "operations"), BAD_VALUE, f"a station does not {PRINT}")
    else:
        needed, foreign = ("volume_mm",), ("operation_minutes",)
        if not prints and isinstance(operations, list):
            yield Problem((*path, "operations"), BAD_VALUE, f"a machine that is no station must {PRINT}")
    kind = "a station" if process == STATION else "a machine that prints"
    for key in needed:
        if key not in machine:
            yield Problem((*path, key), MISSING_KEY, f"{dotted((*path, key))} is missing; {kind} needs it")
    for key in foreign:
        if key in machine:
            yield Problem((*path, key), BAD_VALUE, f"{kind} has no {key}", "remove it, or correct `process`")


def _driver(
    machine: Mapping[str, Any], path: Path, sole: dict[tuple[str, str, str], Path]
) -> Iterator[Problem]:
    """The driver exists and takes the settings of `[machine.link]`; `sole` has what others have for themselves."""
    name, link = machine.get("driver"), machine.get("link", {})
    if not isinstance(name, str) or not name or not isinstance(link, dict):
        return
    try:
        settings_type = find_driver(name).settings_type
    except ConfigError as error:
        yield Problem((*path, "driver"), error.code, error.what, error.remedy)
        return
    try:
        settings_type.model_validate(link)
    except ValidationError as error:
        yield from validation_problems(error, settings_type, (*path, "link"))
    count = machine.get("count", 1)
    for key in settings_type.sole:
        if not isinstance(value := link.get(key), str):
            continue
        here: Path = (*path, "link", key)
        what = f"{dotted(here)} = {value!r}: another machine has that already"
        if (other := sole.setdefault((name, key, value), here)) != here:
            yield Problem(here, DUPLICATE, what, "give each machine its own", other=other)
        elif isinstance(count, int) and count > 1:
            what = f"{dotted(here)} = {value!r}: {count} machines cannot share it"
            yield Problem(here, DUPLICATE, what, "write one [[machine]] for each")


Locate = Callable[[Path], str]


def config_errors(found: Iterable[Problem], where: Locate) -> list[ConfigError]:
    """The problems as errors, each with its place."""
    errors = []
    for problem in found:
        what = f"{problem.what} ({where(problem.other)})" if problem.other else problem.what
        errors.append(ConfigError(problem.code, what, where=where(problem.path), remedy=problem.remedy))
    return errors
