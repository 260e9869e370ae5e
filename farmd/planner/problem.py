"""The planning problem, `farmd-problem/1`, as frozen data: what there is to make, on what, by whom and when.

Knows the terms of the format and which machine can take what. Times are seconds on the problem's
clock. Knows nothing of how a plan is found, and holds no rule of what makes one valid. Reading
JSON is `reader.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from farmd.planner.routes.data import Route, Station

FORMAT = "farmd-problem/1"
OBJECTIVES = ("weighted_tardiness", "makespan")
POLICIES = ("plan", "fifo", "edd", "wspt", "atcs")


@dataclass(frozen=True, slots=True)
class Crew:
    """People who work inside the windows of one name; `people` None is any number of them."""

    name: str
    window: str
    people: int | None

    def as_dict(self) -> dict[str, Any]:
        return {"name": self.name, "window": self.window, "people": self.people}


@dataclass(frozen=True, slots=True)
class Changeover:
    """Seconds of work from one setup to the next; `pairs` are directed (from, to, seconds)."""

    default: float
    pairs: tuple[tuple[str, str, float], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return {"default": self.default, "pairs": [list(pair) for pair in self.pairs]}


@dataclass(frozen=True, slots=True)
class Chamber:
    """The powder bed of a machine: a batch takes setup + s_per_mm3 * total volume + s_per_mm * height of the build.

    Without a `packing_density` parts stand side by side: their areas together are within `area_mm2`, and the build
    is as high as the highest part. With one (0 to 1) they lie above each other too: their volumes together are within
    that share of `area_mm2 * height_mm`, and the build is as high as the highest part, and at least so high that
    they are that share of what lies below.

    With one of `boxes` a batch cools down in the machine. With more it is taken out in its box: the machine is free
    at its end, and the box `cooldown_s` later; without a box nothing begins.
    """

    setup_s: float
    s_per_mm3: float
    s_per_mm: float
    area_mm2: float
    height_mm: float
    precision: float
    cooldown_s: float
    crewed: bool = False
    size_mm: tuple[float, float] | None = None
    packing_density: float | None = None
    boxes: int = 1

    @property
    def most_volume_mm3(self) -> float:
        """Of the parts of a batch together; infinite where they stand side by side."""
        if self.packing_density is None:
            return math.inf
        return self.packing_density * self.area_mm2 * self.height_mm

    @property
    def mm_per_mm3(self) -> float:
        """The height of build that a volume of parts makes; 0 where they stand side by side."""
        return 0.0 if self.packing_density is None else 1.0 / (self.packing_density * self.area_mm2)

    def as_dict(self) -> dict[str, Any]:
        out: dict[str, Any] = {
            "setup_s": self.setup_s,
            "s_per_mm3": self.s_per_mm3,
            "s_per_mm": self.s_per_mm,
            "area_mm2": self.area_mm2,
            "height_mm": self.height_mm,
            "precision": self.precision,
            "cooldown_s": self.cooldown_s,
        }
        if self.crewed:
            out["crewed"] = True
        if self.size_mm is not None:
            out["size_mm"] = list(self.size_mm)
        if self.packing_density is not None:
            out["packing_density"] = self.packing_density
        if self.boxes != 1:
            out["boxes"] = self.boxes
        return out


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine that is free from `available_s` on and prepared with `setup` (None: with nothing known).

    In its `shut` spans, which may overlap, nobody works at it and nothing runs. A second that it runs costs
    `wear_price` weighted seconds of tardiness. The lot that is loaded has `grams_left` (None: enough).
    """

    name: str
    type: str
    process: str
    available_s: float
    setup: str | None
    chamber: Chamber | None = None
    shut: tuple[tuple[float, float], ...] = ()
    wear_price: float = 0.0
    grams_left: float | None = None

    def as_dict(self) -> dict[str, Any]:
        out: dict[str, Any] = {
            "name": self.name,
            "type": self.type,
            "process": self.process,
            "available_s": self.available_s,
            "setup": self.setup,
        }
        if self.chamber is not None:
            out["chamber"] = self.chamber.as_dict()
        if self.shut:
            out["shut"] = [list(span) for span in self.shut]
        if self.wear_price:
            out["wear_price"] = self.wear_price
        if self.grams_left is not None:
            out["grams_left"] = self.grams_left
        return out


