"""Durable facts per second of the store, by batch size, on SQLite and PostgreSQL.

`python -m bench.store [SECONDS]` from the top of the checkout. Every commit is on the disk when it is
counted: SQLite with synchronous=FULL, PostgreSQL with fsync. A fact comes with the state it changes.
Control transactions are what people and programs ask of a running farm through its ledger: each waits until
its own fact is on disk, 64 of them at a time, and they share commits as they come. Then the vault: sealing
an upload, and streaming it back with its checks.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import count, islice
from pathlib import Path

from farmd.daemon.ledger import Ledger
from farmd.model import facts as f
from farmd.model.apply import apply
from farmd.model.farm import Farm
from farmd.model.work import Job, Outcome
from farmd.store import Entry, Store, Vault, VaultKeys, verify
from farmd.store.vault_keys import MasterKey
from tests.conftest import PostgresServer, postgres_programs

BATCHES = (1, 10, 100)
CLIENTS = 64
_AHEAD = 6000
_JOB = Job("J-1", "bracket@1", "0" * 64, "bracket.gcode", "MEX", quantity=10**9, submitted_at=0.0)


def shop() -> Iterator[f.Fact]:
    """25 machines that print one build after the other without end."""
    yield f.DaemonStarted(at=0.0, actor="daemon", boot_id="b", version="bench", fence=1)
    yield f.JobSubmitted(at=0.0, actor="bench", job=_JOB)
    names = [f"m{number:02}" for number in range(25)]
    for name in names:
        yield f.MachineAdded(at=0.0, actor="daemon", machine=name)
        yield f.MachineConnected(at=0.0, actor=f"machine:{name}", machine=name, seen="idle")
        yield f.MachineCleared(at=0.0, actor="bench", machine=name, permit_id=f"P-{name}-0")
    for cycle in count(1):
        for number, name in enumerate(names):
            yield from _run(cycle, cycle * len(names) + number, name)


def _run(cycle: int, number: int, name: str) -> Iterator[f.Fact]:
    who, run, build = {"at": 600.0 * cycle, "actor": f"machine:{name}"}, f"R-{number}", f"B-{number}"
    yield f.BuildQueued(**who, build_id=build, operation="print", items=(("J-1", 4),), duration_s=600.0)
    permit = f"P-{name}-{cycle - 1}"
    yield f.RunIntended(**who, run_id=run, build_id=build, machine=name, permit_id=permit, fence=1)
    yield f.RunSent(**who, run_id=run)
    yield f.RunStarted(**who, run_id=run, evidence="run id seen")
    yield f.RunEnded(**who, run_id=run, outcome=Outcome.OK, made=4, used_g=12.5)
    counts = (f.ItemCount("J-1", 4, 0),)
    yield f.MachineCleared(**who, machine=name, permit_id=f"P-{name}-{cycle}", run_id=run, counts=counts)


def entries() -> Iterator[Entry]:
    farm = Farm()
    for fact in shop():
        changed = apply(farm, fact)
        farm.merge(changed)
        yield Entry((fact,), changed)


def measure(url: str, batch: int, seconds: float) -> tuple[float, float]:
    """Facts per second, and the median time of a commit in milliseconds."""
    with tempfile.TemporaryDirectory() as folder, Store.open(url, data_dir=Path(folder)) as store:
        source, taken, written = entries(), [], 0
        while sum(taken) < seconds:
            ahead = list(islice(source, _AHEAD // 100 * batch))
            for start in range(0, len(ahead), batch):
                begun = time.perf_counter()
                written = store.commit(ahead[start : start + batch])
                taken.append(time.perf_counter() - begun)
        findings = verify(store, Vault(Path(folder) / "vault"))
        if findings:
            raise RuntimeError(f"the store is not as written: {findings[0]}")
    return written / sum(taken), sorted(taken)[len(taken) // 2] * 1000


async def control(seconds: float) -> tuple[float, float, float]:
    """Control transactions a second, and the median and 99th percentile of one's wait in milliseconds."""
    waits: list[float] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        Store.open("sqlite:///bench.db", data_dir=Path(folder)) as store,
        ThreadPoolExecutor(1) as writer,
    ):
        farm = store.load().farm
        ledger = Ledger(store, farm, writer)
        running = asyncio.create_task(ledger.run())
        names = [f"m{number:02}" for number in range(CLIENTS)]
        await ledger.record(*(f.MachineAdded(at=0.0, actor="bench", machine=name) for name in names))
        ends = time.perf_counter() + seconds

        async def client(name: str) -> None:
            while (begun := time.perf_counter()) < ends:
                await ledger.record(f.MachineHeld(at=0.0, actor="bench", machine=name, reason="look"))
                waits.append(time.perf_counter() - begun)

        await asyncio.gather(*map(client, names))
        running.cancel()
    waits.sort()
    return len(waits) / seconds, waits[len(waits) // 2] * 1000, waits[len(waits) * 99 // 100] * 1000


def vault_speed(sealed: bool, mib: int = 256) -> tuple[float, float]:
    """MiB a second into the vault, synced, and out of it, with all checks."""
    chunk = secrets.token_bytes(1 << 20)
    keys = VaultKeys.of(MasterKey(secrets.token_bytes(32))) if sealed else None
    with tempfile.TemporaryDirectory() as folder:
        vault = Vault(Path(folder) / "vault", keys=keys)
        begun = time.perf_counter()
        with vault.receive() as sink:
            for _ in range(mib):
                sink.write(chunk)
            stored = sink.store()
        took_in = time.perf_counter() - begun
        begun = time.perf_counter()
        with vault.open(stored.sha256) as file:
            while file.read(1 << 16):
                pass
        return mib / took_in, mib / (time.perf_counter() - begun)


def main(seconds: float) -> None:
    print("| database | facts per commit | durable facts/s | median commit, ms |\n|---|---|---|---|")
    with ExitStack() as stack:
        programs = postgres_programs()
        server = PostgresServer(programs, durable=True) if programs else None
        if server:
            stack.callback(server.stop)
        for batch in BATCHES:
            rate, median = measure("sqlite:///bench.db", batch, seconds)
            print(f"| SQLite | {batch} | {rate:,.0f} | {median:.2f} |", flush=True)
        for batch in BATCHES if server else ():
            rate, median = measure(server.fresh(), batch, seconds)
            print(f"| PostgreSQL | {batch} | {rate:,.0f} | {median:.2f} |", flush=True)
    if not server:
        print("PostgreSQL left out: apt-get install postgresql")
    rate, median, tail = asyncio.run(control(seconds))
    print(
        f"control transactions, {CLIENTS} at a time: {rate:,.0f}/s, median {median:.1f} ms, p99 {tail:.1f} ms"
    )
    for sealed in (False, True):
        into, out = vault_speed(sealed)
        print(f"vault, {'sealed' if sealed else 'open'}: {into:,.0f} MiB/s in, {out:,.0f} MiB/s out")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 3.0)
