"""The property campaign's short form: 20,000 seeded schedules of faults, in virtual time, on two processes.

What has to hold is said in `farmd_drivers.marlin.campaign`. A seed that breaks it is shown on the wire by
`python -m bench.campaign --seed N`; the long form is `python -m bench.campaign`.
"""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import pytest

from farmd_drivers.marlin.campaign import Tally, Trial, draw, try_seeds
from farmd_drivers.marlin.emulator.faults import Life, Quirk, Upset
from farmd_drivers.marlin.emulator.noise import Fault

SCHEDULES, CHUNK, WORKERS = 20_000, 500, 2


def test_any_schedule_of_faults_leaves_the_file_executed_once_or_the_run_failed_at_its_place() -> None:
    chunks = [range(first, first + CHUNK) for first in range(0, SCHEDULES, CHUNK)]
    tally = Tally()
    with ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context("spawn")) as pool:
        for piece in pool.map(try_seeds, chunks):
            tally.add(piece)
    told = [f"{what}\n    python -m bench.campaign --seed {seed}" for seed, what in tally.broken[:20]]
    assert not tally.broken, f"{len(tally.broken)} did not hold:\n" + "\n".join(told)
    assert tally.ends.total() == SCHEDULES
    for fault in (*Fault, *Quirk, *Life):
        assert tally.faults[fault.value] > 50, f"{fault} hardly ever happened"
    ends = {end for _, end in tally.ends}
    assert ends >= {"done", "failed", "cancelled"}


def test_a_seed_is_the_same_trial_again() -> None:
    def passed(seed: int) -> list[str]:
        lines: list[str] = []
        Trial(draw(seed), trace=lines.append).run()
        return lines

    assert passed(12) == passed(12) != passed(13)


def calm() -> Trial:
    return Trial(replace(draw(1), schedule=(), from_connect=False))


def test_a_calm_run_is_done_and_nothing_is_found() -> None:
    trial = calm()
    assert trial.run() == "done"
    assert trial.broken == []


@pytest.mark.parametrize(
    ("life", "outcome"),
    [
        (Life.RESET, "failed"),
        (Life.SILENT_RESET, "failed"),
        (Life.KILL, "failed"),
        (Life.STOP, "failed"),
        (Life.HANG, "failed"),
        (Life.UNPLUG, "failed"),
        (Life.ESTOP, "failed"),
        (Life.USER_CANCEL, "cancelled"),
        (Life.ACTION_CANCEL, "cancelled"),
        (Life.USER_PAUSE, "done"),
        (Life.ACTION_PAUSED, "done"),
    ],
)
def test_what_befalls_in_mid_run_has_its_end(life: Life, outcome: str) -> None:
    trial = Trial(replace(draw(1), schedule=(Upset(10, life, False, 1),), from_connect=False))
    assert trial.run() == outcome
    assert trial.broken == []
    assert (trial.executed_lines == len(trial.setting.job)) is (outcome == "done")


class Skipping(Trial):
    """Loses a line of the file between the file and the core."""

    def _feed(self) -> None:
        job = self.setting.job
        object.__setattr__(self.setting, "job", job[:5] + job[6:])
        super()._feed()
        object.__setattr__(self.setting, "job", job)


class Repeating(Trial):
    """Sends one line twice, under two numbers."""

    def _feed(self) -> None:
        super()._feed()
        self.wire.feed([self.setting.job[0]])


class Boasting(Trial):
    """Says that more was accepted than was."""

    def _end(self, outcome: str, accepted: int) -> None:
        super()._end(outcome, accepted + 3)


class Warm(Trial):
    """The machine does not hear that its heaters are to be off."""

    def _ready(self) -> None:
        super()._ready()
        if self._over:
            self.machine.body.bed.target_c = 60.0


@pytest.mark.parametrize(
    ("kind", "life", "finding"),
    [
        (Skipping, None, "executed ["),
        (Repeating, None, "executed ["),
        (Boasting, Life.RESET, "place "),
        (Warm, Life.RESET, "left hot"),
    ],
)
def test_what_does_not_hold_is_found(kind: type[Trial], life: Life | None, finding: str) -> None:
    schedule = () if life is None else (Upset(10, life, False, 1),)
    trial = kind(replace(draw(1), schedule=schedule, from_connect=False))
    trial.run()
    assert any(what.startswith(finding) for what in trial.broken), trial.broken
