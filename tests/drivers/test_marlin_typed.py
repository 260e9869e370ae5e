"""A typed command between the lines of a job: exactly once, in its place, with the answer that is its own.

In virtual time, between the protocol's core and the strict emulator, whose record is the oracle.
"""

from __future__ import annotations

import math

import pytest

from farmd_drivers.marlin.emulator import Marlin
from farmd_drivers.marlin.emulator.build import Build
from farmd_drivers.marlin.emulator.noise import Fault, Noise
from farmd_drivers.marlin.wire import Wire, states
from farmd_drivers.marlin.wire.states import Answered, Phase
from farmd_drivers.marlin.wire.window import Sending

JOB = [b"G90", b"M83", *(b"G1 X%d Y%d E1 F6000" % (n % 200, n // 200) for n in range(2, 400))]
ENDS = (states.RunDone, states.RunFailed, states.RunCancelled, states.LinkDead)


class Pair:
    """A wire and a machine with a link between them."""

    def __init__(
        self, build: Build | None = None, noise: Noise | None = None, sending: Sending | None = None
    ) -> None:
        self.now = 100.0
        self.noise = noise or Noise(0)
        self.machine = Marlin(build or Build())
        self.machine.power_on(self.now)
        self.wire = Wire(self.now)
        if sending is not None:
            self.wire.send_by(sending, 128)
        self.events: list[states.WireEvent] = []
        self.until(states.Ready)
        self.before = len(self.machine.executed)

    def print(self) -> None:
        self.wire.begin(self.now)
        self.wire.feed(JOB)
        self.wire.end_of_job()

    def turn(self) -> None:
        if data := self.wire.data_to_send(self.now):
            self.now += 0.0005
            self.machine.receive(self.noise.toward_machine(data), self.now)
        else:
            self.machine.step(self.now)
            if self.machine.output:
                self.now += 0.0005
                data = bytes(self.machine.output)
                self.machine.output.clear()
                self.wire.receive_data(self.noise.toward_host(data), self.now)
            else:
                due = self.wire.get_timer()
                limit = math.inf if due is None else due
                self.now = max(self.now, min(self.machine.next_time(), limit, self.now + 1.0))
                self.wire.handle_timer(self.now)
        while (event := self.wire.next_event()) is not None:
            self.events.append(event)

    def until(self, *kinds: type, turns: int = 60_000) -> states.WireEvent:
        for _ in range(turns):
            for index, event in enumerate(self.events):
                if isinstance(event, kinds):
                    return self.events.pop(index)
            self.turn()
        raise AssertionError(f"none of {kinds} came: {self.wire.phase} {self.wire.link} {self.events[-5:]}")

    def till(self, phase: Phase, lines: int = 0) -> None:
        for _ in range(60_000):
            if self.wire.phase is phase and self.wire.lines_accepted >= lines:
                return
            self.turn()
        raise AssertionError(f"{self.wire.phase} and not {phase}")

    def ask(self, command: bytes) -> Answered:
        assert self.wire.may_type
        self.wire.type_command(command)
        answer = self.until(Answered)
        assert isinstance(answer, Answered)
        return answer

    @property
    def executed(self) -> list[bytes]:
        return self.machine.executed[self.before :]


def text(answer: Answered) -> str:
    return "\n".join(answer.lines)


def test_an_idle_machine_answers_with_its_own_lines() -> None:
    pair = Pair()
    answer = pair.ask(b"M115")
    assert (answer.complete, answer.sent) == (True, True)
    assert text(answer).startswith("FIRMWARE_NAME:Marlin")
    assert "Cap:EEPROM:" in text(answer)
    assert "T:" in text(pair.ask(b"M105"))
    assert pair.ask(b"G4 P1").lines == ()
    assert pair.executed[:3] == [b"M115", b"M105", b"G4 P1"]


def test_what_the_machine_says_by_itself_is_no_answer() -> None:
    pair = Pair(Build(heat_c_per_s=5.0))
    pair.wire.type_command(b"M109 S60")
    while b"M109 S60" not in pair.executed:
        pair.turn()
    pair.machine.say(b"echo:busy: processing")
    pair.machine.say(b"echo:SD card ok")
    answer = pair.until(Answered)
    assert isinstance(answer, Answered)
    assert "busy" not in text(answer)
    assert "T:" not in text(answer)
    assert "echo:SD card ok" in text(answer), "what may be an answer is shown"


def test_an_unknown_command_says_so() -> None:
    assert "Unknown command" in text(Pair().ask(b"M9999"))


@pytest.mark.parametrize("sending", [None, Sending.COUNTING])
@pytest.mark.parametrize("seed", range(3))
def test_between_the_lines_of_a_job_it_goes_once_and_in_order(sending: Sending | None, seed: int) -> None:
    """Noise or not, a window or none."""
    noise = Noise(seed, to_machine=0.02 * seed, faults=(Fault.GARBLE, Fault.DROP))
    pair = Pair(noise=noise, sending=sending)
    pair.print()
    for n in range(5):
        pair.till(Phase.STREAMING, 40 + 60 * n)
        answer = pair.ask(b"M117 typed %d" % n)
        assert (answer.complete, answer.sent, text(answer)) == (True, True, "")
    assert isinstance(pair.until(*ENDS), states.RunDone)
    job = [line for line in pair.executed if line in set(JOB)]
    assert job == JOB
    assert [line for line in pair.executed if line.startswith(b"M117")] == [
        b"M117 typed %d" % n for n in range(5)
    ]


def test_it_goes_before_the_next_line_of_the_job() -> None:
    pair = Pair()
    pair.print()
    pair.till(Phase.STREAMING, 100)
    done = len([line for line in pair.executed if line in set(JOB)])
    pair.ask(b"M114")
    place = pair.executed.index(b"M114")
    assert len([line for line in pair.executed[:place] if line in set(JOB)]) <= done + 2


def test_the_answer_in_a_window_is_not_mixed_with_other_lines_oks() -> None:
    pair = Pair(Build(advanced_ok=True), sending=Sending.ADVANCED_OK)
    pair.print()
    pair.till(Phase.STREAMING, 100)
    answer = pair.ask(b"M114")
    assert text(answer).startswith("X:")
    assert "N" not in text(answer), "what stands behind an ok is its own"
    assert isinstance(pair.until(*ENDS), states.RunDone)
    assert [line for line in pair.executed if line in set(JOB)] == JOB


def test_one_at_a_time_and_only_where_no_script_runs() -> None:
    pair = Pair()
    pair.wire.type_command(b"M114")
    assert not pair.wire.may_type
    pair.until(Answered)
    pair.print()
    assert pair.wire.phase is Phase.RENUMBERING
    assert not pair.wire.may_type
    pair.till(Phase.STREAMING, 20)
    pair.wire.pause("look")
    assert not pair.wire.may_type
    pair.until(states.RunPaused)
    assert text(pair.ask(b"M114")).startswith("X:")
    pair.wire.resume()
    assert isinstance(pair.until(*ENDS), states.RunDone)


def test_what_waits_can_be_taken_back_and_what_is_sent_cannot() -> None:
    pair = Pair(Build(heat_c_per_s=5.0))
    pair.ask(b"M104 S0")
    pair.wire.type_command(b"M109 S100")
    while b"M109 S100" not in pair.executed:
        pair.turn()
    assert not pair.wire.typed.withdraw()
    assert pair.wire.typed.is_open
    pair.until(Answered)
    pair.print()
    pair.till(Phase.STREAMING, 20)
    pair.wire.type_command(b"M115")
    assert pair.wire.typed.withdraw()
    assert not pair.wire.typed.is_open
    assert isinstance(pair.until(*ENDS), states.RunDone)
    assert b"M115" not in pair.executed


@pytest.mark.parametrize("what", ["cancel", "begin"])
def test_what_is_dropped_from_the_queue_was_not_sent(what: str) -> None:
    pair = Pair(Build(move_scale=1.0))
    if what == "cancel":
        pair.print()
        pair.till(Phase.STREAMING, 30)
    pair.wire.type_command(b"M117 lost")
    if what == "cancel":
        pair.wire.cancel("asked for")
    else:
        pair.print()
    answer = pair.until(Answered)
    assert answer == Answered((), complete=False, sent=False)
    assert b"M117 lost" not in pair.executed


def test_an_answer_that_a_restart_cuts_off_is_told_as_not_complete() -> None:
    pair = Pair(Build(heat_c_per_s=1.0))
    pair.wire.type_command(b"M109 S200")
    while b"M109 S200" not in pair.executed:
        pair.turn()
    pair.machine.power_on(pair.now)
    answer = pair.until(Answered)
    assert isinstance(answer, Answered)
    assert (answer.complete, answer.sent) == (False, True)
    pair.till(Phase.IDLE)
    assert text(pair.ask(b"M114")).startswith("X:"), "and the next one is answered again"


def test_the_same_words_of_ours_are_not_taken_for_it() -> None:
    pair = Pair(Build(autoreport=False, heat_c_per_s=1.0))
    pair.wire.type_command(b"M105")
    answers = [pair.until(Answered)]
    for _ in range(3):
        start = pair.now
        while pair.now < start + 6.0:
            pair.turn()
    assert [event for event in pair.events if isinstance(event, Answered)] == []
    assert isinstance(answers[0], Answered)
    assert "T:" in text(answers[0])
    assert pair.executed.count(b"M105") > 2, "ours went on"


@pytest.mark.parametrize("sending", [None, Sending.COUNTING, Sending.ADVANCED_OK])
def test_whatever_the_noise_no_command_goes_twice_and_the_job_is_exact(sending: Sending | None) -> None:
    complete = 0
    for seed in range(25):
        noise = Noise(seed, faults=(Fault.GARBLE, Fault.DROP, Fault.LOSE, Fault.JOIN, Fault.GARBAGE))
        pair = Pair(Build(advanced_ok=sending is Sending.ADVANCED_OK), noise, sending)
        pair.print()
        pair.till(Phase.STREAMING, 5)
        noise.to_machine = noise.to_host = 0.03
        answers = []
        for n in range(4):
            for _ in range(20 + 7 * seed):
                pair.turn()
            if pair.wire.may_type:
                pair.wire.type_command(b"M117 typed %d" % n)
                answers.append((n, pair.until(Answered)))
        end = pair.until(*ENDS)
        job = [line for line in pair.executed if line in set(JOB)]
        assert job == JOB[: len(job)], seed
        assert not isinstance(end, states.RunDone) or job == JOB, seed
        for n, answer in answers:
            assert isinstance(answer, Answered)
            times = pair.executed.count(b"M117 typed %d" % n)
            assert times == 1 if answer.complete else times <= 1, (seed, n, answer)
            complete += answer.complete
    assert complete > 80


def test_nothing_is_typed_into_a_file_that_is_open_on_the_card() -> None:
    pair = Pair()
    assert pair.wire.may_type
    pair.wire.card.saving = True
    assert not pair.wire.may_type
    pair.wire.card.saving = False
    pair.wire.perform(b"M21")
    assert not pair.wire.may_type, "nor between commands to the card"
    pair.until(states.Performed)
    assert pair.wire.may_type
