"""The conformance kit: does a driver keep the promises that the daemon relies on?

An integrator writes a `Rig` (a machine, real or simulated, and what can be done to it) and calls
`check_driver` from any test. Each promise is tried on a rig of its own, so one that is broken does
not hide the next; all that are broken come in one `PromisesBroken`. Needs no test framework. It is
for tests: nothing of the daemon imports it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import StrEnum

from farmd.driver.kit_promises import PROMISES
from farmd.driver.kit_stage import Broken, NotOffered, Rig, Stage
from farmd.driver.kit_standing import STANDING

__all__ = ["PromisesBroken", "Result", "Rig", "Status", "Verdict", "check_driver", "promises"]

NO_TASKS_LEFT = "no-tasks-left"


class Status(StrEnum):
    KEPT = "kept"
    BROKEN = "broken"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one promise. `why` tells each way in which it was broken, or why it was skipped."""

    name: str
    status: Status
    why: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of all promises tried; prints as one line each."""

    results: tuple[Result, ...]

    def names(self, status: Status) -> tuple[str, ...]:
        return tuple(result.name for result in self.results if result.status is status)

    @property
    def kept(self) -> tuple[str, ...]:
        return self.names(Status.KEPT)

    @property
    def broken(self) -> tuple[str, ...]:
        return self.names(Status.BROKEN)

    @property
    def skipped(self) -> tuple[str, ...]:
        return self.names(Status.SKIPPED)

    def __str__(self) -> str:
        texts = promises()
        lines = []
        for result in self.results:
            lines.append(f"{result.status.value:8}{result.name}: {texts[result.name]}")
            lines += [f"{'':10}{why}" for why in result.why]
        return "\n".join(lines)


class PromisesBroken(Exception):
    """The driver breaks promises; the text names each, `verdict` has them all."""

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict
        shown = Verdict(tuple(result for result in verdict.results if result.status is Status.BROKEN))
        super().__init__(f"{len(shown.results)} promises are broken\n{shown}")


def promises() -> dict[str, str]:
    """Every promise by its name, in the order in which they are tried."""
    every: list[Callable[..., object]] = [*PROMISES, *STANDING]
    texts = {_name(promise): " ".join((promise.__doc__ or "").split()) for promise in every}
    return {**texts, NO_TASKS_LEFT: "No task of a driver outlives its cancelled `serve`."}


async def check_driver(make_rig: Callable[[], Rig], *, only: Collection[str] = ()) -> Verdict:
    """Tries every promise, or only the named ones, each on a fresh rig.

    Returns what came of them, or raises `PromisesBroken`.
    """
    found: dict[str, list[str]] = {}
    skipped: dict[str, str] = {}
    scenes = [scene for scene in PROMISES if not only or _name(scene) in only]
    for scene in scenes or PROMISES:
        name = _name(scene)
        stage = Stage(make_rig)
        with stage.noting_tasks():
            try:
                await stage.rig.open()
                await scene(stage)
            except Broken as error:
                found.setdefault(name, []).append(str(error))
            except NotOffered as error:
                skipped[name] = str(error)
            finally:
                found.setdefault(NO_TASKS_LEFT, []).extend(
                    f"in {name}: {left}" for left in await stage.leave()
                )
        for player in (stage, *stage.neighbours):
            for watch in player.watches:
                for standing in STANDING:
                    found.setdefault(_name(standing), []).extend(
                        f"in {name}: {complaint}" for complaint in standing(watch)
                    )
    tried = [name for name in promises() if not only or name in only]
    verdict = Verdict(tuple(_result(name, found.get(name, []), skipped.get(name)) for name in tried))
    if verdict.broken:
        raise PromisesBroken(verdict)
    return verdict


def _result(name: str, broken: list[str], skipped: str | None) -> Result:
    if broken:
        return Result(name, Status.BROKEN, tuple(dict.fromkeys(broken)))
    if skipped is not None:
        return Result(name, Status.SKIPPED, (skipped,))
    return Result(name, Status.KEPT)


def _name(promise: Callable[..., object]) -> str:
    return promise.__name__.replace("_", "-")
