"""Back-ups: a farm's record and files as they are at one moment, whole and checked, beside the running farm.

    DIR/farmd-20260301T031500Z/
        manifest.json         what is in it, each file with its size and SHA-256; written last
        farmd.sqlite          the database, whatever the farm's own is
        vault/ab/cd/abcd…     the files as they lie in the vault, sealed ones sealed
        drivers/NAME/…        what drivers remember
        farm.toml             the configuration that it was made with

The farm goes on meanwhile: the database is copied by SQLite from one of its snapshots, by a connection that
can only read. A back-up has its name only when all of it was synced, read again and found right.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import make_url

from farmd.model.errors import ConfigError, ErrorCode, FarmdError, Refused
from farmd.store.copying import copy_to_sqlite
from farmd.store.database import is_newest_schema, open_read_only
from farmd.store.reader import Reader
from farmd.store.verify import verify_record

BACKUP_FAILED = ErrorCode(
    "backup-failed",
    "the back-up could not be made",
    "look at the disks (space, errors) and at who may read and write them, then try again",
)
BACKUP_DAMAGED = ErrorCode(
    "backup-damaged", "the back-up is not what was written", "take another back-up, and check the disk"
)
NO_BACKUP = ErrorCode(
    "no-backup",
    "there is no back-up there",
    "name a folder that `farmd backup` has made, or one with such in it",
)
FORMAT = "farmd-backup/1"
MANIFEST = "manifest.json"
DATABASE = "farmd.sqlite"
CONFIG = "farm.toml"
_NAME = re.compile(r"farmd-\d{8}T\d{6}Z(-\d+)?")
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Backup:
    """A finished back-up, as its manifest tells."""

    folder: Path
    made_at: float
    version: str
    node: str
    facts: int
    last_hash: str
    last_at: float
    files: dict[str, tuple[int, str]]
    """By their place in the folder: size in bytes and SHA-256 as they lie there."""
    missing: tuple[str, ...]
    """Files of the record that the vault did not have, or not as they were stored."""

    def path(self, name: str) -> Path:
        return self.folder / name


def back_up(
    url: str, data_dir: Path, into: Path, *, at: float, version: str, config_file: Path | None = None
) -> Backup:
    """Make a back-up in a new folder of `into`. Raises `Refused(BACKUP_FAILED)`, `ConfigError`.

    `url` and `data_dir` are a farm's; whether a daemon runs on it does not matter.
    """
    name = datetime.fromtimestamp(at, UTC).strftime("farmd-%Y%m%dT%H%M%SZ")
    with _told(into):
        into.mkdir(parents=True, exist_ok=True, mode=0o700)
        part = into / f".{name}.{os.getpid()}"
        part.mkdir(mode=0o700)
        try:
            backup = _fill(part, url, data_dir, at, version, config_file, _newest_or_none(into))
            check(backup)
            final = into / name
            number = 1
            while final.exists():
                number += 1
                final = into / f"{name}-{number}"
            part.rename(final)
            sync_folder(into)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
    return read_manifest(final)


def rotate(into: Path, keep: int) -> list[Path]:
    """Remove all but the newest `keep` back-ups of a folder; those that were removed."""
    old = backups_in(into)[:-keep] if keep > 0 else []
    for folder in old:
        # Without its manifest it is no back-up any more, whatever becomes of the rest.
        (folder / MANIFEST).unlink()
        shutil.rmtree(folder)
    return old


def backups_in(into: Path) -> list[Path]:
    """The finished back-ups of a folder, the oldest first."""
    found = [path for path in into.iterdir() if _NAME.fullmatch(path.name) and (path / MANIFEST).is_file()]
    return sorted(found, key=lambda path: (path.name[:22], len(path.name), path.name))


def find(place: Path) -> Backup:
    """The back-up in a folder, or the newest of those in it. Raises `Refused(NO_BACKUP | BACKUP_DAMAGED)`."""
    if (place / MANIFEST).is_file():
        return read_manifest(place)
    found = backups_in(place) if place.is_dir() else []
    if not found:
        raise Refused(NO_BACKUP, where=str(place))
    return read_manifest(found[-1])


def check(backup: Backup) -> None:
    """Read all of it again: every file, the journal's chain and the state.

    Raises `Refused(BACKUP_DAMAGED)`, `ConfigError(SCHEMA_NEWER)`.
    """
    present = {
        path.relative_to(backup.folder).as_posix() for path in backup.folder.rglob("*") if not path.is_dir()
    }
    for name in sorted(present ^ {*backup.files, MANIFEST}):
        what = "it is missing" if name in backup.files else "the manifest does not know it"
        raise Refused(BACKUP_DAMAGED, what, where=str(backup.path(name)))
    for name, expected in backup.files.items():
        if _measure(backup.path(name)) != expected:
            raise Refused(BACKUP_DAMAGED, "its content is another", where=str(backup.path(name)))
    database = open_read_only(backup.path(DATABASE))
    try:
        reader = Reader(database)
        if is_newest_schema(database.writer, where=str(backup.folder)):
            found = next((f"{each.where}: {each.what}" for each in verify_record(reader)), "")
        else:
            # Of an older farmd: its tables can be compared when they have been brought up to date.
            found = reader.damage(rest_s=0.0)
        if found:
            raise Refused(BACKUP_DAMAGED, found, where=str(backup.folder))
    except ConfigError:
        raise
    except FarmdError as error:
        if error.code is BACKUP_DAMAGED:
            raise
        raise Refused(BACKUP_DAMAGED, error.what, where=str(backup.path(DATABASE))) from error
    finally:
        database.close()


def read_manifest(folder: Path) -> Backup:
    try:
        told = json.loads((folder / MANIFEST).read_bytes())
        if told["format"] != FORMAT:
            raise Refused(BACKUP_DAMAGED, f"its format is {told['format']!r}", where=str(folder))
        return Backup(
            folder=folder,
            made_at=float(told["made_at"]),
            version=str(told["version"]),
            node=str(told["node"]),
            facts=int(told["facts"]),
            last_hash=str(told["last_hash"]),
            last_at=float(told["last_at"]),
            files={str(name): (int(size), str(digest)) for name, (size, digest) in told["files"].items()},
            missing=tuple(map(str, told["missing"])),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refused(BACKUP_DAMAGED, f"its manifest cannot be read: {error}", where=str(folder)) from error


# --- making one -----------------------------------------------------------------------------


def _fill(
    part: Path,
    url: str,
    data_dir: Path,
    at: float,
    version: str,
    config_file: Path | None,
    before: Backup | None,
) -> Backup:
    copy_database(url, data_dir, part / DATABASE)
    files = {DATABASE: synced(part / DATABASE)}
    missing: list[str] = []
    database = open_read_only(part / DATABASE)
    try:
        reader = Reader(database)
        wanted = sorted(reader.file_names())
        facts, last_hash = reader.tail()
        last = reader.events(newest_first=True, limit=1)
        node = reader.node()
    finally:
        database.close()
    for sha256 in wanted:
        name = f"vault/{sha256[:2]}/{sha256[2:4]}/{sha256}"
        found = _take(data_dir / name, part / name, before, name)
        if found is None:
            missing.append(sha256)
        else:
            files[name] = found
    for path in sorted((data_dir / "drivers").rglob("*")):
        if path.is_file() and not path.is_symlink():
            name = path.relative_to(data_dir).as_posix()
            if (found := _take(path, part / name, None, name)) is not None:
                files[name] = found
    if config_file is not None and (found := _take(config_file, part / CONFIG, None, CONFIG)) is not None:
        files[CONFIG] = found
    told: dict[str, Any] = {
        "format": FORMAT,
        "made_at": at,
        "version": version,
        "node": node,
        "facts": facts,
        "last_hash": last_hash.hex(),
        "last_at": last[0].at if last else 0.0,
        "files": files,
        "missing": missing,
    }
    for folder in (part, *(path for path in part.rglob("*") if path.is_dir())):
        sync_folder(folder)
    (part / MANIFEST).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    synced(part / MANIFEST)
    sync_folder(part)
    return read_manifest(part)


def copy_database(url: str, data_dir: Path, to: Path) -> None:
    """The database as it is at one moment, as a new SQLite file. Raises `OSError`, `ConfigError`."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        copy_to_sqlite(url, data_dir, to)
        return
    source = data_dir / (parsed.database or "")
    if not source.is_file():
        raise Refused(BACKUP_FAILED, "there is no database", where=str(source))
    # It cannot write, so it can neither change the farm's database nor checkpoint it.
    connection = sqlite3.connect(
        f"{source.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=30
    )
    try:
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute("VACUUM INTO ?", (str(to),))
    finally:
        connection.close()
    to.chmod(0o600)


