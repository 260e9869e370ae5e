"""Every error code stands in docs/OPERATIONS.md as the code declares it; so do the rules of `farmctl why`.

`python tests/docs/test_error_codes.py` writes the table of codes anew.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import farmd
import farmd_drivers
from farmd.model.errors import ErrorCode, declared_codes

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "OPERATIONS.md"
COMMAND = "python tests/docs/test_error_codes.py"
BEGIN = f"<!-- error codes: written by `{COMMAND}`, do not edit -->\n"
END = "<!-- error codes: end -->"


def everything() -> Iterator[ModuleType]:
    """All modules of both packages; the migrations are run by Alembic alone, and scripts do nothing on import."""
    for package in (farmd, farmd_drivers):
        for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if ".migrations" not in found.name:
                yield importlib.import_module(found.name)


def shipped_codes() -> dict[str, ErrorCode]:
    """The codes of the shipped packages, by name; what else a test run has loaded is left out."""
    own = {
        value.name
        for module in everything()
        for value in vars(module).values()
        if isinstance(value, ErrorCode)
    }
    return {name: code for name, code in declared_codes().items() if name in own}


def table() -> str:
    rows = (f"| `{code.name}` | {code.meaning} | {code.remedy} |\n" for code in shipped_codes().values())
    return "| code | meaning | remedy |\n|---|---|---|\n" + "".join(rows)


def rewritten(page: str) -> str:
    """The page with the table as the code has it."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin, "the marker before the table is missing"
    assert end, "the marker behind the table is missing"
    return before + begin + table() + end + after


def rules() -> set[str]:
    """The names of all obstacles that are written out in the daemon's code."""
    names = set()
    for path in (ROOT / "farmd" / "daemon").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Obstacle":
                first = node.args[0]
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    names.add(first.value)
    return names


def test_every_error_code_is_in_operations_as_the_code_has_it() -> None:
    page = PAGE.read_text()
    assert page == rewritten(page), f"docs/OPERATIONS.md is behind the code: run `{COMMAND}`"


def test_codes_and_texts_fit_their_form() -> None:
    for code in shipped_codes().values():
        assert re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", code.name)
        for text in (code.meaning, code.remedy):
            assert text, code.name
            assert "|" not in text, code.name
            assert not text.endswith("."), code.name


def test_every_rule_of_why_is_in_operations() -> None:
    section = PAGE.read_text().partition("\n## What keeps a machine from a job\n")[2].partition("\n## ")[0]
    documented = set(re.findall(r"^\| `([a-z-]+)` \|", section, flags=re.MULTILINE))
    findings = {"nozzle-too-cold", "outside-volume", "forbidden-command"}
    assert documented - findings == rules()


if __name__ == "__main__":
    PAGE.write_text(rewritten(PAGE.read_text()))
