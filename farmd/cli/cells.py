"""The small pieces of the live view: a machine as a cell or a chip, a job's row, a task's row, a bar.

Pure, from the API's views; each gives one line of a stated width.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rich.text import Text

from farmd.cli.state import fraction, machine_note, machine_word, step_thing, task_what, things
from farmd.cli.tables import TASK_STYLE
from farmd.cli.text import clock, plain, span

View = Mapping[str, Any]

ROOMY = 60
"""From this width on, a cell also tells what is loaded and what comes next."""
_WORD = 9


def pad(text: Text, width: int) -> Text:
    """The text in exactly this many columns."""
    fitted = text.copy()
    fitted.truncate(width, overflow="ellipsis", pad=True)
    return fitted


def meter(share: float | None, width: int, style: str) -> Text:
    """A bar, filled by a share of 0 to 1; empty for None."""
    filled = round(min(1.0, max(0.0, share or 0.0)) * width)
    return Text("━" * filled, style) + Text("─" * (width - filled), "bright_black")


def machine_cell(machine: View, now: datetime, width: int, name_width: int) -> Text:
    """`mk4-03  ━━━━━━━━━  63% J-12 ×4  2h05`; what waits, in words."""
    word, style = machine_word(machine, now)
    line = pad(Text(plain(machine["name"]), "bold"), name_width) + Text(" ")
    rest = width - line.cell_len
    if word in ("making", "paused", "starting"):
        return pad(line + _running(machine, now, rest, word, style), width)
    line += pad(Text(word, style), _WORD)
    note = Text(machine_note(machine, now), "dim")
    if width >= ROOMY:
        loaded = Text(plain(machine["material"] or ""), "cyan")
        room = width - line.cell_len - min(loaded.cell_len, 16) - 1
        return pad(pad(line + pad(note, room), width - min(loaded.cell_len, 16)) + loaded, width)
    return pad(line + note, width)


def _running(machine: View, now: datetime, width: int, word: str, style: str) -> Text:
    run = machine["run"]
    done = fraction(machine, now)
    left = _left(run["expected_end_at"], now)
    share = f"{done:4.0%} " if done is not None else "     "
    bar_width = max(6, min(24, width // 3))
    bar = meter(done, bar_width, style) if word != "starting" else pad(Text(word, style), bar_width)
    line = bar + Text(share, "bold" if word == "making" else style)
    tail = Text(f" {left:>5}", "dim")
    what = Text(things(run["items"]))
    if width >= ROOMY - 10:
        following = machine["next"]
        if following:
            what.append(f" then {step_thing(following)}", "dim")
        if machine["material"]:
            tail = Text(" ") + Text(plain(machine["material"])[:16], "cyan") + tail
    return line + pad(what, max(0, width - line.cell_len - tail.cell_len)) + tail


def _left(iso: str | None, now: datetime) -> str:
    """Time left in five columns: `12m`, `2h05`, `3d04`."""
    if iso is None:
        return ""
    minutes = max(0, round((datetime.fromisoformat(iso) - now).total_seconds() / 60))
    if minutes < 60:
        return f"{minutes}m"
    if minutes < 24 * 60:
        return f"{minutes // 60}h{minutes % 60:02}"
    hours = round(minutes / 60)
    return f"{hours // 24}d{hours % 24:02}"


_SHORT = {"to clear": "clear", "starting": "start"}


def machine_chip(machine: View, now: datetime, width: int, name_width: int) -> Text:
    """`mk4-03  63%` or `mk4-03 fault`, for farms of hundreds."""
    word, style = machine_word(machine, now)
    done = fraction(machine, now) if word == "making" else None
    waits = Text(_SHORT.get(word, word), style)
    shown = waits if done is None else meter(done, 3, style) + Text(f"{done:4.0%}")
    return pad(pad(Text(plain(machine["name"])), name_width) + Text(" ") + shown, width)


def job_row(job: View, now: datetime, width: int) -> Text:
    """`J-12   bracket-lh@B  ends 14:05  ━━━──── 12/40  due Tue 14:05`; the bar and the end where there is room."""
    roomy = width >= ROOMY
    due = clock(job["due_at"], now) if job["due_at"] else ""
    if roomy and due:
        due = f"{'late, ' if job['late'] else ''}due {due}"
    tail = Text(f" {job['good']}/{job['quantity']}".rjust(10))
    tail += Text("  ") + pad(Text(due, "red" if job["late"] else "dim"), 20 if roomy else 12)
    if roomy:
        tail = Text(" ") + meter(job["good"] / job["quantity"], min(16, width // 8), "green") + tail
        if job["planned_end_at"]:
            tail = Text(f" ends {clock(job['planned_end_at'], now):<9}", "dim") + tail
    head = Text(f"{plain(job['id']):<6} ", "bold")
    name = Text(plain(job["design"]), "" if job["running"] else "dim")
    if job["state"] == "held":
        name = Text(f"held  {plain(job['design'])}", "magenta")
    return head + pad(name, max(4, width - head.cell_len - tail.cell_len)) + tail


def step_row(step: View, now: datetime, width: int) -> Text:
    """`14:00 mk4-03  J-12 until 16:30, a person from 13:50`, of the plan."""
    line = Text(f"{clock(step['start_at'], now):>9} ", "dim")
    line.append(plain(step["machine"]), "bold not dim")
    line.append(f"  {step_thing(step)}", "not bold not dim")
    line.append(f" until {clock(step['end_at'], now)}", "not bold dim")
    if step["operator_at"] and width >= ROOMY:
        line.append(f", a person from {clock(step['operator_at'], now)}", "not bold dim")
    return pad(line, width)


def task_row(task: View, now: datetime, width: int, name_width: int) -> Text:
    """`14:05 mk4-03  clear   take R-… off`, and for how long it has been due where there is room."""
    line = Text(f"{clock(task['at'], now):>9} ", "dim")
    line += pad(Text(plain(task["machine"]), "bold"), name_width)
    line += Text(f" {task['kind']:<7} ", TASK_STYLE.get(task["kind"], ""))
    overdue = (now - datetime.fromisoformat(task["at"])).total_seconds() if task["at"] else 0.0
    tail = Text(f" {span(overdue)}", "dim") if overdue >= 600 and width >= ROOMY else Text()
    return line + pad(Text(task_what(task)), max(0, width - line.cell_len - tail.cell_len)) + tail
