"""Links lead somewhere, decisions are listed, files are short, and nothing names the machine that it was made on."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LONGEST = 400
NO_TEXT = (".stl", ".3mf", ".bgcode", ".png", ".gz", ".zip")

# Written so that this file does not match itself.
MACHINE_PATHS = re.compile(r"(?<![\w.-])/(?:wor[k]|roo[t]|User[s]/\w+|hom[e]/\w+)/")
REGISTRIES = re.compile(r"pyp[i]\.org|pythonhoste[d]|npmj[s]\.(?:org|com)|debia[n]\.org|crate[s]\.io")


def files() -> list[Path]:
    """What is in the repository, or would be with the next `git add --all`."""
    # Whoever owns the checkout: the list is only read.
    git = ["git", "-c", "safe.directory=*"]
    listed = [*git, "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for name in names.split("\0") if name and (path := ROOT / name).is_file()]


FILES = files()
PAGES = [path for path in FILES if path.suffix == ".md"]


def shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        there = (page.parent / name).resolve() if name else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(target)
    assert broken == []


def test_every_decision_is_listed_once_and_numbered_in_order() -> None:
    folder = ROOT / "docs" / "decisions"
    on_disk = sorted(path.name for path in folder.glob("[0-9]*.md"))
    assert re.findall(r"\]\((\d{4}-[\w-]+\.md)\)", (folder / "README.md").read_text()) == on_disk
    assert [int(name[:4]) for name in on_disk] == list(range(1, len(on_disk) + 1))
    for name in on_disk:
        assert (folder / name).read_text().startswith(f"# {name[:4]} "), name


@pytest.mark.parametrize("pattern", [MACHINE_PATHS, REGISTRIES], ids=["paths", "registries"])
def test_no_file_names_a_machine_or_a_registry(pattern: re.Pattern[str]) -> None:
    found = []
    for path in FILES:
        if path.suffix in NO_TEXT:
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if pattern.search(line):
                found.append(f"{shown(path)}:{number}: {line.strip()[:100]}")
    assert found == []


def test_the_patterns_find_what_they_are_for() -> None:
    for text in ("cd /wor" + "k/x", "'/roo" + "t/.ssh'", "/hom" + "e/ada/farm"):
        assert MACHINE_PATHS.search(text)
    assert REGISTRIES.search("https://pyp" + "i.org/simple")
    assert not MACHINE_PATHS.search("docs/work/list and /var/lib/farmd/work")


def test_no_file_of_the_program_is_too_long() -> None:
    long = {
        shown(path): lines
        for path in FILES
        if path.suffix == ".py" and shown(path).startswith(("farmd/", "drivers/"))
        if (lines := len(path.read_text().splitlines())) > LONGEST
    }
    assert long == {}, f"a file of more than {LONGEST} lines is asking to be two"
