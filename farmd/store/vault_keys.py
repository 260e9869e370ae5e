"""Master keys of the vault: read from files that only farmd may read, told apart by a short id.

The first key seals and opens, the others only open: they are the ones that were in use before. A
key is never written anywhere by the daemon, and never shown. Knows no file of the vault.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from farmd.model.errors import ConfigError, ErrorCode, Refused

VAULT_KEY = ErrorCode(
    "vault-key",
    "the vault's key cannot be used",
    "name a file with a key of `farmd vault key FILE`, readable for farmd's user alone",
)
NOT_NEW_KEY = ErrorCode(
    "key-not-new",
    "there is a file of this name",
    "name one that is not there yet; keys are never overwritten",
)
KEY_BYTES = 32
KEY_ID_BYTES = 8
_LONGEST = 4096


@dataclass(frozen=True, slots=True)
class MasterKey:
    """256 bits that wrap the keys of files. `id` says which key it is and nothing about it."""

    secret: bytes = field(repr=False)

    @property
    def id(self) -> bytes:
        return hashlib.sha256(b"farmd master key id\0" + self.secret).digest()[:KEY_ID_BYTES]


@dataclass(frozen=True, slots=True)
class VaultKeys:
    """The key that seals, and all that open, by their ids."""

    current: MasterKey
    by_id: dict[bytes, MasterKey]

    @classmethod
    def of(cls, current: MasterKey, old: Iterable[MasterKey] = ()) -> VaultKeys:
        return cls(current, {key.id: key for key in (*old, current)})


def read_keys(key_file: Path | None, old_key_files: Iterable[Path] = ()) -> VaultKeys | None:
    """The keys in these files; None where no key is given. Raises `ConfigError(VAULT_KEY)`."""
    old = [_read(path) for path in old_key_files]
    if key_file is None:
        if old:
            raise ConfigError(VAULT_KEY, "there are old keys and no present one", where="[vault] key_file")
        return None
    return VaultKeys.of(_read(key_file), old)


def make_key(path: Path) -> None:
    """Write a new random key to a new file, for its owner alone, on the disk when this returns.

    Raises `Refused(NOT_NEW_KEY)`, `ConfigError(VAULT_KEY)`.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, secrets.token_hex(KEY_BYTES).encode() + b"\n")
            os.fsync(fd)
        finally:
            os.close(fd)
    except FileExistsError:
        raise Refused(NOT_NEW_KEY, where=str(path)) from None
    except OSError as error:
        raise ConfigError(VAULT_KEY, error.strerror or str(error), where=str(path)) from error


def _read(path: Path) -> MasterKey:
    """A key as 64 hexadecimal digits, or as 32 bytes."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read(_LONGEST)
    except OSError as error:
        raise ConfigError(VAULT_KEY, error.strerror or str(error), where=str(path)) from error
    # A credential of the service manager may be readable for the service's group, which is it alone.
    if mode & 0o027:
        raise ConfigError(VAULT_KEY, f"others may read it (mode {mode:o})", where=str(path))
    if len(content) == KEY_BYTES:
        return MasterKey(content)
    try:
        secret = bytes.fromhex(content.decode("ascii").strip())
    except ValueError:
        secret = b""
    if len(secret) != KEY_BYTES:
        raise ConfigError(VAULT_KEY, "it holds no key of 256 bits", where=str(path))
    return MasterKey(secret)
