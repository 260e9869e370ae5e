"""Power cuts: what a disk may hold when writes that were not synced are lost, torn, or on it before others.

    python powercut.py run FOLDER SEED          one life of a shop; run it with `diskshim.c` preloaded
    python powercut.py cut SEED CUTS [SECONDS]  record a life with the shim, cut it CUTS times; the last line is JSON

The shim notes every write and sync of the folder in order, of the machines' and the people's files as well, so it
is known what had left the daemon before each moment. Cut anywhere, a file holds what was synced, and of each
sector written since either the old or the new, by chance; a file that is new, or gone, since its folder was
synced may be there or not. Shared memory is gone. On that disk the shipped store must open, whole: a prefix of what was
recorded, the state being what it adds up to, with the intent of every START that had left, and everything that
people had been told.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

SHIM = Path(__file__).with_name("diskshim.c")
DATABASE, LOG = "data/farmd.sqlite", "data/farmd.sqlite-wal"
SECTORS = (512, 512, 4096)
"""What a disk writes whole."""
FULL_CHECK_EVERY = 25
"""Of so many cuts one is opened and verified by the store itself though its like was before."""


def compiler() -> str | None:
    return shutil.which("cc") or shutil.which("gcc")


def build_shim(folder: Path) -> Path:
    """The shim, compiled. Raises `CalledProcessError` with what the compiler says."""
    made = folder / "diskshim.so"
    command = [str(compiler()), "-O1", "-shared", "-fPIC", "-o", str(made), str(SHIM), "-ldl", "-lpthread"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return made


def preloaded(shim: Path, root: Path, log: Path | None = None, fail: str = "") -> dict[str, str]:
    """The environment of a process whose writes below `root` are noted or refused."""
    more = {"DISKSHIM_LOG": str(log)} if log else {}
    if fail:
        more["DISKSHIM_FAIL"] = fail
    return {**os.environ, "LD_PRELOAD": str(shim), "DISKSHIM_ROOT": str(root), **more}


# --- what is recorded -----------------------------------------------------------------------


def run(folder: Path, seed: int) -> None:
    """One life on virtual time with real threads, until what was ordered is made."""
    from crashpeople import Acked, Shopkeeper
    from crashshop import LONGEST_S, T0, make_config

    from farmd.app import Setup, run_farm
    from farmd.daemon.ids import IdSource
    from farmd.daemon.service import Service
    from farmd.driver.clock import Clock, set_clock
    from farmd.sim.loop import WarpLoop
    from farmd.sim.planners import CountedPlanner

    config = make_config(folder, seed)
    chance = random.Random(seed)
    loop = WarpLoop()
    set_clock(loop, Clock(T0, 0.0))

    async def body(service: Service) -> None:
        writer = service.store._database.writer.connection.dbapi_connection
        assert writer is not None
        # Moves pages into the database often, so that cuts meet that too.
        writer.execute(f"PRAGMA wal_autocheckpoint = {chance.choice((4, 15, 60))}")
        keeper = Shopkeeper(service, chance, Acked(folder), orders=5)
        async with asyncio.timeout(LONGEST_S):
            await keeper.work(0.05)

    planner = CountedPlanner(policy="fifo", effort=0, seed=seed, stability_price_s=9000.0)
    setup = Setup(config, planner, policy="fifo", ids=IdSource(seed), guarded=False)
    # It need not come to its end: a cut may come anywhere.
    with contextlib.suppress(TimeoutError):
        loop.run_until_complete(run_farm(setup, body))
    loop.close()


@dataclass(frozen=True, slots=True)
class Op:
    """One line of the shim's log, by its kind."""

    kind: str
    path: str
    at: int = 0
    data: bytes = b""
    to: str = ""


def read_log(path: Path) -> Iterator[Op]:
    raw = path.read_bytes()
    at = 0
    while at < len(raw):
        end = raw.index(b"\n", at)
        kind, *words = raw[at:end].decode().split(" ")
        at = end + 1
        match kind:
            case "W":
                length = int(words[2])
                yield Op("W", words[0], int(words[1]), raw[at : at + length])
                at += length
            case "T":
                yield Op("T", words[0], int(words[1]))
            case "R":
                yield Op("R", words[0], to=words[1])
            case _:
                yield Op(kind, words[0])


# --- a disk ---------------------------------------------------------------------------------


