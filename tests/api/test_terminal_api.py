"""A machine's terminal and single commands over HTTP: pages, a stream, limits, refusals, metrics."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from farmd.api import HttpServer
from farmd.daemon.live import Trouble
from farmd.driver import Capabilities, LinkHealth, Reply, TerminalLine, now
from farmd.model import facts as f

STREAM = {"Accept": "text/event-stream"}


class Talking:
    """Gives a simulated machine's driver a terminal, and answers to commands."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver
        self.ring: list[TerminalLine] = []
        self.sent: list[str] = []
        self.reply = Reply(("X:0.00 Y:0.00",))
        driver.capabilities = Capabilities(pause=True, adopts=True, history_authoritative=True, commands=True)
        driver.terminal = self.terminal
        driver.command = self.command

    def say(self, text: str, *, sent: bool = False) -> None:
        number = self.ring[-1].number + 1 if self.ring else 1
        self.ring.append(TerminalLine(number, 1_790_000_000.25, sent, text))

    def terminal(self, after: int = 0) -> list[TerminalLine]:
        return [line for line in self.ring if line.number > after]

    async def command(self, text: str) -> Reply:
        self.sent.append(text)
        return self.reply


@pytest.fixture
def machine(shop: Any) -> Talking:
    return Talking(shop.service.attendants["mk4-01"].driver)


@asynccontextmanager
async def following(shop: Any, server: HttpServer, query: str = "", **headers: str) -> AsyncIterator[Any]:
    sent = {key.replace("_", "-"): value for key, value in headers.items()}
    async with (
        httpx.AsyncClient(base_url=server.url, headers=shop.client.headers, timeout=20) as client,
        client.stream(
            "GET", f"/api/v1/machines/mk4-01/terminal{query}", headers={**STREAM, **sent}
        ) as answer,
    ):
        assert answer.status_code == 200, await answer.aread()
        yield _lines(answer.aiter_lines())


async def _lines(raw: AsyncIterator[str]) -> AsyncIterator[dict[str, Any]]:
    async for line in raw:
        if line.startswith("data: "):
            yield json.loads(line[6:])


# --- the terminal -------------------------------------------------------------------------------


async def test_pages_of_the_terminal(shop: Any, machine: Talking) -> None:
    assert await shop.get("/machines/mk4-01/terminal") == {"machine": "mk4-01", "lines": []}
    for n in range(1, 8):
        machine.say(f"N{n} G1*0" if n % 2 else "ok", sent=bool(n % 2))
    page = await shop.get("/machines/mk4-01/terminal?limit=2")
    assert page["lines"] == [
        {"number": 6, "at": "2026-09-21T14:13:20.250Z", "sent": False, "text": "ok"},
        {"number": 7, "at": "2026-09-21T14:13:20.250Z", "sent": True, "text": "N7 G1*0"},
    ], "the last ones"
    after = await shop.get("/machines/mk4-01/terminal?after=2&limit=3")
    assert [line["number"] for line in after["lines"]] == [3, 4, 5], "the next ones"
    assert (await shop.get("/machines/mk4-01/terminal?after=7"))["lines"] == []


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("mk4-09/terminal", 404, "unknown-machine"),
        ("mk4-02/terminal", 409, "not-supported"),
        ("mk4-01/terminal?after=-1", 422, "bad-request"),
        ("mk4-01/terminal?limit=0", 422, "bad-request"),
        ("mk4-01/terminal?limit=5001", 422, "bad-request"),
    ],
)
async def test_terminals_that_are_not_there(
    shop: Any, machine: Talking, path: str, status: int, code: str
) -> None:
    for headers in ({}, STREAM):
        told = await shop.client.get(f"/api/v1/machines/{path}", headers=headers)
        assert (told.status_code, told.json()["error"]["code"]) == (status, code)


async def test_a_terminal_is_followed_from_now_on_and_from_a_number(
    shop: Any, machine: Talking, server: HttpServer
) -> None:
    machine.say("start")
    machine.say("ok")
    async with (
        following(shop, server) as fresh,
        following(shop, server, "?after=1") as older,
        following(shop, server, "?after=0", Last_Event_ID="2") as again,
    ):
        await asyncio.sleep(0.1)
        machine.say("N1 M105*37", sent=True)
        assert (await anext(older))["number"] == 2
        for stream in (fresh, older, again):
            line = await anext(stream)
            assert (line["number"], line["sent"], line["text"]) == (3, True, "N1 M105*37")
        machine.say("ok T:20")
        assert (await anext(fresh))["text"] == "ok T:20"


