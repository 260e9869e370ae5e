"""The people of the shop that is crashed (`crashshop.py`): they order, clear, mend, look and meddle, by chance."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Awaitable
from pathlib import Path

from farmd.daemon.counting import Counted
from farmd.daemon.desk import Order, Upload
from farmd.daemon.service import Service
from farmd.daemon.walk import Task, walk_list
from farmd.driver import now, sleep
from farmd.model.errors import FarmdError
from farmd.model.lifecycle import JobState, RunState
from farmd.model.work import PRINT, Outcome
from farmd.sim.demand import file_name, file_of, upload
from farmd.sim.scenario import Product
from farmd_drivers.simulated.driver import SimulatedDriver
from farmd_drivers.simulated.machine import Answer
from farmd_drivers.simulated.unit import Unit

MACHINES = ("fdm-01", "fdm-02", "ejector", "powder", "blaster")
MEDDLING = (
    *("hold", "release", "pause", "resume", "stop", "estop", "hold-job", "release-job", "cancel", "edit"),
    *("fail", "reboot", "panel", "drop", "cut", "cable", "break"),
)
PLATE = Product(name="clip", material="PLA", size_mm=(60, 60, 20), minutes=45, grams=12, parts_per_plate=4)
PART = Product(name="gear", process="PBF", material="PA12", size_mm=(40, 40, 30), volume_share=0.5)


class Acked:
    """What people were told to be done, kept apart from the farm's own record."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "acked"

    def note(self, *words: object) -> None:
        handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, (json.dumps(words) + "\n").encode())
        finally:
            os.close(handle)

    def lines(self) -> list[list[object]]:
        return (
            [json.loads(line) for line in self._path.read_text().splitlines()] if self._path.exists() else []
        )


