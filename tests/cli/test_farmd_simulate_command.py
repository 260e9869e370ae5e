"""`farmd simulate`: a command line that cannot be understood is one line and exit 2, before anything is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from farmd.cli.farmd import farmd
from farmd.planner import POLICIES


def test_an_unknown_policy_is_one_line_that_names_the_known_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert farmd(["simulate", str(tmp_path / "none.toml"), "--days", "1", "--policy", "foo"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    (line,) = shown.err.splitlines()
    assert line.startswith("error usage: ")
    assert f"'foo' is not one of {', '.join(POLICIES)}; see `farmd simulate --help`" in line
