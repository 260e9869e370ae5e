"""Printing from the machine's card, in memory and virtual time: the wire and the talk against the emulated card.

The oracles are the emulator's files, its record of what it executed, and of which prints it began.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from farmd_drivers.marlin.emulator.build import Build
from farmd_drivers.marlin.emulator.card import CardMarlin
from farmd_drivers.marlin.emulator.commands import HANDLERS
from farmd_drivers.marlin.emulator.noise import Fault, Noise
from farmd_drivers.marlin.wire import Wire, states
from farmd_drivers.marlin.wire.card import (
    CardName,
    CardOpened,
    CardPrinted,
    CardStatus,
    CardTrouble,
    CardWriting,
    as_stored,
    card_name,
    closes_file,
    heard,
    run_id_of,
)
from farmd_drivers.marlin.wire.card_stages import (
    CardTold,
    ForeignPrint,
    ForeignPrintOver,
    Looked,
    NotStored,
    Stage,
    Stored,
    Tidied,
)
from farmd_drivers.marlin.wire.card_talk import CardTalk
from farmd_drivers.marlin.wire.states import Phase

RUN = "R-0123ABCDEF"
NAME = card_name(RUN)
LATENCY_S = 0.0005
SLOW = Build(move_scale=1.0, heat_c_per_s=50.0)
OVER = (states.RunDone, states.RunFailed, states.RunCancelled, NotStored)


def job_of(count: int) -> list[bytes]:
    """Different in every line; each move takes 0.1 s where moves take time."""
    moves = [b"G1 X%d.25 F1500 E0.02" % (n % 2 * 2 + n // 2) for n in range(count)]
    return [b"M104 S200", b"G28", b"M109 S200", *moves, b"M84"]


@dataclass
class Hall:
    """A machine with a card, a wire to it and the talk above, in virtual time."""

    machine: CardMarlin = field(default_factory=CardMarlin)
    noise: Noise = field(default_factory=lambda: Noise(0))
    to_host: Callable[[bytes], bytes] = lambda data: data
    now: float = 100.0
    cold: bool = False
    batch: int = 16

    def __post_init__(self) -> None:
        self.machine.power_on(self.now)
        self.machine.output.clear()
        self.told: list[CardTold | states.WireEvent] = []
        self.job: list[bytes] = []
        self.fed = self.seen = 0
        self.connect()

    def connect(self, *, saving: bool = False) -> None:
        """Open the link anew, as often as it takes; the machine is not reset by it.

        `saving`: a file may have been left open.
        """
        for _ in range(5):
            self.wire = Wire(self.now, banner_s=0.1, cold=self.cold)
            self.wire.card.saving = saving
            self.talk = CardTalk(self.wire, self.now)
            if isinstance(self.until(states.Ready, states.LinkDead), states.Ready):
                return
        raise AssertionError("the machine does not answer")

    def _collect(self) -> None:
        while (event := self.wire.next_event()) is not None:
            self.talk.on_event(event, self.now)
            if isinstance(event, states.Ready | states.Restarted | states.Halted | states.LinkDead):
                self.told.append(event)
            while (told := self.talk.next_event()) is not None:
                self.told.append(told)
                if isinstance(told, states.NeedLines):
                    self._feed()

    def _feed(self) -> None:
        if self.fed < len(self.job):
            self.talk.feed(self.job[self.fed : self.fed + self.batch])
            self.fed += self.batch
        else:
            length = sum(len(line) for line in self.job)
            self.talk.end_of_file([length + end * len(self.job) for end in (2, 1)])

    def store(self, job: list[bytes], name: str = NAME) -> None:
        self.job, self.fed = job, self.batch
        self.talk.store(name, job[: self.batch])

    def print(self, job: list[bytes]) -> None:
        self.store(job)
        assert isinstance(self.until(Stored, NotStored), Stored), self.told
        self.talk.begin_print()

    def turn(self, limit_s: float = 1.0) -> None:
        """One exchange, or else a step to the next moment at which anything is due."""
        self.talk.tick(self.now)
        data = self.wire.data_to_send(self.now)
        self._collect()
        if data:
            self.now += LATENCY_S
            self.machine.receive(self.noise.toward_machine(data), self.now)
            return
        self.machine.step(self.now)
        if self.machine.output:
            self.now += LATENCY_S
            data = self.to_host(self.noise.toward_host(bytes(self.machine.output)))
            self.machine.output.clear()
            self.wire.receive_data(data, self.now)
            self._collect()
            return
        due = self.wire.get_timer()
        soonest = min(self.machine.next_time(), self.now + limit_s, due if due is not None else self.now + 1)
        self.now = max(self.now, soonest)
        self.wire.handle_timer(self.now)
        self._collect()

    def until(self, *kinds: type, turns: int = 30_000) -> object:
        """Turn until the next event of one of these kinds, counted from the last one found so."""
        for _ in range(turns):
            while self.seen < len(self.told):
                self.seen += 1
                if isinstance(event := self.told[self.seen - 1], kinds):
                    return event
            self.turn()
        raise AssertionError(
            f"none of {kinds}: {self.talk.stage} {self.wire.phase} {self.wire.link} {self.told[-4:]}"
        )

    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.turn(min(1.0, max(0.001, end - self.now)))

    def executed_job(self) -> list[bytes]:
        lines = set(self.job)
        return [line for line in self.machine.executed if line in lines]

    def of(self, *kinds: type) -> list[object]:
        return [event for event in self.told if isinstance(event, kinds)]


def test_whole_print_is_exact() -> None:
    hall = Hall()
    job = job_of(100)
    hall.print(job)
    assert hall.machine.files[NAME] == b"".join(line + b"\r\n" for line in job)
    assert hall.executed_job() == []
    assert isinstance(hall.until(*OVER), states.RunDone)
    hall.pass_time(1)
    assert hall.executed_job() == job
    assert hall.machine.starts == [NAME]
    assert NAME not in hall.machine.files
    assert [type(event) for event in hall.told[1:] if not isinstance(event, states.NeedLines)] == [
        Stored,
        states.RunBegan,
        states.RunDone,
        Tidied,
    ]


@pytest.mark.parametrize("seed", range(24))
def test_noise_changes_neither_file_nor_print(seed: int) -> None:
    source = random.Random(seed)
    build = Build(move_scale=0.1, says_wait=seed % 3 == 0, ok_after_resend=seed % 4 != 1)
    noise = Noise(seed, 0.05, 0.05, faults=(Fault.GARBLE, Fault.DROP, Fault.LOSE, Fault.DOUBLE))
    hall = Hall(CardMarlin(build, reports=seed % 2 == 0))
    hall.noise = noise
    job = job_of(source.randint(20, 200))
    hall.store(job)
    stored = hall.until(Stored, NotStored)
    assert hall.executed_job() == []
    if isinstance(stored, NotStored):  # safe, and rare enough not to matter
        assert hall.machine.starts == []
        return
    assert hall.machine.files[NAME] == b"".join(line + b"\r\n" for line in job)
    hall.talk.begin_print()
    ended = hall.until(*OVER)
    hall.pass_time(5)
    assert hall.machine.starts == [NAME]
    assert hall.executed_job() == job
    # Of a print that ended well only the word for it can be lost; a bad one is never told as good.
    assert isinstance(ended, states.RunDone | states.RunFailed)
    assert noise.injected > 3


def test_most_noisy_prints_are_told_as_done() -> None:
    ends = []
    for seed in range(12):
        hall = Hall(CardMarlin(Build(move_scale=0.1)))
        hall.noise = Noise(seed, 0.01, 0.01)
        hall.print(job_of(40))
        ends.append(hall.until(*OVER))
    assert sum(isinstance(end, states.RunDone) for end in ends) >= 11, ends


@pytest.mark.parametrize("command", [b"M28", b"M29", b"M23", b"M24", b"M27", b"M400"])
def test_lost_ok_is_survived_and_nothing_is_done_twice(command: bytes) -> None:
    hall = Hall(CardMarlin(SLOW))
    lost: list[bytes] = []
    looked = 0

    def lose(data: bytes) -> bytes:
        nonlocal looked
        done = [line for line in hall.machine.executed[looked:] if line.startswith(command)]
        looked = len(hall.machine.executed)
        if done and b"ok\n" in data and not lost:
            lost.append(done[0])
            return data.replace(b"ok\n", b"", 1)
        return data

    hall.to_host = lose
    job = job_of(30)
    hall.print(job)
    assert isinstance(hall.until(*OVER), states.RunDone)
    assert len(lost) == 1
    assert hall.executed_job() == job
    assert hall.machine.starts == [NAME]
    asks = [line for line in hall.machine.asks if line.startswith((b"M24", b"M28"))]
    assert asks == [b"M28 /" + NAME.encode(), b"M24"]


@pytest.mark.parametrize("word", [b"Writing to file", b"File opened", b"SD printing", b"Done saving"])
def test_lost_word_is_asked_for_again(word: bytes) -> None:
    hall = Hall(CardMarlin(Build(move_scale=1.0), reports=False))
    lost = []

    def lose(data: bytes) -> bytes:
        if word in data and not lost:
            lost.append(data)
            return b"".join(line for line in data.splitlines(keepends=True) if word not in line)
        return data

    hall.to_host = lose
    job = job_of(30)
    hall.print(job)
    assert isinstance(hall.until(*OVER), states.RunDone)
    assert lost
    assert hall.executed_job() == job
    assert hall.machine.starts == [NAME]


def test_nothing_of_a_file_is_sent_before_it_is_open() -> None:
    hall = Hall()
    hall.machine.inserted = True
    hall.to_host = lambda data: data.replace(b"Writing to file", b"Wrxtixg to fxle")
    hall.store(job_of(30))
    told = hall.until(NotStored, Stored)
    assert told == NotStored("the machine does not open a file on its card")
    assert hall.executed_job() == []
    assert hall.machine.files == {}
    assert hall.talk.is_idle


def test_empty_slot_and_full_card_are_told() -> None:
    hall = Hall()
    hall.machine.inserted = False
    hall.store(job_of(3))
    told = hall.until(NotStored, Stored)
    assert isinstance(told, NotStored)
    assert "No SD card" in told.reason
    hall.machine.inserted, hall.machine.full_at = True, 300
    hall.store(job_of(100))
    told = hall.until(NotStored, Stored)
    assert isinstance(told, NotStored)
    assert "error writing" in told.reason
    assert hall.executed_job() == []
    assert NAME not in hall.machine.files
    assert hall.machine.starts == []


def test_file_of_another_size_is_not_printed() -> None:
    hall = Hall(CardMarlin(line_end=b"\r\n\r\n"))
    hall.store(job_of(10))
    told = hall.until(NotStored, Stored)
    assert isinstance(told, NotStored)
    assert "bytes" in told.reason
    assert hall.machine.starts == []
    assert hall.machine.files == {}
    assert hall.machine.open_file == ""


def test_giving_up_while_writing_closes_and_removes() -> None:
    hall = Hall()
    hall.store(job_of(200))
    while hall.talk.stage is not Stage.WRITING or hall.fed < 60:
        hall.turn()
    hall.talk.give_up("called off")
    assert hall.until(NotStored) == NotStored("called off")
    assert hall.machine.files == {}
    assert hall.executed_job() == []
    assert hall.wire.phase is Phase.IDLE
    hall.print(job_of(5))
    assert isinstance(hall.until(*OVER), states.RunDone)


def test_restart_while_writing_stores_nothing() -> None:
    hall = Hall()
    hall.store(job_of(200))
    while hall.talk.stage is not Stage.WRITING or hall.fed < 60:
        hall.turn()
    hall.machine.power_on(hall.now)
    told = hall.until(NotStored)
    assert "restarted" in told.reason  # type: ignore[attr-defined]
    assert hall.executed_job() == []
    assert hall.machine.files == {}


def test_file_left_open_by_a_lost_link_is_closed_in_the_greeting() -> None:
    hall = Hall()
    hall.store(job_of(200))
    while hall.talk.stage is not Stage.WRITING or hall.fed < 60:
        hall.turn()
    assert hall.machine.saving is not None
    hall.wire = Wire(hall.now, banner_s=0.1)
    hall.wire.card.saving = True
    hall.talk = CardTalk(hall.wire, hall.now)
    hall.until(states.Ready)
    assert hall.machine.saving is None
    assert "SDCARD" in hall.wire.firmware.has
    assert hall.executed_job() == []


def test_emergency_stop_is_heard_while_a_file_is_open() -> None:
    hall = Hall()
    hall.machine.intake._listens = False  # as the firmware does meanwhile
    hall.store(job_of(200))
    while hall.talk.stage is not Stage.WRITING or hall.fed < 60:
        hall.turn()
    hall.machine.receive(hall.wire.estop(hall.now), hall.now)
    halted = hall.until(states.Halted)
    assert halted.confirmed  # type: ignore[attr-defined]
    assert b"M112" in hall.machine.executed


def test_pause_and_resume() -> None:
    hall = Hall(CardMarlin(SLOW))
    job = job_of(60)
    hall.print(job)
    hall.until(states.RunBegan)
    hall.pass_time(5)
    hall.talk.pause("asked for")
    assert hall.until(states.RunPaused) == states.RunPaused("asked for")
    done = len(hall.executed_job())
    assert 0 < done < len(job)
    hall.pass_time(40)
    hall.talk.pause("again")
    assert len(hall.executed_job()) == done
    assert len(hall.of(states.RunPaused, states.RunResumed)) == 1
    hall.talk.resume()
    hall.until(states.RunResumed)
    hall.talk.resume()
    assert isinstance(hall.until(*OVER), states.RunDone)
    assert hall.executed_job() == job
    assert hall.machine.starts == [NAME]
    assert len(hall.of(states.RunPaused, states.RunResumed)) == 2


@pytest.mark.parametrize("has_abort", [True, False])
@pytest.mark.parametrize("paused", [True, False])
def test_cancel_ends_the_print_and_the_heat(has_abort: bool, paused: bool) -> None:
    hall = Hall(CardMarlin(SLOW, has_abort=has_abort))
    hall.print(job_of(600))
    hall.until(states.RunBegan)
    hall.pass_time(8)
    if paused:
        hall.talk.pause("asked for")
        hall.until(states.RunPaused)
    hall.talk.cancel("asked for")
    told = hall.until(*OVER)
    assert isinstance(told, states.RunCancelled)
    assert told.lines_accepted > 0
    done = len(hall.executed_job())
    hall.pass_time(30)
    assert len(hall.executed_job()) == done
    assert hall.machine.is_off
    assert hall.machine.open_file == ""
    assert hall.machine.files == {}


@pytest.mark.parametrize("reports", [True, False])
def test_print_that_waits_for_heat_is_seen_and_can_be_cancelled(reports: bool) -> None:
    hall = Hall(CardMarlin(Build(move_scale=1.0, heat_c_per_s=0.001), reports=reports))
    hall.print(job_of(60))
    hall.until(states.RunBegan)
    hall.pass_time(5)
    began = hall.now
    hall.talk.cancel("asked for")
    assert isinstance(hall.until(*OVER), states.RunCancelled)
    assert hall.now - began < 5
    assert hall.machine.is_off


def test_pause_stop_and_cancel_at_the_panel_are_seen() -> None:
    hall = Hall(CardMarlin(SLOW))
    hall.print(job_of(300))
    hall.until(states.RunBegan)
    hall.pass_time(8)
    hall.machine.panel_pause(hall.now)
    assert hall.until(states.RunPaused) == states.RunPaused("paused at the machine")
    hall.talk.resume()
    hall.until(states.RunResumed)
    hall.pass_time(2)
    hall.machine.panel_stop(hall.now)
    told = hall.until(*OVER)
    assert isinstance(told, states.RunFailed)
    assert told.reason == "the machine ended it without saying that it was done"
    assert 0 < told.lines_accepted < 6000


def test_line_of_the_card_gets_no_ok() -> None:
    hall = Hall(CardMarlin(SLOW))
    job = [b"M104 S50", b"M9999", b"G1 X2 F60", b"M84"]
    hall.print(job)
    assert isinstance(hall.until(*OVER), states.RunDone)
    assert hall.machine.unknown == [b"M9999"]
    assert hall.wire.counters.stray_oks == 0


def test_wait_for_a_person_is_a_pause() -> None:
    hall = Hall(CardMarlin(SLOW))
    job = job_of(40)
    job.insert(20, b"M0")
    hall.print(job)
    assert hall.until(states.RunPaused) == states.RunPaused("the machine waits for a person")
    hall.pass_time(120)
    assert hall.executed_job() == job[:21]
    hall.talk.resume()
    hall.until(states.RunResumed)
    assert isinstance(hall.until(*OVER), states.RunDone)
    assert hall.executed_job() == job


def test_restart_in_mid_print_fails_it_at_once() -> None:
    hall = Hall(CardMarlin(SLOW))
    hall.print(job_of(300))
    hall.until(states.RunBegan)
    hall.pass_time(10)
    hall.machine.power_on(hall.now)
    began = hall.now
    told = hall.until(*OVER)
    assert isinstance(told, states.RunFailed)
    assert told.lines_accepted > 0
    assert hall.now - began < 0.05
    hall.until(states.Ready)
    hall.pass_time(20)
    assert hall.machine.starts == [NAME]
    assert hall.machine.files == {}


def test_kill_in_mid_print_fails_it_with_its_words() -> None:
    hall = Hall(CardMarlin(SLOW))
    hall.print(job_of(300))
    hall.until(states.RunBegan)
    hall.machine.kill(b"Thermal Runaway, system stopped! Heater_ID: 0")
    told = hall.until(*OVER)
    assert isinstance(told, states.RunFailed)
    assert "Thermal Runaway" in told.reason


def test_print_goes_on_without_us_and_is_found_again() -> None:
    hall = Hall(CardMarlin(SLOW))
    job = job_of(200)
    hall.print(job)
    hall.until(states.RunBegan)
    size = hall.talk.size
    hall.pass_time(6)
    hall.cold = True  # whatever an earlier run has left on, this one needs
    hall.connect()
    assert hall.wire.card.status is not None
    assert hall.wire.card.name == CardName(NAME)
    assert not hall.wire.card.restarted
    hall.talk.adopt(NAME, hall.wire.card.status, size, paused=False)
    assert isinstance(hall.until(*OVER), states.RunDone)
    assert hall.executed_job() == job
    assert hall.machine.starts == [NAME]


def test_print_begun_at_the_panel_is_seen_and_not_touched() -> None:
    for reports, tells_name in ((True, True), (False, False)):
        hall = Hall(CardMarlin(SLOW, reports=reports, tells_name=tells_name))
        job = job_of(100)
        hall.machine.files["BENCHY.GCO"] = bytearray(b"\n".join(job))
        hall.job = job
        hall.pass_time(20)
        assert hall.of(ForeignPrint) == []
        hall.machine.panel_start("BENCHY.GCO", hall.now)
        told = hall.until(ForeignPrint)
        assert told == ForeignPrint("BENCHY.GCO" if tells_name else "")
        hall.talk.look()
        looked = hall.until(Looked)
        assert looked.status.printing  # type: ignore[attr-defined]
        hall.until(ForeignPrintOver)
        assert hall.executed_job() == job
        hall.pass_time(20)
        assert len(hall.of(ForeignPrint, ForeignPrintOver)) == 2
        assert "BENCHY.GCO" in hall.machine.files


def test_foreign_print_at_the_connect_keeps_its_heat() -> None:
    hall = Hall(CardMarlin(SLOW))
    job = job_of(100)
    hall.machine.files["BENCHY.GCO"] = bytearray(b"\n".join(job))
    hall.machine.panel_start("BENCHY.GCO", hall.now)
    hall.pass_time(6)
    hall.cold = True
    hall.connect()
    assert hall.wire.card.status is not None
    assert hall.wire.card.status.printing
    assert hall.machine.body.nozzle.target_c == 200
    hall.machine.panel_stop(hall.now)
    hall.machine.body.nozzle.target_c = 200.0
    hall.connect()
    assert hall.machine.body.nozzle.target_c == 0


def test_machine_without_a_card_is_asked_nothing() -> None:
    hall = Hall()
    hall.machine.handlers = {**hall.machine.handlers, b"M115": HANDLERS[b"M115"]}
    hall.connect()
    asked = len(hall.machine.asks)
    hall.pass_time(30)
    assert len(hall.machine.asks) == asked


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_a_file_is_begun_once_and_never_by_half_stored(seed: int) -> None:
    """Noise, restarts, lost links with adoption, pauses and a cancel, at any time."""
    source = random.Random(1000 + seed)
    machine = CardMarlin(Build(move_scale=0.5), reports=seed % 2 == 0, tells_name=seed % 3 > 0)
    hall = Hall(machine)
    hall.noise = Noise(seed, 0.02, 0.02, faults=(Fault.GARBLE, Fault.DROP, Fault.LOSE, Fault.DOUBLE))
    job = job_of(source.randint(20, 120))
    size = sum(len(line) + 2 for line in job)
    hall.store(job)
    was_begun = False
    for _ in range(source.randint(1, 6)):
        hall.pass_time(source.uniform(0.005, 3))
        if hall.talk.stage is Stage.STORED and not was_begun:
            assert machine.files[NAME] == b"".join(line + b"\r\n" for line in job)
            hall.talk.begin_print()
            was_begun = True
            continue
        match source.randrange(5):
            case 0:
                hall.talk.pause("asked for")
            case 1:
                hall.talk.resume()
            case 2:
                machine.power_on(hall.now)
            case 3:
                was_writing = hall.wire.card.saving
                hall.connect(saving=was_writing)
                status = hall.wire.card.status
                if was_begun and status is not None and status.printing:
                    hall.talk.adopt(NAME, status, size, paused=False)
            case _ if source.random() < 0.2:
                hall.talk.cancel("asked for")
            case _:
                pass
    hall.pass_time(30)
    assert len(machine.starts) <= was_begun
    executed = hall.executed_job()
    assert executed == job[: len(executed)]
    if hall.of(states.RunDone):
        assert executed == job
    if not was_begun:
        assert executed == []


def test_words_of_the_firmware() -> None:
    assert heard(b"SD printing byte 12/345") == CardStatus(True, 12, 345)
    assert heard(b"Not SD printing") == CardStatus(False)
    assert heard(b"Not SD printing.") == CardStatus(False)
    assert heard(b"Current file: BENCHY~1.GCO benchy of mine.gcode") == CardName(
        "BENCHY~1.GCO", "benchy of mine.gcode"
    )
    assert heard(b"Current file: (no file)") == CardName("")
    assert heard(b"File opened: A.G Size: 12") == CardOpened("A.G", 12)
    assert heard(b"Writing to file: A.G") == CardWriting("A.G")
    assert heard(b"Done printing file") == CardPrinted()
    assert isinstance(heard(b"echo:No SD card"), CardTrouble)
    assert isinstance(heard(b"Error:error writing to file"), CardTrouble)
    assert heard(b"SD printing byte 12/345x") is None
    assert heard(b"X:0.00 Y:0.00 Z:0.00 E:0.00") is None


def test_names_carry_run_ids_both_ways() -> None:
    assert NAME == "0123ABCD.GEF"
    assert run_id_of(NAME) == RUN
    assert run_id_of(NAME.lower()) == RUN
    other = card_name("R-1")
    assert run_id_of(other) is None
    assert other != card_name("R-2")
    for name in (NAME, other):
        base, _, ending = name.partition(".")
        assert len(base) == 8
        assert len(ending) == 3
        assert ending.startswith("G")


def test_lines_that_would_end_or_change_the_file() -> None:
    assert closes_file(b"M117 see M29 there")
    assert closes_file(b"M\\29")
    assert not closes_file(b"M290 Z0.1")
    assert as_stored(b"M117 a\\b * c") == b"M117 ab"
    assert as_stored(b"G1 X1") == b"G1 X1"
