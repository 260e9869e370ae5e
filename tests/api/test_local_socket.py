"""The local socket: the kernel says who asks, and nothing that a request carries does."""

from __future__ import annotations

import asyncio
import grp
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from farmd.api import Auth, HttpServer, Limits, PeerRoles, create_app, listen_locally, peer_roles
from farmd.api.peers import Peer, peer_of
from farmd.cli.farmctl import farmctl
from farmd.model.access import Role
from farmd.model.errors import ConfigError

STRANGER = 54321
"""A user and a group that this computer does not name."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that other users can reach."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@asynccontextmanager
async def listening(shop: Any, path: Path, peers: PeerRoles, *, to_all: bool = True) -> AsyncIterator[Path]:
    auth = Auth(shop.service.ledger, peers)
    app = create_app(shop.service, auth=auth, max_upload_bytes=1_000_000, limits=Limits(0, 0))
    local = listen_locally(path, to_all=to_all)
    server = HttpServer(app, "127.0.0.1", 0, local=local)
    await server.start()
    yield path
    await server.stop()
    local.close()


async def ask(path: Path, method: str, address: str, **headers: str) -> httpx.Response:
    transport = httpx.AsyncHTTPTransport(uds=str(path))
    async with httpx.AsyncClient(transport=transport, base_url="http://x", headers=headers) as client:
        return await client.request(method, f"/api/v1{address}")


ASK = """
import socket, sys
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])
s.sendall(sys.argv[2].replace("|", "\\r\\n").encode()); s.settimeout(10)
answer = b""
while piece := s.recv(65536): answer += piece
print(answer.decode())
"""


async def ask_as_stranger(path: Path, *lines: str, groups: tuple[int, ...] = ()) -> str:
    """What a process of another user is answered; skips where this process may not become another."""
    if os.geteuid() != 0:
        pytest.skip("only root can ask as somebody else")
    request = "|".join([*lines, "Host: x", "Connection: close", "", ""])
    asking = await asyncio.to_thread(
        lambda: subprocess.run(
            ["/usr/bin/env", "python3", "-c", ASK, str(path), request],
            user=STRANGER,
            group=STRANGER,
            extra_groups=list(groups),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    )
    return asking.stdout + asking.stderr


async def test_the_daemons_own_user_is_an_administrator(shop: Any, folder: Path) -> None:
    async with listening(shop, folder / "s", PeerRoles(), to_all=False) as path:
        assert path.stat().st_mode & 0o777 == 0o600
        me = (await ask(path, "GET", "/me")).json()
        user = pwd.getpwuid(os.geteuid()).pw_name
        assert me == {"name": f"{user}@unix", "token": f"{user}@unix", "role": "admin"}
        held = await ask(path, "POST", "/machines/mk4-01/hold", **{"X-Farmd-Actor": "somebody-else"})
        assert held.status_code == 200
        newest = (await shop.get("/events?newest_first=true&limit=1"))["events"][0]
        assert newest["actor"] == f"{user}@unix"


async def test_a_token_goes_before_the_peer(shop: Any, folder: Path) -> None:
    async with listening(shop, folder / "s", PeerRoles()) as path:
        assert (await ask(path, "GET", "/farm", Authorization="Bearer wrong")).status_code == 401
        good = shop.client.headers["Authorization"]
        assert (await ask(path, "GET", "/me", Authorization=good)).json()["token"] == "first"


async def test_others_are_judged_by_the_kernels_word(shop: Any, folder: Path) -> None:
    stop = "POST /api/v1/machines/mk4-01/estop HTTP/1.1"
    async with listening(shop, folder / "s", PeerRoles()) as path:
        # Headers of every kind that a proxy or a liar sends.
        lies = ("X-Farmd-Actor: root", "X-Forwarded-For: 127.0.0.1", "Remote-User: root", "Peer: 0")
        told = await ask_as_stranger(path, "GET /api/v1/farm HTTP/1.1", *lies)
        assert "401" in told.splitlines()[0]
        assert f"uid-{STRANGER} has no role on the local socket" in told
    for peers, groups in (
        (PeerRoles(users={STRANGER: Role.VIEWER}), ()),
        (PeerRoles(groups={STRANGER: Role.VIEWER}), ()),
        (PeerRoles(groups={4242: Role.VIEWER}), (4242,)),
    ):
        async with listening(shop, folder / "s", peers) as path:
            assert '"role":"viewer"' in await ask_as_stranger(path, "GET /api/v1/me HTTP/1.1", groups=groups)
            refused = await ask_as_stranger(path, stop, groups=groups)
            assert "403" in refused.splitlines()[0]
    assert shop.service.farm.machines["mk4-01"].held is None


async def test_a_socket_for_farmds_user_alone_lets_nobody_else_connect(shop: Any, folder: Path) -> None:
    async with listening(shop, folder / "s", PeerRoles(), to_all=False) as path:
        assert "PermissionError" in await ask_as_stranger(path, "GET /api/v1/me HTTP/1.1")


async def test_tcp_has_no_peer(shop: Any, server: HttpServer) -> None:
    async with httpx.AsyncClient(base_url=server.url) as client:
        assert (await client.get("/api/v1/me")).status_code == 401


async def test_farmctl_takes_the_socket_that_is_there(
    shop: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("FARMCTL_URL", "FARMCTL_TOKEN", "FARMCTL_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    async with listening(shop, folder / "s", PeerRoles()) as path:
        monkeypatch.setattr("farmd.cli.session.LOCAL_SOCKET", path)
        monkeypatch.setattr("farmd.cli.session.LOCAL_URL", f"unix:{path}")
        assert await asyncio.to_thread(farmctl, ["whoami"]) == 0
        assert capsys.readouterr().out.endswith("@unix: admin\n")
        assert await asyncio.to_thread(farmctl, ["whoami", "--url", f"unix://{path}"]) == 0
        assert await asyncio.to_thread(farmctl, ["whoami", "--url", "http://127.0.0.1:1"]) == 3
    assert await asyncio.to_thread(farmctl, ["whoami", "--url", f"unix:{path}"]) == 3
    assert "error no-daemon" in capsys.readouterr().err


async def test_a_path_longer_than_the_kernel_takes(shop: Any, folder: Path) -> None:
    deep = folder / ("d" * 90) / ("e" * 90)
    deep.mkdir(parents=True)
    async with listening(shop, deep / "farmd.sock", PeerRoles()) as path:
        assert await asyncio.to_thread(farmctl, ["whoami", "--url", f"unix:{path}"]) == 0


def test_what_is_left_of_a_dead_daemon_is_replaced_and_a_living_one_is_not(folder: Path) -> None:
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(folder / "s"))
    dead.close()
    with listen_locally(folder / "s", to_all=False) as listener:
        with pytest.raises(ConfigError) as told:
            listen_locally(folder / "s", to_all=False)
        assert told.value.code.name == "socket-failed"
        assert listener.fileno() > 0
    (folder / "file").write_text("precious")
    with pytest.raises(ConfigError):
        listen_locally(folder / "file", to_all=False)
    assert (folder / "file").read_text() == "precious"
    with pytest.raises(ConfigError):
        listen_locally(folder / "nowhere" / "s", to_all=False)


def test_of_several_groups_the_highest_role_counts_and_a_user_before_them() -> None:
    roles = PeerRoles({7: Role.VIEWER}, {1: Role.MACHINE, 2: Role.PLANNER, 3: Role.TECHNICIAN})
    assert roles.role_of(Peer(9, frozenset({1, 2, 3}))) is Role.PLANNER
    assert roles.role_of(Peer(9, frozenset({1}))) is Role.MACHINE
    assert roles.role_of(Peer(7, frozenset({2}))) is Role.VIEWER
    assert roles.role_of(Peer(9, frozenset({4}))) is None
    # Whom the kernel cannot name in this namespace is nobody, whatever is said of that name.
    unnamed = PeerRoles({65534: Role.VIEWER}, {65534: Role.VIEWER})
    assert unnamed.role_of(Peer(65534, frozenset({65534}))) is None
    assert unnamed.role_of(Peer(9, frozenset({65534}))) is None
    assert roles.role_of(Peer(0, frozenset())) is Role.ADMIN
    assert Peer(4_000_000_000, frozenset()).user == "uid-4000000000"


def test_accounts_by_name() -> None:
    group = grp.getgrgid(0).gr_name
    roles = peer_roles({"daemon": Role.PLANNER}, {group: Role.VIEWER})
    assert (roles.users, roles.groups) == ({pwd.getpwnam("daemon").pw_uid: Role.PLANNER}, {0: Role.VIEWER})
    for users, groups in (({"no-such-user": Role.VIEWER}, {}), ({}, {"no-such-group": Role.VIEWER})):
        with pytest.raises(ConfigError) as told:
            peer_roles(users, groups)
        assert told.value.code.name == "unknown-account"


def test_the_peer_of_a_socket_pair_is_this_process() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        peer = peer_of(ours)
    assert peer.uid == os.geteuid()
    assert {os.getegid(), *os.getgroups()} == peer.groups
    assert sys.platform == "linux"