async def test_followers_are_limited_and_leave(shop: Any, machine: Talking, server: HttpServer) -> None:
    room: asyncio.Semaphore = shop.app.state.context.terminals
    for _ in range(19):
        await room.acquire()
    async with following(shop, server, "?after=0") as stream:
        machine.say("start")
        assert (await anext(stream))["text"] == "start"
        refused = await shop.client.get("/api/v1/machines/mk4-01/terminal", headers=STREAM)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too-many-requests")
        assert (await shop.get("/machines/mk4-01/terminal"))["lines"], "pages are not limited"

    async def gone() -> bool:
        return not room.locked()

    await shop.until(gone)


async def test_a_terminal_that_ends_ends_its_stream(shop: Any, machine: Talking, server: HttpServer) -> None:
    async with following(shop, server) as stream:
        await asyncio.sleep(0.1)
        machine.driver.terminal = lambda after=0: 1 / 0
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
    assert (await shop.get("/machines/mk4-01"))["state"] == "idle", "looking stops no machine"


# --- single commands ----------------------------------------------------------------------------


async def test_a_command_and_its_answer(shop: Any, machine: Talking) -> None:
    told = await shop.post(
        "/machines/mk4-01/command", {"command": " M114 ", "reason": "where is it"}, X_Farmd_Actor="bo"
    )
    assert told.status_code == 200
    assert told.json() == {
        "machine": "mk4-01",
        "command": "M114",
        "lines": ["X:0.00 Y:0.00"],
        "complete": True,
    }
    assert machine.sent == ["M114"]
    events = (await shop.get("/events?machine=mk4-01&limit=1000"))["events"]
    sent, answered = [each for each in events if each["kind"].startswith("Command")]
    assert (sent["kind"], sent["actor"], sent["command"], sent["reason"]) == (
        "CommandSent",
        "bo@first",
        "M114",
        "where is it",
    )
    assert (answered["kind"], answered["answer"]) == ("CommandAnswered", "X:0.00 Y:0.00")


async def test_a_command_is_sent_once_for_a_key(shop: Any, machine: Talking) -> None:
    for _ in range(3):
        told = await shop.post("/machines/mk4-01/command", {"command": "M114"}, Idempotency_Key="k-1")
        assert told.json()["lines"] == ["X:0.00 Y:0.00"]
    assert machine.sent == ["M114"]


@pytest.mark.parametrize(
    ("name", "body", "status", "code"),
    [
        ("mk4-01", {"command": "G28"}, 409, "not-held"),
        ("mk4-01", {"command": "M112"}, 422, "command-refused"),
        ("mk4-01", {"command": "M24"}, 422, "command-refused"),
        ("mk4-01", {"command": "; M105"}, 422, "bad-command"),
        ("mk4-01", {"command": "M105\nM112"}, 422, "bad-request"),
        ("mk4-01", {"command": ""}, 422, "bad-request"),
        ("mk4-01", {"command": "M117 " + "x" * 200}, 422, "bad-request"),
        ("mk4-01", {"command": 5}, 422, "bad-request"),
        ("mk4-01", {}, 422, "bad-request"),
        ("mk4-01", {"command": "M105", "force": True}, 422, "bad-request"),
        ("mk4-02", {"command": "M105"}, 409, "not-supported"),
        ("mk4-09", {"command": "M105"}, 404, "unknown-machine"),
    ],
)
async def test_commands_that_are_not_sent(
    shop: Any, machine: Talking, name: str, body: dict[str, Any], status: int, code: str
) -> None:
    told = await shop.post(f"/machines/{name}/command", body)
    assert (told.status_code, told.json()["error"]["code"]) == (status, code)
    assert told.json()["error"]["remedy"]
    assert machine.sent == []


async def test_a_held_machine_takes_what_the_gate_lets_pass(shop: Any, machine: Talking) -> None:
    await shop.post("/machines/mk4-01/clear")
    await shop.post("/machines/mk4-01/hold")
    assert (await shop.post("/machines/mk4-01/command", {"command": "G28"})).status_code == 200
    assert (await shop.get("/machines/mk4-01"))["permit"] is not None
    machine.reply = Reply((), complete=False)
    told = await shop.post("/machines/mk4-01/command", {"command": "G1 E20 F100"})
    assert told.json()["complete"] is False
    assert (await shop.get("/machines/mk4-01"))["permit"] is None


