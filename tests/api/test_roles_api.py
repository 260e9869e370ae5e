"""Every role on every operation of the API and with every command of farmctl, over a real socket: what the table
of roles does not allow is refused, and what it allows is not.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from farmd.api import HttpServer, new_token, sha256_of_token
from farmd.api.roles import LEAST, OPEN, Operations, permits
from farmd.cli import farmctl as farmctl_app
from farmd.cli.farmctl import farmctl
from farmd.daemon.keys import Keys
from farmd.driver import now, sleep
from farmd.model.access import LADDER, Role

DATA = Path(__file__).parents[1] / "data"
NAMES = {"job_id": "J-1", "name": "mk4-01", "run_id": "R-NONE", "sha256": "0" * 64}
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "/api/v1/machines/{name}/command"): {"command": "M115"},
    ("POST", "/api/v1/machines/{name}/load"): {"material": "PLA"},
    ("POST", "/api/v1/runs/{run_id}/resolve"): {"verdict": "failed"},
    ("POST", "/api/v1/tokens"): {"name": "x", "role": "viewer", "sha256": "nothing"},
    ("PATCH", "/api/v1/jobs/{job_id}"): {"priority": 2.0},
}
COMMANDS = {
    "submit": f"submit {DATA / 'box20.gcode'} --quantity 1",
    "job": "job J-1",
    "why": "why J-1",
    "edit": "edit J-1 --priority 2 --reason more",
    "hold": "hold J-1",
    "release": "release J-1",
    "cancel": "cancel J-2",
    "machine": "machine mk4-01",
    "pause": "pause mk4-02",
    "resume": "resume mk4-02",
    "stop": "stop mk4-02",
    "estop": "estop mk4-02",
    "send": "send mk4-02 M115",
    "clear": "clear mk4-02",
    "load": "load mk4-01 PLA",
    "resolve": "resolve R-NONE failed",
    "continue": "continue R-NONE",
    "trace": "trace J-1",
    "top": "top --json",
}
MORE = ["hold mk4-02", "release mk4-02", "machine mk4-01 --terminal", "estop --all"]


@dataclass(frozen=True)
class Crew:
    """A token of each role, and those that open nothing."""

    url: str
    tokens: dict[str, str]


async def _crew(keys: Keys, url: str) -> Crew:
    tokens = {}
    for role in Role:
        tokens[role.value] = new_token()
        await keys.add(f"a-{role.value}", role, sha256_of_token(tokens[role.value]), "test")
    for name in ("expired", "revoked"):
        tokens[name] = new_token()
        ends_at = now() + 300.0 if name == "expired" else None
        await keys.add(name, Role.ADMIN, sha256_of_token(tokens[name]), "test", ends_at)
    await keys.revoke("revoked", "test")
    await sleep(301.0)
    return Crew(url, {**tokens, "unknown": new_token(), "none": ""})


@pytest.fixture
async def crew(shop: Any, server: HttpServer) -> Crew:
    await shop.submit(quantity=1)
    await shop.submit(quantity=2)
    return await _crew(Keys(shop.service.ledger), server.url)


def allowed(who: str, operation: tuple[str, str]) -> bool:
    return who in list(Role) and permits(Role(who), operation)


async def test_every_role_on_every_operation(shop: Any, crew: Crew) -> None:
    document = (await shop.client.get("/openapi.json")).json()
    operations = [(m.upper(), path) for path, methods in document["paths"].items() for m in methods]
    assert set(operations) - {("GET", "/healthz")} == LEAST.keys()
    unexplained, asked = [], 0
    async with httpx.AsyncClient(base_url=crew.url, timeout=30) as client:
        for operation in operations:
            method, path = operation
            if path in OPEN:
                continue
            for who, secret in crew.tokens.items():
                headers = {"Authorization": f"Bearer {secret}"} if secret else {}
                sent: Any = None if method == "GET" else BODIES.get(operation, {})
                answer = await client.request(method, path.format_map(NAMES), headers=headers, json=sent)
                asked += 1
                stranger = who not in list(Role)
                told = 401 if stranger else None if allowed(who, operation) else 403
                passed = answer.status_code not in (401, 403)
                if (told is None) != passed or (told is not None and answer.status_code != told):
                    unexplained.append((who, operation, answer.status_code))
                if told == 403:
                    error = answer.json()["error"]
                    assert (error["code"], LEAST[operation].value in error["what"]) == ("forbidden", True)
                    assert error["remedy"]
    assert unexplained == []
    assert asked == len(crew.tokens) * len(LEAST)


async def test_a_role_that_may_not_changes_nothing(shop: Any, crew: Crew) -> None:
    revision = shop.service.farm.revision
    async with httpx.AsyncClient(base_url=crew.url, timeout=30) as client:
        for operation in LEAST:
            method, path = operation
            for who in (*Role, "revoked", "expired"):
                if allowed(who, operation):
                    continue
                for spelling in (
                    path,
                    path + "/",
                    path.replace("/api", "//api", 1),
                    path.replace("v1/", "v1/./"),
                ):
                    headers = {"Authorization": f"Bearer {crew.tokens[who]}", "X-Farmd-Actor": "root@unix"}
                    answer = await client.request(
                        method, spelling.format_map(NAMES), headers=headers, json={}
                    )
                    assert answer.status_code in (401, 403, 404, 405), (who, method, spelling)
                    assert answer.status_code != 404 or spelling != path
    asked_for = [each for each in shop.service.ledger.recent if each.seq > revision]
    assert not [
        each for each in asked_for if each.fact.actor not in ("daemon", "machine:mk4-01", "machine:mk4-02")
    ]


class Recording(httpx.BaseTransport):
    """The real network, and what went over it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, int]] = []
        self._http = httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = self._http.handle_request(request)
        self.asked.append((request.method, request.url.path, response.status_code))
        return response

    def close(self) -> None:
        self._http.close()


