"""The simulated machine: the same inputs give the same states, by whatever steps time goes."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farmd.driver import (
    Activity,
    BedCleared,
    Ended,
    Event,
    Faulted,
    ForeignEnded,
    ForeignStarted,
    Paused,
    Rebooted,
    Recovered,
    Resumed,
    Started,
    StartOrder,
)
from farmd.model.errors import Refused
from farmd.model.work import Outcome
from farmd_drivers.simulated.chance import Cable, Odds, fate, lognormal, stream
from farmd_drivers.simulated.machine import (
    BREAKDOWN,
    EMERGENCY_STOP,
    TABLE,
    Answer,
    Nature,
    Phase,
    SimulatedMachine,
)

T0 = 1_700_000_000.0
ODDS = Odds(seed=7, machine="m1")
ORDER = StartOrder("R-1", "print", 3600.0, 1, fence=1, mass_g=40.0)


def machine(nature: Nature | None = None, odds: Odds = ODDS) -> SimulatedMachine:
    return SimulatedMachine(nature or Nature(warmup_s=240.0), odds, born_at=T0)


def test_filament_run_from_start_to_end() -> None:
    made = machine()
    assert made.receive(ORDER, T0) is Answer.TAKEN
    assert made.next_at() == T0 + 5.0
    assert made.observe().run_id == "R-1"  # from the arrival on, before it says that it runs
    (started,) = made.advance(T0 + 5.0)
    assert isinstance(started, Started)
    assert made.truth.phase is Phase.WARMING
    assert made.advance(T0 + 245.0) == ()
    assert made.truth.phase is Phase.MAKING
    assert made.advance(T0 + 1805.0) == ()
    told = made.progress()
    assert told is not None
    assert (told.fraction, told.layer, told.remaining_s) == (0.5, 26, 1800.0)
    (ended,) = made.advance(T0 + 4000.0)
    assert ended == Ended("R-1", Outcome.OK, used_g=40.0)
    assert made.truth.phase is Phase.IDLE
    assert [past.run_id for past in made.observe().history] == ["R-1"]


def test_powder_run_ends_before_its_cooldown_and_refuses_starts_meanwhile() -> None:
    made = machine(Nature(rest_s=7200.0))
    made.receive(ORDER, T0)
    *_, ended = made.advance(T0 + 3605.0)
    assert isinstance(ended, Ended)
    assert ended.ready_in_s == 7200.0
    assert made.observe().activity is Activity.IDLE
    assert made.receive(replace(ORDER, run_id="R-2"), T0 + 3700.0) is Answer.BUSY
    made.advance(T0 + 3605.0 + 7200.0)
    assert made.receive(replace(ORDER, run_id="R-2"), T0 + 11000.0) is Answer.TAKEN


def test_station_takes_its_fixed_time_without_noise_or_material() -> None:
    made = machine(Nature(operation_s=900.0, warmup_s=240.0), replace(ODDS, noise=0.5, process="station"))
    made.receive(ORDER, T0)
    assert made.advance(T0 + 904.9) == (
        Started("R-1", "the machine shows the run id and counts its progress"),
    )
    (ended,) = made.advance(T0 + 905.0)
    assert ended == Ended("R-1", Outcome.OK)


def test_ejector_tells_a_clear_bed_after_success_only() -> None:
    made = machine(Nature(rest_s=60.0, ejects=True))
    made.receive(ORDER, T0)
    assert BedCleared() in made.advance(T0 + 3700.0)
    made.receive(replace(ORDER, run_id="R-2"), T0 + 3700.0)
    made.advance(T0 + 3800.0)
    made.fail("the nozzle jammed", T0 + 3800.0)
    assert BedCleared() not in made.advance(T0 + 9000.0)
    assert not made.truth.bed_clear


def test_pause_stops_the_run_and_resume_goes_on() -> None:
    made = machine()
    made.receive(ORDER, T0)
    made.advance(T0 + 1005.0)
    assert made.pause(T0 + 1005.0) == (Paused("R-1"),)
    assert made.pause(T0 + 1006.0) == ()
    assert made.next_at() == math.inf
    assert made.resume(T0 + 2005.0) == (Resumed("R-1"),)
    assert made.resume(T0 + 2005.0) == ()
    assert made.advance(T0 + 4604.0) == ()
    assert [type(event) for event in made.advance(T0 + 4605.0)] == [Ended]


def test_stop_tells_how_far_it_came() -> None:
    made = machine()
    made.receive(ORDER, T0)
    made.advance(T0 + 905.0)
    (ended,) = made.stop(T0 + 905.0)
    assert isinstance(ended, Ended)
    assert ended.place is not None
    assert (ended.outcome, ended.place.fraction, ended.used_g) == (Outcome.CANCELLED, 0.25, 10.0)
    assert made.stop(T0 + 905.0) == ()


def test_stop_before_the_machine_shows_the_run_uses_nothing() -> None:
    made = machine(Nature(rest_s=7200.0))
    made.receive(ORDER, T0)
    (ended,) = made.stop(T0 + 1.0)
    assert isinstance(ended, Ended)
    assert (ended.used_g, ended.ready_in_s) == (0.0, 0.0)


def test_emergency_stop_needs_recovery() -> None:
    made = machine()
    made.receive(ORDER, T0)
    made.advance(T0 + 100.0)
    ended, faulted = made.break_down(EMERGENCY_STOP, "emergency stop", T0 + 100.0)
    assert isinstance(ended, Ended)
    assert ended.outcome is Outcome.FAILED
    assert faulted == Faulted(EMERGENCY_STOP)
    assert made.break_down(BREAKDOWN, "again", T0 + 101.0) == ()
    assert made.receive(replace(ORDER, run_id="R-2"), T0 + 102.0) is Answer.BUSY
    assert made.observe().fault == EMERGENCY_STOP
    assert made.recover(T0 + 200.0) == (Recovered(),)
    made.advance(T0 + 200.0)
    assert made.truth.phase is Phase.IDLE


def test_foreign_run_is_not_ours_to_pause_or_stop() -> None:
    made = machine()
    assert made.panel_start("benchy", 600.0, T0) == (ForeignStarted("benchy"),)
    assert made.panel_start("another", 600.0, T0) == ()
    for command in (made.pause, made.stop):
        with pytest.raises(Refused):
            command(T0 + 1.0)
    assert made.observe().unseen_start
    made.told()
    assert not made.observe().unseen_start
    assert made.advance(T0 + 600.0) == (ForeignEnded(),)
    assert made.observe().history[-1].run_id == "benchy"


def test_restart_loses_the_run_and_is_remembered_until_told() -> None:
    made = machine()
    made.receive(ORDER, T0)
    made.advance(T0 + 100.0)
    ended, rebooted = made.reboot(T0 + 100.0)
    assert isinstance(ended, Ended)
    assert ended.outcome is Outcome.FAILED
    assert rebooted == Rebooted()
    assert made.observe().rebooted
    made.told()
    assert not made.observe().rebooted


def test_restart_mends_a_fault() -> None:
    made = machine()
    made.break_down(BREAKDOWN, "", T0)
    assert made.reboot(T0 + 1.0) == (Rebooted(), Recovered())
    assert made.observe().fault is None


def test_pausing_nothing_is_refused() -> None:
    with pytest.raises(Refused):
        machine().pause(T0)


def test_a_clock_that_goes_back_changes_nothing() -> None:
    made = machine()
    made.receive(ORDER, T0)
    made.advance(T0 + 100.0)
    before = made.truth
    assert made.advance(T0 - 86400.0) == ()
    assert made.truth == before


WILD = Odds(
    seed=3,
    machine="m9",
    noise=0.2,
    failure_rate=0.3,
    mtbf_h=5.0,
    drop_rate=0.1,
    panel_every_h=8.0,
    reboot_every_h=30.0,
)


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(st.floats(0.0, 20000.0), min_size=1, max_size=30), seed=st.integers(0, 50))
def test_steps_of_time_do_not_matter(steps: list[float], seed: int) -> None:
    nature = Nature(warmup_s=240.0, rest_s=1800.0)
    one, many = (machine(nature, replace(WILD, seed=seed)) for _ in range(2))
    now, events = T0, list[Event]()
    for made in (one, many):
        made.receive(ORDER, T0)
    for step_s in steps:
        now += step_s
        events += many.advance(now)
    assert list(one.advance(now)) == events
    assert one.truth == many.truth


def test_each_phase_is_left_and_reached_by_the_table() -> None:
    assert {before for before, _ in TABLE} == set(Phase)
    assert set(TABLE.values()) == set(Phase)


def test_a_runs_fate_depends_on_seed_machine_and_run_alone() -> None:
    assert fate(WILD, "R-1", 3600.0) == fate(WILD, "R-1", 3600.0)
    fates = {
        fate(odds, run_id, 3600.0).length
        for odds in (WILD, replace(WILD, seed=4), replace(WILD, machine="m8"))
        for run_id in ("R-1", "R-2")
    }
    assert len(fates) == 6
    assert fate(replace(WILD, failure_rate=1.0), "R-1", 1.0).length == fate(WILD, "R-1", 1.0).length


def test_chance_keeps_its_means() -> None:
    draws = [fate(replace(WILD, mtbf_h=0.0), f"R-{i}", 3600.0) for i in range(4000)]
    assert abs(fmean(draw.length for draw in draws) - 1.0) < 0.02
    assert abs(fmean(bool(draw.reason) for draw in draws) - 0.3) < 0.03
    hours = 3600.0
    faults = [fate(replace(WILD, failure_rate=0.0), f"R-{i}", hours).breaks for i in range(4000)]
    assert abs(fmean(faults) - (1 - math.exp(-1 / 5.0))) < 0.03
    assert lognormal(0.9, 0.0) == 1.0


def test_cable_is_lost_at_seeded_times_for_seeded_spans() -> None:
    def spans(odds: Odds) -> list[tuple[float, bool]]:
        cable, now, found = Cable(odds, lost_every_h=10.0, lost_s=300.0), T0, []
        for _ in range(200):
            now = math.nextafter(cable.next_loss_at(now), math.inf)
            found.append((now, cable.up(now)))
        return found

    lost = spans(ODDS)
    assert lost == spans(ODDS)
    assert not any(up for _, up in lost)
    assert abs((lost[-1][0] - T0) / 200 / 3600.0 - 10.0) < 2.5


def test_pulled_cable_comes_back_by_itself_or_by_hand() -> None:
    cable = Cable(ODDS, lost_every_h=0.0, lost_s=1.0)
    assert cable.up(T0)
    assert cable.next_loss_at(T0) == math.inf
    cable.pull(T0 + 60.0)
    assert not cable.up(T0 + 59.0)
    assert cable.up(T0 + 60.0)
    cable.pull(math.inf)
    cable.plug()
    assert cable.up(T0)


def test_streams_are_the_same_everywhere() -> None:
    assert stream(1, "m1", "run", "R-1").random() == 0.169809133941896
