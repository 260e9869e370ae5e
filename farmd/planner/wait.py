"""A stretch of time in which a step of a plan waits for one thing. Knows neither problems nor plans.

The kinds, for runs and batches:
`available` (the machine is taken by what the problem knows nothing of), `release`, `busy` (by another step of the
plan), `cooldown`, `maintenance` (the machine is shut, or would be before the end), `shift` (nobody's working time, or
too little left of it), `people` (all at work elsewhere), `choice` (all are there; the plan leaves it until then),
`clear`, `changeover`, `spool` (the lot that is loaded has too little left), `power` (prepared, while as many as may of
its power group warm up). Operations at stations have besides: `after` (an operation before it, or its build, and the
lag behind that) and `batch` (what shares its furnace).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Wait:
    """What a step waits for, from when until when, in seconds; `by` are the steps, crews or setups that it is about."""

    kind: str
    from_s: float
    until_s: float
    what: str
    by: tuple[str, ...] = ()
