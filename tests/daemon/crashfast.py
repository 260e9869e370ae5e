"""The crash campaign made cheap: one process lives through shop after shop, and thousands of lives of the daemon.

    python crashfast.py SEED CRASHES [--seconds S] [--folder FOLDER]    from that seed on; the last line is JSON

A crash throws away what a process has in memory and keeps what it has written: its loop is abandoned, and the
next life opens copies of database and write-ahead log as they were at that moment. The store is the shipped one,
on disk. Crashes come at a turn of the loop or at a named step of `STEPS`; a life may besides have a full disk, a
clock that jumps, and machines whose words come twice or in another order. One seed is one shop, and the same
seed lives through the same lives: `crashfast.py SEED 1` does that one again, and says the hash of its record.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog
from crashpeople import Acked, Shopkeeper
from crashproof import DATABASE, torn, violations
from crashshop import LONGEST_S, T0, make_config

from farmd.app import Setup, run_farm
from farmd.config import Config
from farmd.daemon.attendant import Attendant
from farmd.daemon.desk import Upload
from farmd.daemon.ids import IdSource
from farmd.daemon.service import Service
from farmd.driver import Event, Observed
from farmd.driver.clock import Clock, now, set_clock, sleep
from farmd.model.errors import FarmdError
from farmd.sim.loop import WarpLoop
from farmd.sim.planners import CountedPlanner
from farmd.store import DataLock, Entry, Store
from farmd_drivers.simulated.driver import SimulatedDriver
from farmd_drivers.simulated.truth import TruthFiles
from farmd_drivers.simulated.unit import Unit

CRASHES_PER_SHOP = 20
STEPS = ("turn", "before-commit", "in-commit", "after-commit", "before-start", "after-start", "told")
"""Where a life may end: a turn of the loop; around a transaction; around a START; before a machine's word is taken."""
LIMITS = {"turn": 600, "before-start": 3, "after-start": 3, "told": 20}
COMMITS = 40
TURNS = 2500
"""A life whose step never comes ends at that turn."""
FAULTS = ("", "", "", "", "disk-full", "clock-forward", "clock-back", "twice", "out-of-order")
FOLDED_EVERY = 4
"""After every such crash, and at the end, the whole chain is looked through and the state compared with its fold; after
each crash all the rest."""
TORN = 0.1
"""Of so many crashes, a copy with a torn end of the write-ahead log is opened besides."""


class Crashed(SystemExit):
    """The process is gone: nothing catches this, no task and no handler."""


