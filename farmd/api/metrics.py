"""Metrics for Prometheus, in its text format 0.0.4. docs/METRICS.md explains each; a test compares the two."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from farmd import __version__
from farmd.api.context import Context, Ctx
from farmd.daemon.live import Live
from farmd.daemon.walk import walk_list
from farmd.driver import now
from farmd.model.lifecycle import JobState, MachineState
from farmd.model.safe_mode import Cause
from farmd.store import ThroughputRow

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

router = APIRouter(tags=["health"])


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric as declared: `kind` is gauge or counter."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """A value of a metric, for these values of its labels."""

    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


INFO = Metric("farmd_info", "gauge", "Always 1; the labels say which farm and version.", ("farm", "version"))
STARTED = Metric("farmd_start_time_seconds", "gauge", "When the daemon started, in seconds since the epoch.")
JOBS = Metric(
    "farmd_jobs", "gauge", "Jobs in memory: open, held, or finished with work still open.", ("state",)
)
MACHINES = Metric("farmd_machines", "gauge", "Machines by what their link last told.", ("state",))
HELD = Metric("farmd_machines_held", "gauge", "Machines that a person holds.")
TASKS = Metric("farmd_tasks", "gauge", "Things for people to do, as on the walk list.", ("kind",))
BUILDS = Metric("farmd_builds_open", "gauge", "Builds that are queued, assigned or not cleared.")
RUNS = Metric(
    "farmd_runs_total", "counter", "Runs that ended, since the record began.", ("machine", "outcome")
)
GOOD = Metric(
    "farmd_parts_good_total", "counter", "Good parts off the last step of their route.", ("machine",)
)
PASSED = Metric(
    "farmd_parts_passed_total", "counter", "Good parts off an earlier step of their route.", ("machine",)
)
SCRAP = Metric("farmd_parts_scrap_total", "counter", "Parts counted as scrap.", ("machine",))
BUSY = Metric("farmd_busy_seconds_total", "counter", "Time that runs took, pauses included.", ("machine",))
PLAN_AGE = Metric("farmd_plan_age_seconds", "gauge", "Age of the published plan, in the shop's time.")
PLAN_STEPS = Metric("farmd_plan_steps", "gauge", "Steps of the published plan.")
LEFT_OUT = Metric("farmd_plan_left_out_jobs", "gauge", "Jobs that the plan leaves out.")
FAILURES = Metric(
    "farmd_planner_failures_total",
    "counter",
    "Plans that failed or were refused by the checker since the start.",
)
LINK_LINES = Metric("farmd_link_lines_total", "counter", "Lines sent to a machine.", ("machine",))
LINK_RESENDS = Metric(
    "farmd_link_resends_total", "counter", "Lines that a machine asked for once more.", ("machine",)
)
LINK_TIMEOUTS = Metric(
    "farmd_link_timeouts_total", "counter", "Answers of a machine that did not come in time.", ("machine",)
)
LINK_GARBLED = Metric("farmd_link_garbled_total", "counter", "Damaged lines from a machine.", ("machine",))
LINK_UNDERRUNS = Metric(
    "farmd_link_underruns_total", "counter", "Stops of a machine's motion for want of lines.", ("machine",)
)
LINK_NOISE = Metric(
    "farmd_link_noise_ratio", "gauge", "Share of the last lines that came damaged.", ("machine",)
)
TURN_ROUND = Metric(
    "farmd_link_turn_round_seconds",
    "gauge",
    "Time from a line's sending to its answer, of the last lines.",
    ("machine", "quantile"),
)
REVISION = Metric("farmd_journal_revision", "gauge", "Number of the newest fact.")
TURNED_AWAY = Metric(
    "farmd_requests_turned_away_total", "counter", "Requests that the gate refused, by why.", ("why",)
)
CERTIFICATE = Metric(
    "farmd_tls_certificate_end_seconds",
    "gauge",
    "When the API's certificate ends, in seconds since the epoch.",
)
SAFE_MODE = Metric("farmd_safe_mode", "gauge", "1 while this is why nothing may be started.", ("cause",))
STORE_BLOCKED = Metric("farmd_store_blocked", "gauge", "1 while nothing can be written to the record.")
STREAMS = Metric("farmd_event_streams", "gauge", "Listeners to the stream of events.")
LAG = Metric("farmd_loop_lag_seconds", "gauge", "How long one turn of the event loop took just now.")
STALLS = Metric(
    "farmd_loop_stalls_total", "counter", "Times that the event loop stood still since the start."
)
LONGEST_STALL = Metric("farmd_loop_stall_longest_seconds", "gauge", "The longest of them, in real seconds.")

METRICS = (
    INFO,
    STARTED,
    JOBS,
    MACHINES,
    HELD,
    TASKS,
    BUILDS,
    RUNS,
    GOOD,
    PASSED,
    SCRAP,
    BUSY,
    PLAN_AGE,
    PLAN_STEPS,
    LEFT_OUT,
    FAILURES,
    LINK_LINES,
    LINK_RESENDS,
    LINK_TIMEOUTS,
    LINK_GARBLED,
    LINK_UNDERRUNS,
    LINK_NOISE,
    TURN_ROUND,
    REVISION,
    TURNED_AWAY,
    CERTIFICATE,
    STREAMS,
    LAG,
    STALLS,
    LONGEST_STALL,
    SAFE_MODE,
    STORE_BLOCKED,
)
TURNED_AWAY_WHY = ("token", "role", "rate", "size", "request")
TASK_KINDS = ("resolve", "fault", "clear", "load", "link", "noise", "held")


@router.get("/metrics", response_class=PlainTextResponse)
async def get_metrics(context: Ctx) -> PlainTextResponse:
    """All metrics, as Prometheus reads them."""
    lag_s = await _loop_lag_s()
    made = await context.tally.rows()
    samples = {**_state(context), **_links(context.service.lives), **_made(made), LAG: [Sample(lag_s)]}
    return PlainTextResponse(render(samples), media_type=CONTENT_TYPE)


def render(samples: Mapping[Metric, Iterable[Sample]]) -> str:
    """The text format: each metric with its help and kind, in the order of their declaration."""
    return "".join(line + "\n" for metric in METRICS for line in _lines(metric, samples.get(metric, ())))


def _lines(metric: Metric, samples: Iterable[Sample]) -> Iterator[str]:
    yield f"# HELP {metric.name} {_escaped(metric.help)}"
    yield f"# TYPE {metric.name} {metric.kind}"
    for sample in samples:
        labels = ",".join(f'{name}="{_escaped(sample.labels[name], quoted=True)}"' for name in metric.labels)
        yield f"{metric.name}{'{' + labels + '}' if labels else ''} {_number(sample.value)}"


def _escaped(text: str, *, quoted: bool = False) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quoted else text


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return "NaN" if math.isnan(value) else repr(value)


def _state(context: Context) -> dict[Metric, list[Sample]]:
    service = context.service
    farm, schedule = service.farm, service.planning.schedule
    jobs = Counter(job.state for job in farm.jobs.values())
    machines = Counter(machine.state for machine in farm.machines.values())
    tasks = Counter(task.kind for task in walk_list(farm, schedule, service.shop, now(), service.lives))
    steps = sum(map(len, schedule.steps.values()))
    return {
        INFO: [Sample(1, {"farm": service.shop.name, "version": __version__})],
        STARTED: [Sample(service.started_at)],
        JOBS: [Sample(jobs[state], {"state": state.value}) for state in JobState],
        MACHINES: [Sample(machines[state], {"state": state.value}) for state in MachineState],
        HELD: [Sample(sum(machine.held is not None for machine in farm.machines.values()))],
        TASKS: [Sample(tasks[kind], {"kind": kind}) for kind in TASK_KINDS],
        BUILDS: [Sample(len(farm.builds))],
        # Before the first plan there is none that could be old.
        PLAN_AGE: [Sample(max(0.0, now() - schedule.made_at))] if schedule.made_at else [],
        PLAN_STEPS: [Sample(steps)],
        LEFT_OUT: [Sample(len(schedule.left_out))],
        FAILURES: [Sample(service.planning.failures)],
        REVISION: [Sample(farm.revision)],
        SAFE_MODE: [Sample(float(cause in farm.safe_modes), {"cause": cause.value}) for cause in Cause],
        STORE_BLOCKED: [Sample(float(service.ledger.blocked is not None))],
        TURNED_AWAY: [Sample(context.turned_away[why], {"why": why}) for why in TURNED_AWAY_WHY],
        CERTIFICATE: [Sample(context.certificate.ends_at)] if context.certificate else [],
        STREAMS: [Sample(context.feed.followers)],
        STALLS: [Sample(service.stalls.count)],
        LONGEST_STALL: [Sample(service.stalls.longest_s)],
    }


_LINK_COUNTS = {
    "lines": LINK_LINES,
    "resends": LINK_RESENDS,
    "timeouts": LINK_TIMEOUTS,
    "garbled": LINK_GARBLED,
    "underruns": LINK_UNDERRUNS,
}


def _links(lives: Mapping[str, Live]) -> dict[Metric, list[Sample]]:
    """Of machines whose drivers tell of their links; gauges only while the link is up."""
    samples: dict[Metric, list[Sample]] = {
        metric: [] for metric in (*_LINK_COUNTS.values(), LINK_NOISE, TURN_ROUND)
    }
    for name, live in lives.items():
        machine = {"machine": name}
        for field_name, total in live.link_totals().items():
            samples[_LINK_COUNTS[field_name]].append(Sample(total, machine))
        if (health := live.health) is None or live.lost is not None:
            continue
        samples[LINK_NOISE].append(Sample(health.noise, machine))
        for quantile, value in (("0.5", health.turn_round_p50_s), ("0.99", health.turn_round_p99_s)):
            if value is not None:
                samples[TURN_ROUND].append(Sample(value, {**machine, "quantile": quantile}))
    return samples


def _made(rows: Iterable[ThroughputRow]) -> dict[Metric, list[Sample]]:
    samples: dict[Metric, list[Sample]] = {metric: [] for metric in (RUNS, GOOD, PASSED, SCRAP, BUSY)}
    for row in rows:
        machine = {"machine": row.key}
        for outcome, count in (
            ("ok", row.runs_ok),
            ("failed", row.runs_failed),
            ("cancelled", row.runs_cancelled),
        ):
            samples[RUNS].append(Sample(count, {**machine, "outcome": outcome}))
        samples[GOOD].append(Sample(row.good, machine))
        samples[PASSED].append(Sample(row.passed, machine))
        samples[SCRAP].append(Sample(row.scrap, machine))
        samples[BUSY].append(Sample(row.busy_s, machine))
    return samples


async def _loop_lag_s() -> float:
    loop = asyncio.get_running_loop()
    began = loop.time()
    await asyncio.sleep(0)
    return loop.time() - began
