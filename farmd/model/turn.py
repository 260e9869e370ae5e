"""Small steps that several rules share: turning a machine, fulfilling a job."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from farmd.model.lifecycle import JOB, MACHINE, step
from farmd.model.machine import Machine
from farmd.model.work import Job


def turn(machine: Machine, event: str, at: float, **changes: Any) -> Machine:
    state = step(MACHINE, machine.state, event, where=machine.name)
    since = machine.since if state is machine.state else at
    return replace(machine, state=state, since=since, **changes)


def fulfilled(job: Job, at: float) -> Job:
    if job.good >= job.quantity and (job.state, "fulfil") in JOB:
        return replace(job, state=JOB[job.state, "fulfil"], closed_at=at)
    return job