def _take(source: Path, to: Path, before: Backup | None, name: str) -> tuple[int, str] | None:
    """Copy one file; its size and hash, or None where there is none to copy.

    What an earlier back-up has already, and is the same in size and time of change, is linked and not copied: a
    file of the vault never changes but by being sealed anew.
    """
    to.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        status = source.stat()
        old = before.path(name) if before is not None and name in before.files else None
        if old is not None and _same(old, status) and _measure(old) == before.files[name]:  # type: ignore[union-attr]
            os.link(old, to)
        else:
            shutil.copyfile(source, to)
            os.utime(to, ns=(status.st_atime_ns, status.st_mtime_ns))
            to.chmod(0o400)
    except FileNotFoundError:
        return None
    return synced(to)


def _same(old: Path, status: os.stat_result) -> bool:
    try:
        was = old.stat()
    except OSError:
        return False
    return (was.st_size, was.st_mtime_ns) == (status.st_size, status.st_mtime_ns)


def synced(path: Path) -> tuple[int, str]:
    """Size and hash of a file that is on the disk when this returns, as the disk has it."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)
    return _measure(path)


def _measure(path: Path) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()


def sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _newest_or_none(into: Path) -> Backup | None:
    try:
        return find(into)
    except Refused:
        return None


@contextmanager
def _told(where: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        what = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise Refused(BACKUP_FAILED, what, where=str(where)) from error
    except ConfigError as error:
        raise Refused(BACKUP_FAILED, error.what, where=error.where, remedy=error.remedy) from error
