"""The transition tables: every state can be reached, none is a trap, and the page is drawn from them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

from farmd.model.errors import Refused
from farmd.model.lifecycle import (
    BUILD,
    ILLEGAL_TRANSITION,
    JOB,
    MACHINE,
    RUN,
    BuildState,
    JobState,
    MachineState,
    RunState,
    document,
    step,
)

Table = Mapping[tuple[Any, str], Any]

CASES: list[tuple[str, Table, type[StrEnum], StrEnum, set[StrEnum]]] = [
    ("job", JOB, JobState, JobState.OPEN, {JobState.CANCELLED}),
    (
        "build",
        BUILD,
        BuildState,
        BuildState.QUEUED,
        {BuildState.DONE, BuildState.WITHDRAWN},
    ),
    ("run", RUN, RunState, RunState.INTENT, {RunState.ENDED}),
    ("machine", MACHINE, MachineState, MachineState.OFFLINE, set()),
]
each = pytest.mark.parametrize(("name", "table", "states", "first", "last"), CASES, ids=[c[0] for c in CASES])


def _reachable(table: Table, start: StrEnum) -> set[StrEnum]:
    found, edge = {start}, [start]
    while edge:
        before = edge.pop()
        new = {after for (state, _), after in table.items() if state is before} - found
        found |= new
        edge += new
    return found


@each
def test_every_state_is_reached(
    name: str, table: Table, states: type[StrEnum], first: StrEnum, last: set[StrEnum]
) -> None:
    assert _reachable(table, first) == set(states)


@each
def test_only_the_last_states_have_no_way_on(
    name: str, table: Table, states: type[StrEnum], first: StrEnum, last: set[StrEnum]
) -> None:
    assert {state for state in states if not any(before is state for before, _ in table)} == last
    for state in states:
        assert not last or _reachable(table, state) & last, state


@each
def test_what_the_table_does_not_have_is_refused(
    name: str, table: Table, states: type[StrEnum], first: StrEnum, last: set[StrEnum]
) -> None:
    events = {event for _, event in table}
    for state in states:
        for event in (*events, "explode"):
            if (state, event) in table:
                assert step(table, state, event, where="X-1") is table[state, event]
                continue
            with pytest.raises(Refused) as caught:
                step(table, state, event, where="X-1")
            assert caught.value.code is ILLEGAL_TRANSITION
            assert caught.value.where == "X-1"


def test_a_run_starts_once_and_only_evidence_or_a_person_leaves_doubt() -> None:
    """Nothing leads back to INTENT or SENT, and doubt is never left by sending."""
    assert [before for before in RUN if RUN[before] is RunState.INTENT] == []
    assert [before for before in RUN if RUN[before] is RunState.SENT] == [(RunState.INTENT, "send")]
    assert {event for state, event in RUN if state is RunState.UNCERTAIN} == {"start", "pause", "end"}
    assert all(
        (state, "doubt") in RUN for state in RunState if state not in (RunState.UNCERTAIN, RunState.ENDED)
    )


def test_the_page_is_what_the_tables_say() -> None:
    page = Path(__file__).parents[2] / "docs" / "LIFECYCLES.md"
    assert page.read_text() == document(), "run `python -m farmd.model.lifecycle > docs/LIFECYCLES.md`"
    for name, table, *_ in CASES:
        section = document().partition(f"## {name.title()}\n")[2].partition("\n## ")[0]
        for (before, event), after in table.items():
            arrows = [line for line in section.splitlines() if f" {before.name} --> {after.name}: " in line]
            assert len(arrows) == 1
            assert event in arrows[0].partition(": ")[2].split(", ")
