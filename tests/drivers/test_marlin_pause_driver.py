"""The Marlin driver's pauses, stops and going on, on real pseudo-terminals, against the strict emulator.

The oracles are the emulator's record of what it executed, and where its head is.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from farmd.driver import (
    NOT_SUPPORTED,
    Activity,
    Attention,
    Ended,
    Event,
    ForeignStarted,
    Observed,
    Paused,
    Progressed,
    Resumed,
    RunFile,
    Started,
    StartOrder,
)
from farmd.gcode import executable_lines
from farmd.model.errors import LinkLost, Refused
from farmd.model.machine import MachineSpec
from farmd.model.work import Outcome, Place
from farmd_drivers.marlin.account import EVIDENCE_GOING_ON, Account
from farmd_drivers.marlin.driver import ADDED_AFTER, ADDED_BEFORE, ADDED_COMMANDS, MarlinDriver
from farmd_drivers.marlin.emulator.build import Build
from farmd_drivers.marlin.head import CANNOT_CONTINUE, NOT_PARKED
from farmd_drivers.marlin.job import PLACE_NOT_IN_FILE, JobFile
from farmd_drivers.marlin.modes import UNSURE_LINES
from farmd_drivers.marlin.peer import PtyPeer
from farmd_drivers.marlin.runlog import RunLog
from farmd_drivers.marlin.settings import MarlinSettings
from farmd_drivers.marlin.wire.replies import heaters_off

SPEC = MachineSpec("mk3-01", "marlin", "mk3", "MEX", (250.0, 210.0, 210.0))
PARK = {"x_mm": 10.0, "y_mm": 200.0, "lift_mm": 5.0, "retract_mm": 2.0}
REHOME = {"commands": ["G28 X Y"], "keeps_z": True, "lift_mm": 4.0}
LAYER = 300


def gcode(layers: int) -> bytes:
    """A sliced file in PrusaSlicer's manner: every move is unlike the others, the filament absolute."""
    lines = [
        "; generated for a test",
        "M107",
        "M190 S60",
        "G28",
        "G90 ; absolute",
        "M82",
        "M109 S210",
        "G92 E0",
    ]
    for layer in range(layers):
        lines += [";LAYER_CHANGE", f"G1 Z{0.2 * (1 + layer):.2f} F7800", "M106 S100", "G1 F1800"]
        lines += [f"G1 X{n % 200}.5 Y{layer} E{layer * LAYER + n + 1}.25" for n in range(LAYER)]
    return "\n".join([*lines, "M104 S0", "M140 S0", "M84"]).encode()


def order(data: bytes, run_id: str = "R-1", at: Place | None = None) -> StartOrder:
    file = RunFile("part.gcode", hashlib.sha256(data).hexdigest(), len(data), lambda: io.BytesIO(data))
    return StartOrder(run_id, "print", 60.0, 1, fence=1, file=file, mass_g=10.0, resume_at=at)


class Served:
    """A driver being served, with what it told."""

    def __init__(self, driver: MarlinDriver) -> None:
        self.driver = driver
        self.events: list[Event] = []
        self.task = asyncio.create_task(driver.serve(self.events.append))

    async def until(self, kind: type, count: int = 1, within_s: float = 10.0) -> Any:
        async with asyncio.timeout(within_s):
            while len(found := self.told(kind)) < count:
                if self.task.done():
                    self.task.result()
                await asyncio.sleep(0.002)
        return found[count - 1]

    def told(self, kind: type) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]


@asynccontextmanager
async def serving(driver: MarlinDriver) -> AsyncIterator[Served]:
    served = Served(driver)
    try:
        await served.until(Observed)
        yield served
    finally:
        served.task.cancel()
        await asyncio.gather(served.task, return_exceptions=True)


Make = Callable[..., MarlinDriver]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def driver(peer: PtyPeer, **settings: Any) -> MarlinDriver:
        link = {"port": peer.port, "banner_wait_s": 0.05, **settings}
        return MarlinDriver(SPEC, MarlinSettings.model_validate(link), state_dir=tmp_path)

    return driver


def commands(data: bytes) -> list[bytes]:
    return list(executable_lines(io.BytesIO(data)))


def of_run(peer: PtyPeer, run: int = 1) -> list[bytes]:
    """What was executed since the `run`th run's numbering, without it."""
    executed = peer.executed
    starts = [at for at, command in enumerate(executed) if command == b"M110 N0"]
    # A run begins with the two commands of ADDED_BEFORE, a handshake with M115 between them.
    runs = [at for at in starts if executed[at : at + 2] == list(ADDED_BEFORE)]
    return executed[runs[run - 1] + 2 :]