async def test_every_role_with_every_command(crew: Crew, capsys: pytest.CaptureFixture[str]) -> None:
    commands = _commands()
    lines = [COMMANDS.get(name, name) for name in commands] + MORE
    operations = Operations(LEAST)
    unexplained = []
    for who, secret in crew.tokens.items():
        if who == "unknown":
            continue
        for line in lines:
            recording = Recording()
            args = ["--url", crew.url, *(["--token", secret] if secret else []), *line.split()]
            code = await asyncio.to_thread(farmctl, args, recording)
            told = capsys.readouterr().err
            assert recording.asked, line
            for method, path, status in recording.asked:
                methods = operations.find(path)
                assert methods is not None
                passed = status not in (401, 403)
                if passed != allowed(who, methods[method]):
                    unexplained.append((who, line, method, path, status))
            if recording.asked[-1][2] == 403:
                assert (code, told.startswith("error forbidden: "), "; " in told) == (1, True, True), told
            if recording.asked[-1][2] == 401:
                assert (code, told.startswith("error unauthorized: ")) == (1, True), told
    assert unexplained == []


def _commands() -> list[str]:
    import typer

    return sorted(typer.main.get_group(farmctl_app.app).commands)


def test_the_ladder() -> None:
    for at, role in enumerate(LADDER):
        assert [role.includes(least) for least in LADDER] == [rung <= at for rung in range(len(LADDER))]
        assert not role.includes(Role.MACHINE)
        assert not Role.MACHINE.includes(role)


def test_an_operation_that_is_not_in_the_table_is_not_found() -> None:
    operations = Operations(LEAST)
    for path in (
        "/",
        "",
        "/api/v1/machines/",
        "/api/v1/machines//hold",
        "/api/v1/machines/a/b/hold",
        "/metrics/",
    ):
        assert operations.find(path) is None
    assert operations.find("/api/v1/plan/problem") == {"GET": ("GET", "/api/v1/plan/problem")}
    machine = operations.find("/api/v1/machines/x y")
    assert machine is not None
    assert machine["GET"] == ("GET", "/api/v1/machines/{name}")


async def test_an_app_with_an_operation_that_nobody_judged_does_not_start(
    shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from farmd.api import Auth, create_app

    monkeypatch.delitem(LEAST, ("POST", "/api/v1/estop"))
    with pytest.raises(RuntimeError, match="estop"):
        create_app(shop.service, auth=Auth(shop.service.ledger), max_upload_bytes=1)
