"""A real farm on SQLite with simulated printers, its time running fast, and clients of its API."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from farmd.api import Auth, HttpServer, Limits, create_app, sha256_of_token
from farmd.app import Setup, run_farm
from farmd.config import load_config
from farmd.daemon.keys import Keys
from farmd.daemon.service import Service
from farmd.driver.clock import Clock, set_clock
from farmd.sim.planners import CountedPlanner

DATA = Path(__file__).parents[1] / "data"
TOKEN = "a-token-of-more-than-thirty-two-characters"
MAX_UPLOAD_BYTES = 2_000_000
EPOCH = 1_790_000_000.0
SPEED = 3000.0
TOML = """
[farm]
name = "test-hall"
data_dir = "data"
[planner]
replan_min_interval_s = 0.01
[[machine]]
name = "mk4-01"
driver = "simulated"
group = "mk4"
process = "MEX"
volume_mm = [250, 210, 220]
nozzle_mm = 0.4
material = "PLA"
[[machine]]
name = "mk4-02"
driver = "simulated"
group = "mk4"
process = "MEX"
volume_mm = [250, 210, 220]
nozzle_mm = 0.6
material = "PETG"
"""


@dataclass(frozen=True)
class Shop:
    """A running farm with its app, and a client that holds the token."""

    service: Service
    app: FastAPI
    client: httpx.AsyncClient
    data_dir: Path

    async def submit(self, file: str = "box20.gcode", **fields: Any) -> dict[str, Any]:
        response = await self.post_file((DATA / file).read_bytes(), file, fields)
        assert response.status_code == 201, response.text
        return dict(response.json())

    async def post_file(
        self, content: bytes, name: str, fields: dict[str, Any], **headers: str
    ) -> httpx.Response:
        data = {"quantity": "1"} | {key: str(value) for key, value in fields.items()}
        return await self.client.post(
            "/api/v1/jobs",
            data=data,
            files={"file": (name, content)},
            headers={key.replace("_", "-"): value for key, value in headers.items()},
        )

    async def post(self, path: str, body: dict[str, Any] | None = None, **headers: str) -> httpx.Response:
        sent = {key.replace("_", "-"): value for key, value in headers.items()}
        return await self.client.post(f"/api/v1{path}", json=body, headers=sent)

    async def get(self, path: str) -> dict[str, Any]:
        response = await self.client.get(f"/api/v1{path}")
        assert response.status_code == 200, response.text
        return dict(response.json())

    async def until(self, seen: Callable[[], Awaitable[bool]]) -> None:
        """Look again and again; fails after 20 s."""
        deadline = asyncio.get_running_loop().time() + 20.0
        while not await seen():
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.01)

    async def made(self, machine: str = "mk4-01") -> None:
        """Wait until a run has ended on a machine and its parts lie there."""

        async def lies_there() -> bool:
            return (await self.get(f"/machines/{machine}"))["uncleared_run"] is not None

        await self.until(lies_there)

    def vault_files(self) -> list[str]:
        return [path.name for path in (self.data_dir / "vault").rglob("*") if path.is_file()]


@asynccontextmanager
async def running_shop(folder: Path, began_at: float = EPOCH) -> AsyncIterator[Shop]:
    """A farm in a folder, from its start to its end."""
    loop = asyncio.get_running_loop()
    set_clock(loop, Clock(began_at, loop.time(), SPEED))
    config_file = folder / "farm.toml"
    config_file.write_text(TOML)
    config = load_config(config_file)
    planners = CountedPlanner(policy="plan", effort=0, seed=1, stability_price_s=0.0)
    ready: asyncio.Future[Service] = loop.create_future()
    end = asyncio.Event()

    async def body(service: Service) -> None:
        ready.set_result(service)
        await end.wait()

    running = asyncio.create_task(run_farm(Setup(config, planners), body))
    await asyncio.wait({running, ready}, return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        running.result()
    service = ready.result()
    await Keys(service.ledger).take_first(sha256_of_token(TOKEN))
    # Tests ask as fast as they can.
    limits = Limits(0, strangers_per_s=0)
    app = create_app(service, auth=Auth(service.ledger), max_upload_bytes=MAX_UPLOAD_BYTES, limits=limits)
    client = httpx.AsyncClient(
        transport=httpx.ASGITransport(app, raise_app_exceptions=False),
        base_url="http://farm",
        headers={"Authorization": f"Bearer {TOKEN}"},
    )
    shop = Shop(service, app, client, config.farm.data_dir)

    async def linked() -> bool:
        return all(machine.state.value == "idle" for machine in service.farm.machines.values())

    await shop.until(linked)
    yield shop
    await client.aclose()
    end.set()
    await running


@pytest.fixture
def open_shop(tmp_path: Path) -> Callable[[], AbstractAsyncContextManager[Shop]]:
    """Opens the farm in the test's folder; again, after it was closed, a day later each time."""
    days = itertools.count()
    return lambda: running_shop(tmp_path, EPOCH + next(days) * 86400.0)


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    async with running_shop(tmp_path) as running:
        yield running


@pytest.fixture
async def server(shop: Shop) -> AsyncIterator[HttpServer]:
    """The same app on a real socket."""
    serving = HttpServer(shop.app, "127.0.0.1", 0)
    await serving.start()
    yield serving
    await serving.stop()