@dataclass(frozen=True, slots=True)
class PowerGroup:
    """Machines on one supply: at most `at_once` of them are within the first `warm_up_s` of a run or batch."""

    name: str
    machines: tuple[str, ...]
    at_once: int
    warm_up_s: float

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "machines": list(self.machines),
            "at_once": self.at_once,
            "warm_up_s": self.warm_up_s,
        }


@dataclass(frozen=True, slots=True)
class Build:
    """`count` identical runs named `id#1`, `id#2` …; `duration_s` by machine type.

    Each run ends by `deadline_s` at the latest and takes `grams` of what is loaded. `owner` says whose it is.
    """

    id: str
    setup: str
    duration_s: Mapping[str, float]
    release_s: float
    due_s: float | None
    weight: float = 1.0
    count: int = 1
    deadline_s: float | None = None
    grams: float = 0.0
    owner: str | None = None

    def run_ids(self) -> tuple[str, ...]:
        return tuple(f"{self.id}#{i}" for i in range(1, self.count + 1))

    def runs_on(self, machine: Machine) -> bool:
        """A chamber never changes its setup, so it takes only builds of its own."""
        if machine.type not in self.duration_s:
            return False
        return machine.chamber is None or machine.setup == self.setup

    def as_dict(self) -> dict[str, Any]:
        out: dict[str, Any] = {
            "id": self.id,
            "setup": self.setup,
            "duration_s": dict(self.duration_s),
            "release_s": self.release_s,
            "due_s": self.due_s,
            "weight": self.weight,
            "count": self.count,
        }
        if self.deadline_s is not None:
            out["deadline_s"] = self.deadline_s
        if self.grams:
            out["grams"] = self.grams
        if self.owner is not None:
            out["owner"] = self.owner
        return out


@dataclass(frozen=True, slots=True)
class Part:
    """A piece for a powder bed; its footprint is `size_mm`, or the bounding box of `outline_mm`."""

    id: str
    setup: str
    volume_mm3: float
    height_mm: float
    area_mm2: float
    precision: float
    release_s: float
    due_s: float | None
    weight: float = 1.0
    size_mm: tuple[float, float] | None = None
    outline_mm: tuple[tuple[float, float], ...] | None = None
    deadline_s: float | None = None
    owner: str | None = None

    def box_mm(self) -> tuple[float, float] | None:
        """Width and length of the footprint, or None where the problem states none."""
        if self.size_mm is not None:
            return self.size_mm
        if self.outline_mm is None:
            return None
        xs, ys = zip(*self.outline_mm, strict=True)
        return (max(xs) - min(xs), max(ys) - min(ys))

    def fits(self, machine: Machine) -> bool:
        """Whether the part alone can go into the machine's chamber."""
        chamber = machine.chamber
        if chamber is None or machine.setup != self.setup:
            return False
        box = self.box_mm()
        if box is not None and chamber.size_mm is not None:
            width, length = chamber.size_mm
            if not ((box[0] <= width and box[1] <= length) or (box[1] <= width and box[0] <= length)):
                return False
        return (
            self.height_mm <= chamber.height_mm
            and self.precision <= chamber.precision
            and self.area_mm2 <= chamber.area_mm2
            and self.volume_mm3 <= chamber.most_volume_mm3
        )

    def as_dict(self) -> dict[str, Any]:
        out: dict[str, Any] = {
            "id": self.id,
            "setup": self.setup,
            "volume_mm3": self.volume_mm3,
            "height_mm": self.height_mm,
            "area_mm2": self.area_mm2,
            "precision": self.precision,
            "release_s": self.release_s,
            "due_s": self.due_s,
            "weight": self.weight,
        }
        if self.size_mm is not None:
            out["size_mm"] = list(self.size_mm)
        if self.outline_mm is not None:
            out["outline_mm"] = [list(point) for point in self.outline_mm]
        if self.deadline_s is not None:
            out["deadline_s"] = self.deadline_s
        if self.owner is not None:
            out["owner"] = self.owner
        return out


