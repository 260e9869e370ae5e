"""Who asks: tokens, where the first one is kept, and the name under which acts are recorded.

Tokens are compared by their SHA-256 in constant time; the daemon keeps no token itself. Knows no
route and no request.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from farmd.api.errors import BAD_REQUEST
from farmd.model.errors import ConfigError, ErrorCode, Refused

TOKEN_FILE = ErrorCode(
    "token-file",
    "the token file cannot be used",
    "make it readable for farmd's user alone (`chmod 600`), or delete it and a new one is made at the next start",
)

OPERATOR = "operator"
"""Who acts when the request names nobody."""
_LONGEST_NAME = 64
_SHORTEST_TOKEN = 32


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `name` is the actor of the facts that follow."""

    name: str


class Auth:
    """Knows the tokens, by their hashes."""

    def __init__(self, *tokens: str) -> None:
        self._hashes = tuple(_hash(token) for token in tokens)

    def knows(self, token: str) -> bool:
        given = _hash(token)
        # All are compared, so that the time says nothing.
        return sum(hmac.compare_digest(given, known) for known in self._hashes) > 0

    def caller(self, headers: Mapping[str, str]) -> Caller | None:
        """Who asks by these headers; None without a known token. Raises `Refused(BAD_REQUEST)`."""
        kind, _, token = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer":
            token = headers.get("x-api-key", "")
        if not token or not self.knows(token.strip()):
            return None
        return Caller(_actor(headers.get("x-farmd-actor", "")))


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
            file.write(secrets.token_urlsafe(32) + "\n")
            file.flush()
            os.fsync(fd)
        try:
            os.link(fresh, path)
        except FileExistsError:
            return
    finally:
        fresh.unlink()


def _actor(header: str) -> str:
    """The name as it is recorded: printable, short, and never one that the daemon itself uses."""
    try:
        text = header.encode("latin-1").decode()
    except UnicodeDecodeError:
        text = header
    name = "".join(char for char in text if char.isprintable()).strip()[:_LONGEST_NAME]
    if name == "daemon" or name.startswith("machine:"):
        raise Refused(
            BAD_REQUEST, f"{name!r} is a name that only farmd itself acts under", where="X-Farmd-Actor"
        )
    return name or OPERATOR


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