class Shopkeeper:
    """Orders, clears, loads, mends, looks, and meddles; all by chance."""

    def __init__(self, service: Service, chance: random.Random, acked: Acked, *, orders: int) -> None:
        self.service = service
        self.chance = chance
        self.acked = acked
        self.orders = orders

    async def work(self, meddling: float) -> None:
        """Until everything that was ordered is made."""
        uploads = [await upload(self.service, file_name(p), file_of(p)) for p in (PLATE, PART)]
        farm = self.service.farm
        while True:
            if self.orders > 0 and self.chance.random() < 0.3:
                self.orders -= 1
                await self._order(uploads)
            await self.round()
            if self.chance.random() < meddling:
                await self._tried(self._meddle())
            elif not meddling:
                await self._let_go()
            if self.orders <= 0 and not farm.jobs:
                return
            await sleep(self.chance.uniform(30.0, 400.0))

    async def round(self) -> None:
        """Go through the walk list once."""
        service = self.service
        for task in walk_list(service.farm, service.planning.schedule, service.shop, now()):
            if task.at <= now() and task.kind != "link":
                await self._tried(self._do(task))

    async def _let_go(self) -> None:
        """End everything that somebody holds up."""
        farm, floor = self.service.farm, self.service.floor
        if farm.safe_modes:
            await self._tried(self.service.safety.leave("boss"))
        for name in [name for name, machine in farm.machines.items() if machine.held]:
            await self._tried(floor.release(name, "boss"))
        for run in [run for run in farm.runs.values() if run.state is RunState.PAUSED]:
            await self._tried(floor.resume(run.machine, "boss"))
        for job in [job for job in farm.jobs.values() if job.state is JobState.HELD]:
            await self._tried(self.service.desk.release(job.id, "boss"))

    async def _tried(self, work: Awaitable[None]) -> None:
        try:
            await work
        except FarmdError:
            # Others were quicker, or the machine is not as far; the walk list will say.
            return

    async def _order(self, uploads: list[Upload]) -> None:
        powder = self.chance.random() < 0.35
        quantity = self.chance.randint(1, 9)
        route = ("print", "wash") if not powder and self.chance.random() < 0.3 else ()
        order = Order(
            quantity=quantity,
            parts_per_plate=None if powder else 4,
            material="PA12" if powder else self.chance.choice(("PLA", "PLA red", None)),
            due_at=now() + self.chance.uniform(3600.0, 200_000.0),
            route=route,
        )
        job = await self.service.desk.submit(uploads[powder], order, "customer")
        self.acked.note("job", job.id, quantity)

    async def _do(self, task: Task) -> None:
        floor = self.service.floor
        match task.kind:
            case "clear":
                by_job = self._inspect(task)
                await sleep(self.chance.uniform(1.0, 120.0))
                # The machine may have ejected it meanwhile, and counted it itself.
                lies_there = self.service.farm.machines[task.machine].uncleared_run_id == task.run_id
                counted = await floor.clear(task.machine, "hands", by_job=by_job)
                if task.run_id is not None and lies_there:
                    self.acked.note("clear", task.machine, task.run_id, counted["good"], counted["scrap"])
            case "load" if task.material is not None:
                await floor.load(task.machine, "hands", task.material, nozzle_mm=task.nozzle_mm)
            case "fault":
                await floor.release(task.machine, "hands")
            case "resolve":
                await floor.resolve(str(task.run_id), self._look(task), "hands")

    def _inspect(self, task: Task) -> dict[str, Counted]:
        farm = self.service.farm
        run = farm.runs.get(task.run_id or "")
        if run is None:
            return {}
        build, ok = farm.builds[run.build_id], run.outcome is Outcome.OK
        if (build.operation == PRINT and not ok) or (ok and self.chance.random() < 0.7):
            return {}
        scrap = {item.job_id: self.chance.randint(0, item.parts) for item in build.items}
        return {
            item.job_id: Counted(item.parts - scrap[item.job_id], scrap[item.job_id]) for item in build.items
        }

    def _look(self, task: Task) -> str:
        unit = self._unit(task.machine)
        if unit.truth.run is not None and unit.truth.run.run_id == task.run_id:
            return "printing"
        taken = any(s.run_id == task.run_id and s.answer is Answer.TAKEN for s in unit.starts())
        return "failed" if taken else "not-started"

    async def _meddle(self) -> None:
        floor, desk, chance, farm = self.service.floor, self.service.desk, self.chance, self.service.farm
        name = chance.choice(MACHINES)
        job_id = chance.choice([*farm.jobs, "J-0"])
        match chance.choice(MEDDLING):
            case "hold":
                await floor.hold(name, "boss", "for a while")
            case "release":
                await floor.release(name, "boss")
            case "pause":
                await floor.pause(name, "boss")
            case "resume":
                await floor.resume(name, "boss")
            case "stop":
                await floor.stop(name, "boss")
            case "estop" if chance.random() < 0.3:
                await floor.estop(chance.choice((None, name)), "boss")
            case "hold-job":
                await desk.hold(job_id, "boss")
            case "release-job":
                await desk.release(job_id, "boss")
            case "cancel" if chance.random() < 0.3:
                await desk.cancel(job_id, "boss")
                self.acked.note("cancel", job_id)
            case "edit":
                quantity = chance.randint(1, 9)
                await desk.edit(job_id, "boss", quantity=quantity)
                self.acked.note("edit", job_id, quantity)
            case "fail":
                self._unit(name).fail_now("somebody bumped into it")
            case "reboot":
                self._unit(name).reboot()
            case "panel":
                self._unit(name).panel_start("benchy", 1800.0)
            case "drop":
                self._unit(name).drop_next_start()
            case "cut":
                self._unit(name).cut_next_start(arrives=chance.random() < 0.5)
                await sleep(chance.uniform(100.0, 2000.0))
                self._unit(name).plug_cable()
            case "cable":
                self._unit(name).pull_cable(now() + chance.uniform(1.0, 5000.0))
            case "break":
                self._unit(name).break_now()

    def _unit(self, name: str) -> Unit:
        driver = self.service.attendants[name].driver
        assert isinstance(driver, SimulatedDriver)
        return driver.machine
