"""Where in a TOML file each key stands: `tomllib` gives values without lines, errors need both.

Knows TOML's grammar, not its values and not our settings. It reads text that `tomllib` has
accepted already, so it looks only for where things begin and end.
"""

from __future__ import annotations

import re
import tomllib

Path = tuple[str | int, ...]
"""Keys from the outside in; an element of an array by its index from 0."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SPACE = re.compile(r"[ \t]*")
_FILLER = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_PLAIN_VALUE = re.compile(r"[^,\]}#\n]*")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{1,2}(?!"))?'
    r"|'''.*?'''(?:'{1,2}(?!'))?"
    r'|"(?:\\.|[^"\\])*"'
    r"|'[^']*'",
    re.DOTALL,
)


class Lines:
    """The line of every table, key and array element of a TOML text."""

    def __init__(self, text: str) -> None:
        self._lines = _Scanner(text).scan()

    def of(self, path: Path) -> int:
        """The line where `path` begins, counted from 1; of what encloses it where it is not there."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 1)


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text.replace("\r\n", "\n")
        self._at = 0
        self._line = 1
        self._counted_to = 0
        self._found: dict[Path, int] = {}
        self._lengths: dict[Path, int] = {}
        """How many tables each array of tables has so far."""

    def scan(self) -> dict[Path, int]:
        table: Path = ()
        while character := self._next():
            if self._text.startswith("[[", self._at):
                table = self._array_header()
            elif character == "[":
                table = self._table_header()
            else:
                self._pair(table)
        return self._found

    def _here(self) -> int:
        self._line += self._text.count("\n", self._counted_to, self._at)
        self._counted_to = self._at
        return self._line

    def _note(self, path: Path, line: int) -> None:
        # A key that is spread over several dotted keys or headers stands where it is first seen.
        self._found.setdefault(path, line)

    def _skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        text = match.group() if match else ""
        self._at += len(text)
        return text

    def _next(self) -> str:
        """The first character that is no blank and no comment; empty at the end."""
        self._skip(_FILLER)
        return self._text[self._at : self._at + 1]

    def _dotted(self) -> list[str]:
        parts = []
        while True:
            self._skip(_SPACE)
            if self._text[self._at] in "\"'":
                (part,) = tomllib.loads(f"{self._skip(_STRING)} = 0")
            else:
                part = self._skip(_BARE_KEY)
            parts.append(part)
            self._skip(_SPACE)
            if self._text[self._at] != ".":
                return parts
            self._at += 1

    def _within(self, parts: list[str], line: int) -> Path:
        """The path of a header's keys: inside an array of tables the last table is meant."""
        path: Path = ()
        for part in parts:
            path = (*path, part)
            self._note(path, line)
            if path in self._lengths:
                path = (*path, self._lengths[path] - 1)
        return path

    def _table_header(self) -> Path:
        line = self._here()
        self._at += 1
        path = self._within(self._dotted(), line)
        self._at += 1
        self._found[path] = line
        return path

    def _array_header(self) -> Path:
        line = self._here()
        self._at += 2
        *outer, last = self._dotted()
        self._at += 2
        array = (*self._within(outer, line), last)
        self._note(array, line)
        index = self._lengths.get(array, 0)
        self._lengths[array] = index + 1
        path = (*array, index)
        self._note(path, line)
        return path

    def _pair(self, table: Path) -> None:
        line = self._here()
        path = table
        for part in self._dotted():
            path = (*path, part)
            self._note(path, line)
        self._at += 1
        self._skip(_SPACE)
        self._value(path)

    def _value(self, path: Path) -> None:
        match self._text[self._at]:
            case "[":
                self._array(path)
            case "{":
                self._inline_table(path)
            case '"' | "'":
                self._skip(_STRING)
            case _:
                self._skip(_PLAIN_VALUE)

    def _array(self, path: Path) -> None:
        self._at += 1
        index = 0
        while (character := self._next()) != "]":
            if character == ",":
                self._at += 1
                continue
            self._note((*path, index), self._here())
            self._value((*path, index))
            index += 1
        self._at += 1

    def _inline_table(self, path: Path) -> None:
        self._at += 1
        while (character := self._next()) != "}":
            if character == ",":
                self._at += 1
                continue
            self._pair(path)
        self._at += 1
