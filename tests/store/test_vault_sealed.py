"""The vault with a master key: nothing of a file is on the disk as it was, keys are exchanged, damage is found."""

from __future__ import annotations

import hashlib
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from farmd.model.errors import ConfigError, Refused
from farmd.store import StoredFile, Vault
from farmd.store.content import FileChanged
from farmd.store.sealed import BLOCK_BYTES, HEAD_BYTES
from farmd.store.vault_keys import MasterKey, VaultKeys, make_key, read_keys

CANARY = b"; the canary sings at midnight\n"
CONTENT = (CANARY + b"G1 X10 Y20 E0.5\n" * 40) * 800
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OLD, NEW = (VaultKeys.of(MasterKey(bytes([number]) * 32)) for number in (1, 2))
BOTH = VaultKeys.of(NEW.current, [OLD.current])

_ROTATE = """
import os, sys
from pathlib import Path
from farmd.store import Vault, sealed
from farmd.store.vault_keys import VaultKeys, MasterKey
old, new = (MasterKey(bytes([number]) * 32) for number in (1, 2))
write, left = sealed._write_at, [int(sys.argv[2])]
def dying(fd, data, at):
    left[0] -= 1
    if left[0] == 0:
        os.pwrite(fd, data[: len(data) // 2], at)
        os.kill(os.getpid(), 9)
    write(fd, data, at)
sealed._write_at = dying
Vault(Path(sys.argv[1]), keys=VaultKeys.of(new, [old])).seal(sys.argv[3])
"""


def keep(vault: Vault, content: bytes = CONTENT) -> StoredFile:
    with vault.receive() as sink:
        for start in range(0, len(content), 99_999):
            sink.write(content[start : start + 99_999])
        return sink.store()


def code_of(action: Callable[[], object]) -> str:
    with pytest.raises(Refused) as caught:
        action()
    return caught.value.code.name


def on_disk(root: Path) -> bytes:
    return b"".join(path.read_bytes() for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES])
