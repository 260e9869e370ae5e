"""A small shop that is crashed again and again; what must hold then is in `crashproof.py`.

The programs of the crash tests, each a process of its own:

    python crashshop.py campaign FOLDER SEED CRASHES    on virtual time; memory is thrown away at seeded moments
    python crashshop.py live FOLDER SEED SPEED          in real time, sped up, until somebody kills it
    python crashshop.py finish FOLDER SEED              on virtual time, until everything is made

The machines' truth lives in FOLDER/truth and outlives every crash. What people were told to be done
is in FOLDER/acked, one line each; the shop's time in FOLDER/clock.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import traceback
from dataclasses import replace
from pathlib import Path

import structlog
from crashpeople import Acked, Shopkeeper

import farmd.planner.solve  # loaded before the forks, not after each
from farmd.app import Setup, run_farm
from farmd.config import Config, load_config
from farmd.daemon.ids import IdSource
from farmd.daemon.service import Service
from farmd.driver import now
from farmd.driver.clock import Clock, set_clock
from farmd.sim.loop import WarpLoop
from farmd.sim.planners import CountedPlanner
from farmd.store import Store
from farmd_drivers.simulated.driver import SimulatedDriver
from farmd_drivers.simulated.unit import Unit

T0 = 1_767_600_000.0
HUNG_S = 30
LONGEST_S = 60 * 86400.0

CONFIG = """
[farm]
name = "crashed"
data_dir = "{data}"
[planner]
replan_min_interval_s = 60
clear_minutes = 2
[[material]]
name = "PLA"
[[material]]
name = "PA12"
process = "PBF"
density_g_cm3 = 1.0
[[machine]]
name = "fdm"
count = 2
driver = "simulated"
process = "MEX"
volume_mm = [250, 210, 220]
nozzle_mm = 0.4
material = "PLA black"
[machine.link]
truth_dir = "{truth}"
seed = {seed}
noise = 0.1
failure_rate = 0.1
drop_rate = 0.08
mtbf_h = 40
link_mtbf_h = 6
reboot_every_h = 30
panel_every_h = 25
[[machine]]
name = "ejector"
driver = "simulated"
process = "MEX"
volume_mm = [250, 210, 220]
nozzle_mm = 0.4
material = "PLA red"
permit_from_machine = true
[machine.link]
truth_dir = "{truth}"
seed = {seed}
failure_rate = 0.05
drop_rate = 0.05
link_mtbf_h = 8
reboot_every_h = 30
[[machine]]
name = "powder"
driver = "simulated"
process = "PBF"
volume_mm = [300, 300, 300]
material = "PA12"
link = {{ truth_dir = "{truth}", seed = {seed}, failure_rate = 0.1, link_mtbf_h = 10 }}
[machine.chamber]
size_mm = [300, 300]
height_mm = 300
setup_s = 600
s_per_mm3 = 0.01
s_per_mm = 20
cooldown_s = 7200
[[machine]]
name = "blaster"
driver = "simulated"
process = "station"
operations = ["depowder", "wash"]
operation_minutes = 20
link = {{ truth_dir = "{truth}", seed = {seed}, drop_rate = 0.1, link_mtbf_h = 20.0 }}
"""


def make_config(folder: Path, seed: int) -> Config:
    file = folder / "farm.toml"
    if not file.exists():
        for name in ("data", "truth"):
            (folder / name).mkdir(parents=True)
        text = CONFIG.format(data=folder / "data", truth=folder / "truth", seed=seed)
        file.write_text(text)
    return load_config(file)


class CrashLoop(WarpLoop):
    """Calls `crash` when it has turned `turns` times."""

    def __init__(self, turns: int, crash: object) -> None:
        self._turns = turns
        self._crash = crash
        super().__init__()

    def _run_once(self) -> None:
        self._turns -= 1
        if self._turns == 0:
            self._crash()  # type: ignore[operator]
        super()._run_once()  # type: ignore[misc]


def session(folder: Path, seed: int, number: int, *, crashes: bool) -> None:
    """One life of the daemon on virtual time, which ends by a crash or when everything is made."""
    chance = random.Random(f"{seed}/{number}")
    config = make_config(folder, seed)
    clock = folder / "clock"
    begins = float(clock.read_text()) if clock.exists() else T0
    begins += chance.choice((0.0, 5.0, 700.0, 20_000.0))
    how, when = chance.choice(("turn", "turn", "before-commit", "after-commit", "after-start")), 0
    loop: WarpLoop

    def crash() -> None:
        clock.write_text(repr(begins + loop.time()))
        os._exit(0)

    def armed(what: str) -> None:
        nonlocal when
        if how == what:
            when -= 1
            if when == 0:
                crash()

    turns = 0
    # Every other shop has machines whose memory proves nothing, so people must look.
    sure = replace(SimulatedDriver.capabilities, history_authoritative=seed % 2 == 1)
    SimulatedDriver.capabilities = sure
    if crashes:
        limits = {"turn": (1, 1500), "after-start": (1, 6)}
        low, high = limits.get(how, (1, 150))
        when = round(low * (high / low) ** chance.random())
        turns = when if how == "turn" else 0
        _hook(armed)
    loop = CrashLoop(turns, crash)
    set_clock(loop, Clock(begins, 0.0))
    planner = CountedPlanner(policy="plan", effort=0, seed=seed, stability_price_s=9000.0)
    acked = Acked(folder)

    async def body(service: Service) -> None:
        keeper = Shopkeeper(service, chance, acked, orders=2 if crashes else 0)
        async with asyncio.timeout(LONGEST_S):
            await keeper.work(0.15 if crashes else 0.0)

    ids = IdSource(chance.randrange(1 << 60))
    try:
        loop.run_until_complete(run_farm(Setup(config, planner, ids=ids, guarded=False), body))
    finally:
        clock.write_text(repr(begins + loop.time()))
        loop.close()


def _hook(armed: object) -> None:
    """Lets `armed` be told of the moments between which a crash matters most."""
    commit, send_start = Store.commit, Unit.send_start

    def watched_commit(self: Store, entries: object) -> int:
        armed("before-commit")  # type: ignore[operator]
        number = commit(self, entries)  # type: ignore[arg-type]
        armed("after-commit")  # type: ignore[operator]
        return number

    def watched_start(self: Unit, order: object) -> bool:
        sent = send_start(self, order)  # type: ignore[arg-type]
        armed("after-start")  # type: ignore[operator]
        return sent

    Store.commit, Unit.send_start = watched_commit, watched_start  # type: ignore[method-assign,assignment]


def campaign(folder: Path, seed: int, crashes: int) -> None:
    for number in range(crashes + 1):
        child = os.fork()
        if child == 0:
            signal.alarm(HUNG_S)
            try:
                session(folder, seed, number, crashes=number < crashes)
            except BaseException:  # noqa: BLE001 - nothing of the child may return into the parent's code
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status != 0:
            sys.exit(f"session {number} of seed {seed} ended with status {status}")


def live(folder: Path, seed: int, speed: float) -> None:
    """An ordinary loop whose shop runs `speed` times faster, until killed."""
    config = make_config(folder, seed)
    clock = folder / "clock"
    begins = float(clock.read_text()) if clock.exists() else T0
    chance = random.Random(f"{seed}/{begins}")
    acked = Acked(folder)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        set_clock(loop, Clock(begins, loop.time(), speed))

        async def tick() -> None:
            while True:
                fresh = clock.with_suffix(".new")
                fresh.write_text(repr(now()))
                fresh.replace(clock)
                await asyncio.sleep(0.005)

        async def body(service: Service) -> None:
            ticking = asyncio.create_task(tick())
            print("up", flush=True)
            await Shopkeeper(service, chance, acked, orders=6).work(0.02)
            ticking.cancel()

        planner = CountedPlanner(policy="plan", effort=0, seed=seed, stability_price_s=9000.0)
        # Its clock is a file that may lag behind what was recorded when the kill came.
        await run_farm(Setup(config, planner, guarded=False), body)

    asyncio.run(main())


def main() -> None:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(40),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
    what, folder, seed, *more = sys.argv[1:]
    match what:
        case "campaign":
            campaign(Path(folder), int(seed), int(more[0]))
        case "live":
            live(Path(folder), int(seed), float(more[0]))
        case "finish":
            session(Path(folder), int(seed), 1 << 30, crashes=False)


if __name__ == "__main__":
    assert farmd.planner.solve
    main()
