"""A farm's storage as its operator has it: one daemon, sealed files, back-ups, keys lost, and a record set back."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from farmhouse import DATA, FARMD, Farmhouse, until

CANARY = b"; the canary sings at midnight, farmd must not\n"
MACHINE = (
    '[[machine]]\nname = "{name}"\ndriver = "simulated"\ngroup = "mk4"\nprocess = "MEX"\n'
    'volume_mm = [250, 210, 220]\nnozzle_mm = 0.4\nmaterial = "PLA black"\nmax_nozzle_c = 290\nmax_bed_c = 120\n'
    '[machine.link]\ntruth_dir = "{truth}"\n'
)


def farmd(*args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*FARMD, *map(str, args)], capture_output=True, text=True, timeout=60, check=False)


def farmd_json(*args: object) -> Any:
    done = farmd(*args, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Farmhouse]:
    (tmp_path / "truth").mkdir()
    key = tmp_path / "master.key"
    assert farmd("vault", "key", key).returncode == 0
    text = "".join(MACHINE.format(name=name, truth=tmp_path / "truth") for name in ("m1", "m2"))
    farm = Farmhouse(tmp_path, f'[vault]\nkey_file = "{key}"\n' + text)
    farm.start()
    yield farm
    farm.stop()


def part(folder: Path, name: str = "secret.gcode") -> Path:
    """A file to be printed with something in it that nothing on the disk may show."""
    path = folder / name
    path.write_bytes((DATA / "box20.gcode").read_bytes().replace(b"\n", b"\n" + CANARY + name.encode(), 1))
    return path


def where_it_sings(folder: Path) -> list[str]:
    return [
        path.relative_to(folder).as_posix()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and CANARY[:30] in path.read_bytes()
    ]


def test_nothing_of_a_file_is_on_the_disk_in_clear(house: Farmhouse, tmp_path: Path) -> None:
    """Vault, half-received uploads, journal, write-ahead log, drivers' memories and back-ups."""
    outside = tmp_path / "outside"
    outside.mkdir()
    file = part(outside)
    until(lambda: house.machine("m1")["state"] == "idle", "the machine is linked")
    house.farmctl("clear", "m1")
    house.farmctl("submit", str(file), "--quantity", "2")
    until(lambda: house.machine("m1")["run"], "its run is under way")
    assert where_it_sings(tmp_path / "data") == []
    farmd_json("backup", tmp_path / "backups", "--config", house.config)
    house.kill()
    assert where_it_sings(tmp_path / "data") == [], "after a crash"
    assert where_it_sings(tmp_path / "backups") == []
    content = b"".join(path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file())
    assert b'png_base64": "iVBOR' not in content
    assert farmd("verify", "--config", house.config).returncode == 0
    house.start()


