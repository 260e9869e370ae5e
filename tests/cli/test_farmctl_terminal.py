"""`farmctl machine NAME --terminal`, `farmctl send`, and a link's health on the machine's page."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import httpx
import pytest
from rich.console import Console

from farmd.cli import following
from farmd.cli.pages import machine_page
from farmd.cli.terminal import terminal_text
from farmd.driver import LinkHealth

AT = "2026-03-17T12:00:00.250Z"
PATH = "/machines/mk4-01/terminal"


def line(number: int, text: str, *, sent: bool = False) -> dict[str, Any]:
    return {"number": number, "at": AT, "sent": sent, "text": text}


LINES = [
    line(4, "N1 M105*37", sent=True),
    line(5, "ok T:20.0 /0.0"),
    line(9, "Error:\x1b[31mchecksum mismatch"),
]


@pytest.fixture
def terminal(api: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A page of three lines; a stream of one more that ends, and then no daemon. Gives what streams began at."""
    monkeypatch.setattr(following, "RECONNECT_S", (0.0,))
    started: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.headers["accept"] != "text/event-stream":
            return httpx.Response(200, json={"machine": "mk4-01", "lines": LINES})
        started.append(request.url.params["after"])
        if len(started) > 1:
            raise httpx.ConnectError("refused")
        told = f"retry: 2000\n\n: nothing new\n\nid: 10\nevent: line\ndata: {json.dumps(line(10, 'ok'))}\n\n"
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, text=told)

    api.answers["GET", PATH] = answer
    return started


def test_the_terminal_in_a_pipe_has_words_and_no_control_characters(
    terminal: list[str], ctl: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ctl("machine", "mk4-01", "--terminal") == 0
    assert capsys.readouterr().out.splitlines() == [
        "13:00:00.250 Send: N1 M105*37",
        "13:00:00.250 Recv: ok T:20.0 /0.0",
        "… lines in between were not kept",
        "13:00:00.250 Recv: Error:?[31mchecksum mismatch",
    ]
    assert terminal == []


def test_the_terminal_as_json(
    terminal: list[str], ctl: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ctl("machine", "mk4-01", "--terminal", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"machine": "mk4-01", "lines": LINES}


def test_a_followed_terminal_goes_on_over_a_lost_daemon(
    terminal: list[str], ctl: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ctl("machine", "mk4-01", "--terminal", "--follow") == 3
    shown = capsys.readouterr()
    assert [each.split(" ", 1)[-1] for each in shown.out.splitlines()] == [
        "Send: N1 M105*37",
        "Recv: ok T:20.0 /0.0",
        "lines in between were not kept",
        "Recv: Error:?[31mchecksum mismatch",
        "Recv: ok",
    ]
    assert terminal == ["9", "10"]
    assert shown.err.count("lost the daemon") == 1


def test_a_followed_terminal_as_json_is_a_line_an_object(
    terminal: list[str], ctl: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ctl("machine", "mk4-01", "--terminal", "-f", "--json") == 3
    *lines, last = capsys.readouterr().out.splitlines()
    assert [json.loads(each) for each in lines] == [*LINES, line(10, "ok")]
    assert json.loads(last)["error"]["code"] == "no-daemon"


def test_arrows_and_colours_are_for_terminals() -> None:
    out = Console(file=io.StringIO(), force_terminal=True, color_system="standard", highlight=False)
    for text in terminal_text(LINES, on_terminal=True):
        out.print(text)
    shown = out.file.getvalue()  # type: ignore[attr-defined]
    assert "→ N1 M105*37" in shown
    assert "← ok" in shown
    assert "Send:" not in shown
    sent, received, _, error = shown.splitlines()
    assert "\x1b[36m" in sent
    assert "\x1b[36m" not in received
    assert "\x1b[1;31m" in error


def test_following_is_of_the_terminal_alone(
    ctl: Callable[..., int], api: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ctl("machine", "mk4-01", "--follow") == 2
    assert "--terminal" in capsys.readouterr().err
    assert api.asked == []


# --- single commands ----------------------------------------------------------------------------


def answering(api: Any, lines: list[str], *, complete: bool = True) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        sent = json.loads(request.content)["command"]
        told = {"machine": "mk4-01", "command": sent, "lines": lines, "complete": complete}
        return httpx.Response(200, json=told)

    api.answers["POST", "/machines/mk4-01/command"] = answer


def test_a_command_and_its_answer(
    ctl: Callable[..., int], api: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    answering(api, ["X:0.00 Y:0.00", "Count \x07X:0"])
    assert ctl("send", "mk4-01", "M114", "--reason", "where is it") == 0
    assert capsys.readouterr().out.splitlines() == ["X:0.00 Y:0.00", "Count ?X:0"]
    assert json.loads(api.asked[0].content) == {"command": "M114", "reason": "where is it"}


def test_words_of_a_command_are_one_line(
    ctl: Callable[..., int], api: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    answering(api, [])
    assert ctl("send", "mk4-01", "G1", "X10", "Z-5", "F600") == 0
    assert json.loads(api.asked[0].content)["command"] == "G1 X10 Z-5 F600"
    assert capsys.readouterr().out == "ok\n"


def test_an_answer_that_is_not_there_yet(
    ctl: Callable[..., int], api: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    answering(api, ["echo:homing"], complete=False)
    assert ctl("send", "mk4-01", "G28") == 0
    assert capsys.readouterr().out.splitlines() == [
        "echo:homing",
        "no answer yet: see `farmctl machine mk4-01 --terminal --follow`",
    ]
    assert ctl("send", "mk4-01", "G28", "--json") == 0
    assert json.loads(capsys.readouterr().out)["complete"] is False


def test_a_refused_command(ctl: Callable[..., int], api: Any, capsys: pytest.CaptureFixture[str]) -> None:
    api.refuse("POST", "/machines/mk4-01/command", 409, "not-held", "nobody holds it", "hold it first")
    assert ctl("send", "mk4-01", "G28") == 1
    assert capsys.readouterr().err == "error not-held: nobody holds it; hold it first\n"


# --- the health of a link -----------------------------------------------------------------------


def shown(fake: Any, health: LinkHealth | None) -> str:
    fake.live["mk4-01"].health = health
    out = Console(file=io.StringIO(), width=160)
    out.print(machine_page(fake.machine_page("mk4-01"), datetime.fromisoformat(AT)))
    text: str = out.file.getvalue()  # type: ignore[attr-defined]
    return text


def test_the_page_of_a_machine_tells_how_its_link_is(fake: Any) -> None:
    assert "\nlink" not in shown(fake, None)
    page = shown(fake, LinkHealth(81_234, 12, 1, 3, 4, 0.0123, 0.0041, 0.0182, "a window of 4 lines"))
    assert "lines 81,234, resends 12, time-outs 1, garbled 3, 1.2 % of the last lines damaged" in page
    assert "answers in 4.1 ms, 99 of 100 in 18.2 ms, under-runs 4, sent by a window of 4 lines" in page
    page = shown(fake, LinkHealth(5))
    assert "lines 5, resends 0" in page
    assert "sent by" not in page
    assert "answers in" not in page
