"""The line of every key of a TOML text, in each of the ways TOML has to write one."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farmd.config.lines import Lines, Path

TEXT = '''# a farm
[farm]
name = "north # hall"   # not a comment inside
note = """one [two]
three = "four" """
raw = \'\'\'
[[machine]]
\'\'\'
dir.data."top.most" = 1

[[machine]]
name = "a"
volume_mm = [
  250,  # wide
  210, 220,
]
[machine.link]
port = "/dev/x"
'baud rate' = 115200

[[machine]]
name = "b"
link = { port = "y", baud = 9600, deep = { er = [1, {x = 2}] } }
[machine.chamber.size]
w = 1979-05-27 07:32:00Z
[[machine.tool]]
n = 0.4
[[machine.tool]]
n = 0.6
[ plain . "quoted key" ]
on = true
[[shift]]
empty = ""
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("farm",), 2),
        (("farm", "name"), 3),
        (("farm", "note"), 4),
        (("farm", "raw"), 6),
        (("farm", "dir"), 9),
        (("farm", "dir", "data", "top.most"), 9),
        (("machine",), 11),
        (("machine", 0), 11),
        (("machine", 0, "name"), 12),
        (("machine", 0, "volume_mm"), 13),
        (("machine", 0, "volume_mm", 0), 14),
        (("machine", 0, "volume_mm", 1), 15),
        (("machine", 0, "volume_mm", 2), 15),
        (("machine", 0, "link"), 17),
        (("machine", 0, "link", "port"), 18),
        (("machine", 0, "link", "baud rate"), 19),
        (("machine", 1), 21),
        (("machine", 1, "name"), 22),
        (("machine", 1, "link"), 23),
        (("machine", 1, "link", "deep", "er", 1, "x"), 23),
        (("machine", 1, "chamber"), 24),
        (("machine", 1, "chamber", "size", "w"), 25),
        (("machine", 1, "tool", 0, "n"), 27),
        (("machine", 1, "tool", 1), 28),
        (("machine", 1, "tool", 1, "n"), 29),
        (("plain", "quoted key", "on"), 31),
        (("shift", 0, "empty"), 33),
    ],
)
def test_each_way_of_writing_a_key_has_its_line(path: Path, line: int) -> None:
    assert Lines(TEXT).of(path) == line
    assert Lines(TEXT.replace("\n", "\r\n")).of(path) == line


def test_what_is_not_there_is_where_its_table_begins() -> None:
    lines = Lines(TEXT)
    assert lines.of(("machine", 1, "driver")) == 21
    assert lines.of(("machine", 0, "link", "baud")) == 17
    assert lines.of(("api", "listen")) == 1
    assert lines.of(()) == 1
    assert Lines("").of(("farm",)) == 1


def _paths(value: Any, at: Path = ()) -> set[Path]:
    inner: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    return {(*at, key) for key, _ in inner}.union(*(_paths(item, (*at, key)) for key, item in inner))


def test_the_locator_and_the_parser_find_the_same_keys() -> None:
    assert set(Lines(TEXT)._lines) == _paths(tomllib.loads(TEXT))


_text = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=8)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


_values = st.recursive(
    st.integers(0, 99).map(str) | _text.map(_quoted) | st.just('"""a\n"b\n"""') | st.just("'''\n]}#\n'''"),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: "[ # (\n" + ",\n".join(items) + "\n]")
        | st.dictionaries(_text, inner, max_size=3).map(
            lambda items: "{" + ", ".join(f"{_quoted(k)} = {v}" for k, v in items.items()) + "}"
        )
    ),
    max_leaves=6,
)


@given(st.dictionaries(_text, _values, max_size=4))
def test_any_text_that_parses_is_located(table: dict[str, str]) -> None:
    """The line of each outermost key is the number of lines written before it."""
    text, expected = "[[t]]\n", {}
    for key, value in table.items():
        expected[key] = text.count("\n") + 1
        text += f"{_quoted(key)} = {value}\n"
    lines = Lines(text)
    assert set(lines._lines) == _paths(tomllib.loads(text))
    for key, line in expected.items():
        assert lines.of(("t", 0, key)) == line
