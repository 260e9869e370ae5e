"""Long random walks of legal and illegal facts: whatever happens, the farm's books are right.

A tiny ledger applies facts as the daemon's does. Beside it `Books` follow every single part through
the accepted facts; after each fact the two are compared. Ids of work that has been closed are never
offered again: that they are fresh is the promise of whoever gives ids out.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from farm_books import Books

from farmd.model import facts as f
from farmd.model.access import Role
from farmd.model.apply import apply
from farmd.model.errors import Refused
from farmd.model.farm import Farm
from farmd.model.lifecycle import BUILD, JOB, MACHINE, RUN, BuildState, MachineState, RunState
from farmd.model.machine import Fault
from farmd.model.safe_mode import Cause
from farmd.model.work import PRINT, FileRecord, Job, Outcome, Place

STEPS = 4000
SEEDS = range(6)
ROUTES = [(PRINT,), (PRINT, "depowder", "wash"), (PRINT, "inspect")]
MACHINES = ("m1", "m2", "sls", "wash-1")


class Walk:
    """A random actor that knows the farm and mostly asks for what can be done."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.farm, self.books = Farm(), Books()
        self.seen: Counter[tuple[str, str]] = Counter()
        self.steps: set[tuple[Any, Any]] = set()
        self.told: list[f.Fact] = []
        self.at = 0.0
        self.number = 0

    def tell(self, cls: type[f.Fact], **values: Any) -> bool:
        """Apply one fact; True when accepted. A refused fact, like `apply` itself, changes nothing."""
        fact = cls(at=self.at, actor="walk", **values)
        before = self.farm.copy()
        try:
            changed = apply(self.farm, fact)
        except Refused:
            assert self.farm == before
            self.seen[cls.__name__, "refused"] += 1
            return False
        assert self.farm == before
        self.farm.merge(changed)
        self.told.append(fact)
        self.seen[cls.__name__, "accepted"] += 1
        self._note_steps(before, changed)
        self.books.see(fact)
        self.books.compare(self.farm)
        return True

    def _note_steps(self, before: Farm, changed: tuple[Any, ...]) -> None:
        old: dict[str, Any] = {**before.jobs, **before.builds, **before.runs, **before.machines}
        for entity in changed:
            key = getattr(entity, "id", getattr(entity, "name", ""))
            if key in old and hasattr(entity, "state"):
                self.steps.add((old[key].state, entity.state))

    def fresh(self, kind: str) -> str:
        self.number += 1
        return f"{kind}-{self.number}"

    def one(self, choices: Any, unknown: str = "X-0") -> Any:
        found = list(choices)
        return self.rng.choice(found) if found and self.rng.random() < 0.97 else unknown

    def job(self) -> str:
        return str(self.one(self.farm.jobs))

    def run(self, *states: RunState) -> str:
        return self.likely([run.id for run in self.farm.runs.values() if run.state in states], self.farm.runs)

    def machine(self) -> str:
        return str(self.one(self.farm.machines))

    def likely(self, fitting: list[str], others: Any) -> str:
        """Mostly one that fits, so that the walk gets somewhere."""
        return str(self.one(fitting if fitting and self.rng.random() < 0.95 else others))

    def move(self) -> None:
        self.at += 1.0
        names = list(_MOVES)
        getattr(self, self.rng.choices(names, [_MOVES[name] for name in names])[0])()

    # --- moves ------------------------------------------------------------------------------

    def daemon(self) -> None:
        fence = self.books.fence + self.rng.choice([-1, 0, 1, 1])
        self.tell(f.DaemonStarted, boot_id="b", version="1", fence=fence)
        self.tell(f.DaemonStopped, boot_id="b")

    def safety(self) -> None:
        """Safe mode is mostly left again soon, so that the walk gets on."""
        self.tell(f.ClockJumped, by_s=-70.0)
        if self.rng.random() < 0.15:
            fence = self.books.fence + self.rng.choice([0, 1, 1000])
            if self.tell(f.FarmRestored, fence=fence, last_seq=1, last_at=0.0):
                in_doubt = {RunState.INTENT, RunState.SENT}
                assert not [run for run in self.farm.runs.values() if run.state in in_doubt]
                assert not [machine for machine in self.farm.machines.values() if machine.permit]
        else:
            self.tell(f.SafeModeEntered, cause=self.rng.choice(list(Cause)), what="found")
        for _ in range(self.rng.choice([0, 0, 5, 50])):
            self.move()
        for cause in [*self.farm.safe_modes] or [Cause.DAMAGE]:
            self.tell(f.SafeModeLeft, cause=cause)

    def token(self) -> None:
        name, secret = self.rng.choice("abcd"), self.rng.choice(["s1", "s2", self.fresh("s")])
        expires_at = self.rng.choice([None, self.at + 50.0])
        self.tell(f.TokenAdded, token=name, role=Role.VIEWER, sha256=secret, expires_at=expires_at)
        self.tell(f.TokenRevoked, token=self.rng.choice("abcde"))

    def submit(self) -> None:
        if len(self.farm.jobs) > 8:
            return
        sha256 = self.rng.choice(["aa", "bb"])
        self.tell(f.FileStored, file=FileRecord(sha256, "x.gcode", 1, "gcode"))
        taken = list(self.farm.jobs) or ["J-0"]
        job_id = self.fresh("J") if self.rng.random() < 0.95 else self.rng.choice(taken)
        broken = (
            {} if self.rng.random() < 0.9 else self.rng.choice([{"route": ()}, {"made": 1}, {"quantity": 0}])
        )
        values: dict[str, Any] = {"quantity": self.rng.randint(1, 12), "route": self.rng.choice(ROUTES)}
        job = Job(job_id, "d", sha256, "x.gcode", "MEX", submitted_at=self.at, **(values | broken))
        self.tell(f.JobSubmitted, job=job)

    def edit(self) -> None:
        quantity = self.rng.choice([None, 0, 1, 3, 6, 20])
        clear = self.rng.random() < 0.5
        self.tell(f.JobEdited, job_id=self.job(), quantity=quantity, priority=2.0, clear_due=clear)

    def hold(self) -> None:
        self.tell(f.JobHeld, job_id=self.job())

    def release(self) -> None:
        self.tell(f.JobReleased, job_id=self.job())

    def cancel(self) -> None:
        self.tell(f.JobCancelled, job_id=self.job())

    def queue(self) -> None:
        if len(self.farm.builds) > self.rng.choice([6, 6, 6, 20]):
            return
        jobs = {self.job() for _ in range(self.rng.choice([1, 1, 2, 3]))}
        items = [(job_id, self.rng.choice([0, 1, 2, 3, 4, 5])) for job_id in sorted(jobs)]
        items += items[:1] if self.rng.random() < 0.05 else []
        operation = PRINT if self.rng.random() < 0.95 else "wash"
        self._queue(operation, items, None)

    def follow(self) -> None:
        """A build of waiting parts; now and then of more than wait, or of a step that is not in the route."""
        waiting = {job_id: len(parts) for job_id, parts in self.books.waiting.items() if parts}
        job_id = self.one(waiting)
        count = self.rng.randint(1, waiting.get(job_id, 0) + (self.rng.random() < 0.2) or 1)
        route = self.books.jobs[job_id].route if job_id in self.books.jobs else ROUTES[1]
        step = route[-1] if self.rng.random() < 0.6 else self.rng.choice(["depowder", "inspect", PRINT])
        others = [(other, waiting[other]) for other in waiting if other != job_id and self.rng.random() < 0.5]
        self._queue(step, [(job_id, count), *others], "B-0")

    def _queue(self, operation: str, items: list[tuple[str, int]], follows: str | None) -> None:
        taken = self.rng.random() < 0.02 and list(self.farm.builds)
        build_id = self.rng.choice(taken) if taken else self.fresh("B")
        self.tell(
            f.BuildQueued,
            build_id=build_id,
            operation=operation,
            items=tuple(items),
            duration_s=1.0,
            follows=follows,
        )

    def withdraw(self) -> None:
        self.tell(f.BuildWithdrawn, build_id=self.one(self.farm.builds))

    def intend(self) -> None:
        machines = self.farm.machines.values()
        ready = [m.name for m in machines if m.permit and m.state is MachineState.IDLE and not m.held]
        queued = [build.id for build in self.farm.builds.values() if build.state is BuildState.QUEUED]
        name = self.likely(ready, self.farm.machines)
        machine = self.farm.machines.get(name)
        permit = machine.permit.id if machine and machine.permit else "P-0"
        if self.rng.random() < 0.1:
            permit = self.one(sorted(self.books.spent))
        taken = self.rng.random() < 0.05 and list(self.farm.runs)
        self.tell(
            f.RunIntended,
            run_id=self.rng.choice(taken) if taken else self.fresh("R"),
            build_id=self.likely(queued, self.farm.builds),
            machine=name,
            permit_id=permit,
            fence=self.books.fence - (self.rng.random() < 0.05),
            file_sha256=self.rng.choice(["aa", "aa", None]),
        )

    def go_on(self) -> None:
        machines = self.farm.machines.values()
        lying = [m.name for m in machines if m.uncleared_run_id and m.state is MachineState.IDLE]
        name = self.likely(lying, self.farm.machines)
        machine = self.farm.machines.get(name)
        run = self.farm.runs.get((machine and machine.uncleared_run_id) or self.run(RunState.ENDED))
        taken = self.rng.random() < 0.05 and list(self.farm.runs)
        self.tell(
            f.RunContinued,
            run_id=self.rng.choice(taken) if taken else self.fresh("R"),
            continues=run.id if run else "R-0",
            build_id=run.build_id if run and self.rng.random() < 0.95 else "B-0",
            machine=name,
            permit_id=self.fresh("P"),
            fence=self.books.fence - (self.rng.random() < 0.05),
            file_sha256=run.file_sha256 if run and self.rng.random() < 0.95 else "cc",
        )

    def send(self) -> None:
        self.tell(f.RunSent, run_id=self.run(RunState.INTENT))

    def start(self) -> None:
        run_id = self.run(RunState.SENT, RunState.INTENT, RunState.UNCERTAIN)
        self.tell(f.RunStarted, run_id=run_id, evidence="seen")

    def pause(self) -> None:
        self.tell(f.RunPaused, run_id=self.run(RunState.RUNNING, RunState.UNCERTAIN))

    def resume(self) -> None:
        self.tell(f.RunResumed, run_id=self.run(RunState.PAUSED))

    def doubt(self) -> None:
        self.tell(
            f.RunDoubted, run_id=self.run(RunState.SENT, RunState.RUNNING, RunState.PAUSED), reason="lost"
        )

    def end(self) -> None:
        run_id = self.run(RunState.RUNNING, RunState.PAUSED, RunState.UNCERTAIN, RunState.SENT)
        outcome = self.rng.choice([Outcome.OK] * 4 + list(Outcome))
        run = self.farm.runs.get(run_id)
        made = self.farm.builds[run.build_id].parts if run and outcome is Outcome.OK else 0
        made += self.rng.random() < 0.1
        place = self.rng.choice([None, Place(line=7, z_mm=0.4)])
        self.tell(f.RunEnded, run_id=run_id, outcome=outcome, made=made, used_g=2.0, place=place)

    def clear(self) -> None:
        unclear = [m.name for m in self.farm.machines.values() if not m.permit and not m.run_id]
        name = self.likely(unclear, self.farm.machines)
        machine = self.farm.machines.get(name)
        run = self.farm.runs.get(machine.uncleared_run_id or "") if machine else None
        counts = []
        if run:
            for item in self.farm.builds[run.build_id].items:
                scrap = self.rng.choice([0, 0, 1])
                off = self.rng.choice([0] * 8 + [-1, 1])
                counts.append(f.ItemCount(item.job_id, item.parts - scrap + off, scrap))
        if self.rng.random() < 0.05:
            counts = counts[1:] or [f.ItemCount("J-0", 1, 0)]
        run_id = run.id if run else None if self.rng.random() < 0.9 else "R-0"
        self.tell(
            f.MachineCleared, machine=name, permit_id=self.fresh("P"), run_id=run_id, counts=tuple(counts)
        )

    def add(self) -> None:
        self.tell(f.MachineAdded, machine=self.rng.choice(MACHINES), material="PLA")

    def remove(self) -> None:
        self.tell(f.MachineRemoved, machine=self.machine())

    def connect(self) -> None:
        seen = self.rng.choice(["idle"] * 6 + ["busy", "foreign", "fault", "dancing"])
        self.tell(f.MachineConnected, machine=self.machine(), seen=seen)

    def lose(self) -> None:
        self.tell(f.MachineLost, machine=self.machine(), reason="cable")

    def fault(self) -> None:
        self.tell(f.MachineFaulted, machine=self.machine(), fault=Fault("hot", "too hot", "wait"))

    def recover(self) -> None:
        self.tell(f.MachineRecovered, machine=self.machine())

    def person(self) -> None:
        cls = self.rng.choice([f.MachineHeld, f.MachineReleased, f.MachineReleased])
        self.tell(cls, machine=self.machine())

    def foreign(self) -> None:
        cls = self.rng.choice([f.ForeignRunStarted, f.ForeignRunEnded, f.ForeignRunEnded])
        self.tell(cls, machine=self.machine())

    def void(self) -> None:
        self.tell(f.PermitVoided, machine=self.machine(), reason="out of sight")

    def ask(self) -> None:
        self.tell(f.MachineAsked, machine=self.machine(), act="pause", reason="look at it")
        self.tell(f.CommandSent, machine=self.machine(), command="M114")
        self.tell(f.CommandAnswered, machine=self.machine(), command="M114", answer="X:0.00")

    def load(self) -> None:
        lot = self.rng.choice([None, "L-1", "L-2"])
        self.tell(f.MaterialLoaded, machine=self.machine(), material="PLA", lot_id=lot, grams=900.0)


