"""Who is at the other end of a local socket: as the kernel says (SO_PEERCRED), never as a request says.

Also that socket itself and who may reach it. Knows users and groups of this machine; knows no request and no route.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import socket
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from farmd.model.access import LADDER, Role
from farmd.model.errors import ConfigError, ErrorCode
from farmd.socketpath import reachable

UNKNOWN_ACCOUNT = ErrorCode(
    "unknown-account",
    "this computer has no user or group of this name",
    "correct `socket_users` or `socket_groups` in [api], or make the account first",
)
SOCKET_FAILED = ErrorCode(
    "socket-failed",
    "the local socket cannot be made",
    "let farmd's user write to its folder, end whoever listens there, or change `socket` in [api]",
)

SO_PEERGROUPS = 59
"""Linux 4.13 and newer; Python's socket module has no name for it."""
MOST_GROUPS = 256
NOBODY = 65534
"""As whom the kernel shows every account that has no number in this process's user namespace: it proves nothing."""
BACKLOG = 64


@dataclass(frozen=True, slots=True)
class Peer:
    """A process at the other end, by the ids that it had when it connected."""

    uid: int
    groups: frozenset[int]

    @property
    def user(self) -> str:
        return _user(self.uid)


@dataclass(frozen=True, slots=True)
class PeerRoles:
    """What peers may do: root and farmd's own user everything, others what is said of them."""

    users: Mapping[int, Role] = field(default_factory=dict)
    groups: Mapping[int, Role] = field(default_factory=dict)

    def role_of(self, peer: Peer) -> Role | None:
        """What is said of the user goes before what is said of their groups; of those the highest counts."""
        if peer.uid in (0, os.geteuid()):
            return Role.ADMIN
        if peer.uid == NOBODY:
            return None
        if peer.uid in self.users:
            return self.users[peer.uid]
        found = [self.groups[gid] for gid in peer.groups - {NOBODY} if gid in self.groups]
        ranked = sorted(found, key=lambda role: LADDER.index(role) if role in LADDER else -1)
        return ranked[-1] if ranked else None


def peer_roles(users: Mapping[str, Role], groups: Mapping[str, Role]) -> PeerRoles:
    """Accounts by name as the kernel numbers them. Raises `ConfigError(UNKNOWN_ACCOUNT)`."""
    try:
        return PeerRoles(
            {pwd.getpwnam(name).pw_uid: role for name, role in users.items()},
            {grp.getgrnam(name).gr_gid: role for name, role in groups.items()},
        )
    except KeyError as error:
        raise ConfigError(UNKNOWN_ACCOUNT, str(error.args[0]), where="[api]") from error


def sees_all_accounts() -> bool:
    """Whether this process's user namespace has all of the computer's users in it."""
    try:
        first, _, count = Path("/proc/self/uid_map").read_text(encoding="ascii").split()[:3]
    except (OSError, ValueError):
        return False
    return first == "0" and int(count) > NOBODY


def peer_of(connection: socket.socket) -> Peer:
    """Who connected. Raises `OSError` for anything but a Unix socket."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, gid = struct.unpack("3i", credentials)
    groups = {gid}
    try:
        more = connection.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, 4 * MOST_GROUPS)
    except OSError:
        # An old kernel, or more groups than have room: the first group alone counts.
        more = b""
    groups.update(struct.unpack(f"{len(more) // 4}I", more))
    return Peer(uid, frozenset(groups))


def listen_locally(path: Path, *, to_all: bool) -> socket.socket:
    """A listening Unix socket; `to_all` lets every user connect, who is then judged by `PeerRoles`.

    What a daemon that died has left there is replaced. Raises `ConfigError(SOCKET_FAILED)`.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with reachable(path) as name:
            _remove_stale(name)
            listener.bind(name)
            # Before it listens: nobody comes in between.
            os.chmod(name, 0o666 if to_all else 0o600)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigError(SOCKET_FAILED, error.strerror or str(error), where=str(path)) from error
    return listener


def _remove_stale(name: str) -> None:
    try:
        mode = os.lstat(name).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(errno.EEXIST, "a file that is no socket lies there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trying:
        try:
            trying.connect(name)
        except ConnectionRefusedError:
            os.unlink(name)
            return
    raise OSError(errno.EADDRINUSE, "another process listens there")


@lru_cache(maxsize=1024)
def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid-{uid}"
