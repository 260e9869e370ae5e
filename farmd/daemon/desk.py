"""The desk: what people ask of the farm, checked and turned into facts and commands.

The API, farmctl and the simulated technicians come here, and nowhere else, to change anything.
Each method returns when what it did is on disk, and raises `Refused` with nothing changed when it
cannot be done. `actor` is who asks. Methods about jobs are here, those about machines in
`floor.py`.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

from farmd.daemon.ids import IdSource
from farmd.daemon.ledger import Ledger
from farmd.daemon.rules import Demand, fitness
from farmd.daemon.shop import Shop
from farmd.driver import now, offload
from farmd.gcode import MeshFile, Readable, SlicedFile, is_mesh, read_mesh, read_sliced
from farmd.gcode.formats import SUFFIXES
from farmd.model import facts as f
from farmd.model.apply_safety import require_normal
from farmd.model.codec import encode
from farmd.model.errors import ErrorCode, Refused
from farmd.model.farm import Entity
from farmd.model.lifecycle import BuildState, RunState
from farmd.model.lookup import find_job
from farmd.model.work import PRINT, FileRecord, Job, PartShape, Run

NO_MACHINE_FITS = ErrorCode(
    "no-machine-fits",
    "no machine of this shop can ever make this",
    "change the file or the order as the reasons say, or add a machine",
)
BAD_ORDER = ErrorCode(
    "bad-order", "the order cannot be understood", "see `farmctl submit --help` for what each value means"
)
NO_DENSITY_G_CM3 = 1.0
"""Density taken for powder parts of an unconfigured material, near that of PA12."""
MOST_CORNERS = 64
"""An outline with more of them is planned as its box."""


MOST = 1e9
LATEST_S = 32503680000.0
"""The year 3000, in seconds UTC."""


@dataclass(frozen=True, slots=True)
class Order:
    """What somebody asks for with a file. Quantity counts good parts; times are UTC seconds."""

    quantity: int
    parts_per_plate: int | None = None
    due_at: float | None = None
    priority: float = 1.0
    material: str | None = None
    group: str | None = None
    design: str | None = None
    owner: str = ""
    route: tuple[str, ...] = ()
    volume_mm3: float | None = None
    height_mm: float | None = None
    area_mm2: float | None = None


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that is in the vault already."""

    sha256: str
    size_bytes: int
    name: str
    path: Readable


