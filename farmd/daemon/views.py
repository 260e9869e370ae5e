"""The farm as people and programs look at it: plain JSON values for the API, farmctl and the live view.

Pure. Times are ISO 8601 in UTC; durations seconds; field names carry their units.
"""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

from farmd.daemon.live import Live
from farmd.daemon.rules import readiness
from farmd.daemon.schedule import Schedule, Step
from farmd.daemon.shop import Shop
from farmd.daemon.snapshot import expected_end
from farmd.daemon.walk import Task
from farmd.daemon.why import Waiting, Why, steps_for
from farmd.model.access import Token
from farmd.model.codec import encode
from farmd.model.facts import Fact
from farmd.model.farm import Farm
from farmd.model.lifecycle import JobState, MachineState, RunState
from farmd.model.safe_mode import SafeMode
from farmd.model.work import Build, Job, Run

View = dict[str, Any]
_LATEST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()


def iso(at: float | None) -> str | None:
    """UTC seconds to ISO 8601 with milliseconds, None to None; what is later than it can say, to its latest."""
    if at is None:
        return None
    return (
        datetime.fromtimestamp(min(at, _LATEST), UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )


def job_view(job: Job, farm: Farm, schedule: Schedule, now_s: float) -> View:
    """A job with its counts and when the plan ends it."""
    running = [
        run for run in farm.runs.values() if _makes(farm, run, job) and run.state is not RunState.ENDED
    ]
    planned_end = None
    if job.state in (JobState.OPEN, JobState.HELD):
        ends = [step.end_at for step in steps_for(farm, schedule, job)]
        ends += [expected_end(run, farm.builds.get(run.build_id)) for run in running]
        planned_end = max(ends, default=None)
        end = planned_end or now_s
    else:
        end = job.closed_at or 0.0
    return {
        "id": job.id,
        "state": job.state.value,
        "design": job.design,
        "file": job.file_name,
        "file_sha256": job.file_sha256,
        "process": job.process,
        "quantity": job.quantity,
        "good": job.good,
        "scrap": job.scrap,
        "surplus": job.surplus,
        "made": job.made,
        "in_work": job.in_work,
        "missing": job.missing,
        "running": len(running),
        "parts_per_plate": job.parts_per_plate,
        "duration_s": job.duration_s,
        "mass_g": job.mass_g,
        "material": job.material,
        "nozzle_mm": job.nozzle_mm,
        "group": job.group,
        "route": list(job.route),
        "owner": job.owner,
        "priority": job.priority,
        "due_at": iso(job.due_at),
        "planned_end_at": iso(planned_end),
        "late": job.due_at is not None and end > job.due_at,
        "submitted_at": iso(job.submitted_at),
        "closed_at": iso(job.closed_at),
    }


def machine_view(name: str, farm: Farm, shop: Shop, schedule: Schedule, live: Live | None) -> View:
    """A machine: what it does, what it waits for, what comes next."""
    machine, spec = farm.machines[name], shop.specs.get(name)
    run = farm.runs.get(machine.run_id or "")
    obstacle = readiness(machine, farm)
    fault = machine.fault if machine.state is MachineState.FAULT else None
    steps = schedule.steps.get(name, ())
    return {
        "name": name,
        "state": machine.state.value,
        "since": iso(machine.since),
        "driver": spec.driver if spec else None,
        "group": spec.group if spec else None,
        "process": spec.process if spec else None,
        "material": machine.material,
        "nozzle_mm": machine.nozzle_mm,
        "lot": machine.lot_id,
        "permit": machine.permit.id if machine.permit else None,
        "held": machine.held,
        "fault": encode(fault) if fault else None,
        "foreign": machine.foreign if machine.state is MachineState.FOREIGN else None,
        "waits_for": None
        if obstacle is None
        else {"rule": obstacle.rule, "what": obstacle.what, "remedy": obstacle.remedy},
        "run": run_view(run, farm.builds.get(run.build_id)) if run else None,
        "uncleared_run": machine.uncleared_run_id,
        "ready_at": iso(machine.ready_at) if machine.ready_at else None,
        "next": step_view(steps[0]) if steps else None,
        "fraction": live.fraction if live and run else None,
        "layer": live.layer if live and run else None,
        "remaining_s": live.remaining_s if live and run else None,
        "actual_c": dict(live.actual_c) if live else {},
        "target_c": dict(live.target_c) if live else {},
        "attention": dict(live.attention) if live else {},
        "health": encode(live.health) if live and live.health else None,
        "firmware": live.firmware if live else "",
        "capabilities": encode(shop.capabilities[name]) if name in shop.capabilities else None,
    }


def run_view(run: Run, build: Build | None) -> View:
    """A run and, while it is open, when it should end."""
    return {
        "id": run.id,
        "build": run.build_id,
        "machine": run.machine,
        "state": run.state.value,
        "outcome": run.outcome.value if run.outcome else None,
        "reason": run.reason,
        "evidence": run.evidence,
        "intent_at": iso(run.intent_at),
        "started_at": iso(run.started_at),
        "ended_at": iso(run.ended_at),
        "expected_end_at": iso(expected_end(run, build)) if build and run.ended_at is None else None,
        "file_sha256": run.file_sha256,
        "place": encode(run.place) if run.place else None,
        "used_g": run.used_g,
        "cleared": run.cleared,
        "continues": run.continues,
        "items": [[item.job_id, item.parts] for item in build.items] if build else [],
        "operation": build.operation if build else None,
    }


def build_view(build: Build) -> View:
    """A build: what it makes, of which jobs."""
    return {
        "id": build.id,
        "state": build.state.value,
        "operation": build.operation,
        "items": [[item.job_id, item.parts] for item in build.items],
        "parts": build.parts,
        "machine": build.machine,
        "material": build.material,
        "duration_s": build.duration_s,
        "follows": build.follows,
        "created_at": iso(build.created_at),
        "cleared": build.cleared,
    }


def step_view(step: Step) -> View:
    return {
        "machine": step.machine,
        "work": step.work,
        "run": step.run_name,
        "items": [list(item) for item in step.items],
        "operator_at": iso(step.operator_at),
        "start_at": iso(step.start_at),
        "end_at": iso(step.end_at),
    }


def plan_view(schedule: Schedule) -> View:
    """The published plan: its steps in order of time, and what it leaves out and why."""
    return {
        "revision": schedule.revision,
        "made_at": iso(schedule.made_at),
        "policy": schedule.policy,
        "status": schedule.status,
        "learnt": schedule.learnt,
        "steps": [step_view(step) for step in schedule.all_steps()],
        "finishing": [{**step_view(step), "operation": step.operation} for step in schedule.finishing],
        "left_out": dict(schedule.left_out),
        "reasons": list(schedule.reasons),
    }


def task_view(task: Task) -> View:
    """One line of the walk list."""
    view = dataclasses.asdict(task)
    view["at"], view["from_at"] = iso(task.at), iso(task.from_at)
    return view


def why_view(answer: Why) -> View:
    view = dataclasses.asdict(answer)
    view["start_at"], view["end_at"] = iso(answer.start_at), iso(answer.end_at)
    view["machines"] = [{**each, "end_at": iso(each["end_at"])} for each in view["machines"]]
    view["waiting"] = [_waiting_view(each) for each in answer.waiting]
    return view


def _waiting_view(waiting: Waiting) -> View:
    view = dataclasses.asdict(waiting)
    for key in ("start_at", "end_at", "alone_end_at"):
        view[key] = iso(view[key])
    view["waits"] = [{**each, "until": iso(each["until"])} for each in view["waits"]]
    view["passed"] = list(view["passed"])
    return view


def token_view(token: Token, now_s: float) -> View:
    """A token as it stands; of its secret nothing."""
    state = "revoked" if token.revoked_at is not None else "good" if token.is_good(now_s) else "expired"
    return {
        "name": token.name,
        "role": token.role.value,
        "state": state,
        "added_at": iso(token.added_at),
        "expires_at": iso(token.expires_at),
        "revoked_at": iso(token.revoked_at),
    }


def fact_view(seq: int, fact: Fact) -> View:
    """A record of the journal as an event."""
    return event_view(seq, type(fact).__name__, encode(fact))


def event_view(seq: int, kind: str, body: View) -> View:
    """The same from the fields of a fact as JSON values, which is how the store gives them."""
    fields = dict(body)
    at, actor = fields.pop("at"), fields.pop("actor")
    # The hash of a token is of no use to anybody who reads what happened.
    fields.pop("sha256", None)
    if "file" in fields:
        # The summary of a file, its picture included, is asked for by itself.
        fields["file"] = {key: value for key, value in fields["file"].items() if key != "summary"}
    return {"seq": seq, "at": iso(at), "actor": actor, "kind": kind, **fields}


def _makes(farm: Farm, run: Run, job: Job) -> bool:
    build = farm.builds.get(run.build_id)
    return build is not None and any(item.job_id == job.id for item in build.items)


def safe_mode_view(safe: SafeMode) -> View:
    return {
        "cause": safe.cause.value,
        "what": safe.what,
        "since": iso(safe.since),
        "remedy": safe.remedy,
    }
