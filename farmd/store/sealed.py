"""Sealed files: how a file lies encrypted in the vault. Bytes and one file descriptor, no names.

    sector 0        magic, bytes of content in a block, bytes of content in all
    sectors 1, 2    two slots, one of them in use: key id, nonce, the file's own key wrapped by that master key
    then            blocks, AES-256-GCM, each with its 16 bytes of tag

Each stored file has a random key of its own. A block's nonce is its number and whether it is the last
(the STREAM construction), so blocks cannot be exchanged, left out or cut off. The wrapped key is bound to
the SHA-256 of the content and to both sizes, so a file cannot stand in for another. VaultKeys are exchanged by
wrapping the file's key anew into the free slot before the other is wiped: there is a good slot at any
moment.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from farmd.store.vault_keys import KEY_BYTES, KEY_ID_BYTES, MasterKey, VaultKeys

MAGIC = b"farmd-sealed/1\n\0"
BLOCK_BYTES = 1 << 18
_SECTOR = 512
_SLOTS = (_SECTOR, 2 * _SECTOR)
HEAD_BYTES = 3 * _SECTOR
_TAG = 16
_NONCE = 12
_FIRST = struct.Struct(f">{len(MAGIC)}sIQ")
_SLOT = struct.Struct(f">{KEY_ID_BYTES}s{_NONCE}s{KEY_BYTES + _TAG}s")


class Broken(Exception):
    """The sealed file is not what was stored."""


class NoKey(Exception):
    """None of the keys at hand opens the file."""


def is_sealed(fd: int) -> bool:
    return os.pread(fd, len(MAGIC), 0) == MAGIC


def blocks_of(size: int) -> int:
    """How many blocks a content has; an empty one has one that is empty."""
    return max(1, -(-size // BLOCK_BYTES))


class Sealer:
    """Seals content as it comes: `write` it, then `finish` with its hash. At `fd`'s beginning, nothing in it."""

    def __init__(self, fd: int, key: MasterKey) -> None:
        self._fd = fd
        self._master = key
        self._key = AESGCM.generate_key(256)
        self._cipher = AESGCM(self._key)
        self._waiting = bytearray()
        self._number = 0
        self._size = 0
        os.lseek(fd, HEAD_BYTES, os.SEEK_SET)

    def write(self, chunk: bytes) -> None:
        self._size += len(chunk)
        self._waiting += chunk
        # The last block is told by its nonce, so one that may be it waits.
        while len(self._waiting) > BLOCK_BYTES:
            block = bytes(self._waiting[:BLOCK_BYTES])
            del self._waiting[:BLOCK_BYTES]
            self._seal(block, last=False)

    def finish(self, sha256: str) -> None:
        """Write what is left, and the head. The caller syncs."""
        self._seal(bytes(self._waiting), last=True)
        self._waiting.clear()
        first = _FIRST.pack(MAGIC, BLOCK_BYTES, self._size)
        head = bytearray(HEAD_BYTES)
        head[: len(first)] = first
        slot = _wrap(self._master, self._key, first, sha256)
        head[_SLOTS[0] : _SLOTS[0] + len(slot)] = slot
        _write_at(self._fd, bytes(head), 0)

    def _seal(self, block: bytes, *, last: bool) -> None:
        sealed = memoryview(self._cipher.encrypt(_nonce(self._number, last), block, None))
        self._number += 1
        while sealed:
            sealed = sealed[os.write(self._fd, sealed) :]


@dataclass(frozen=True, slots=True)
class SealedContent:
    """The content of a sealed file, block by block. Raises `Broken`, `OSError`."""

    fd: int
    size: int
    cipher: AESGCM

    def block(self, number: int) -> bytes:
        count = blocks_of(self.size)
        length = min(BLOCK_BYTES, self.size - number * BLOCK_BYTES) + _TAG
        sealed = os.pread(self.fd, length, HEAD_BYTES + number * (BLOCK_BYTES + _TAG))
        try:
            return self.cipher.decrypt(_nonce(number, number == count - 1), sealed, None)
        except InvalidTag:
            raise Broken(f"block {number + 1} of {count} is damaged") from None


def open_sealed(fd: int, sha256: str, keys: VaultKeys | None) -> SealedContent:
    """The content of the sealed file that is to have this hash. Raises `NoKey`, `Broken`."""
    first, size = _first(fd)
    key, _, _ = _unwrap(fd, first, sha256, keys)
    if os.fstat(fd).st_size != HEAD_BYTES + size + _TAG * blocks_of(size):
        raise Broken("it has another length than was stored")
    return SealedContent(fd, size, AESGCM(key))


def rewrap(fd: int, sha256: str, keys: VaultKeys) -> bool:
    """Wrap the file's key by the current master key; whether there was anything to do. `fd` is open for writing.

    Killed at any moment, the file opens by the old key or by the new one. Raises `NoKey`, `Broken`.
    """
    first, _ = _first(fd)
    key, used, by = _unwrap(fd, first, sha256, keys)
    other = _SLOTS[1] if used == _SLOTS[0] else _SLOTS[0]
    is_done = by == keys.current.id
    if not is_done:
        _write_at(fd, _wrap(keys.current, key, first, sha256), other)
        os.fsync(fd)
        used, other = other, used
    # Also what an earlier try, broken off here, has left in the slot of an old key.
    had_two = any(os.pread(fd, _SLOT.size, other))
    if had_two:
        _write_at(fd, bytes(_SLOT.size), other)
        os.fsync(fd)
    return not is_done or had_two


def _first(fd: int) -> tuple[bytes, int]:
    first = os.pread(fd, _FIRST.size, 0)
    if len(first) < _FIRST.size:
        raise Broken("it is cut off")
    magic, block_bytes, size = _FIRST.unpack(first)
    if magic != MAGIC or block_bytes != BLOCK_BYTES:
        raise Broken("its head is damaged")
    return first, size


def _unwrap(fd: int, first: bytes, sha256: str, keys: VaultKeys | None) -> tuple[bytes, int, bytes]:
    """The file's key, the slot that it was in, and the id of the master key; the current one's slot first."""
    slots = []
    for at in _SLOTS:
        raw = os.pread(fd, _SLOT.size, at)
        if len(raw) == _SLOT.size and any(raw):
            slots.append((at, *_SLOT.unpack(raw)))
    if keys is not None:
        slots.sort(key=lambda slot: slot[1] != keys.current.id)
    known = False
    for at, key_id, nonce, wrapped in slots:
        master = keys.by_id.get(key_id) if keys is not None else None
        if master is None:
            continue
        known = True
        try:
            return AESGCM(master.secret).decrypt(nonce, wrapped, first + sha256.encode()), at, key_id
        except InvalidTag:
            continue
    if known or not slots:
        raise Broken("its key is damaged, or it is the file of another hash")
    raise NoKey(f"it was sealed with key {slots[0][1].hex()}")


def _wrap(master: MasterKey, key: bytes, first: bytes, sha256: str) -> bytes:
    nonce = os.urandom(_NONCE)
    return _SLOT.pack(master.id, nonce, AESGCM(master.secret).encrypt(nonce, key, first + sha256.encode()))


def _nonce(number: int, last: bool) -> bytes:
    return struct.pack(">7xIB", number, last)


def _write_at(fd: int, data: bytes, at: int) -> None:
    rest = memoryview(data)
    while rest:
        done = os.pwrite(fd, rest, at)
        rest, at = rest[done:], at + done
