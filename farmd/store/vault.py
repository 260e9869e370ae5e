"""The vault: files by their SHA-256. A file is on the disk for good before its name is known.

Content comes in by chunks into a temporary file beside the others, is synced, and moves to
`ab/cd/abcd…` in one step; the same content is kept once. What goes out is hashed first. Names
that people give their files never reach this module, and no symbolic link is followed. Knows
nothing of jobs, and not what is in a file.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from farmd.model.errors import ErrorCode, Refused
from farmd.store.errors import STORE_FAILED, StoreFailed

FILE_TOO_LARGE = ErrorCode(
    "file-too-large", "the file is larger than farmd takes", "slice it into smaller files"
)
VAULT_FULL = ErrorCode(
    "vault-full", "there is no room left for files", "make room on the disk, then try again"
)
FILE_MISSING = ErrorCode(
    "file-missing", "the vault has no file of this hash", "submit the file again, or restore a back-up"
)
FILE_CORRUPT = ErrorCode(
    "file-corrupt",
    "the file is not what was stored",
    "submit the same file again, which heals it, and check the disk",
)

_SHA256 = re.compile(r"[0-9a-f]{64}")
_CHUNK = 1 << 20
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_INCOMING = "incoming"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, slots=True)
class StoredFile:
    sha256: str
    size_bytes: int


class Vault:
    """The vault in folder `root`, made if missing. For one process; any of its threads.

    What an earlier process left half received is removed. Raises `StoreFailed`, `Refused(VAULT_FULL)`.
    """

    def __init__(self, root: Path, *, max_bytes: int = 2 << 30) -> None:
        self._root = root
        self._max_bytes = max_bytes
        with _disk_errors():
            self._prepare()

    @contextmanager
    def receive(self) -> Iterator[Sink]:
        """Take in one file: `write` its chunks, then `store` it. Without `store` nothing is kept.

        Raises `Refused(FILE_TOO_LARGE | VAULT_FULL)`, `StoreFailed`.
        """
        name = secrets.token_hex(16)
        with self._folder(_INCOMING) as folder:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with _disk_errors():
                fd = os.open(name, flags, 0o600, dir_fd=folder)
            sink = Sink(self, fd, folder, name, self._max_bytes)
            try:
                yield sink
            finally:
                sink.close()

    def open(self, sha256: str) -> BinaryIO:
        """The file, at its start, its hash checked. Raises `Refused(FILE_MISSING | FILE_CORRUPT)`."""
        with self._shelf(sha256) as folder:
            try:
                fd = os.open(
                    sha256, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder
                )
            except FileNotFoundError:
                raise Refused(FILE_MISSING, where=sha256) from None
            except OSError as error:
                raise Refused(FILE_CORRUPT, str(error), where=sha256) from error
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise Refused(FILE_CORRUPT, "it is not a file", where=sha256)
        file = os.fdopen(fd, "rb")
        try:
            if _hash(file) != sha256:
                raise Refused(FILE_CORRUPT, where=sha256)
            file.seek(0)
        except OSError as error:
            file.close()
            raise Refused(FILE_CORRUPT, str(error), where=sha256) from error
        except BaseException:
            file.close()
            raise
        return file

    def check(self, sha256: str) -> None:
        """Raises as `open` does."""
        self.open(sha256).close()

    def path(self, sha256: str) -> Path:
        """Where the file lies, for programs that need a path; it is not checked.

        Raises `Refused(FILE_MISSING)`.
        """
        _require_name(sha256)
        path = self._root / sha256[:2] / sha256[2:4] / sha256
        if path.is_symlink() or not path.is_file():
            raise Refused(FILE_MISSING, where=sha256)
        return path

    def names(self) -> Iterator[str]:
        """The names of all files, those that are no hashes too, in order."""
        for path in sorted(self._root.glob("*/*/*")):
            if path.relative_to(self._root).parts[0] != _INCOMING:
                yield path.name

    def _prepare(self) -> None:
        (self._root / _INCOMING).mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._folder(_INCOMING) as folder:
            for name in os.listdir(folder):
                os.unlink(name, dir_fd=folder)
        for made in (self._root, self._root.parent):
            fd = os.open(made, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def keep(self, folder: int, name: str, sha256: str) -> None:
        """Move a received and synced file to its place. Called by `Sink.store`."""
        with self._shelf(sha256, make=True) as shelf:
            # Over a file of the same name too: its content is the same, or it was damaged.
            os.rename(name, sha256, src_dir_fd=folder, dst_dir_fd=shelf)
            os.fsync(shelf)

    @contextmanager
    def _folder(self, name: str) -> Iterator[int]:
        root = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fd = os.open(name, _FOLDER, dir_fd=root)
        finally:
            os.close(root)
        try:
            yield fd
        finally:
            os.close(fd)

    @contextmanager
    def _shelf(self, sha256: str, *, make: bool = False) -> Iterator[int]:
        """The folder of a hash; new folders are synced into the ones above them."""
        _require_name(sha256)
        fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in (sha256[:2], sha256[2:4]):
                if make and _make_folder(fd, part):
                    os.fsync(fd)
                try:
                    inner = os.open(part, _FOLDER, dir_fd=fd)
                except (FileNotFoundError, NotADirectoryError) as error:
                    if make:
                        raise
                    raise Refused(FILE_MISSING, where=sha256) from error
                os.close(fd)
                fd = inner
            yield fd
        finally:
            os.close(fd)


class Sink:
    """A file coming in. Made by `Vault.receive`; used by one thread at a time."""

    def __init__(self, vault: Vault, fd: int, folder: int, name: str, max_bytes: int) -> None:
        self.stored: StoredFile | None = None
        self._vault = vault
        self._fd = fd
        self._folder = folder
        self._name = name
        self._max_bytes = max_bytes
        self._hash = hashlib.sha256()
        self._size = 0

    def write(self, chunk: bytes) -> None:
        """Append. Raises `Refused(FILE_TOO_LARGE)` before more than the limit is written."""
        if self._size + len(chunk) > self._max_bytes:
            raise Refused(FILE_TOO_LARGE, f"it has more than {self._max_bytes} bytes")
        with _disk_errors():
            rest = memoryview(chunk)
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        self._hash.update(chunk)
        self._size += len(chunk)

    def store(self) -> StoredFile:
        """Keep the file: when this returns it is on the disk under its hash."""
        if self.stored is None:
            stored = StoredFile(self._hash.hexdigest(), self._size)
            with _disk_errors():
                os.fchmod(self._fd, 0o400)
                os.fsync(self._fd)
                self._vault.keep(self._folder, self._name, stored.sha256)
            self.stored = stored
        return self.stored

    def close(self) -> None:
        """End receiving; a file that was not stored is removed. Called by `Vault.receive`."""
        os.close(self._fd)
        # A number that another file may get now must not be written to.
        self._fd = -1
        if self.stored is None:
            # It has its place already when only the last sync of `store` failed.
            with suppress(FileNotFoundError):
                os.unlink(self._name, dir_fd=self._folder)


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise Refused(VAULT_FULL) from error
        raise StoreFailed(STORE_FAILED, f"the vault: {error}") from error


def _require_name(sha256: str) -> None:
    if not _SHA256.fullmatch(sha256):
        raise Refused(FILE_MISSING, "this is not the SHA-256 of a file", where=repr(sha256[:80]))


def _make_folder(parent: int, name: str) -> bool:
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:
        return False
    return True


def _hash(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()
