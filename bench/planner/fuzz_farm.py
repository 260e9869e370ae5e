"""Random small farms, and random things that happen in them, as facts: what the daemon replans on.

Knows the ledger's facts. Knows nothing of plans but which step a machine would start next.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from farmd.daemon.dispatch import NewBuild, dispatch
from farmd.daemon.ledger import Ledger
from farmd.daemon.schedule import Schedule
from farmd.daemon.shop import Shop
from farmd.driver import Capabilities, now
from farmd.model import facts as f
from farmd.model.errors import Refused
from farmd.model.farm import Farm
from farmd.model.lifecycle import JobState, MachineState, RunState
from farmd.model.machine import ChamberSpec, Machine, MachineSpec, Permit
from farmd.model.work import Job, Outcome, PartShape

HOUR_S = 3600.0
MATERIALS = ("PLA black", "PLA red", "PETG", "ABS")
ACTOR = "fuzz"


def specs_of(rng: Random) -> list[MachineSpec]:
    """A few printers of two groups, and sometimes powder beds."""
    printers = [
        MachineSpec(f"m{i}", "any", rng.choice(("small", "large")), "MEX", (250.0, 210.0, 220.0), 0.4)
        for i in range(rng.randint(1, 6))
    ]
    chamber = ChamberSpec((300.0, 300.0), 200.0, 600.0, 0.01, 20.0, cooldown_s=rng.choice((0.0, 7200.0)))
    beds = [
        MachineSpec(f"p{i}", "any", "powder", "PBF", (300.0, 300.0, 200.0), None, "PA12", chamber=chamber)
        for i in range(rng.choice((0, 0, 1, 2)))
    ]
    return printers + beds


def shop_of(rng: Random, specs: list[MachineSpec], begins_at: float) -> Shop:
    """People without end, in shifts, few, or none for some days."""
    length_h = rng.choice((4.0, 8.0, 15.0))

    def windows(begin: float, end: float) -> dict[str, list[tuple[float, float]]]:
        days = int((end - begins_at) // (24 * HOUR_S)) + 2
        spans = [
            (begins_at + (24 * day + 3) * HOUR_S, begins_at + (24 * day + 3 + length_h) * HOUR_S)
            for day in range(days)
        ]
        return {"day": [(max(a, begin), min(b, end)) for a, b in spans if b > begin and a < end]}

    shifts = rng.random() < 0.7
    return Shop(
        "fuzz",
        {spec.name: spec for spec in specs},
        {spec.name: Capabilities() for spec in specs},
        people={"day": rng.choice((None, 1, 2))} if shifts else {},
        windows=windows if shifts else lambda begin, end: {},
        clear_s=rng.choice((0.0, 300.0)),
        changeover_s=rng.choice((300.0, 900.0)),
        horizon_s=rng.choice((8.0, 72.0)) * HOUR_S,
        operator_price=rng.choice((0.0, 0.1)),
        due_buffers=rng.choice((0.0, 1.0)),
    )


class Happenings:
    """Records facts that may happen now, one after another."""

    def __init__(self, ledger: Ledger, shop: Shop, rng: Random) -> None:
        self._ledger, self._shop, self._rng = ledger, shop, rng
        self._count = 0

    def begin(self) -> None:
        """The machines are there, free and with something loaded; some jobs too."""
        farm = self._ledger.farm
        farm.counters["fence"] = 1
        for spec in self._shop.specs.values():
            material = spec.material or self._rng.choice((*MATERIALS, None))
            self._count += 1
            farm.machines[spec.name] = Machine(
                spec.name,
                MachineState.IDLE,
                since=now(),
                permit=Permit(f"P-{self._count}", now(), ACTOR),
                material=material,
                nozzle_mm=spec.nozzle_mm,
            )
        for _ in range(self._rng.randint(1, 8)):
            self._submit()

    def happen(self, schedule: Schedule) -> None:
        """One thing, or a few at once."""
        for _ in range(self._rng.choice((1, 1, 2, 5))):
            choices = (
                self._submit, self._submit, self._edit, self._hold, self._cancel, self._lose, self._load, self._end,
                self._end, self._end,
            )  # fmt: skip
            try:
                self._rng.choice(choices)()
            except Refused:
                # What may not happen in this state does not.
                continue
        if self._rng.random() < 0.8:
            self._start(schedule)

    def _record(self, *facts: f.Fact) -> None:
        self._ledger.record(*facts)

    def _submit(self) -> None:
        rng, farm = self._rng, self._ledger.farm
        if len(farm.jobs) > 25:
            return
        self._count += 1
        job = Job(
            id=f"J-{self._count}",
            design=f"d{self._count}",
            file_sha256="ab" * 32,
            file_name="a.gcode",
            process="MEX",
            quantity=rng.choice((1, 1, 2, 5, 40)),
            submitted_at=now(),
            due_at=rng.choice((None, now() + rng.uniform(-10, 200) * HOUR_S)),
            priority=rng.choice((0.0, 1.0, 1.0, 5.0)),
            duration_s=rng.choice((0.0, rng.uniform(0.1, 30.0) * HOUR_S)),
            parts_per_plate=rng.choice((1, 1, 4)),
            material=rng.choice((*MATERIALS, "PLA", None)),
            nozzle_mm=rng.choice((0.4, 0.4, None)),
            group=rng.choice((None, None, "small", "large")),
        )
        if any(spec.chamber for spec in self._shop.specs.values()) and rng.random() < 0.4:
            side = rng.uniform(5.0, 320.0)
            shape = PartShape(
                rng.uniform(100.0, 4e5), rng.uniform(1.0, 210.0), side * side / 2, (side, side / 2)
            )
            job = replace(
                job,
                process="PBF",
                file_name="a.stl",
                material="PA12",
                nozzle_mm=None,
                duration_s=0.0,
                group=None,
                parts_per_plate=1,
                shape=shape,
            )
        self._record(f.JobSubmitted(at=now(), actor=ACTOR, job=job))

    def _job(self, *states: JobState) -> str:
        return self._rng.choice(
            [job.id for job in self._ledger.farm.jobs.values() if job.state in states] or ["-"]
        )

    def _edit(self) -> None:
        due_at = now() + self._rng.uniform(-20, 100) * HOUR_S
        quantity = self._rng.choice((None, 1, 3, 30))
        job_id = self._job(JobState.OPEN, JobState.HELD)
        self._record(
            f.JobEdited(at=now(), actor=ACTOR, job_id=job_id, due_at=due_at, priority=2.0, quantity=quantity)
        )

    def _hold(self) -> None:
        held = self._job(JobState.HELD)
        if held != "-" and self._rng.random() < 0.6:
            self._record(f.JobReleased(at=now(), actor=ACTOR, job_id=held))
        else:
            self._record(f.JobHeld(at=now(), actor=ACTOR, job_id=self._job(JobState.OPEN)))

    def _cancel(self) -> None:
        if self._rng.random() < 0.3:
            self._record(
                f.JobCancelled(at=now(), actor=ACTOR, job_id=self._job(JobState.OPEN, JobState.HELD))
            )

    def _lose(self) -> None:
        machine = self._rng.choice(list(self._ledger.farm.machines.values()))
        if machine.state is MachineState.OFFLINE:
            seen = "busy" if machine.run_id else "idle"
            self._record(f.MachineConnected(at=now(), actor=ACTOR, machine=machine.name, seen=seen))
        elif machine.held is not None:
            self._record(f.MachineReleased(at=now(), actor=ACTOR, machine=machine.name))
        elif self._rng.random() < 0.5:
            self._record(f.MachineHeld(at=now(), actor=ACTOR, machine=machine.name, reason="x"))
        else:
            self._record(f.MachineLost(at=now(), actor=ACTOR, machine=machine.name, reason="x"))

    def _load(self) -> None:
        names = [spec.name for spec in self._shop.specs.values() if spec.chamber is None]
        material = self._rng.choice((*MATERIALS, None))
        self._record(
            f.MaterialLoaded(
                at=now(), actor=ACTOR, machine=self._rng.choice(names), material=material, nozzle_mm=0.4
            )
        )

    def _end(self) -> None:
        """A run ends, well or not, and the machine is cleared."""
        farm = self._ledger.farm
        open_runs = [run for run in farm.runs.values() if run.state is RunState.RUNNING]
        if not open_runs:
            return
        run = self._rng.choice(open_runs)
        build = farm.builds[run.build_id]
        ok = self._rng.random() < 0.9
        outcome = Outcome.OK if ok else Outcome.FAILED
        made = build.parts if ok else 0
        self._record(
            f.RunEnded(at=now(), actor=ACTOR, run_id=run.id, outcome=outcome, made=made, ready_at=now())
        )
        counts = tuple(f.ItemCount(item.job_id, item.parts if ok else 0, 0) for item in build.items)
        self._count += 1
        self._record(
            f.MachineCleared(
                at=now(),
                actor=ACTOR,
                machine=run.machine,
                permit_id=f"P-{self._count}",
                run_id=run.id,
                counts=counts if ok else (),
            )
        )

    def _start(self, schedule: Schedule) -> None:
        """What the daemon would start now."""
        for start in dispatch(self._ledger.farm, schedule, self._shop, now()):
            self._count += 1
            build_id, run_id = f"B-{self._count}", f"R-{self._count}"
            made = start.build
            if isinstance(made, NewBuild):
                self._record(
                    f.BuildQueued(
                        at=now(),
                        actor=ACTOR,
                        build_id=build_id,
                        operation=made.operation,
                        items=made.items,
                        duration_s=made.duration_s,
                        material=made.material,
                        nozzle_mm=made.nozzle_mm,
                        file_sha256=made.file_sha256,
                        mass_g=made.mass_g,
                    )
                )
            else:
                build_id = made
            self._record(
                f.RunIntended(
                    at=now(),
                    actor=ACTOR,
                    run_id=run_id,
                    build_id=build_id,
                    machine=start.machine,
                    permit_id=start.permit_id,
                    fence=1,
                )
            )
            self._record(f.RunSent(at=now(), actor=ACTOR, run_id=run_id))
            self._record(f.RunStarted(at=now(), actor=ACTOR, run_id=run_id, evidence="it moves"))


def empty() -> Farm:
    return Farm()
