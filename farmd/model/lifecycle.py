"""The lifecycles of jobs, builds, runs and machines, as transition tables.

This is the only place that says which state follows which. `apply` asks here before it changes
an entity, the property tests walk these tables, and the diagrams in docs/LIFECYCLES.md are drawn
from them (`python -m farmd.model.lifecycle`), so none of the three can disagree. The module knows
states and events by name; it never knows entities, times or reasons.

**Job**: a line of demand. It is OPEN while good parts are missing, HELD while a person stopped
it, DONE when the good parts are there, CANCELLED by a person. Scrap leaves it OPEN, so the
demand tops itself up. Raising the quantity of a DONE job reopens it while parts of it are still on
machines or in their route; after that it is closed for good, and more is a new job.

**Build**: what one machine makes in one cycle. QUEUED belongs to the build, not to the run:
when a run surely did not start, its build is QUEUED again and the next attempt is a new run.
A QUEUED build whose demand has gone (job cancelled) is WITHDRAWN. A FAILED one may be gone on
with, by a new run and only where a person says so, while what was made of it is on the machine still.

**Run**: one attempt on one machine. INTENT is on disk before the first byte that can move
anything. SENT is written when the start has been handed over, once. RUNNING needs evidence from
the machine. Whoever cannot tell (a link or daemon lost between INTENT and evidence) goes to
UNCERTAIN, which only evidence or a person leaves. Nothing here ends a run by a time-out.

**Machine**: what its link last told. OFFLINE means no link; BUSY a run of ours; FOREIGN a run
that nobody here started; FAULT that it needs a person. Being held, and having a permit, are
separate facts about a machine and not states of this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from farmd.model.errors import ErrorCode, Refused


class JobState(StrEnum):
    OPEN = "open"
    HELD = "held"
    DONE = "done"
    CANCELLED = "cancelled"


class BuildState(StrEnum):
    QUEUED = "queued"
    ASSIGNED = "assigned"
    DONE = "done"
    FAILED = "failed"
    WITHDRAWN = "withdrawn"


class RunState(StrEnum):
    INTENT = "intent"
    SENT = "sent"
    RUNNING = "running"
    PAUSED = "paused"
    UNCERTAIN = "uncertain"
    ENDED = "ended"


class MachineState(StrEnum):
    OFFLINE = "offline"
    IDLE = "idle"
    BUSY = "busy"
    FOREIGN = "foreign"
    FAULT = "fault"


JOB: Mapping[tuple[JobState, str], JobState] = {
    (JobState.OPEN, "hold"): JobState.HELD,
    (JobState.HELD, "release"): JobState.OPEN,
    (JobState.OPEN, "fulfil"): JobState.DONE,
    (JobState.HELD, "fulfil"): JobState.DONE,
    (JobState.OPEN, "cancel"): JobState.CANCELLED,
    (JobState.HELD, "cancel"): JobState.CANCELLED,
    (JobState.DONE, "reopen"): JobState.OPEN,
}

BUILD: Mapping[tuple[BuildState, str], BuildState] = {
    (BuildState.QUEUED, "assign"): BuildState.ASSIGNED,
    (BuildState.QUEUED, "withdraw"): BuildState.WITHDRAWN,
    (BuildState.ASSIGNED, "requeue"): BuildState.QUEUED,
    (BuildState.ASSIGNED, "finish"): BuildState.DONE,
    (BuildState.ASSIGNED, "fail"): BuildState.FAILED,
    (BuildState.FAILED, "go-on"): BuildState.ASSIGNED,
}

RUN: Mapping[tuple[RunState, str], RunState] = {
    (RunState.INTENT, "send"): RunState.SENT,
    (RunState.INTENT, "start"): RunState.RUNNING,
    (RunState.INTENT, "end"): RunState.ENDED,
    (RunState.INTENT, "doubt"): RunState.UNCERTAIN,
    (RunState.SENT, "start"): RunState.RUNNING,
    (RunState.SENT, "end"): RunState.ENDED,
    (RunState.SENT, "doubt"): RunState.UNCERTAIN,
    (RunState.RUNNING, "pause"): RunState.PAUSED,
    (RunState.PAUSED, "resume"): RunState.RUNNING,
    (RunState.RUNNING, "end"): RunState.ENDED,
    (RunState.PAUSED, "end"): RunState.ENDED,
    (RunState.RUNNING, "doubt"): RunState.UNCERTAIN,
    (RunState.PAUSED, "doubt"): RunState.UNCERTAIN,
    (RunState.UNCERTAIN, "start"): RunState.RUNNING,
    (RunState.UNCERTAIN, "pause"): RunState.PAUSED,
    (RunState.UNCERTAIN, "end"): RunState.ENDED,
}

MACHINE: Mapping[tuple[MachineState, str], MachineState] = {
    **{(state, "see-idle"): MachineState.IDLE for state in MachineState},
    **{(state, "see-busy"): MachineState.BUSY for state in MachineState},
    **{(state, "see-foreign"): MachineState.FOREIGN for state in MachineState},
    **{(state, "fault"): MachineState.FAULT for state in MachineState},
    **{(state, "lose"): MachineState.OFFLINE for state in MachineState},
}

ILLEGAL_TRANSITION = ErrorCode(
    "illegal-transition",
    "what was asked does not follow from the present state",
    "look at the present state first (`farmctl job`, `farmctl machine`)",
)


S = TypeVar("S", bound=StrEnum)


def step(table: Mapping[tuple[S, str], S], state: S, event: str, *, where: str) -> S:
    """The state after `event`; raises `Refused` when the table has no such step."""
    after = table.get((state, event))
    if after is None:
        raise Refused(ILLEGAL_TRANSITION, f"cannot {event} while {state.value}", where=where)
    return after


def diagram(table: Mapping[tuple[S, str], S]) -> str:
    """A Mermaid state diagram of one table, steps in table order, equal ends merged."""
    labels: dict[tuple[S, S], list[str]] = {}
    for (before, event), after in table.items():
        labels.setdefault((before, after), []).append(event)
    rows = [f"    {a.name} --> {b.name}: {', '.join(events)}" for (a, b), events in labels.items()]
    return "\n".join(["```mermaid", "stateDiagram-v2", *rows, "```"])


def document() -> str:
    """The text of docs/LIFECYCLES.md."""
    prose = [part.replace("\n", " ").strip() for part in (__doc__ or "").split("\n\n")]
    by_name = {part.split("**")[1]: part for part in prose if part.startswith("**")}
    tables: dict[str, str] = {
        "Job": diagram(JOB),
        "Build": diagram(BUILD),
        "Run": diagram(RUN),
        "Machine": diagram(MACHINE),
    }
    sections = [f"## {name}\n\n{by_name[name]}\n\n{picture}" for name, picture in tables.items()]
    head = (
        "# Lifecycles\n\nDrawn from the tables in `farmd/model/lifecycle.py`; do not edit by hand\n"
        "(`python -m farmd.model.lifecycle > docs/LIFECYCLES.md`).\n\n"
    )
    return head + "\n\n".join(sections) + "\n"


if __name__ == "__main__":
    print(document(), end="")
