"""The floor: what people ask of machines, checked and turned into facts and commands.

Like the desk: returns when what it did is on disk, raises `Refused` with nothing changed.
Clearing counts parts and gives the permit; it is the only way by which a person lets a machine
start again.
"""

from __future__ import annotations

from collections.abc import Mapping

from farmd.daemon.attendant import Attendant
from farmd.daemon.ids import IdSource
from farmd.daemon.ledger import Ledger
from farmd.daemon.onward import next_builds
from farmd.driver import now
from farmd.model import facts as f
from farmd.model.errors import ErrorCode, Refused
from farmd.model.farm import Farm
from farmd.model.lifecycle import MachineState, RunState
from farmd.model.lookup import ALREADY_CLEAR, BAD_COUNT, UNKNOWN_MACHINE, find_machine, find_run
from farmd.model.machine import Machine
from farmd.model.work import PRINT, Outcome, Run

BAD_VERDICT = ErrorCode(
    "bad-verdict",
    "a run is resolved as printing, not-started or failed",
    "look at the machine, then say which",
)
NOT_UNCERTAIN = ErrorCode(
    "not-uncertain", "nothing is uncertain about this run", "see `farmctl next` for runs that are"
)
BAD_LOAD = ErrorCode(
    "bad-load",
    "the material, the grams or the nozzle that were loaded cannot be so",
    "see `farmctl load --help` for what each value means",
)
MOST = 1e9
STILL_HOT = ErrorCode(
    "still-cooling",
    "the machine is still cooling and must not be opened",
    "come back when `farmctl next` says so",
)


