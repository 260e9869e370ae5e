"""Terminal, single commands and link health of the Marlin driver, on real pseudo-terminals."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from farmd.driver import (
    MACHINE_NOT_READY,
    Ended,
    Event,
    LinkHealth,
    Observed,
    Reply,
    RunFile,
    Started,
    StartOrder,
    now,
)
from farmd.model.errors import LinkLost, Refused
from farmd.model.machine import MachineSpec
from farmd.model.work import Outcome
from farmd_drivers.marlin import health, typist
from farmd_drivers.marlin.driver import MarlinDriver
from farmd_drivers.marlin.emulator.build import Build
from farmd_drivers.marlin.emulator.noise import Fault, Noise
from farmd_drivers.marlin.peer import PtyPeer
from farmd_drivers.marlin.settings import MarlinSettings
from farmd_drivers.marlin.typist import COMMAND_NOT_TAKEN

SPEC = MachineSpec("mk3-01", "marlin", "mk3", "MEX", (250.0, 210.0, 210.0), max_nozzle_c=250.0)


class Served:
    """A driver being served, and what it has told."""

    def __init__(self, peer: PtyPeer, folder: Path) -> None:
        settings = MarlinSettings(port=peer.port, banner_wait_s=0.05)
        self.driver = MarlinDriver(SPEC, settings, state_dir=folder)
        self.events: list[Event] = []
        self.task = asyncio.ensure_future(self.driver.serve(self.events.append))

    async def until(self, kind: type, within_s: float = 5.0) -> Event:
        await self.when(lambda: any(isinstance(event, kind) for event in self.events), within_s)
        return next(event for event in self.events if isinstance(event, kind))

    async def when(self, condition: Callable[[], object], within_s: float = 5.0) -> None:
        async with asyncio.timeout(within_s):
            while not condition():
                assert not self.task.done(), self.task
                await asyncio.sleep(0.005)

    async def print(self, moves: int = 3000) -> None:
        lines = ["G90", "M83", *(f"G1 X{n % 200} Y{n // 200} E1 F6000" for n in range(moves))]
        data = "\n".join(lines).encode()
        file = RunFile("part.gcode", hashlib.sha256(data).hexdigest(), len(data), lambda: io.BytesIO(data))
        await self.driver.start(StartOrder("R-1", "print", 60.0, 1, fence=1, file=file))
        await self.until(Started)

    async def leave(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    def texts(self, after: int = 0) -> list[str]:
        return [f"{'>' if line.sent else '<'} {line.text}" for line in self.driver.terminal(after)]


@asynccontextmanager
async def serving(peer: PtyPeer, folder: Path) -> AsyncIterator[Served]:
    served = Served(peer, folder)
    try:
        await served.until(Observed)
        yield served
    finally:
        await served.leave()


async def refusal(served: Served, text: str) -> Refused:
    with pytest.raises(Refused) as refused:
        await served.driver.command(text)
    return refused.value


# --- the terminal -------------------------------------------------------------------------------


async def test_the_terminal_shows_what_went_over_the_link(tmp_path: Path) -> None:
    with PtyPeer() as peer:
        began = now()
        async with serving(peer, tmp_path) as served:
            lines = served.driver.terminal()
            told = served.texts()
            assert "> N0 M110 N0*125" in told
            assert told.index("> N1 M115*39") < told.index("< Cap:EEPROM:1")
            assert "< ok" in told
            assert [line.number for line in lines] == list(range(1, len(lines) + 1))
            assert all(began - 5 <= line.at <= now() for line in lines)
            last = lines[-1].number
            await served.driver.command("M114")
            fresh = served.texts(last)
            assert fresh[0].startswith("> N")
            assert any(text.startswith("< X:") for text in fresh)


async def test_the_terminal_outlives_the_link(tmp_path: Path) -> None:
    with PtyPeer() as peer:
        served = Served(peer, tmp_path)
        await served.until(Observed)
        peer.say(b"echo:the last word")
        await served.when(lambda: "< echo:the last word" in served.texts())
        peer.unplug()
        with pytest.raises(LinkLost):
            await served.task
        assert "< echo:the last word" in served.texts()
    assert MarlinDriver(SPEC, MarlinSettings(port="/nowhere"), state_dir=tmp_path).terminal() == []


# --- single commands ----------------------------------------------------------------------------


async def test_a_command_is_answered_by_what_the_machine_says_to_it(tmp_path: Path) -> None:
    with PtyPeer() as peer:
        async with serving(peer, tmp_path) as served:
            for _ in range(2):
                reply = await served.driver.command(" M114 ; where is it")
                assert reply.complete
                assert [line[:2] for line in reply.lines] == ["X:"]
            assert await served.driver.command("G28") == Reply((), complete=True)
            assert "T:" in "".join((await served.driver.command("M105")).lines)
            assert peer.executed[-4:] == [b"M114", b"M114", b"G28", b"M105"]


async def test_in_a_run_it_goes_between_the_lines_and_harms_nothing(tmp_path: Path) -> None:
    with PtyPeer(Build(move_scale=0.02)) as peer:
        async with serving(peer, tmp_path) as served:
            await served.print(600)
            assert (await served.driver.command("M114")).lines[0].startswith("X:")
            assert (await served.driver.command("M220 S90")).complete
            for text in ("G28", "G1 X5", "M104 S200", "M83", "M600"):
                assert (await refusal(served, text)).code is MACHINE_NOT_READY
            ended = await served.until(Ended, 20)
            assert isinstance(ended, Ended)
            assert ended.outcome is Outcome.OK
        moves = [line for line in peer.executed if line.startswith(b"G1 ")]
        assert len(moves) == 600
        assert len(set(moves)) == 600
        assert peer.executed.count(b"M220 S90") == 1
        assert b"G28" not in peer.executed


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("M112", "emergency"),
        ("M500", "settings"),
        ("M24", "card"),
        ("M110 N5", "link"),
        ("G28\nG1 X5", "more than one line"),
        ("M104 S251", "250"),
        ("M0", "blocks"),
        ("M1 P5", "blocks"),
        ("", "at least"),
        ("; only words", "at least"),
        ("M117 " + "x" * 90, "at most"),
        ("M117 Grüße", "letters"),
    ],
)
async def test_what_is_never_sent(tmp_path: Path, text: str, why: str) -> None:
    with PtyPeer() as peer:
        async with serving(peer, tmp_path) as served:
            before = peer.executed
            refused = await refusal(served, text)
            assert refused.code is COMMAND_NOT_TAKEN
            assert why in refused.what
            await asyncio.sleep(0.02)
            assert peer.executed == before


async def test_an_answer_that_takes_long_is_told_as_not_there_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(typist, "ANSWER_S", 0.2)
    with PtyPeer(Build(heat_c_per_s=100.0)) as peer:
        async with serving(peer, tmp_path) as served:
            assert (await served.driver.command("M109 S100")).complete is False
            assert "still being answered" in (await refusal(served, "M105")).what
            await served.when(lambda: peer.machine.body.nozzle.actual_c >= 99)
            await served.when(lambda: not served.driver._connection.wire.typed.is_open)  # type: ignore[union-attr]
            assert (await served.driver.command("M105")).complete
            assert peer.executed.count(b"M109 S100") == 1


async def test_a_command_that_could_not_go_in_time_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(typist, "ANSWER_S", 0.2)
    with PtyPeer(Build(heat_c_per_s=50.0)) as peer:
        async with serving(peer, tmp_path) as served:
            data = b"M109 S150\nG1 X5\n"
            file = RunFile("hot.gcode", "0" * 64, len(data), lambda: io.BytesIO(data))
            await served.driver.start(StartOrder("R-1", "print", 60.0, 1, fence=1, file=file))
            await served.when(lambda: b"M109 S150" in peer.executed)
            refused = await refusal(served, "M117 hello")
            assert refused.code is MACHINE_NOT_READY
            assert "nothing was sent" in refused.what
            await served.until(Ended, 10)
        assert b"M117 hello" not in peer.executed


async def test_a_link_that_is_lost_in_mid_answer(tmp_path: Path) -> None:
    with PtyPeer(Build(heat_c_per_s=5.0)) as peer:
        served = Served(peer, tmp_path)
        await served.until(Observed)
        asking = asyncio.ensure_future(served.driver.command("M109 S100"))
        await served.when(lambda: b"M109 S100" in peer.executed)
        peer.unplug()
        with pytest.raises(LinkLost):
            await served.task
        assert (await asking).complete is False
        assert (await refusal(served, "M105")).code is MACHINE_NOT_READY


async def test_a_machine_that_is_not_ready_for_it(tmp_path: Path) -> None:
    with PtyPeer() as peer:
        async with serving(peer, tmp_path) as served:
            served.driver.estop()
            assert (await refusal(served, "M105")).code is MACHINE_NOT_READY


# --- the health of the link ---------------------------------------------------------------------


async def test_the_health_of_the_link_is_told_every_few_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "HEALTH_EVERY", 1)
    noise = Noise(3, faults=(Fault.GARBLE,))
    with PtyPeer(noise=noise) as peer:
        async with serving(peer, tmp_path) as served:
            await served.print(1500)
            noise.to_machine = 0.05
            ended = await served.until(Ended, 60)
            assert isinstance(ended, Ended)
            assert ended.outcome is Outcome.OK
            before = len(served.events)
            await served.when(lambda: any(isinstance(e, LinkHealth) for e in served.events[before:]))
        told = [event for event in served.events if isinstance(event, LinkHealth)]
    last = told[-1]
    assert last.lines >= 1500
    assert last.resends > 5
    assert 0.01 < last.noise < 0.3
    assert last.turn_round_p50_s is not None
    assert last.turn_round_p99_s is not None
    assert 0 < last.turn_round_p50_s <= last.turn_round_p99_s < 5
    assert last.mode
    for name in ("lines", "resends", "timeouts", "garbled"):
        counts = [getattr(event, name) for event in told]
        assert counts == sorted(counts), name
