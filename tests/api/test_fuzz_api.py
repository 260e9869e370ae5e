"""No request makes the daemon fail: Schemathesis makes them from the API's own description, good ones and bad ones."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from farmd.api import HttpServer
from tests.peers.venvs import PeerMissing, python_of

EXAMPLES = int(os.environ.get("FARMD_FUZZ_EXAMPLES", "8"))
SEEDS = (int(os.environ.get("FARMD_FUZZ_SEED", "1")),)
LONGEST_S = 280.0


@pytest.fixture(scope="module")
def schemathesis() -> Path:
    try:
        return python_of("schemathesis").with_name("schemathesis")
    except PeerMissing as missing:
        pytest.skip(f"Schemathesis left out: {missing}")


@pytest.mark.parametrize("seed", SEEDS)
async def test_no_request_is_answered_500(
    shop: Any, server: HttpServer, schemathesis: Path, seed: int, tmp_path: Path
) -> None:
    await shop.submit(quantity=2)
    report = tmp_path / "report.ndjson"
    command = [
        str(schemathesis), "run", f"{server.url}/openapi.json",
        "--header", f"Authorization: {shop.client.headers['Authorization']}",
        "--checks", "not_a_server_error", "--mode", "all", "--max-examples", str(EXAMPLES),
        "--seed", str(seed), "--generation-database", "none", "--continue-on-failure", "--no-color",
        "--request-timeout", "20", "--report", "ndjson", "--report-ndjson-path", str(report),
    ]  # fmt: skip
    ran = await asyncio.to_thread(
        lambda: subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=LONGEST_S, check=False
        )
    )
    assert ran.returncode == 0, ran.stdout[-6000:]
    # Every operation was really asked, and nothing of it was turned away for who asked or how often.
    assert not {"role", "rate"} & shop.app.state.context.turned_away.keys()
    asked = json.dumps([line for line in report.read_text().splitlines() if "ScenarioFinished" in line])
    document = (await shop.client.get("/openapi.json")).json()
    assert all(path in asked for path in document["paths"])
    assert (await shop.client.get("/healthz")).status_code == 200
