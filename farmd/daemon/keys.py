"""The keys: tokens given out and taken back, checked and turned into facts.

Like the desk and the floor: returns when what it did is on disk, raises `Refused` with nothing changed.
Of a token only its SHA-256 comes here; whoever asks for one makes the secret.
"""

from __future__ import annotations

import re

from farmd.daemon.ledger import Ledger
from farmd.driver import now
from farmd.model import facts as f
from farmd.model.access import Role, Token
from farmd.model.errors import ErrorCode, Refused

BAD_TOKEN = ErrorCode(
    "bad-token", "a token cannot be made like this", "see `farmd token add --help` for what each value means"
)
FIRST = "first"
"""The name of the token that the first start makes; an administrator's."""
RESERVED = frozenset({"daemon", "machine", "offline", "unix", FIRST})
"""Names that stand for somebody else in the record. `first` is the token file's: given to another token, the
next start would let in again what the file holds, though it was revoked."""
ENGINEER_DAYS = 90
"""An engineer's token ends by itself: so many days from now, unless it is told to end sooner."""
LATEST_S = 32503680000.0

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Keys:
    """Gives tokens out and takes them back."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def tokens(self) -> list[Token]:
        """All that ever were, of one name the latest, by name."""
        known = self._ledger.farm.tokens
        return [known[name] for name in sorted(known)]

    async def add(
        self, name: str, role: Role, sha256: str, actor: str, expires_at: float | None = None
    ) -> Token:
        """A token that may be used when this returns. `sha256` is of its secret."""
        fact = added(name, role, sha256, actor, now(), expires_at)
        await self._ledger.record(fact)
        return self._ledger.farm.tokens[name]

    async def revoke(self, name: str, actor: str, reason: str = "") -> Token:
        """A token that opens nothing any more, already before this returns, and whatever the disk is like."""
        fact = f.TokenRevoked(at=now(), actor=actor, token=name, reason=reason)
        await self._ledger.soon(self._ledger.record(fact))
        return self._ledger.farm.tokens[name]

    async def take_first(self, sha256: str) -> Token:
        """The token in the token file is the administrator's first one.

        A file with another token than before replaces it; a token that was revoked stays revoked.
        """
        known = self._ledger.farm.tokens.get(FIRST)
        if known is not None and known.sha256 == sha256:
            return known
        facts: list[f.Fact] = []
        if known is not None and known.revoked_at is None:
            why = "another token is in the token file"
            facts.append(f.TokenRevoked(at=now(), actor="daemon", token=FIRST, reason=why))
        facts.append(f.TokenAdded(at=now(), actor="daemon", token=FIRST, role=Role.ADMIN, sha256=sha256))
        await self._ledger.record(*facts)
        return self._ledger.farm.tokens[FIRST]


def added(
    name: str, role: Role, sha256: str, actor: str, at: float, expires_at: float | None = None
) -> f.TokenAdded:
    """The fact of a new token. Raises `Refused(BAD_TOKEN)`."""
    if not _NAME.fullmatch(name) or name in RESERVED:
        what = "a name has up to 64 letters, digits, '.', '_' and '-', and is none that farmd uses itself"
        raise Refused(BAD_TOKEN, what, where="name")
    if not _SHA256.fullmatch(sha256):
        raise Refused(BAD_TOKEN, "this is not the SHA-256 of a token", where="sha256")
    if expires_at is not None and not at < expires_at < LATEST_S:
        raise Refused(BAD_TOKEN, "it would end before it begins, or never in our time", where="expires")
    if role is Role.ENGINEER:
        most = at + ENGINEER_DAYS * 86400.0
        expires_at = most if expires_at is None else expires_at
        if expires_at > most:
            what = f"an engineer's token ends after {ENGINEER_DAYS} days at the latest"
            raise Refused(BAD_TOKEN, what, where="expires")
    return f.TokenAdded(at=at, actor=actor, token=name, role=role, sha256=sha256, expires_at=expires_at)
