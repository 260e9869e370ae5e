"""Nobody asks without measure, nobody keeps the daemon waiting, and an emergency stop is held up by none of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from farmd.api import Auth, HttpServer, Limits, create_app
from farmd.api import arriving as arriving_module
from farmd.api import connection as connection_module
from farmd.api import limits as limits_module
from farmd.api.limits import Buckets


@asynccontextmanager
async def limited(shop: Any, limits: Limits) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(shop.service, auth=Auth(shop.service.ledger), max_upload_bytes=1_000_000, limits=limits)
    server = HttpServer(app, "127.0.0.1", 0)
    await server.start()
    headers = {"Authorization": shop.client.headers["Authorization"]}
    async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=30) as client:
        yield client
    await server.stop()


async def test_a_token_that_asks_too_often_waits_and_an_emergency_stop_does_not(shop: Any) -> None:
    async with limited(shop, Limits(0.2, 5.0)) as client:
        assert (await client.get("/api/v1/farm")).status_code == 200
        refused = await client.get("/api/v1/farm")
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too-many-requests")
        assert 1 <= int(refused.headers["retry-after"]) <= 5
        stops = [await client.post("/api/v1/machines/mk4-01/estop", json={}) for _ in range(20)]
        stops += [await client.post("/api/v1/estop", json={}) for _ in range(20)]
        assert {answer.status_code for answer in stops} == {200}
        for _ in range(20):
            if (again := await client.get("/api/v1/farm")).status_code == 200:
                break
            await asyncio.sleep(int(again.headers["retry-after"]))
        assert again.status_code == 200


async def test_strangers_are_counted_by_address_and_hold_up_nobody_else(shop: Any) -> None:
    async with limited(shop, Limits(0, 1.0)) as client:
        wrong = {"Authorization": "Bearer wrong"}
        codes = [(await client.get("/api/v1/farm", headers=wrong)).status_code for _ in range(20)]
        assert (codes[:2], set(codes[2:]) - {401}) == ([401] * 2, {429})
        assert (await client.get("/api/v1/farm")).status_code == 200
        text = (await client.get("/metrics")).text
        assert 'farmd_requests_turned_away_total{why="token"}' in text
        assert 'farmd_requests_turned_away_total{why="rate"} 0' not in text


async def test_one_token_has_so_many_streams(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farmd.api.gate.STREAMS_EACH", 2)
    stream = {"Accept": "text/event-stream"}
    async with limited(shop, Limits(0, 0)) as client:
        async with (
            client.stream("GET", "/api/v1/events", headers=stream) as one,
            client.stream("GET", "/api/v1/events", headers=stream) as two,
        ):
            third = await client.get("/api/v1/events", headers=stream)
            assert (one.status_code, two.status_code, third.status_code) == (200, 200, 429)
        for _ in range(100):
            async with client.stream("GET", "/api/v1/events", headers=stream) as again:
                if again.status_code == 200:
                    break
            await asyncio.sleep(0.05)
        assert again.status_code == 200


async def slowly(url: str, pieces: list[bytes], pause_s: float) -> bytes:
    """What is answered to bytes that come one after another; empty when the connection was closed."""
    address = httpx.URL(url)
    reader, writer = await asyncio.open_connection(address.host, address.port)
    answered = asyncio.create_task(reader.read())
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause_s)
            if answered.done():
                break
        async with asyncio.timeout(10):
            return await answered
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_a_head_that_trickles_in_is_given_up(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "HEAD_S", 0.3)
    async with limited(shop, Limits(0, 0)) as client:
        url = str(client.base_url)
        began = asyncio.get_running_loop().time()
        head = [b"GET /healthz HTTP/1.1\r\n", *[b"X-A: b\r\n"] * 50]
        slow = await asyncio.gather(*(slowly(url, head, 0.05) for _ in range(30)), slowly(url, [], 0))
        assert set(slow) == {b""}
        assert asyncio.get_running_loop().time() - began < 3.0
        # On a connection that is kept, the second head is watched as the first.
        first = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
        kept = await slowly(url, [first, b"GET /heal", *[b"t"] * 50], 0.05)
        assert kept.count(b"HTTP/1.1 ") == 1
        assert (await client.get("/healthz")).status_code == 200


async def test_a_body_that_does_not_come_is_given_up(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arriving_module, "SILENCE_S", 0.3)
    async with limited(shop, Limits(0, 0)) as client:
        auth = client.headers["Authorization"].encode()
        for path, kind in (
            (b"/api/v1/machines/mk4-01/hold", b"application/json"),
            (b"/api/v1/jobs", b"multipart/form-data; boundary=XX"),
        ):
            head = b"POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nContent-Type: %s\r\n"
            head += b"Content-Length: 500\r\n\r\n"
            told = await slowly(str(client.base_url), [head % (path, auth, kind), b"{"], 0.0)
            assert told.startswith(b"HTTP/1.1 408 "), told
            assert b"request-too-slow" in told
    assert shop.vault_files() == []


async def test_who_asks_for_a_stream_sends_no_larger_body_and_stops_past_all_limits(
    shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farmd.api.gate.STREAMS_EACH", 0)

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 8192

    stream = {"Accept": "text/event-stream"}
    async with limited(shop, Limits(0, 0)) as client:
        # Who is still sending may find the connection closed before the answer is read.
        with contextlib.suppress(httpx.ReadError, httpx.WriteError):
            large = await client.post("/api/v1/machines/mk4-01/hold", content=endless(), headers=stream)
            assert large.status_code == 413
        assert (await client.post("/api/v1/estop", json={}, headers=stream)).status_code == 200


async def test_an_upload_that_drips_is_given_up_and_one_that_only_takes_long_is_not(
    shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arriving_module, "GRACE_S", 0.5)
    drip = b'--XX\r\nContent-Disposition: form-data; name="file"; filename="a.gcode"\r\n\r\n'
    async with limited(shop, Limits(0, 0)) as client:

        async def body(piece: bytes, pause_s: float, count: int) -> AsyncIterator[bytes]:
            yield drip
            for _ in range(count):
                yield piece
                await asyncio.sleep(pause_s)

        headers = {"Content-Type": "multipart/form-data; boundary=XX"}
        began = asyncio.get_running_loop().time()
        # Who is still sending may find the connection closed before the answer is read.
        with contextlib.suppress(httpx.ReadError, httpx.WriteError):
            slow = await client.post("/api/v1/jobs", content=body(b";", 0.1, 100), headers=headers)
            assert slow.status_code == 408
        assert asyncio.get_running_loop().time() - began < 8.0
        steady = await client.post("/api/v1/jobs", content=body(b";" * 8000, 0.1, 12), headers=headers)
        assert steady.status_code == 422, "cut off, and that is all that is wrong with it"


async def test_connections_of_one_address_are_bounded_and_the_local_socket_stays_open(
    shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "MAX_CONNECTIONS", 20)
    async with limited(shop, Limits(0, 0)) as client:
        url = httpx.URL(str(client.base_url))
        opened = [await asyncio.open_connection(url.host, url.port) for _ in range(25)]
        refused = 0
        for reader, _ in opened[20:]:
            async with asyncio.timeout(5):
                refused += (await reader.readline()).startswith(b"HTTP/1.1 503")
        assert refused == 5
        for _, writer in opened:
            writer.close()
        await asyncio.sleep(0.1)
        assert (await client.get("/api/v1/farm")).status_code == 200


async def test_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits_module, "MOST_BUCKETS", 3)
    none = Buckets(0)
    assert [none.take("a") for _ in range(1000)] == [0] * 1000
    slow = Buckets(0.1)
    assert (slow.take("a"), slow.take("a")) == (0, 10)
    for name in "bcdefgh":
        assert slow.take(name) == 0
    assert slow.take("h") == 10, "names that come and go do not make anybody's bucket full again"
