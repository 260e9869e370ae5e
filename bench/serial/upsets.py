"""A machine is reset, killed or unplugged in mid-print: when the driver tells it, when the record has it, and
that nothing of the file is sent again."""

from __future__ import annotations

import asyncio
import http.client
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.serial.farm import Farm
from bench.serial.files import commands_of, even
from bench.serial.hall import HallProcess
from bench.serial.host import order, served
from bench.serial.many_printers import all_print
from bench.serial.report import Figure, Row
from bench.serial.rivals import Rival
from farmd.model.work import Outcome
from farmd_drivers.marlin.driver import ADDED_COMMANDS

UPSETS = {"power-on": "reset", "kill": "kill", "unplug": "unplug"}
AFTER_S = 2.0
"""How long a machine is watched for lines sent again."""
WATCH_S = 10.0
MOVES, MOVE_S = 6_000, 0.01


def rows(found: Sequence[Rival], *, quick: bool) -> list[Row]:
    tries = 3 if quick else 10
    in_driver, again = asyncio.run(_driver(tries))
    in_record = _record(tries)
    rivals = {rival.name: _rival(rival) for rival in found}
    shown = []
    for upset, name in UPSETS.items():
        others = {who: waits[upset] for who, waits in rivals.items()}
        also = {"in_driver_ms": sorted(in_driver[upset]), "in_record_ms": sorted(in_record[upset])}
        shown.append(
            Row(
                f"{name} noticed by the driver, longest",
                max(in_driver[upset]),
                "ms",
                50.0,
                rivals=others,
                also=also,
            )
        )
        shown.append(Row(f"{name} in the record, longest", max(in_record[upset]), "ms", 50.0))
    resent = {who: waits["again"] for who, waits in rivals.items()}
    shown.append(
        Row("commands of the file executed after a reset or kill", float(again), "", 0.0, rivals=resent)
    )
    return shown


def _upset(hall: HallProcess, index: int, upset: str) -> float:
    at: float = (
        hall.ask("unplug", index=index) if upset == "unplug" else hall.ask("upset", index=index, what=upset)
    )
    return at


def _again(before: list[int], records: list[list[bytes]]) -> int:
    """Commands of the file that machines executed after so many of all."""
    return sum(
        not ADDED_COMMANDS.fullmatch(command)
        for count, record in zip(before, records, strict=True)
        for command in record[count:]
    )


async def _driver(tries: int) -> tuple[dict[str, list[float]], int]:
    """Milliseconds to `Ended` for each upset, all machines printing; and what was executed again."""
    waits: dict[str, list[float]] = {upset: [] for upset in UPSETS}
    data = even(MOVES, MOVE_S)
    kinds = [upset for upset in UPSETS for _ in range(tries)]
    with HallProcess("strict", len(kinds), "--move-scale", "1") as hall, TemporaryDirectory() as folder:
        async with served(hall.ports) as drivers:
            await asyncio.gather(*(each.driver.start(order(data)) for each in drivers))
            await asyncio.sleep(1.0)
            before = []
            for index, upset in enumerate(kinds):
                at = await asyncio.to_thread(_upset, hall, index, upset)
                before.append(hall.ask("stat")[index]["executed"])
                ended_at, ended = await drivers[index].ended(WATCH_S)
                if ended.outcome is not Outcome.FAILED:
                    raise RuntimeError(f"after {upset} the run was told as {ended.outcome}")
                waits[upset].append((ended_at - at) * 1e3)
            await asyncio.sleep(AFTER_S)
            records = hall.records(Path(folder))
    return waits, _again(before, records)


class _Ends:
    """Follows the daemon's record in a thread; knows when the end of each run was told there."""

    def __init__(self, farm: Farm) -> None:
        self.at: dict[str, float] = {}
        self._farm = farm
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        try:
            for event in self._farm.events():
                if event["kind"] == "RunEnded":
                    self.at.setdefault(event["run_id"], time.monotonic())
        except (OSError, http.client.HTTPException):
            return  # the daemon ends before its listeners do

    def wait(self, run_id: str) -> float:
        deadline = time.monotonic() + WATCH_S
        while run_id not in self.at:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the end of {run_id} is not in the record")
            time.sleep(0.0005)
        return self.at[run_id]


def _record(tries: int) -> dict[str, list[float]]:
    """Milliseconds until the run's failure is on the disk and told to who listens."""
    waits: dict[str, list[float]] = {upset: [] for upset in UPSETS}
    kinds = [upset for upset in UPSETS for _ in range(tries)]
    with HallProcess("strict", len(kinds), "--move-scale", "1") as hall, Farm(hall.ports) as farm:
        all_print(farm, even(MOVES, MOVE_S), farm.names)
        runs = {each["name"]: each["run"]["id"] for each in farm.machines()}
        ends = _Ends(farm)
        time.sleep(1.0)
        for index, upset in enumerate(kinds):
            at = _upset(hall, index, upset)
            waits[upset].append((ends.wait(runs[farm.names[index]]) - at) * 1e3)
    return waits


def _rival(rival: Rival) -> dict[str, Figure]:
    """Milliseconds until it says that the print is over, for each upset; and what was executed again."""
    shown: dict[str, Figure] = {}
    again = 0
    data = even(MOVES, MOVE_S)
    for upset in UPSETS:
        with HallProcess("strict", 1, "--move-scale", "1") as hall, TemporaryDirectory() as folder:
            file = Path(folder) / "bench.gcode"
            file.write_bytes(data)
            at, before = 0.0, 0

            def disturb(hall: HallProcess = hall, upset: str = upset) -> None:
                nonlocal at, before
                deadline = time.monotonic() + WATCH_S
                while hall.ask("total")["moves"] < 100 and time.monotonic() < deadline:
                    time.sleep(0.05)
                at = _upset(hall, 0, upset)
                before = hall.ask("stat")[0]["executed"]

            disturbing = threading.Thread(target=disturb)
            disturbing.start()
            tale = rival.print(hall.ports[0], file, WATCH_S)
            disturbing.join()
            shown[upset] = (tale.ended_at - at) * 1e3 if tale.how == "failed" else f"never in {WATCH_S:.0f} s"
            wanted = set(commands_of(data))
            [record] = hall.records(Path(folder) / "records")
            again += sum(command in wanted for command in record[before:])
    shown["again"] = float(again)
    return shown
