"""What a failed write means: may it be tried again, or is nothing sure any more?

Where SQLite says that it wrote nothing (no room, read-only, locked by another), the transaction is gone
as a whole and may be tried again. Whatever else fails, a sync above all, leaves nobody knowing what is on
the disk, and ends the daemon. Knows error codes and files; knows no table.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import struct
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from farmd.model.errors import ErrorCode, FarmdError
from farmd.store.errors import DATABASE_DAMAGED, STORE_FAILED, StoreFailed

DISK_FULL = ErrorCode(
    "disk-full", "there is no room left on the disk", "make room on the disk of the data folder"
)
DISK_READ_ONLY = ErrorCode(
    "disk-read-only",
    "the disk can only be read",
    "look why (`dmesg` tells of errors), and mount it writable again",
)
DATABASE_BUSY = ErrorCode(
    "database-busy",
    "another program holds the database",
    "end the program that is named; nothing but farmd may write to its database",
)
_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_PENDING_BYTE, _LOCK_BYTES = 0x40000000, 512
_WAL_LOCKS, _WAL_LOCK_BYTES = 120, 8
_FLOCK = struct.Struct("hhqqi4x")


class StoreBlocked(FarmdError):
    """Nothing was written, and it may be tried again when the cause is gone."""


def trouble_of(error: Exception, said: str, holders: Holders | None) -> StoreBlocked | StoreFailed:
    """What a failed write means."""
    code = _sqlite_code(error)
    primary = code & 0xFF
    if primary in _LOCKED:
        who = holders.named() if holders is not None else ""
        return StoreBlocked(DATABASE_BUSY, f"{who or 'another program'} holds the database")
    if primary == sqlite3.SQLITE_FULL:
        return StoreBlocked(DISK_FULL, f"writing: {said}")
    if primary == sqlite3.SQLITE_READONLY:
        return StoreBlocked(DISK_READ_ONLY, f"writing: {said}")
    if code == sqlite3.SQLITE_IOERR_WRITE and holders is not None and is_read_only(holders.folder):
        return StoreBlocked(DISK_READ_ONLY, f"writing: {said}")
    if primary in _DAMAGED:
        return StoreFailed(DATABASE_DAMAGED, f"writing: {said}")
    return StoreFailed(STORE_FAILED, f"writing: {said}")


def is_damage(error: Exception) -> bool:
    return _sqlite_code(error) & 0xFF in _DAMAGED


def _sqlite_code(error: Exception) -> int:
    original = error.orig if isinstance(error, DBAPIError) else error
    return int(getattr(original, "sqlite_errorcode", 0) or 0)


def is_read_only(folder: Path) -> bool:
    return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)


class Holders:
    """Tells which other process holds locks on a SQLite database.

    Its descriptors are opened at the first question and closed with the database: to close one earlier would
    drop the locks that this process has on the file.
    """

    def __init__(self, database: Path) -> None:
        self.folder = database.parent
        self._database = database
        self._fds: dict[str, int] = {}

    def named(self) -> str:
        """`process 123 (sqlite3)`; empty when none can be told."""
        shared = Path(f"{self._database}-shm")
        for path, begin, length in (
            (shared, _WAL_LOCKS, _WAL_LOCK_BYTES),
            (self._database, _PENDING_BYTE, _LOCK_BYTES),
        ):
            if pid := self._locker(path, begin, length):
                return _process(pid)
        return ""

    def close(self) -> None:
        """Called when no connection of this process is open any more."""
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()

    def _locker(self, path: Path, begin: int, length: int) -> int:
        try:
            if path.name not in self._fds:
                self._fds[path.name] = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, begin, length, 0)
            kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(self._fds[path.name], fcntl.F_GETLK, asked))
        except OSError:
            return 0
        return 0 if kind == fcntl.F_UNLCK else int(pid)


def _process(pid: int) -> str:
    try:
        name = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return f"process {pid}"
    return f"process {pid} ({name})"
