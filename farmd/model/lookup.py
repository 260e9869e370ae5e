"""Looking open entities up, and what is refused when a fact does not follow from the state."""

from __future__ import annotations

from farmd.model.errors import ErrorCode, Refused
from farmd.model.farm import Farm
from farmd.model.machine import Machine
from farmd.model.work import Build, Job, Run

UNKNOWN_JOB = ErrorCode("unknown-job", "there is no open job of this id", "list them with `farmctl jobs`")
UNKNOWN_BUILD = ErrorCode(
    "unknown-build", "there is no open build of this id", "list jobs with `farmctl jobs`"
)
UNKNOWN_RUN = ErrorCode(
    "unknown-run", "there is no open run of this id", "list machines with `farmctl machines`"
)
UNKNOWN_MACHINE = ErrorCode(
    "unknown-machine", "there is no machine of this name", "list them with `farmctl machines`"
)
NOT_STARTABLE = ErrorCode(
    "not-startable",
    "the machine may not be started now",
    "see what it waits for with `farmctl next`",
)
NOT_CONTINUABLE = ErrorCode(
    "not-continuable",
    "this run cannot be gone on with",
    "a run can be while its part is on the machine as it was, its place is known and the machine's driver "
    "can find its position anew; else clear the machine with `farmctl clear NAME`",
)
STALE_FENCE = ErrorCode(
    "stale-fence",
    "another daemon has taken the farm since",
    "stop this daemon; only the newest may start machines",
)
NOT_CLEARABLE = ErrorCode(
    "not-clearable",
    "the machine cannot be cleared now",
    "wait for its run to end, or stop it first (`farmctl stop NAME`)",
)
ALREADY_CLEAR = ErrorCode(
    "already-clear", "the machine is clear and has a permit already", "nothing needs to be done"
)
BAD_COUNT = ErrorCode(
    "bad-count",
    "the numbers of parts do not fit what was on the machine",
    "see how many parts the build has with `farmctl machine NAME`",
)
RUN_OPEN = ErrorCode(
    "run-open", "a run is still open on this machine", "stop it or wait for its end, then try again"
)
MACHINE_KNOWN = ErrorCode(
    "machine-known", "there is a machine of this name already", "give the new machine another name"
)
BAD_ROUTE = ErrorCode(
    "bad-route",
    "the operation does not fit the route of the parts",
    "a route begins with print; see the job's own with `farmctl job ID`",
)


def find_job(farm: Farm, job_id: str) -> Job:
    if (job := farm.jobs.get(job_id)) is None:
        raise Refused(UNKNOWN_JOB, where=job_id)
    return job


def find_build(farm: Farm, build_id: str) -> Build:
    if (build := farm.builds.get(build_id)) is None:
        raise Refused(UNKNOWN_BUILD, where=build_id)
    return build


def find_run(farm: Farm, run_id: str) -> Run:
    if (run := farm.runs.get(run_id)) is None:
        raise Refused(UNKNOWN_RUN, where=run_id)
    return run


def find_machine(farm: Farm, name: str) -> Machine:
    if (machine := farm.machines.get(name)) is None:
        raise Refused(UNKNOWN_MACHINE, where=name)
    return machine
