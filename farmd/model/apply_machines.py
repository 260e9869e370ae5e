"""What facts about machines change, clearing and counting included; asked by `apply` alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from farmd.model import facts as f
from farmd.model.apply_safety import require_normal
from farmd.model.errors import Refused
from farmd.model.farm import Entity, Farm, Gone
from farmd.model.lifecycle import BuildState, JobState, MachineState, RunState
from farmd.model.lookup import (
    ALREADY_CLEAR,
    BAD_COUNT,
    MACHINE_KNOWN,
    NOT_CLEARABLE,
    RUN_OPEN,
    find_build,
    find_job,
    find_machine,
    find_run,
)
from farmd.model.machine import Machine, Permit
from farmd.model.turn import fulfilled, turn
from farmd.model.work import PRINT, Build, Job, Lot


def machine_added(farm: Farm, fact: f.MachineAdded) -> Iterable[Entity]:
    if fact.machine in farm.machines:
        raise Refused(MACHINE_KNOWN, where=fact.machine)
    return [Machine(fact.machine, since=fact.at, material=fact.material, nozzle_mm=fact.nozzle_mm)]


def machine_removed(farm: Farm, fact: f.MachineRemoved) -> Iterable[Entity]:
    machine = find_machine(farm, fact.machine)
    if machine.run_id or machine.uncleared_run_id:
        raise Refused(RUN_OPEN, where=machine.name)
    return [Gone(machine.name)]


def machine_connected(farm: Farm, fact: f.MachineConnected) -> Iterable[Entity]:
    machine = find_machine(farm, fact.machine)
    event = "fault" if fact.seen == "fault" else f"see-{fact.seen}"
    fault = machine.fault if fact.seen == "fault" else None
    if fact.seen == "foreign":
        # Whatever was clear is not any more.
        return [turn(machine, event, fact.at, fault=None, foreign=machine.foreign or "unnamed", permit=None)]
    return [turn(machine, event, fact.at, fault=fault, foreign=None)]


def machine_lost(farm: Farm, fact: f.MachineLost) -> Iterable[Entity]:
    return [turn(find_machine(farm, fact.machine), "lose", fact.at)]


def machine_faulted(farm: Farm, fact: f.MachineFaulted) -> Iterable[Entity]:
    return [turn(find_machine(farm, fact.machine), "fault", fact.at, fault=fact.fault)]


def machine_recovered(farm: Farm, fact: f.MachineRecovered) -> Iterable[Entity]:
    machine = find_machine(farm, fact.machine)
    event = "see-busy" if machine.run_id in farm.runs and _moving(farm, machine) else "see-idle"
    return [turn(machine, event, fact.at, fault=None)]


def _moving(farm: Farm, machine: Machine) -> bool:
    run = farm.runs[machine.run_id or ""]
    return run.state in (RunState.RUNNING, RunState.PAUSED)


def machine_held(farm: Farm, fact: f.MachineHeld) -> Iterable[Entity]:
    return [replace(find_machine(farm, fact.machine), held=fact.reason or "held")]


def machine_released(farm: Farm, fact: f.MachineReleased) -> Iterable[Entity]:
    return [replace(find_machine(farm, fact.machine), held=None)]


def foreign_started(farm: Farm, fact: f.ForeignRunStarted) -> Iterable[Entity]:
    machine = find_machine(farm, fact.machine)
    return [turn(machine, "see-foreign", fact.at, permit=None, foreign=fact.name or "unnamed")]


def foreign_ended(farm: Farm, fact: f.ForeignRunEnded) -> Iterable[Entity]:
    return [turn(find_machine(farm, fact.machine), "see-idle", fact.at, permit=None, foreign=None)]


def permit_voided(farm: Farm, fact: f.PermitVoided) -> Iterable[Entity]:
    return [replace(find_machine(farm, fact.machine), permit=None)]


def noted(farm: Farm, fact: f.MachineAsked | f.CommandSent | f.CommandAnswered) -> Iterable[Entity]:
    """What somebody asked of a machine changes nothing by itself; the machine's own word does."""
    find_machine(farm, fact.machine)
    return []


def machine_cleared(farm: Farm, fact: f.MachineCleared) -> Iterable[Entity]:
    require_normal(farm)
    machine = find_machine(farm, fact.machine)
    if machine.run_id or machine.state in (MachineState.BUSY, MachineState.FOREIGN):
        raise Refused(NOT_CLEARABLE, "something is running on it", where=machine.name)
    if machine.permit is not None:
        raise Refused(ALREADY_CLEAR, where=machine.name)
    if fact.run_id != machine.uncleared_run_id:
        raise Refused(BAD_COUNT, f"what lies on it is {machine.uncleared_run_id}", where=machine.name)
    permit = Permit(fact.permit_id, fact.at, fact.actor)
    cleared = replace(machine, permit=permit, uncleared_run_id=None, ready_at=0.0)
    if fact.run_id is None:
        return [cleared]
    run = replace(find_run(farm, fact.run_id), cleared=True)
    build = replace(find_build(farm, run.build_id), cleared=True)
    counts = {count.job_id: count for count in fact.counts}
    if len(counts) != len(fact.counts) or counts.keys() != {item.job_id for item in build.items}:
        raise Refused(BAD_COUNT, "each job of the build is counted once", where=machine.name)
    jobs = [
        _counted(find_job(farm, i.job_id), build, i.parts, counts[i.job_id], fact.at) for i in build.items
    ]
    return [*jobs, build, run, cleared]


def _counted(job: Job, build: Build, parts: int, count: f.ItemCount, at: float) -> Job:
    """The job after its share of a build was counted."""
    failed = build.state is BuildState.FAILED
    found = count.good + count.scrap
    may_be_fewer = failed and build.operation == PRINT
    if count.good < 0 or count.scrap < 0 or found > parts or (found < parts and not may_be_fewer):
        raise Refused(BAD_COUNT, f"{count.good} good and {count.scrap} scrap of {parts}", where=job.id)
    if failed:
        made = job.made + (found if build.operation == PRINT else 0)
        job = replace(job, made=made)
    else:
        job = replace(job, in_work=job.in_work - parts)
    job = replace(job, scrap=job.scrap + count.scrap, open_builds=job.open_builds - 1)
    if build.operation != job.route[-1]:
        return replace(job, in_work=job.in_work + count.good)
    wanted = 0 if job.state is JobState.CANCELLED else max(0, job.quantity - job.good)
    good = min(count.good, wanted)
    return fulfilled(replace(job, good=job.good + good, surplus=job.surplus + count.good - good), at)


def material_loaded(farm: Farm, fact: f.MaterialLoaded) -> Iterable[Entity]:
    machine = find_machine(farm, fact.machine)
    if machine.run_id:
        raise Refused(RUN_OPEN, where=machine.name)
    nozzle_mm = machine.nozzle_mm if fact.nozzle_mm is None else fact.nozzle_mm
    machine = replace(machine, material=fact.material, lot_id=fact.lot_id, nozzle_mm=nozzle_mm)
    if fact.lot_id is None:
        return [machine]
    lot = farm.lots.get(fact.lot_id) or Lot(fact.lot_id, fact.material or "", 0.0)
    if fact.grams is not None:
        lot = replace(lot, grams_left=fact.grams)
    return [machine, lot]
