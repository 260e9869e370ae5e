"""Whose fault it is that a driver raised: told as an error with a code and a remedy, and as a machine's fault."""

from __future__ import annotations

from farmd.model.errors import ErrorCode, FarmdError, MachineFault
from farmd.model.machine import Fault

DRIVER_BUG = ErrorCode(
    "driver-bug",
    "the machine's driver failed with an error of its own",
    "restart the machine and report the log entry to the driver's maker; then `farmctl release NAME`",
)


def bug_of(error: Exception) -> MachineFault:
    """A driver's bug, as its machine's fault."""
    fault = MachineFault(DRIVER_BUG, f"{type(error).__name__}: {error}")
    fault.__cause__ = error
    return fault


def cause_of(error: Exception) -> FarmdError:
    """What a driver's `serve` failed of. Of a group of its tasks, an error of ours before any other."""
    error = _first_cause(error)
    return error if isinstance(error, FarmdError) else bug_of(error)


def fault_of(error: FarmdError) -> Fault:
    return Fault(error.code.name, printable(error.what), printable(error.remedy))


def printable(text: str) -> str:
    """Text from outside, fit for the record: what it cannot keep is shown as an escape."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def _first_cause(error: Exception) -> Exception:
    if not isinstance(error, ExceptionGroup):
        return error
    causes = [_first_cause(each) for each in error.exceptions]
    return next((cause for cause in causes if isinstance(cause, FarmdError)), causes[0])
