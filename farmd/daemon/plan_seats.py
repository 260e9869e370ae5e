"""Where the planner's workers sit: children of this process, or of the planner's own service behind a Unix socket.

Either way a seat is two streams and an end that can be forced; `plan_worker` sits on the other side and cannot tell.
Knows nothing of what is asked.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog

WORKER = (sys.executable, "-m", "farmd.daemon.plan_worker")
WARM = "--warm"
INTERPRETED = {"NUMBA_DISABLE_JIT": "1"}
LINE_LIMIT = 64 * 1024 * 1024

log = structlog.get_logger("planner")


class Seat(Protocol):
    """One worker. After `kill` it is gone soon, whatever it was doing; `gone` tells when."""

    @property
    def to(self) -> asyncio.StreamWriter: ...
    @property
    def out(self) -> asyncio.StreamReader: ...
    @property
    def pid(self) -> int | None: ...
    @property
    def gone(self) -> bool: ...

    def kill(self) -> None: ...

    async def wait(self) -> int | None:
        """Until it is gone; its exit code where that can be known."""
        ...


class Seats(Protocol):
    """Gives workers a seat; raises `OSError` when there is none."""

    async def take(self, *, interpreted: bool = False, warm: bool = False) -> Seat: ...


# --- children of this process -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ChildSeat:
    process: asyncio.subprocess.Process

    @property
    def to(self) -> asyncio.StreamWriter:
        assert self.process.stdin is not None
        return self.process.stdin

    @property
    def out(self) -> asyncio.StreamReader:
        assert self.process.stdout is not None
        return self.process.stdout

    @property
    def pid(self) -> int | None:
        return self.process.pid

    @property
    def gone(self) -> bool:
        return self.process.returncode is not None

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self.process.kill()

    async def wait(self) -> int | None:
        return await self.process.wait()


class Children:
    """Workers as children."""

    def __init__(self, command: Sequence[str] | None = None) -> None:
        self._command = command

    async def take(self, *, interpreted: bool = False, warm: bool = False) -> Seat:
        process = await asyncio.create_subprocess_exec(
            *(self._command or WORKER),
            *((WARM,) if warm else ()),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_LIMIT,
            env={**os.environ, **INTERPRETED} if interpreted else None,
        )
        return ChildSeat(process)


# --- behind a socket --------------------------------------------------------------------------


@dataclass(slots=True)
class SocketSeat:
    out: asyncio.StreamReader
    to: asyncio.StreamWriter
    pid: int | None = None

    @property
    def gone(self) -> bool:
        return self.to.is_closing() or self.out.at_eof()

    def kill(self) -> None:
        # The service kills the worker whose asker has gone.
        self.to.transport.abort()

    async def wait(self) -> int | None:
        with suppress(OSError):
            await self.to.wait_closed()
        return None


class ServiceSeats:
    """Workers of the service that listens at `path`; while none does, children."""

    def __init__(self, path: Path, instead: Seats | None = None) -> None:
        self._path = path
        self._instead = instead or Children()
        self._away = False

    async def take(self, *, interpreted: bool = False, warm: bool = False) -> Seat:
        try:
            out, to = await asyncio.open_unix_connection(str(self._path), limit=LINE_LIMIT)
        except OSError as error:
            if not self._away:
                log.warning("the planner's service is away", socket=str(self._path), why=str(error))
            self._away = True
            return await self._instead.take(interpreted=interpreted, warm=warm)
        if self._away:
            log.info("the planner's service is back", socket=str(self._path))
        self._away = False
        to.write(json.dumps({"interpreted": interpreted, "warm": warm}).encode() + b"\n")
        return SocketSeat(out, to)


def peer_uid(connection: socket.socket) -> int:
    """Who is at the other end of a Unix socket."""
    size = 12
    return int.from_bytes(
        connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)[4:8], sys.byteorder
    )