class _Work:
    """Work off the loop, done when the loop comes to it, in this thread: its crash is the process's."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._work = work
        self._value: Any = None

    def exception(self) -> Exception | None:
        try:
            self._value = self._work()
        except Exception as error:  # noqa: BLE001 - told to whoever waits for the work
            return error
        return None

    def result(self) -> Any:
        return self._value


class CrashLoop(WarpLoop):
    """Without threads; ends with `Crashed` when it has turned `turns` times."""

    def __init__(self, turns: int) -> None:
        self._turns = turns
        super().__init__()

    def offload(self, work: Callable[[], Any], executor: Any) -> asyncio.Future[Any]:
        result = self.create_future()
        self._outstanding.append((_Work(work), result))  # type: ignore[arg-type]
        return result

    def _run_once(self) -> None:
        self._turns -= 1
        if self._turns == 0:
            raise Crashed
        super()._run_once()  # type: ignore[misc]


class Life:
    """What is to happen to one life of the daemon; the shipped classes ask it at their steps."""

    now: Life | None = None

    def __init__(self, chance: random.Random, *, crashes: bool) -> None:
        self.step = chance.choice(STEPS) if crashes else ""
        self.left = round(LIMITS.get(self.step, COMMITS) ** chance.random()) if crashes else 0
        self.fault = chance.choice(FAULTS) if crashes else ""
        self.turns = self.left if self.step == "turn" else TURNS if crashes else 0
        self.chance = chance
        self.stores: list[Store] = []
        self.over = False

    def at(self, step: str) -> None:
        if step == self.step and not self.over:
            self.left -= 1
            if self.left == 0:
                raise Crashed


def watch() -> None:
    """Has the shipped classes tell the present `Life` of their steps, for the rest of this process."""
    shared: dict[str, Any] = {}
    opened, commit, write = Store.__init__, Store.commit, Store._write
    send_start, save, report = Unit.send_start, TruthFiles.save, Attendant._report

    def watched_open(self: Store, database: Any) -> None:
        opened(self, database)
        # All databases speak alike, so each statement is put together once for all lives.
        engines = (database.writer.engine, database.readers)
        shared.setdefault("dialect", engines[0].dialect)
        shared.setdefault("cache", engines[0]._compiled_cache)
        for each in engines:
            each.dialect, each._compiled_cache = shared["dialect"], shared["cache"]
        database.writer.dialect = shared["dialect"]
        if Life.now is not None:
            Life.now.stores.append(self)

    def watched_commit(self: Store, entries: list[Entry]) -> int:
        life = Life.now
        if life is None:
            return commit(self, entries)
        life.at("before-commit")
        number = commit(self, entries)
        life.at("after-commit")
        return number

    def watched_write(self: Store, work: Any) -> None:
        def crossed(connection: Any) -> None:
            work(connection)
            if Life.now is not None:
                Life.now.at("in-commit")

        write(self, crossed)

    def watched_start(self: Unit, order: Any) -> bool:
        if Life.now is not None:
            Life.now.at("before-start")
        sent = send_start(self, order)
        if Life.now is not None:
            Life.now.at("after-start")
        return sent

    def watched_save(self: TruthFiles, truth: Any) -> None:
        # What is left of a life that is over can do nothing to a machine any more.
        if Life.now is not None and not Life.now.over:
            save(self, truth)

    def watched_report(self: Attendant, event: Event) -> None:
        life = Life.now
        if life is None:
            report(self, event)
            return
        life.at("told")
        held: list[Event] = self.__dict__.setdefault("held_back", [])
        if life.fault == "out-of-order" and not isinstance(event, Observed) and life.chance.random() < 0.3:
            held.append(event)
            return
        if isinstance(event, Observed):
            held.clear()
        report(self, event)
        if life.fault == "twice" and life.chance.random() < 0.5:
            report(self, event)
        while held:
            report(self, held.pop())

    Store.__init__, Store.commit, Store._write = watched_open, watched_commit, watched_write  # type: ignore[method-assign,assignment]
    Unit.send_start, TruthFiles.save = watched_start, watched_save  # type: ignore[method-assign]
    Attendant._report = watched_report  # type: ignore[method-assign]


class Shop:
    """One seed: a folder with the record, the machines' truth, and what people were told."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed = folder, seed
        config = make_config(folder, seed)
        # Plans are not what is tried here, so there are few.
        calm = config.planner.model_copy(update={"replan_min_interval_s": 900.0})
        self.config: Config = config.model_copy(update={"planner": calm})
        self.data = folder / "data"
        self.at = T0
        self.happened: Counter[str] = Counter()
        self.left: dict[str, bytes] = {}
        """The database's files as the last crash left them."""

    def live_through(self, crashes: int) -> list[str]:
        """All lives, and one more that makes everything that was ordered; what is wrong, or nothing."""
        for number in range(crashes):
            self.live(number, crashes=True)
            if wrong := self.look(number):
                return [f"life {number}: {what}" for what in wrong]
        self.live(crashes, crashes=False)
        with Store.open(f"sqlite:///{self.data / DATABASE[0]}", data_dir=self.data) as store:
            self.happened["doubted"] = sum(e.kind == "RunDoubted" for e in store.events(limit=1 << 31))
        return violations(self.folder)

    def look(self, number: int) -> list[str]:
        """The oracles, and now and then what a torn log leaves."""
        chance = random.Random(f"{self.seed}/{number}/torn")
        wrong = []
        if DATABASE[1] in self.left and chance.random() < TORN:
            wrong += torn(self.data, len(self.left[DATABASE[1]]), chance)
            self.happened["torn log"] += 1
        wrong += violations(self.folder, finished=False, folded=number % FOLDED_EVERY == 0)
        # To look is to open, which mends; the next life shall find it as the crash left it.
        self._put_back()
        return wrong

    def live(self, number: int, *, crashes: bool) -> None:
        """One life; it ends by its crash, or when everything is made."""
        chance = random.Random(f"{self.seed}/{number}")
        begins = self.at + chance.choice((0.0, 5.0, 700.0, 20_000.0))
        life = Life.now = Life(chance, crashes=crashes)
        loop = CrashLoop(life.turns)
        # Every other shop has machines whose memory proves nothing, so people must look.
        sure = replace(SimulatedDriver.capabilities, history_authoritative=self.seed % 2 == 1)
        SimulatedDriver.capabilities = sure
        set_clock(loop, Clock(begins, 0.0))
        planner = CountedPlanner(policy="fifo", effort=0, seed=self.seed, stability_price_s=9000.0)
        ids = IdSource(chance.randrange(1 << 60))

        async def body(service: Service) -> None:
            keeper = Keeper(service, chance, Acked(self.folder), orders=2 if crashes else 0)
            async with asyncio.timeout(LONGEST_S), asyncio.TaskGroup() as group:
                trouble = group.create_task(_trouble(service, life, loop))
                await keeper.work(0.15 if crashes else 0.0)
                trouble.cancel()

        lock = DataLock(self.data)
        try:
            setup = Setup(self.config, planner, policy="fifo", ids=ids, guarded=False, lock=lock)
            loop.run_until_complete(run_farm(setup, body))
            self.happened["stop"] += 1
        except Crashed:
            self.happened[life.step if loop._turns or life.step == "turn" else "end"] += 1
        finally:
            self.happened[life.fault or "no fault"] += 1
            self.at = max(self.at, begins + loop.time())
            self._abandon(loop, life, lock)

    def _abandon(self, loop: CrashLoop, life: Life, lock: DataLock) -> None:
        """What was written stays, what was in memory goes."""
        life.over = True
        loop.set_exception_handler(lambda loop, told: None)
        self.left = {
            name: (self.data / name).read_bytes() for name in DATABASE if (self.data / name).exists()
        }
        for task in asyncio.all_tasks(loop):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            with contextlib.suppress(BaseException):
                task.get_coro().close()  # type: ignore[union-attr]
        for store in life.stores:
            with contextlib.suppress(Exception):
                store.close()
        loop.close()
        lock.release()
        self._put_back()

    def _put_back(self) -> None:
        for name in (*DATABASE, "farmd.sqlite-shm"):
            (self.data / name).unlink(missing_ok=True)
        for name, content in self.left.items():
            (self.data / name).write_bytes(content)


