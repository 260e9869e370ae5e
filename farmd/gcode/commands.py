"""One line of G-code in canonical form: what any firmware may take it for.

Firmwares differ in what they forgive: lower case, `M0104`, `M 104`, `G1X1Y1`, line numbers, several
commands in one line, and junk before a command. This reading forgives all of it at once, so that
nothing is hidden from the checks behind it. It knows grammar only: what a command does is known in
`motion` and `deny`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from farmd.gcode.lines import bare_command

COMMAND_LIMIT = 256
"""Bytes of one G, M or T line. Marlin's line buffer has 96."""
WORD_LIMIT = 16384
"""Bytes of one line with an extended command: the outline of an object makes long lines."""
NUMBER_LIMIT = 1e7
"""The largest number a parameter may have; beyond it no machine has a use for it."""

_START = re.compile(r"([GMT])\s*(\d{1,9})(?:\.(\d+))?")
_NEXT = re.compile(r"([GM])\s*(\d{1,9})(?:\.(\d+))?")
_WORD = re.compile(r"[A-Z_][A-Z0-9_]*")
_ARGUMENT = re.compile(r"([A-Z])\s*([-+]?(?:\d+\.?\d*|\.\d+))?")
_NAMED = re.compile(r'(?<![A-Z0-9_])([A-Z0-9_]+)\s*=\s*("[^"]*"|\S+)')
_QUOTED = re.compile(r'"[^"]*"?')
_PARENTHESES = re.compile(r"\([^)]*\)?")

TEXT_COMMANDS = frozenset({"M117", "M118", "M486"})
"""Commands whose rest of the line is words for people (a message, the name of an object)."""
FIRST_MACRO = 1000
"""M codes from here on (Bambu Lab's M1002, M1006) take parameters named M, and words."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command. `name` is canonical: "G1", "M104", "T0", or an extended word in capitals.

    `sub` is the sub-code's digits ("1" of G92.1) or ""; `values` are the letters' numbers, None where a
    letter stands without one; `named` the KEY=VALUE pairs of an extended command; `text` is the rest of
    the line as it stands (capitals kept). `repeated` are the letters that stand more than once: `values` has
    the first of them, a firmware may take the last.
    """

    name: str
    sub: str
    values: dict[str, float | None]
    named: dict[str, str]
    text: str
    repeated: frozenset[str] = frozenset()

    def number(self, letter: str) -> float | None:
        """The number of a letter, None where the letter is missing or bare."""
        return self.values.get(letter)


def parse_line(line: bytes) -> tuple[Command, ...]:
    """All commands in one line (no line break inside), in order; () for a blank line or a comment.

    A line that begins with no letter gives first a command whose name is its first character. Of a line
    longer than WORD_LIMIT the rest is not read.
    """
    raw = bare_command(line)[: WORD_LIMIT + 1].decode("latin-1")
    if not raw:
        return ()
    upper = raw.upper() if raw.isascii() else "".join(c.upper() if c < "\x80" else c for c in raw)
    start = _START.match(upper)
    if start is None:
        word = _WORD.match(upper)
        name = word[0] if word else upper[0]
        first = Command(name, "", {}, dict(_NAMED.findall(upper)), raw[len(name) :].strip())
        if name.startswith("EXCLUDE_OBJECT"):
            return (first,)
        return (first, *_commands_within(raw, upper))
    name = start[1] + str(int(start[2]))
    if name in TEXT_COMMANDS or (start[1] == "M" and int(start[2]) >= FIRST_MACRO):
        values, repeated = _arguments(upper[start.end() :])
        return (Command(name, start[3] or "", values, {}, raw[start.end() :].strip(), repeated),)
    return _commands_within(raw, upper)


def _commands_within(raw: str, upper: str) -> tuple[Command, ...]:
    bare = _QUOTED.sub(lambda quoted: " " * len(quoted[0]), upper)
    starts = list(_NEXT.finditer(bare))
    if (first := _START.match(bare)) and first[1] == "T":
        starts.insert(0, first)
    if not starts:
        return ()
    ends = [*(start.start() for start in starts[1:]), len(bare)]
    commands = []
    for start, end in zip(starts, ends, strict=True):
        name = start[1] + str(int(start[2]))
        values, repeated = _arguments(bare[start.end() : end])
        text = raw[start.end() : end].strip()
        commands.append(Command(name, start[3] or "", values, {}, text, repeated))
    return tuple(commands)


_NONE: frozenset[str] = frozenset()


def _arguments(text: str) -> tuple[dict[str, float | None], frozenset[str]]:
    """The first number of each letter, and the letters that stand more than once."""
    found: dict[str, float | None] = {}
    repeated = _NONE
    for letter, number in _ARGUMENT.findall(_PARENTHESES.sub(" ", text)):
        if letter in found:
            repeated |= {letter}
        else:
            found[letter] = float(number) if number else None
    return found, repeated


def out_of_range(command: Command) -> bool:
    """Whether a number in the command is too large for any machine to mean."""
    return any(value is not None and abs(value) > NUMBER_LIMIT for value in command.values.values())
