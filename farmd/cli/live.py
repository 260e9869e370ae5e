"""The live view: one look at the farm, drawn from plain views into exactly the room there is.

`render` is pure. `farmctl top` feeds it from the API and `farmd demo` from inside the daemon; both
show it through `screen.Screen`. Machines keep their places on the screen from frame to frame.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from farmd.cli.cells import job_row, machine_cell, machine_chip, meter, pad, step_row, task_row
from farmd.cli.state import machine_word
from farmd.cli.text import plain

View = Mapping[str, Any]

CELL_WIDTH, WIDEST_CELL, CHIP_WIDTH = 36, 84, 15
SIDE_BY_SIDE = 98
"""From this width on, the queue and the walk list stand beside each other."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What the API answers at one moment: `/farm`, and the lists of `/machines`, `/jobs` (open ones),
    `/next` and the answer of `/throughput` since midnight. `notice` is told in red, in place of the farm's policy."""

    farm: View
    machines: Sequence[View]
    jobs: Sequence[View]
    tasks: Sequence[View]
    throughput: View
    notice: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def picture(self, width: int, height: int) -> RenderableType:
        return render(self, width, height)


def render(frame: Frame, width: int, height: int) -> RenderableType:
    """The frame in exactly `height` lines of at most `width` columns."""
    now = datetime.fromisoformat(frame.farm["now"]).astimezone()
    room = max(0, height - 2)
    beside = width >= SIDE_BY_SIDE
    machines = _machines(frame, now, width, room, least_below=4 if beside else 6)
    below = room - len(machines)
    if beside:
        half = (width - 2) // 2
        left = _queue(frame, now, half, below)
        right = _walk(frame, now, width - half - 2, below)
        rest = [pad(a, half) + Text("  ") + b for a, b in zip(left, right, strict=True)]
    else:
        wanted = len(_walk_rows(frame, now, width)) + 1
        for_walk = min(wanted, max(below - len(frame.jobs) - 1, math.ceil(below / 2)))
        rest = [*_walk(frame, now, width, for_walk), *_queue(frame, now, width, below - for_walk)]
    lines = [_head(frame, now, width), *machines, *rest, _foot(frame, width)]
    for line in lines:
        line.no_wrap = True
        line.truncate(width, overflow="ellipsis")
    return Group(*lines[:height])


def _head(frame: Frame, now: datetime, width: int) -> Text:
    farm = frame.farm
    words = [machine_word(machine, now)[0] for machine in frame.machines]
    line = Text(f" {plain(farm['name'])} ", "bold reverse")
    line.append(f"  {now:%H:%M:%S}" if width >= SIDE_BY_SIDE else f"  {now:%H:%M}", "bold not reverse")
    if farm["speed"] != 1:
        line.append(f" ×{farm['speed']:g}", "cyan not bold not reverse")
    if frame.notice:
        return line.append(f"  {frame.notice}", "bold red not reverse")
    line.append(f"  {words.count('making')}/{len(words)} making", "not bold not reverse")
    for word, style in (("to clear", "yellow"), ("unsure", "bold red"), ("fault", "red"), ("offline", "red")):
        if count := words.count(word):
            line.append(" · ", "dim not bold not reverse").append(f"{count} {word}", f"not reverse {style}")
    if farm["planner_failures"]:
        line.append(f" · planner failed {farm['planner_failures']} times", "red not reverse")
    right = Text(f"policy {farm['policy']} " if farm["policy"] else "", "dim")
    gap = width - line.cell_len - right.cell_len
    return line + Text(" " * gap) + right if gap > 0 else line


def _title(name: str, note: str, width: int) -> Text:
    line = Text("── ", "dim").append(name, "bold not dim")
    line.append(f" {note} " if note else " ", "not bold not dim")
    return line.append("─" * max(0, width - line.cell_len), "dim not bold")


