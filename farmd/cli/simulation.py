"""What `farmd simulate` shows: progress on a terminal while it runs, then the report."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from farmd.cli.tables import lines
from farmd.logging import set_up_logging
from farmd.model.errors import ConfigError, ErrorCode, Refused
from farmd.sim.simulate import Request, simulate

REPORT_UNWRITABLE = ErrorCode(
    "report-unwritable", "the report cannot be written", "name a file in a folder that is there with --json"
)
NOT_NEW = ErrorCode("not-new", "the folder of --keep is there already", "name one that is not there yet")


def run_simulation(request: Request, out: Path | None) -> None:
    """Simulate, write the report to `out` and tell its figures. Raises `ConfigErrors`, `Refused`."""
    if request.data_dir is not None and request.data_dir.exists():
        raise Refused(NOT_NEW, where=str(request.data_dir))
    if out is not None:
        _write(out, "")
    set_up_logging("error", sys.stderr)
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(f"{request.days:g} days", total=1.0)
        report = simulate(request, lambda share: bar.update(task, completed=share))
    if out is not None:
        _write(out, json.dumps(report, indent=2) + "\n")
    Console().print(lines(figures(report)))


def _write(out: Path, text: str) -> None:
    """Before the simulation too: hours of work are not lost to a folder that is not there."""
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(REPORT_UNWRITABLE, error.strerror or str(error), where=str(out)) from error


def figures(report: dict[str, Any]) -> list[tuple[str, str]]:
    """The report in a person's words, one line each."""
    jobs, parts, runs, people = (report[key] for key in ("jobs", "parts", "runs", "people"))
    busy = ", ".join(f"{group} {share:.0%}" for group, share in report["utilisation"].items())
    return [
        (
            "shop",
            f"{report['shop']}, {report['days']:g} days, seed {report['seed']}, policy {report['policy']}",
        ),
        ("jobs", f"{jobs['done']} done of {jobs['submitted']}, {jobs['late']} late, {jobs['open']} open"),
        ("tardiness", f"{jobs['weighted_tardiness_h']:g} h, weighted by priority"),
        ("parts", f"{parts['good']} good, {parts['scrap']} scrap, {parts['surplus']} surplus"),
        ("runs", ", ".join(f"{count} {outcome}" for outcome, count in runs.items() if count)),
        ("machines busy", busy),
        (
            "people",
            f"{people['minutes']:g} min: {people['clears']} clears, {people['changeovers']} changeovers, "
            f"{people['repairs']} repairs",
        ),
        ("journal", f"{report['journal']['facts']} facts, head {report['journal']['head'][:16]}"),
    ]
