"""The lock of a data folder: one farmd at a time.

A `flock` on a file in it, which the kernel drops when its holder dies. The file says who holds it,
for people; only the lock itself counts.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from farmd.model.errors import ConfigError, ErrorCode, Refused

DATA_DIR_LOCKED = ErrorCode(
    "data-dir-locked",
    "another farmd uses this data folder",
    "stop it first; while the daemon runs, use farmctl",
)
DATA_DIR_UNUSABLE = ErrorCode(
    "data-dir-unusable",
    "the data folder cannot be used",
    "set `data_dir` to a folder on a local disk that farmd may write to",
)

_NAME = "farmd.lock"


class DataLock:
    """Held from construction to `release`, or for a `with` block.

    Raises `Refused(DATA_DIR_LOCKED)`, `ConfigError(DATA_DIR_UNUSABLE)`.
    """

    def __init__(self, data_dir: Path) -> None:
        self._fd: int | None = None
        try:
            self._take(data_dir)
        except BlockingIOError:
            raise Refused(
                DATA_DIR_LOCKED, f"it is held by {_holder(data_dir)}", where=str(data_dir)
            ) from None
        except OSError as error:
            raise ConfigError(DATA_DIR_UNUSABLE, str(error), where=str(data_dir)) from error

    def _take(self, data_dir: Path) -> None:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(data_dir / _NAME, flags, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            since = datetime.now(UTC).isoformat(timespec="seconds")
            who = {"pid": os.getpid(), "since": since, "host": socket.gethostname()}
            os.ftruncate(fd, 0)
            os.pwrite(fd, json.dumps(who).encode(), 0)
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd

    def release(self) -> None:
        """Give the folder up; again does nothing."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()


def _holder(data_dir: Path) -> str:
    try:
        who = json.loads((data_dir / _NAME).read_bytes())
        return f"process {who['pid']} on {who['host']} since {who['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        # Between taking the lock and writing its name, a holder has none.
        return "a process that has just started"