@dataclass(frozen=True, slots=True)
class Announced:
    """A wish: people were told that this run, or part, goes to this machine at this time.

    To break it costs `share` of the price of stability.
    """

    id: str
    machine: str
    start_s: float
    share: float = 1.0

    def as_dict(self) -> dict[str, Any]:
        out: dict[str, Any] = {"id": self.id, "machine": self.machine, "start_s": self.start_s}
        if self.share != 1.0:
            out["share"] = self.share
        return out


@dataclass(frozen=True, slots=True)
class Problem:
    """Everything a planner may know. Plain data: picklable, comparable, never changed.

    A wish of `announced` whose run or machine is no longer there has no effect. `buffers` are (before_s, share):
    besides, a second that a run ends later than `before_s` before its due date costs this share of its weight, so
    that there is room for what nobody knows yet. Until a run ends, each second costs `flow_price` of its weight: what
    can be done now is, whether it is due or not. Both guide the planner; a plan's value does not count them.

    Where the loaded lot has less left than a run of its setup takes, a person changes the spool first, for
    `spool_change_s`; what is loaded then, or after a changeover, is enough. Material is counted in whole grams: what
    a run takes is rounded up, what is left down.
    """

    now_s: float
    clear_s: float
    changeover_s: Changeover
    machines: tuple[Machine, ...]
    objective: str = "weighted_tardiness"
    windows: Mapping[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)
    crews: tuple[Crew, ...] = ()
    builds: tuple[Build, ...] = ()
    parts: tuple[Part, ...] = ()
    announced: tuple[Announced, ...] = ()
    operator_price: float = 0.0
    buffers: tuple[tuple[float, float], ...] = ()
    flow_price: float = 0.0
    power_groups: tuple[PowerGroup, ...] = ()
    spool_change_s: float = 0.0
    stations: tuple[Station, ...] = ()
    routes: tuple[Route, ...] = ()

    def windows_of(self, crew: Crew) -> tuple[tuple[float, float], ...]:
        return self.windows.get(crew.window, ())

    def as_dict(self) -> dict[str, Any]:
        """The problem as `farmd-problem/1`; what is optional only where it says something."""
        out: dict[str, Any] = {
            "format": FORMAT,
            "now_s": self.now_s,
            "objective": self.objective,
            "windows": {name: [list(w) for w in spans] for name, spans in self.windows.items()},
            "crews": [crew.as_dict() for crew in self.crews],
            "clear_s": self.clear_s,
            "changeover_s": self.changeover_s.as_dict(),
            "machines": [machine.as_dict() for machine in self.machines],
            "builds": [build.as_dict() for build in self.builds],
            "parts": [part.as_dict() for part in self.parts],
            "announced": [wish.as_dict() for wish in self.announced],
            "operator_price": self.operator_price,
        }
        if self.buffers:
            out["buffers"] = [list(buffer) for buffer in self.buffers]
        if self.flow_price:
            out["flow_price"] = self.flow_price
        if self.power_groups:
            out["power_groups"] = [group.as_dict() for group in self.power_groups]
        if self.spool_change_s:
            out["spool_change_s"] = self.spool_change_s
        if self.stations:
            out["stations"] = [station.as_dict() for station in self.stations]
        if self.routes:
            out["routes"] = [route.as_dict() for route in self.routes]
        return out
