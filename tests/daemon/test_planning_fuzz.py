"""Random farms and a planner that fails in every way, in short; the long form is `python -m bench.planner fuzz`."""

from __future__ import annotations

import asyncio

import pytest

from bench.planner import fuzz
from farmd.daemon import planner_process


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bench shortens these for itself; here they come back."""
    for name in ("QUICK_TIMEOUT_S", "OVERTIME_S", "START_TIMEOUT_S", "QUICK_S"):
        monkeypatch.setattr(planner_process, name, getattr(planner_process, name))


def test_nothing_that_the_checker_refuses_is_ever_published() -> None:
    tally = asyncio.run(fuzz.fuzz(240, 7, fuzz.Rates(processes=0.0)))
    assert tally.replans == 240
    assert tally.published > 150
    assert tally.spoilt > 5
    assert tally.refused == 0


def test_workers_that_are_killed_stopped_or_bad_cost_nothing_but_their_answers() -> None:
    tally = asyncio.run(fuzz.fuzz(60, 3, fuzz.Rates(processes=0.3, kills=0.4, bad=0.5)))
    assert tally.killed + tally.stopped > 0
    assert tally.bad_workers > 0
    assert tally.published > 20
    assert tally.refused == 0
    # Half a minute of a worker that answers nothing would be seen here, and so would a plan made on the loop.
    assert tally.longest_stall_s < 2.0
