"""What a simulated shop is beyond its configuration: demand, people's habits, and faults.

Read from the table `[simulation]` of a shop's file, and from a fault file. Knows no daemon.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from farmd.model.errors import ConfigError, ConfigErrors, ErrorCode

BAD_SCENARIO = ErrorCode(
    "bad-scenario",
    "the simulation's table is not as it should be",
    "correct the key that is named; config/shops/ has examples",
)
UNKNOWN_FAULT_TARGET = ErrorCode(
    "unknown-fault-target",
    "the fault file names a machine that the shop does not have, or does not simulate",
    "name one of the shop's simulated machines",
)

APART = ("simulation", "demo")
"""Tables of a shop's file that its configuration does not have."""

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Range = tuple[Positive, Positive]


class Table(BaseModel):
    """A table of the file. An unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Product(Table):
    """Something the shop is asked for again and again."""

    name: str
    process: Literal["MEX", "PBF"] = "MEX"
    material: str | None = None
    share: Positive = 1.0
    """How often it is asked for, relative to the others."""
    size_mm: tuple[Positive, Positive, Positive]
    """Of the plate's contents, or of one powder part."""
    minutes: Positive = 60.0
    """MEX: of one plate."""
    grams: Positive = 20.0
    """MEX: of one plate."""
    parts_per_plate: Annotated[int, Field(ge=1)] = 1
    nozzle_mm: Positive = 0.4
    nozzle_c: Positive = 215.0
    bed_c: Positive = 60.0
    volume_share: Share = 0.4
    """PBF: the part's share of its bounding box."""
    quantity: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = (1, 10)
    """Good parts in one job, from and to."""
    due_h: Range = (24.0, 120.0)
    """Hours from submission to due date, from and to."""
    priorities: tuple[Positive, ...] = (1.0,)
    """Drawn evenly."""


class Habits(Table):
    """How a shop's people work, and how its simulated machines are."""

    reaction_s: Annotated[float, Field(ge=0)] = 360.0
    """Mean seconds until a free person goes to the next thing on the walk list."""
    scrap_share: Share = 0.0
    """Share of the parts that are found bad when a machine is cleared."""
    repair_s: Annotated[float, Field(ge=0)] = 1500.0
    """Mean seconds of a person's work to mend a fault."""
    machines: dict[str, Any] = {}
    """Settings that every simulated machine of the shop has unless its own say otherwise."""


class Simulation(Habits):
    """How a shop is simulated."""

    start: str = "2026-01-05T06:00:00Z"
    """When it begins, ISO 8601."""
    jobs_per_day: Positive
    """New jobs a day on average, at random times."""
    backlog_jobs: Annotated[int, Field(ge=0)] = 0
    """Jobs that are there at the beginning."""
    product: Annotated[tuple[Product, ...], Field(min_length=1)]


class DemoOrder(Table):
    """One order of the demo."""

    file: str
    """In the folder `samples` beside the shop's file."""
    quantity: Annotated[int, Field(ge=1)]
    material: str | None = None
    group: str | None = None
    due_h: Positive | None = None
    """Hours after the beginning."""
    priority: Positive = 1.0


class Demo(Table):
    """What `farmd demo` does with a shop."""

    speed: Positive = 600.0
    """Seconds of the shop in one real second."""
    habits: Habits = Habits()
    order: Annotated[tuple[DemoOrder, ...], Field(min_length=1)]


class Injection(Table):
    """One thing that happens to a machine."""

    at_h: Annotated[float, Field(ge=0)]
    """Hours after the beginning."""
    machine: str
    kind: Literal["link", "reboot", "panel", "fail", "break", "drop-start"]
    """Cable out, restart, a start at the panel, the run fails, the machine breaks, the next start is dropped."""
    for_s: Positive = 600.0
    """How long: of `link` and `panel`."""


class Faults(Table):
    """A fault file: settings over those of the machines, and single injections."""

    machines: dict[str, Any] = {}
    """Settings for all simulated machines, over their own."""
    fault: tuple[Injection, ...] = ()


def read_simulation(path: Path) -> Simulation:
    """The table `[simulation]` of a shop's file. Raises `ConfigErrors`."""
    raw = _toml(path)
    return _validated(Simulation, raw.get("simulation"), path, "simulation")


def read_demo(path: Path) -> Demo:
    """The table `[demo]` of a shop's file. Raises `ConfigErrors`."""
    return _validated(Demo, _toml(path).get("demo"), path, "demo")


def read_faults(path: Path) -> Faults:
    """A fault file. Raises `ConfigErrors`."""
    return _validated(Faults, _toml(path), path, "")


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigErrors([ConfigError(BAD_SCENARIO, str(error), where=str(path))]) from error


M = TypeVar("M", bound=Table)


def _validated(model: type[M], raw: object, path: Path, table: str) -> M:
    if raw is None:
        error = ConfigError(BAD_SCENARIO, f"the table [{table}] is missing", where=str(path))
        raise ConfigErrors([error])
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise ConfigErrors(
            ConfigError(
                BAD_SCENARIO,
                each["msg"],
                where=f"{path}: {'.'.join(map(str, (table, *each['loc']))).strip('.')}",
            )
            for each in error.errors()
        ) from error
