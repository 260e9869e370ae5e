"""Opening a farm's record, and beginning one beside it where it must not be written to.

A record that is damaged, or of a newer farmd, is left as it is. The daemon then runs in safe mode on a
fresh record of its own in `safe-mode/` of the data folder, with what can still be read of the open work:
machines are watched and can be stopped, and what happens is on record, but nothing is begun. The next
start looks at the farm's record again.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from farmd.model.codec import BAD_RECORD
from farmd.model.errors import ConfigError, FarmdError
from farmd.model.farm import Farm
from farmd.model.safe_mode import Cause
from farmd.store.database import SCHEMA_NEWER, open_database
from farmd.store.errors import DATABASE_DAMAGED, JOURNAL_BROKEN, StoreFailed
from farmd.store.reader import Loaded, Reader
from farmd.store.store import Store

FOLDER = "safe-mode"
CHECK_FIRST = "check-first"
"""A file in the data folder that says that the database was found damaged while it was used."""
SOON_BYTES = 256 << 20
"""A database up to this size is checked at each start; a larger one at night, and when found damaged."""


@dataclass(frozen=True, slots=True)
class Opened:
    """An open record, what a start takes up of it, and why it is one beside the farm's own, if it is."""

    store: Store
    loaded: Loaded
    why: tuple[Cause, str] | None = None


def open_record(url: str, *, data_dir: Path) -> Opened:
    """The farm's record; where it is out of order, a fresh one beside it. Raises `ConfigError`, `Refused`."""
    try:
        return _open(url, data_dir)
    except FarmdError as error:
        cause = _cause_of(error)
        if cause is None:
            raise
        what = f"{error.where}: {error.what}" if error.where else error.what
    return _open_aside(data_dir, _salvage(url, data_dir), (cause, what))


def note_damage(data_dir: Path) -> None:
    """The next start looks through the database before it uses it."""
    (data_dir / CHECK_FIRST).touch(mode=0o600)


def _open(url: str, data_dir: Path) -> Opened:
    store = Store.open(url, data_dir=data_dir)
    try:
        marked = data_dir / CHECK_FIRST
        if marked.exists() or store.size_bytes() <= SOON_BYTES:
            if found := store.quick_check():
                raise StoreFailed(DATABASE_DAMAGED, found, where="database")
            marked.unlink(missing_ok=True)
        return Opened(store, store.load())
    except BaseException:
        store.close()
        raise


def _cause_of(error: FarmdError) -> Cause | None:
    """Why the record must not be used; None for errors that have nothing to do with what is in it."""
    if error.code is SCHEMA_NEWER:
        return Cause.NEWER_SCHEMA
    if error.code in (DATABASE_DAMAGED, JOURNAL_BROKEN, BAD_RECORD):
        return Cause.DAMAGE
    return None


def _salvage(url: str, data_dir: Path) -> Farm:
    """Open work as far as it can be read, without permits; it belongs to no journal."""
    farm = _read(url, data_dir, lambda reader: reader.open_work())
    machines = {name: replace(machine, permit=None) for name, machine in farm.machines.items()}
    return replace(farm, machines=machines, revision=0, safe_modes={})


def _read(url: str, data_dir: Path, read: Callable[[Reader], Farm]) -> Farm:
    try:
        database = open_database(url, data_dir=data_dir, as_it_is=True)
    except ConfigError:
        return Farm()
    try:
        return read(Reader(database))
    except (FarmdError, SQLAlchemyError):
        return Farm()
    finally:
        database.close()


def _open_aside(data_dir: Path, farm: Farm, why: tuple[Cause, str]) -> Opened:
    folder = data_dir / FOLDER
    folder.mkdir(exist_ok=True, mode=0o700)
    store = Store.open(f"sqlite:///{folder / f'{secrets.token_hex(8)}.sqlite'}", data_dir=data_dir)
    store.begin_with(farm)
    loaded = store.load()
    return Opened(store, replace(loaded, farm=farm), why)
