"""The vault: files by their SHA-256. A file is on the disk for good before its name is known.

Content comes in by chunks into a temporary file beside the others, is synced, and moves to
`ab/cd/abcd…` in one step; the same content is kept once. What goes out is hashed first. Names
that people give their files never reach this module, and no symbolic link is followed. Where a master
key is given, content is sealed as it comes in, and nothing of it is on the disk as it was. Knows
nothing of jobs, and not what is in a file.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, cast

from farmd.model.errors import ErrorCode, Refused
from farmd.store.content import CheckedContent, Content, PlainContent, checked
from farmd.store.errors import STORE_FAILED, StoreFailed
from farmd.store.sealed import Broken, NoKey, Sealer, is_sealed, open_sealed, rewrap
from farmd.store.vault_keys import VaultKeys

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
FILE_LOCKED = ErrorCode(
    "file-locked",
    "the file is sealed with a key that is not given",
    "give the vault that key again (`key_file` or `old_key_files` in [vault])",
)
VAULT_LOCKED = ErrorCode(
    "vault-locked",
    "the vault is sealed and its key is not given, so no file is taken in",
    "give the vault its key again (`key_file` in [vault], or the service's credential master.key)",
)

_SHA256 = re.compile(r"[0-9a-f]{64}")
_READ_BYTES = 1 << 16
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_INCOMING = "incoming"
_IS_SEALED = "sealed"
"""A file in the vault's folder since a key was first given: from then on nothing is taken in without one."""
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, slots=True)
class StoredFile:
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class FileSize:
    st_size: int


@dataclass(frozen=True, slots=True)
class VaultFile:
    """A file of the vault for whoever reads files by their path: it has a name, a size and can be opened.

    `open` and `stat` raise `Refused` as `Vault.open` does.
    """

    vault: Vault
    stored: StoredFile

    @property
    def name(self) -> str:
        return self.stored.sha256

    def open(self, mode: Literal["rb"] = "rb", /) -> BinaryIO:
        return self.vault.open(self.stored.sha256)

    def stat(self) -> FileSize:
        return FileSize(self.stored.size_bytes)


