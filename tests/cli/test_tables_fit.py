"""At 80 columns every table fits, ids and names stay whole, and commands can be read off."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.parametrize(
    "line",
    [
        "jobs",
        "job J-3",
        "why J-3",
        "machines",
        "machine mk4-01",
        "plan",
        "next",
        "throughput",
        "top",
    ],
)
def test_at_80_columns(
    line: str,
    ctl: Callable[..., int],
    api: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert ctl(*line.split()) == 0
    wide = capsys.readouterr().out
    monkeypatch.setenv("COLUMNS", "80")
    assert ctl(*line.split()) == 0
    narrow = capsys.readouterr().out
    assert max(map(len, narrow.splitlines())) <= 80
    first_column = re.compile(r"^(?:J-\d+|mk4-\d+|R-\w+)", re.MULTILINE)
    if line != "top":
        assert first_column.findall(narrow) == first_column.findall(wide)


def test_commands_of_the_walk_list_are_whole(
    ctl: Callable[..., int], api: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    ctl("next")
    text = " ".join(capsys.readouterr().out.split())
    for task in api.fake.tasks():
        assert task["command"] in text


def test_a_terminal_gets_colours_and_a_pipe_none(
    ctl: Callable[..., int], api: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ctl("machines")
    assert "\x1b[" not in capsys.readouterr().out
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    ctl("machines")
    assert "\x1b[" in capsys.readouterr().out
