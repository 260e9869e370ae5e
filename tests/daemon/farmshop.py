"""Small farms for the daemon's tests: entities with defaults, a scripted driver, a store in memory.

`warped` runs a test on virtual time.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

from farmd.daemon.attendant import Attendant
from farmd.daemon.desk import Desk
from farmd.daemon.dispatch import NewBuild
from farmd.daemon.floor import Floor
from farmd.daemon.ids import IdSource
from farmd.daemon.ledger import Ledger
from farmd.daemon.schedule import Schedule, Step
from farmd.daemon.shop import Shop
from farmd.driver import (
    Activity,
    Capabilities,
    Driver,
    DriverSettings,
    Ended,
    Observed,
    Reply,
    Report,
    RunFile,
    Started,
    StartOrder,
    TerminalLine,
)
from farmd.driver.clock import Clock, set_clock
from farmd.model import facts as f
from farmd.model.farm import Entity, Farm
from farmd.model.lifecycle import BuildState, MachineState, RunState
from farmd.model.machine import STATION, ChamberSpec, Machine, MachineSpec, Permit
from farmd.model.work import Build, BuildItem, Job, Outcome, PartShape, Run
from farmd.sim.loop import WarpLoop
from farmd.store import Entry

T0 = 1_767_600_000.0
SHA = "ab" * 32
CHAMBER = ChamberSpec((300.0, 300.0), 200.0, 600.0, 0.01, 20.0, cooldown_s=7200.0)
SURE = Capabilities(pause=True, adopts=True, history_authoritative=True)
UNSURE = Capabilities(pause=True, adopts=True)
FED = Capabilities(pause=True)


def warped(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """The test on a loop of its own whose time jumps; it begins at `T0`."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        loop = WarpLoop()
        set_clock(loop, Clock(T0, 0.0))
        try:
            loop.run_until_complete(test(*args, **kwargs))
        finally:
            loop.close()

    return run


# --- the shop as configured -------------------------------------------------------------------


def spec(name: str = "m1", **changes: Any) -> MachineSpec:
    base = MachineSpec(name, "scripted", "mk4", "MEX", (250.0, 210.0, 220.0), 0.4, "PLA black")
    return replace(base, **changes)


def powder(name: str = "sls", **changes: Any) -> MachineSpec:
    base = MachineSpec(
        name, "scripted", "sls", "PBF", (300.0, 300.0, 200.0), material="PA12", chamber=CHAMBER
    )
    return replace(base, **changes)


def station(name: str = "wash", *operations: str) -> MachineSpec:
    return MachineSpec(
        name,
        "scripted",
        "finishing",
        STATION,
        (0.0, 0.0, 0.0),
        operations=operations or ("wash",),
        operation_s=900.0,
    )


def shop(*specs: MachineSpec, capabilities: Capabilities = SURE, **changes: Any) -> Shop:
    named = {each.name: each for each in specs}
    return Shop("test", named, dict.fromkeys(named, capabilities), **changes)


# --- state ------------------------------------------------------------------------------------


def permit(name: str = "m1") -> Permit:
    return Permit(f"P-{name}", T0 - 60.0, "anna")


def machine(name: str = "m1", **changes: Any) -> Machine:
    """Ready to be started, unless changed; the chambers, `sls…`, with their own powder."""
    material = "PA12" if name.startswith("sls") else "PLA black"
    base = Machine(
        name, MachineState.IDLE, since=T0 - 600.0, permit=permit(name), material=material, nozzle_mm=0.4
    )
    return replace(base, **changes)


def job(job_id: str = "J-1", **changes: Any) -> Job:
    base = Job(
        id=job_id,
        design="clip",
        file_sha256=SHA,
        file_name="clip.gcode",
        process="MEX",
        quantity=4,
        submitted_at=T0 - 3600.0,
        duration_s=3600.0,
        mass_g=20.0,
        material="PLA",
        nozzle_mm=0.4,
    )
    return replace(base, **changes)


