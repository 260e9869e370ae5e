"""Nobody gets past the gate without the token, and no request is larger than it may be."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import httpx
import pytest

from farmd.api import Auth, load_or_create_token
from farmd.model.errors import ConfigError


def stranger(shop: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(shop.app), base_url="http://farm")


async def test_every_route_wants_the_token(shop: Any) -> None:
    document = (await shop.client.get("/openapi.json")).json()
    revision = shop.service.farm.revision
    asked = 0
    async with stranger(shop) as client:
        for path, methods in document["paths"].items():
            for method in methods:
                for headers in ({}, {"Authorization": "Bearer wrong"}, {"X-Api-Key": ""}):
                    response = await client.request(
                        method, path.replace("{", "").replace("}", ""), headers=headers
                    )
                    if path == "/healthz":
                        assert response.status_code == 200
                        continue
                    asked += 1
                    assert response.status_code == 401, (method, path)
                    assert response.json()["error"]["code"] == "unauthorized"
    assert asked > 90
    assert shop.service.farm.revision == revision


async def test_strangers_learn_nothing_of_what_there_is(shop: Any) -> None:
    async with stranger(shop) as client:
        assert (await client.get("/api/v1/nothing")).status_code == 401
        assert "test-hall" not in (await client.get("/openapi.json")).text


async def test_both_headers_serve(shop: Any) -> None:
    token = shop.client.headers["Authorization"].removeprefix("Bearer ")
    async with stranger(shop) as client:
        assert (await client.get("/api/v1/farm", headers={"X-Api-Key": token})).status_code == 200
        assert (
            await client.get("/api/v1/farm", headers={"authorization": f"bearer {token}"})
        ).status_code == 200
        assert (
            await client.get("/api/v1/farm", headers={"Authorization": f"Basic {token}"})
        ).status_code == 401


async def test_who_acts_is_recorded_as_a_plain_name(shop: Any) -> None:
    for sent, recorded in (
        (b"", "first"),
        (b"first", "first"),
        ("Zoë".encode(), "Zoë@first"),
        (b"root@unix", "root@unix@first"),
        (b"a\tb" + b"c" * 100, "ab" + "c" * 62 + "@first"),
    ):
        response = await shop.client.post("/api/v1/machines/mk4-01/hold", headers=[(b"X-Farmd-Actor", sent)])
        assert response.status_code == 200
        newest = (await shop.get("/events?newest_first=true&limit=1"))["events"][0]
        assert newest["actor"] == recorded
    for reserved in ("daemon", "machine:mk4-01"):
        refused = await shop.post("/machines/mk4-01/hold", X_Farmd_Actor=reserved)
        assert (refused.status_code, refused.json()["error"]["where"]) == (422, "X-Farmd-Actor")


async def test_small_requests_stay_small(shop: Any) -> None:
    large = await shop.post("/machines/mk4-01/hold", {"reason": "x" * 100_000})
    assert (large.status_code, large.json()["error"]["code"]) == (413, "too-large-upload")

    async def endless() -> Any:
        yield b'{"reason": "'
        for _ in range(100):
            yield b"x" * 1000

    chunked = await shop.client.post(
        "/api/v1/machines/mk4-01/hold", content=endless(), headers={"Content-Type": "application/json"}
    )
    assert (chunked.status_code, chunked.json()["error"]["code"]) == (413, "too-large-upload")
    assert (await shop.get("/machines/mk4-01"))["held"] is None


def test_a_token_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "token"
    token = load_or_create_token(path)
    assert len(token) == 43
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_or_create_token(path) == token
    assert load_or_create_token(tmp_path / "other") != token
    assert [each.name for each in path.parent.iterdir()] == ["token"]


@pytest.mark.parametrize(
    ("content", "mode"), [("x" * 40, 0o640), ("short", 0o600), ("", 0o600), ("ä" * 40, 0o600)]
)
def test_token_files_that_cannot_be_trusted(tmp_path: Path, content: str, mode: int) -> None:
    path = tmp_path / "token"
    path.write_text(content)
    path.chmod(mode)
    with pytest.raises(ConfigError) as told:
        load_or_create_token(path)
    assert told.value.code.name == "token-file"
    assert content == "" or content not in str(told.value)


async def test_tokens_are_kept_as_hashes(shop: Any) -> None:
    auth = Auth(shop.service.ledger)
    secret = shop.client.headers["Authorization"].removeprefix("Bearer ")
    assert auth.knows(secret)
    assert not auth.knows(secret + " ")
    kept = [path.read_bytes() for path in shop.data_dir.rglob("*") if path.is_file()]
    assert not any(secret.encode() in content for content in kept)
    assert secret not in repr(vars(auth))
