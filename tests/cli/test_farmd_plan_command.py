"""`farmd plan`: plans, judges, prints the format; every misuse has its line and its exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from farmd.cli import farmd_plan
from farmd.cli.farmd import farmd
from farmd.cli.session import Session
from farmd.planner import POLICIES, check, read_plan, read_problem
from farmd.planner.generate import fdm_shop


@pytest.fixture
def problem(tmp_path: Path) -> Path:
    path = tmp_path / "problem.json"
    path.write_text(json.dumps(fdm_shop(3, 6, 3).as_dict()))
    return path


def _plan(*args: object) -> int:
    return farmd(["plan", *(str(arg) for arg in args)])


def _edited(path: Path, **changes: Any) -> Path:
    edited = path.with_name("edited.json")
    edited.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return edited


def test_a_plan_is_written_and_holds(problem: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = problem.with_name("plan.json")
    assert _plan(problem, "--budget", 0.5, "--seed", 4, "--out", out) == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "weighted tardiness" in shown.err
    plan = read_plan(json.loads(out.read_text()))
    assert check(read_problem(json.loads(problem.read_text())), plan) == ()
    assert _plan("--check", problem, out) == 0
    assert capsys.readouterr().out.startswith(f"{out} holds: {plan.status}")


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_plans_to_stdout(policy: str, problem: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _plan(problem, "--budget", 0.3, "--policy", policy) == 0
    assert json.loads(capsys.readouterr().out)["format"] == "farmd-plan/1"


def test_every_broken_rule_of_a_plan_is_a_line(problem: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = problem.with_name("plan.json")
    _plan(problem, "--budget", 0.3, "--policy", "edd", "--out", out)
    plan = json.loads(out.read_text())
    gone = plan["assignments"].pop()["build"]
    out.write_text(json.dumps(plan))
    capsys.readouterr()
    assert _plan("--check", problem, out) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert f"error not-scheduled: {out}: run {gone} is not in the plan\n" in shown.err


def test_an_infeasible_plan_is_a_plan(problem: Path, capsys: pytest.CaptureFixture[str]) -> None:
    crews = [{"name": "nobody", "window": "never", "people": 1}]
    edited = _edited(problem, windows={"never": []}, crews=crews)
    assert _plan(edited, "--budget", 0.3) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["status"] == "infeasible"
    assert shown.err.startswith("infeasible: ")


def test_every_fault_of_a_file_is_a_line_and_exit_2(
    problem: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edited = _edited(problem, now_s=-1, colour="red")
    assert _plan(edited) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert any(line.startswith(f"error planning-bad-number: {edited}: now_s: ") for line in lines)
    assert any(line.startswith(f"error planning-unknown-field: {edited}: colour: ") for line in lines)


@pytest.mark.parametrize("args", [(), ("--check",)])
def test_a_billion_runs_are_a_line_and_exit_2(
    args: tuple[str, ...], problem: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    builds = json.loads(problem.read_text())["builds"]
    edited = _edited(problem, builds=[{**builds[0], "count": 1_000_000_000}])
    assert _plan(*args, edited, *[edited for _ in args]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == (
        f"error planning-too-large: {edited}: builds: more than 200000 runs; "
        "plan less at once: leave out what is due last, or split the shop\n"
    )


@pytest.mark.parametrize("text", ["{", "", "\xff\xfe", "[" * 100_000])
def test_what_is_no_json_is_exit_2(text: str, problem: Path, capsys: pytest.CaptureFixture[str]) -> None:
    problem.write_bytes(text.encode("latin-1"))
    assert _plan(problem) == 2
    assert capsys.readouterr().err.startswith(f"error planning-unreadable: {problem}: ")


def test_a_file_that_is_not_there_is_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _plan(tmp_path / "none.json") == 2
    assert _plan("--check", tmp_path / "none.json", tmp_path / "none.json") == 2
    assert capsys.readouterr().err.count("No such file or directory") == 2


def test_a_plan_that_cannot_be_written_is_exit_2(problem: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _plan(problem, "--budget", 0.2, "--policy", "edd", "--out", problem.parent) == 2
    assert capsys.readouterr().err.startswith("error plan-unwritable: ")


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("a", "b"),
        ("--check", "a"),
        ("--schema", "a"),
        ("--schema", "--from-daemon"),
        ("--explain", "a"),
        ("--explain", "a", "b", "c", "d"),
        ("--check", "a", "b", "c"),
        ("--chart", "c.html", "a"),
        ("--chart", "c.html", "--explain", "a", "b"),
        ("--chart", "c.png", "a", "b"),
        ("--json", "a"),
        ("a", "--policy", "luck"),
        ("a", "--budget", "-1"),
    ],
)
def test_a_wrong_command_line_is_exit_2(args: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert _plan(*args) == 2
    assert capsys.readouterr().err.startswith("error usage: ")


def test_the_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert _plan("--schema") == 0
    assert json.loads(capsys.readouterr().out)["title"] == "farmd-problem/1"


def test_todays_problem_comes_from_the_daemon(
    api: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(farmd_plan, "Session", lambda: Session(httpx.MockTransport(api)))
    assert _plan("--from-daemon", "--token", "secret") == 0
    assert json.loads(capsys.readouterr().out) == {"format": "farmd-problem/1"}
    assert api.asked[0].headers["authorization"] == "Bearer secret"
    assert _plan("--from-daemon", "--url", "nowhere") == 2


@pytest.fixture
def planned(problem: Path) -> tuple[Path, Path]:
    out = problem.with_name("plan.json")
    assert _plan(problem, "--budget", 0.2, "--policy", "edd", "--out", out) == 0
    return problem, out


def test_a_plan_is_explained_whole(planned: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert _plan("--explain", *planned) == 0
    shown = capsys.readouterr().out
    for assignment in json.loads(planned[1].read_text())["assignments"]:
        assert f"{assignment['build']} on {assignment['machine']}, day " in shown
    for words in ("the machine is cleared", "it is nobody's working time", "m3: ", "idle day 1 00:00"):
        assert words in shown


@pytest.mark.parametrize(
    ("name", "steps", "machines"), [("b1", ["b1#1"], []), ("b1#1", ["b1#1"], []), ("m2", None, ["m2"])]
)
def test_one_thing_is_explained_as_json(
    name: str,
    steps: list[str] | None,
    machines: list[str],
    planned: tuple[Path, Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    capsys.readouterr()
    assert _plan("--explain", "--json", *planned, name) == 0
    told = json.loads(capsys.readouterr().out)
    rows = json.loads(planned[1].read_text())["assignments"]
    expected = steps or [row["build"] for row in rows if row["machine"] == name]
    assert [step["name"] for step in told["steps"]] == expected
    assert [machine["machine"] for machine in told["machines"]] == machines
    assert _plan("--explain", *planned, name) == 0
    assert (machines or expected)[0] in capsys.readouterr().out


def test_an_unknown_name_and_a_broken_plan_are_not_explained(
    planned: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    problem, out = planned
    capsys.readouterr()
    assert _plan("--explain", problem, out, "b99") == 1
    assert capsys.readouterr().err.startswith("error plan-unknown-name: b99: ")
    plan = json.loads(out.read_text())
    plan["assignments"].pop()
    out.write_text(json.dumps(plan))
    assert _plan("--explain", problem, out) == 1
    assert "error not-scheduled: " in capsys.readouterr().err


def test_why_there_is_no_plan_is_explained(problem: Path, capsys: pytest.CaptureFixture[str]) -> None:
    crews = [{"name": "nobody", "window": "never", "people": 1}]
    edited, out = _edited(problem, windows={"never": []}, crews=crews), problem.with_name("plan.json")
    assert _plan(edited, "--budget", 0.3, "--out", out) == 0
    reasons = json.loads(out.read_text())["reasons"]
    assert reasons
    capsys.readouterr()
    assert _plan("--explain", edited, out) == 0
    shown = capsys.readouterr().out
    assert all(reason in shown for reason in reasons)


@pytest.mark.parametrize(("name", "begin"), [("c.html", "<!doctype html>"), ("c.svg", "<svg ")])
def test_a_plan_is_drawn(
    name: str, begin: str, planned: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    out = planned[0].with_name(name)
    capsys.readouterr()
    assert _plan("--chart", out, *planned) == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"{out}: ")
    text = out.read_text()
    assert text.startswith(begin)
    assert text.count("<title>b") == 6
    assert _plan("--chart", planned[0].with_name("none") / name, *planned) == 2
    assert capsys.readouterr().err.startswith("error plan-unwritable: ")


def test_a_plan_that_does_not_hold_is_drawn_and_told(
    planned: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    problem, out = planned
    plan = json.loads(out.read_text())
    gone = [plan["assignments"].pop()["build"], plan["assignments"].pop()["build"]]
    out.write_text(json.dumps(plan))
    capsys.readouterr()
    assert _plan("--chart", problem.with_name("c.svg"), problem, out) == 0
    shown = capsys.readouterr().err
    assert any(f"{out} does not hold: not-scheduled: run {run} is not in the plan" in shown for run in gone)
    assert "more by --check" in shown
