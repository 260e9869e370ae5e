"""What a machine shows after a connect settles a start: the whole at-most-once matrix, and single events."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from farmshop import FED, SURE, T0, UNSURE, build, farm_of, job, machine, run, running_farm

from farmd.daemon.evidence import Situation, facts_of, permit_of
from farmd.daemon.ids import IdSource
from farmd.driver import (
    Activity,
    Capabilities,
    Ended,
    Event,
    Faulted,
    Finished,
    ForeignEnded,
    ForeignStarted,
    Observed,
    Paused,
    Rebooted,
    Recovered,
    Resumed,
    Started,
    Temperatures,
)
from farmd.model import facts as f
from farmd.model.apply import apply
from farmd.model.farm import Farm
from farmd.model.lifecycle import BuildState, MachineState, RunState
from farmd.model.machine import Fault
from farmd.model.work import Outcome

JAM = Fault("jam", "the nozzle is jammed", "clear it")
OPEN_STATES = (RunState.INTENT, RunState.SENT, RunState.RUNNING, RunState.PAUSED, RunState.UNCERTAIN)
SEEN = {
    "idle": Observed(Activity.IDLE),
    "idle, shows it": Observed(Activity.IDLE, "R-1"),
    "remembers ok": Observed(
        Activity.IDLE, history=(Finished("R-0", Outcome.OK), Finished("R-1", Outcome.OK))
    ),
    "remembers failed": Observed(Activity.IDLE, history=(Finished("R-1", Outcome.FAILED, "it came off"),)),
    "running it": Observed(Activity.RUNNING, "R-1"),
    "paused with it": Observed(Activity.PAUSED, "R-1"),
    "fault with it": Observed(Activity.FAULT, "R-1", fault=JAM),
    "fault": Observed(Activity.FAULT, fault=JAM),
    "running other": Observed(Activity.RUNNING, "benchy"),
    "running nameless": Observed(Activity.RUNNING),
}
ADOPTS = {"sure": SURE, "unsure": UNSURE, "fed": FED, "fed, sure": replace(FED, history_authoritative=True)}
UNPROVEN = (RunState.INTENT, RunState.SENT)


def situation(farm: Farm, capabilities: Capabilities = SURE, **changes: object) -> Situation:
    return Situation(farm, farm.machines["m1"], capabilities, 900.0, T0, **changes)  # type: ignore[arg-type]


def after(farm: Farm, facts: list[f.Fact]) -> Farm:
    for fact in facts:
        farm.merge(apply(farm, fact))
    return farm


def expected(state: RunState, begun: bool, seen: str, capabilities: Capabilities) -> object:
    """What the rules of the record make of it: a state of the run, or how it ended."""
    match seen:
        case "running it":
            return RunState.RUNNING
        case "paused with it":
            return RunState.PAUSED
        case "fault with it":
            return RunState.PAUSED if state is RunState.PAUSED else RunState.RUNNING
        case "remembers ok":
            return Outcome.OK
        case "remembers failed":
            return Outcome.FAILED
    surely_not = seen in ("idle", "running other")
    if capabilities.history_authoritative and not begun and surely_not:
        return Outcome.NOT_STARTED
    return RunState.UNCERTAIN if capabilities.adopts else Outcome.FAILED


@pytest.mark.parametrize(("state", "seen", "kind"), list(itertools.product(OPEN_STATES, SEEN, ADOPTS)))
def test_every_run_is_settled_by_what_the_machine_shows(state: RunState, seen: str, kind: str) -> None:
    for begun in {state in (RunState.RUNNING, RunState.PAUSED), state not in UNPROVEN}:
        farm = running_farm(state, state=MachineState.OFFLINE)
        farm.runs["R-1"] = replace(farm.runs["R-1"], started_at=T0 - 20.0 if begun else None)
        facts = facts_of(SEEN[seen], situation(farm, ADOPTS[kind]))
        after(farm, facts)
        left = farm.runs.get("R-1")
        ends = [fact.outcome for fact in facts if isinstance(fact, f.RunEnded)]
        found = ends[0] if ends else left.state  # type: ignore[union-attr]
        assert found == expected(state, begun, seen, ADOPTS[kind]), (begun, facts)
        assert len(ends) <= 1
        if found is Outcome.NOT_STARTED:
            assert farm.builds["B-1"].state is BuildState.QUEUED
        look = SEEN[seen].activity
        on_machine = farm.machines["m1"].state
        if look is Activity.FAULT:
            assert (on_machine, farm.machines["m1"].fault) == (MachineState.FAULT, JAM)
        elif seen in ("running other", "running nameless"):
            assert on_machine is MachineState.FOREIGN
        else:
            assert on_machine is (MachineState.IDLE if look is Activity.IDLE else MachineState.BUSY)
        assert farm.machines["m1"].permit is None


@pytest.mark.parametrize(("state", "seen", "kind"), list(itertools.product(OPEN_STATES, SEEN, ADOPTS)))
def test_seen_a_second_time_nothing_more_happens_to_the_run(state: RunState, seen: str, kind: str) -> None:
    farm = running_farm(state, state=MachineState.OFFLINE)
    after(farm, facts_of(SEEN[seen], situation(farm, ADOPTS[kind])))
    before = dict(farm.runs), dict(farm.builds), dict(farm.jobs)
    after(farm, facts_of(SEEN[seen], situation(farm, ADOPTS[kind])))
    assert (farm.runs, farm.builds, farm.jobs) == before


@pytest.mark.parametrize("seen", [name for name in SEEN if "it" not in name.split()])
@pytest.mark.parametrize("kind", ADOPTS)
def test_while_a_start_is_handed_over_not_to_be_seen_proves_nothing(seen: str, kind: str) -> None:
    farm = running_farm(RunState.INTENT)
    after(farm, facts_of(SEEN[seen], situation(farm, ADOPTS[kind], starting=True)))
    assert farm.runs["R-1"].state is RunState.INTENT


def test_seen_while_it_is_handed_over_a_run_is_adopted() -> None:
    farm = running_farm(RunState.INTENT)
    after(farm, facts_of(Observed(Activity.RUNNING, "R-1"), situation(farm, starting=True)))
    assert farm.runs["R-1"].state is RunState.RUNNING


def test_run_that_ended_unseen_is_given_its_whole_cooldown() -> None:
    farm = running_farm()
    after(farm, facts_of(SEEN["remembers ok"], situation(farm, cooldown_s=7200.0)))
    assert farm.machines["m1"].ready_at == T0 + 7200.0
    assert farm.machines["m1"].uncleared_run_id == "R-1"


# --- permits ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "capabilities", "away_s", "kept"),
    [
        (Observed(Activity.IDLE), SURE, 1e6, True),
        (Observed(Activity.IDLE), UNSURE, 899.0, True),
        (Observed(Activity.IDLE), UNSURE, 901.0, False),
        (Observed(Activity.IDLE), FED, 901.0, False),
        (Observed(Activity.IDLE, rebooted=True), SURE, 1.0, False),
        (Observed(Activity.IDLE, unseen_start=True), SURE, 1.0, False),
        (Observed(Activity.RUNNING, "benchy"), SURE, 1.0, False),
        (Observed(Activity.PAUSED), SURE, 1.0, False),
        (Observed(Activity.FAULT, fault=JAM), SURE, 1.0, True),
        (Observed(Activity.FAULT, "benchy", fault=JAM), SURE, 1.0, False),
        (Observed(Activity.FAULT, fault=JAM), UNSURE, 901.0, False),
        (Observed(Activity.IDLE, "R-0"), SURE, 1.0, True),
    ],
)
@pytest.mark.parametrize("state", [MachineState.OFFLINE, MachineState.FAULT])
def test_unspent_permit_is_kept_or_void_after_time_out_of_sight(
    seen: Observed, capabilities: Capabilities, away_s: float, kept: bool, state: MachineState
) -> None:
    farm = farm_of(machine(state=state, since=T0 - away_s))
    after(farm, facts_of(seen, situation(farm, capabilities)))
    assert (farm.machines["m1"].permit is not None) is kept


def test_looking_again_in_sight_keeps_a_permit_however_old() -> None:
    farm = farm_of(machine(since=T0 - 1e6))
    after(farm, facts_of(Observed(Activity.IDLE), situation(farm, UNSURE)))
    assert farm.machines["m1"].permit is not None


@pytest.mark.parametrize("event", [Rebooted(), ForeignStarted("benchy"), Started("R-9", "shown")])
def test_event_that_voids_an_unspent_permit(event: Event) -> None:
    farm = farm_of(machine())
    after(farm, facts_of(event, situation(farm)))
    assert farm.machines["m1"].permit is None


def test_foreign_run_leaves_a_machine_that_nobody_cleared() -> None:
    farm = farm_of(machine())
    for event in (ForeignStarted("benchy"), ForeignEnded()):
        after(farm, facts_of(event, situation(farm)))
    assert farm.machines["m1"].state is MachineState.IDLE
    assert farm.machines["m1"].permit is None
    assert farm.machines["m1"].foreign is None


# --- single events ----------------------------------------------------------------------------


@pytest.mark.parametrize("state", OPEN_STATES)
@pytest.mark.parametrize(
    ("event", "then"),
    [
        (Started("R-1", "shown"), None),
        (Paused("R-1", "filament"), RunState.PAUSED),
        (Resumed("R-1"), RunState.RUNNING),
    ],
)
def test_event_of_our_run_is_evidence_that_it_runs(
    state: RunState, event: Event, then: RunState | None
) -> None:
    farm = running_farm(state)
    after(farm, facts_of(event, situation(farm)))
    kept = state if state in (RunState.RUNNING, RunState.PAUSED) else RunState.RUNNING
    assert farm.runs["R-1"].state is (then or kept)
    assert farm.runs["R-1"].started_at is not None
    again = facts_of(event, situation(farm))
    assert again == []


@pytest.mark.parametrize("state", OPEN_STATES)
@pytest.mark.parametrize("outcome", [Outcome.OK, Outcome.FAILED, Outcome.CANCELLED])
def test_run_ends_once_from_any_state(state: RunState, outcome: Outcome) -> None:
    farm = running_farm(state, parts=3)
    event = Ended("R-1", outcome, "so it is", used_g=5.0, ready_in_s=60.0)
    facts = facts_of(event, situation(farm))
    after(farm, facts)
    (fact,) = facts
    assert isinstance(fact, f.RunEnded)
    assert (fact.made, fact.used_g, fact.ready_at) == (3 if outcome is Outcome.OK else 0, 5.0, T0 + 60.0)
    assert farm.machines["m1"].uncleared_run_id == "R-1"
    assert facts_of(event, situation(farm)) == []


@pytest.mark.parametrize(
    "event",
    [
        Ended("R-9", Outcome.OK),
        Paused("R-9"),
        Resumed("R-9"),
        Recovered(),
        ForeignEnded(),
        Rebooted(),
        Temperatures({}, {}),
    ],
)
def test_event_that_tells_nothing_new_adds_no_fact(event: Event) -> None:
    assert facts_of(event, situation(running_farm())) == []


def test_fault_and_recovery_leave_a_running_run_busy() -> None:
    farm = running_farm()
    for event in (Faulted(JAM), Faulted(JAM), Recovered()):
        after(farm, facts_of(event, situation(farm)))
    assert farm.machines["m1"].state is MachineState.BUSY
    assert farm.machines["m1"].fault is None
    farm = farm_of(machine(state=MachineState.FAULT, fault=JAM))
    assert facts_of(Faulted(JAM), situation(farm)) == []
    assert len(facts_of(Faulted(replace(JAM, code="other")), situation(farm))) == 1


def test_run_id_that_we_do_not_know_is_a_foreign_run_told_once() -> None:
    farm = farm_of(machine(state=MachineState.IDLE))
    for _ in range(2):
        facts = facts_of(Started("R-9", "shown"), situation(farm))
        after(farm, facts)
    assert facts == []
    assert (farm.machines["m1"].state, farm.machines["m1"].foreign) == (MachineState.FOREIGN, "R-9")


# --- an ejector's word ------------------------------------------------------------------------


@pytest.mark.parametrize(("outcome", "good", "scrap"), [(Outcome.OK, 3, 0), (Outcome.FAILED, 0, 3)])
def test_ejected_parts_are_counted_and_go_on_in_their_route(outcome: Outcome, good: int, scrap: int) -> None:
    farm = running_farm(parts=3)
    farm.jobs["J-1"] = replace(farm.jobs["J-1"], route=("print", "wash"))
    after(farm, facts_of(Ended("R-1", outcome), situation(farm)))
    facts = permit_of(situation(farm), IdSource(1))
    after(farm, facts)
    (cleared, *onward) = facts
    assert isinstance(cleared, f.MachineCleared)
    assert cleared.counts == (f.ItemCount("J-1", good, scrap),)
    assert farm.machines["m1"].permit is not None
    assert [fact.operation for fact in onward if isinstance(fact, f.BuildQueued)] == ["wash"] * bool(good)
    assert permit_of(situation(farm), IdSource(1)) == []


def test_ejector_gives_no_permit_while_a_run_is_open() -> None:
    assert permit_of(situation(running_farm(RunState.UNCERTAIN)), IdSource(1)) == []


def test_ejector_gives_a_permit_where_nothing_of_ours_lies() -> None:
    farm = farm_of(machine(permit=None), job(), build(), run(state=RunState.ENDED))
    (cleared,) = permit_of(situation(farm), IdSource(1))
    assert isinstance(cleared, f.MachineCleared)
    assert (cleared.run_id, cleared.counts) == (None, ())
