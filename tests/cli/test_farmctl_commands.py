"""Each command of farmctl: what it asks of the API, what it prints, and that --json prints one document."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from farmd.cli import commands_farm, commands_jobs, commands_machines

NOW = datetime(2026, 3, 17, 12, 0, tzinfo=UTC)

COMMANDS: list[tuple[str, str, str, Any, list[str]]] = [
    # command line, method and path, query, body, words of the text
    ("jobs", "GET /jobs", "state=open&limit=100&offset=0", None, ["J-11", "68/87", "Fri 13:00", "making"]),
    ("jobs --late", "GET /jobs", "state=open&late=true&limit=100&offset=0", None, ["J-1 "]),
    ("jobs --all", "GET /jobs", "state=all&limit=100&offset=0", None, ["housing-top-with-a-long-name@A"]),
    ("job J-3", "GET /jobs/J-3", "", None, ["bracket.gcode, 2.4 MB", "6 good, 4 in work", "2 h 30 min and 84 g"]),
    ("why J-3", "GET /jobs/J-3/why", "", None, ["wrong-material", "farmctl load mk4-06 'ASA grey'", "busy"]),
    ("edit J-3 --priority 4", "PATCH /jobs/J-3", "", {"priority": 4.0}, ["J-3 making: 6 of 31 good"]),
    ("edit J-3 --due none -n 9", "PATCH /jobs/J-3", "", {"due": None, "quantity": 9}, ["J-3"]),
    ("edit J-3 --due 2026-07-01T10:00", "PATCH /jobs/J-3", "", {"due": "2026-07-01T08:00:00Z"}, ["J-3"]),
    ("hold J-5 --reason new", "POST /jobs/J-5/hold", "", {"reason": "new"}, ["J-5 held"]),
    ("hold mk4-13", "POST /machines/mk4-13/hold", "", {"reason": ""}, ["mk4-13 held: nozzle to be changed"]),
    ("release J-5", "POST /jobs/J-5/release", "", {"reason": ""}, ["J-5"]),
    ("release mk4-04", "POST /machines/mk4-04/release", "", {"reason": ""}, ["mk4-04 fault"]),
    ("cancel J-5", "POST /jobs/J-5/cancel", "", {"reason": ""}, ["J-5"]),
    ("machines", "GET /machines", "", None, ["mk4-25", "J-3 ×4, 90%, ends 13:18", "unsure", "PETG clear 0.4 mm"]),
    ("machine mk4-01", "GET /machines/mk4-01", "", None, ["215 °C of 215 °C", "12 under-runs", "R-00K2M9QX4T"]),
    ("machine mk4-04", "GET /machines/mk4-04", "", None, ["does not heat", "heater's cable"]),
    ("pause mk4-01", "POST /machines/mk4-01/pause", "", {"reason": ""}, ["told mk4-01 to pause; it was making: J-1"]),
    ("resume mk4-20", "POST /machines/mk4-20/resume", "", {"reason": ""}, ["told mk4-20 to resume; it was paused"]),
    ("stop mk4-01 --reason x", "POST /machines/mk4-01/stop", "", {"reason": "x"}, ["mk4-01"]),
    ("estop mk4-01", "POST /machines/mk4-01/estop", "", {"reason": ""}, ["told mk4-01 to stop at once"]),
    ("estop --all", "POST /estop", "", {"reason": ""}, ["25 stopped"]),
    ("clear mk4-14", "POST /machines/mk4-14/clear", "", {"reason": ""}, ["counted 4 good, 0 scrap"]),
    (
        "clear mk4-14 --good 3 --scrap 1 --reason warped",
        "POST /machines/mk4-14/clear",
        "",
        {"good": 3, "scrap": 1, "reason": "warped"},
        ["counted 3 good, 1 scrap"],
    ),
    (
        "clear mk4-14 --scrap J-2=1 --scrap J-5=3 --good J-5=0",
        "POST /machines/mk4-14/clear",
        "",
        {"counts": {"J-5": {"good": 0, "scrap": 3}, "J-2": {"scrap": 1}}, "reason": ""},
        ["counted"],
    ),
    ("load mk4-14 PETG", "POST /machines/mk4-14/load", "", {"material": "PETG"}, ["loaded PLA red, 0.4 mm, L-3"]),
    (
        "load mk4-14 L-7 --grams 750 --nozzle 0.6 --lot L-8",
        "POST /machines/mk4-14/load",
        "",
        {"material": "L-7", "grams": 750.0, "nozzle_mm": 0.6, "lot": "L-8"},
        ["loaded"],
    ),
    ("resolve R-1 not-started", "POST /runs/R-1/resolve", "", {"verdict": "not-started"}, ["mk4-01 is running"]),
    ("plan", "GET /plan", "", None, ["feasible plan by plan", "J-10", "not in it: J-9, later", "16:50"]),
    ("next", "GET /next", "", None, ["farmctl clear mk4-14", "farmctl load mk4-16 'PETG clear'", "10"]),
    (
        "throughput --since 7d --by machine",
        "GET /throughput",
        "since=2026-03-10T12%3A00%3A00Z&by=machine",
        None,
        ["mk4-02", "96.2%", "79%", "total", "657,000", "66% of the target of 1,000,000"],
    ),
    ("throughput", "GET /throughput", "since=2026-03-16T23%3A00%3A00Z&by=machine", None, ["total"]),
    (
        "events --machine mk4-09 -n 5",
        "GET /events",
        "limit=5&newest_first=true&machine=mk4-09",
        None,
        ["12:58:30  JobSubmitted job=J-1 bracket-rh@B.gcode by ana", "MachineLost"],
    ),
]  # fmt: skip


@pytest.fixture(autouse=True)
def _noon(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (commands_farm, commands_jobs, commands_machines):
        monkeypatch.setattr(module, "here", lambda: NOW.astimezone())


@pytest.mark.parametrize(
    ("line", "path", "query", "body", "words"), COMMANDS, ids=lambda value: str(value)[:40]
)
def test_a_command_asks_once_and_tells_the_answer(
    line: str,
    path: str,
    query: str,
    body: Any,
    words: list[str],
    ctl: Callable[..., int],
    api: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert ctl(*line.split()) == 0
    (asked,) = api.asked
    assert f"{asked.method} {asked.url.path.removeprefix('/api/v1')}" == path
    assert asked.url.query.decode() == query
    assert (json.loads(asked.content) if asked.content else None) == body
    shown = capsys.readouterr()
    assert shown.err == ""
    for word in words:
        assert word in shown.out
    assert "\x1b" not in shown.out


@pytest.mark.parametrize("line", [row[0] for row in COMMANDS])
def test_json_prints_exactly_the_answer(
    line: str, ctl: Callable[..., int], api: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = []
    usual = api._usual

    def remembered(request: Any, path: str) -> Any:
        answers.append(usual(request, path))
        return answers[-1]

    api._usual = remembered
    assert ctl(*line.split(), "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    answer = answers[0]
    if line.startswith("events"):
        answer = {"events": answer["events"][::-1]}
    assert printed == json.loads(json.dumps(answer))


def test_trace_tells_the_job_and_every_event(
    ctl: Callable[..., int], api: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ctl("trace", "J-1") == 0
    text = capsys.readouterr().out
    for word in ("bracket-rh@B", "R-00K2M9QX4T", "B-0 assigned: print J-1 ×4 on mk4-01", "MachineLost"):
        assert word in text
    assert ctl("trace", "J-1", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert [event["seq"] for event in document["events"]] == [41, 42, 43]
    assert document["job"]["id"] == "J-1"


def test_jobs_reads_page_after_page(
    ctl: Callable[..., int], api: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    one = api.fake.job("J-1")
    every = [{**one, "id": f"J-{number}"} for number in range(250)]

    def page(request: Any) -> Any:
        import httpx

        offset = int(request.url.params["offset"])
        return httpx.Response(200, json={"jobs": every[offset : offset + int(request.url.params["limit"])]})

    api.answers["GET", "/jobs"] = page
    assert ctl("jobs", "--all", "--limit", "300", "--json") == 0
    assert [job["id"] for job in json.loads(capsys.readouterr().out)["jobs"]] == [job["id"] for job in every]
    assert ctl("jobs", "--all", "--json") == 0
    shown = capsys.readouterr()
    assert len(json.loads(shown.out)["jobs"]) == 200
    assert "first 200 jobs" in shown.err


def test_nothing_is_told_in_words(
    ctl: Callable[..., int], api: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    api.fake.farm.machines.clear()
    api.fake.farm.jobs.clear()
    api.fake.farm.runs.clear()
    for command, words in (("next", "nothing to do"), ("jobs", "no jobs"), ("machines", "no machines")):
        assert ctl(command) == 0
        assert capsys.readouterr().out == words + "\n"


def test_names_are_quoted_in_addresses(ctl: Callable[..., int], api: Any) -> None:
    api.refuse("GET", "/machines/../jobs/J-1?x", 404, "unknown-machine", "there is none", "look again")
    assert ctl("machine", "../jobs/J-1?x") == 1
    assert api.asked[0].url.raw_path == b"/api/v1/machines/..%2Fjobs%2FJ-1%3Fx"


def test_control_characters_never_reach_the_terminal(
    ctl: Callable[..., int], api: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    import dataclasses

    job = api.fake.farm.jobs["J-1"]
    api.fake.farm.jobs["J-1"] = dataclasses.replace(job, design="evil\x1b[2J\x07\nname", material="\x9b1m")
    for command in (("jobs",), ("job", "J-1"), ("trace", "J-1"), ("top",)):
        assert ctl(*command) == 0
        text = capsys.readouterr().out
        assert not any((ord(char) < 32 and char != "\n") or 127 <= ord(char) < 160 for char in text)


def test_acts_carry_the_user_and_the_token(
    ctl: Callable[..., int], api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "zoë")
    ctl("hold", "J-1", "--token", "secret")
    assert api.asked[0].headers["authorization"] == "Bearer secret"
    assert dict(api.asked[0].headers.raw)[b"X-Farmd-Actor"].decode() == "zoë"
    monkeypatch.setattr("getpass.getuser", lambda: "daemon")
    ctl("hold", "J-1")
    assert api.asked[1].headers["x-farmd-actor"] == ""


def test_top_prints_one_look_where_nobody_can_press_keys(
    ctl: Callable[..., int], api: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ctl("top") == 0
    text = capsys.readouterr().out
    assert "north-hall" in text
    assert "mk4-25" in text
    assert ctl("top", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["farm"]["name"] == "north-hall"
    assert len(document["machines"]) == 25
    since = [request.url.params["since"] for request in api.asked if request.url.path.endswith("/throughput")]
    assert since == ["2026-03-16T23:00:00Z"] * 2
