"""The books of a farm, kept part by part from the facts alone, to compare the farm with.

Written from the glossary and not from `apply`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from farmd.model import facts as f
from farmd.model.farm import Farm
from farmd.model.lifecycle import JobState
from farmd.model.work import Job, Outcome


@dataclass(eq=False)
class Part:
    """One piece: not made yet, made, or at its end (`good`, `scrap`, `surplus`)."""

    job: str
    made: bool = False
    end: str = ""


@dataclass
class BuildBook:
    operation: str
    parts: dict[str, list[Part]]
    follows: bool
    state: str = "queued"


@dataclass
class Books:
    """What the farm must be, from the accepted facts alone."""

    parts: dict[str, list[Part]] = field(default_factory=lambda: defaultdict(list))
    waiting: dict[str, list[Part]] = field(default_factory=lambda: defaultdict(list))
    builds: dict[str, BuildBook] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    quantity: dict[str, int] = field(default_factory=dict)
    state: dict[str, JobState] = field(default_factory=dict)
    runs: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Every run ever intended: its machine and build."""
    continuing: set[str] = field(default_factory=set)
    open_run: dict[str, str] = field(default_factory=dict)
    lies_on: dict[str, str] = field(default_factory=dict)
    permits: dict[str, str] = field(default_factory=dict)
    spent: set[str] = field(default_factory=set)
    fence: int = 0
    safe: set[str] = field(default_factory=set)
    """The causes of safe mode that are open."""

    def see(self, fact: f.Fact) -> None:
        match fact:
            case f.DaemonStarted():
                assert fact.fence > self.fence
                self.fence = fact.fence
            case f.JobSubmitted(job=job):
                self.jobs[job.id], self.quantity[job.id], self.state[job.id] = (
                    job,
                    job.quantity,
                    JobState.OPEN,
                )
            case f.JobEdited(job_id=job_id, quantity=int(quantity)):
                self.quantity[job_id] = quantity
            case f.JobHeld(job_id=job_id):
                self.state[job_id] = JobState.HELD
            case f.JobReleased(job_id=job_id):
                self.state[job_id] = JobState.OPEN
            case f.JobCancelled(job_id=job_id):
                self.state[job_id] = JobState.CANCELLED
            case f.BuildQueued():
                self._queued(fact)
            case f.BuildWithdrawn(build_id=build_id):
                build = self.builds[build_id]
                build.state = "withdrawn"
                for part in self._in(build):
                    part.end = "surplus" if build.follows else "never made"
            case f.SafeModeEntered():
                self.safe.add(fact.cause)
            case f.SafeModeLeft():
                self.safe.remove(fact.cause)
            case f.FarmRestored():
                assert fact.fence > self.fence
                self.fence = fact.fence
                self.permits.clear()
                self.safe.add("restored")
            case f.RunIntended():
                assert not self.safe
                assert fact.run_id not in self.runs
                assert fact.machine not in self.open_run
                assert fact.machine not in self.lies_on
                assert self.permits.pop(fact.machine) == fact.permit_id
                assert fact.permit_id not in self.spent
                assert fact.fence == self.fence
                assert self.builds[fact.build_id].state == "queued"
                self.spent.add(fact.permit_id)
                self.runs[fact.run_id] = (fact.machine, fact.build_id)
                self.open_run[fact.machine] = fact.run_id
                self.builds[fact.build_id].state = "assigned"
            case f.RunContinued():
                assert not self.safe
                machine, build_id = self.runs[fact.continues]
                assert (machine, build_id) == (fact.machine, fact.build_id)
                assert fact.run_id not in self.runs
                assert machine not in self.open_run
                assert self.lies_on.pop(machine) == fact.continues
                assert fact.permit_id not in self.spent
                assert fact.fence == self.fence
                assert self.builds[build_id].state == "failed"
                self.permits.pop(machine, None)
                self.spent.add(fact.permit_id)
                self.runs[fact.run_id] = (machine, build_id)
                self.continuing.add(fact.run_id)
                self.open_run[machine] = fact.run_id
                self.builds[build_id].state = "assigned"
            case f.RunEnded():
                self._ended(fact)
            case f.MachineCleared():
                self._cleared(fact)
            case f.PermitVoided() | f.ForeignRunStarted() | f.ForeignRunEnded() | f.MachineRemoved():
                self.permits.pop(fact.machine, None)
            case f.MachineConnected(seen="foreign"):
                self.permits.pop(fact.machine, None)
        for job_id in self.jobs:
            self._judge(job_id)

    def _judge(self, job_id: str) -> None:
        if self.state[job_id] is JobState.CANCELLED:
            return
        enough = self._ends(job_id)["good"] >= self.quantity[job_id]
        if enough:
            self.state[job_id] = JobState.DONE
        elif self.state[job_id] is JobState.DONE:
            self.state[job_id] = JobState.OPEN

    def _in(self, build: BuildBook) -> list[Part]:
        return [part for parts in build.parts.values() for part in parts]

    def _ends(self, job_id: str) -> Counter[str]:
        return Counter(part.end for part in self.parts[job_id])

    def _queued(self, fact: f.BuildQueued) -> None:
        assert fact.build_id not in self.builds
        held: dict[str, list[Part]] = {}
        for job_id, count in fact.items:
            if fact.follows:
                waiting = self.waiting[job_id]
                held[job_id], self.waiting[job_id] = waiting[:count], waiting[count:]
                assert len(held[job_id]) == count
            else:
                assert self.state[job_id] is not JobState.CANCELLED
                held[job_id] = [Part(job_id) for _ in range(count)]
                self.parts[job_id] += held[job_id]
        self.builds[fact.build_id] = BuildBook(fact.operation, held, fact.follows is not None)

    def _ended(self, fact: f.RunEnded) -> None:
        machine, build_id = self.runs[fact.run_id]
        assert self.open_run.pop(machine) == fact.run_id
        build = self.builds[build_id]
        if fact.outcome is Outcome.NOT_STARTED and fact.run_id not in self.continuing:
            build.state = "queued"
            return
        self.lies_on[machine] = fact.run_id
        build.state = "ok" if fact.outcome is Outcome.OK else "failed"
        if build.state == "ok":
            for part in self._in(build):
                part.made = True

    def _cleared(self, fact: f.MachineCleared) -> None:
        assert not self.safe
        assert fact.machine not in self.permits
        assert fact.machine not in self.open_run
        assert self.lies_on.pop(fact.machine, None) == fact.run_id
        self.permits[fact.machine] = fact.permit_id
        if fact.run_id is None:
            return
        build = self.builds[self.runs[fact.run_id][1]]
        build.state = "cleared"
        for count in fact.counts:
            parts = build.parts[count.job_id]
            good, rest = parts[: count.good], parts[count.good :]
            for part in good:
                part.made = True
                if build.operation != self.jobs[count.job_id].route[-1]:
                    self.waiting[count.job_id].append(part)
                elif self.state[count.job_id] is JobState.CANCELLED:
                    part.end = "surplus"
                else:
                    wanted = self._ends(count.job_id)["good"] < self.quantity[count.job_id]
                    part.end = "good" if wanted else "surplus"
            for part in rest[: count.scrap]:
                part.made, part.end = True, "scrap"
            for part in rest[count.scrap :]:
                assert not part.made
                part.end = "never made"

    def compare(self, farm: Farm) -> None:
        open_builds = {key: b for key, b in self.builds.items() if b.state not in ("cleared", "withdrawn")}
        assert farm.builds.keys() == open_builds.keys()
        for job_id in self.jobs:
            ends, parts = self._ends(job_id), self.parts[job_id]
            in_work = len(self.waiting[job_id]) + sum(
                len(b.parts.get(job_id, ())) for b in open_builds.values() if b.state != "failed"
            )
            builds = sum(job_id in b.parts for b in open_builds.values())
            over = self.state[job_id] in (JobState.DONE, JobState.CANCELLED) and not in_work and not builds
            assert (job_id not in farm.jobs) == over
            if over:
                assert sum(part.made and not part.end for part in parts) == 0
                continue
            job = farm.jobs[job_id]
            assert job.state is self.state[job_id]
            assert job.made == sum(part.made for part in parts)
            assert (job.good, job.scrap, job.surplus) == (ends["good"], ends["scrap"], ends["surplus"])
            on_the_way = sum(part.made and not part.end for part in parts)
            assert job.made == job.good + job.scrap + job.surplus + on_the_way
            assert (job.in_work, job.open_builds) == (in_work, builds)
            assert job.in_work >= 0
            assert (job.good >= job.quantity) == (
                job.state is JobState.DONE
            ) or job.state is JobState.CANCELLED
            assert job.missing == max(0, self.quantity[job_id] - ends["good"] - in_work)
        for name, machine in farm.machines.items():
            assert machine.run_id == self.open_run.get(name)
            assert machine.uncleared_run_id == self.lies_on.get(name)
            assert (machine.permit.id if machine.permit else None) == self.permits.get(name)
        assert farm.runs.keys() == {*self.open_run.values(), *self.lies_on.values()}
        assert all(run.fence <= self.fence for run in farm.runs.values())
        assert farm.counters.get("fence", 0) == self.fence
        assert farm.safe_modes.keys() == self.safe
        assert {job.file_sha256 for job in farm.jobs.values()} <= farm.files.keys()
