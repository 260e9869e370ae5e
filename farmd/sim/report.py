"""What a simulated time came to, read back from the farm's own record.

Every figure follows from the journal's tables and what the people did, never from the wall clock, so
that the same seed gives the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from farmd.model.lifecycle import JobState
from farmd.model.work import Job, Outcome, Run
from farmd.sim.people import Worked
from farmd.store import Store

ALL = 1 << 31


@dataclass(frozen=True, slots=True)
class Span:
    """The simulated time: from, until (UTC seconds)."""

    begins: float
    ends: float

    @property
    def seconds(self) -> float:
        return self.ends - self.begins


def report(store: Store, span: Span, machines: dict[str, str], worked: Worked) -> dict[str, Any]:
    """The figures. `machines` are groups by machine name."""
    jobs = store.jobs(limit=ALL)
    runs = store.runs(limit=ALL)
    last = store.events(newest_first=True, limit=1)
    return {
        "days": round(span.seconds / 86400.0, 6),
        "jobs": _jobs(jobs, span),
        "parts": {
            "good": sum(job.good for job in jobs),
            "scrap": sum(job.scrap for job in jobs),
            "surplus": sum(job.surplus for job in jobs),
            "made": sum(job.made for job in jobs),
        },
        "runs": {
            **{outcome.value: sum(run.outcome is outcome for run in runs) for outcome in Outcome},
            "open": sum(run.outcome is None for run in runs),
        },
        "utilisation": _utilisation(runs, span, machines),
        "people": {
            "minutes": round(worked.seconds / 60.0, 3),
            "clears": worked.clears,
            "changeovers": worked.changeovers,
            "repairs": worked.repairs,
            "looks": worked.looks,
        },
        "journal": {"facts": last[0].seq if last else 0, "head": store.load().last_hash.hex()},
    }


def _jobs(jobs: list[Job], span: Span) -> dict[str, Any]:
    done = [job for job in jobs if job.state is JobState.DONE]
    late = [job for job in jobs if _tardiness_s(job, span) > 0]
    return {
        "submitted": len(jobs),
        "done": len(done),
        "open": sum(job.state in (JobState.OPEN, JobState.HELD) for job in jobs),
        "cancelled": sum(job.state is JobState.CANCELLED for job in jobs),
        "late": len(late),
        "weighted_tardiness_h": round(
            sum(job.priority * _tardiness_s(job, span) for job in jobs) / 3600.0, 3
        ),
    }


def _tardiness_s(job: Job, span: Span) -> float:
    """How long after its due date a job was done, or has been waiting at the end."""
    if job.due_at is None or job.state is JobState.CANCELLED:
        return 0.0
    return max(0.0, (job.closed_at or span.ends) - job.due_at)


def _utilisation(runs: list[Run], span: Span, machines: dict[str, str]) -> dict[str, float]:
    """Share of the time in which machines ran, by group and of all."""
    busy: dict[str, float] = {}
    for run in runs:
        if run.started_at is not None:
            seconds = min(run.ended_at or span.ends, span.ends) - run.started_at
            busy[run.machine] = busy.get(run.machine, 0.0) + max(0.0, seconds)
    groups: dict[str, list[str]] = {"all": list(machines)}
    for name, group in machines.items():
        groups.setdefault(group, []).append(name)
    return {
        group: round(sum(busy.get(name, 0.0) for name in names) / (span.seconds * len(names)), 6)
        for group, names in groups.items()
    }
