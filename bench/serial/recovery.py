"""How long a machine waits for its next line after an ok or a line was lost, and that nobody asks in vain."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.serial.files import commands_of, even, is_exact, sliced
from bench.serial.hall import HallProcess
from bench.serial.host import order, print_on, served
from bench.serial.report import Figure, Row, median
from bench.serial.rivals import Rival

LIMIT_S = 60.0
SLOW_MOVE_S = 3.0
SLOW_S = 20.0
"""How long slow moves are watched: the planner takes 16 at once, and then one every 3 s."""


def lost(found: Sequence[Rival], *, quick: bool) -> list[Row]:
    """One loss in each print: at many points of ours, at one of the rivals'."""
    points = 6 if quick else 20
    waits: list[float] = []
    exact = True
    for data, scale, first, step in ((even(420, 0.01), "1", 20, 19), (sliced(4_000), "0", 50, 190)):
        losses = [f"{what}:{first + step * n}" for what in ("ok", "line") for n in range(points)]
        options = ("--move-scale", scale, "--lose", *losses)
        wanted = commands_of(data)
        with HallProcess("strict", len(losses), *options) as hall, TemporaryDirectory() as folder:
            printed = asyncio.run(print_on(hall.ports, data, LIMIT_S))
            stats = hall.ask("stat")
            records = hall.records(Path(folder))
        waits += [stat["back_at"] - stat["lost_at"] for stat in stats]
        exact &= printed.outcomes == ("ok",) and all(is_exact(record, wanted) for record in records)
    others = {} if quick else theirs(found)
    also = {"points": len(waits), "waits_s": sorted(waits)}
    return [
        Row(
            "wait after a lost ok or line, median",
            median(waits) if exact else "NOT EXACT",
            "s",
            1.2,
            rivals=others,
            also=also,
        ),
        Row(
            "wait after a lost ok or line, longest",
            max(waits) if exact else "NOT EXACT",
            "s",
            2.5,
            rivals=others,
        ),
    ]


def theirs(found: Sequence[Rival]) -> dict[str, Figure]:
    """The longer wait of each rival, of one lost ok and one lost line."""

    def one(rival: Rival, loss: str) -> float | None:
        data = sliced(2_000)
        with HallProcess("strict", 1, "--lose", f"{loss}:200") as hall, TemporaryDirectory() as folder:
            file = Path(folder) / "bench.gcode"
            file.write_bytes(data)
            rival.print(hall.ports[0], file, LIMIT_S)
            [stat] = hall.ask("stat")
        return None if stat["back_at"] is None else stat["back_at"] - stat["lost_at"]

    tries = [(rival, loss) for rival in found for loss in ("ok", "line")]
    with ThreadPoolExecutor(len(tries) or 1) as pool:
        waits = list(pool.map(lambda each: one(*each), tries))
    shown: dict[str, Figure] = {}
    for rival in found:
        own = [wait for (whose, _), wait in zip(tries, waits, strict=True) if whose is rival]
        known = [wait for wait in own if wait is not None]
        shown[rival.name] = max(known) if len(known) == len(own) else f"never in {LIMIT_S:.0f} s"
    return shown


def slow_moves(*, quick: bool) -> list[Row]:
    """Lines sent in vain while slow moves explain the silence, with and without `busy` messages."""
    asked = asyncio.run(_slow(5.0 if quick else SLOW_S))
    return [Row("lines sent twice in a clean print of slow moves", float(asked), "", 0.0)]


async def _slow(seconds: float) -> int:
    data = even(60, SLOW_MOVE_S)
    with (
        HallProcess("strict", 2, "--move-scale", "1") as busy,
        HallProcess("strict", 2, "--move-scale", "1", "--no-keepalive") as silent,
    ):
        async with served([*busy.ports, *silent.ports]) as drivers:
            for each in drivers:
                await each.driver.start(order(data))
            await asyncio.sleep(seconds)
            return sum(stat["resends"] for hall in (busy, silent) for stat in hall.ask("stat"))