async def printing(peer: PtyPeer) -> None:
    """Until it is beyond the file's beginning."""
    async with asyncio.timeout(5):
        while len(peer.executed) < 100:  # noqa: ASYNC110 - the machine is another thread's
            await asyncio.sleep(0.001)


async def test_a_pause_parks_and_the_print_is_exact(make: Make) -> None:
    data = gcode(8).replace(b"G1 Z0.60", b"M0 look at it\nG1 Z0.60")
    with PtyPeer(Build(move_scale=0.0)) as peer:
        async with serving(make(peer, park=PARK)) as served:
            await served.driver.start(order(data))
            await served.until(Paused)
            assert peer.machine.body.position["X"] == 10
            assert peer.machine.body.position["Z"] == pytest.approx(0.4 + 5)
            assert json.loads((served.driver._log._runs_path).read_text())["displaced"]
            await served.driver.resume()
            await served.driver.resume()
            await served.until(Resumed)
            await served.driver.pause()
            await served.until(Paused, 2)
            await served.driver.resume()
            ended = await served.until(Ended)
    assert ended == Ended("R-1", Outcome.OK, used_g=10.0)
    lines = commands(data)
    lines.remove(b"M0 look at it")
    executed = iter(of_run(peer))
    added = []
    for line in lines:
        while (command := next(executed)) != line:
            assert ADDED_COMMANDS.fullmatch(command), command
            added.append(command)
    assert added.count(b"G1 F6000 X10.0000 Y200.0000") == 2
    assert added[added.index(b"M109 S210") :][:8] == [
        *(b"M109 S210", b"G90", b"M83", b"G1 F6000 X99.5000 Y1.0000", b"G1 F600 Z0.4000"),
        *(b"G1 F1500 E2.0000", b"G90", b"M82"),
    ]
    assert b"G92 E600.25000" in added
    assert not [event for event in served.told(Attention) if event.code == NOT_PARKED]  # type: ignore[attr-defined]


async def test_a_machine_that_does_not_say_where_to_park_stays(make: Make) -> None:
    data = gcode(4)
    with PtyPeer() as peer:
        async with serving(make(peer)) as served:
            assert not served.driver.capabilities.continues
            await served.driver.start(order(data))
            await served.until(Started)
            await served.driver.pause()
            await served.until(Paused)
            await served.driver.resume()
            await served.until(Ended)
    assert [line for line in of_run(peer) if line not in (b"M400", b"M105")] == commands(data)


async def test_a_pause_before_the_machine_is_homed_moves_nothing_and_says_why(make: Make) -> None:
    data = gcode(2).replace(b"M190", b"M0 first\nM190")
    with PtyPeer() as peer:
        async with serving(make(peer, park=PARK)) as served:
            await served.driver.start(order(data))
            await served.until(Paused)
            assert b"homed" in served.told(Attention)[-1].what.encode()  # type: ignore[attr-defined]
            assert not any(command.startswith(b"G1") for command in peer.executed)
            await served.driver.resume()
            await served.until(Ended)


async def test_a_stop_parks_cold_with_its_motors_off(make: Make) -> None:
    data = gcode(20)
    with PtyPeer(Build(move_scale=0.05)) as peer:
        async with serving(make(peer, park=PARK, motors_off_at_stop=True)) as served:
            await served.driver.start(order(data))
            await printing(peer)
            await served.driver.stop()
            await served.driver.stop()
            ended = await served.until(Ended)
        assert ended.outcome is Outcome.CANCELLED
        end = peer.executed[peer.executed.index(b"M104 S0") :]
        away = [
            b"G90",
            b"M83",
            b"G1 F1500 E-2.0000",
            b"G1 F600 Z5.2000",
            b"G1 F6000 X10.0000 Y200.0000",
            b"M84",
        ]
        assert end == [*heaters_off(), *ADDED_AFTER, *away, *ADDED_AFTER]
        assert peer.machine.is_off
        assert peer.machine.body.position["X"] == 10


