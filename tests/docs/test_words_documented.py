"""Words, commands, metrics and drivers' settings that are not documented fail here.

So do commands that a page names and that are not there.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from farmd.api.metrics import METRICS, Metric
from farmd.cli import farmctl, farmd
from farmd.driver import driver_names, find_driver

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

# The words that the design of farmd gives one meaning each.
DESIGN_WORDS = (
    "design, order, job, part, build, route, operation, machine, run, crew, attendant, token, setup, changeover,"
    " material lot, plan, assignment, permit, fact, hold, fault, offline, uncertain, deadline, due date"
)
# Those that the code has added.
CODE_WORDS = (
    "obstacle, fitness, readiness, walk list, snapshot, schedule, step, desk, floor, ledger, fence, promise, journal,"
    " vault, record, evidence, intent, foreign run, to adopt, to void, policy, incumbent, problem, driver,"
    " capabilities, shop, farm, batch, shift, peer, remedy, role, gate, anchor, claim, safe mode, epoch, to seal"
)

PROGRAMS = {"farmd": farmd.app, "farmctl": farmctl.app}


def commands(program: str) -> set[str]:
    """The names of a program's commands."""
    return set(typer.main.get_group(PROGRAMS[program]).commands)


def glossary() -> dict[str, str]:
    """Meanings by word; rows with several words count for each."""
    meanings: dict[str, str] = {}
    for words, meaning in re.findall(
        r"^\| \*\*(.+?)\*\* \| (.+) \|$", (DOCS / "GLOSSARY.md").read_text(), re.M
    ):
        for word in words.split(", "):
            assert word not in meanings, f"{word} stands in the glossary twice"
            meanings[word] = meaning
    return meanings


@pytest.mark.parametrize("word", f"{DESIGN_WORDS}, {CODE_WORDS}".split(", "))
def test_every_word_is_in_the_glossary(word: str) -> None:
    assert glossary()[word]


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_command_is_in_the_reference(program: str) -> None:
    page = (DOCS / "CLI.md").read_text()
    assert {name for name in commands(program) if not re.search(rf"`{program} {name}\b", page)} == set()


@pytest.mark.parametrize("page", ["README.md", "docs/OPERATIONS.md"])
def test_pages_name_no_command_that_is_not_there(page: str) -> None:
    text = (ROOT / page).read_text()
    code = "\n".join(
        re.findall(r"```sh\n(.*?)```", text, re.S) + re.findall(r"`(farm(?:d|ctl) [^`]+)`", text)
    )
    named = re.findall(r"^(?:sudo )?(farmd|farmctl) ([a-z]+(?:-[a-z]+)*)\b", code, re.M)
    assert named
    assert [f"{program} {name}" for program, name in named if name not in commands(program)] == []


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_every_metric_is_documented(metric: Metric) -> None:
    assert f"`{metric.name}" in (DOCS / "METRICS.md").read_text()


@pytest.mark.parametrize("driver", driver_names())
def test_every_setting_of_a_shipped_driver_is_documented(driver: str) -> None:
    sections = (DOCS / "DRIVERS.md").read_text().split("\n## ")
    text = "".join(section for section in sections if f'`driver = "{driver}"`' in section)
    assert text, f'no section of docs/DRIVERS.md says `driver = "{driver}"`'
    settings = find_driver(driver).settings_type.model_fields
    assert [name for name in settings if f"`{name}`" not in text] == []
