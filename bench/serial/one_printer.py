"""One printer at full rate, the rivals on the same machine: cost and speed of a line, and what damage costs."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.serial.files import commands_of, even, is_exact, sliced
from bench.serial.hall import HallProcess
from bench.serial.host import print_on
from bench.serial.report import Figure, Row, median
from bench.serial.rivals import Rival

RIVALS_ADD = re.compile(rb"M110 N-?\d+|M105|M115|M21|M155 S\d+|M113 S\d+|M400|M117.*")
MOVE_S = 0.01
"""A hundred moves a second, more than sliced files ask for on average."""
LIMIT_S = 100.0


@dataclass(frozen=True, slots=True)
class Shown:
    """Of one print. `is_exact`: by the machine's record all was executed as in the file; `has_ended`: to its end."""

    lines_per_s: float
    us_per_line: float
    is_exact: bool
    resends: int
    has_ended: bool = True


def ours(data: bytes, *options: str) -> Shown:
    """The driver prints the file on a strict machine."""
    wanted = commands_of(data)
    with HallProcess("strict", 1, *options) as hall, TemporaryDirectory() as folder:
        printed = asyncio.run(print_on(hall.ports, data, LIMIT_S))
        [stat] = hall.ask("stat")
        [record] = hall.records(Path(folder))
    exact = printed.outcomes == ("ok",) and is_exact(record, wanted)
    count = len(wanted)
    return Shown(count / printed.seconds, printed.cpu_s / count * 1e6, exact, stat["resends"])


def theirs(rival: Rival, data: bytes, *options: str, limit_s: float = LIMIT_S) -> Shown:
    """The rival prints the file on a strict machine, or gives up or is stopped in the midst of it."""
    wanted = commands_of(data)
    with HallProcess("strict", 1, *options) as hall, TemporaryDirectory() as folder:
        file = Path(folder) / "bench.gcode"
        file.write_bytes(data)
        tale = rival.print(hall.ports[0], file, limit_s)
        [stat] = hall.ask("stat")
        [record] = hall.records(Path(folder) / "records")
    left = [command for command in record if not RIVALS_ADD.fullmatch(command)]
    ended = tale.how == "done"
    whole = [each for each in wanted if not RIVALS_ADD.fullmatch(each)]
    exact = left == (whole if ended else whole[: len(left)])
    done = max(1, stat["moves"])
    return Shown(done / tale.seconds, tale.cpu_s / done * 1e6, exact, stat["resends"], ended)


def cost(found: Sequence[Rival], *, quick: bool) -> list[Row]:
    """CPU per line and lines a second, at full rate."""
    data = sliced(10_000 if quick else 50_000)
    shown = [ours(data) for _ in range(1 if quick else 3)]
    less = sliced(3_000 if quick else 20_000)
    others = {rival.name: theirs(rival, less) for rival in found}
    wrong = [name for name, other in others.items() if not (other.is_exact and other.has_ended)]
    return [
        Row(
            "CPU per line, one printer at full rate",
            median([each.us_per_line for each in shown]),
            "us",
            20.0,
            rivals={name: other.us_per_line for name, other in others.items()},
            also={"all": [each.us_per_line for each in shown], "not_exact": wrong},
        ),
        Row(
            "lines a second, one at a time, one printer",
            median([each.lines_per_s for each in shown]),
            "/s",
            9_000.0,
            more_is_better=True,
            rivals={name: other.lines_per_s for name, other in others.items()},
            also={"all": [each.lines_per_s for each in shown]},
        ),
        Row(
            "of it executed exactly as in the file",
            "yes" if all(each.is_exact for each in shown) else "no",
            goal="yes",
        ),
    ]


SHARES = (0.001, 0.05)


def damage(found: Sequence[Rival], *, quick: bool) -> list[Row]:
    """Speed with damaged lines over that without: at 100 moves a second, and, of ours alone, at full rate."""
    moves = 1_000 if quick else 3_000
    data, limit_s = even(moves, MOVE_S), 30.0 + 2 * moves * MOVE_S
    hosts = [ours, *(partial(theirs, rival, limit_s=limit_s) for rival in found)]
    tries = [(host, share) for host in hosts for share in (0.0, *SHARES)]
    # All at once: at this pace none of them needs more than a little of a core.
    with ThreadPoolExecutor(len(tries)) as pool:
        shown = list(pool.map(lambda each: each[0](data, "--move-scale", "1", *_damaged(each[1])), tries))
    own, *others = (shown[at : at + 1 + len(SHARES)] for at in range(0, len(shown), 1 + len(SHARES)))
    rivals = [{rival.name: _speed(of, at) for rival, of in zip(found, others, strict=True)} for at in (1, 2)]
    full = sliced(3_000 if quick else 20_000)
    fast = [ours(full, *_damaged(share)) for share in (0.0, *SHARES)]
    return [
        *(
            Row(
                f"speed with {share:.1%} of the lines damaged, at 100 moves/s",
                _speed(own, at),
                "%",
                goal,
                more_is_better=True,
                rivals=rivals[at - 1],
                also={"resends": own[at].resends},
            )
            for at, share, goal in ((1, SHARES[0], 99.0), (2, SHARES[1], 80.0))
        ),
        *(
            Row(
                f"speed with {share:.1%} of the lines damaged, at full rate",
                _speed(fast, at),
                "%",
                more_is_better=True,
                also={"resends": fast[at].resends, "clean_lines_per_s": fast[0].lines_per_s},
            )
            for at, share in ((1, SHARES[0]), (2, SHARES[1]))
        ),
    ]


def _damaged(share: float) -> tuple[str, ...]:
    return ("--damaged", str(share)) if share else ()


def _speed(shown: Sequence[Shown], at: int) -> Figure:
    """Of a damaged print, in percent of the first, which is clean; in words where it was not exact or not ended."""
    if not shown[at].is_exact:
        return "not exact"
    percent = 100 * shown[at].lines_per_s / shown[0].lines_per_s
    return percent if shown[at].has_ended else f"{percent:.2g} % till stopped"