def test_sealed_content_comes_back_whatever_its_size(tmp_path: Path, size: int) -> None:
    content = secrets.token_bytes(size)
    vault = Vault(tmp_path / "vault", keys=OLD)
    stored = keep(vault, content)
    assert stored == StoredFile(hashlib.sha256(content).hexdigest(), size)
    with vault.open(stored.sha256) as file:
        assert file.read() == content
        assert file.seek(size // 2) == size // 2
        assert file.read(7) == content[size // 2 : size // 2 + 7]
    if size > 1:
        assert content not in on_disk(tmp_path / "vault")


def test_nothing_of_a_file_is_on_the_disk_while_it_comes_in_or_after(tmp_path: Path) -> None:
    vault = Vault(tmp_path / "vault", keys=OLD)
    with vault.receive() as sink:
        for _ in range(3):
            sink.write(CONTENT)
            assert CANARY not in on_disk(tmp_path), "while it comes in"
        sink.store()
    assert CANARY not in on_disk(tmp_path)


def test_each_file_has_a_key_of_its_own(tmp_path: Path) -> None:
    first, second = (Vault(tmp_path / name, keys=OLD) for name in "ab")
    keep(first)
    keep(second)
    assert first.path(SHA256).read_bytes()[HEAD_BYTES:] != second.path(SHA256).read_bytes()[HEAD_BYTES:]


@pytest.mark.parametrize(
    "at",
    [0, 17, 25, 512, 525, 560, HEAD_BYTES, HEAD_BYTES + BLOCK_BYTES + 20, -1],
    ids=["magic", "block", "size", "key-id", "nonce", "key", "first-block", "second-block", "last-tag"],
)
def test_one_changed_byte_is_found_before_anything_is_handed_out(tmp_path: Path, at: int) -> None:
    vault = Vault(tmp_path / "vault", keys=OLD)
    keep(vault)
    path = vault.path(SHA256)
    damaged = bytearray(path.read_bytes())
    damaged[at] ^= 1
    path.chmod(0o600)
    path.write_bytes(damaged)
    # A key id that is another names a key that nobody has.
    assert code_of(lambda: vault.open(SHA256)) == ("file-locked" if at == 512 else "file-corrupt")
    keep(vault)
    vault.check(SHA256)


def test_blocks_cannot_be_cut_off_exchanged_or_taken_from_another_file(tmp_path: Path) -> None:
    vault = Vault(tmp_path / "vault", keys=OLD)
    keep(vault)
    other = keep(vault, CONTENT[::-1])
    path, whole = vault.path(SHA256), vault.path(SHA256).read_bytes()
    block = BLOCK_BYTES + 16
    first, second = whole[HEAD_BYTES : HEAD_BYTES + block], whole[HEAD_BYTES + block : HEAD_BYTES + 2 * block]
    for forged in (
        whole[:-20],
        whole[: HEAD_BYTES + block],
        whole[:HEAD_BYTES] + second + first + whole[HEAD_BYTES + 2 * block :],
        vault.path(other.sha256).read_bytes(),
        whole[:HEAD_BYTES] + vault.path(other.sha256).read_bytes()[HEAD_BYTES:],
    ):
        path.chmod(0o600)
        path.write_bytes(forged)
        assert code_of(lambda: vault.open(SHA256)) == "file-corrupt"


@pytest.mark.parametrize("keys", [None, OLD], ids=["plain", "sealed"])
def test_a_file_swapped_while_it_is_streamed_never_reaches_the_machine(
    tmp_path: Path, keys: VaultKeys | None
) -> None:
    """The stream was opened, and so checked, before the disk was changed under it."""
    vault = Vault(tmp_path / "vault", keys=keys)
    keep(vault)
    path = vault.path(SHA256)
    with vault.open(SHA256) as file:
        handed = file.read(1000)
        path.chmod(0o600)
        with path.open("r+b") as swapped:
            swapped.seek(HEAD_BYTES + BLOCK_BYTES + 5000)
            swapped.write(b"M112\n")
        with pytest.raises(FileChanged, match="block 2"):  # noqa: PT012 - it is found at some turn
            while chunk := file.read(10_000):
                handed += chunk
    assert CONTENT.startswith(handed), "up to there it was the file"
    assert b"M112" not in handed


def test_without_its_key_a_file_is_locked_and_nothing_is_taken_in(tmp_path: Path) -> None:
    keep(Vault(tmp_path / "vault", keys=OLD))
    keyless = Vault(tmp_path / "vault")
    assert keyless.is_locked
    assert code_of(lambda: keyless.open(SHA256)) == "file-locked"
    assert code_of(lambda: keep(keyless)) == "vault-locked"
    other = Vault(tmp_path / "vault", keys=NEW)
    assert code_of(lambda: other.open(SHA256)) == "file-locked"
    keep(other, CONTENT + b"x")


def test_keys_are_exchanged_without_touching_the_content(tmp_path: Path) -> None:
    keep(Vault(tmp_path / "vault", keys=OLD))
    both = Vault(tmp_path / "vault", keys=BOTH)
    before = both.path(SHA256).read_bytes()[HEAD_BYTES:]
    assert both.seal(SHA256)
    assert not both.seal(SHA256), "the second time there is nothing to do"
    assert both.path(SHA256).read_bytes()[HEAD_BYTES:] == before
    with Vault(tmp_path / "vault", keys=NEW).open(SHA256) as file:
        assert file.read() == CONTENT
    assert code_of(lambda: Vault(tmp_path / "vault", keys=OLD).open(SHA256)) == "file-locked"
    assert both.path(SHA256).stat().st_mode & 0o777 == 0o400


@pytest.mark.parametrize("write", [1, 2])
def test_killed_while_keys_are_exchanged_the_file_opens(tmp_path: Path, write: int) -> None:
    keep(Vault(tmp_path / "vault", keys=OLD))
    root = tmp_path / "vault"
    child = subprocess.run([sys.executable, "-c", _ROTATE, str(root), str(write), SHA256], check=False)
    assert child.returncode == -9
    both = Vault(root, keys=BOTH)
    both.check(SHA256)
    assert both.seal(SHA256)
    Vault(root, keys=NEW).check(SHA256)


def test_files_from_before_the_key_are_read_and_can_be_sealed(tmp_path: Path) -> None:
    keep(Vault(tmp_path / "vault"))
    vault = Vault(tmp_path / "vault", keys=OLD)
    vault.check(SHA256)
    assert CANARY in on_disk(tmp_path)
    assert vault.seal(SHA256)
    assert CANARY not in on_disk(tmp_path)
    assert not vault.seal(SHA256)
    with vault.open(SHA256) as file:
        assert file.read() == CONTENT


def test_key_files(tmp_path: Path) -> None:
    path = tmp_path / "key"
    make_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    keys = read_keys(path)
    assert keys is not None
    (tmp_path / "raw").write_bytes(keys.current.secret)
    (tmp_path / "raw").chmod(0o400)
    assert read_keys(tmp_path / "raw") == keys
    assert keys.current.secret.hex() not in repr(keys)
    assert read_keys(None) is None
    assert code_of(lambda: make_key(path)) == "key-not-new"
    (tmp_path / "short").write_text("abcd")
    (tmp_path / "short").chmod(0o600)
    (tmp_path / "open").write_bytes(os.urandom(32))
    (tmp_path / "open").chmod(0o644)
    for bad in ("short", "open", "missing"):
        with pytest.raises(ConfigError) as caught:
            read_keys(tmp_path / bad)
        assert caught.value.code.name == "vault-key"
    with pytest.raises(ConfigError, match="old keys"):
        read_keys(None, [path])


def test_sealing_and_opening_are_fast_enough(tmp_path: Path) -> None:
    """Far below what is measured (docs/BENCHMARKS.md), so that a busy machine does not fail it."""
    content = secrets.token_bytes(32 << 20)
    vault = Vault(tmp_path / "vault", keys=OLD)
    begun = time.perf_counter()
    stored = keep(vault, content)
    with vault.open(stored.sha256) as file:
        while file.read(1 << 16):
            pass
    assert 64 / (time.perf_counter() - begun) > 20
