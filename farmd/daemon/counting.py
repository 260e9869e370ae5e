"""What came off a machine, by job: a person's numbers checked against the build and completed. Pure.

A person gives numbers for the whole build, or for each job of it. What they leave out follows from
how the run ended where that is certain, and is asked for where it is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from farmd.model import facts as f
from farmd.model.errors import Refused
from farmd.model.farm import Farm
from farmd.model.lookup import BAD_COUNT
from farmd.model.machine import Machine
from farmd.model.work import PRINT, Build, Outcome, Run


@dataclass(frozen=True, slots=True)
class Counted:
    """Good parts and scrap as a person says; None is not said."""

    good: int | None = None
    scrap: int | None = None


NOTHING_SAID = Counted()


def counts_of(
    build: Build, run: Run, total: Counted = NOTHING_SAID, by_job: Mapping[str, Counted] | None = None
) -> tuple[f.ItemCount, ...]:
    """What came off, for each job of the build. Raises `Refused(BAD_COUNT)`.

    Without numbers all parts of a run that ended well are good and those of a failed print lost. What
    a failed run at a station has left of its parts is for a person to say. Numbers for the whole of a
    build of several jobs serve only where all its parts are the same; else `by_job` tells them apart.
    """
    by_job = by_job or {}
    if by_job and total != NOTHING_SAID:
        raise Refused(
            BAD_COUNT, "give numbers for the whole build or for its jobs, not both", where=run.machine
        )
    parts = {item.job_id: item.parts for item in build.items}
    if strange := [job_id for job_id in by_job if job_id not in parts]:
        what = f"{strange[0]} has no parts in {build.id}, which is of {', '.join(parts)}"
        raise Refused(BAD_COUNT, what, where=run.machine)
    if by_job:
        return tuple(
            f.ItemCount(job_id, *_completed(build, run, count, by_job.get(job_id, NOTHING_SAID), job_id))
            for job_id, count in parts.items()
        )
    good, scrap = _completed(build, run, build.parts, total)
    if len(parts) == 1:
        return (f.ItemCount(build.items[0].job_id, good, scrap),)
    if good not in (0, build.parts) or scrap not in (0, build.parts):
        raise Refused(
            BAD_COUNT,
            f"the {build.parts} parts are of {', '.join(parts)}: whose are the {good} good and the {scrap} scrap?",
            where=run.machine,
            remedy=f"say it for each job, such as `farmctl clear {run.machine} --scrap {build.items[-1].job_id}=1`",
        )
    return tuple(
        f.ItemCount(job_id, count if good else 0, count if scrap else 0) for job_id, count in parts.items()
    )


def how_to_clear(farm: Farm, machine: Machine) -> str:
    """The command that clears a machine; with numbers to fill in where it is refused without."""
    run = farm.runs.get(machine.uncleared_run_id or "")
    build = farm.builds.get(run.build_id) if run else None
    if run is None or build is None or not _must_be_counted(build, run):
        return f"farmctl clear {machine.name}"
    return _with_numbers(build, run)


def _completed(build: Build, run: Run, parts: int, said: Counted, job_id: str = "") -> tuple[int, int]:
    """Good parts and scrap of `parts`, what was not said included."""
    if said == NOTHING_SAID and _must_be_counted(build, run):
        raise Refused(
            BAD_COUNT,
            f"the run did not end well, so somebody must say how many of the {parts} parts"
            f"{f' of {job_id}' if job_id else ''} are good",
            where=run.machine,
            remedy=f"`{_with_numbers(build, run)}`, where N may be 0; the others are scrap",
        )
    may_be_fewer = run.outcome is not Outcome.OK and build.operation == PRINT
    good, scrap = said.good, said.scrap
    if good is None:
        good = 0 if may_be_fewer else parts - (scrap or 0)
    if scrap is None:
        scrap = 0 if may_be_fewer else parts - good
    found = good + scrap
    if good < 0 or scrap < 0 or found > parts or (found < parts and not may_be_fewer):
        what = f"{good} good and {scrap} scrap do not add up to {parts} parts"
        raise Refused(BAD_COUNT, f"{what} of {job_id}" if job_id else what, where=run.machine)
    return good, scrap


def _must_be_counted(build: Build, run: Run) -> bool:
    """What comes to a station is made already; that a run failed there does not say that the parts are lost."""
    return build.operation != PRINT and run.outcome is not Outcome.OK


def _with_numbers(build: Build, run: Run) -> str:
    jobs = [item.job_id for item in build.items]
    numbers = ["--good N"] if len(jobs) == 1 else [f"--good {job_id}=N" for job_id in jobs]
    return f"farmctl clear {run.machine} {' '.join(numbers)}"
