"""A farm of 25 machines in every state, told by the daemon's own views, and an API that answers with it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import pytest

from farmd.cli.farmctl import farmctl
from farmd.cli.live import Frame
from farmd.daemon import views
from farmd.daemon.live import Live
from farmd.daemon.schedule import Schedule, Step
from farmd.daemon.shop import Shop
from farmd.daemon.walk import walk_list
from farmd.daemon.why import why
from farmd.driver import Capabilities
from farmd.model import facts as f
from farmd.model.farm import Farm
from farmd.model.lifecycle import BuildState, JobState, MachineState, RunState
from farmd.model.machine import Fault, Machine, MachineSpec, Permit
from farmd.model.work import Build, BuildItem, Job, Outcome, Run

NOW = 1_773_748_800.0  # 2026-03-17 12:00 UTC, a Tuesday
HOUR = 3600.0
MATERIALS = ("PLA black", "PLA red", "PETG clear", "ASA grey")
DESIGNS = ("bracket-lh@B", "bracket-rh@B", "housing-top-with-a-long-name@A", "clip", "jig-7")
STATES = (
    "making",
    "making",
    "making",
    "to-clear",
    "making",
    "ready",
    "making",
    "starting",
    "making",
    "cooling",
)
ODD = {3: "fault", 8: "offline", 12: "held", 14: "foreign", 17: "unsure", 19: "paused"}


@pytest.fixture(autouse=True)
def _berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Local time is one hour before UTC+1's noon: texts show 13:00 for `NOW`."""
    for name in ("FARMCTL_URL", "FARMCTL_TOKEN", "FARMCTL_TOKEN_FILE", "COLUMNS", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def _job(number: int) -> Job:
    quantity = 10 + 7 * number
    return Job(
        id=f"J-{number}",
        design=DESIGNS[number % len(DESIGNS)],
        file_sha256=f"{number:064x}",
        file_name=f"{DESIGNS[number % len(DESIGNS)]}.gcode",
        process="MEX",
        quantity=quantity,
        submitted_at=NOW - 30 * HOUR,
        parts_per_plate=4,
        duration_s=2.5 * HOUR,
        mass_g=84.0,
        material=MATERIALS[number % 4],
        nozzle_mm=0.4,
        due_at=None if number == 9 else NOW + (number - 3) * 9 * HOUR,
        priority=1.0 + number % 3,
        owner="workshop",
        state=JobState.HELD if number == 5 else JobState.OPEN,
        good=quantity * number // 14,
        scrap=number % 3,
        in_work=4,
        open_builds=1,
    )


def _machine(index: int, farm: Farm) -> Machine:
    name, kind = f"mk4-{index + 1:02}", ODD.get(index, STATES[index % len(STATES)])
    machine = Machine(
        name, MachineState.IDLE, NOW - HOUR, material=MATERIALS[index % 4], nozzle_mm=0.4, lot_id="L-3"
    )
    job = 1 + index % 11
    run = Run(
        id=f"R-{index:02}K2M9QX4T",
        build_id=f"B-{index}",
        machine=name,
        permit_id="P-1",
        fence=1,
        intent_at=NOW - HOUR,
        state=RunState.RUNNING,
        started_at=NOW - (0.2 + index / 12) * HOUR,
    )
    states = {"unsure": RunState.UNCERTAIN, "paused": RunState.PAUSED, "starting": RunState.SENT}
    if kind in ("making", "starting", "unsure", "paused"):
        run = replace(run, state=states.get(kind, RunState.RUNNING))
        machine = replace(machine, state=MachineState.BUSY, run_id=run.id)
    elif kind in ("to-clear", "cooling"):
        run = replace(run, state=RunState.ENDED, outcome=Outcome.OK, ended_at=NOW - 0.4 * HOUR)
        ready_at = NOW + 0.5 * HOUR if kind == "cooling" else NOW - 0.4 * HOUR
        return _with_run(replace(machine, uncleared_run_id=run.id, ready_at=ready_at), run, job, farm)
    else:
        fault = Fault(
            "thermal-runaway", "the nozzle does not heat as it should", "look at the heater's cable"
        )
        return {
            "ready": replace(machine, permit=Permit("P-2", NOW, "ana")),
            "fault": replace(machine, state=MachineState.FAULT, fault=fault),
            "offline": replace(machine, state=MachineState.OFFLINE),
            "held": replace(machine, held="nozzle to be changed"),
            "foreign": replace(machine, state=MachineState.FOREIGN, foreign="benchy.gcode"),
        }[kind]
    return _with_run(machine, run, job, farm)


def _with_run(machine: Machine, run: Run, job: int, farm: Farm) -> Machine:
    farm.runs[run.id] = run
    farm.builds[run.build_id] = Build(
        id=run.build_id,
        operation="print",
        items=(BuildItem(f"J-{job}", 4),),
        created_at=NOW - 2 * HOUR,
        duration_s=2.5 * HOUR,
        material=machine.material,
        machine=machine.name,
        state=BuildState.ASSIGNED,
    )
    return machine


@dataclass
class Fake:
    """Every answer of the API, by the daemon's views."""

    farm: Farm
    shop: Shop
    schedule: Schedule
    live: dict[str, Live]

    def job(self, name: str) -> dict[str, Any]:
        return views.job_view(self.farm.jobs[name], self.farm, self.schedule, NOW)

    def jobs(self) -> list[dict[str, Any]]:
        return [self.job(name) for name in self.farm.jobs]

    def job_page(self, name: str) -> dict[str, Any]:
        runs = [run for run in self.farm.runs.values() if self._of(run, name)]
        return {
            **self.job(name),
            "builds": [views.build_view(self.farm.builds[run.build_id]) for run in runs],
            "runs": [views.run_view(run, self.farm.builds[run.build_id]) for run in runs],
            "file": {"name": "bracket.gcode", "kind": "gcode", "size_bytes": 2_400_000},
        }

    def _of(self, run: Run, name: str) -> bool:
        return any(item.job_id == name for item in self.farm.builds[run.build_id].items)

    def machine(self, name: str) -> dict[str, Any]:
        return views.machine_view(name, self.farm, self.shop, self.schedule, self.live.get(name))

    def machines(self) -> list[dict[str, Any]]:
        return [self.machine(name) for name in self.farm.machines]

    def machine_page(self, name: str) -> dict[str, Any]:
        runs = [run for run in self.farm.runs.values() if run.machine == name]
        return {
            **self.machine(name),
            "runs": [views.run_view(run, self.farm.builds[run.build_id]) for run in runs],
        }

    def tasks(self) -> list[dict[str, Any]]:
        return [views.task_view(task) for task in walk_list(self.farm, self.schedule, self.shop, NOW)]

    def why(self, name: str) -> dict[str, Any]:
        return views.why_view(why(self.farm, self.schedule, self.shop, self.farm.jobs[name]))

    def plan(self) -> dict[str, Any]:
        return views.plan_view(self.schedule)

    def events(self) -> list[dict[str, Any]]:
        told = (
            f.JobSubmitted(at=NOW - 90, actor="ana", job=self.farm.jobs["J-1"]),
            f.RunStarted(at=NOW - 60, actor="machine:mk4-01", run_id="R-1", evidence="it prints"),
            f.MachineLost(at=NOW - 30, actor="daemon", machine="mk4-09", reason="read failed"),
        )
        return [views.fact_view(seq, fact) for seq, fact in enumerate(told, start=41)]

    def throughput(self) -> dict[str, Any]:
        row = {"good": 300, "passed": 0, "scrap": 12, "runs_ok": 70, "runs_failed": 3, "runs_cancelled": 1}
        rows = [{"key": f"mk4-{i:02}", **row, "busy_s": 9.5 * HOUR} for i in range(1, 4)]
        total = {key: 3 * value for key, value in row.items()} | {"busy_s": 28.5 * HOUR}
        return {
            "since": views.iso(NOW - 12 * HOUR),
            "until": views.iso(NOW),
            "by": "machine",
            "rows": rows,
            "total": total,
            "annualised_good": 657_000,
            "target": 1_000_000,
        }

    def farm_view(self) -> dict[str, Any]:
        return {
            "name": "north-hall",
            "version": "0.1.0",
            "boot_id": "0123456789ABCDEF",
            "started_at": views.iso(NOW - 50 * HOUR),
            "now": views.iso(NOW),
            "revision": 43,
            "policy": "plan",
            "machines": len(self.farm.machines),
            "jobs_open": len(self.farm.jobs),
            "planner_failures": 0,
            "speed": 1.0,
        }

    def frame(self) -> Frame:
        return Frame(self.farm_view(), self.machines(), self.jobs(), self.tasks(), self.throughput())


def make_fake(machines: int = 25, jobs: int = 11) -> Fake:
    farm = Farm(jobs={f"J-{n}": _job(n) for n in range(1, jobs + 1)})
    for index in range(machines):
        machine = _machine(index, farm)
        farm.machines[machine.name] = machine
    specs = {
        name: MachineSpec(name, "simulated", "mk4", "MEX", (250.0, 210.0, 220.0)) for name in farm.machines
    }
    shop = Shop("north-hall", specs, {name: Capabilities() for name in specs})
    steps = {}
    for index, name in enumerate(farm.machines):
        start = NOW + (1 + index % 5) * HOUR
        work = f"J-{1 + (index * 3) % jobs}"
        steps[name] = (Step(name, start, start + 2.5 * HOUR, work, (), start - 600, f"{work}#1"),)
    schedule = Schedule(
        43, NOW - 20, steps, {"J-9": "later: earlier work fills the planning horizon"}, "plan"
    )
    live = {
        run.machine: Live(fraction=0.05 + 0.9 * (i / len(farm.runs)), layer=7, actual_c={"nozzle": 214.6})
        for i, run in enumerate(farm.runs.values())
    }
    if "mk4-01" in live:
        live["mk4-01"].target_c["nozzle"] = 215.0
        live["mk4-01"].attention["under-run"] = "12 under-runs in the last minute: the port is slow"
    return Fake(farm, shop, schedule, live)


@pytest.fixture
def fake() -> Fake:
    return make_fake()


@pytest.fixture
def make() -> Callable[..., Fake]:
    return make_fake


@dataclass
class Api:
    """An API in memory: answers by method and path, and remembers what it was asked."""

    fake: Fake
    asked: list[httpx.Request] = field(default_factory=list)
    answers: dict[tuple[str, str], Callable[[httpx.Request], httpx.Response]] = field(default_factory=dict)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.asked.append(request)
        path = request.url.path.removeprefix("/api/v1")
        if answer := self.answers.get((request.method, path)):
            return answer(request)
        return httpx.Response(200, json=self._usual(request, path))

    def _usual(self, request: httpx.Request, path: str) -> Any:
        fake, body = self.fake, request.content
        usual: dict[str, Callable[[], Any]] = {
            "GET /farm": fake.farm_view,
            "GET /jobs": lambda: {"jobs": fake.jobs()},
            "GET /machines": lambda: {"machines": fake.machines()},
            "GET /plan": fake.plan,
            "GET /plan/problem": lambda: {"format": "farmd-problem/1"},
            "GET /next": lambda: {"tasks": fake.tasks()},
            "GET /throughput": fake.throughput,
            "GET /events": lambda: {"events": self._events(request)},
            "POST /jobs": lambda: fake.job("J-1"),
            "POST /estop": lambda: {"stopped": list(fake.farm.machines), "not_stopped": []},
        }
        if simple := usual.get(f"{request.method} {path}"):
            return simple()
        room, name, verb = re.fullmatch(r"/(\w+)/([^/]+)/?(\w*)", path).groups()  # type: ignore[union-attr]
        if room == "jobs":
            if request.method == "GET":
                return fake.why(name) if verb == "why" else fake.job_page(name)
            return fake.job(name)
        if room == "runs":
            return views.run_view(next(iter(fake.farm.runs.values())), None)
        if verb == "clear":
            counted = {"good": 4, "scrap": 0} | {k: v for k, v in json.loads(body).items() if k != "reason"}
            return {**counted, "machine": fake.machine(name)}
        return fake.machine_page(name) if request.method == "GET" else fake.machine(name)

    def _events(self, request: httpx.Request) -> list[dict[str, Any]]:
        after = int(request.url.params.get("after", 0))
        found = [event for event in self.fake.events() if event["seq"] > after]
        return found[::-1] if "newest_first" in request.url.params else found

    def refuse(self, method: str, path: str, status: int, code: str, what: str, remedy: str) -> None:
        error = {"code": code, "what": what, "where": "", "remedy": remedy}
        self.answers[method, path] = lambda request: httpx.Response(status, json={"error": error})


@pytest.fixture
def api(fake: Fake) -> Api:
    return Api(fake)


@pytest.fixture
def ctl(api: Api) -> Callable[..., int]:
    """Runs a command line of farmctl against `api` and gives its exit code."""
    return lambda *args: farmctl([str(arg) for arg in args], httpx.MockTransport(api))
