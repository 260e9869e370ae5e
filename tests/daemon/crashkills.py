"""Real processes of the daemon, in real time with a sped-up clock, killed, stopped and ended at moments of chance.

    python crashkills.py SEED KILLS [--seconds S]    the last line is JSON

Each life is a fork of this program, which has everything loaded, so a life begins in milliseconds; it has its own
threads and its own database connections with every sync, and it is killed by SIGKILL. Some lives stand still first
(SIGSTOP) and go on or are killed while they do; some get SIGTERM instead and must leave within 10 s. What must hold
is in `crashproof.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import structlog
from crashpeople import Acked, Shopkeeper
from crashproof import violations
from crashshop import T0, make_config, session

from farmd.app import Setup, run_farm
from farmd.daemon.service import Service
from farmd.driver import now
from farmd.driver.clock import Clock, set_clock
from farmd.sim.planners import CountedPlanner

SPEED = 3000.0
LIVES_PER_SHOP = 12
WAYS = ("kill", "kill", "kill", "kill", "stop-kill", "stop-go-on-kill", "term")
TERM_S = 10.0
"""Within this a daemon has left its machines."""
ALIVE_S = 0.5
FINISH_S = 120


def life(folder: Path, seed: int, number: int, ready: int) -> None:
    """An ordinary daemon on an ordinary loop, until it is killed or asked to end."""
    clock = folder / "clock"
    begins = float(clock.read_text()) if clock.exists() else T0
    chance = random.Random(f"{seed}/{number}")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        set_clock(loop, Clock(begins, loop.time(), SPEED))
        ending = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, ending.set)

        async def tick() -> None:
            while True:
                fresh = clock.with_suffix(".new")
                fresh.write_text(repr(now()))
                fresh.replace(clock)
                await asyncio.sleep(0.005)

        async def body(service: Service) -> None:
            os.write(ready, b"!")
            keeper = Shopkeeper(service, chance, Acked(folder), orders=4)
            tasks = [asyncio.create_task(tick()), asyncio.create_task(keeper.work(0.02))]
            await ending.wait()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

        planner = CountedPlanner(policy="fifo", effort=0, seed=seed, stability_price_s=9000.0)
        # Its clock is a file that may lag behind what was recorded when the kill came.
        setup = Setup(make_config(folder, seed), planner, policy="fifo", guarded=False)
        await run_farm(setup, body)

    asyncio.run(main())


def forked(what: Any) -> int:
    """The process that does it and ends."""
    child = os.fork()
    if child:
        return child
    try:
        what()
    except BaseException:  # noqa: BLE001 - nothing of the child may return into the parent's code
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def one_life(folder: Path, seed: int, number: int) -> tuple[str, list[str]]:
    """How it ended, and what was wrong with that."""
    chance = random.Random(f"{seed}/{number}/end")
    read, write = os.pipe()
    child = forked(lambda: life(folder, seed, number, write))
    os.close(write)
    begun = os.read(read, 1)
    os.close(read)
    if not begun:
        return "not begun", [f"life {number} did not begin"]
    time.sleep(ALIVE_S * chance.random() ** 2)
    way = chance.choice(WAYS)
    if way.startswith("stop"):
        os.kill(child, signal.SIGSTOP)
        time.sleep(0.1 * chance.random())
        if way == "stop-go-on-kill":
            os.kill(child, signal.SIGCONT)
            time.sleep(0.05 * chance.random())
    if way == "term":
        os.kill(child, signal.SIGTERM)
        until = time.monotonic() + TERM_S
        while time.monotonic() < until:
            gone, status = os.waitpid(child, os.WNOHANG)
            if gone:
                return way, [] if status == 0 else [f"life {number} ended with {status} when asked to"]
            time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    wrong = [] if way != "term" else [f"life {number} was asked to end and did not within {TERM_S} s"]
    if os.WTERMSIG(status) != signal.SIGKILL:
        wrong.append(f"life {number} ended by itself with {status}")
    return way, wrong


def shop(folder: Path, seed: int, happened: Counter[str]) -> list[str]:
    """Some lives in one folder, and one that makes everything that was ordered."""
    make_config(folder, seed)
    for number in range(LIVES_PER_SHOP):
        way, wrong = one_life(folder, seed, number)
        happened[way] += 1
        wrong += violations(folder, finished=False)
        if wrong:
            return [f"after life {number} ({way}): {what}" for what in wrong]
    child = forked(lambda: (signal.alarm(FINISH_S), session(folder, seed, 1 << 30, crashes=False)))
    _, status = os.waitpid(child, 0)
    if status != 0:
        return [f"what was ordered could not be made: {status}"]
    return violations(folder)


def campaign(first: int, kills: int, seconds: float) -> dict[str, Any]:
    begun, seed = time.monotonic(), first
    happened: Counter[str] = Counter()
    broken = []
    while happened.total() - happened["term"] < kills and time.monotonic() - begun < seconds:
        folder = Path(tempfile.mkdtemp(prefix=f"farmd-kill-{seed}-")).resolve()
        wrong = shop(folder, seed, happened)
        if wrong:
            broken.append({"seed": seed, "wrong": wrong, "folder": str(folder)})
        else:
            shutil.rmtree(folder)
        seed += 1
    return {
        "first": first,
        "next": seed,
        "kills": happened.total() - happened["term"],
        "terms": happened["term"],
        "happened": dict(happened),
        "broken": broken,
        "seconds": time.monotonic() - begun,
    }


def main() -> int:
    structlog.configure(processors=[], logger_factory=structlog.ReturnLoggerFactory())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("seed", type=int)
    parser.add_argument("kills", type=int)
    parser.add_argument("--seconds", type=float, default=1e9)
    given = parser.parse_args()
    told = campaign(given.seed, given.kills, given.seconds)
    print(json.dumps(told))
    return bool(told["broken"])


if __name__ == "__main__":
    sys.exit(main())
