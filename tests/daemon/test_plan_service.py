"""The planner's own service: workers behind a Unix socket, ended with whoever asked for them."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from farmd.daemon import plan_service
from farmd.daemon.plan_seats import Children, Seat, ServiceSeats, SocketSeat, peer_uid
from farmd.daemon.plan_service import MOST_WORKERS, PlanService
from farmd.model.errors import ConfigError

ECHO = (
    "import os, sys\n"
    "print(os.getpid(), sys.argv[1:], os.environ.get('NUMBA_DISABLE_JIT'), flush=True)\n"
    "for line in sys.stdin: print(line.upper(), end='', flush=True)\n"
)
DEAF = "import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(600)\n"


class Asker:
    """Takes seats, and gives them back at the end."""

    def __init__(self, path: Path) -> None:
        self._seats = ServiceSeats(path)
        self.taken: list[Seat] = []

    async def take(self, *, interpreted: bool = False, warm: bool = False) -> Seat:
        self.taken.append(await self._seats.take(interpreted=interpreted, warm=warm))
        return self.taken[-1]


@asynccontextmanager
async def a_service(path: Path, worker: str) -> AsyncIterator[Asker]:
    service = PlanService(path, Children((sys.executable, "-c", worker)))
    await service.start()
    asker = Asker(path)
    try:
        async with asyncio.timeout(30):
            yield asker
    finally:
        await service.close()
        for seat in asker.taken:
            seat.kill()
            await seat.wait()
    assert not is_there(path)


def is_there(path: Path) -> int:
    """Its permissions, or 0."""
    return path.stat().st_mode & 0o777 if path.exists() else 0


async def until_gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{pid} is alive")


async def heard(seat: Seat) -> bytes:
    """All it says until it is hung up on."""
    # What the other end had not read comes back as a reset.
    with suppress(ConnectionResetError):
        return await seat.out.read()
    return b""


async def test_a_worker_answers_through_the_socket(tmp_path: Path) -> None:
    async with a_service(tmp_path / "p.sock", ECHO) as seats:
        seat = await seats.take()
        pid, rest = (await seat.out.readline()).decode().split(maxsplit=1)
        assert rest.split() == ["[]", "None"]
        seat.to.write(b"question\n" * 20_000)
        for _ in range(20_000):
            assert await seat.out.readline() == b"QUESTION\n"
        assert not seat.gone
        seat.to.close()
        await until_gone(int(pid))


async def test_it_may_be_interpreted_or_only_warm(tmp_path: Path) -> None:
    async with a_service(tmp_path / "p.sock", ECHO) as seats:
        interpreted = await seats.take(interpreted=True)
        assert (await interpreted.out.readline()).split()[1:] == [b"[]", b"1"]
        warm = await seats.take(warm=True)
        assert (await warm.out.readline()).split()[1:] == [b"['--warm']", b"None"]


async def test_a_worker_that_hangs_goes_with_its_asker(tmp_path: Path) -> None:
    async with a_service(tmp_path / "p.sock", DEAF) as seats:
        seat = await seats.take()
        pid = int(await seat.out.readline())
        seat.kill()
        await until_gone(pid)


async def test_a_worker_that_dies_ends_the_connection(tmp_path: Path) -> None:
    async with a_service(tmp_path / "p.sock", "print('once')") as seats:
        seat = await seats.take()
        assert await seat.out.read() == b"once\n"
        assert seat.gone


async def test_the_service_ends_its_workers(tmp_path: Path) -> None:
    async with a_service(tmp_path / "p.sock", DEAF) as seats:
        seat = await seats.take()
        pid = int(await seat.out.readline())
    await until_gone(pid)


async def test_strangers_and_crowds_get_no_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_service(tmp_path / "p.sock", DEAF) as seats:
        crowd = [await seats.take() for _ in range(MOST_WORKERS)]
        for seat in crowd:
            assert await seat.out.readline()
        assert await heard(await seats.take()) == b""
        for seat in crowd:
            seat.kill()
        monkeypatch.setattr(plan_service, "peer_uid", lambda connection: os.getuid() + 1)
        assert await heard(await seats.take()) == b""


async def test_nonsense_for_a_hello_is_hung_up_on(tmp_path: Path) -> None:
    async with a_service(tmp_path / "p.sock", ECHO):
        for hello in (b"GET / HTTP/1.1\r\n", b"[]\n", b"x" * 100_000 + b"\n"):
            out, to = await asyncio.open_unix_connection(str(tmp_path / "p.sock"))
            to.write(hello)
            assert await heard(SocketSeat(out, to)) == b""
            to.close()


async def test_without_the_service_a_child_sits_in(tmp_path: Path) -> None:
    echo = Children((sys.executable, "-c", ECHO))
    seat = await ServiceSeats(tmp_path / "p.sock", echo).take()
    assert (await seat.out.readline()).split()[1:] == [b"[]", b"None"]
    seat.kill()
    await seat.wait()


async def test_a_dead_socket_is_replaced_and_a_live_one_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.sock"
    dead = await asyncio.start_unix_server(lambda r, w: None, str(path))
    dead.close()
    assert is_there(path)
    async with a_service(path, ECHO):
        assert is_there(path) == 0o600
        with pytest.raises(ConfigError) as refused:
            await PlanService(path).start()
        assert refused.value.code.name == "planner-socket"


async def test_the_other_end_of_a_socket_is_known(tmp_path: Path) -> None:
    uids: list[int] = []

    def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        uids.append(peer_uid(writer.get_extra_info("socket")))
        writer.close()

    server = await asyncio.start_unix_server(on_connection, str(tmp_path / "s"))
    out, to = await asyncio.open_unix_connection(str(tmp_path / "s"))
    assert await out.read() == b""
    to.close()
    server.close()
    assert uids == [os.getuid()]