@pytest.mark.parametrize("upset", ["reset", "unplug"])
async def test_a_lost_run_is_gone_on_with(make: Make, upset: str) -> None:
    data = gcode(6)
    before = 800
    with PtyPeer(upsets={before: upset}) as peer:
        driver = make(peer, rehome=REHOME)
        first = Served(driver)
        await first.until(Observed)
        assert driver.capabilities.continues
        await driver.start(order(data))
        ended = await first.until(Ended)
        assert ended.outcome is Outcome.FAILED
        if upset == "reset":
            await first.until(Observed, 2)
            first.task.cancel()
        await asyncio.wait({first.task}, timeout=5)
        if upset == "unplug":
            assert isinstance(first.task.exception(), LinkLost)
            peer.replug()
        async with serving(make(peer, rehome=REHOME)) as again:
            await again.driver.start(order(data, "R-2", ended.place))
            second = await again.until(Ended)
    assert second.outcome is Outcome.OK
    assert ended.used_g + second.used_g == pytest.approx(10.0)
    lines = commands(data)
    at = len(list(executable_lines(io.BytesIO(data[: data.index(b"\n", ended.place.byte)]))))
    one = [line for line in of_run(peer) if line in set(lines)][:at]
    assert one == lines[:at]
    two = of_run(peer, 2)
    rest = len(lines) - at + len(ADDED_AFTER)
    assert two[-rest:] == [*lines[at:], *ADDED_AFTER]
    assert not any(line.startswith(b"G1 X") for line in two[:-rest]), "nothing of before is printed again"
    assert two[two.index(b"G92 Z0.6000") :][:6] == [
        *(b"G92 Z0.6000", b"G90", b"G1 F600 Z4.6000", *ADDED_AFTER, b"G28 X Y")
    ]


async def broken_off(make: Make, peer: PtyPeer, data: bytes, **settings: Any) -> Place:
    async with serving(make(peer, **settings)) as served:
        await served.driver.start(order(data))
        ended = await served.until(Ended)
        await served.until(Observed, 2)
    assert ended.place is not None
    return ended.place  # type: ignore[no-any-return]


async def refusal(make: Make, peer: PtyPeer, given: StartOrder, **settings: Any) -> Refused:
    async with serving(make(peer, **settings)) as served:
        executed = peer.executed
        with pytest.raises(Refused) as refused:
            await served.driver.start(given)
        await asyncio.sleep(0.05)
        assert peer.executed == executed
        assert not served.driver._log.knows(given.run_id)
    return refused.value


async def test_going_on_is_refused_where_it_is_not_safe(make: Make) -> None:
    data = gcode(6)
    with PtyPeer(upsets={900: "reset"}) as peer:
        place = await broken_off(make, peer, data, rehome=REHOME)
        assert (await refusal(make, peer, order(data, "R-2", place))).code is NOT_SUPPORTED
        for other, code in (
            (replace(place, z_mm=None), CANNOT_CONTINUE),
            (replace(place, line=place.line + 1), CANNOT_CONTINUE),  # type: ignore[operator]
            (Place(line=0, byte=0), CANNOT_CONTINUE),
        ):
            assert (await refusal(make, peer, order(data, "R-2", other), rehome=REHOME)).code is code
        short = data[: place.byte]
        why = await refusal(make, peer, order(short, "R-2", place), rehome=REHOME)
        assert why.code is PLACE_NOT_IN_FILE
        hot = {**REHOME, "commands": ["G28 X Y", "M104 S299"]}
        assert "heats" in (await refusal(make, peer, order(data, "R-2", place), rehome=hot)).what
        async with serving(make(peer, rehome=REHOME)) as served:
            await served.driver.command("G1 Z50")
        why = await refusal(make, peer, order(data, "R-2", place), rehome=REHOME)
        assert "moved" in why.what
        found = {"commands": ["G28"], "keeps_z": False}
        async with serving(make(peer, rehome=found)) as served:
            await served.driver.start(order(data, "R-3", place))
            assert (await served.until(Ended)).outcome is Outcome.OK
        why = await refusal(make, peer, order(data, "R-4", place), rehome=found)
        assert "did not break off there" in why.what


