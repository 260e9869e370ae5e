"""The store: the journal of facts, the tables of state, the vault of files. The only place with SQL.

Synchronous; which thread calls is the caller's business, except that one thread commits.
"""

from farmd.store.errors import StoreFailed
from farmd.store.journal import require_storable
from farmd.store.lock import DataLock
from farmd.store.reader import Answer, EventRecord, Loaded
from farmd.store.store import Entry, Store
from farmd.store.throughput import By, ThroughputRow
from farmd.store.vault import Sink, StoredFile, Vault
from farmd.store.verify import Finding, fold, verify

__all__ = [
    "Answer",
    "By",
    "DataLock",
    "Entry",
    "EventRecord",
    "Finding",
    "Loaded",
    "Sink",
    "Store",
    "StoreFailed",
    "StoredFile",
    "ThroughputRow",
    "Vault",
    "fold",
    "require_storable",
    "verify",
]