def test_a_key_that_is_lost_holds_its_job_and_the_next_one_runs(house: Farmhouse, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    house.farmctl("submit", str(part(outside)), "--quantity", "1", "--priority", "9")
    house.stop()
    assert farmd("vault", "key", tmp_path / "new.key").returncode == 0
    shutil.copy(tmp_path / "new.key", tmp_path / "master.key")
    house.start()
    until(lambda: house.machine("m1")["state"] == "idle", "the machine is linked")
    house.farmctl("submit", str(part(outside, "next.gcode")), "--quantity", "1")
    for name in ("m1", "m2"):
        until(lambda name=name: house.machine(name)["state"] == "idle", "the machine is linked")
        house.farmctl("clear", name)
    held = until(lambda: _job(house, "secret")["state"] == "held" and _job(house, "secret"), "it is held")
    events = house.farmctl("events", "--job", held["id"])["events"]
    assert any("file-locked" in str(event) for event in events)
    # The permit was spent: one permit, one start.
    for name in ("m1", "m2"):
        house.ask("clear", name)
    until(lambda: _job(house, "next")["in_work"] or _job(house, "next")["good"], "the next one runs")


def _job(house: Farmhouse, design: str) -> Any:
    return next(job for job in house.farmctl("jobs", "--all")["jobs"] if job["design"].startswith(design))


def test_keys_are_exchanged_by_rewrapping(house: Farmhouse, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    house.farmctl("submit", str(part(outside)), "--quantity", "1")
    house.stop()
    assert farmd("vault", "key", tmp_path / "new.key").returncode == 0
    old, new = f'key_file = "{tmp_path / "master.key"}"', f'key_file = "{tmp_path / "new.key"}"'
    text = house.config.read_text()
    house.config.write_text(text.replace(old, f'{new}\nold_key_files = ["{tmp_path / "master.key"}"]'))
    assert farmd_json("vault", "rotate", "--config", house.config) == {"files": 1, "changed": 1}
    house.config.write_text(text.replace(old, new))
    assert farmd("verify", "--config", house.config).returncode == 0
    house.config.write_text(text)
    told = farmd("verify", "--config", house.config)
    assert told.returncode == 1
    assert "error file-locked" in told.stderr
    house.config.write_text(text.replace(old, new))
    house.start()


def test_a_second_daemon_is_told_who_has_the_farm_before_it_tries_anything(
    house: Farmhouse, tmp_path: Path
) -> None:
    """On the same data folder and the same port: the farm's lock comes first."""
    port = house.url.rpartition(":")[2]
    fixed = tmp_path / "fixed.toml"
    fixed.write_text(house.config.read_text().replace("127.0.0.1:0", f"127.0.0.1:{port}"))
    second = farmd("run", "--config", fixed)
    assert second.returncode == 1
    assert second.stderr.startswith("error data-dir-locked:")
    assert house._daemon is not None
    assert f"process {house._daemon.pid} on " in second.stderr
    elsewhere = tmp_path / "elsewhere.toml"
    text = fixed.read_text().replace(str(tmp_path / "data"), str(tmp_path / "data2"))
    elsewhere.write_text(text)
    third = farmd("run", "--config", elsewhere)
    assert third.stderr.startswith("error listen-failed:"), "another farm on that port is another thing"


def test_a_lost_farm_is_restored_and_waits_for_a_person(house: Farmhouse, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    house.farmctl("submit", str(part(outside)), "--quantity", "1")
    made = farmd_json("backup", tmp_path / "backups", "--config", house.config, "--keep", "2")
    assert made["missing"] == []
    refused = farmd("restore", tmp_path / "backups", "--config", house.config)
    assert refused.returncode == 1
    assert refused.stderr.startswith("error data-dir-locked:")
    house.stop()
    refused = farmd("restore", tmp_path / "backups", "--config", house.config)
    assert refused.stderr.startswith("error farm-not-empty:")
    (tmp_path / "data").rename(tmp_path / "lost")
    restored = farmd_json("restore", tmp_path / "backups", "--config", house.config)
    assert restored["facts"] == made["facts"]
    assert farmd("verify", "--config", house.config).returncode == 0
    house.start()
    until(lambda: house.machine("m1")["state"] == "idle", "the machine is linked")
    health = httpx.get(f"{house.url}/healthz").json()
    assert health["status"] == "safe-mode"
    assert [each["cause"] for each in health["causes"]] == ["restored"]
    assert house.farmctl("safe-mode")["causes"][0]["cause"] == "restored"
    told = house.ask("clear", "m1")
    assert told.returncode == 1
    assert told.stderr.startswith("error safe-mode:")
    assert "safe mode" in house.ask("next").stdout.lower()
    (job,) = house.farmctl("jobs")["jobs"]
    assert "safe mode (restored)" in house.ask("why", job["id"]).stdout
    left = house.ask("safe-mode", "--leave", "--reason", "all machines looked at")
    assert left.returncode == 0, left.stderr
    house.farmctl("clear", "m1")
    until(lambda: house.machine("m1")["run"], "work goes on")


def test_an_older_database_put_in_place_by_hand_is_noticed(house: Farmhouse, tmp_path: Path) -> None:
    house.farmctl("hold", "m1")
    house.stop()
    shutil.copy(tmp_path / "data" / "farmd.sqlite", tmp_path / "old.sqlite")
    house.start()
    house.farmctl("hold", "m2")
    house.stop()
    for suffix in ("", "-wal", "-shm"):
        (tmp_path / "data" / f"farmd.sqlite{suffix}").unlink(missing_ok=True)
    shutil.copy(tmp_path / "old.sqlite", tmp_path / "data" / "farmd.sqlite")
    house.start()
    (cause,) = house.farmctl("safe-mode")["causes"]
    assert cause["cause"] == "restored"
    assert "older record" in cause["what"]
    house.stop()
    house.start()
    assert [each["cause"] for each in house.farmctl("safe-mode")["causes"]] == ["restored"]
    restored = [e for e in house.farmctl("events", "-n", "100")["events"] if e["kind"] == "FarmRestored"]
    assert len(restored) == 1, "a restart does not begin another epoch"


def test_a_dry_run_of_a_migration_tells_and_changes_nothing(house: Farmhouse, tmp_path: Path) -> None:
    assert farmd("migrate", "--config", house.config).stderr.startswith("error data-dir-locked:")
    house.stop()
    told = farmd_json("migrate", "--dry-run", "--config", house.config)
    assert told["from"] == told["to"]
    assert told["steps"] == []
    with sqlite3.connect(tmp_path / "data" / "farmd.sqlite") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    assert farmd("migrate", "--dry-run", "--config", house.config).stderr.startswith("error schema-newer:")
    house.start()
    assert [each["cause"] for each in house.farmctl("safe-mode")["causes"]] == ["newer-schema"]