async def test_a_height_that_had_just_changed_is_not_sure(make: Make) -> None:
    data = gcode(6)
    with PtyPeer(upsets={5 + 8 + 2 * (LAYER + 3) + UNSURE_LINES // 2: "reset"}) as peer:
        place = await broken_off(make, peer, data, rehome=REHOME)
        why = await refusal(make, peer, order(data, "R-2", place), rehome=REHOME)
        assert "height changes so near" in why.what
        found = {"commands": ["G28"], "keeps_z": False}
        async with serving(make(peer, rehome=found)) as served:
            await served.driver.start(order(data, "R-2", place))
            assert (await served.until(Ended)).outcome is Outcome.OK


async def test_a_run_lost_while_it_was_parked_has_no_height(make: Make) -> None:
    data = gcode(6)
    with PtyPeer() as peer:
        async with serving(make(peer, park=PARK, rehome=REHOME)) as served:
            await served.driver.start(order(data))
            await printing(peer)
            await served.driver.pause()
            await served.until(Paused)
            peer.reset()
            place = (await served.until(Ended)).place
            await served.until(Observed, 2)
        why = await refusal(make, peer, order(data, "R-2", place), rehome=REHOME)
        assert "moved" in why.what


async def test_a_run_cut_off_by_our_end_has_no_exact_place(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    log.load()
    log.begin("R-1")
    log.save()
    log.saw(100.0, Place(line=7, byte=70, z_mm=0.2))
    log.save_seen()
    again = RunLog(tmp_path)
    again.load()
    assert again.history[-1].place == Place(line=7, byte=70, z_mm=0.2)
    assert again.broke_off is None


def test_a_record_of_before_says_nothing_of_the_head(tmp_path: Path) -> None:
    (tmp_path / "runs.json").write_text(json.dumps({"ended": [], "open": None, "hot": False}))
    log = RunLog(tmp_path)
    log.load()
    assert (log.broke_off, log.is_displaced) == (None, True)


def test_a_start_that_was_not_sent_leaves_the_record_of_the_last_run(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    log.load()
    log.begin("R-1")
    log.displace()
    log.end(Outcome.FAILED, "", Place(line=7), 1.0)
    log.begin("R-2")
    assert not log.is_displaced
    log.forget()
    assert (log.is_displaced, log.broke_off) == (True, Place(line=7))


def test_modes_are_read_on_from_where_the_last_reading_ended() -> None:
    data = gcode(3)
    job = JobFile(order(data).file)  # type: ignore[arg-type]
    while (batch := job.next_batch()) is not None and batch.first < 2 * LAYER:
        pass
    assert job.modal_at(2 * LAYER + 12).e_mm == pytest.approx(2 * LAYER - 1 + 0.25)
    assert job.modal_at(2 * LAYER + 13).e_mm == pytest.approx(2 * LAYER + 0.25)
    job.close()


def test_settings_are_checked() -> None:
    for wrong in (
        {"rehome": {**REHOME, "commands": ["M500"]}},
        {"rehome": {**REHOME, "commands": []}},
        {"rehome": {**REHOME, "commands": [" "]}},
        {"park": {**PARK, "lift_mm": 0}},
        {"park": {**PARK, "z_mm": 3}},
    ):
        with pytest.raises(ValueError, match="1 validation error"):
            MarlinSettings.model_validate({"port": "p", **wrong})


async def test_a_lost_link_while_it_is_paused_fails_the_run(make: Make) -> None:
    with PtyPeer() as peer:
        driver = make(peer, park=PARK)
        served = Served(driver)
        await served.until(Observed)
        await driver.start(order(gcode(6)))
        await served.until(Started)
        await driver.pause()
        await served.until(Paused)
        peer.unplug()
        ended = await served.until(Ended)
        assert ended.outcome is Outcome.FAILED
        assert ended.place is not None
        with pytest.raises(LinkLost):
            await served.task


async def test_a_run_that_goes_on_counts_from_the_files_beginning(make: Make) -> None:
    data = gcode(6)
    with PtyPeer(Build(move_scale=0.05), upsets={800: "reset"}) as peer:
        place = await broken_off(make, peer, data, rehome=REHOME)
        async with serving(make(peer, rehome=REHOME)) as served:
            await served.driver.start(order(data, "R-2", place))
            told = await served.until(Progressed)
            assert told.fraction >= place.fraction
            assert told.layer >= place.layer
            assert (await served.until(Started)).evidence == EVIDENCE_GOING_ON
            await served.driver.stop()
            ended = await served.until(Ended)
            assert ended.place.line >= place.line
            assert ended.place.z_mm >= place.z_mm


def test_what_somebody_else_prints_leaves_nothing_to_go_on_with(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    log.load()
    log.begin("R-1")
    log.end(Outcome.FAILED, "", Place(line=7), 1.0)
    account = Account(log)
    account.connect(lambda event: None, unseen=False)
    account.tell(Observed(Activity.IDLE))
    assert log.broke_off == Place(line=7)
    account.tell(ForeignStarted("benchy"))
    assert (log.broke_off, log.is_displaced) == (None, True)