class Desk:
    """Takes orders and changes them."""

    def __init__(
        self,
        ledger: Ledger,
        shop: Shop,
        ids: IdSource,
        stop_run: Callable[[Run], None],
        reader: Executor,
        *,
        keep_pictures: bool = True,
    ) -> None:
        """`reader` reads files; it is the desk's own, so that large ones keep nothing else waiting. Without
        `keep_pictures` no preview goes into the record: where files are sealed, their pictures must not lie open.
        """
        self._ledger = ledger
        self._shop = shop
        self._ids = ids
        self._stop_run = stop_run
        self._reader = reader
        self._keep_pictures = keep_pictures

    async def submit(self, upload: Upload, order: Order, actor: str) -> Job:
        """A job for a file; refused at once when no machine can ever make it."""
        require_normal(self._ledger.farm)
        _check_order(order)
        if told := self._shop.unlisted(order.material):
            raise Refused(BAD_ORDER, told, where="material", remedy="correct it, or add a [[material]]")
        _check_due(order.due_at)
        read = await offload(lambda: _read(upload), self._reader)
        if isinstance(read, SlicedFile) and not self._keep_pictures:
            read = dataclasses.replace(read, thumbnail=None)
        if isinstance(read, MeshFile):
            record = _file_record(upload, "mesh", read)
            job = self._powder_job(upload, order, read)
        else:
            record = _file_record(upload, read.kind, read)
            job = self._sliced_job(upload, order, read)
        known = self._ledger.farm.files.get(upload.sha256)
        news = known is None or (known.kind == record.kind and known.summary != record.summary)
        if known is not None and news:
            # What the rules remember of this file is of an older reading.
            self._shop.memo.clear()
        self._refuse_impossible(Demand(job, PRINT, record))
        job = dataclasses.replace(job, route=self._route(order, job))
        facts: list[f.Fact] = []
        if news:
            facts.append(f.FileStored(at=now(), actor=actor, file=record))
        job = dataclasses.replace(job, id=self._ids.job(self._ledger.farm), submitted_at=now())
        facts.append(f.JobSubmitted(at=now(), actor=actor, job=job))
        await self._ledger.record(*facts)
        return job

    def _sliced_job(self, upload: Upload, order: Order, sliced: SlicedFile) -> Job:
        kinds = sliced.filament_types
        return Job(
            id="J-0",
            design=order.design or design_of(upload.name),
            file_sha256=upload.sha256,
            file_name=upload.name,
            process="MEX",
            quantity=order.quantity,
            submitted_at=0.0,
            parts_per_plate=order.parts_per_plate or max(1, sliced.object_count),
            duration_s=sliced.print_time_s or 0.0,
            mass_g=sliced.mass_g or 0.0,
            material=order.material or (kinds[0] if kinds else None),
            nozzle_mm=sliced.nozzle_mm,
            group=order.group,
            due_at=order.due_at,
            priority=order.priority,
            owner=order.owner,
        )

    def _powder_job(self, upload: Upload, order: Order, mesh: MeshFile) -> Job:
        shape = PartShape(
            volume_mm3=order.volume_mm3 or mesh.volume_mm3,
            height_mm=order.height_mm or mesh.size_mm[2],
            area_mm2=order.area_mm2 or mesh.area_mm2,
            size_mm=(mesh.size_mm[0], mesh.size_mm[1]),
            outline_mm=mesh.outline_mm if len(mesh.outline_mm) <= MOST_CORNERS else None,
        )
        material = self._shop.material(order.material)
        density = (material.density_g_cm3 if material else None) or NO_DENSITY_G_CM3
        return Job(
            id="J-0",
            design=order.design or design_of(upload.name),
            file_sha256=upload.sha256,
            file_name=upload.name,
            process="PBF",
            quantity=order.quantity,
            submitted_at=0.0,
            mass_g=shape.volume_mm3 / 1000.0 * density,
            material=order.material,
            group=order.group,
            due_at=order.due_at,
            priority=order.priority,
            owner=order.owner,
            shape=shape,
        )

    def _route(self, order: Order, job: Job) -> tuple[str, ...]:
        """The order's own route, else print and, for powder parts, depowder where a station does that."""
        known = {operation for spec in self._shop.specs.values() for operation in spec.operations}
        route = order.route or ((PRINT, "depowder") if job.shape and "depowder" in known else (PRINT,))
        missing = [operation for operation in route if operation not in known]
        if missing or route[0] != PRINT or len(set(route)) < len(route):
            what = (
                f"no machine does {missing[0]}"
                if missing
                else "a route begins with print and names each step once"
            )
            raise Refused(BAD_ORDER, what, where="route")
        return route

    def _refuse_impossible(self, demand: Demand) -> None:
        reasons: dict[str, list[str]] = {}
        for spec in self._shop.specs.values():
            obstacle = fitness(demand, spec, self._shop)
            if obstacle is None:
                return
            if not spec.is_station:
                reasons.setdefault(obstacle.what, []).append(spec.name)
        told = "; ".join(f"{_some(names)}: {what}" for what, names in reasons.items())
        raise Refused(
            NO_MACHINE_FITS, told or "the shop has no machine that prints", where=demand.job.file_name
        )

    async def edit(
        self,
        job_id: str,
        actor: str,
        *,
        due_at: float | None = None,
        clear_due: bool = False,
        priority: float | None = None,
        quantity: int | None = None,
        reason: str = "",
    ) -> Job:
        """Change a job; what is None stays. What changes is recorded as it was, too."""
        _check_positive(("priority", priority), ("quantity", quantity))
        _check_due(due_at)
        require_normal(self._ledger.farm)
        before = find_job(self._ledger.farm, job_id)
        fact = f.JobEdited(
            at=now(),
            actor=actor,
            job_id=job_id,
            due_at=due_at,
            clear_due=clear_due,
            priority=priority,
            quantity=quantity,
            reason=reason,
            due_at_before=before.due_at if due_at is not None or clear_due else None,
            priority_before=None if priority is None else before.priority,
            quantity_before=None if quantity is None else before.quantity,
        )
        return _job_in(await self._ledger.record(fact))

    async def hold(self, job_id: str, actor: str, reason: str = "") -> Job:
        """Start nothing more for a job; what runs goes on."""
        fact = f.JobHeld(at=now(), actor=actor, job_id=job_id, reason=reason)
        return _job_in(await self._ledger.record(fact))

    async def release(self, job_id: str, actor: str, reason: str = "") -> Job:
        require_normal(self._ledger.farm)
        fact = f.JobReleased(at=now(), actor=actor, job_id=job_id, reason=reason)
        return _job_in(await self._ledger.record(fact))

    async def cancel(self, job_id: str, actor: str, reason: str = "") -> Job:
        """Cancel a job: its queued builds are withdrawn, and runs that make nothing else are stopped."""
        farm = self._ledger.farm
        mine = [b for b in farm.builds.values() if {item.job_id for item in b.items} == {job_id}]
        facts: list[f.Fact] = [f.JobCancelled(at=now(), actor=actor, job_id=job_id, reason=reason)]
        facts += [
            f.BuildWithdrawn(at=now(), actor=actor, build_id=build.id)
            for build in mine
            if build.state is BuildState.QUEUED
        ]
        durable = asyncio.ensure_future(self._ledger.record(*facts))
        # A disk that is full keeps nothing running that nobody wants.
        await self._ledger.soon(durable)
        running = {build.id for build in mine if build.state is BuildState.ASSIGNED}
        for run in [run for run in farm.runs.values() if run.build_id in running]:
            # Of an uncertain run nobody knows what a stop would stop.
            if run.state is not RunState.UNCERTAIN:
                self._stop_run(run)
        return _job_in(await durable)


