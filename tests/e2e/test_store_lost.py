"""A database that fails under a running daemon: requests are told so, and the daemon ends with one line."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from farmhouse import Farmhouse

MACHINE = (
    '[[machine]]\nname = "m1"\ndriver = "simulated"\ngroup = "mk4"\nprocess = "MEX"\n'
    'volume_mm = [250, 210, 220]\nnozzle_mm = 0.4\nmaterial = "PLA black"\nmax_nozzle_c = 290\n'
    '[database]\nurl = "sqlite:///farm.sqlite"\n'
)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Farmhouse]:
    farm = Farmhouse(tmp_path, MACHINE)
    farm.start()
    yield farm
    farm.stop()


def _go_on_with_the_journal(database: Path) -> None:
    """As a second daemon would that got past all locks: the next numbers are taken."""
    columns = "at, actor, kind, build_id, run_id, machine, body, prev_hash, hash"
    with sqlite3.connect(database) as connection:
        (last,) = connection.execute("SELECT max(seq) FROM journal").fetchone()
        for seq in range(last + 1, last + 50):
            connection.execute(
                f"INSERT INTO journal (seq, {columns}) SELECT ?, {columns} FROM journal WHERE seq = 1", (seq,)
            )
    connection.close()


def test_a_request_is_told_and_the_daemon_ends_with_one_line(house: Farmhouse, tmp_path: Path) -> None:
    token = (tmp_path / "data" / "token").read_text().strip()
    _go_on_with_the_journal(tmp_path / "data" / "farm.sqlite")
    answer = httpx.post(
        f"{house.url}/api/v1/machines/m1/hold",
        json={},
        headers={"Authorization": f"Bearer {token}"},
        timeout=20,
    )
    assert answer.status_code == 503
    told = answer.json()["error"]
    assert told["code"] == "store-failed"
    assert told["what"] == "writing: the journal is append-only"
    assert house._daemon is not None
    assert house._daemon.wait(20) == 1, "it ends by itself"
    lines = (tmp_path / "log-1").read_text().splitlines()
    ends = [line for line in lines if not line.startswith("{")]
    assert ends == [f"error store-failed: {told['what']}; {told['remedy']}"]
    told = [json.loads(line) for line in lines if line not in ends]
    assert {line["event"] for line in told if line["level"] != "info"} <= {
        "let no other program write to the database or checkpoint it"
    }
