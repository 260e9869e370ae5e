"""What state a job, a run or a machine is in, in one word and one sentence, with its colour.

Pure, from the API's views. Tables, pages and the live view all say it as it is said here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.text import Text

from farmd.cli.text import clock, plain

View = Mapping[str, Any]

_JOB_STYLE = {"open": "", "held": "magenta", "done": "green", "cancelled": "dim"}
_RUN_STYLE = {"ok": "green", "failed": "red", "uncertain": "bold red", "paused": "yellow"}


def job_word(job: View) -> Text:
    """The job's state; an open one is `making` while something of it runs."""
    if job["state"] == "open" and job["running"]:
        return Text("making", "blue")
    return Text(job["state"], _JOB_STYLE.get(job["state"], ""))


def run_style(run: View) -> str:
    return _RUN_STYLE.get(run["outcome"] or run["state"], "")


def machine_word(machine: View, now: datetime) -> tuple[str, str]:
    """One word for what a machine does or waits for, and its style."""
    run, state = machine["run"], machine["state"]
    if run is not None and run["state"] == "uncertain":
        return "unsure", "bold red"
    if state == "fault":
        return "fault", "bold red"
    if state == "offline":
        return "offline", "red"
    if state == "foreign":
        return "foreign", "magenta"
    if run is not None:
        words = {"running": ("making", "blue"), "paused": ("paused", "yellow")}
        return words.get(run["state"], ("starting", "cyan"))
    if machine["held"] is not None:
        return "held", "magenta"
    if machine["ready_at"] is not None and datetime.fromisoformat(machine["ready_at"]) > now:
        return "cooling", "cyan"
    if machine["permit"] is None or machine["uncleared_run"] is not None:
        return "to clear", "yellow"
    return "ready", "green"


def machine_note(machine: View, now: datetime) -> str:
    """What goes with the word: how far, until when, or what is in the way."""
    word = machine_word(machine, now)[0]
    run, waits = machine["run"], machine["waits_for"]
    if word in ("making", "paused", "starting"):
        done = fraction(machine, now)
        told = [things(run["items"])] + ([] if done is None else [f"{done:.0%}"])
        told.append(f"ends {clock(run['expected_end_at'], now)}")
        return ", ".join(told + (["then held"] if machine["held"] is not None else []))
    if word == "cooling":
        return f"may be opened {clock(machine['ready_at'], now)}"
    if word == "ready":
        step = machine["next"]
        return f"next {step_thing(step)} {clock(step['start_at'], now)}" if step else "nothing planned"
    if word == "held":
        return plain(machine["held"]) or "by a person"
    return plain(waits["what"]) if waits else ""


def step_thing(step: View) -> str:
    """What a step of the plan makes."""
    return plain(step["work"]) if step["work"] else things(step["items"])


def things(items: Sequence[Sequence[Any]]) -> str:
    """Parts by job, `[["J-1", 4], ["J-2", 1]]`, as `J-1 ×4, J-2`."""
    return ", ".join(plain(job) if parts == 1 else f"{plain(job)} ×{parts}" for job, parts in items)


def task_what(task: View) -> str:
    """What to do, without the word that the task's kind says already."""
    return plain(task["what"]).removeprefix(f"{task['kind']} ")


def nozzle(nozzle_mm: float | None) -> str:
    return "" if nozzle_mm is None else f"{nozzle_mm:g} mm"


def fraction(machine: View, now: datetime) -> float | None:
    """How far the run is: as the machine tells, else by the time it should take."""
    told: float | None = machine["fraction"]
    run = machine["run"]
    if told is not None or run is None:
        return told
    if run["started_at"] is None or run["expected_end_at"] is None:
        return None
    began = datetime.fromisoformat(run["started_at"])
    length = (datetime.fromisoformat(run["expected_end_at"]) - began).total_seconds()
    return min(1.0, max(0.0, (now - began).total_seconds() / length)) if length > 0 else None
