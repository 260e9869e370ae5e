"""Numbers of parts as people type them after `farmctl clear`: `3` of a whole build, `J-2=3` of one job."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import typer


def counted_body(good: Sequence[str], scrap: Sequence[str]) -> dict[str, Any]:
    """The numbers as the API takes them. Raises `typer.BadParameter`."""
    body: dict[str, Any] = {}
    by_job: dict[str, dict[str, int]] = {}
    for option, texts in (("good", good), ("scrap", scrap)):
        for text in texts:
            job_id, equals, number = text.rpartition("=")
            of = by_job.setdefault(job_id, {}) if equals else body
            if option in of:
                raise typer.BadParameter(f"--{option} {text} is the second of its kind")
            of[option] = _number(number, option, text)
    if by_job and body:
        raise typer.BadParameter("give numbers for the whole build, or JOB=N for its jobs, not both")
    return {"counts": by_job} if by_job else body


def _number(text: str, option: str, typed: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text):
        raise typer.BadParameter(f"--{option} {typed[:40]} is neither a number, 0 or more, nor JOB=N")
    return int(text)
