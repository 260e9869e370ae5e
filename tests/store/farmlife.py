"""A farm's life by chance: legal facts from a seed, each as an entry for the store.

Also the child of the kill test: `python farmlife.py URL DATA_DIR SEED` commits until it is killed and
prints the last number that `commit` returned.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from farmd.model import facts as f
from farmd.model.apply import apply
from farmd.model.errors import Refused
from farmd.model.farm import Farm
from farmd.model.lifecycle import BuildState, MachineState, RunState
from farmd.model.machine import Fault
from farmd.model.work import FileRecord, Job, Outcome, PartShape, Place
from farmd.store import Entry, Store

_TEXTS = ("", "bracket", 'Größe 3/8"', "'; DROP TABLE job; --", "日本 🖨", "a\nb\tc", "%s {} \\")
_ROUTES = (("print",), ("print",), ("print", "wash"), ("print", "cool", "inspect"))


class FarmLife:
    """Each `entry()` is one to three facts that follow from those before, and what they changed."""

    def __init__(self, seed: int, farm: Farm | None = None, at: float = 1.7e9) -> None:
        self.rng = random.Random(seed)
        self.farm = farm or Farm()
        self.at = at
        self._ids = self.farm.revision
        self._next: list[f.Fact] = []

    def entries(self, count: int) -> list[Entry]:
        return [self.entry() for _ in range(count)]

    def entry(self) -> Entry:
        facts: list[f.Fact] = []
        changed = []
        wanted = self.rng.choice((1, 1, 1, 2, 3))
        while len(facts) < wanted:
            fact = self._next.pop(0) if self._next else self._propose()
            if fact is None:
                continue
            try:
                after = apply(self.farm, fact)
            except Refused:
                continue
            self.farm.merge(after)
            self.farm.revision += 1
            facts.append(fact)
            changed += after
        return Entry(tuple(facts), tuple(changed))

    def _id(self, letter: str) -> str:
        self._ids += 1
        return f"{letter}-{self._ids}"

    def _propose(self) -> f.Fact | None:
        rng = self.rng
        self.at += rng.expovariate(1 / 600)
        who = {"at": self.at, "actor": rng.choice(("daemon", "anna", "machine:m1"))}
        if "fence" not in self.farm.counters or rng.random() < 0.01:
            fence = self.farm.counters.get("fence", 0) + 1
            return f.DaemonStarted(**who, boot_id=f"{rng.getrandbits(64):x}", version="0.1.0", fence=fence)
        makers = (self._demand, self._job, self._build, self._run, self._run, self._run, self._machine)
        return rng.choice(makers)(who)

    def _demand(self, who: dict) -> f.Fact | None:
        rng = self.rng
        if len(self.farm.jobs) > 12:
            return f.DaemonStopped(**who, boot_id="b") if rng.random() < 0.02 else None
        sha256 = f"{rng.getrandbits(256):064x}"
        shape = PartShape(rng.random(), 5, 9.25, (3.5, 4), 0.1) if rng.random() < 0.3 else None
        job = Job(
            id=self._id("J"),
            design=f"{rng.choice(('A', 'B', 'ü'))}@{rng.randint(1, 2)}",
            file_sha256=sha256,
            file_name=rng.choice(_TEXTS),
            process="MEX",
            quantity=rng.randint(1, 9),
            submitted_at=self.at,
            parts_per_plate=rng.randint(1, 4),
            duration_s=rng.uniform(10, 9e4),
            due_at=rng.choice((None, self.at + 86400)),
            priority=rng.choice((1, 0.1, 1e-300)),
            shape=shape,
            route=rng.choice(_ROUTES),
        )
        summary = {"layers": rng.randint(1, 500), "thumb": None, "times": [0.1, 2], "ö": {"x": True}}
        self._next = [f.JobSubmitted(**who, job=job)]
        return f.FileStored(**who, file=FileRecord(sha256, job.file_name, 17, "gcode", summary))

    def _job(self, who: dict) -> f.Fact | None:
        rng = self.rng
        if not self.farm.jobs:
            return None
        job_id = rng.choice(list(self.farm.jobs))
        match rng.randint(0, 9):
            case 0:
                return f.JobHeld(**who, job_id=job_id, reason=rng.choice(_TEXTS))
            case 1 | 2:
                return f.JobReleased(**who, job_id=job_id)
            case 3 if rng.random() < 0.3:
                return f.JobCancelled(**who, job_id=job_id)
            case 4:
                return f.JobEdited(**who, job_id=job_id, quantity=rng.randint(1, 9))
            case 5:
                return f.JobEdited(**who, job_id=job_id, priority=2.5, clear_due=True)
        return None

    def _build(self, who: dict) -> f.Fact | None:
        rng = self.rng
        queued = [b for b in self.farm.builds.values() if b.state is BuildState.QUEUED]
        if queued and rng.random() < 0.1:
            return f.BuildWithdrawn(**who, build_id=rng.choice(queued).id)
        jobs = [job for job in self.farm.jobs.values() if job.missing]
        if not jobs or len(queued) > 8:
            return None
        chosen = rng.sample(jobs, min(len(jobs), rng.randint(1, 2)))
        items = tuple((job.id, rng.randint(1, 5)) for job in chosen)
        return f.BuildQueued(
            **who,
            build_id=self._id("B"),
            operation="print",
            items=items,
            duration_s=rng.uniform(10, 9e4),
            material=rng.choice((None, "PLA")),
        )

    def _run(self, who: dict) -> f.Fact | None:
        rng = self.rng
        run = rng.choice([*self.farm.runs.values(), None])
        if run is None:
            return self._intend(who)
        build = self.farm.builds[run.build_id]
        if run.state is RunState.ENDED:
            return self._clear(who, run.machine)
        match rng.randint(0, 9):
            case 0 | 7:
                return f.RunSent(**who, run_id=run.id)
            case 1 | 8 | 9:
                return f.RunStarted(**who, run_id=run.id, evidence="shows " + run.id)
            case 2:
                return f.RunPaused(**who, run_id=run.id, reason=rng.choice(_TEXTS))
            case 3:
                return f.RunResumed(**who, run_id=run.id)
            case 4 if rng.random() < 0.4:
                return f.RunDoubted(**who, run_id=run.id, reason="link lost")
        outcome = rng.choice((Outcome.OK, Outcome.OK, Outcome.OK, Outcome.FAILED, Outcome.CANCELLED))
        if run.started_at is None:
            outcome = rng.choice((Outcome.NOT_STARTED, Outcome.FAILED))
        made = build.parts if outcome is Outcome.OK else 0
        place = Place(line=rng.randint(1, 9999), z_mm=rng.random()) if outcome is Outcome.FAILED else None
        return f.RunEnded(
            **who, run_id=run.id, outcome=outcome, place=place, made=made, used_g=rng.random() * 30
        )

    def _intend(self, who: dict) -> f.Fact | None:
        ready = [m for m in self.farm.machines.values() if m.permit and m.state is MachineState.IDLE]
        queued = [b for b in self.farm.builds.values() if b.state is BuildState.QUEUED]
        if not ready or not queued:
            return None
        machine, build = self.rng.choice(ready), self.rng.choice(queued)
        return f.RunIntended(
            **who,
            run_id=self._id("R"),
            build_id=build.id,
            machine=machine.name,
            permit_id=machine.permit.id,
            fence=self.farm.counters["fence"],
        )

    def _clear(self, who: dict, name: str) -> f.Fact:
        run_id = self.farm.machines[name].uncleared_run_id
        counts: tuple[f.ItemCount, ...] = ()
        if run_id:
            build = self.farm.builds[self.farm.runs[run_id].build_id]
            counts = tuple(self._count(item.job_id, item.parts) for item in build.items)
            self._follow(who, build, counts)
        permit_id = self._id("P")
        return f.MachineCleared(**who, machine=name, permit_id=permit_id, run_id=run_id, counts=counts)

    def _count(self, job_id: str, parts: int) -> f.ItemCount:
        scrap = self.rng.choice((0, 0, 0, parts, self.rng.randint(0, parts)))
        return f.ItemCount(job_id, parts - scrap, scrap)

    def _follow(self, who: dict, build, counts: tuple[f.ItemCount, ...]) -> None:
        """Queue the next operation for what came off, as the daemon does."""
        for count in counts:
            route = self.farm.jobs[count.job_id].route
            step = route.index(build.operation)
            if count.good and step + 1 < len(route):
                self._next.append(
                    f.BuildQueued(
                        **who,
                        build_id=self._id("B"),
                        operation=route[step + 1],
                        items=((count.job_id, count.good),),
                        duration_s=60.0,
                        follows=build.id,
                    )
                )

    def _machine(self, who: dict) -> f.Fact:
        rng = self.rng
        name = f"m{rng.randint(1, 5)}"
        if name not in self.farm.machines:
            return f.MachineAdded(**who, machine=name, material=rng.choice((None, "PLA")), nozzle_mm=0.4)
        match rng.randint(0, 13):
            case 0:
                return f.MachineLost(**who, machine=name, reason=rng.choice(_TEXTS))
            case 1:
                return f.MachineFaulted(**who, machine=name, fault=Fault("runaway", "hot", "look"))
            case 2:
                return f.MachineRecovered(**who, machine=name)
            case 3 if rng.random() < 0.3:
                return f.MachineHeld(**who, machine=name, reason="lunch")
            case 4:
                return f.MachineReleased(**who, machine=name)
            case 5 if rng.random() < 0.3:
                return f.ForeignRunStarted(**who, machine=name, name=rng.choice(_TEXTS))
            case 6:
                return f.ForeignRunEnded(**who, machine=name)
            case 7 if rng.random() < 0.3:
                return f.MachineRemoved(**who, machine=name)
            case 8:
                lot_id = rng.choice((None, "L-1", "L-2"))
                return f.MaterialLoaded(**who, machine=name, material="PLA", lot_id=lot_id, grams=750)
            case 9 if rng.random() < 0.3:
                return f.PermitVoided(**who, machine=name, reason="reset")
            case 10:
                return self._clear(who, name)
        return f.MachineConnected(**who, machine=name, seen="idle", firmware="Marlin 2.1.2")


def main(url: str, data_dir: str, seed: str) -> None:
    with Store.open(url, data_dir=Path(data_dir)) as store:
        life = FarmLife(int(seed), store.load().farm)
        print("open", flush=True)
        while True:
            print(store.commit(life.entries(life.rng.randint(1, 8))), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
