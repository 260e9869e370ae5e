"""The live view fills exactly the room it is given, whatever the farm, and tells what matters in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from farmd.cli import screen
from farmd.cli.cells import machine_cell, machine_chip, meter, pad, task_row
from farmd.cli.client import NOT_RUNNING, Client
from farmd.cli.errors import NoDaemon
from farmd.cli.live import Frame, render
from farmd.cli.text import here


def draw(frame: Frame, width: int, height: int) -> list[str]:
    console = Console(width=width, height=height, color_system=None, highlight=False)
    with console.capture() as capture:
        console.print(render(frame, width, height))
    return capture.get().split("\n")[:-1]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (160, 45)])
def test_25_machines_each_tell_their_state(width: int, height: int, fake: Any) -> None:
    lines = draw(fake.frame(), width, height)
    text = "\n".join(lines)
    assert len(lines) == height
    assert max(map(len, lines)) <= width
    for name in fake.farm.machines:
        assert name in text
    for word in (
        "north-hall",
        "13/25 making",
        "1 unsure",
        "fault",
        "offline",
        "cooling",
        "nozzle to be changed",
    ):
        assert word in text
    assert "11 open, 3 late" in text
    assert "To do 11" in text
    assert "look whether it is prin" in text
    assert "today 900 good, 36 scrap (96.2% good) · pace 657 k a year of 1 M" in text


def test_machines_keep_their_places(fake: Any) -> None:
    before = draw(fake.frame(), 100, 30)
    frame = fake.frame()
    for machine in frame.machines:
        machine["fraction"] = 0.99
    after = draw(frame, 100, 30)
    for row in range(2, 15):
        assert before[row][:6] == after[row][:6]
        assert before[row][51:57] == after[row][51:57]


def test_hundreds_of_machines_become_chips_and_a_count(make: Callable[..., Any]) -> None:
    text = "\n".join(draw(make(250).frame(), 160, 45))
    assert all(f"mk4-{number:02}" in text for number in range(1, 100))
    assert "more" in text
    text = "\n".join(draw(make(60).frame(), 100, 30))
    assert all(f"mk4-{number:02}" in text for number in range(1, 61))


def test_spare_room_shows_what_starts_next(make: Callable[..., Any]) -> None:
    text = "\n".join(draw(make(3).frame(), 140, 40))
    assert "Plan 3 next" in text
    assert "14:00 mk4-01  J-1 until 16:30, a person from 13:50" in text


def test_a_notice_is_told_at_the_top(fake: Any) -> None:
    frame = dataclasses.replace(fake.frame(), notice="no-daemon: connection refused, since 13:00:05")
    assert "no-daemon: connection refused, since 13:00:05" in draw(frame, 100, 30)[0]


def test_a_fast_clock_is_told(fake: Any) -> None:
    frame = fake.frame()
    assert "×" not in draw(frame, 100, 30)[0]
    frame.farm["speed"] = 600.0
    assert "×600" in draw(frame, 100, 30)[0]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    width=st.integers(20, 220),
    height=st.integers(1, 70),
    machines=st.sampled_from([0, 1, 7, 25, 130]),
    jobs=st.integers(1, 30),
)
def test_any_farm_fits_any_terminal(
    width: int, height: int, machines: int, jobs: int, make: Callable[..., Any]
) -> None:
    lines = draw(make(machines, jobs).frame(), width, height)
    assert len(lines) == height
    assert max(map(len, lines)) <= width


@given(share=st.floats(-1, 2), width=st.integers(0, 30))
def test_a_bar_is_as_wide_as_it_should_be(share: float, width: int) -> None:
    bar = meter(share, width, "green")
    assert bar.cell_len == width
    assert abs(bar.plain.count("━") - min(1, max(0, share)) * width) <= 0.5


@given(width=st.integers(24, 90))
def test_cells_and_rows_have_their_width(width: int) -> None:
    from rich.text import Text

    assert pad(Text("日本語のファイル名"), width).cell_len == width


def test_each_state_of_a_machine_has_its_cell(fake: Any) -> None:
    now = here()
    for machine in fake.machines():
        for width in (36, 60, 84):
            assert machine_cell(machine, now, width, 6).cell_len == width
        assert machine_chip(machine, now, 15, 6).cell_len == 15


def test_a_task_is_not_said_twice(fake: Any) -> None:
    from datetime import datetime

    now = datetime.fromisoformat(fake.farm_view()["now"])
    load = next(task for task in fake.tasks() if task["kind"] == "load")
    assert load["what"] == "load PETG clear"
    assert task_row(load, now, 60, 6).plain.split() == ["13:50", "mk4-16", "load", "PETG", "clear"]


def test_a_lost_daemon_leaves_the_last_look(fake: Any, api: Any) -> None:
    import httpx

    client = Client("http://127.0.0.1:8420", None, httpx.MockTransport(api))
    first = screen.frame_from(client, here())
    assert first.notice == ""
    api.answers["GET", "/next"] = lambda request: httpx.Response(200, text="")

    def gone(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("[Errno 111] Connection refused")

    api.answers["GET", "/machines"] = gone
    second = screen.frame_from(client, here(), before=first)
    assert second.machines == first.machines
    assert second.notice.startswith("no-daemon: connection refused, since ")
    with pytest.raises(NoDaemon) as caught:
        screen.frame_from(client, here())
    assert caught.value.code is NOT_RUNNING
