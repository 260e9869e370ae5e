"""The state of a farm: what the facts add up to, as far as it is open.

Dictionaries of frozen entities. Only the ledger changes them, by `merge`; everyone else reads.
Closed work (a job done, a run cleared) leaves memory and lives on in the store.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from farmd.model.access import Token
from farmd.model.machine import Machine
from farmd.model.safe_mode import SafeMode
from farmd.model.work import Build, FileRecord, Job, Lot, Run


@dataclass(frozen=True, slots=True)
class Counter:
    """The highest number given out so far: `job`, `build`, or the `fence` of daemon starts."""

    name: str
    value: int


@dataclass(frozen=True, slots=True)
class Gone:
    """A machine that is no longer configured."""

    name: str


Entity = Job | Build | Run | Machine | Lot | FileRecord | Counter | Gone | Token | SafeMode


@dataclass(slots=True)
class Farm:
    """Open work and all machines. `revision` counts facts; a plan names the one it was made from."""

    jobs: dict[str, Job] = field(default_factory=dict)
    builds: dict[str, Build] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    machines: dict[str, Machine] = field(default_factory=dict)
    lots: dict[str, Lot] = field(default_factory=dict)
    files: dict[str, FileRecord] = field(default_factory=dict)
    """By SHA-256; the files of open jobs."""
    counters: dict[str, int] = field(default_factory=dict)
    revision: int = 0
    tokens: dict[str, Token] = field(default_factory=dict)
    """All that ever were, by name; of two of one name the later."""
    safe_modes: dict[str, SafeMode] = field(default_factory=dict)
    """Why nothing may be started, by cause; empty when all is well."""

    def merge(self, changed: Iterable[Entity]) -> None:
        """Take over what `apply` returned; closed entities leave."""
        for entity in changed:
            match entity:
                case Job():
                    _put(self.jobs, entity.id, entity)
                    if entity.is_closed:
                        self._drop_file(entity.file_sha256)
                case Build():
                    _put(self.builds, entity.id, entity)
                case Run():
                    _put(self.runs, entity.id, entity)
                case Machine():
                    self.machines[entity.name] = entity
                case Gone():
                    self.machines.pop(entity.name, None)
                case Lot():
                    self.lots[entity.id] = entity
                case FileRecord():
                    self.files[entity.sha256] = entity
                case Counter():
                    self.counters[entity.name] = entity.value
                case Token():
                    self.tokens[entity.name] = entity
                case SafeMode():
                    _put(self.safe_modes, entity.cause, entity)

    def _drop_file(self, sha256: str) -> None:
        if not any(job.file_sha256 == sha256 for job in self.jobs.values()):
            self.files.pop(sha256, None)

    def copy(self) -> Farm:
        """A snapshot: the dictionaries are copied, the entities are frozen."""
        return Farm(
            dict(self.jobs),
            dict(self.builds),
            dict(self.runs),
            dict(self.machines),
            dict(self.lots),
            dict(self.files),
            dict(self.counters),
            self.revision,
            dict(self.tokens),
            dict(self.safe_modes),
        )


E = TypeVar("E", Job, Build, Run, SafeMode)


def _put(entities: dict[str, E], key: str, entity: E) -> None:
    if entity.is_closed:
        entities.pop(key, None)
    else:
        entities[key] = entity
