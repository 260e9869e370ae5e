"""Tokens: made, listed, ended, taken back; by the API and by `farmd token`, with and without a daemon."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import Message

from farmd.api import HttpServer, listen_locally, new_token, sha256_of_token
from farmd.api.arriving import UntilEnd
from farmd.cli.farmd import farmd
from farmd.daemon.keys import Keys
from farmd.driver import now
from farmd.model.access import Role
from farmd.model.errors import Refused
from farmd.store import Store, Vault, verify


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


async def add(shop: Any, name: str, role: str = "viewer", **more: Any) -> tuple[str, httpx.Response]:
    secret = new_token()
    body = {"name": name, "role": role, "sha256": sha256_of_token(secret), **more}
    return secret, await shop.post("/tokens", body)


async def test_a_token_from_its_making_to_its_end(shop: Any) -> None:
    secret, made = await add(shop, "ana", "technician")
    assert made.status_code == 201
    assert made.json() | {"added_at": 0} == {
        "name": "ana", "role": "technician", "state": "good", "added_at": 0, "expires_at": None, "revoked_at": None,
    }  # fmt: skip
    asked = await shop.client.post(
        "/api/v1/machines/mk4-01/hold", headers={**bearer(secret), "X-Farmd-Actor": "ana"}
    )
    assert asked.status_code == 200
    gone = await shop.post("/tokens/ana/revoke", {"reason": "left"})
    assert gone.json()["state"] == "revoked"
    assert (await shop.client.get("/api/v1/farm", headers=bearer(secret))).status_code == 401
    again = await shop.post("/tokens/ana/revoke")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "token-revoked")
    assert (await shop.post("/tokens/nobody/revoke")).status_code == 404
    events = (await shop.get("/events?newest_first=true&limit=3"))["events"][::-1]
    told = [(e["kind"], e["actor"], e.get("token"), e.get("role"), e.get("reason")) for e in events]
    assert told == [
        ("TokenAdded", "first", "ana", "technician", None),
        ("MachineHeld", "ana", None, None, ""),
        ("TokenRevoked", "first", "ana", None, "left"),
    ]
    assert sha256_of_token(secret) not in json.dumps(events)
    listed = (await shop.get("/tokens"))["tokens"]
    assert [(each["name"], each["state"]) for each in listed] == [("ana", "revoked"), ("first", "good")]
    assert "sha256" not in listed[0]


async def test_what_a_token_cannot_be(shop: Any) -> None:
    secret, _ = await add(shop, "ana")
    for body, status, code in (
        ({"name": "ana"}, 409, "token-taken"),
        ({"name": "bo", "sha256": sha256_of_token(secret)}, 409, "token-taken"),
        ({"name": "unix"}, 422, "bad-token"),
        ({"name": "a@b"}, 422, "bad-request"),
        ({"name": "bo", "sha256": "x"}, 422, "bad-request"),
        ({"name": "bo", "role": "king"}, 422, "bad-request"),
        ({"name": "bo", "expires": "1999-01-01T00:00:00Z"}, 422, "bad-token"),
        ({"name": "bo", "role": "engineer", "expires": "2999-01-01T00:00:00Z"}, 422, "bad-token"),
    ):
        sent = {"role": "viewer", "sha256": sha256_of_token(new_token()), **body}
        refused = await shop.post("/tokens", sent)
        assert (refused.status_code, refused.json()["error"]["code"]) == (status, code), body


async def test_an_engineers_token_ends_by_itself(shop: Any) -> None:
    _, made = await add(shop, "eve", "engineer")
    assert made.json()["expires_at"] is not None
    keys = Keys(shop.service.ledger)
    expires_at = shop.service.farm.tokens["eve"].expires_at
    assert 89 * 86400 < expires_at - now() <= 90 * 86400
    with pytest.raises(Refused):
        await keys.add("bo", Role.VIEWER, "short", "test")


async def test_an_open_stream_ends_with_its_token(shop: Any, server: HttpServer) -> None:
    secret, _ = await add(shop, "board")
    brief = new_token()
    # The shop's time runs 3000 times faster.
    await Keys(shop.service.ledger).add("brief", Role.VIEWER, sha256_of_token(brief), "test", now() + 3000.0)
    loop = asyncio.get_running_loop()

    async def follow(token: str, begun: asyncio.Event) -> float:
        headers = {**bearer(token), "Accept": "text/event-stream"}
        async with (
            httpx.AsyncClient(base_url=server.url, timeout=30) as client,
            client.stream("GET", "/api/v1/events", headers=headers) as response,
        ):
            assert response.status_code == 200
            async for _ in response.aiter_lines():
                begun.set()
        return loop.time()

    begun = [asyncio.Event(), asyncio.Event()]
    following = [
        asyncio.create_task(follow(token, event)) for token, event in zip((secret, brief), begun, strict=True)
    ]
    await asyncio.gather(*(event.wait() for event in begun))
    revoked_at = loop.time()
    await shop.post("/tokens/board/revoke")
    async with asyncio.timeout(10):
        assert await following[0] - revoked_at < 1.0
        await following[1]


async def test_a_stream_is_not_kept_open_by_sending_on() -> None:
    pause_s = 0.02

    async def chatter() -> Message:
        await asyncio.sleep(pause_s)
        return {"type": "http.request", "body": b" ", "more_body": True}

    brief = UntilEnd(chatter, asyncio.Event(), 0.1)
    async with asyncio.timeout(5):
        while (await brief())["type"] != "http.disconnect":
            continue
    pause_s, revoked = 0.0, asyncio.Event()
    receive = UntilEnd(chatter, revoked, None)
    assert (await receive())["type"] == "http.request"
    revoked.set()
    assert (await receive())["type"] == "http.disconnect"


async def test_the_first_token_comes_from_its_file(open_shop: Any) -> None:
    async with open_shop() as shop:
        keys = Keys(shop.service.ledger)
        revision = shop.service.farm.revision
        first = sha256_of_token(shop.client.headers["Authorization"].removeprefix("Bearer "))
        await keys.take_first(first)
        assert shop.service.farm.revision == revision, "the same file changes nothing"
        other = new_token()
        await keys.take_first(sha256_of_token(other))
        assert (await shop.client.get("/api/v1/me")).status_code == 401, "another file replaces it"
        assert (await shop.client.get("/api/v1/me", headers=bearer(other))).json()["role"] == "admin"
        await keys.revoke("first", "test")
        assert (await keys.take_first(sha256_of_token(other))).revoked_at is not None, "revoked stays revoked"
        assert (await shop.client.get("/api/v1/me", headers=bearer(other))).status_code == 401


async def test_no_other_token_takes_the_first_ones_name(open_shop: Any) -> None:
    """Else the next start would let in what the token file holds, though it was revoked."""
    async with open_shop() as shop:
        keys = Keys(shop.service.ledger)
        held = shop.client.headers["Authorization"].removeprefix("Bearer ")
        await keys.revoke("first", "test")
        with pytest.raises(Refused) as caught:
            await keys.add("first", Role.ADMIN, sha256_of_token(new_token()), "test")
        assert caught.value.code.name == "bad-token"
        await keys.take_first(sha256_of_token(held))
        assert (await shop.client.get("/api/v1/me")).status_code == 401


async def test_farmd_token_while_the_daemon_runs(shop: Any, capsys: pytest.CaptureFixture[str]) -> None:
    config = shop.data_dir.parent / "farm.toml"
    local = listen_locally(shop.data_dir / "farmd.sock", to_all=False)
    server = HttpServer(shop.app, "127.0.0.1", 0, local=local)
    await server.start()

    async def token(*args: str) -> tuple[int, str, str]:
        code = await asyncio.to_thread(farmd, ["token", *args, "--config", str(config)])
        told = capsys.readouterr()
        return code, told.out, told.err

    code, out, _ = await token("add", "ana", "--role", "technician", "--expires", "90d")
    secret = next(line for line in out.splitlines() if len(line) == 43 and " " not in line)
    assert code == 0
    assert (await shop.client.get("/api/v1/me", headers=bearer(secret))).json()["role"] == "technician"
    code, out, _ = await token("list", "--json")
    assert '"name": "ana"' in out
    code, _, err = await token("add", "ana", "--role", "viewer")
    assert (code, "error token-taken" in err) == (1, True)
    code, _, _ = await token("revoke", "ana", "--reason", "left")
    assert code == 0
    assert (await shop.client.get("/api/v1/me", headers=bearer(secret))).status_code == 401
    await server.stop()
    local.close()
    code, _, err = await token("list")
    assert (code, "error no-daemon" in err) == (3, True)


def test_farmd_token_without_a_daemon(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "farm.toml"
    config.write_text('[farm]\nname = "x"\ndata_dir = "data"\n')

    def token(*args: str) -> tuple[int, str]:
        code = farmd(["token", *args, "--config", str(config)])
        told = capsys.readouterr()
        return code, told.out + told.err

    code, out = token("add", "ana", "--role", "planner", "--expires", "2w", "--json")
    assert code == 0
    made = json.loads(out)
    assert (made["role"], len(made["token"]), made["state"]) == ("planner", 43, "good")
    assert token("add", "ana", "--role", "viewer")[0] == 1
    assert token("add", "bo", "--role", "viewer", "--expires", "soon")[0] == 2
    assert token("revoke", "ana")[0] == 0
    assert token("revoke", "ana")[0] == 1
    assert token("add", "ana", "--role", "viewer")[0] == 0, "a name that is free again"
    code, out = token("list")
    assert (code, "ana" in out, "viewer" in out, "good" in out) == (0, True, True, True)
    data_dir = tmp_path / "data"
    with Store.open("sqlite:///farmd.sqlite", data_dir=data_dir) as store:
        assert verify(store, Vault(data_dir / "vault")) == []
        kinds = [(event.kind, event.actor.endswith("@offline")) for event in store.events()]
    assert kinds == [("TokenAdded", True), ("TokenRevoked", True), ("TokenAdded", True)]
    content = b"".join(path.read_bytes() for path in data_dir.rglob("*") if path.is_file())
    assert made["token"].encode() not in content
