"""The API's views as tables that fit the width of a terminal.

Pure: views and `now` in, rich renderables out. Names and ids are never cut; where there is no room,
designs and files lose their ends and sentences are folded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from farmd.cli.state import job_word, machine_note, machine_word, nozzle, run_style, task_what, things
from farmd.cli.text import NOTHING, clock, plain, span

View = Mapping[str, Any]
Cell = str | Text | None


def grid(headings: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Table:
    """A table without lines. A heading `~X` is of a column whose cells may lose their ends, `=X` of one
    that folds; `>X` is of numbers; all other columns keep their width."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in headings:
        kind, name = (heading[0], heading[1:]) if heading[0] in "~=>" else ("", heading)
        justify: Any = "right" if kind == ">" else "left"
        overflow: Any = "ellipsis" if kind == "~" else "fold"
        table.add_column(name, no_wrap=kind not in ("~", "="), justify=justify, overflow=overflow)
    for row in rows:
        cells = []
        for heading, cell in zip(headings, row, strict=True):
            text = cell if isinstance(cell, Text) else Text(plain(NOTHING if cell in (None, "") else cell))
            if heading.startswith("~"):
                text.no_wrap, text.overflow = True, "ellipsis"
            cells.append(text)
        table.add_row(*cells)
    return table


def lines(pairs: Iterable[tuple[str, Cell]]) -> Table:
    """Names and values, one a line; those without a value are left out."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in pairs:
        if value not in (None, "", NOTHING):
            table.add_row(name, value if isinstance(value, Text) else Text(plain(value)))
    return table


def jobs_table(jobs: Iterable[View], now: datetime) -> Table:
    return grid(
        ("Job", "~Design", ">Good", "State", "~Material", ">Prio", "Due", "Ends"),
        (
            (
                job["id"],
                job["design"],
                f"{job['good']}/{job['quantity']}",
                job_word(job),
                job["material"],
                f"{job['priority']:g}",
                Text(clock(job["due_at"], now), "red" if job["late"] else ""),
                clock(job["closed_at"] or job["planned_end_at"], now),
            )
            for job in jobs
        ),
    )


def machines_table(machines: Iterable[View], now: datetime) -> Table:
    rows = []
    for machine in machines:
        word, style = machine_word(machine, now)
        loaded = " ".join(filter(None, (machine["material"], nozzle(machine["nozzle_mm"]))))
        rows.append(
            (machine["name"], machine["group"], Text(word, style), machine_note(machine, now), loaded)
        )
    return grid(("Machine", "~Group", "State", "=What", "~Loaded"), rows)


def runs_table(runs: Iterable[View], now: datetime, *, machine: bool = True) -> Table:
    """Runs, with their machines or, on a machine's own page, with what they make."""
    rows = []
    for run in runs:
        outcome = run["outcome"] or run["state"]
        about = run["machine"] if machine else things(run["items"])
        ended = clock(run["ended_at"] or run["expected_end_at"], now)
        began = clock(run["started_at"] or run["intent_at"], now)
        rows.append((run["id"], about, Text(outcome, run_style(run)), began, ended, run["reason"]))
    return grid(("Run", "Machine" if machine else "=Makes", "State", "Began", "Ends", "=Reason"), rows)


def plan_table(steps: Iterable[View], now: datetime) -> Table:
    return grid(
        ("Machine", "=Work", "Person at", "Start", "End", ">Takes"),
        (
            (
                step["machine"],
                step["work"] or things(step["items"]),
                clock(step["operator_at"], now),
                clock(step["start_at"], now),
                clock(step["end_at"], now),
                span(_seconds(step["start_at"], step["end_at"])),
            )
            for step in steps
        ),
    )


def walk_table(tasks: Sequence[View], now: datetime) -> Table:
    """What to do, each with the command that tells farmd of it on a line of its own."""
    rows: list[Sequence[Cell]] = []
    for number, task in enumerate(tasks, start=1):
        what = Text(task_what(task))
        what.append(f"\n{plain(task['command'])}", "cyan")
        kind = Text(task["kind"], TASK_STYLE.get(task["kind"], ""))
        rows.append((str(number), clock(task["at"], now), task["machine"], kind, what))
    return grid((">#", "When", "Machine", "Do", "=What, and the command to type"), rows)


TASK_STYLE = {
    "resolve": "bold red",
    "fault": "red",
    "clear": "yellow",
    "load": "cyan",
    "link": "magenta",
    "noise": "magenta",
    "held": "dim",
}


def why_table(machines: Iterable[View], now: datetime) -> Table:
    return grid(
        ("Machine", ">Would end", "Rule", "=What is in the way", "=What frees it"),
        (
            (
                each["machine"],
                clock(each["end_at"], now),
                Text(each["rule"], "green" if each["rule"] == "planned" else ""),
                each["what"],
                each["remedy"],
            )
            for each in machines
        ),
    )


def tokens_table(tokens: Iterable[View]) -> Table:
    names = ("name", "role", "state", "added_at", "expires_at")
    rows = ([token[name] for name in names] for token in tokens)
    return grid(("Name", "Role", "State", "Added", "Ends"), rows)


def throughput_table(answer: View) -> Table:
    span_s = _seconds(answer["since"], answer["until"])
    rows = [_throughput_row(row["key"], row, span_s, answer["by"]) for row in answer["rows"]]
    total = [Text(cell, "bold") for cell in _throughput_row("total", answer["total"], span_s, "")]
    headings = (f"~{answer['by'].capitalize()}", ">Good", ">Scrap", ">Yield", ">Runs", ">Failed", ">Busy")
    return grid(headings, [*rows, total])


def _throughput_row(key: str, row: View, span_s: float | None, by: str) -> list[str]:
    made = row["good"] + row["scrap"]
    busy = span(row["busy_s"])
    if by == "machine" and span_s:
        busy = f"{row['busy_s'] / span_s:.0%}"
    return [
        plain(key),
        f"{row['good']:,}",
        f"{row['scrap']:,}",
        f"{row['good'] / made:.1%}" if made else NOTHING,
        f"{row['runs_ok'] + row['runs_failed'] + row['runs_cancelled']:,}",
        f"{row['runs_failed']:,}",
        busy,
    ]


def _seconds(start: str | None, end: str | None) -> float | None:
    if start is None or end is None:
        return None
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