@dataclass(slots=True)
class File:
    """What is surely on the disk of a file, and what was asked of it since."""

    synced: bytearray = field(default_factory=bytearray)
    since: list[Op] = field(default_factory=list)
    there: bool = False
    """Whether a cut leaves it there, by its folder; None is that nobody can tell."""
    wanted: bool = True

    def sync(self) -> None:
        for op in self.since:
            _apply(self.synced, op)
        self.since.clear()

    def after_cut(self, chance: random.Random) -> bytes:
        """One of the contents it may have."""
        content = bytearray(self.synced)
        how = chance.choice(("none", "all", "some", "some", "some", "some", "first"))
        upto = chance.randint(0, len(self.since)) if how == "first" else len(self.since)
        for number, op in enumerate(self.since[:upto]):
            if how == "none":
                continue
            last = how == "first" and number == upto - 1
            if how == "all" or (how == "first" and not last):
                _apply(content, op)
            else:
                _apply_some(content, op, chance)
        return bytes(content)


def _apply(content: bytearray, op: Op) -> None:
    if op.kind == "T":
        del content[op.at :]
        content.extend(bytes(op.at - len(content)))
        return
    content.extend(bytes(max(0, op.at - len(content))))
    content[op.at : op.at + len(op.data)] = op.data


def _apply_some(content: bytearray, op: Op, chance: random.Random) -> None:
    """Of a write, some sectors; a length may be on the disk without what was written there."""
    if op.kind == "T":
        if chance.random() < 0.5:
            _apply(content, op)
        return
    size = chance.choice(SECTORS)
    end = op.at + len(op.data)
    if chance.random() < 0.3:
        content.extend(bytes(max(0, end - len(content))))
    at = op.at
    while at < end:
        upto = min(end, (at // size + 1) * size)
        if chance.random() < 0.5:
            _apply(content, Op("W", op.path, at, op.data[at - op.at : upto - op.at]))
        at = upto


@dataclass(slots=True)
class Disk:
    """The database's two files as the log goes on, and what had left the daemon by then."""

    files: dict[str, File] = field(default_factory=lambda: {DATABASE: File(), LOG: File()})
    lies: bool = False
    """It says of the log that it is synced, and does nothing: what a promise cannot cover, and tests must see."""
    told: dict[str, bytearray] = field(default_factory=dict)
    """The machines' and the people's files; they are elsewhere, and lose nothing."""

    def take(self, op: Op) -> None:
        file = self.files.get(op.path)
        if file is not None:
            match op.kind:
                case "W" | "T":
                    if not file.wanted:
                        file.synced, file.since, file.wanted, file.there = bytearray(), [], True, False
                    file.since.append(op)
                case "S" if not (self.lies and op.path == LOG):
                    file.sync()
                case "U":
                    file.wanted = False
        elif op.kind == "S" and op.path == "data":
            for each in self.files.values():
                each.there = each.wanted
        elif op.kind == "W" and (op.path.endswith(".starts") or op.path == "acked"):
            self.told.setdefault(op.path, bytearray()).extend(op.data)

    def cut(self, folder: Path, chance: random.Random) -> None:
        """Write to `folder` what may be left."""
        for path, file in self.files.items():
            name = folder / Path(path).name
            sure = file.there and file.wanted
            if sure or ((file.there or file.wanted) and chance.random() < 0.5):
                name.write_bytes(file.after_cut(chance))
            else:
                name.unlink(missing_ok=True)
        (folder / "farmd.sqlite-shm").unlink(missing_ok=True)

    def lines(self) -> Iterator[tuple[str, Any]]:
        for path, content in self.told.items():
            for line in bytes(content).splitlines():
                yield path, json.loads(line)


# --- what must hold -------------------------------------------------------------------------


class Judge:
    """Looks at disks after a cut. A disk that is like one that the store verified needs no second look."""

    def __init__(self, folder: Path, vault: Path, bodies: list[bytes]) -> None:
        self._folder, self._vault = folder, vault
        self._bodies = bodies
        self._known: dict[int, set[bytes]] = {}
        self.looked = self.opened = 0

    def wrong(self, disk: Disk) -> list[str]:
        self.looked += 1
        began = self._folder / "farmd.sqlite"
        if not began.exists() or began.stat().st_size == 0:
            # The farm's first moment: nothing may have left yet.
            return [f"{path} was told of {line} without a database" for path, line in disk.lines()]
        wrong = self._verified() if self.looked % FULL_CHECK_EVERY == 0 else []
        try:
            bodies, digest = self._read()
        except sqlite3.DatabaseError as error:
            return [*wrong, f"it does not open: {error}"]
        if bodies != self._bodies[: len(bodies)]:
            wrong.append("what is left is no prefix of what was recorded")
        if digest not in self._known.setdefault(len(bodies), set()):
            wrong += self._verified()
            self._known[len(bodies)].add(digest)
        return wrong + self._lost(disk, bodies)

    def _read(self) -> tuple[list[bytes], bytes]:
        """The journal's bodies, and a digest of everything else."""
        connection = sqlite3.connect(self._folder / "farmd.sqlite")
        try:
            if not (
                tables := [
                    row[0]
                    for row in connection.execute(
                        "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"
                    )
                ]
            ):
                return [], b""
            digest = hashlib.sha256()
            for name in tables:
                for row in connection.execute(f'SELECT * FROM "{name}" ORDER BY 1'):
                    digest.update(repr(row).encode())
            rows = connection.execute("SELECT body FROM journal ORDER BY seq") if "journal" in tables else ()
            return [row[0] for row in rows], digest.digest()
        finally:
            connection.close()

    def _verified(self) -> list[str]:
        from farmd.model.errors import FarmdError
        from farmd.store import Store
        from farmd.store.verify import verify_record

        self.opened += 1
        try:
            with Store.open("sqlite:///farmd.sqlite", data_dir=self._folder) as store:
                return [f"verify: {found}" for found in verify_record(store)] + [
                    f"check: {found}" for found in store.quick_check().splitlines()
                ]
        except FarmdError as error:
            return [f"the store does not open: {error}"]

    def _lost(self, disk: Disk, bodies: list[bytes]) -> list[str]:
        facts = [json.loads(body) for body in bodies]
        intents = {each["fact"]["run_id"] for each in facts if each["kind"] == "RunIntended"}
        jobs = {each["fact"]["job"]["id"] for each in facts if each["kind"] == "JobSubmitted"}
        cleared = {each["fact"]["run_id"] for each in facts if each["kind"] == "MachineCleared"}
        cancelled = {each["fact"]["job_id"] for each in facts if each["kind"] == "JobCancelled"}
        wrong = []
        for path, line in disk.lines():
            if path != "acked":
                if line["run_id"] not in intents:
                    wrong.append(f"{line['run_id']} had been sent and its intent is lost")
                continue
            known = {"job": (jobs, 1), "clear": (cleared, 2), "cancel": (cancelled, 1)}.get(line[0])
            if known is not None and line[known[1]] not in known[0]:
                wrong.append(f"{line} had been told and is lost")
        return wrong


def cut(seed: int, cuts: int, *, seconds: float = 1e9, lies: bool = False) -> dict[str, Any]:
    """Record one life and cut it. Raises `CalledProcessError` when it did not go."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="farmd-cut-") as name:
        folder = Path(name).resolve()
        (folder / "home").mkdir()
        shim, log = build_shim(folder), folder / "log"
        command = [sys.executable, str(Path(__file__)), "run", str(folder / "home"), str(seed)]
        environment = preloaded(shim, folder / "home", log)
        subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=120)
        ops = list(read_log(log))
        with contextlib.closing(sqlite3.connect(folder / "home" / DATABASE)) as connection:
            bodies = [row[0] for row in connection.execute("SELECT body FROM journal ORDER BY seq")]
        recorded_s = time.monotonic() - begun
        disk_folder = Path(tempfile.mkdtemp(dir=_memory_folder() or folder))
        try:
            judge = Judge(disk_folder, folder / "home" / "data" / "vault", bodies)
            broken = _cut_all(seed, cuts, ops, judge, disk_folder, begun + seconds, lies)
        finally:
            shutil.rmtree(disk_folder)
    return {
        "seed": seed,
        "cuts": judge.looked,
        "by_the_store": judge.opened,
        "ops": len(ops),
        "syncs": sum(op.kind == "S" and op.path in (DATABASE, LOG) for op in ops),
        "facts": len(bodies),
        "broken": broken,
        "recorded_s": recorded_s,
        "seconds": time.monotonic() - begun,
    }


def _cut_all(
    seed: int, cuts: int, ops: list[Op], judge: Judge, folder: Path, until: float, lies: bool
) -> list[dict[str, Any]]:
    """Cut at moments of chance, in the log's order; a few times at each."""
    chance = random.Random(seed)
    touching = [n for n, op in enumerate(ops) if op.path in (DATABASE, LOG) or op.path.endswith(".starts")]
    moments = sorted(chance.choices(touching, k=cuts))
    disk, done, broken = Disk(lies=lies), 0, []
    for number, moment in enumerate(moments):
        if time.monotonic() > until:
            break
        while done <= moment:
            disk.take(ops[done])
            done += 1
        disk.cut(folder, random.Random(f"{seed}/{number}"))
        if wrong := judge.wrong(disk):
            broken.append({"seed": seed, "cut": number, "op": moment, "wrong": wrong[:5]})
    return broken


def _memory_folder() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def main() -> int:
    structlog.configure(processors=[], logger_factory=structlog.ReturnLoggerFactory())
    what, *words = sys.argv[1:]
    if what == "run":
        run(Path(words[0]), int(words[1]))
        return 0
    told = cut(int(words[0]), int(words[1]), seconds=float(words[2]) if len(words) > 2 else 1e9)
    print(json.dumps(told))
    return bool(told["broken"])


if __name__ == "__main__":
    sys.exit(main())