_MOVES = {
    "daemon": 1, "submit": 8, "edit": 4, "hold": 2, "release": 3, "cancel": 1, "queue": 14, "follow": 10,
    "withdraw": 1, "intend": 25, "go_on": 3, "send": 12, "start": 14, "pause": 4, "resume": 4, "doubt": 3, "end": 18,
    "clear": 26, "add": 3, "remove": 1, "connect": 16, "lose": 2, "fault": 2, "recover": 4, "person": 3,
    "foreign": 3, "void": 1, "ask": 1, "load": 2, "token": 1, "safety": 1,
}  # fmt: skip
"""How often each move is tried."""

NEVER_REFUSED = {"DaemonStopped", "FileStored", "SafeModeEntered", "ClockJumped"}


def test_the_books_are_right_whatever_happens() -> None:
    seen: Counter[tuple[str, str]] = Counter()
    steps: set[tuple[Any, Any]] = set()
    ends: Counter[str] = Counter()
    for seed in SEEDS:
        walk = Walk(seed)
        try:
            for _ in range(STEPS):
                walk.move()
        except AssertionError as error:
            lately = "\n".join(str(fact) for fact in walk.told[-8:])
            raise AssertionError(f"seed {seed}, fact {len(walk.told)}; the last facts:\n{lately}") from error
        seen += walk.seen
        steps |= walk.steps
        ends += Counter(part.end for parts in walk.books.parts.values() for part in parts)
        assert any(job not in walk.farm.jobs for job in walk.books.jobs), "no job ever came to its end"
    missing = [name for name in f.FACTS if not seen[name, "accepted"]]
    missing += [f"refused {n}" for n in f.FACTS if not seen[n, "refused"] and n not in NEVER_REFUSED]
    tables: list[Any] = [JOB, BUILD, RUN, MACHINE]
    missing += [str(pair) for table in tables for pair in table.items() if (pair[0][0], pair[1]) not in steps]
    assert not missing, "the walks did not come by these"
    assert all(ends[end] > 20 for end in ("good", "scrap", "surplus", "never made")), ends


@pytest.mark.parametrize("lie", ["made", "in_work", "surplus"])
def test_the_books_would_notice(lie: str) -> None:
    """The comparison has teeth: one part miscounted is found."""
    walk = Walk(1)
    while not walk.farm.jobs:
        walk.move()
    job_id = next(iter(walk.farm.jobs))
    job = walk.farm.jobs[job_id]
    values = {name: getattr(job, name) for name in Job.__dataclass_fields__}
    walk.farm.jobs[job_id] = Job(**(values | {lie: values[lie] + 1}))
    with pytest.raises(AssertionError):
        walk.books.compare(walk.farm)
