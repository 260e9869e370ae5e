"""`farmctl events --follow`: every event once, across a lost daemon, one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from farmd.cli import following
from farmd.cli.client import server_sent


def _stream(*events: dict[str, Any]) -> httpx.Response:
    told = ["retry: 2000\n\n", ": nothing new\n\n"]
    told += [f"id: {e['seq']}\nevent: {e['kind']}\ndata: {json.dumps(e)}\n\n" for e in events]
    return httpx.Response(200, headers={"content-type": "text/event-stream"}, text="".join(told))


@pytest.fixture
def follow(api: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two streams that end, with two events in all, then no daemon; gives what each stream was asked from."""
    monkeypatch.setattr(following, "RECONNECT_S", (0.0, 0.0))
    started: list[str] = []
    later = [{**api.fake.events()[2], "seq": seq} for seq in (44, 45)]

    def answer(request: httpx.Request) -> httpx.Response:
        if request.headers["accept"] != "text/event-stream":
            return httpx.Response(200, json={"events": api.fake.events()[::-1]})
        started.append(request.headers["last-event-id"])
        assert request.url.params["after"] == started[-1]
        if len(started) <= 2:
            return _stream(later[len(started) - 1])
        raise httpx.ConnectError("refused")

    api.answers["GET", "/events"] = answer
    return started


def test_each_event_comes_once_in_order(
    follow: list[str], ctl: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ctl("events", "--follow", "--json") == 3
    shown = capsys.readouterr()
    *lines, last = shown.out.splitlines()
    assert [json.loads(line)["seq"] for line in lines] == [41, 42, 43, 44, 45]
    assert json.loads(last)["error"]["code"] == "no-daemon"
    # After each loss, from the last event that was seen.
    assert follow == ["43", "44", "45", "45"]
    assert shown.err.count("lost the daemon") == 2


def test_followed_events_as_text(
    follow: list[str], ctl: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ctl("events", "-f", "--machine", "mk4-09") == 3
    assert capsys.readouterr().out.count('MachineLost machine=mk4-09 reason="read failed" by daemon') == 3


def test_a_refused_stream_ends_at_once(
    ctl: Callable[..., int], api: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    error = {"code": "too-many-requests", "what": "100 listeners", "where": "", "remedy": "later"}

    def answer(request: httpx.Request) -> httpx.Response:
        if request.headers["accept"] == "text/event-stream":
            return httpx.Response(429, json={"error": error})
        return httpx.Response(200, json={"events": []})

    api.answers["GET", "/events"] = answer
    assert ctl("events", "--follow") == 1
    assert capsys.readouterr().err == "error too-many-requests: 100 listeners; later\n"


def test_the_lines_of_a_stream() -> None:
    lines = [": alive", "", "id: 1", "data: {", "data:}", "", "event: x", "", "data: last"]
    assert list(server_sent(lines)) == [None, "{\n}"]
