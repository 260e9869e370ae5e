"""`farmd plan`: plan a problem; judge, explain or draw a plan; print the format; fetch today's problem."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import typer

from farmd.cli.errors import REFUSED, WRONG, Failed, Told
from farmd.cli.session import Ca, Session, Token, TokenFile, Url, console
from farmd.cli.text import plain, span
from farmd.model.errors import ConfigError, ErrorCode
from farmd.planner import (
    POLICIES,
    Budget,
    Plan,
    PlanningErrors,
    Problem,
    problem_schema,
    read_plan,
    read_problem,
)
from farmd.planner import check as violations_of

UNREADABLE = ErrorCode(
    "planning-unreadable", "a planning file cannot be read as JSON", "check its name and its text"
)
UNWRITABLE = ErrorCode(
    "plan-unwritable",
    "the plan or its chart cannot be written",
    "check the file's name and the room on the disk",
)

STDOUT = Path("-")
INFEASIBLE = "infeasible"


def register(app: typer.Typer) -> None:
    @app.command()
    def plan(
        files: Annotated[
            list[Path] | None,
            typer.Argument(metavar="PROBLEM [PLAN [NAME]]", help="JSON files.", show_default=False),
        ] = None,
        budget: Annotated[
            float, typer.Option(min=0, metavar="SECONDS", help="How long it may take, all in.")
        ] = 10.0,
        seed: Annotated[int, typer.Option(metavar="S", help="Of the search.")] = 0,
        out: Annotated[Path, typer.Option(metavar="PLAN", help="Where the plan goes; - is stdout.")] = STDOUT,
        policy: Annotated[str, typer.Option(help=f"One of {', '.join(POLICIES)}.")] = "plan",
        check: Annotated[bool, typer.Option("--check", help="Judge PLAN by the rules of PROBLEM.")] = False,
        explain: Annotated[
            bool,
            typer.Option(
                "--explain", help="Say why PLAN is as it is; or of a build, part or machine by NAME."
            ),
        ] = False,
        chart: Annotated[
            Path | None, typer.Option(metavar="OUT", help="Draw PLAN as a Gantt chart, .html or .svg.")
        ] = None,
        json_: Annotated[bool, typer.Option("--json", help="With --explain: one JSON document.")] = False,
        schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of a problem.")] = False,
        from_daemon: Annotated[
            bool, typer.Option("--from-daemon", help="Print the problem that the daemon plans now.")
        ] = False,
        url: Url = None,
        token: Token = None,
        token_file: TokenFile = None,
        ca: Ca = None,
    ) -> None:
        """Plan a problem; or judge, explain or draw a plan.

        A problem is `farmd-problem/1`, a plan `farmd-plan/1`. With --check: exit 0 when the plan
        holds, 1 with each broken rule when not; so with --explain. Files that cannot be used: exit 2.

        \b
        farmd plan problem.json --budget 10 --seed 1 --out plan.json
        farmd plan --check problem.json plan.json
        farmd plan --explain problem.json plan.json J-7
        farmd plan --chart plan.html problem.json plan.json
        farmd plan --schema > problem.schema.json
        farmd plan --from-daemon > today.json
        """
        named = files or []
        if check + schema + from_daemon + explain + (chart is not None) > 1:
            raise typer.BadParameter("give one of --check, --explain, --chart, --schema and --from-daemon")
        if json_ and not explain:
            raise typer.BadParameter("it goes with --explain; plans are JSON anyway", param_hint="'--json'")
        judged = check or explain or chart is not None
        wanted = 2 if judged else 0 if schema or from_daemon else 1
        if len(named) != wanted and not (explain and len(named) == 3):
            raise typer.BadParameter(
                ("give no files", "give one PROBLEM", "give a PROBLEM and a PLAN")[wanted]
                + f", not {len(named)} files"
            )
        if schema:
            print(json.dumps(problem_schema(), indent=2))
        elif from_daemon:
            session = Session()
            session.take(url, token, token_file, ca, True)
            with session.client() as client:
                session.print_json(client.get("plan", "problem"))
        elif check:
            judge(*named)
        elif explain:
            tell(*named[:2], subject=str(named[2]) if len(named) == 3 else None, as_json=json_)
        elif chart is not None:
            draw(*named, out=chart)
        else:
            make(named[0], budget_s=budget, seed=seed, policy=policy, out=out)


def make(path: Path, *, budget_s: float, seed: int, policy: str, out: Path) -> None:
    """Plan the problem in a file and write the plan. An infeasible plan is a plan, with its reasons."""
    if policy not in POLICIES:
        raise typer.BadParameter(f"{policy!r} is not one of {', '.join(POLICIES)}", param_hint="'--policy'")
    # Compiling the search is no part of the budget, since it is done once; loading the solver is, every time.
    from farmd.planner.warm import made_ready

    warmed = made_ready()
    if warmed is not None:
        print(f"the planner's search: {warmed}", file=sys.stderr)
    began = perf_counter()
    from farmd.planner.solve import plan as solve

    problem = _problem(path)
    with _planning(budget_s):
        left_s = max(0.0, budget_s - (perf_counter() - began))
        answer = solve(problem, budget=Budget(seconds=left_s), seed=seed, policy=policy)
    text = json.dumps(answer.as_dict(), indent=1, ensure_ascii=False) + "\n"
    if out == STDOUT:
        print(text, end="")
    else:
        _write(out, text)
    print(_verdict(answer), file=sys.stderr)


def judge(problem_path: Path, plan_path: Path) -> None:
    """Print that the plan holds; raises `Failed` with each broken rule."""
    problem, plan = _problem(problem_path), _read(plan_path, read_plan)
    _require_sound(problem, plan, plan_path)
    print(f"{plan_path} holds: {_verdict(plan)}")


def tell(problem_path: Path, plan_path: Path, *, subject: str | None, as_json: bool) -> None:
    """Say why a plan that holds is as it is, or why there is none; raises `Failed` for one that does not hold."""
    from farmd.cli.explained import document, lines_of

    problem, plan = _problem(problem_path), _read(plan_path, read_plan)
    if plan.status != INFEASIBLE:
        _require_sound(problem, plan, plan_path)
    if as_json:
        print(json.dumps(document(problem, plan, subject), indent=1, ensure_ascii=False))
    else:
        print("\n".join(lines_of(problem, plan, subject)))


def draw(problem_path: Path, plan_path: Path, *, out: Path) -> None:
    """Write the chart of a plan. One that does not hold is drawn too, and the first broken rule told."""
    from farmd.planner import chart

    drawers = {".html": chart.html, ".htm": chart.html, ".svg": chart.svg}
    drawer = drawers.get(out.suffix.lower())
    if drawer is None:
        raise typer.BadParameter(f"{out.name!r} ends neither in .html nor in .svg", param_hint="'--chart'")
    problem, plan = _problem(problem_path), _read(plan_path, read_plan)
    _write(out, drawer(problem, plan))
    broken = violations_of(problem, plan) if plan.status != INFEASIBLE else ()
    if broken:
        more = f"; {len(broken) - 1} more by --check" if len(broken) > 1 else ""
        print(f"{plan_path} does not hold: {plain(broken[0])}{more}", file=sys.stderr)
    print(f"{out}: {_verdict(plan)}", file=sys.stderr)


def _require_sound(problem: Problem, plan: Plan, where: Path) -> None:
    violations = violations_of(problem, plan)
    if violations:
        raise Failed([Told(each.code, each.text, str(where)) for each in violations], REFUSED)


def _write(out: Path, text: str) -> None:
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(UNWRITABLE, error.strerror or str(error), where=str(out)) from error


def _problem(path: Path) -> Problem:
    problem: Problem = _read(path, read_problem)
    return problem


def _read(path: Path, reader: Any) -> Any:
    """A planning file; raises `ConfigError` or, with all that is wrong in it, `Failed`."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(UNREADABLE, error.strerror or str(error), where=str(path)) from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(UNREADABLE, str(error), where=str(path)) from error
    try:
        return reader(data)
    except PlanningErrors as errors:
        told = [Told(e.code.name, e.what, f"{path}: {e.where}", e.remedy) for e in errors.errors]
        raise Failed(told, WRONG) from errors


def _verdict(plan: Plan) -> str:
    """`optimal: tardiness 3 h 20 min, makespan 2 d 4 h, 7 changeovers, 4 h 30 min of people's work`."""
    if plan.status == INFEASIBLE:
        return f"infeasible: {'; '.join(map(plain, plan.reasons)) or 'no reasons given'}"
    value = plan.value
    told = (
        f"{plan.status}: weighted tardiness {span(value.weighted_tardiness_s)}, "
        f"makespan {span(value.makespan_s)}, {value.changeovers} changeovers, "
        f"{span(value.operator_s)} of people's work"
    )
    if plan.bound is None or plan.status == "optimal":
        return told
    return f"{told}; the objective is at least {span(plan.bound)}"


@contextmanager
def _planning(budget_s: float) -> Iterator[None]:
    """On a terminal, tell that and how long it has been planning."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("planning, at most"),
        TextColumn(span(budget_s)),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console(stderr=True), transient=True) as progress:
        progress.add_task("", total=None)
        yield
