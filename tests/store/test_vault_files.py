"""The vault: what is stored is there, whole, under its hash; what is not whole is never handed out."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from farmd.model.errors import Refused
from farmd.store import StoredFile, StoreFailed, Vault

CONTENT = b"G28\nG1 X10\n" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def keep(vault: Vault, content: bytes = CONTENT) -> StoredFile:
    with vault.receive() as sink:
        for start in range(0, len(content), 999):
            sink.write(content[start : start + 999])
        return sink.store()


def files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if not path.is_dir()]


def code_of(action: Callable[[], object]) -> str:
    with pytest.raises(Refused) as caught:
        action()
    return caught.value.code.name


def test_content_comes_back(vault: Vault, tmp_path: Path) -> None:
    assert keep(vault) == StoredFile(SHA256, len(CONTENT))
    with vault.open(SHA256) as file:
        assert file.read() == CONTENT
    path = tmp_path / "vault" / SHA256[:2] / SHA256[2:4] / SHA256
    assert vault.path(SHA256) == path
    assert stat.S_IMODE(path.stat().st_mode) == 0o400
    assert files(tmp_path / "vault") == [path]
    assert list(vault.names()) == [SHA256]


def test_empty_file(vault: Vault) -> None:
    assert keep(vault, b"").size_bytes == 0
    with vault.open(hashlib.sha256().hexdigest()) as file:
        assert file.read() == b""


def test_same_content_is_kept_once_and_again_after_a_restart(vault: Vault, tmp_path: Path) -> None:
    keep(vault)
    keep(vault)
    again = Vault(tmp_path / "vault")
    keep(again)
    assert list(again.names()) == [SHA256]
    assert len(files(tmp_path / "vault")) == 1


def test_many_at_once(vault: Vault, tmp_path: Path) -> None:
    """The same and different contents, from several threads, read while they come in."""

    def work(number: int) -> bool:
        content = CONTENT + bytes([number % 3])
        stored = keep(vault, content)
        with vault.open(stored.sha256) as file:
            return file.read() == content

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(48)))
    assert len(files(tmp_path / "vault")) == 3


def test_what_is_not_stored_leaves_nothing(vault: Vault, tmp_path: Path) -> None:
    with vault.receive() as sink:
        sink.write(CONTENT)
    with pytest.raises(ConnectionResetError), vault.receive() as sink:  # noqa: PT012 - the uploader's error
        sink.write(CONTENT)
        raise ConnectionResetError
    assert files(tmp_path / "vault") == []
    assert code_of(lambda: vault.open(SHA256)) == "file-missing"


def test_sink_is_dead_after_its_block(vault: Vault) -> None:
    with vault.receive() as sink:
        sink.write(b"x")
    with pytest.raises(StoreFailed):
        sink.write(b"y")


def test_torn_file_of_a_killed_process_is_removed(vault: Vault, tmp_path: Path) -> None:
    keep(vault)
    (tmp_path / "vault" / "incoming" / "torn").write_bytes(CONTENT[:99])
    Vault(tmp_path / "vault")
    assert [path.name for path in files(tmp_path / "vault")] == [SHA256]


def test_too_large(tmp_path: Path) -> None:
    vault = Vault(tmp_path / "vault", max_bytes=len(CONTENT))
    keep(vault)
    assert code_of(lambda: keep(vault, CONTENT + b"x")) == "file-too-large"
    assert len(files(tmp_path / "vault")) == 1


@pytest.mark.parametrize("damage", [b"", CONTENT[:-1], CONTENT + b"\n", b"M" + CONTENT[1:]])
def test_damage_is_never_handed_out_and_the_same_file_heals_it(vault: Vault, damage: bytes) -> None:
    keep(vault)
    path = vault.path(SHA256)
    path.chmod(0o600)
    path.write_bytes(damage)
    assert code_of(lambda: vault.open(SHA256)) == "file-corrupt"
    assert code_of(lambda: vault.check(SHA256)) == "file-corrupt"
    keep(vault)
    vault.check(SHA256)


@pytest.mark.parametrize(
    "name", ["", "../../etc/passwd", SHA256[:-1], SHA256.upper(), SHA256 + "\n", "/" * 64]
)
def test_only_hashes_are_names(vault: Vault, name: str) -> None:
    for action in (vault.open, vault.check, vault.path):
        assert code_of(lambda action=action: action(name)) == "file-missing"


def test_links_are_not_followed(vault: Vault, tmp_path: Path) -> None:
    keep(vault)
    elsewhere = tmp_path / "elsewhere"
    path = vault.path(SHA256)
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    assert code_of(lambda: vault.open(SHA256)) == "file-corrupt"
    assert code_of(lambda: vault.path(SHA256)) == "file-missing"
    path.unlink()
    os.mkfifo(path)
    assert code_of(lambda: vault.open(SHA256)) == "file-corrupt"
    path.unlink()
    shelf = path.parent
    shelf.rename(tmp_path / "shelf")
    shelf.symlink_to(tmp_path / "shelf")
    assert code_of(lambda: vault.open(SHA256)) == "file-missing"
    with pytest.raises(StoreFailed):
        keep(vault)
    assert list((tmp_path / "shelf").iterdir()) == []


@pytest.mark.parametrize(("number", "error"), [(errno.ENOSPC, Refused), (errno.EIO, StoreFailed)])
def test_failed_sync_stores_nothing(
    vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception]
) -> None:
    calls = []

    def fail(fd: int) -> None:
        calls.append(fd)
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(error):
            keep(vault)
    assert len(calls) == 1
    assert files(tmp_path / "vault") == []


def test_file_and_folders_are_synced_before_the_name_is_known(
    vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    fsync = os.fsync

    def note(fd: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{fd}")).relative_to(tmp_path / "vault").as_posix())
        fsync(fd)

    monkeypatch.setattr(os, "fsync", note)
    keep(vault)
    first, *folders = synced
    assert first.startswith("incoming/")
    assert folders == [".", SHA256[:2], f"{SHA256[:2]}/{SHA256[2:4]}"]
