"""What facts about tokens change; asked by `apply` alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from farmd.model import facts as f
from farmd.model.access import Token
from farmd.model.errors import ErrorCode, Refused
from farmd.model.farm import Entity, Farm

TOKEN_TAKEN = ErrorCode(
    "token-taken",
    "there is a token of this name that is still good, or this very token under another name",
    "choose another name, or revoke the old one with `farmd token revoke NAME`",
)
UNKNOWN_TOKEN = ErrorCode(
    "unknown-token", "there is no token of this name", "list them with `farmd token list`"
)
TOKEN_REVOKED = ErrorCode("token-revoked", "the token has been revoked before", "nothing needs to be done")


def token_added(farm: Farm, fact: f.TokenAdded) -> Iterable[Entity]:
    known = farm.tokens.get(fact.token)
    if known is not None and known.is_good(fact.at):
        raise Refused(TOKEN_TAKEN, "there is a token of this name that is still good", where=fact.token)
    if any(token.sha256 == fact.sha256 for token in farm.tokens.values()):
        raise Refused(TOKEN_TAKEN, "this very token is known already", where=fact.token)
    return [Token(fact.token, fact.role, fact.sha256, fact.at, fact.expires_at)]


def token_revoked(farm: Farm, fact: f.TokenRevoked) -> Iterable[Entity]:
    if (known := farm.tokens.get(fact.token)) is None:
        raise Refused(UNKNOWN_TOKEN, where=fact.token)
    if known.revoked_at is not None:
        raise Refused(TOKEN_REVOKED, where=fact.token)
    return [replace(known, revoked_at=fact.at)]
