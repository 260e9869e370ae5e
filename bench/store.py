"""Durable facts per second of the store, by batch size, on SQLite and PostgreSQL.

`python -m bench.store [SECONDS]` from the top of the checkout. Every commit is on the disk when it is
counted: SQLite with synchronous=FULL, PostgreSQL with fsync. A fact comes with the state it changes.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count, islice
from pathlib import Path

from farmd.model import facts as f
from farmd.model.apply import apply
from farmd.model.farm import Farm
from farmd.model.work import Job, Outcome
from farmd.store import Entry, Store, Vault, verify
from tests.conftest import PostgresServer, postgres_programs

BATCHES = (1, 10, 100)
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


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 3.0)
