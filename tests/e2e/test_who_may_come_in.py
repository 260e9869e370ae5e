"""A farm as it is installed: tokens given and taken back by `farmd token`, the local socket, and a cut record found."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
from farmhouse import FARMCTL, FARMD, Farmhouse

MACHINE = (
    '[[machine]]\nname = "m1"\ndriver = "simulated"\ngroup = "mk4"\nprocess = "MEX"\n'
    'volume_mm = [250, 210, 220]\nnozzle_mm = 0.4\nmaterial = "PLA black"\nmax_nozzle_c = 290\n'
)


def run(program: tuple[str, ...], *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*program, *args], capture_output=True, text=True, timeout=60, check=False)


def test_tokens_the_socket_and_a_cut_record(tmp_path: Path) -> None:
    house = Farmhouse(tmp_path, MACHINE)
    config = str(house.config)
    # Before the first start, in the record itself.
    made = run(FARMD, "token", "add", "ana", "--role", "technician", "--config", config, "--json")
    assert made.returncode == 0, made.stderr
    ana = json.loads(made.stdout)["token"]
    house.start()
    try:

        def ask(token: str, method: str, path: str) -> int:
            headers = {"Authorization": f"Bearer {token}"}
            body: Any = {} if method == "POST" else None
            url = f"{house.url}/api/v1{path}"
            return httpx.request(method, url, json=body, headers=headers, timeout=20).status_code

        assert ask(ana, "GET", "/machines") == 200
        assert ask(ana, "POST", "/machines/m1/hold") == 200
        assert ask(ana, "GET", "/tokens") == 403
        # While it runs, by the local socket: at once.
        bo = run(FARMD, "token", "add", "bo", "--role", "admin", "--config", config).stdout.strip()
        assert ask(bo, "GET", "/tokens") == 200
        assert run(FARMD, "token", "revoke", "ana", "--config", config).returncode == 0
        began = time.monotonic()
        assert ask(ana, "GET", "/machines") == 401
        assert time.monotonic() - began < 5.0
        local = run(FARMCTL, "whoami", "--url", f"unix:{tmp_path / 'data' / 'farmd.sock'}")
        assert local.stdout.strip().endswith("@unix: admin"), local.stderr
        assert house.ask("whoami").stdout.strip().endswith("first: admin")
    finally:
        assert house.stop() == 0
    assert not (tmp_path / "data" / "farmd.sock").exists()

    good = run(FARMD, "verify", "--config", config)
    assert good.returncode == 0, good.stderr
    assert len((tmp_path / "data" / "anchors").read_text().splitlines()) >= 2
    with sqlite3.connect(tmp_path / "data" / "farmd.sqlite") as connection:
        (last,) = connection.execute("SELECT max(seq) FROM journal").fetchone()
        connection.execute("DROP TRIGGER journal_no_delete")
        # The last fact changes no state, so nothing but the anchor knows of it.
        connection.execute("DELETE FROM journal WHERE seq = ?", (last,))
    connection.close()
    cut = run(FARMD, "verify", "--config", config)
    assert cut.returncode == 1
    assert [line.partition(":")[0] for line in cut.stderr.splitlines()] == ["error anchor-differs"]
    assert f"the journal had {last} facts" in cut.stderr
