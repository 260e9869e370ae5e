"""The errors of farmd, sorted by who must act, each with a stable code and a remedy.

An `ErrorCode` is declared once, beside the code that raises it, and is never renamed: scripts
and the operators' handbook rely on it (a test compares all declared codes with
docs/OPERATIONS.md). What differs from case to case goes into `what` and `where`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

_declared: dict[str, ErrorCode] = {}


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """A stable name for one thing that can go wrong, and what a person does about it."""

    name: str
    meaning: str
    remedy: str

    def __post_init__(self) -> None:
        other = _declared.setdefault(self.name, self)
        if other != self:
            raise ValueError(f"error code {self.name!r} is declared twice")


def declared_codes() -> dict[str, ErrorCode]:
    """All codes declared by the modules imported so far, by name."""
    return dict(sorted(_declared.items()))


class FarmdError(Exception):
    """Base of all errors with a code; printed as one line `error CODE: what; remedy`."""

    def __init__(self, code: ErrorCode, what: str = "", *, where: str = "", remedy: str = "") -> None:
        self.code = code
        self.what = what or code.meaning
        self.where = where
        self.remedy = remedy or code.remedy
        super().__init__(str(self))

    @property
    def told(self) -> str:
        """Where, what and the remedy, in one line."""
        place = f"{self.where}: " if self.where else ""
        return f"{place}{self.what}; {self.remedy}"

    def __str__(self) -> str:
        return f"{self.code.name}: {self.told}"

    def as_dict(self) -> dict[str, str]:
        """The error as the API and `--json` show it."""
        return {"code": self.code.name, "what": self.what, "where": self.where, "remedy": self.remedy}


class Refused(FarmdError):
    """The caller asked for something that cannot be done as asked. The caller acts."""


class ConfigError(FarmdError):
    """The configuration is wrong. The operator acts, before the daemon runs."""


class ConfigErrors(Exception):
    """All errors of a configuration at once; `errors` is never empty."""

    def __init__(self, errors: Iterable[ConfigError]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(str(e) for e in self.errors))


class LinkLost(FarmdError):
    """The link to a machine is gone. Retried by itself."""


class MachineFault(FarmdError):
    """A machine needs a person; the remedy says for what."""


class ProtocolError(FarmdError):
    """The peer broke the rules of its protocol."""
