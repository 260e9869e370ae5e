"""One job, one machine, one answer, one event: the API's views in full, as text.

Pure: views and `now` in, rich renderables out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from farmd.cli.state import job_word, machine_note, machine_word, nozzle, step_thing, things
from farmd.cli.tables import lines, plan_table, runs_table, why_table
from farmd.cli.text import clock, plain, span

View = Mapping[str, Any]


def job_line(job: View, now: datetime) -> Text:
    """A job in one line, after something was done to it."""
    line = Text(f"{job['id']} ", "bold").append_text(job_word(job))
    line.append(f": {job['good']} of {job['quantity']} good of {plain(job['design'])}", "not bold")
    if job["due_at"]:
        line.append(f", due {clock(job['due_at'], now)}", "not bold")
    if job["planned_end_at"]:
        line.append(f", ends {clock(job['planned_end_at'], now)}", "not bold")
    if job["late"]:
        line.append(", late", "red")
    return line


def job_page(job: View, now: datetime) -> RenderableType:
    plates = f", {job['parts_per_plate']} on a plate" if job["parts_per_plate"] > 1 else ""
    counts = [f"{job['good']} good"]
    counts += [f"{job[key]} {key.replace('_', ' ')}" for key in ("scrap", "surplus", "in_work") if job[key]]
    counts.append(f"{job['missing']} to be started")
    facts = lines(
        (
            ("file", _file(job["file"])),
            ("wanted", f"{job['quantity']} good parts{plates}"),
            ("so far", ", ".join(counts)),
            ("due", Text(clock(job["due_at"], now), "red" if job["late"] else "")),
            ("ended" if job["closed_at"] else "ends", clock(job["closed_at"] or job["planned_end_at"], now)),
            ("material", " ".join(filter(None, (job["material"], nozzle(job["nozzle_mm"]))))),
            ("machines", job["group"]),
            ("route", " → ".join(job["route"])),
            ("takes", _takes(job)),
            ("priority", f"{job['priority']:g}"),
            ("owner", job["owner"]),
            ("submitted", clock(job["submitted_at"], now)),
        )
    )
    parts: list[RenderableType] = [
        Text(f"{job['id']}  {plain(job['design'])}  ", "bold") + job_word(job),
        facts,
    ]
    if job["runs"]:
        parts += [Text(), runs_table(job["runs"], now)]
    return Group(*parts)


def _file(file: View | None) -> str:
    return f"{file['name']}, {file['size_bytes'] / 1e6:.1f} MB" if file else ""


def _takes(job: View) -> str:
    told = [span(job["duration_s"])] if job["duration_s"] else []
    told += [f"{job['mass_g']:.0f} g"] if job["mass_g"] else []
    return " and ".join(told) + (" a plate" if told and job["parts_per_plate"] > 1 else "")


def machine_line(machine: View, now: datetime) -> Text:
    """A machine in one line, after something was done to it."""
    word, style = machine_word(machine, now)
    note = machine_note(machine, now)
    line = Text(f"{machine['name']} ", "bold").append(word, f"not bold {style}")
    return line.append(f": {note}" if note else "", "not bold")


def machine_page(machine: View, now: datetime) -> RenderableType:
    fault, waits, step, lot = machine["fault"], machine["waits_for"], machine["next"], machine["lot"]
    loaded = [machine["material"] or "nothing", nozzle(machine["nozzle_mm"]), f"lot {lot}" if lot else ""]
    following = (
        f"{step_thing(step)}, {clock(step['start_at'], now)} to {clock(step['end_at'], now)}" if step else ""
    )
    pairs = [
        ("since", clock(machine["since"], now)),
        ("fault", f"{fault['what']}; {fault['remedy']}" if fault else None),
        ("held", machine["held"]),
        ("foreign run", machine["foreign"]),
        (
            "waits for",
            f"{waits['what']}; {waits['remedy']}" if waits and not fault and not machine["run"] else None,
        ),
        ("permit", "given" if machine["permit"] else "none"),
        ("loaded", ", ".join(filter(None, loaded))),
        ("next", following),
        ("layer", machine["layer"] and str(machine["layer"])),
        *((heater, _degrees(machine, heater)) for heater in machine["actual_c"]),
        *_link(machine["health"]),
        *(("look", what) for what in machine["attention"].values()),
        ("driver", " ".join(filter(None, (machine["driver"], machine["firmware"])))),
        ("group", machine["group"]),
        ("process", machine["process"]),
    ]
    parts: list[RenderableType] = [machine_line(machine, now), lines(pairs)]
    if machine["runs"]:
        parts += [Text(), runs_table(machine["runs"], now, machine=False)]
    return Group(*parts)


def _link(health: View | None) -> list[tuple[str, str]]:
    """How good the link is, in two lines."""
    if health is None:
        return []
    told = [f"lines {health['lines']:,}", f"resends {health['resends']}", f"time-outs {health['timeouts']}"]
    told += [f"garbled {health['garbled']}", f"{100 * health['noise']:.1f} % of the last lines damaged"]
    pace = []
    if health["turn_round_p50_s"] is not None:
        times = [health["turn_round_p50_s"], health["turn_round_p99_s"]]
        half, most = (f"{1000 * value:.1f} ms" if value is not None else "–" for value in times)
        pace.append(f"answers in {half}, 99 of 100 in {most}")
    if health["underruns"] is not None:
        pace.append(f"under-runs {health['underruns']}")
    pace += [f"sent by {health['mode']}"] if health["mode"] else []
    return [("link", ", ".join(told)), ("", ", ".join(pace))]


def _degrees(machine: View, heater: str) -> str:
    target = machine["target_c"].get(heater)
    return f"{machine['actual_c'][heater]:.0f} °C" + (f" of {target:.0f} °C" if target else "")


def why_page(answer: View, now: datetime) -> RenderableType:
    head = Text(f"{answer['job_id']} {answer['state']}: ", "bold")
    head.append(plain(answer["what"]), "not bold").append(f"; {plain(answer['remedy'])}", "not bold dim")
    parts: list[RenderableType] = [head]
    if answer["start_at"]:
        where = f" on {plain(answer['machine'])}" if answer["machine"] else ""
        start, end = clock(answer["start_at"], now), clock(answer["end_at"], now)
        parts.append(Text(f"next start {start}{where}, the last of it ends {end}"))
    for waiting in answer["waiting"]:
        parts += _waiting(waiting, now, several=len(answer["waiting"]) > 1)
    return Group(*parts, Text(), why_table(answer["machines"], now))


def _waiting(waiting: View, now: datetime, *, several: bool) -> Iterator[Text]:
    """What one thing of the job waits for; with a heading where there are several."""
    if several:
        head = f"{plain(waiting['work'])} {plain(waiting['operation'])}: {plain(waiting['what'])}"
        if waiting["start_at"]:
            head += f", {clock(waiting['start_at'], now)} to {clock(waiting['end_at'], now)}"
        yield Text(head, "bold")
    for wait in waiting["waits"]:
        yield Text(f"  until {clock(wait['until'], now)}  {plain(wait['what'])}")
    if waiting["late_s"]:
        told = f"  {span(waiting['late_s'])} late"
        if waiting["alone_end_at"]:
            told += f"; with nothing else to make it would end {clock(waiting['alone_end_at'], now)}"
        yield Text(told, "yellow")
    for each in waiting["passed"]:
        if each["more_s"] is None:
            cost = "before it there is nobody's working time"
        elif each["more_s"] > 0:
            cost = f"going before it would cost {span(each['more_s'])} of weighted delay"
        else:
            cost = f"going before it would save {span(-each['more_s'])} of weighted delay"
        yield Text(f"  behind {plain(each['work'])} (priority {each['priority']:g}): {cost}")


def plan_page(plan: View, now: datetime) -> RenderableType:
    head = Text(f"{plan['status']} plan", "bold")
    head.append(
        f" by {plan['policy'] or 'nobody yet'}, made {clock(plan['made_at'], now, seconds=True)}", "not bold"
    )
    parts: list[RenderableType] = [head]
    if plan["steps"]:
        parts.append(plan_table(plan["steps"], now))
    else:
        parts.append(Text("nothing is planned"))
    if plan["finishing"]:
        later = [{**step, "work": f"{step['work']}: {step['operation']}"} for step in plan["finishing"]]
        parts += [Text("then, at stations", "bold"), plan_table(later, now)]
    parts += [
        Text(f"not in it: {plain(job)}, {plain(reason)}", "yellow")
        for job, reason in plan["left_out"].items()
    ]
    parts += [Text(plain(reason), "red") for reason in plan["reasons"]]
    if plan["learnt"]:
        parts.append(Text(plain(plan["learnt"]), "dim"))
    return Group(*parts)


_EVENT_STYLE = {
    "RunDoubted": "bold red",
    "MachineFaulted": "red",
    "MachineLost": "red",
    "JobSubmitted": "cyan",
}
_EVENT_HEAD = ("seq", "at", "kind", "actor")


def event_line(event: View, now: datetime) -> Text:
    """`14:05:12 RunStarted machine=mk4-01 run_id=R-… by machine:mk4-01`; lists and objects as JSON."""
    line = Text(clock(event["at"], now, seconds=True), "dim")
    line.append(f"  {event['kind']}", f"not dim {_EVENT_STYLE.get(event['kind'], 'bold')}")
    for key, value in event.items():
        if key in _EVENT_HEAD or value in (None, "", [], {}):
            continue
        line.append(f" {key}=", "dim not bold").append(plain(_brief(key, value)), "not dim not bold")
    return line.append(f" by {plain(event['actor'])}", "dim not bold")


def _brief(key: str, value: Any) -> str:
    if isinstance(value, Mapping) and ("id" in value or "name" in value):
        # A whole job or file: its own page tells the rest.
        return " ".join(str(value[part]) for part in ("id", "name", "file_name") if part in value)
    if isinstance(value, Mapping | list):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, float):
        return f"{value:g}"
    text = str(value)
    if key.endswith("sha256"):
        return f"{text[:12]}…"
    return json.dumps(text, ensure_ascii=False) if " " in text else text


def throughput_pace(answer: View) -> Text:
    """How the span compares with the target of a year."""
    pace, target = answer["annualised_good"], answer["target"]
    line = Text(f"At this pace {pace:,.0f} good parts a year")
    return line.append(f", {pace / target:.0%} of the target of {target:,}") if target else line


def builds_text(builds: Sequence[View], now: datetime) -> list[Text]:
    """Each build in one line."""
    found = []
    for build in builds:
        line = Text(f"{build['id']} ", "bold").append(build["state"], "not bold")
        line.append(f": {plain(build['operation'])} {things(build['items'])}", "not bold")
        line.append(f" on {plain(build['machine'])}" if build["machine"] else "", "not bold")
        line.append(f", made {clock(build['created_at'], now)}", "not bold dim")
        found.append(line.append(f", follows {build['follows']}" if build["follows"] else "", "not bold dim"))
    return found


def events_text(events: Sequence[View], now: datetime) -> list[Text]:
    return [event_line(event, now) for event in events]