class Floor:
    """Commands to machines."""

    def __init__(self, ledger: Ledger, attendants: Mapping[str, Attendant], ids: IdSource) -> None:
        self._ledger = ledger
        self._attendants = attendants
        self._ids = ids

    # --- what a person did ------------------------------------------------------------------

    async def clear(
        self,
        name: str,
        actor: str,
        *,
        good: int | None = None,
        scrap: int | None = None,
        reason: str = "",
    ) -> dict[str, int]:
        """Everything is off the machine and it is ready: count the parts, give the permit.

        Without numbers all parts of a run that ended well are good, and those of a failed one lost.
        Returns what was counted: good, scrap.
        """
        farm = self._ledger.farm
        machine = find_machine(farm, name)
        if machine.permit is not None and good is None and scrap is None:
            raise Refused(ALREADY_CLEAR, where=name)
        if machine.ready_at > now():
            minutes = (machine.ready_at - now()) / 60.0
            raise Refused(STILL_HOT, f"it cools for {minutes:.0f} min more", where=name)
        facts: list[f.Fact] = []
        counts: tuple[f.ItemCount, ...] = ()
        if machine.uncleared_run_id is not None:
            run = find_run(farm, machine.uncleared_run_id)
            counts = _counts(farm, run, good, scrap)
        elif good or scrap:
            raise Refused(BAD_COUNT, "no run of ours is on it, so there is nothing to count", where=name)
        facts.append(
            f.MachineCleared(
                at=now(),
                actor=actor,
                machine=name,
                permit_id=self._ids.permit(),
                run_id=machine.uncleared_run_id,
                counts=counts,
                reason=reason,
            )
        )
        if machine.uncleared_run_id is not None:
            build = farm.builds[farm.runs[machine.uncleared_run_id].build_id]
            facts += next_builds(farm, build, counts, at=now(), actor=actor, new_id=self._ids.build)
        await self._ledger.record(*facts)
        return {"good": sum(c.good for c in counts), "scrap": sum(c.scrap for c in counts)}

    async def load(
        self,
        name: str,
        actor: str,
        material: str,
        *,
        grams: float | None = None,
        nozzle_mm: float | None = None,
        lot_id: str | None = None,
    ) -> Machine:
        """Another material or lot is on the machine. A known lot's id may stand for the material."""
        if grams is not None and not 0 <= grams < MOST:
            raise Refused(BAD_LOAD, f"{grams:g} g cannot be left of a lot", where="grams")
        if nozzle_mm is not None and not 0 < nozzle_mm < MOST:
            raise Refused(BAD_LOAD, f"a nozzle has no diameter of {nozzle_mm:g} mm", where="nozzle_mm")
        if not material.strip():
            raise Refused(BAD_LOAD, "the material has no name", where="material")
        lot = self._ledger.farm.lots.get(material)
        if lot is not None:
            material, lot_id = lot.material, lot.id
        elif grams is not None and lot_id is None:
            lot_id = f"L-{name}-{int(now())}"
        fact = f.MaterialLoaded(
            at=now(),
            actor=actor,
            machine=name,
            material=material,
            lot_id=lot_id,
            grams=grams,
            nozzle_mm=nozzle_mm,
        )
        await self._ledger.record(fact)
        return self._ledger.farm.machines[name]

    async def resolve(self, run_id: str, verdict: str, actor: str) -> Run:
        """A person looked: an uncertain run is printing, did not start, or failed."""
        run = find_run(self._ledger.farm, run_id)
        if run.state is not RunState.UNCERTAIN:
            raise Refused(NOT_UNCERTAIN, f"it is {run.state.value}", where=run_id)
        fact: f.Fact
        if verdict == "printing":
            fact = f.RunStarted(at=now(), actor=actor, run_id=run_id, evidence=f"seen by {actor}")
        elif verdict in ("not-started", "failed"):
            outcome = Outcome.NOT_STARTED if verdict == "not-started" else Outcome.FAILED
            reason = f"resolved by {actor}"
            fact = f.RunEnded(at=now(), actor=actor, run_id=run_id, outcome=outcome, reason=reason)
        else:
            raise Refused(BAD_VERDICT, f"{verdict!r} is none of them", where=run_id)
        changed = await self._ledger.record(fact)
        return next(entity for entity in changed if isinstance(entity, Run))

    # --- holding and driving ----------------------------------------------------------------

    async def hold(self, name: str, actor: str, reason: str = "") -> Machine:
        """Start nothing on a machine; what runs goes on."""
        await self._ledger.record(f.MachineHeld(at=now(), actor=actor, machine=name, reason=reason))
        return self._ledger.farm.machines[name]

    async def release(self, name: str, actor: str) -> Machine:
        """Let a held machine work again; of a fault, that it is mended."""
        machine = find_machine(self._ledger.farm, name)
        if machine.state is MachineState.FAULT:
            await self._attendant(name).recover()
        if machine.held is not None:
            await self._ledger.record(f.MachineReleased(at=now(), actor=actor, machine=name))
        return self._ledger.farm.machines[name]

    async def pause(self, name: str) -> None:
        await self._attendant(name).pause()

    async def resume(self, name: str) -> None:
        await self._attendant(name).resume()

    async def stop(self, name: str) -> None:
        """Cancel the run on a machine safely. Its end is recorded when the machine tells it."""
        await self._attendant(name).stop()

    async def estop(self, name: str | None, actor: str) -> list[str]:
        """Emergency stop of one machine, or of all. Sends before it records.

        Nothing is started on any of them until it is released, also where the stop could not be
        sent. Returns those to which it was sent; raises when there is none.
        """
        names = list(self._attendants) if name is None else [name]
        problems = {each: self._attendant(each).estop() for each in names}
        held: list[f.Fact] = [
            f.MachineHeld(at=now(), actor=actor, machine=each, reason="emergency stop") for each in names
        ]
        if held:
            await self._ledger.record(*held)
        stopped = [each for each, problem in problems.items() if problem is None]
        failed = [problem for problem in problems.values() if problem is not None]
        if failed and not stopped:
            raise failed[0]
        return stopped

    def _attendant(self, name: str) -> Attendant:
        if (attendant := self._attendants.get(name)) is None:
            raise Refused(UNKNOWN_MACHINE, where=name)
        return attendant


def _counts(farm: Farm, run: Run, good: int | None, scrap: int | None) -> tuple[f.ItemCount, ...]:
    """What came off, shared out to the build's jobs in order: good parts first, then scrap."""
    build = farm.builds[run.build_id]
    ok = run.outcome is Outcome.OK
    may_be_fewer = not ok and build.operation == PRINT
    if good is None:
        good = build.parts - (scrap or 0) if ok else 0
    if scrap is None:
        scrap = 0 if may_be_fewer else build.parts - good
    if (
        good < 0
        or scrap < 0
        or good + scrap > build.parts
        or (good + scrap < build.parts and not may_be_fewer)
    ):
        what = f"{good} good and {scrap} scrap do not add up to {build.parts} parts"
        raise Refused(BAD_COUNT, what, where=run.machine)
    counts = []
    for item in build.items:
        good_here = min(good, item.parts)
        scrap_here = min(scrap, item.parts - good_here)
        good, scrap = good - good_here, scrap - scrap_here
        counts.append(f.ItemCount(item.job_id, good_here, scrap_here))
    return tuple(counts)
