"""A machine's terminal as text: what was sent and received, line by line. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from rich.text import Text

from farmd.cli.text import plain

View = Mapping[str, Any]

_LOUD = ("Error:", "!!", "Resend", "rs ", "fatal:", "echo:Unknown command")
"""Beginnings of lines that a person should not miss."""


def terminal_text(lines: Iterable[View], *, on_terminal: bool, after: int | None = None) -> Iterator[Text]:
    """Each line with its time, and a word where some were not kept; arrows and colours on a terminal only.

    `after` is the number of the line before the first.
    """
    sent, received = ("→", "←") if on_terminal else ("Send:", "Recv:")
    for line in lines:
        if after is not None and line["number"] > after + 1:
            yield Text("… lines in between were not kept", "dim")
        after = line["number"]
        at = datetime.fromisoformat(line["at"]).astimezone()
        shown = Text(f"{at:%H:%M:%S}.{at.microsecond // 1000:03} ", "dim")
        style = "cyan" if line["sent"] else "bold red" if line["text"].startswith(_LOUD) else ""
        yield shown.append(f"{sent if line['sent'] else received} {plain(line['text'])}", f"not dim {style}")
