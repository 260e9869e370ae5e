"""Simulated technicians: they read the walk list, as people would, and do what it says, in their shifts.

They touch the daemon only through the floor, like farmctl does, and the machines only as hands do:
looking whether one prints, and mending one.
"""

from __future__ import annotations

import asyncio
import math
import random
from dataclasses import dataclass, field

from farmd.daemon.counting import Counted
from farmd.daemon.service import Service
from farmd.daemon.walk import Task, walk_list
from farmd.driver import now, sleep, sleep_until
from farmd.driver.clock import wait_until
from farmd.model.errors import Refused
from farmd.model.lifecycle import MachineState
from farmd.model.work import PRINT, Outcome
from farmd.sim.scenario import Habits
from farmd_drivers.simulated.driver import SimulatedDriver

DAY_S = 86400.0
LOOK_AHEAD_S = 14 * DAY_S
EARLY_S = 2 * 3600.0
"""How long before the plan's time a free person prepares a machine."""
GIVE_UP_S = 3600.0
"""How long a person leaves a task alone that could not be done."""


@dataclass(slots=True)
class Worked:
    """What the people of a shop have done."""

    seconds: float = 0.0
    clears: int = 0
    changeovers: int = 0
    repairs: int = 0
    looks: int = 0


@dataclass(slots=True)
class People:
    """All technicians of a shop. `run` lasts until cancelled."""

    service: Service
    habits: Habits
    random: random.Random
    worked: Worked = field(default_factory=Worked)
    _claimed: dict[str, float] = field(default_factory=dict)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _seen: tuple[int, float] = (-1, -1.0)
    _list: list[Task] = field(default_factory=list)

    async def run(self) -> None:
        service = self.service
        service.ledger.subscribe(lambda records: self._news.set())
        service.planning.on_publish(self._news.set)
        crews = service.shop.people or {"": None}
        async with asyncio.TaskGroup() as group:
            for shift, people in crews.items():
                count = len(service.shop.specs) if people is None else people
                for number in range(count):
                    group.create_task(self._person(shift), name=f"person:{shift}:{number}")

    async def _person(self, shift: str) -> None:
        while True:
            ends = await self._begin(shift)
            while now() < ends:
                task = self._claim()
                if task is None:
                    await self._wait(ends)
                    continue
                try:
                    await self._do(task)
                except Refused:
                    self._claimed[task.machine] = now() + GIVE_UP_S
                else:
                    self._claimed.pop(task.machine, None)
                self._news.set()

    async def _begin(self, shift: str) -> float:
        """Wait for the shift's next working time and return its end."""
        if not shift:
            return math.inf
        spans = self.service.shop.windows(now(), now() + LOOK_AHEAD_S)[shift]
        begins, ends = next((a, b) for a, b in spans if b > now() + 1.0)
        await sleep_until(begins)
        return ends

    async def _wait(self, ends: float) -> None:
        """Until something changes, a task falls due, or the shift ends."""
        due = [at for task in self._tasks() if (at := max(task.from_at, task.at - EARLY_S)) > now()]
        until = min([ends, now() + 900.0, *due])
        self._news.clear()
        await wait_until(self._news, max(until, now() + 1.0))

    def _tasks(self) -> list[Task]:
        service = self.service
        schedule = service.planning.schedule
        state = (service.farm.revision, schedule.made_at)
        if state != self._seen:
            self._seen = state
            self._list = walk_list(service.farm, schedule, service.shop, now())
        return self._list

    def _claim(self) -> Task | None:
        for task in self._tasks():
            away = task.kind == "link" or self._claimed.get(task.machine, 0.0) > now()
            if away or max(task.from_at, task.at - EARLY_S) > now():
                continue
            self._claimed[task.machine] = math.inf
            return task
        return None

    async def _do(self, task: Task) -> None:
        shop, floor, worked = self.service.shop, self.service.floor, self.worked
        if self.habits.reaction_s:
            await sleep(self.random.expovariate(1 / self.habits.reaction_s))
        began = now()
        match task.kind:
            case "clear":
                await sleep(shop.clear_s)
                by_job = self._inspect(task)
                worked.clears += 1
                await floor.clear(task.machine, "technician", by_job=by_job)
            case "load":
                machine = self.service.farm.machines[task.machine]
                await sleep(self._changeover_s(machine.material, task.material))
                worked.changeovers += 1
                if task.material is not None:
                    await floor.load(task.machine, "technician", task.material, nozzle_mm=task.nozzle_mm)
            case "fault":
                if self.habits.repair_s:
                    await sleep(self.random.expovariate(1 / self.habits.repair_s))
                worked.repairs += 1
                await floor.release(task.machine, "technician")
            case "resolve":
                worked.looks += 1
                await sleep(60.0)
                await floor.resolve(str(task.run_id), self._look(task), "technician")
        worked.seconds += now() - began

    def _inspect(self, task: Task) -> dict[str, Counted]:
        """Good parts and scrap of what lies there, by job; nothing where the machine made nothing good."""
        farm = self.service.farm
        run = farm.runs.get(task.run_id or "")
        build = farm.builds[run.build_id] if run is not None else None
        if run is None or build is None or (run.outcome is not Outcome.OK and build.operation == PRINT):
            return {}
        last = all(farm.jobs[item.job_id].route[-1] == build.operation for item in build.items)
        # A station that stopped has spoiled nothing.
        share = self.habits.scrap_share if last and run.outcome is Outcome.OK else 0.0
        found = {}
        for item in build.items:
            scrap = sum(self.random.random() < share for _ in range(item.parts)) if share else 0
            found[item.job_id] = Counted(item.parts - scrap, scrap)
        return found

    def _changeover_s(self, before: str | None, after: str | None) -> float:
        pairs = {(a, b): seconds for a, b, seconds in self.service.shop.changeovers}
        return pairs.get((before or "", after or ""), self.service.shop.changeover_s)

    def _look(self, task: Task) -> str:
        """What a person sees who stands before the machine."""
        driver = self.service.attendants[task.machine].driver
        if not isinstance(driver, SimulatedDriver):
            return "failed"
        seen = driver.machine.look()
        if seen.run_id == task.run_id:
            return "printing"
        began = any(start.run_id == task.run_id for start in driver.machine.starts())
        offline = self.service.farm.machines[task.machine].state is MachineState.OFFLINE
        return "failed" if began or offline else "not-started"
