"""How farmctl ends when something is wrong: one line on stderr, and an exit code for whose fault it is."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from farmd.cli.farmctl import farmctl

LATER = "see with `farmctl events` whether it was done, then ask again"


def _raise(error: Exception) -> Callable[[httpx.Request], httpx.Response]:
    def answer(request: httpx.Request) -> httpx.Response:
        raise error

    return answer


def test_a_refusal_is_one_line_and_exit_1(
    ctl: Callable[..., int], api: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    api.refuse("POST", "/machines/mk4-06/clear", 409, "already-clear", "it is\nclear", "start something")
    assert ctl("clear", "mk4-06") == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == "error already-clear: it is clear; start something\n"


def test_with_json_a_refusal_is_a_document_too(
    ctl: Callable[..., int], api: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    api.refuse("GET", "/jobs/J-99", 404, "unknown-job", "there is no such job", "see `farmctl jobs`")
    assert ctl("job", "J-99", "--json") == 1
    shown = capsys.readouterr()
    assert json.loads(shown.out)["error"]["code"] == "unknown-job"
    assert shown.err.startswith("error unknown-job: ")


def test_no_daemon_is_exit_3(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        assert farmctl(["jobs", "--url", url]) == 3
    shown = capsys.readouterr()
    assert shown.err.startswith(f"error no-daemon: {url}: connection refused; start it with `farmd run`")
    assert shown.err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (httpx.ConnectTimeout(""), "no-daemon"),
        (httpx.ReadTimeout(""), "answer-lost"),
        (httpx.RemoteProtocolError("gone"), "answer-lost"),
    ],
)
def test_whether_it_was_asked_is_told_apart(
    error: Exception, code: str, ctl: Callable[..., int], api: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    api.answers["POST", "/machines/mk4-01/stop"] = _raise(error)
    assert ctl("stop", "mk4-01") == 3
    text = capsys.readouterr().err
    assert text.startswith(f"error {code}: ")
    assert (LATER in text) == (code == "answer-lost")


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (502, "<html>bad gateway</html>", "it answered 502 Bad Gateway"),
        (404, '{"detail": "no"}', "it answered 404 Not Found"),
        (200, "<html>hello</html>", "the answer is not JSON"),
    ],
)
def test_somebody_else_at_the_address(
    status: int,
    body: str,
    words: str,
    ctl: Callable[..., int],
    api: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    api.answers["GET", "/jobs"] = lambda request: httpx.Response(status, text=body)
    assert ctl("jobs") == 1
    assert capsys.readouterr().err.startswith(f"error not-farmd: http://127.0.0.1:8420: {words}; check --url")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("jobs --foo", "no such option: --foo"),
        ("jbs", "did you mean 'jobs'"),
        ("job", "missing argument"),
        ("edit J-1", "nothing to change"),
        ("edit J-1 --due tomorrow", "is not a time such as"),
        ("edit J-1 --quantity 0", "1; see"),
        ("clear mk4-01 --good few", "neither a number, 0 or more, nor job=n"),
        ("clear mk4-01 --scrap J-2=-1", "neither a number, 0 or more, nor job=n"),
        (f"clear mk4-01 --good {'9' * 5000}", "neither a number, 0 or more, nor job=n"),
        ("clear mk4-01 --good 1 --good 2", "--good 2 is the second of its kind"),
        ("clear mk4-01 --good J-2=1 --good J-2=2", "--good j-2=2 is the second of its kind"),
        ("clear mk4-01 --good 1 --scrap J-2=1", "not both"),
        ("estop", "a machine's name, or --all"),
        ("estop mk4-01 --all", "a machine's name, or --all"),
        ("resolve R-1 maybe", "not-started"),
        ("submit nowhere.gcode", "nowhere.gcode"),
        ("throughput --since yesterday", "neither a length of time"),
        ("throughput --since 9999999999999d", "neither a length of time"),
        ("throughput --by colour", "'machine', 'design', 'day'"),
        ("trace mk4-01", "is not a job's id"),
    ],
)
def test_a_wrong_command_line_is_exit_2(
    line: str, words: str, ctl: Callable[..., int], api: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ctl(*line.split()) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("error usage: ")
    assert words in shown.err.lower().replace('"', "'") or words in shown.err
    assert shown.err.count("\n") == 1
    assert "--help`" in shown.err
    assert not api.asked


def test_bare_farmctl_helps_and_is_exit_2(
    ctl: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ctl() == 2
    assert "farmctl next" in capsys.readouterr().out


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "127.0.0.1:8420", "http://[::1", "http://127.0.0.1:farm"])
def test_a_wrong_url_is_exit_2(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert farmctl(["jobs", "--url", url]) == 2
    assert capsys.readouterr().err.startswith(f"error bad-url: {url}: ")


def test_who_asks_the_command_line_goes_before_the_environment(
    ctl: Callable[..., int], api: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("from-file\n")
    steps = [
        ([], None),
        (["--token-file", file], "from-file"),
        (["--token", "given"], "given"),
    ]
    monkeypatch.setenv("FARMCTL_TOKEN_FILE", str(file))
    ctl("plan")
    monkeypatch.setenv("FARMCTL_TOKEN", "from-environment")
    ctl("plan")
    for args, _ in steps[1:]:
        ctl("plan", *args)
    ctl("--token", "early", "plan")
    ctl("--token", "early", "plan", "--token", "late")
    tokens = [request.headers["authorization"].removeprefix("Bearer ") for request in api.asked]
    assert tokens == ["from-file", "from-environment", "from-file", "given", "early", "late"]


def test_where_the_daemon_is(ctl: Callable[..., int], api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARMCTL_URL", "http://farm.local:9000/")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    ctl("plan")
    ctl("--url", "http://other:1", "plan")
    ctl("plan", "--url", "http://third:2")
    assert [str(request.url) for request in api.asked] == [
        "http://farm.local:9000/api/v1/plan",
        "http://other:1/api/v1/plan",
        "http://third:2/api/v1/plan",
    ]


def test_a_token_file_that_is_not_there_is_exit_2(
    ctl: Callable[..., int], api: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ctl("plan", "--token-file", tmp_path / "none") == 2
    assert capsys.readouterr().err.startswith(f"error token-unreadable: {tmp_path}/none: No such file")
    assert not api.asked


def test_a_machine_that_does_not_stop_is_told(
    ctl: Callable[..., int], api: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = {"stopped": ["mk4-01"], "not_stopped": ["mk4-09"]}
    api.answers["POST", "/estop"] = lambda request: httpx.Response(200, json=answer)
    assert ctl("estop", "--all", "--json") == 1
    shown = capsys.readouterr()
    assert json.loads(shown.out) == answer
    assert shown.err.startswith("error not-stopped: mk4-09: ")
