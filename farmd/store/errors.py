"""What goes wrong with the store itself, as codes and as the one fatal exception.

Knows no table and no connection.
"""

from __future__ import annotations

from farmd.model.errors import ErrorCode, FarmdError

STORE_FAILED = ErrorCode(
    "store-failed",
    "the database could not be read or written",
    "look at the disk (space, errors) or the database server, then start farmd again",
)
JOURNAL_BROKEN = ErrorCode(
    "journal-broken",
    "the journal's chain of hashes does not hold",
    "run `farmd verify` to see where; restore from the last good back-up",
)
DATABASE_DAMAGED = ErrorCode(
    "database-damaged",
    "the database file itself is damaged",
    "check the disk, then restore from the last good back-up",
)
NOT_STORABLE = ErrorCode(
    "not-storable",
    "a value cannot be kept as it is",
    "leave out NUL and broken characters; numbers are finite and below 2^53",
)


class StoreFailed(FarmdError):
    """The store can no longer be trusted. Fatal: the daemon stops, and nothing is tried again."""
