"""Who asks: tokens, where the first one is kept, and the name under which acts are recorded.

Tokens are found by their SHA-256; the daemon keeps no secret. A token that is revoked opens nothing from
that moment on. Knows no route and no request.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from farmd.api.errors import BAD_REQUEST
from farmd.api.peers import Peer, PeerRoles
from farmd.daemon.ledger import Ledger, Record
from farmd.driver import now
from farmd.model.access import Role, Token
from farmd.model.errors import ConfigError, ErrorCode, Refused
from farmd.model.facts import TokenAdded, TokenRevoked

TOKEN_FILE = ErrorCode(
    "token-file",
    "the token file cannot be used",
    "make it readable for farmd's user alone (`chmod 600`), or delete it and a new one is made at the next start",
)

_LONGEST_NAME = 64
_SHORTEST_TOKEN = 32
_OWN = re.compile(r"daemon|machine:.*")
"""Names that only farmd itself acts under."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `name` is the actor of the facts that follow: the token's name, behind a person's own where
    the request gives one (`ana@workshop`). `token` alone is proven; `good_until` is when it ends by itself."""

    name: str
    token: str
    role: Role
    good_until: float | None = None


class Auth:
    """Knows the tokens of a farm by their hashes, as the ledger has them this moment."""

    def __init__(self, ledger: Ledger, peers: PeerRoles | None = None) -> None:
        self._farm = ledger.farm
        self._peers = peers or PeerRoles()
        self._by_hash: dict[str, Token] = {}
        self._ends: dict[str, asyncio.Event] = {}
        self._read()
        ledger.subscribe(self._on_records)

    def knows(self, token: str) -> bool:
        """Whether this token opens anything now."""
        return self._good(token) is not None

    def caller(self, headers: Mapping[str, str], peer: Peer | None = None) -> Caller | None:
        """Who asks, by a token in these headers, or as `peer` of the local socket; None where neither says.

        Raises `Refused(BAD_REQUEST)`.
        """
        kind, _, secret = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer":
            secret = headers.get("x-api-key", "")
        if not secret and peer is not None:
            role = self._peers.role_of(peer)
            name = f"{peer.user}@unix"
            return Caller(name, name, role) if role is not None else None
        token = self._good(secret.strip())
        if token is None:
            return None
        person = _person(headers.get("x-farmd-actor", ""))
        name = token.name if person in ("", token.name) else f"{person}@{token.name}"
        return Caller(name, token.name, token.role, token.expires_at)

    def end_of(self, caller: Caller) -> asyncio.Event:
        """Set when the caller's token is revoked."""
        return self._ends.setdefault(caller.token, asyncio.Event())

    def _good(self, secret: str) -> Token | None:
        # What is looked up is a hash, so the time that it takes says nothing of the secret.
        token = self._by_hash.get(sha256_of_token(secret))
        return token if token is not None and token.is_good(now()) else None

    def _read(self) -> None:
        self._by_hash = {token.sha256: token for token in self._farm.tokens.values()}

    def _on_records(self, records: tuple[Record, ...]) -> None:
        for record in records:
            match record.fact:
                case TokenAdded():
                    self._read()
                case TokenRevoked(token=name):
                    self._read()
                    if (ended := self._ends.pop(name, None)) is not None:
                        ended.set()


def new_token() -> str:
    """A secret with 256 random bits."""
    return secrets.token_urlsafe(32)


def load_or_create_token(path: Path) -> str:
    """The token in a file that only its owner may read; made with 256 random bits where there is none.

    Raises `ConfigError(TOKEN_FILE)`.
    """
    try:
        if not path.exists():
            _create(path)
        return _read(path)
    except (OSError, UnicodeDecodeError) as error:
        what = getattr(error, "strerror", None) or "it is not text"
        raise ConfigError(TOKEN_FILE, what, where=str(path)) from error


def _read(path: Path) -> str:
    with path.open("rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        token = file.read(4096).decode("ascii").strip()
    if mode & 0o077:
        raise ConfigError(TOKEN_FILE, f"others may read it (mode {mode:o})", where=str(path))
    if len(token) < _SHORTEST_TOKEN or not token.isprintable() or " " in token:
        raise ConfigError(TOKEN_FILE, "it holds no token", where=str(path))
    return token


def _create(path: Path) -> None:
    """All of the file or none of it; a file that another process makes meanwhile stays."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(fd, "w") as file:
            file.write(new_token() + "\n")
            file.flush()
            os.fsync(fd)
        try:
            os.link(fresh, path)
        except FileExistsError:
            return
    finally:
        fresh.unlink()


def _person(header: str) -> str:
    """The name that a request gives: printable, short, and never one that the daemon itself uses."""
    try:
        text = header.encode("latin-1").decode()
    except UnicodeDecodeError:
        text = header
    name = "".join(char for char in text if char.isprintable()).strip()[:_LONGEST_NAME]
    if _OWN.fullmatch(name):
        raise Refused(
            BAD_REQUEST, f"{name!r} is a name that only farmd itself acts under", where="X-Farmd-Actor"
        )
    return name


def sha256_of_token(secret: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
