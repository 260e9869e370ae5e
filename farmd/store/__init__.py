"""The store: the journal of facts, the tables of state, the vault of files. The only place with SQL.

Synchronous; which thread calls is the caller's business, except that one thread commits.
"""

from farmd.store.anchors import Anchor, check_anchors, set_back
from farmd.store.aside import Opened, note_damage, open_record
from farmd.store.backup import Backup, back_up, backups_in, rotate
from farmd.store.backup import check as check_backup
from farmd.store.backup import find as find_backup
from farmd.store.errors import DATABASE_DAMAGED, StoreFailed
from farmd.store.journal import require_storable
from farmd.store.lock import DataLock
from farmd.store.migrating import bring_up
from farmd.store.reader import Answer, EventRecord, Loaded
from farmd.store.restore import require_no_restore, restore
from farmd.store.store import Entry, Store
from farmd.store.telemetry import SPAN_S, Rolled, Telemetry, TelemetryFailed
from farmd.store.throughput import By, ThroughputRow
from farmd.store.trouble import DATABASE_BUSY, DISK_FULL, DISK_READ_ONLY, StoreBlocked, is_read_only
from farmd.store.vault import Sink, StoredFile, Vault, VaultFile
from farmd.store.vault_keys import VaultKeys, make_key, read_keys
from farmd.store.verify import Finding, fold, verify

__all__ = [
    "DATABASE_BUSY",
    "DATABASE_DAMAGED",
    "DISK_FULL",
    "DISK_READ_ONLY",
    "SPAN_S",
    "Anchor",
    "Answer",
    "Backup",
    "By",
    "DataLock",
    "Entry",
    "EventRecord",
    "Finding",
    "Loaded",
    "Opened",
    "Rolled",
    "Sink",
    "Store",
    "StoreBlocked",
    "StoreFailed",
    "StoredFile",
    "Telemetry",
    "TelemetryFailed",
    "ThroughputRow",
    "Vault",
    "VaultFile",
    "VaultKeys",
    "back_up",
    "backups_in",
    "bring_up",
    "check_anchors",
    "check_backup",
    "find_backup",
    "fold",
    "is_read_only",
    "make_key",
    "note_damage",
    "open_record",
    "read_keys",
    "require_no_restore",
    "require_storable",
    "restore",
    "rotate",
    "set_back",
    "verify",
]
