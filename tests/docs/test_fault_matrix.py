"""docs/RELIABILITY.md: all 51 faults are there, and every test that the page names exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "RELIABILITY.md").read_text()
ROWS = {
    int(number): (shown, more)
    for number, shown, more in re.findall(
        r"^\| (\d+) \| [^|]+ \| [^|]+ \| ([^|]+) \| ([^|]*) \|$", PAGE, re.MULTILINE
    )
}
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)))


@cache
def named_in(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text())
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return frozenset(
        node.name for node in ast.walk(tree) if isinstance(node, kinds) and node.name.startswith("test_")
    )


def test_every_fault_has_its_row() -> None:
    assert sorted(ROWS) == list(range(1, 52))


@pytest.mark.parametrize("number", range(1, 52))
def test_a_fault_has_a_test_or_says_why_not(number: int) -> None:
    shown, more = ROWS[number]
    if "::test_" not in shown:
        assert shown.strip() == "no test yet"
        assert re.search(r"issue|yet", more), "a reason is missing"


@pytest.mark.parametrize(("path", "test"), NAMED)
def test_what_is_named_exists(path: str, test: str) -> None:
    if test:
        assert test in named_in(path)
    else:
        assert (ROOT / path).is_file()