def powder_job(job_id: str = "J-1", **changes: Any) -> Job:
    shape = PartShape(20_000.0, 30.0, 1600.0, (40.0, 40.0))
    base = replace(
        job(job_id),
        process="PBF",
        file_name="gear.stl",
        material="PA12",
        nozzle_mm=None,
        duration_s=0.0,
        shape=shape,
    )
    return replace(base, **changes)


def build(build_id: str = "B-1", *items: tuple[str, int], **changes: Any) -> Build:
    parts = tuple(BuildItem(*item) for item in items or (("J-1", 1),))
    return replace(Build(build_id, "print", parts, T0 - 60.0, 3600.0, "PLA", 0.4, SHA), **changes)


def run(run_id: str = "R-1", **changes: Any) -> Run:
    return replace(Run(run_id, "B-1", "m1", "P-spent", 1, T0 - 30.0, SHA), **changes)


def farm_of(*entities: Entity) -> Farm:
    farm = Farm(counters={"fence": 1, "job": 9, "build": 9}, revision=7)
    farm.merge(entities)
    return farm


def running_farm(of_run: RunState = RunState.RUNNING, parts: int = 1, **of_machine: Any) -> Farm:
    """One machine, `m1`, with one run open on it."""
    begun = T0 - 20.0 if of_run in (RunState.RUNNING, RunState.PAUSED) else None
    look = MachineState.BUSY if begun else MachineState.IDLE
    return farm_of(
        machine(**{"state": look, "permit": None, "run_id": "R-1", **of_machine}),
        job(in_work=parts, open_builds=1),
        build("B-1", ("J-1", parts), state=BuildState.ASSIGNED, machine="m1"),
        run(state=of_run, started_at=begun),
    )


def step(machine: str = "m1", work: str | None = "J-1", start_at: float = T0, **changes: Any) -> Step:
    base = Step(machine, start_at, start_at + 3600.0, work, (), None, f"{work}#1" if work else "J-1/1")
    return replace(base, **changes)


def schedule(*steps: Step, **changes: Any) -> Schedule:
    by_machine: dict[str, tuple[Step, ...]] = {}
    for each in steps:
        by_machine[each.machine] = (*by_machine.get(each.machine, ()), each)
    return replace(Schedule(7, T0, by_machine, policy="plan"), **changes)


# --- a daemon in pieces -----------------------------------------------------------------------


class MemoryStore:
    """Keeps what is committed; fails when told to, or waits for `gate`."""

    def __init__(self) -> None:
        self.commits: list[tuple[Entry, ...]] = []
        self.fails: Exception | None = None

    def commit(self, entries: Sequence[Entry]) -> int:
        if self.fails is not None:
            raise self.fails
        self.commits.append(tuple(entries))
        return len(self.facts)

    @property
    def facts(self) -> list[f.Fact]:
        return [fact for entries in self.commits for entry in entries for fact in entry.facts]


class ScriptedDriver(Driver):
    """Does what a test says, and notes what it was asked."""

    settings_type: ClassVar[type[DriverSettings]] = DriverSettings
    capabilities: ClassVar[Capabilities] = SURE

    def __init__(
        self, spec: MachineSpec, settings: DriverSettings | None = None, *, state_dir: Path = Path()
    ) -> None:
        self.spec = spec
        self.seen = Observed(Activity.IDLE)
        """What the machine shows at the next connect."""
        self.report: Report = lambda event: None
        self.connects = 0
        self.starts: list[StartOrder] = []
        self.asked: list[str] = []
        self.raises: dict[str, BaseException] = {}
        """By method; `serve` once, `connect` at every connect, the others at every call."""
        self.reply = Reply(("ok",))
        self.lines: list[TerminalLine] = []
        self.before_start: Callable[[StartOrder], Coroutine[Any, Any, None]] | None = None
        self._lost: asyncio.Future[None] | None = None

    async def serve(self, report: Report) -> None:
        self.connects += 1
        self._maybe_raise("connect")
        self.report = report
        self._lost = asyncio.get_running_loop().create_future()
        report(self.seen)
        try:
            await self._lost
        finally:
            self.asked.append("left")

    def lose(self, error: BaseException | None = None) -> None:
        """End `serve`, with an error or without."""
        assert self._lost is not None
        if error is None:
            self._lost.set_result(None)
        else:
            self._lost.set_exception(error)

    async def start(self, order: StartOrder) -> None:
        if self.before_start is not None:
            await self.before_start(order)
        self._maybe_raise("start")
        self.starts.append(order)

    async def pause(self) -> None:
        self._ask("pause")

    async def resume(self) -> None:
        self._ask("resume")

    async def stop(self) -> None:
        self._ask("stop")

    async def recover(self) -> None:
        self._ask("recover")

    def estop(self) -> None:
        self._ask("estop")

    async def command(self, text: str) -> Reply:
        self._ask(f"command {text}")
        self._maybe_raise("command")
        await asyncio.sleep(0.1)
        return self.reply

    def terminal(self, after: int = 0) -> list[TerminalLine]:
        self._maybe_raise("terminal")
        return [line for line in self.lines if line.number > after]

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        self._maybe_raise(what)

    def _maybe_raise(self, what: str) -> None:
        if what in self.raises:
            raise self.raises[what]


