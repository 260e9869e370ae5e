"""Submitting files: what is sent, that one refused file keeps no other back, and that no order counts twice."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any

import httpx
import pytest

from farmd.cli import submit


def _form(request: httpx.Request) -> dict[str, bytes]:
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    parts = message_from_bytes(head + request.content).get_payload()
    assert isinstance(parts, list)
    form: dict[str, bytes] = {}
    for part in parts:
        assert isinstance(part, Message)
        name = part.get_param("name", header="content-disposition")
        form[str(name)] = bytes(part.get_payload(decode=True))  # type: ignore[arg-type]
        if part.get_filename():
            form["file name"] = str(part.get_filename()).encode()
    return form


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    for number in (1, 2, 3):
        (tmp_path / f"part{number}.gcode").write_bytes(b"G28\n" * number)
    return sorted(tmp_path.iterdir())


def test_everything_that_is_ordered_is_sent(ctl: Callable[..., int], api: Any, files: list[Path]) -> None:
    options = (
        "--quantity 40 --parts-per-plate 4 --due 2026-03-31 --priority 2.5 --group mk4 --design P-100@B "
        "--owner ana --route print,wash --volume-mm3 20000 --height-mm 80 --area-mm2 900"
    )
    assert ctl("submit", files[0], *options.split(), "--material", "PLA black") == 0
    (asked,) = api.asked
    assert _form(asked) == {
        "file": b"G28\n",
        "file name": b"part1.gcode",
        "quantity": b"40",
        "parts_per_plate": b"4",
        # The end of the day here, where summer time has begun by then.
        "due": b"2026-03-31T21:59:59Z",
        "priority": b"2.5",
        "group": b"mk4",
        "design": b"P-100@B",
        "owner": b"ana",
        "route": b"print,wash",
        "volume_mm3": b"20000.0",
        "height_mm": b"80.0",
        "area_mm2": b"900.0",
        "material": b"PLA black",
    }
    assert asked.headers["content-length"] == str(len(asked.content))


def test_every_file_is_a_job_with_its_own_key(
    ctl: Callable[..., int], api: Any, files: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ctl("submit", *files, "-n", "8") == 0
    assert [_form(request)["file"] for request in api.asked] == [b"G28\n", b"G28\nG28\n", b"G28\nG28\nG28\n"]
    assert len({request.headers["idempotency-key"] for request in api.asked}) == 3
    assert capsys.readouterr().out.count("good of bracket-rh@B") == 3


def test_a_refused_file_keeps_no_other_back(
    ctl: Callable[..., int], api: Any, files: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    error = {"code": "no-machine-fits", "what": "it is too large", "where": "", "remedy": "cut it"}

    def answer(request: httpx.Request) -> httpx.Response:
        if len(api.asked) == 2:
            return httpx.Response(409, json={"error": error})
        return httpx.Response(201, json=api.fake.job("J-1"))

    api.answers["POST", "/jobs"] = answer
    assert ctl("submit", *files, "--json") == 1
    shown = capsys.readouterr()
    document = json.loads(shown.out)
    assert [job["id"] for job in document["jobs"]] == ["J-1", "J-1"]
    assert document["errors"] == [{**error, "where": str(files[1])}]
    assert shown.err == f"error no-machine-fits: {files[1]}: it is too large; cut it\n"


def test_a_lost_answer_is_asked_for_again_with_the_same_key(
    ctl: Callable[..., int], api: Any, files: list[Path]
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if len(api.asked) == 1:
            raise httpx.ReadError("reset")
        return httpx.Response(201, json=api.fake.job("J-1"))

    api.answers["POST", "/jobs"] = answer
    assert ctl("submit", files[1]) == 0
    first, second = api.asked
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert _form(second)["file"] == b"G28\nG28\n"


def test_when_the_daemon_goes_what_was_taken_is_told(
    ctl: Callable[..., int], api: Any, files: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if len(api.asked) > 1:
            raise httpx.ConnectError("[Errno 111] Connection refused")
        return httpx.Response(201, json=api.fake.job("J-1"))

    api.answers["POST", "/jobs"] = answer
    assert ctl("submit", *files, "--json") == 3
    document = json.loads(capsys.readouterr().out)
    assert [job["id"] for job in document["jobs"]] == ["J-1"]
    assert [error["code"] for error in document["errors"]] == ["no-daemon"]
    assert len(api.asked) == 2


def test_on_a_terminal_a_bar_shows_the_upload(
    ctl: Callable[..., int], api: Any, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(submit.sys, "stderr", terminal)  # type: ignore[attr-defined]
    monkeypatch.setenv("TERM", "xterm")
    assert ctl("submit", files[2]) == 0
    assert _form(api.asked[0])["file"] == b"G28\nG28\nG28\n"
    assert "part3.gcode" in terminal.getvalue()