class Keeper(Shopkeeper):
    """Orders again where an order was refused, and ends safe modes."""

    async def _order(self, uploads: list[Upload]) -> None:
        try:
            await super()._order(uploads)
        except FarmdError:
            self.orders += 1

    async def round(self) -> None:
        if self.service.farm.safe_modes and self.chance.random() < 0.3:
            await self._tried(self.service.safety.leave("boss"))
        await super().round()


async def _trouble(service: Service, life: Life, loop: CrashLoop) -> None:
    """The fault of this life, at some moment of it."""
    await sleep(life.chance.uniform(10.0, 2000.0))
    match life.fault:
        case "disk-full":
            writer = service.store._database.writer.connection.dbapi_connection
            assert writer is not None
            pages = writer.execute("PRAGMA page_count").fetchone()[0]
            writer.execute(f"PRAGMA max_page_count = {pages + life.chance.randint(0, 3)}")
            await sleep(life.chance.uniform(60.0, 5000.0))
            writer.execute("PRAGMA max_page_count = 1000000")
        case "clock-forward":
            set_clock(loop, Clock(now() + 86400.0, loop.time()))
        case "clock-back":
            set_clock(loop, Clock(now() - life.chance.choice((61.0, 3600.0, 86400.0)), loop.time()))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """What abandoned coroutines still say is of no interest."""
    hook = sys.unraisablehook
    sys.unraisablehook = lambda told: None
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        sys.unraisablehook = hook


def head_of(folder: Path) -> str:
    with Store.open(f"sqlite:///{folder / 'data' / DATABASE[0]}", data_dir=folder / "data") as store:
        return store.load().last_hash.hex()


def campaign(first: int, crashes: int, *, seconds: float, folder: Path | None) -> dict[str, Any]:
    """Shops from seed `first` on until there were `crashes`, or the time is over."""
    watch()
    # What is loaded by now is never garbage.
    gc.freeze()
    begun, cpu = time.monotonic(), time.process_time()
    happened: Counter[str] = Counter()
    broken, heads, seed, done = [], {}, first, 0
    base = folder or Path(tempfile.mkdtemp(prefix="farmd-crash-", dir=memory_folder()))
    with quiet():
        while done < crashes and time.monotonic() - begun < seconds:
            home = base / str(seed)
            home.mkdir(parents=True)
            shop = Shop(home, seed)
            count = min(CRASHES_PER_SHOP, max(1, crashes - done)) if crashes > 1 else CRASHES_PER_SHOP
            try:
                wrong = shop.live_through(count)
            except Exception:  # noqa: BLE001 - whatever goes wrong is told with its seed
                wrong = [traceback.format_exc()]
            done += count
            happened += shop.happened
            heads[seed] = head_of(home)
            if wrong:
                broken.append({"seed": seed, "wrong": wrong, "folder": str(home)})
            else:
                shutil.rmtree(home)
            gc.collect()
            seed += 1
    if not broken and folder is None:
        shutil.rmtree(base)
    return {
        "first": first,
        "next": seed,
        "crashes": sum(happened[step] for step in (*STEPS, "end")),
        "happened": dict(happened),
        "broken": broken,
        "heads": heads if crashes <= 1 else {},
        "seconds": time.monotonic() - begun,
        "cpu_s": time.process_time() - cpu,
    }


def memory_folder() -> str | None:
    """Where a sync costs nothing: only memory is thrown away here, never power."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def main() -> int:
    structlog.configure(processors=[], logger_factory=structlog.ReturnLoggerFactory())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("seed", type=int)
    parser.add_argument("crashes", type=int)
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    told = campaign(given.seed, given.crashes, seconds=given.seconds, folder=given.folder)
    print(json.dumps(told))
    return bool(told["broken"])


if __name__ == "__main__":
    sys.exit(main())
