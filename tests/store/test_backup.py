"""Back-ups: made beside a farm at work, whole or not there; restored only where there is nothing, in a new epoch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType

import pytest

from farmd.model.errors import ConfigError, Refused
from farmd.model.lifecycle import RunState
from farmd.store import (
    Store,
    StoredFile,
    Vault,
    back_up,
    backups_in,
    check_backup,
    find_backup,
    restore,
    rotate,
    verify,
)
from farmd.store.backup import BACKUP_DAMAGED, Backup
from farmd.store.restore import MARK, require_no_restore

AT = 1.8e9


def url_of(folder: Path) -> str:
    return f"sqlite:///{folder / 'farmd.sqlite'}"


@pytest.fixture
def farm(tmp_path: Path, farmlife: ModuleType) -> Path:
    """The data folder of a farm with some life behind it, and starts on their way."""
    folder = tmp_path / "data"
    folder.mkdir()
    vault = Vault(folder / "vault")
    (folder / "drivers" / "m1").mkdir(parents=True)
    (folder / "drivers" / "m1" / "runs.log").write_text("R-1")
    with Store.open(url_of(folder), data_dir=folder) as store:
        life = farmlife.FarmLife(7, store.load().farm)
        on_its_way = permitted = False
        while not (on_its_way and permitted and life.farm.revision > 300):
            store.commit(life.entries(1))
            states = {run.state for run in life.farm.runs.values()}
            on_its_way = bool(states & {RunState.INTENT, RunState.SENT})
            permitted = any(machine.permit for machine in life.farm.machines.values())
    assert not list(vault.names())
    return folder


def make(farm: Path, into: Path, at: float = AT, url: str | None = None) -> Backup:
    return back_up(url or url_of(farm), farm, into, at=at, version="0")


def code_of(work: object, *args: object, **more: object) -> str:
    with pytest.raises((Refused, ConfigError)) as caught:
        work(*args, **more)  # type: ignore[operator]
    return caught.value.code.name


def test_a_back_up_is_whole_and_says_what_is_in_it(farm: Path, tmp_path: Path) -> None:
    vault = Vault(farm / "vault")
    with vault.receive() as sink:
        sink.write(b"G28\n")
        stored: StoredFile = sink.store()
    made = make(farm, tmp_path / "backups")
    assert made.folder.name == "farmd-20270115T080000Z"
    assert {"farmd.sqlite", "drivers/m1/runs.log"} <= made.files.keys()
    assert f"vault/{stored.sha256[:2]}" not in str(made.files), "no record knows this file"
    assert made.missing, "files that the record knows and the vault has not are told"
    check_backup(made)
    assert find_backup(tmp_path / "backups") == find_backup(made.folder) == made
    assert oct(made.folder.stat().st_mode)[-3:] == "700"
    assert [path.name for path in (tmp_path / "backups").iterdir()] == [made.folder.name]


def test_what_was_copied_before_is_linked_and_only_the_newest_are_kept(
    farm: Path, tmp_path: Path, farmlife: ModuleType
) -> None:
    into = tmp_path / "backups"
    with Store.open(url_of(farm), data_dir=farm) as store:
        sha256 = store.file_names()[0]
    file = farm / "vault" / sha256[:2] / sha256[2:4] / sha256
    file.parent.mkdir(parents=True)
    file.write_bytes(b"as it lies")
    first, second, third = (make(farm, into, AT + day * 86400.0) for day in range(3))
    name = f"vault/{sha256[:2]}/{sha256[2:4]}/{sha256}"
    assert second.path(name).stat().st_ino == first.path(name).stat().st_ino
    assert rotate(into, 2) == [first.folder]
    assert backups_in(into) == [second.folder, third.folder]
    check_backup(second)
    second.path(name).chmod(0o600)
    second.path(name).write_bytes(b"damaged...")
    os.utime(second.path(name), ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
    fourth = make(farm, into, AT + 3 * 86400.0)
    assert fourth.path(name).read_bytes() == b"as it lies", "a damaged copy is not handed on"
    assert rotate(into, 0) == []


@pytest.mark.parametrize("damage", ["database", "file", "missing", "added", "manifest", "chain"])
def test_a_damaged_back_up_is_refused_before_anything_is_written(
    farm: Path, tmp_path: Path, damage: str
) -> None:
    made = make(farm, tmp_path / "backups")
    manifest = made.path("manifest.json")
    match damage:
        case "database":
            content = bytearray(made.path("farmd.sqlite").read_bytes())
            content[len(content) // 2] ^= 1
            made.path("farmd.sqlite").write_bytes(content)
        case "file":
            made.path("drivers/m1/runs.log").chmod(0o600)
            made.path("drivers/m1/runs.log").write_text("R-2")
        case "missing":
            made.path("drivers/m1/runs.log").unlink()
        case "added":
            made.path("vault").mkdir(exist_ok=True)
            made.path("vault/more").write_text("x")
        case "manifest":
            manifest.write_text(manifest.read_text()[:-20])
        case "chain":
            import sqlite3

            with sqlite3.connect(made.path("farmd.sqlite")) as connection:
                connection.execute("DROP TRIGGER journal_no_update")
                connection.execute("UPDATE journal SET body = x'7b7d' WHERE seq = 9")
            connection.close()
            told = json.loads(manifest.read_text())
            from farmd.store.backup import synced

            told["files"]["farmd.sqlite"] = synced(made.path("farmd.sqlite"))
            manifest.write_text(json.dumps(told))
    elsewhere = tmp_path / "elsewhere"

    def put_back() -> None:
        restore(find_backup(made.folder), url_of(elsewhere), elsewhere, at=AT)

    assert code_of(put_back) == BACKUP_DAMAGED.name
    assert not elsewhere.exists()


def test_a_back_up_is_put_in_place_in_a_new_epoch(farm: Path, tmp_path: Path) -> None:
    with Store.open(url_of(farm), data_dir=farm) as store:
        before = store.load().farm
        node = store.node()
    on_their_way = {r.id for r in before.runs.values() if r.state in (RunState.INTENT, RunState.SENT)}
    assert on_their_way, "else this shows nothing"
    assert any(machine.permit for machine in before.machines.values())
    made = make(farm, tmp_path / "backups")
    elsewhere = tmp_path / "elsewhere"
    anchors = tmp_path / "anchors"
    anchors.write_text("of what came later\n")
    fact = restore(made, url_of(elsewhere), elsewhere, at=AT, anchors=anchors)
    assert fact.fence == int(AT)
    with Store.open(url_of(elsewhere), data_dir=elsewhere) as store:
        assert {x.code.name for x in verify(store, Vault(elsewhere / "vault"))} <= {"file-missing"}
        after = store.load().farm
        assert store.node() != node
    assert after.counters["fence"] > before.counters["fence"]
    assert {after.runs[run_id].state for run_id in on_their_way} == {RunState.UNCERTAIN}
    assert not [machine for machine in after.machines.values() if machine.permit]
    assert list(after.safe_modes) == ["restored"]
    assert (elsewhere / "drivers" / "m1" / "runs.log").read_text() == "R-1"
    assert not anchors.exists()
    assert after.jobs == before.jobs


def test_nothing_is_ever_restored_over_a_farm(farm: Path, tmp_path: Path) -> None:
    made = make(farm, tmp_path / "backups")
    content = (farm / "farmd.sqlite").read_bytes()
    assert code_of(restore, made, url_of(farm), farm, at=AT) == "farm-not-empty"
    assert (farm / "farmd.sqlite").read_bytes() == content
    other = tmp_path / "other"
    (other / "vault" / "ab").mkdir(parents=True)
    (other / "vault" / "ab" / "file").write_text("x")
    assert code_of(restore, made, url_of(other), other, at=AT) == "farm-not-empty"
    assert code_of(find_backup, tmp_path / "nowhere") == "no-backup"


def test_a_back_up_of_a_newer_farmd_is_refused(farm: Path, tmp_path: Path) -> None:
    import sqlite3

    with sqlite3.connect(farm / "farmd.sqlite") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    elsewhere = tmp_path / "elsewhere"
    into = tmp_path / "backups"
    assert code_of(make, farm, into) == "backup-failed"
    assert list(into.iterdir()) == [], "nothing half done is left"
    assert not elsewhere.exists()


def test_a_restore_that_was_broken_off_is_begun_anew(farm: Path, tmp_path: Path) -> None:
    made = make(farm, tmp_path / "backups")
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "vault" / "aa").mkdir(parents=True)
    (elsewhere / "vault" / "aa" / "half").write_text("x")
    (elsewhere / "farmd.sqlite.restoring").write_text("half a database")
    (elsewhere / MARK).touch()
    assert code_of(require_no_restore, elsewhere) == "restore-unfinished"
    restore(made, url_of(elsewhere), elsewhere, at=AT)
    require_no_restore(elsewhere)
    assert not (elsewhere / "vault" / "aa").exists()
    with Store.open(url_of(elsewhere), data_dir=elsewhere) as store:
        assert {x.code.name for x in verify(store, Vault(elsewhere / "vault"))} <= {"file-missing"}


def test_a_database_that_is_copied_wrong_is_not_put_in_place(
    farm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make(farm, tmp_path / "backups")
    copy = shutil.copyfile

    def bending(source: Path, to: Path) -> None:
        copy(source, to)
        if to.name.startswith("farmd.sqlite"):
            # The lowest byte of the change counter: nothing that opening it would notice.
            with to.open("r+b") as file:
                file.seek(27)
                file.write(b"\x77")

    monkeypatch.setattr(shutil, "copyfile", bending)
    elsewhere = tmp_path / "elsewhere"
    assert code_of(restore, made, url_of(elsewhere), elsewhere, at=AT) == "restore-failed"
    assert not (elsewhere / "farmd.sqlite").exists()
    assert code_of(require_no_restore, elsewhere) == "restore-unfinished"


_KILLED = """
import os, shutil, sys
from pathlib import Path
from farmd.store import find_backup, restore
copy, left = shutil.copyfile, [int(sys.argv[3])]
def dying(source, to, **how):
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), 9)
    return copy(source, to, **how)
