"""Every command is in docs/CLI.md, explains itself, and starts quickly."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command

from farmd.cli import farmctl, farmd
from farmd.cli.errors import run
from farmd.cli.session import Session

PAGE = (Path(__file__).parents[2] / "docs" / "CLI.md").read_text()
APPS: dict[str, typer.Typer] = {"farmctl": farmctl.app, "farmd": farmd.app}


def _commands(program: str) -> dict[str, Any]:
    commands: dict[str, Any] = get_command(APPS[program]).commands  # type: ignore[attr-defined]
    return commands


EVERY = [(program, name) for program in APPS for name in _commands(program)]


@pytest.mark.parametrize("program", APPS)
def test_the_page_names_exactly_the_commands_there_are(program: str) -> None:
    section = PAGE.partition(f"\n## {program}\n")[2].partition("\n## ")[0]
    named = re.findall(rf"^\| `{program} ([a-z-]+)[^`]*` \| .+ \|$", section, flags=re.MULTILINE)
    assert sorted(named) == sorted(_commands(program))


@pytest.mark.parametrize(("program", "name"), EVERY)
def test_a_command_explains_itself(program: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(APPS[program], program, [name, "--help"], Session()) == 0
    text = capsys.readouterr().out
    first = text.split("\n\n")[1].strip()
    assert len(first) > 10
    assert f"\n  {program} {name}" in text, "an example"
    for option in re.findall(r"^  (?:-\w, )?(--[\w-]+).*$", text, flags=re.MULTILINE):
        assert re.search(rf"{option}\b.*\S", text)


@pytest.mark.parametrize("name", _commands("farmctl"))
def test_every_command_of_farmctl_has_the_common_options(name: str) -> None:
    options = {option for parameter in _commands("farmctl")[name].params for option in parameter.opts}
    assert {"--json", "--url", "--token", "--token-file"} <= options


@pytest.mark.parametrize("program", APPS)
def test_the_version(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(APPS[program], program, ["--version"], Session()) == 0
    assert re.fullmatch(rf"{program} \d+\.\d+\.\d+\n", capsys.readouterr().out)


@pytest.mark.parametrize("program", APPS)
def test_help_loads_nothing_heavy(program: str) -> None:
    """Rich and httpx wait for a command that shows or asks; solver, store and server for theirs."""
    script = (
        f"import sys; from farmd.cli.{program} import {program}; code = {program}(['--help'])\n"
        "heavy = {'ortools', 'fastapi', 'sqlalchemy', 'numpy', 'httpx', 'rich', 'pydantic', 'uvicorn'}\n"
        "sys.exit(f'{code} {heavy & set(sys.modules)}' if code or heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Commands:" in done.stdout


def test_ctrl_c_is_130_and_a_closed_pipe_is_quiet() -> None:
    app = typer.Typer()

    @app.callback()
    def root() -> None:
        """Nothing."""

    @app.command()
    def wait() -> None:
        raise KeyboardInterrupt

    assert run(app, "test", ["wait"]) == 130
    script = "from farmd.cli.farmd import main; import sys; sys.argv[1:] = ['plan', '--schema']; main()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 1
