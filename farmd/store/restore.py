"""Putting a back-up in place of a farm that is not there any more, in a new epoch.

Nothing is written before all of the back-up was read and found right, and nothing over a farm that has
anything in it. The database comes last: a restore that was broken off leaves a folder that no daemon starts
on, and that the next restore cleans up. What the farm did after the back-up was made, nobody here knows: a
`FarmRestored` fact says so, doubts every start that may have been on its way, voids all permits and puts
the farm into safe mode.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from sqlalchemy import make_url, update
from sqlalchemy.exc import SQLAlchemyError

from farmd.model import facts as f
from farmd.model.apply import apply
from farmd.model.errors import ConfigError, ErrorCode, Refused
from farmd.store.backup import CONFIG, DATABASE, Backup, check, sync_folder, synced
from farmd.store.copying import copy_rows
from farmd.store.database import open_read_only, said
from farmd.store.lock import DataLock
from farmd.store.store import Entry, Store
from farmd.store.tables import table

NOT_EMPTY = ErrorCode(
    "farm-not-empty",
    "there is a farm already; a back-up is never put over one",
    "move its data folder away (and empty its PostgreSQL database), or name another data_dir",
)
RESTORE_FAILED = ErrorCode(
    "restore-failed", "the back-up could not be put in place", "look at the disk, then try again"
)
RESTORE_UNFINISHED = ErrorCode(
    "restore-unfinished",
    "a restore into this folder was broken off",
    "run `farmd restore` again; it begins anew",
)
MARK = "restoring"
"""A file in the data folder while a restore is under way."""
_OTHERS = {"farmd.lock", MARK}


def restore(
    backup: Backup, url: str, data_dir: Path, *, at: float, anchors: Path | None = None
) -> f.FarmRestored:
    """Restore a back-up as the farm of `url` and `data_dir`; the fact by which it begins.

    Raises `Refused(NOT_EMPTY | BACKUP_DAMAGED | RESTORE_FAILED)`, `ConfigError` (a newer schema among them).
    """
    check(backup)
    with _told(data_dir), DataLock(data_dir):
        parsed = make_url(url)
        database = data_dir / (parsed.database or "") if parsed.get_backend_name() == "sqlite" else None
        _require_empty(data_dir, database, url)
        (data_dir / MARK).touch(mode=0o600)
        sync_folder(data_dir)
        _put_files(backup, data_dir)
        fact = _put_sqlite(backup, database, at) if database else _put_rows(backup, url, data_dir, at)
        if anchors is not None and anchors.exists():
            # They are of what came after the back-up; kept, but nothing to measure the new record by.
            anchors.rename(anchors.with_name(f"{anchors.name}.before-{int(at)}"))
        (data_dir / MARK).unlink()
        sync_folder(data_dir)
    return fact


def require_no_restore(data_dir: Path) -> None:
    """Raises `ConfigError(RESTORE_UNFINISHED)`."""
    if (data_dir / MARK).exists():
        raise ConfigError(RESTORE_UNFINISHED, where=str(data_dir))


def _require_empty(data_dir: Path, database: Path | None, url: str) -> None:
    if (data_dir / MARK).exists():
        for left in (data_dir / "vault", data_dir / "drivers"):
            shutil.rmtree(left, ignore_errors=True)
    else:
        for path in sorted(data_dir.iterdir()):
            if path.name not in _OTHERS and (not path.is_dir() or any(path.rglob("*"))):
                raise Refused(NOT_EMPTY, f"there is {path.name}", where=str(data_dir))
        if database is not None and database.exists():
            raise Refused(NOT_EMPTY, "there is a database", where=str(database))
    if database is not None:
        return
    with Store.open(url, data_dir=data_dir) as store:
        if store.load().last_seq:
            raise Refused(NOT_EMPTY, "its database has facts in it", where=str(data_dir))


def _put_files(backup: Backup, data_dir: Path) -> None:
    for name in backup.files:
        if name in (DATABASE, CONFIG):
            continue
        to = data_dir / name
        if not to.resolve().is_relative_to(data_dir.resolve()):
            raise Refused(RESTORE_FAILED, "it would lie outside the data folder", where=name)
        to.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.copyfile(backup.path(name), to)
        to.chmod(0o400 if name.startswith("vault/") else 0o600)
        if synced(to) != backup.files[name]:
            raise Refused(RESTORE_FAILED, "it does not read as it was written", where=str(to))
    for folder in (path for path in data_dir.rglob("*") if path.is_dir()):
        sync_folder(folder)


def _put_sqlite(backup: Backup, database: Path, at: float) -> f.FarmRestored:
    beside = _unpacked(backup, database)
    with Store.open(f"sqlite:///{beside}", data_dir=database.parent) as store:
        fact = _begin_epoch(store, backup, at)
    # Closed, it is one file.
    synced(beside)
    os.rename(beside, database)
    sync_folder(database.parent)
    return fact


def _put_rows(backup: Backup, url: str, data_dir: Path, at: float) -> f.FarmRestored:
    beside = _unpacked(backup, data_dir / DATABASE)
    # Brought up to this version's schema on the way, and into its new epoch: all of it goes over at once, so
    # that the server never holds a record on which a daemon of another data folder would just go on.
    with Store.open(f"sqlite:///{beside}", data_dir=data_dir) as store:
        fact = _begin_epoch(store, backup, at)
    source = open_read_only(beside)
    try:
        with Store.open(url, data_dir=data_dir) as store:
            store.fill(lambda target: copy_rows(source.writer, target))
        return fact
    finally:
        source.close()
        beside.unlink()


def _unpacked(backup: Backup, database: Path) -> Path:
    beside = database.with_name(f"{database.name}.{MARK}")
    for suffix in ("", "-wal", "-shm"):
        Path(f"{beside}{suffix}").unlink(missing_ok=True)
    shutil.copyfile(backup.path(DATABASE), beside)
    beside.chmod(0o600)
    if synced(beside) != backup.files[DATABASE]:
        raise Refused(RESTORE_FAILED, "it does not read as it was written", where=str(beside))
    return beside


def _begin_epoch(store: Store, backup: Backup, at: float) -> f.FarmRestored:
    farm = store.load().farm
    fact = f.FarmRestored(
        at=at,
        actor="offline",
        # Above any number of starts that the farm can have had since the back-up was made.
        fence=max(farm.counters.get("fence", 0) + 1, int(at)),
        last_seq=backup.facts,
        last_at=backup.last_at,
    )
    store.commit([Entry((fact,), apply(farm, fact))])
    meta = table("meta")
    # From here on it is another journal than that of the farm that went on after the back-up.
    store.fill(lambda c: c.execute(update(meta).where(meta.c.key == "node").values(value=uuid4().hex)))
    return fact


@contextmanager
def _told(data_dir: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SQLAlchemyError) as error:
        what = said(error) if isinstance(error, SQLAlchemyError) else error.strerror or str(error)
        raise Refused(RESTORE_FAILED, what, where=str(data_dir)) from error