async def test_a_command_wants_a_token(shop: Any, machine: Talking) -> None:
    for path in ("terminal", "command"):
        told = await shop.client.request(
            "GET" if path == "terminal" else "POST",
            f"/api/v1/machines/mk4-01/{path}",
            headers={"Authorization": "Bearer wrong"},
        )
        assert told.status_code == 401


# --- the health of links ------------------------------------------------------------------------


def _report(shop: Any, event: Any) -> None:
    shop.service.attendants["mk4-01"]._report(event)


async def test_the_health_of_a_link_is_shown_and_measured(shop: Any) -> None:
    assert (await shop.get("/machines/mk4-01"))["health"] is None
    text = (await shop.client.get("/metrics")).text
    assert "\n# TYPE farmd_link_resends_total counter\n" in text
    assert "farmd_link_resends_total{" not in text, "nothing is made up"
    told = LinkHealth(100, 6, 1, 2, None, 0.031, 0.004, 0.0123, "ping-pong")
    _report(shop, told)
    health = (await shop.get("/machines/mk4-01"))["health"]
    assert (health["resends"], health["noise"], health["mode"]) == (6, 0.031, "ping-pong")
    text = (await shop.client.get("/metrics")).text
    for line in (
        'farmd_link_lines_total{machine="mk4-01"} 100',
        'farmd_link_resends_total{machine="mk4-01"} 6',
        'farmd_link_timeouts_total{machine="mk4-01"} 1',
        'farmd_link_garbled_total{machine="mk4-01"} 2',
        'farmd_link_noise_ratio{machine="mk4-01"} 0.031',
        'farmd_link_turn_round_seconds{machine="mk4-01",quantile="0.5"} 0.004',
        'farmd_link_turn_round_seconds{machine="mk4-01",quantile="0.99"} 0.0123',
        'farmd_tasks{kind="noise"} 1',
    ):
        assert f"\n{line}\n" in text
    assert "farmd_link_underruns_total{" not in text
    (task,) = [each for each in (await shop.get("/next"))["tasks"] if each["kind"] == "noise"]
    assert task["machine"] == "mk4-01"
    assert "3.1 %" in task["what"]
    assert "ferrite" in task["what"]


async def test_counters_go_on_when_the_link_is_opened_anew(shop: Any) -> None:
    _report(shop, LinkHealth(lines=100, resends=3))
    keeper = shop.service.attendants["mk4-01"]
    keeper.look_again()

    async def anew() -> bool:
        return keeper.live.health is None

    await shop.until(anew)
    assert 'farmd_link_lines_total{machine="mk4-01"} 100' in (await shop.client.get("/metrics")).text
    _report(shop, LinkHealth(lines=7, underruns=1))
    text = (await shop.client.get("/metrics")).text
    assert 'farmd_link_lines_total{machine="mk4-01"} 107' in text
    assert 'farmd_link_underruns_total{machine="mk4-01"} 1' in text


async def test_a_lost_link_has_no_gauges_and_its_cause_is_a_task(shop: Any) -> None:
    _report(shop, LinkHealth(lines=100, noise=0.01))
    keeper = shop.service.attendants["mk4-01"]
    shop.service.ledger.record(f.MachineLost(at=now(), actor="test", machine="mk4-01", reason="pulled"))
    keeper.live.lost = Trouble("port-in-use", "/dev/x: another program holds the serial port", "stop it")
    text = (await shop.client.get("/metrics")).text
    assert "farmd_link_noise_ratio{" not in text
    assert "farmd_link_lines_total{" in text
    (task,) = [each for each in (await shop.get("/next"))["tasks"] if each["kind"] == "link"]
    assert task["what"] == "no link: /dev/x: another program holds the serial port; stop it"


async def test_who_asked_to_pause_and_why(shop: Any) -> None:
    await shop.post("/machines/mk4-01/pause", {"reason": "look at it"}, X_Farmd_Actor="bo")
    events = (await shop.get("/events?machine=mk4-01&limit=1000"))["events"]
    (event,) = [each for each in events if each["kind"] == "MachineAsked"]
    assert (event["act"], event["actor"], event["reason"]) == ("pause", "bo@first", "look at it")
