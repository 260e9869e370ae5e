"""Open and closed work together: what memory has, and from the store what has left it.

Memory is newer than the store, so it wins wherever both know something. Knows no HTTP.
"""

from __future__ import annotations

from farmd.api.fields import is_name
from farmd.daemon.service import Service
from farmd.daemon.views import View, build_view, run_view
from farmd.driver import offload
from farmd.model.errors import Refused
from farmd.model.lookup import UNKNOWN_JOB, UNKNOWN_RUN
from farmd.model.work import Build, FileRecord, Job, Run


async def find_job(service: Service, job_id: str) -> Job:
    """The job, open or closed. Raises `Refused(UNKNOWN_JOB)`."""
    job = service.farm.jobs.get(job_id)
    if job is None and is_name(job_id):
        job = await offload(lambda: service.store.job(job_id))
    if job is None:
        raise Refused(UNKNOWN_JOB, "there is no job of this id", where=job_id[:80])
    return job


async def find_run_view(service: Service, run_id: str) -> View:
    """The run, open or closed. Raises `Refused(UNKNOWN_RUN)`."""
    run = service.farm.runs.get(run_id)
    if run is None and is_name(run_id):
        run = await offload(lambda: service.store.run(run_id))
    if run is None:
        raise Refused(UNKNOWN_RUN, "there is no run of this id", where=run_id[:80])
    return (await _with_builds(service, [run]))[0]


async def find_file(service: Service, sha256: str) -> FileRecord | None:
    file = service.farm.files.get(sha256)
    return file if file is not None else await offload(lambda: service.store.file(sha256))


async def build_views(service: Service, job_id: str) -> list[View]:
    """All builds with parts of a job, the newest first."""
    stored = await offload(lambda: service.store.builds_of(job_id))
    builds = {build.id: build for build in stored}
    open_builds = service.farm.builds.values()
    builds |= {b.id: b for b in open_builds if any(item.job_id == job_id for item in b.items)}
    return [build_view(b) for b in sorted(builds.values(), key=lambda b: b.created_at, reverse=True)]


async def run_views(
    service: Service, *, machine: str | None = None, job: str | None = None, limit: int = 100
) -> list[View]:
    """Runs on a machine and with parts of a job, where named; the newest first."""
    stored = await offload(lambda: service.store.runs(machine, job, limit))
    runs = {run.id: run for run in stored}
    farm = service.farm
    for run in farm.runs.values():
        items = farm.builds[run.build_id].items if run.build_id in farm.builds else ()
        if machine in (None, run.machine) and (job is None or any(item.job_id == job for item in items)):
            runs[run.id] = run
    newest = sorted(runs.values(), key=lambda run: run.intent_at, reverse=True)[:limit]
    return await _with_builds(service, newest)


async def _with_builds(service: Service, runs: list[Run]) -> list[View]:
    builds: dict[str, Build] = {}
    closed = []
    for build_id in {run.build_id for run in runs}:
        build = service.farm.builds.get(build_id)
        if build is None:
            closed.append(build_id)
        else:
            builds[build_id] = build
    if closed:
        found = await offload(lambda: [service.store.build(build_id) for build_id in closed])
        builds |= {build.id: build for build in found if build is not None}
    return [run_view(run, builds.get(run.build_id)) for run in runs]
