"""Which machine may make what: one rule a function, asked in a fixed order, first failure told.

Pure. `fitness` are the rules that only the shop's people or configuration can change; `readiness`
those that change by the hour. Submission, dispatch and `farmctl why` ask the same rules, so they
cannot disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from farmd.daemon.shop import Shop, satisfies
from farmd.gcode import SlicedFile, check_safety
from farmd.model.codec import decode
from farmd.model.errors import Refused
from farmd.model.farm import Farm
from farmd.model.lifecycle import BuildState, JobState, MachineState, RunState
from farmd.model.machine import ChamberSpec, Machine, MachineSpec
from farmd.model.work import PRINT, Build, FileRecord, Job, PartShape

MEMO_LIMIT = 100_000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Obstacle:
    """The rule that fails, why, and what would free it."""

    rule: str
    what: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Demand:
    """What a machine is asked to make: one operation for one job, or a build that is queued already."""

    job: Job
    operation: str
    file: FileRecord | None


def demand_of(farm: Farm, job: Job, operation: str = PRINT) -> Demand:
    return Demand(job, operation, farm.files.get(job.file_sha256))


# --- fitness: can this machine ever make it -------------------------------------------------


def fitness(demand: Demand, spec: MachineSpec, shop: Shop) -> Obstacle | None:
    """The first rule by which this machine can never make it, as configured; None when it can."""
    by_name = demand.job.group == spec.name
    return _remembered(
        shop,
        (_alike(shop)[spec.name], by_name, *_asked(demand)),
        lambda: next((found for rule in _FITNESS if (found := rule(demand, spec, shop))), None),
    )


def _asked(demand: Demand) -> tuple[Hashable, ...]:
    """All of a demand that the rules of fitness look at."""
    job, file = demand.job, demand.file
    known = file.sha256 if file else None
    return (demand.operation, known, job.process, job.group, job.material, job.file_name, job.shape)


def _alike(shop: Shop) -> dict[str, int]:
    """By the machines' names, numbers that are the same for machines between which no rule of fitness can tell."""

    def find() -> dict[str, int]:
        numbers: dict[Hashable, int] = {}
        return {
            name: numbers.setdefault((*_told_apart(spec), shop.capabilities[name].file_kinds), len(numbers))
            for name, spec in shop.specs.items()
        }

    return _remembered(shop, "alike", find)


def _told_apart(spec: MachineSpec) -> tuple[Hashable, ...]:
    """All of a machine that the rules of fitness look at, its name apart."""
    hot = (spec.max_nozzle_c, spec.max_bed_c, spec.max_chamber_c)
    size = (spec.volume_mm, spec.nozzle_mm, spec.chamber)
    return (spec.group, spec.process, spec.material, hot, size, spec.allow, spec.operations)


def _remembered(shop: Shop, key: Hashable, find: Callable[[], T]) -> T:
    """What was found before. Other threads ask and forget too."""
    known: T | None = shop.memo.get(key, shop)
    if known is shop:
        known = find()
        if len(shop.memo) > MEMO_LIMIT:
            shop.memo.clear()
        shop.memo[key] = known
    return known  # type: ignore[return-value]


def _operation(demand: Demand, spec: MachineSpec, shop: Shop) -> Obstacle | None:
    if demand.operation in spec.operations:
        return None
    does = ", ".join(spec.operations)
    return Obstacle("operation", f"it does {does}, not {demand.operation}", "use another machine")


def _group(demand: Demand, spec: MachineSpec, shop: Shop) -> Obstacle | None:
    if demand.operation != PRINT or demand.job.group in (None, spec.group, spec.name):
        return None
    return Obstacle(
        "group", f"the job asks for {demand.job.group}", "submit without --group, or with another"
    )


def _process(demand: Demand, spec: MachineSpec, shop: Shop) -> Obstacle | None:
    if demand.operation != PRINT or demand.job.process == spec.process:
        return None
    return Obstacle(
        "process", f"it is {spec.process}, the job needs {demand.job.process}", "use another machine"
    )


def _file_kind(demand: Demand, spec: MachineSpec, shop: Shop) -> Obstacle | None:
    kinds = shop.capabilities[spec.name].file_kinds
    if demand.operation != PRINT or spec.chamber or not kinds:
        return None
    name = demand.job.file_name.lower()
    if any(name.endswith("." + kind) for kind in kinds):
        return None
    return Obstacle("file-kind", f"it takes {', '.join(kinds)}", "export the file in one of these kinds")