def _machines(frame: Frame, now: datetime, width: int, room: int, *, least_below: int) -> list[Text]:
    """All machines, in columns of cells where there is room for that, else of chips."""
    machines = frame.machines
    most = max(1, min(room - least_below, math.floor(room * 0.66)) - 1)
    names = max((len(plain(machine["name"])) for machine in machines), default=0)
    fewest, widest = max(1, math.ceil(width / WIDEST_CELL)), max(1, width // CELL_WIDTH)
    columns = next((n for n in range(fewest, widest + 1) if math.ceil(len(machines) / n) <= most), None)
    if columns is not None:
        cell = (width - 2 * (columns - 1)) // columns
        drawn = [machine_cell(machine, now, cell, min(names, 14)) for machine in machines]
    else:
        chip = max(CHIP_WIDTH, min(names, 12) + 9)
        columns = max(1, (width + 2) // (chip + 2))
        cell = (width - 2 * (columns - 1)) // columns
        drawn = [machine_chip(machine, now, cell, min(names, 12)) for machine in machines]
    rows = math.ceil(len(drawn) / columns)
    hidden = len(drawn) - columns * most
    if hidden > 0:
        rows = most
        drawn = [*drawn[: columns * most - 1], pad(Text(f"and {hidden + 1} more", "dim"), cell)]
    title = _title("Machines", "", width)
    return [title, *(Text("  ").join(drawn[row::rows]) for row in range(rows))]


def _queue(frame: Frame, now: datetime, width: int, height: int) -> list[Text]:
    """The open jobs, late ones first, then by due date; where lines are left of `height`, what starts next."""
    jobs = sorted(frame.jobs, key=lambda job: (not job["late"], job["due_at"] or "~", -job["priority"]))
    late = sum(bool(job["late"]) for job in jobs)
    note = f"{len(jobs)} open" + (f", {late} late" if late else "")
    title = _title("Queue", note, width)
    steps = [machine["next"] for machine in frame.machines if machine["next"]]
    left = height - len(jobs) - 1
    if left < 3 or not steps:
        return _block(title, [job_row(job, now, width) for job in jobs], height)
    steps.sort(key=lambda step: (step["start_at"], step["machine"]))
    return [
        *_block(title, [job_row(job, now, width) for job in jobs], len(jobs) + 1),
        *_block(
            _title("Plan", f"{len(steps)} next", width), [step_row(step, now, width) for step in steps], left
        ),
    ]


def _walk(frame: Frame, now: datetime, width: int, height: int) -> list[Text]:
    title = _title("To do", str(len(frame.tasks)) if frame.tasks else "nothing", width)
    return _block(title, _walk_rows(frame, now, width), height)


def _walk_rows(frame: Frame, now: datetime, width: int) -> list[Text]:
    """What people should do, then what machines say that a person should know."""
    names = max((len(plain(task["machine"])) for task in frame.tasks), default=0)
    rows = [task_row(task, now, width, min(names, 14)) for task in frame.tasks]
    for machine in frame.machines:
        for what in machine["attention"].values():
            rows.append(Text(f"{'look':>9} {plain(machine['name'])} {plain(what)}", "dim"))
    return rows


def _block(title: Text, rows: list[Text], height: int) -> list[Text]:
    if height <= 0:
        return []
    lines = [title, *rows][:height]
    return lines + [Text() for _ in range(height - len(lines))]


def _foot(frame: Frame, width: int) -> Text:
    """What was made today, and how that compares with the target."""
    total, pace, target = (
        frame.throughput["total"],
        frame.throughput["annualised_good"],
        frame.throughput["target"],
    )
    line = Text(f" today {total['good']:,} good", "bold")
    made = total["good"] + total["scrap"]
    if total["scrap"]:
        line.append(f", {total['scrap']:,} scrap ({total['good'] / made:.1%} good)", "not bold")
    line.append(f" · pace {_short(pace)} a year", "not bold")
    if target:
        line.append(f" of {_short(target)} ", "not bold")
        line.append_text(
            meter(pace / target, max(6, min(20, width // 8)), "green" if pace >= target else "yellow")
        )
        line.append(f" {pace / target:.0%}", "not bold")
    hint = Text("q ends ", "dim")
    gap = width - line.cell_len - hint.cell_len
    return line + Text(" " * gap) + hint if gap > 0 else line


def _short(number: float) -> str:
    """`1.02 M`, `312 k`, `940`."""
    if number >= 999_500:
        return f"{number / 1e6:.3g} M"
    return f"{number / 1e3:.3g} k" if number >= 10_000 else f"{number:,.0f}"
