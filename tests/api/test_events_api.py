"""The event stream over a real socket: complete, resumable, filtered, and harmless to the daemon."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from farmd.api import HttpServer
from farmd.api.events import event_bytes
from farmd.api.feed import PAGE, Feed, Subject
from farmd.api.stream import EventStream
from farmd.driver import now
from farmd.model import facts as f
from farmd.model.errors import ConfigError


@asynccontextmanager
async def listening(
    shop: Any, server: HttpServer, query: str = "", **headers: str
) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    sent = {key.replace("_", "-"): value for key, value in headers.items()}
    async with (
        httpx.AsyncClient(base_url=server.url, headers=shop.client.headers, timeout=20) as client,
        client.stream(
            "GET", f"/api/v1/events{query}", headers={"Accept": "text/event-stream", **sent}
        ) as response,
    ):
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = response.aiter_lines()
        assert await anext(lines) == "retry: 2000"
        yield events(lines)


async def events(lines: AsyncIterator[str]) -> AsyncIterator[dict[str, Any]]:
    seen: dict[str, str] = {}
    async for line in lines:
        name, _, value = line.partition(": ")
        if name and value:
            seen[name] = value
        elif not line and "data" in seen:
            told = json.loads(seen["data"])
            assert (int(seen["id"]), seen["event"]) == (told["seq"], told["kind"])
            seen = {}
            yield told


async def take(stream: AsyncIterator[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(10):
        return [await anext(stream) for _ in range(count)]


async def test_a_stream_begins_now_and_goes_on(shop: Any, server: HttpServer) -> None:
    await shop.submit()
    async with listening(shop, server) as stream:
        await shop.post("/jobs/J-1/hold", {"reason": "a\nb"})
        (held,) = await take(stream, 1)
        assert (held["kind"], held["job_id"], held["reason"], held["actor"]) == (
            "JobHeld",
            "J-1",
            "a\nb",
            "first",
        )
        await shop.post("/jobs/J-1/release")
        assert [event["kind"] for event in await take(stream, 1)] == ["JobReleased"]


async def test_a_stream_resumes_where_it_broke(shop: Any, server: HttpServer) -> None:
    await shop.submit()
    page = (await shop.get("/events?limit=1000"))["events"]
    assert [event["seq"] for event in page] == list(range(1, len(page) + 1))
    async with listening(shop, server, "?after=0") as stream:
        assert await take(stream, len(page)) == page
    async with listening(shop, server, Last_Event_ID="3") as stream:
        assert await take(stream, len(page) - 3) == page[3:]
        await shop.post("/jobs/J-1/hold")
        assert [event["seq"] for event in await take(stream, 1)] == [len(page) + 1]


async def test_a_stream_about_one_job_or_machine(shop: Any, server: HttpServer) -> None:
    await shop.submit()
    await shop.submit(file="petg_box.gcode")
    async with (
        listening(shop, server, "?after=0&job=J-1") as job,
        listening(shop, server, "?after=0&machine=mk4-02") as machine,
    ):
        await shop.post("/machines/mk4-01/clear")
        await shop.post("/machines/mk4-02/clear")
        await shop.made("mk4-01")
        await shop.made("mk4-02")
        await shop.post("/machines/mk4-01/clear")
        for stream, query in ((job, "job=J-1"), (machine, "machine=mk4-02")):
            stored = (await shop.get(f"/events?{query}&limit=1000"))["events"]
            assert len(stored) >= 5
            assert await take(stream, len(stored)) == stored


async def test_far_behind_is_read_from_the_store(shop: Any, server: HttpServer) -> None:
    for count in range(3 * PAGE):
        reason = f"{count}"
        durable = shop.service.ledger.record(
            f.MachineHeld(at=now(), actor="test", machine="mk4-01", reason=reason)
        )
    await durable
    feed: Feed = shop.app.state.context.feed
    while len(feed._recent) > 50:
        feed._recent.popleft()
    async with listening(shop, server, "?after=0") as stream:
        told = await take(stream, shop.service.farm.revision)
    assert [event["seq"] for event in told] == list(range(1, len(told) + 1))
    behind = feed.follow(0, Subject(machine="mk4-02"), 1.0)
    assert {view["machine"] for view in await anext(behind)} == {"mk4-02"}
    await behind.aclose()


async def test_bad_starting_points_are_refused(shop: Any) -> None:
    for query, header in (("?after=-1", ""), ("?after=x", ""), ("", "x"), ("", "1" * 30)):
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": header} if header else {})
        refused = await shop.client.get(f"/api/v1/events{query}", headers=headers)
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "bad-request")


async def test_a_listener_that_goes_is_forgotten(shop: Any, server: HttpServer) -> None:
    feed: Feed = shop.app.state.context.feed
    async with listening(shop, server):
        assert feed.followers == 1

    async def forgotten() -> bool:
        return feed.followers == 0

    await shop.until(forgotten)


async def test_a_listener_that_takes_nothing_is_disconnected(shop: Any) -> None:
    feed: Feed = shop.app.state.context.feed
    sent: list[dict[str, Any]] = []
    stuck = asyncio.Event()

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)
        if len(sent) > 2:
            await stuck.wait()

    async def receive() -> dict[str, Any]:
        await stuck.wait()
        return {"type": "http.disconnect"}

    stream = EventStream(feed.follow(0, Subject(), 60.0), asyncio.Event(), event_bytes, stall_s=0.2)
    serving = asyncio.create_task(stream({"type": "http"}, receive, send))
    for count in range(500):
        shop.service.ledger.record(f.MachineHeld(at=now(), actor="test", machine="mk4-01", reason=str(count)))
    async with asyncio.timeout(5):
        await serving
    # One page was under way, and nothing more was made for it.
    assert len(sent) == 3
    assert feed.followers == 0


async def test_quiet_streams_are_kept_alive(shop: Any) -> None:
    feed: Feed = shop.app.state.context.feed
    bodies: list[bytes] = []
    gone = asyncio.Event()

    async def send(message: dict[str, Any]) -> None:
        bodies.append(message.get("body", b""))
        if len(bodies) == 5:
            gone.set()

    async def receive() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    pages = feed.follow(feed.revision, Subject(), 0.01)
    async with asyncio.timeout(5):
        await EventStream(pages, asyncio.Event(), event_bytes, stall_s=1.0)({"type": "http"}, receive, send)
    assert bodies[2:4] == [b": nothing new\n\n"] * 2


async def test_stopping_the_server_ends_streams(shop: Any) -> None:
    server = HttpServer(shop.app, "127.0.0.1", 0)
    await server.start()
    running = asyncio.create_task(server.run())
    async with listening(shop, server) as stream:
        began = asyncio.get_running_loop().time()
        await server.stop()
        assert [event async for event in stream] == []
        assert asyncio.get_running_loop().time() - began < 2.0
    await running
    assert (await shop.client.get("/healthz")).status_code == 503


async def test_cancelling_the_server_stops_it(shop: Any) -> None:
    server = HttpServer(shop.app, "127.0.0.1", 0)
    await server.start()
    running = asyncio.create_task(server.run())
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    with pytest.raises(httpx.ConnectError):
        async with httpx.AsyncClient() as client:
            await client.get(f"{server.url}/healthz")


async def test_answers_are_sent_at_once(shop: Any, server: HttpServer) -> None:
    async with httpx.AsyncClient(base_url=server.url) as client:
        assert (await client.get("/healthz")).status_code == 200
        (connection,) = server._server.server_state.connections  # type: ignore[union-attr]
        accepted = connection.transport.get_extra_info("socket")
        # Without this, each small answer waits 40 ms for an acknowledgement.
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_an_address_in_use_is_a_mistake_of_the_configuration(shop: Any, server: HttpServer) -> None:
    for host, port in (("127.0.0.1", server.port), ("192.0.2.1", 0)):
        with pytest.raises(ConfigError) as told:
            await HttpServer(shop.app, host, port).start()
        assert told.value.code.name == "listen-failed"
        assert told.value.remedy