def _chamber(demand: Demand, spec: MachineSpec, shop: Shop) -> Obstacle | None:
    shape, chamber = demand.job.shape, spec.chamber
    if demand.operation != PRINT or shape is None or chamber is None:
        return None
    if shape.height_mm > chamber.height_mm:
        return _too_large(f"height {shape.height_mm:g} mm, chamber {chamber.height_mm:g} mm")
    if shape.size_mm and not _fits_turned(shape.size_mm, chamber.size_mm):
        return _too_large(f"{_by(shape.size_mm)} mm, chamber {_by(chamber.size_mm)} mm")
    if shape.area_mm2 > chamber.area_mm2:
        return _too_large(f"area {shape.area_mm2:g} mm2, chamber {chamber.area_mm2:g} mm2")
    if shape.volume_mm3 > chamber.most_volume_mm3:
        return _too_large(f"volume {shape.volume_mm3:g} mm3, chamber {chamber.most_volume_mm3:g} mm3")
    if shape.precision > chamber.precision:
        return Obstacle("precision", "the machine is not precise enough", "use a more precise machine")
    return None


def _chamber_material(demand: Demand, spec: MachineSpec, shop: Shop) -> Obstacle | None:
    if demand.operation != PRINT or spec.chamber is None or satisfies(spec.material, demand.job.material):
        return None
    return Obstacle(
        "material", f"its powder is {spec.material}", "submit with a --material that a chamber has"
    )


def _safety(demand: Demand, spec: MachineSpec, shop: Shop) -> Obstacle | None:
    if demand.operation != PRINT or demand.file is None or demand.file.kind == "mesh":
        return None
    try:
        sliced = decode(SlicedFile, demand.file.summary, lenient=True)
    except Refused as refused:
        # Another version of farmd wrote it.
        return Obstacle(
            "file-unread",
            f"what was read from {demand.file.name} is not understood any more: {refused.what}",
            "submit the file again, then cancel one of the two jobs",
        )
    limits = shop.limits(spec, demand.job.material or spec.material)
    violations = check_safety(sliced, limits, spec.allow)
    if not violations:
        return None
    first = violations[0]
    return Obstacle(first.code, first.what, first.remedy)


def _fits_turned(inner_mm: tuple[float, float], outer_mm: tuple[float, float]) -> bool:
    return min(inner_mm) <= min(outer_mm) and max(inner_mm) <= max(outer_mm)


def _too_large(what: str) -> Obstacle:
    return Obstacle("too-large", what, "use a larger machine or a smaller design")


def _by(size_mm: tuple[float, float]) -> str:
    return f"{size_mm[0]:g} x {size_mm[1]:g}"


_FITNESS: tuple[Callable[[Demand, MachineSpec, Shop], Obstacle | None], ...] = (
    _operation,
    _group,
    _process,
    _file_kind,
    _chamber,
    _chamber_material,
    _safety,
)


# --- readiness: can this machine be started now ---------------------------------------------


def readiness(machine: Machine, farm: Farm) -> Obstacle | None:
    """The first rule by which nothing can be started on this machine now; None when it is ready."""
    return next((found for rule in _READINESS if (found := rule(machine, farm))), None)


def _safe_mode(machine: Machine, farm: Farm) -> Obstacle | None:
    return safe_mode(farm)


def safe_mode(farm: Farm) -> Obstacle | None:
    """Why nothing at all may be started now."""
    safe = next(iter(farm.safe_modes.values()), None)
    if safe is None:
        return None
    return Obstacle("safe-mode", f"the farm is in safe mode ({safe.cause}): {safe.what}", safe.remedy)


def _link(machine: Machine, farm: Farm) -> Obstacle | None:
    if machine.state is not MachineState.OFFLINE:
        return None
    return Obstacle("offline", "there is no link to it", "switch it on, look at its cable and port")


def _fault(machine: Machine, farm: Farm) -> Obstacle | None:
    if machine.state is not MachineState.FAULT:
        return None
    fault = machine.fault
    return Obstacle(
        "fault", fault.what if fault else "fault", fault.remedy if fault else "look at the machine"
    )


def _held(machine: Machine, farm: Farm) -> Obstacle | None:
    if machine.held is None:
        return None
    return Obstacle("held", f"a person holds it: {machine.held}", f"`farmctl release {machine.name}`")


def _foreign(machine: Machine, farm: Farm) -> Obstacle | None:
    if machine.state is not MachineState.FOREIGN:
        return None
    return Obstacle(
        "foreign-run", f"it runs {machine.foreign}, started elsewhere", "wait for its end, clear it"
    )


def _uncertain(machine: Machine, farm: Farm) -> Obstacle | None:
    run = farm.runs.get(machine.run_id or "")
    if run is None or run.state is not RunState.UNCERTAIN:
        return None
    return Obstacle(
        "uncertain",
        f"nobody can tell whether {run.id} started",
        f"look, then `farmctl resolve {run.id} printing|not-started|failed`",
    )


def _busy(machine: Machine, farm: Farm) -> Obstacle | None:
    if machine.run_id is None:
        return None
    return Obstacle("busy", f"it makes {machine.run_id}", "wait for its end")