@dataclass
class Bench:
    """A ledger, attendants with scripted drivers, desk and floor, without planner and dispatcher."""

    ledger: Ledger
    store: MemoryStore
    shop: Shop
    attendants: dict[str, Attendant]
    desk: Desk
    floor: Floor
    stopped: list[str] = field(default_factory=list)

    @property
    def farm(self) -> Farm:
        return self.ledger.farm

    def driver(self, name: str = "m1") -> ScriptedDriver:
        driver = self.attendants[name].driver
        assert isinstance(driver, ScriptedDriver)
        return driver

    def machine(self, name: str = "m1") -> Machine:
        return self.farm.machines[name]

    def kinds(self) -> list[str]:
        """The facts so far, by name."""
        return [type(record.fact).__name__ for record in self.ledger.recent]

    async def settle(self, seconds: float = 0.5) -> None:
        await asyncio.sleep(seconds)

    async def run_to_end(self, name: str = "m1", outcome: Outcome = Outcome.OK, parts: int = 1) -> str:
        """Start a new build of J-1 and let the machine tell of it; the run's id."""
        driver = self.driver(name)
        given = self.machine(name).permit
        assert given is not None
        await self.attendants[name].start(given.id, new_build(parts=parts))
        run_id = driver.starts[-1].run_id
        driver.report(Started(run_id, "it says so"))
        driver.report(Ended(run_id, outcome))
        return run_id


def new_build(job_id: str = "J-1", parts: int = 1, file_sha256: str | None = None) -> NewBuild:
    return NewBuild("print", ((job_id, parts),), 3600.0, "PLA", 0.4, file_sha256, 20.0)


@asynccontextmanager
async def bench(
    farm: Farm, *specs: MachineSpec, capabilities: Capabilities = SURE, open_file: Any = None, **of_shop: Any
) -> AsyncIterator[Bench]:
    """The pieces, running; machines have their link up when this begins."""
    the_shop = shop(*(specs or (spec(),)), capabilities=capabilities, **of_shop)
    store, ids = MemoryStore(), IdSource(1)
    driver_type = type("Driver", (ScriptedDriver,), {"capabilities": capabilities})
    with ThreadPoolExecutor(1) as writer, ThreadPoolExecutor(2) as reader:
        ledger = Ledger(store, farm, writer)
        attendants = {
            each.name: Attendant(
                driver_type(each),
                each.name,
                ledger=ledger,
                shop=the_shop,
                ids=ids,
                open_file=open_file or _empty_file,
            )
            for each in the_shop.specs.values()
        }
        stopped: list[str] = []
        desk = Desk(ledger, the_shop, ids, lambda run: stopped.append(run.id), reader)
        floor = Floor(ledger, the_shop, attendants, ids, asyncio.ensure_future)
        pieces = Bench(ledger, store, the_shop, attendants, desk, floor, stopped)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ledger.run())]
            tasks += [group.create_task(each.serve()) for each in attendants.values()]
            await asyncio.sleep(0.01)
            yield pieces
            await ledger.flush()
            for task in reversed(tasks):
                task.cancel()


def _empty_file(sha256: str, name: str) -> RunFile:
    return RunFile(name, sha256, 0, BytesIO)
