"""The floor: what people ask of machines, checked and turned into facts and commands.

Like the desk: returns when what it did is on disk, raises `Refused` with nothing changed.
Clearing counts parts and gives the permit; it is the only way by which a person lets a machine
start again.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Coroutine, Mapping

from farmd.daemon.attendant import Attendant
from farmd.daemon.counting import NOTHING_SAID, Counted, counts_of
from farmd.daemon.ids import IdSource
from farmd.daemon.ledger import Ledger
from farmd.daemon.onward import next_builds
from farmd.daemon.shop import Shop, satisfies
from farmd.daemon.typed import Typing
from farmd.driver import Reply, now
from farmd.model import facts as f
from farmd.model.apply_safety import require_normal
from farmd.model.errors import ErrorCode, Refused
from farmd.model.lifecycle import JobState, MachineState, RunState
from farmd.model.lookup import (
    ALREADY_CLEAR,
    BAD_COUNT,
    NOT_CLEARABLE,
    NOT_CONTINUABLE,
    UNKNOWN_MACHINE,
    find_machine,
    find_run,
)
from farmd.model.machine import Machine
from farmd.model.work import Outcome, Run

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

    def __init__(
        self,
        ledger: Ledger,
        shop: Shop,
        attendants: Mapping[str, Attendant],
        ids: IdSource,
        spawn: Callable[[Coroutine[None, None, None]], object],
    ) -> None:
        """`spawn` runs what goes on after the answer, for as long as the daemon lives."""
        self._ledger = ledger
        self._shop = shop
        self._attendants = attendants
        self._ids = ids
        self._spawn = spawn
        self._typing = Typing(ledger, shop)

    # --- what a person did ------------------------------------------------------------------

    async def clear(
        self,
        name: str,
        actor: str,
        *,
        good: int | None = None,
        scrap: int | None = None,
        by_job: Mapping[str, Counted] | None = None,
        reason: str = "",
    ) -> dict[str, int]:
        """Everything is off the machine and it is ready: count the parts, give the permit.

        `good` and `scrap` are of the whole build, `by_job` of its jobs; what may be left out is in
        `counts_of`. Returns what was counted: good, scrap.
        """
        farm = self._ledger.farm
        machine = find_machine(farm, name)
        total = Counted(good, scrap)
        if machine.permit is not None and total == NOTHING_SAID and not by_job:
            raise Refused(ALREADY_CLEAR, where=name)
        if machine.state is MachineState.OFFLINE and name in self._attendants:
            # A permit says that a start may follow at once; nobody stands by when the link comes back.
            what = "there is no link to it, so it cannot be made ready"
            raise Refused(NOT_CLEARABLE, what, where=name, remedy="clear it when its link is back")
        if machine.ready_at > now():
            minutes = math.ceil((machine.ready_at - now()) / 60.0)
            raise Refused(STILL_HOT, f"it cools for {minutes} min more", where=name)
        facts: list[f.Fact] = []
        counts: tuple[f.ItemCount, ...] = ()
        if machine.uncleared_run_id is not None:
            run = find_run(farm, machine.uncleared_run_id)
            counts = counts_of(farm.builds[run.build_id], run, total, by_job)
        elif good or scrap or by_job:
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
        reason: str = "",
    ) -> Machine:
        """Another material or lot is on the machine. A known lot's id may stand for the material.

        A lot is one spool or one charge: whoever loads it here has taken it off where it was, and
        nothing is loaded there. A chamber takes its own powder only.
        """
        require_normal(self._ledger.farm)
        if grams is not None and not 0 <= grams < MOST:
            raise Refused(BAD_LOAD, f"{grams:g} g cannot be left of a lot", where="grams")
        if nozzle_mm is not None and not 0 < nozzle_mm < MOST:
            raise Refused(BAD_LOAD, f"a nozzle has no diameter of {nozzle_mm:g} mm", where="nozzle_mm")
        if not material.strip():
            raise Refused(BAD_LOAD, "the material has no name", where="material")
        material, lot_id = self._named(material, lot_id)
        if lot_id is None and grams is not None:
            lot_id = f"L-{name}-{int(now())}"
        if told := self._shop.unlisted(material):
            raise Refused(BAD_LOAD, told, where="material", remedy="correct it, or add a [[material]]")
        spec = self._shop.specs.get(name)
        if spec is not None and spec.is_station:
            raise Refused(BAD_LOAD, f"{name} is a station and takes no material", where=name)
        if spec is not None and spec.chamber is not None and not satisfies(material, spec.material):
            raise Refused(
                BAD_LOAD,
                f"{name} is configured for {spec.material} and takes no other powder",
                where="material",
                remedy=f"load {spec.material}, or change `material` of {name} in the configuration",
            )
        facts: list[f.Fact] = [
            f.MaterialLoaded(
                at=now(),
                actor=actor,
                machine=each.name,
                material=None,
                reason=f"{lot_id} was loaded on {name}",
                material_before=each.material,
                lot_id_before=each.lot_id,
            )
            for each in self._ledger.farm.machines.values()
            if lot_id is not None and each.lot_id == lot_id and each.name != name
        ]
        before = find_machine(self._ledger.farm, name)
        facts.append(
            f.MaterialLoaded(
                at=now(),
                actor=actor,
                machine=name,
                material=material,
                lot_id=lot_id,
                grams=grams,
                nozzle_mm=nozzle_mm,
                reason=reason,
                material_before=before.material,
                lot_id_before=before.lot_id,
                nozzle_mm_before=None if nozzle_mm is None else before.nozzle_mm,
            )
        )
        await self._ledger.record(*facts)
        return self._ledger.farm.machines[name]

    def _named(self, material: str, lot_id: str | None) -> tuple[str, str | None]:
        """The material and the lot that a person names; a known lot's material is the lot's own."""
        lots = self._ledger.farm.lots
        said = lots.get(material)
        if said is not None and lot_id not in (None, said.id):
            raise Refused(BAD_LOAD, f"{said.id} and {lot_id} are two lots", where="lot")
        lot = said or lots.get(lot_id or "")
        if lot is None:
            return material, lot_id
        if said is None and not satisfies(lot.material, material):
            raise Refused(BAD_LOAD, f"{lot.id} is {lot.material}, not {material}", where="lot")
        return lot.material, lot.id

    async def resolve(self, run_id: str, verdict: str, actor: str, reason: str = "") -> Run:
        """A person looked: an uncertain run is printing, did not start, or failed."""
        why = f": {reason}" if reason else ""
        run = find_run(self._ledger.farm, run_id)
        if run.state is not RunState.UNCERTAIN:
            raise Refused(NOT_UNCERTAIN, f"it is {run.state.value}", where=run_id)
        fact: f.Fact
        if verdict == "printing":
            fact = f.RunStarted(at=now(), actor=actor, run_id=run_id, evidence=f"seen by {actor}{why}")
        elif verdict in ("not-started", "failed"):
            outcome = Outcome.NOT_STARTED if verdict == "not-started" else Outcome.FAILED
            told = f"resolved by {actor}{why}"
            fact = f.RunEnded(at=now(), actor=actor, run_id=run_id, outcome=outcome, reason=told)
        else:
            raise Refused(BAD_VERDICT, f"{verdict!r} is none of them", where=run_id)
        changed = await self._ledger.record(fact)
        return next(entity for entity in changed if isinstance(entity, Run))

    async def go_on(self, run_id: str, actor: str, reason: str = "") -> Run:
        """Let a new run go on where this one broke off, with what it made still on the machine.

        The person who says so gives the permit. Returns the new run when it is on disk; whether it started
        is told by its machine, as always.
        """
        farm = self._ledger.farm
        before = find_run(farm, run_id)
        machine = find_machine(farm, before.machine)
        attendant = self._attendant(before.machine)
        if before.state is not RunState.ENDED or before.outcome is Outcome.OK:
            raise Refused(NOT_CONTINUABLE, "it did not break off", where=run_id)
        if not attendant.driver.capabilities.continues:
            what = f"{machine.name} cannot find its position anew without touching the part"
            raise Refused(NOT_CONTINUABLE, what, where=run_id)
        if before.place is None or before.place.line is None or before.place.z_mm is None:
            raise Refused(NOT_CONTINUABLE, "where it broke off is not known", where=run_id)
        jobs = [farm.jobs[item.job_id] for item in farm.builds[before.build_id].items]
        if all(job.state is JobState.CANCELLED for job in jobs):
            raise Refused(NOT_CONTINUABLE, "its job was cancelled", where=run_id)
        new_id, handing_over = attendant.go_on(before, actor, reason)
        self._spawn(handing_over)
        await self._ledger.flush()
        return self._ledger.farm.runs.get(new_id, before)

    # --- holding and driving ----------------------------------------------------------------

    async def hold(self, name: str, actor: str, reason: str = "") -> Machine:
        """Start nothing on a machine; what runs goes on. A start that is being handed over is called off."""
        held = f.MachineHeld(at=now(), actor=actor, machine=name, reason=reason)
        await self._ledger.soon(self._ledger.record(held))
        attendant = self._attendants.get(name)
        run = self._ledger.farm.runs.get((attendant and attendant.starter.run_id) or "")
        if attendant is not None and run is not None and run.state is RunState.INTENT:
            # Whoever is told that it is held may reach in at once.
            await attendant.give_up()
        return self._ledger.farm.machines[name]

    async def release(self, name: str, actor: str, reason: str = "") -> Machine:
        """Let a held machine work again; of a fault, that it is mended."""
        require_normal(self._ledger.farm)
        machine = find_machine(self._ledger.farm, name)
        if machine.state is MachineState.FAULT:
            # Leaving a fault may move or heat something: a daemon that has lost the farm must not get that far.
            asked = f.MachineAsked(
                at=now(), actor=actor, machine=name, act="recover", reason=reason, run_id=machine.run_id
            )
            await self._ledger.record(asked)
            await self._attendant(name).recover()
        if machine.held is not None:
            await self._ledger.record(f.MachineReleased(at=now(), actor=actor, machine=name, reason=reason))
        return self._ledger.farm.machines[name]

    async def pause(self, name: str, actor: str, reason: str = "") -> None:
        await self._tell(name, "pause", actor, reason, self._attendant(name).pause)

    async def resume(self, name: str, actor: str, reason: str = "") -> None:
        """Go on with a paused run. On disk before it is told: what moves a machine is sent by the one daemon
        that can write the record."""
        require_normal(self._ledger.farm)
        resume, machine = self._attendant(name).resume, find_machine(self._ledger.farm, name)
        asked = f.MachineAsked(
            at=now(), actor=actor, machine=name, act="resume", reason=reason, run_id=machine.run_id
        )
        await self._ledger.record(asked)
        # The disk took its time.
        require_normal(self._ledger.farm)
        await resume()

    async def stop(self, name: str, actor: str, reason: str = "") -> None:
        """Cancel the run on a machine safely. Its end is recorded when the machine tells it."""
        await self._tell(name, "stop", actor, reason, self._attendant(name).stop)

    async def _tell(
        self, name: str, act: str, actor: str, reason: str, tell: Callable[[], Awaitable[None]]
    ) -> None:
        """Tell a machine at once; that somebody did is on disk when this returns, where the disk takes it."""
        machine = find_machine(self._ledger.farm, name)
        asked = f.MachineAsked(
            at=now(), actor=actor, machine=name, act=act, reason=reason, run_id=machine.run_id
        )
        durable = self._ledger.record(asked)
        try:
            await tell()
        finally:
            await self._ledger.soon(durable)

    async def command(self, name: str, actor: str, text: str, reason: str = "") -> Reply:
        """Send a machine one command that a person typed; see `Typing`."""
        return await self._typing.send(self._attendant(name), actor, text, reason)

    async def estop(self, name: str | None, actor: str, reason: str = "") -> list[str]:
        """Emergency stop of one machine, or of all. Sends before it records.

        Nothing is started on any of them until it is released, also where the stop could not be
        sent. Returns those to which it was sent; raises when there is none.
        """
        names = list(self._attendants) if name is None else [name]
        problems = {each: self._attendant(each).estop() for each in names}
        why = f"emergency stop: {reason}" if reason else "emergency stop"
        held: list[f.Fact] = [
            f.MachineHeld(at=now(), actor=actor, machine=each, reason=why) for each in names
        ]
        if held:
            await self._ledger.soon(self._ledger.record(*held))
        stopped = [each for each, problem in problems.items() if problem is None]
        failed = [problem for problem in problems.values() if problem is not None]
        if failed and not stopped:
            raise failed[0]
        return stopped

    def _attendant(self, name: str) -> Attendant:
        if (attendant := self._attendants.get(name)) is None:
            raise Refused(UNKNOWN_MACHINE, where=name)
        return attendant
