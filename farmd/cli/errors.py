"""What both command lines say when something goes wrong, and how they end.

Each error is one line on stderr, `error CODE: what; remedy`. With `--json` the same goes to stdout
as a document. Knows exit codes; knows no command.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import typer

from farmd.model.errors import ConfigError, ConfigErrors, ErrorCode, FarmdError

OK, REFUSED, WRONG, NO_DAEMON = 0, 1, 2, 3
INTERRUPTED = 130

USAGE = ErrorCode("usage", "the command line cannot be understood", "see --help")


class NoDaemon(FarmdError):
    """No daemon answers. The caller starts it, or names another one."""


@dataclass(frozen=True, slots=True)
class Told:
    """An error as it is shown, whoever raised it."""

    code: str
    what: str
    where: str = ""
    remedy: str = ""

    @classmethod
    def of(cls, error: FarmdError) -> Told:
        return cls(**error.as_dict())

    def line(self) -> str:
        place = f"{self.where}: " if self.where else ""
        remedy = f"; {self.remedy}" if self.remedy else ""
        text = f"error {self.code}: {place}{self.what}{remedy}"
        return "".join(c if c.isprintable() else " " for c in text)

    def as_dict(self) -> dict[str, str]:
        return {"code": self.code, "what": self.what, "where": self.where, "remedy": self.remedy}


class Failed(Exception):
    """A command ends with these errors. `document` is what `--json` prints in place of the first error."""

    def __init__(
        self,
        errors: Iterable[Told],
        exit_code: int = REFUSED,
        document: Mapping[str, Any] | None = None,
    ) -> None:
        self.errors = tuple(errors)
        self.exit_code = exit_code
        self.document = document
        super().__init__("\n".join(error.line() for error in self.errors))


def failed(error: FarmdError | ConfigErrors) -> Failed:
    """An error of the other rooms as the end of a command."""
    if isinstance(error, ConfigErrors):
        errors = [Told.of(each) for each in error.errors]
        return Failed(errors, WRONG, {"errors": [each.as_dict() for each in errors]})
    if isinstance(error, NoDaemon):
        return Failed([Told.of(error)], NO_DAEMON)
    return Failed([Told.of(error)], WRONG if isinstance(error, ConfigError) else REFUSED)


def run(app: typer.Typer, program: str, args: Sequence[str], state: object = None) -> int:
    """Run a command line to its exit code. `state` becomes the `obj` of the commands' context."""
    try:
        code = app(args=list(args), prog_name=program, obj=state, standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else OK
    except Failed as error:
        return _end(error, args)
    except (FarmdError, ConfigErrors) as error:
        return _end(failed(error), args)
    except typer.TyperException as error:
        what = error.format_message().rstrip(".")
        command = next((f" {arg}" for arg in args if not arg.startswith("-")), "")
        remedy = f"see `{program}{command} --help`"
        if what.startswith("No such command"):
            remedy = f"see `{program} --help`"
        return _end(Failed([Told(USAGE.name, what, "", remedy)], WRONG), args)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone (`| head`); Python must not try to flush the rest.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return REFUSED


def _end(error: Failed, args: Sequence[str]) -> int:
    for told in error.errors:
        print(told.line(), file=sys.stderr)
    if "--json" in args:
        document = error.document or {"error": error.errors[0].as_dict()}
        print(json.dumps(document, ensure_ascii=False))
    return error.exit_code