def _job_in(changed: tuple[Entity, ...]) -> Job:
    """The one job that the facts were about, as it is after them, closed or not."""
    return [entity for entity in changed if isinstance(entity, Job)][-1]


def _check_order(order: Order) -> None:
    _check_positive(
        ("quantity", order.quantity),
        ("parts_per_plate", order.parts_per_plate),
        ("priority", order.priority),
        ("volume_mm3", order.volume_mm3),
        ("height_mm", order.height_mm),
        ("area_mm2", order.area_mm2),
    )


def _check_positive(*values: tuple[str, float | None]) -> None:
    for name, value in values:
        if value is not None and not 0 < value < MOST:
            raise Refused(BAD_ORDER, f"{value:g} is not a number above 0, and below {MOST:g}", where=name)


def _check_due(due_at: float | None) -> None:
    if due_at is not None and not 0 <= due_at < LATEST_S:
        raise Refused(BAD_ORDER, f"{due_at:g} is no time of this age", where="due_at")


def _read(upload: Upload) -> SlicedFile | MeshFile:
    """What the file tells; may take seconds. Raises `Refused`."""
    if is_mesh(upload.name, upload.path):
        return read_mesh(upload.path, name=upload.name)
    return read_sliced(upload.path, name=upload.name)


def design_of(name: str) -> str:
    """A file's name without the suffix that says its kind."""
    suffix = next((s for s, _ in SUFFIXES if name.lower().endswith(s)), "")
    return name[: len(name) - len(suffix)] or name


def _file_record(upload: Upload, kind: str, summary: SlicedFile | MeshFile) -> FileRecord:
    return FileRecord(upload.sha256, upload.name, upload.size_bytes, kind, encode(summary))


def _some(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{', '.join(names[:3])} and {len(names) - 3} more"