class Vault:
    """The vault in folder `root`, made if missing. For one process; any of its threads.

    With `keys`, what comes in is sealed. What an earlier process left half received is removed. Raises
    `StoreFailed`, `Refused(VAULT_FULL)`.
    """

    def __init__(self, root: Path, *, max_bytes: int = 2 << 30, keys: VaultKeys | None = None) -> None:
        self._root = root
        self._max_bytes = max_bytes
        self._keys = keys
        with _disk_errors():
            self._prepare()

    @property
    def is_locked(self) -> bool:
        """Whether sealed files are in it, and no key is given."""
        return self._keys is None and (self._root / _IS_SEALED).exists()

    @contextmanager
    def receive(self) -> Iterator[Sink]:
        """Take in one file: `write` its chunks, then `store` it. Without `store` nothing is kept.

        Raises `Refused(FILE_TOO_LARGE | VAULT_FULL | VAULT_LOCKED)`, `StoreFailed`.
        """
        if self.is_locked:
            raise Refused(VAULT_LOCKED)
        name = secrets.token_hex(16)
        with self._folder(_INCOMING) as folder:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with _disk_errors():
                fd = os.open(name, flags, 0o600, dir_fd=folder)
            sealer = Sealer(fd, self._keys.current) if self._keys is not None else None
            sink = Sink(self, fd, folder, name, self._max_bytes, sealer)
            try:
                yield sink
            finally:
                sink.close()

    def open(self, sha256: str) -> BinaryIO:
        """The file, at its start, its hash checked; a change while it is read raises `content.FileChanged`.

        Raises `Refused(FILE_MISSING | FILE_CORRUPT | FILE_LOCKED)`.
        """
        with self._shelf(sha256) as folder:
            fd = _open_file(folder, sha256, os.O_RDONLY)
        try:
            content = _content(fd, sha256, self._keys)
            marks = checked(content, sha256)
        except (Broken, OSError) as error:
            os.close(fd)
            raise Refused(FILE_CORRUPT, str(error), where=sha256) from error
        except NoKey as error:
            os.close(fd)
            raise Refused(FILE_LOCKED, str(error), where=sha256) from error
        except BaseException:
            os.close(fd)
            raise
        stream = CheckedContent(content, sha256, marks, lambda: os.close(fd))
        return cast(BinaryIO, io.BufferedReader(stream, _READ_BYTES))

    def file(self, stored: StoredFile) -> VaultFile:
        """The file for whoever reads by a path; nothing is checked before it is opened."""
        return VaultFile(self, stored)

    def is_sealed(self, sha256: str) -> bool:
        """Raises `Refused` as `open` does where there is no file."""
        with self._shelf(sha256) as folder:
            fd = _open_file(folder, sha256, os.O_RDONLY)
        try:
            return is_sealed(fd)
        finally:
            os.close(fd)

    def seal(self, sha256: str) -> bool:
        """Seal a file that lies as it is, with the present key; whether there was anything to do.

        A file that was sealed with an old key is given the present one. Killed at any moment, the file is
        there. Raises `Refused` as `open` does, `StoreFailed`. Needs keys.
        """
        assert self._keys is not None
        if self.is_sealed(sha256):
            with self._shelf(sha256) as folder:
                return self._rewrap(folder, sha256, self._keys)
        with self.open(sha256) as file, self.receive() as sink:
            while chunk := file.read(_READ_BYTES):
                sink.write(chunk)
            sink.store()
        return True

    def _rewrap(self, folder: int, sha256: str, keys: VaultKeys) -> bool:
        os.chmod(sha256, 0o600, dir_fd=folder)
        fd = _open_file(folder, sha256, os.O_RDWR)
        try:
            return rewrap(fd, sha256, keys)
        except Broken as error:
            raise Refused(FILE_CORRUPT, str(error), where=sha256) from error
        except NoKey as error:
            raise Refused(FILE_LOCKED, str(error), where=sha256) from error
        except OSError as error:
            raise StoreFailed(STORE_FAILED, f"the vault: {error}") from error
        finally:
            os.fchmod(fd, 0o400)
            os.close(fd)

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

    def remove(self, sha256: str) -> None:
        """Take a file out that nobody wants; one that is not there does not matter."""
        self.path(sha256).unlink(missing_ok=True)

    def _prepare(self) -> None:
        (self._root / _INCOMING).mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._folder(_INCOMING) as folder:
            for name in os.listdir(folder):
                os.unlink(name, dir_fd=folder)
        if self._keys is not None:
            (self._root / _IS_SEALED).touch(mode=0o600)
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

    def __init__(
        self, vault: Vault, fd: int, folder: int, name: str, max_bytes: int, sealer: Sealer | None
    ) -> None:
        self.stored: StoredFile | None = None
        self._vault = vault
        self._fd = fd
        self._folder = folder
        self._name = name
        self._max_bytes = max_bytes
        self._sealer = sealer
        self._hash = hashlib.sha256()
        self._size = 0

    def write(self, chunk: bytes) -> None:
        """Append. Raises `Refused(FILE_TOO_LARGE)` before more than the limit is written."""
        if self._size + len(chunk) > self._max_bytes:
            raise Refused(FILE_TOO_LARGE, f"it has more than {self._max_bytes} bytes")
        with _disk_errors():
            if self._sealer is not None:
                self._sealer.write(chunk)
            else:
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
                if self._sealer is not None:
                    self._sealer.finish(stored.sha256)
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


def _content(fd: int, sha256: str, keys: VaultKeys | None) -> Content:
    """Raises `Broken`, `NoKey`."""
    return open_sealed(fd, sha256, keys) if is_sealed(fd) else PlainContent(fd, os.fstat(fd).st_size)


def _open_file(folder: int, sha256: str, flags: int) -> int:
    """The descriptor of a plain file. Raises `Refused(FILE_MISSING | FILE_CORRUPT)`."""
    try:
        fd = os.open(sha256, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        raise Refused(FILE_MISSING, where=sha256) from None
    except OSError as error:
        raise Refused(FILE_CORRUPT, str(error), where=sha256) from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise Refused(FILE_CORRUPT, "it is not a file", where=sha256)
    return fd