shutil.copyfile = dying
restore(find_backup(Path(sys.argv[1])), "sqlite:///farmd.sqlite", Path(sys.argv[2]), at=1.8e9)
"""


@pytest.mark.parametrize("copies", [1, 2])
def test_a_restore_killed_at_any_file_leaves_no_farm_that_would_start(
    farm: Path, tmp_path: Path, copies: int
) -> None:
    made = make(farm, tmp_path / "backups")
    elsewhere = tmp_path / "elsewhere"
    command = [sys.executable, "-c", _KILLED, str(made.folder), str(elsewhere), str(copies)]
    assert subprocess.run(command, check=False).returncode == -9
    assert code_of(require_no_restore, elsewhere) == "restore-unfinished"
    assert not (elsewhere / "farmd.sqlite").exists()
    restore(made, url_of(elsewhere), elsewhere, at=AT)
    require_no_restore(elsewhere)


def test_a_back_up_while_facts_are_written_is_a_whole_prefix(
    store_url: str, tmp_path: Path, farmlife: ModuleType
) -> None:
    """On both databases: the copy is one moment of a record that goes on being written."""
    folder = tmp_path / "data"
    folder.mkdir()
    stop, committed = threading.Event(), [0]
    with Store.open(store_url, data_dir=folder) as store:
        life = farmlife.FarmLife(11, store.load().farm)
        store.commit(life.entries(50))

        def write() -> None:
            while not stop.is_set():
                committed[0] = store.commit(life.entries(3))

        writer = threading.Thread(target=write)
        writer.start()
        try:
            time.sleep(0.2)
            begun = committed[0]
            made = make(folder, tmp_path / "backups", url=store_url)
            ended = committed[0]
        finally:
            stop.set()
            writer.join()
    assert begun <= made.facts <= ended + 12
    assert ended > begun, "it was written meanwhile"
    elsewhere = tmp_path / "elsewhere"
    restore(made, url_of(elsewhere), elsewhere, at=AT)
    with Store.open(url_of(elsewhere), data_dir=elsewhere) as store:
        assert store.load().last_seq == made.facts + 1
        assert {x.code.name for x in verify(store, Vault(elsewhere / "vault"))} <= {"file-missing"}


def test_a_back_up_goes_into_an_empty_database_of_the_other_kind(
    store_url: str, farm: Path, tmp_path: Path
) -> None:
    made = make(farm, tmp_path / "backups")
    elsewhere = tmp_path / "elsewhere"
    restore(made, store_url, elsewhere, at=AT)
    with Store.open(store_url, data_dir=elsewhere) as store:
        assert store.load().last_seq == made.facts + 1
        assert {x.code.name for x in verify(store, Vault(elsewhere / "vault"))} <= {"file-missing"}
    shutil.rmtree(elsewhere)
    assert code_of(restore, made, store_url, elsewhere, at=AT) == "farm-not-empty"
