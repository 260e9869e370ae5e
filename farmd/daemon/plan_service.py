"""The planner as a service of its own: a worker for each connection at a Unix socket.

So the daemon's process may be locked up tighter than code that is compiled at run time allows, and what plans has no
network. Whoever hangs up has his worker killed: a worker that hangs costs nobody anything. Only the service's own user
and root are served. Knows nothing of what is asked.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from contextlib import suppress
from pathlib import Path

import structlog

from farmd.daemon.plan_seats import Children, Seat, Seats, peer_uid
from farmd.model.errors import ConfigError, ErrorCode

SOCKET_TAKEN = ErrorCode(
    "planner-socket",
    "the planner's socket cannot be made",
    "another planner may be running; see who owns the folder, or name another --socket",
)
HELLO_S = 10.0
HELLO_LIMIT = 4096
PIECE = 1 << 18
MOST_WORKERS = 8

log = structlog.get_logger("planner")


class PlanService:
    """Serves until `close`."""

    def __init__(self, path: Path, seats: Seats | None = None) -> None:
        self._path = path
        self._seats = seats or Children()
        self._server: asyncio.Server | None = None
        self._serving: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def start(self) -> None:
        """Listen; raises `ConfigError` when the socket is somebody else's."""
        self._server = await asyncio.start_unix_server(self._on_connection, sock=_listener(self._path))

    def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving = asyncio.get_running_loop().create_task(self._serve(reader, writer), name="planner")
        self._serving[serving] = writer
        serving.add_done_callback(self._serving.pop)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        uid = peer_uid(writer.get_extra_info("socket"))
        try:
            if uid not in (0, os.getuid()):
                log.warning("a stranger at the planner's socket", uid=uid)
            elif len(self._serving) > MOST_WORKERS:
                log.warning("too many askers at the planner's socket", most=MOST_WORKERS)
            else:
                await self._work(reader, writer)
        except (OSError, ValueError, EOFError, TimeoutError) as error:
            log.warning("a planner's worker was not served", why=str(error) or repr(error))
        finally:
            writer.transport.abort()

    async def _work(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(HELLO_S):
            line = await reader.readline()
        hello = json.loads(line) if len(line) <= HELLO_LIMIT else None
        if not isinstance(hello, dict):
            raise ValueError("not a hello")
        seat = await self._seats.take(
            interpreted=hello.get("interpreted") is True, warm=hello.get("warm") is True
        )
        try:
            await _join(seat, reader, writer)
        finally:
            seat.kill()
            await seat.wait()

    async def close(self) -> None:
        """Hear nobody any more and end all workers."""
        if self._server is not None:
            self._server.close()
        # Hung up on, each session ends as if its asker had gone, its worker with it.
        for writer in self._serving.values():
            writer.transport.abort()
        await asyncio.gather(*self._serving)
        _remove(self._path)


async def _join(seat: Seat, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry bytes both ways until either side ends."""
    there = asyncio.create_task(_carry(reader, seat.to))
    back = asyncio.create_task(_carry(seat.out, writer))
    try:
        await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
        if back.done():
            with suppress(OSError):
                await writer.drain()
                writer.write_eof()
    finally:
        for task in (there, back):
            task.cancel()
        await asyncio.gather(there, back, return_exceptions=True)


async def _carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await source.read(PIECE):
            sink.write(piece)
            await sink.drain()


def _listener(path: Path) -> socket.socket:
    """A socket at `path` for this user alone, in the place of one that nobody listens at any more."""
    listener = socket.socket(socket.AF_UNIX)
    mask = os.umask(0o177)
    try:
        if path.is_socket():
            _refuse_a_live_one(path)
            path.unlink()
        listener.bind(str(path))
    except OSError as error:
        listener.close()
        raise ConfigError(SOCKET_TAKEN, error.strerror or str(error), where=str(path)) from error
    finally:
        os.umask(mask)
    return listener


def _refuse_a_live_one(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as caller, suppress(ConnectionRefusedError):
        caller.connect(str(path))
        raise OSError("somebody is listening there already")


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
