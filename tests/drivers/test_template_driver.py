"""The template that integrators copy passes the conformance kit, by its own test.

It runs in a process of its own, as theirs does: its error codes are none of farmd's.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
from pathlib import Path

TEMPLATE = Path(__file__).parents[2] / "drivers" / "template"


def test_template_passes_its_own_test() -> None:
    command = [sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": str(TEMPLATE)}
    done = subprocess.run(
        command, cwd=TEMPLATE, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_template_registers_the_driver_it_has() -> None:
    project = tomllib.loads((TEMPLATE / "pyproject.toml").read_text())["project"]
    module, _, name = project["entry-points"]["farmd.drivers"]["example"].partition(":")
    source = TEMPLATE.joinpath(*module.split(".")).with_suffix(".py").read_text()
    classes = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}
    assert [ast.unparse(base) for base in classes[name].bases] == ["fd.Driver"]