def _occupied(machine: Machine, farm: Farm) -> Obstacle | None:
    if machine.uncleared_run_id is None and machine.permit is not None:
        return None
    what = (
        f"{machine.uncleared_run_id} lies on it"
        if machine.uncleared_run_id
        else "nobody has said it is clear"
    )
    return Obstacle("not-clear", what, f"clear it, then `farmctl clear {machine.name}`")


_READINESS: tuple[Callable[[Machine, Farm], Obstacle | None], ...] = (
    _safe_mode,
    _link,
    _fault,
    _held,
    _foreign,
    _uncertain,
    _busy,
    _occupied,
)


# --- setup and demand -----------------------------------------------------------------------


class NeedsSetup(Protocol):
    """A job or a build, by what a machine must be prepared with for it."""

    @property
    def material(self) -> str | None: ...
    @property
    def nozzle_mm(self) -> float | None: ...


def wrong_setup(machine: Machine, spec: MachineSpec, build: NeedsSetup) -> Obstacle | None:
    """Whether the machine must be prepared differently before it can make this."""
    if spec.is_station:
        return None
    wanted, nozzle_mm = wanted_material(spec, build), None if spec.chamber else build.nozzle_mm
    another_nozzle = nozzle_mm is not None and machine.nozzle_mm not in (None, nozzle_mm)
    option = f" --nozzle {nozzle_mm:g}" if another_nozzle else ""
    if not satisfies(machine.material, wanted):
        what = f"loaded with {machine.material or 'nothing'}, needs {wanted}"
        return Obstacle("wrong-material", what, f"`farmctl load {machine.name} {wanted!r}{option}`")
    if another_nozzle:
        what = f"nozzle {machine.nozzle_mm:g} mm, needs {nozzle_mm:g} mm"
        return Obstacle(
            "wrong-nozzle", what, f"`farmctl load {machine.name} {machine.material or wanted!r}{option}`"
        )
    return None


def wanted_material(spec: MachineSpec, build: NeedsSetup) -> str | None:
    """What must be loaded for a job or a build; a chamber takes its own powder and no other."""
    return spec.material if spec.chamber else build.material


def wants_work(job: Job) -> Obstacle | None:
    """Why nothing is planned for a job, by its own state."""
    if job.state is JobState.HELD:
        return Obstacle("job-held", "a person holds the job", f"`farmctl release {job.id}`")
    if job.state is not JobState.OPEN:
        return Obstacle("job-closed", f"the job is {job.state.value}", "submit a new one")
    if job.missing == 0:
        return Obstacle(
            "in-work", f"all missing parts are in work ({job.in_work})", "wait for their clearing"
        )
    return None


def unwanted(farm: Farm, build: Build) -> bool:
    """Whether nobody wants a queued build any more: its parts are not missing, or their jobs cancelled."""
    if build.state is not BuildState.QUEUED:
        return False
    return not any(_wants(farm.jobs[item.job_id], item.parts, build.operation) for item in build.items)


def _wants(job: Job, parts: int, operation: str) -> bool:
    if operation != PRINT:
        return job.state is not JobState.CANCELLED
    # What is in work counts the build's own parts.
    return job.state in (JobState.OPEN, JobState.HELD) and job.quantity > job.good + job.in_work - parts


def can_make(demand: Demand, shop: Shop) -> tuple[MachineSpec, ...]:
    """The machines that can ever make it; the same tuple for the same machines."""

    def find() -> tuple[MachineSpec, ...]:
        specs = tuple(shop.specs.values())
        if demand.job.group in shop.specs:
            found = tuple(spec for spec in specs if fitness(demand, spec, shop) is None)
        else:
            alike = _alike(shop)
            first = {alike[spec.name]: spec for spec in reversed(specs)}
            fits = {number: fitness(demand, spec, shop) is None for number, spec in first.items()}
            found = tuple(spec for spec in specs if fits[alike[spec.name]])
        return _remembered(shop, ("these", *(spec.name for spec in found)), lambda: found)

    return _remembered(shop, ("can make", *_asked(demand)), find)


def load_of(shape: PartShape, chamber: ChamberSpec) -> int:
    """How many parts of a shape one load of a chamber holds; at least one, whether it fits is asked elsewhere."""
    if chamber.packing_density is not None:
        return max(1, int(chamber.most_volume_mm3 / shape.volume_mm3))
    by_area = int(chamber.area_mm2 / shape.area_mm2)
    return max(
        1, by_area if shape.size_mm is None else min(by_area, _in_rows(shape.size_mm, chamber.size_mm))
    )


def _in_rows(size_mm: tuple[float, float], plate_mm: tuple[float, float]) -> int:
    """How many boxes stand on a plate in rows, all turned or none."""
    (width, length), (across, along) = size_mm, plate_mm
    return max(int(across / width) * int(along / length), int(across / length) * int(along / width))


def builds_of(farm: Farm, job_id: str) -> list[Build]:
    """The open builds with parts of a job."""
    return [build for build in farm.builds.values() if any(item.job_id == job_id for item in build.items)]
