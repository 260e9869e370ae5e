"""`farmd demo`: a whole shop in real time where the shop's clock runs faster.

The shipping daemon with its planner process, its API and an ordinary loop. The machines are
simulated, but for those of the driver `marlin`: these are emulators on pseudo-terminals, and the
real serial driver prints on them. The demo plays the technicians.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farmd.app import Setup, run_farm
from farmd.config import Config, load_config
from farmd.daemon.desk import Order
from farmd.daemon.planner_process import PlannerProcess
from farmd.daemon.service import Service
from farmd.driver import now, offload
from farmd.driver.clock import Clock, set_clock
from farmd.gcode import executable_lines
from farmd.model.work import Job, Outcome
from farmd.sim.demand import upload
from farmd.sim.machines import at_home_in, with_links, with_port
from farmd.sim.people import People, Worked
from farmd.sim.report import ALL, Span, report
from farmd.sim.scenario import APART, Demo, read_demo
from farmd.store import Store, Vault, fold, verify
from farmd_drivers.marlin.driver import ADDED_COMMANDS
from farmd_drivers.marlin.peer import PtyPeer

CUSTOMER = "customer"


@dataclass(frozen=True, slots=True)
class DemoRequest:
    """What to show. `speed` None takes the shop's own; `until_done` ends when every job is closed."""

    shop: Path
    data_dir: Path
    speed: float | None = None
    until_done: bool = False
    seed: int = 1
    listen: str = "127.0.0.1:0"


Face = Callable[[Service, Config], Coroutine[Any, Any, None]]
"""What goes on beside the demo: its API and the live view. Cancelled at its end."""


async def demo(request: DemoRequest, face: Face, end: asyncio.Event) -> dict[str, Any]:
    """Run the demo until `end` is set, or all is done; its summary. Raises `ConfigErrors`."""
    plan = read_demo(request.shop)
    config = at_home_in(load_config(request.shop, apart=APART), request.data_dir, request.listen)
    config = with_links(config, plan.habits.machines, {"seed": request.seed})
    loop = asyncio.get_running_loop()
    set_clock(loop, Clock(time.time(), loop.time(), request.speed or plan.speed))
    over: list[tuple[Span, Worked]] = []
    with ExitStack() as closing:
        peers: dict[str, PtyPeer] = {}
        for machine in config.machines:
            if machine.driver == "marlin":
                peer = closing.enter_context(PtyPeer())
                peers[machine.name] = peer
                config = with_port(config, machine.name, peer.port)
        planner = PlannerProcess(
            policy="plan",
            budget_s=config.planner.budget_s,
            stability_price_s=config.planner.stability_price_s,
            seed=request.seed,
        )

        async def body(service: Service) -> None:
            begins = now()
            people = People(service, plan.habits, random.Random(request.seed))
            async with asyncio.TaskGroup() as group:
                beside = [group.create_task(people.run()), group.create_task(face(service, config))]
                await _order(service, plan, request.shop.parent / "samples", begins)
                done = group.create_task(_all_done(service))
                ended = group.create_task(end.wait())
                until = {ended, done} if request.until_done else {ended}
                await asyncio.wait(until, return_when=asyncio.FIRST_COMPLETED)
                for task in (*beside, done, ended):
                    task.cancel()
            over.append((Span(begins, now()), people.worked))

        try:
            await run_farm(Setup(config, planner), body)
        finally:
            await planner.close()
        return _summary(config, *over[0], peers)


async def _order(service: Service, plan: Demo, samples: Path, begins: float) -> None:
    for each in plan.order:
        content = await offload((samples / each.file).read_bytes)
        order = Order(
            quantity=each.quantity,
            material=each.material,
            group=each.group,
            due_at=None if each.due_h is None else begins + each.due_h * 3600,
            priority=each.priority,
            owner=CUSTOMER,
        )
        await service.desk.submit(await upload(service, each.file, content), order, CUSTOMER)


async def _all_done(service: Service) -> None:
    """Return when no job is open and no run either."""
    changed = asyncio.Event()
    leave = service.ledger.subscribe(lambda records: changed.set())
    while service.farm.jobs or service.farm.runs:
        await changed.wait()
        changed.clear()
    leave()


def _summary(config: Config, span: Span, worked: Worked, peers: dict[str, PtyPeer]) -> dict[str, Any]:
    """The figures from what the ended daemon has left on the disk, and whether all of it agrees."""
    data_dir = config.farm.data_dir
    groups = {spec.name: spec.group for spec in config.machine_specs()}
    with Store.open(config.database.url, data_dir=data_dir) as store:
        vault = Vault(data_dir / "vault")
        figures = report(store, span, groups, worked)
        return {
            "shop": config.farm.name,
            **figures,
            # An empty record would agree with anything.
            "journal_agrees": figures["journal"]["facts"] > 0
            and not verify(store, vault)
            and _good_parts(store) == figures["parts"]["good"],
            "serial": {name: _executed(store, vault, name, peer) for name, peer in peers.items()},
        }


def _good_parts(store: Store) -> int:
    """Good parts of all jobs, counted from the journal's facts alone."""
    state = fold(store.facts())
    return sum(entity.good for entity in state.values() if isinstance(entity, Job))


def _executed(store: Store, vault: Vault, name: str, peer: PtyPeer) -> dict[str, Any]:
    """Whether the emulator executed just the commands of its runs' files, once and in order."""
    files: list[tuple[list[bytes], bool]] = []
    runs = [run for run in store.runs(machine=name, limit=ALL) if run.started_at is not None]
    for run in sorted(runs, key=lambda run: run.intent_at):
        with vault.open(str(run.file_sha256)) as file:
            files.append((list(executable_lines(file)), run.outcome is Outcome.OK))
    finished = [commands for commands, whole in files if whole]
    return {
        "runs": len(finished),
        "commands": sum(map(len, finished)),
        "exact": only_added(peer.executed, files),
    }


def only_added(executed: list[bytes], files: list[tuple[list[bytes], bool]]) -> bool:
    """Whether `executed` is the files' commands, once and in order, with nothing between but what the driver adds.

    Each file comes with whether its run went to the end; of one that did not, a beginning is enough.
    """
    place = 0
    for commands, whole in files:
        done = 0
        while done < len(commands) and place < len(executed):
            if executed[place] == commands[done]:
                done += 1
            elif not ADDED_COMMANDS.fullmatch(executed[place]):
                break
            place += 1
        if whole and done < len(commands):
            return False
    return all(ADDED_COMMANDS.fullmatch(command) for command in executed[place:])
