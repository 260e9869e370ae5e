"""What people should do next: a pure function of state, plan and time.

For every machine that a person must touch before it can go on, what to do there and by which command to tell farmd,
in order: doubts, faults, clearing and loading as the plan needs it, links, and last what somebody holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from farmd.daemon.counting import how_to_clear
from farmd.daemon.dispatch import NewBuild, still_wanted
from farmd.daemon.limits import short_lot
from farmd.daemon.live import Live, Lives, Trouble
from farmd.daemon.rules import wanted_material, wrong_setup
from farmd.daemon.schedule import Schedule, Step
from farmd.daemon.shop import Shop
from farmd.model.farm import Farm
from farmd.model.lifecycle import MachineState, RunState
from farmd.model.machine import Machine, MachineSpec
from farmd.model.work import Build, Outcome


@dataclass(frozen=True, slots=True)
class Task:
    """One thing for a person to do at a machine, due `at`, possible `from_at` (UTC); `command` tells farmd."""

    machine: str
    kind: str
    """`resolve`, `fault`, `clear`, `load`, `link`, `noise` or `held`, most urgent first."""
    what: str
    command: str
    at: float
    from_at: float
    run_id: str | None = None
    material: str | None = None
    nozzle_mm: float | None = None


NO_LINK_YET = "look at power, cable and port"
_URGENCY = {"resolve": 0, "fault": 1, "clear": 2, "load": 2, "link": 3, "noise": 4, "held": 5}


def walk_list(
    farm: Farm, schedule: Schedule, shop: Shop, now_s: float, lives: Lives = MappingProxyType({})
) -> list[Task]:
    """What people should do next, in order: doubts, faults, then clearing and loading by the plan's times, then
    links. `lives` tell what is wrong with these."""
    names = [name for name in farm.machines if name in shop.specs]
    tasks = [
        task
        for name in names
        for task in _tasks(
            farm, schedule, shop, farm.machines[name], shop.specs[name], now_s, lives.get(name)
        )
    ]
    tasks += [_noise(name, live.noisy, now_s) for name in names if (live := lives.get(name)) and live.noisy]
    return sorted(tasks, key=lambda task: (_URGENCY[task.kind], task.at, task.machine))


def _noise(name: str, trouble: Trouble, now_s: float) -> Task:
    return Task(name, "noise", str(trouble), f"farmctl machine {name}", now_s, now_s)


def _tasks(
    farm: Farm,
    schedule: Schedule,
    shop: Shop,
    machine: Machine,
    spec: MachineSpec,
    now_s: float,
    live: Live | None,
) -> list[Task]:
    name = machine.name
    run = farm.runs.get(machine.run_id or "")
    if run is not None and run.state is RunState.UNCERTAIN:
        what = f"look whether it is printing {run.id}"
        command = f"farmctl resolve {run.id} printing|not-started|failed"
        return [Task(name, "resolve", what, command, machine.since, machine.since, run_id=run.id)]
    if machine.state is MachineState.FAULT and machine.fault is not None:
        what = f"{machine.fault.what}: {machine.fault.remedy}"
        return [Task(name, "fault", what, f"farmctl release {name}", machine.since, machine.since)]
    if machine.state is MachineState.OFFLINE:
        why = str(live.lost) if live and live.lost else NO_LINK_YET
        return [Task(name, "link", f"no link: {why}", f"farmctl machine {name}", now_s, now_s)]
    if machine.run_id or machine.state is MachineState.FOREIGN:
        return []
    if machine.held is not None:
        what = f"held: {machine.held}" if machine.held else "held"
        return [Task(name, "held", what, f"farmctl release {name}", machine.since, machine.since)]
    step, wanted = _next_wanted(farm, schedule, shop, machine, spec)
    tasks = []
    if machine.permit is None:
        tasks.append(_clear(farm, shop, machine, step))
    if step is not None and wanted is not None:
        tasks += _load(farm, shop, machine, spec, step, wanted)
    return tasks


def _clear(farm: Farm, shop: Shop, machine: Machine, step: Step | None) -> Task:
    at = from_at = max(machine.ready_at, machine.since)
    if step is not None and step.operator_at is not None and machine.uncleared_run_id is None:
        at = max(at, step.operator_at)
    run_id = machine.uncleared_run_id
    what = f"take {run_id} off" if run_id else "see that it is clear"
    if run_id and can_go_on(farm, shop, machine):
        what += f", or go on with it by `farmctl continue {run_id}`"
    return Task(machine.name, "clear", what, how_to_clear(farm, machine), at, from_at, run_id=run_id)


def can_go_on(farm: Farm, shop: Shop, machine: Machine) -> bool:
    """Whether a person may let a new run go on where the one that lies on the machine broke off."""
    run = farm.runs.get(machine.uncleared_run_id or "")
    # One that was refused when a person tried would be refused again.
    if (
        run is None
        or run.outcome in (Outcome.OK, Outcome.NOT_STARTED)
        or not shop.capabilities[machine.name].continues
    ):
        return False
    return run.place is not None and run.place.line is not None and run.place.z_mm is not None


def _load(
    farm: Farm, shop: Shop, machine: Machine, spec: MachineSpec, step: Step, wanted: NewBuild | Build
) -> list[Task]:
    obstacle = wrong_setup(machine, spec, wanted)
    short = short_lot(farm, shop, machine, wanted) if obstacle is None else None
    obstacle = obstacle or short
    if obstacle is None:
        return []
    material = wanted_material(spec, wanted) or machine.material
    nozzle_mm = None if spec.chamber or wanted.nozzle_mm == machine.nozzle_mm else wanted.nozzle_mm
    what = f"load {material}" + (f", nozzle {nozzle_mm:g} mm" if nozzle_mm else "")
    what = f"change the spool: {short.what}" if short is not None else what
    at = step.start_at if step.operator_at is None else step.operator_at
    from_at = max(machine.ready_at, machine.since)
    command = obstacle.remedy.strip("`")
    return [Task(machine.name, "load", what, command, at, from_at, material=material, nozzle_mm=nozzle_mm)]


def _next_wanted(
    farm: Farm, schedule: Schedule, shop: Shop, machine: Machine, spec: MachineSpec
) -> tuple[Step | None, NewBuild | Build | None]:
    for step in schedule.steps.get(machine.name, ()):
        found = still_wanted(farm, shop, spec, step, {}, set())
        if found is not None:
            return step, farm.builds[found] if isinstance(found, str) else found
    return None, None
