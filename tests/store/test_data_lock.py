"""The lock of the data folder holds as long as its process lives, and says who holds it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from socket import gethostname

import pytest

from farmd.model.errors import ConfigError, Refused
from farmd.store import DataLock

_CHILD = """
import sys
from pathlib import Path
from farmd.store.lock import DataLock
lock = DataLock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_second_holder_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    with DataLock(tmp_path / "data"):
        with pytest.raises(
            Refused, match=rf"process {os.getpid()} on {gethostname()} since \d{{4}}-"
        ) as caught:
            DataLock(tmp_path / "data")
        assert caught.value.code.name == "data-dir-locked"
        DataLock(tmp_path / "other").release()
    lock = DataLock(tmp_path / "data")
    lock.release()
    lock.release()


def test_death_of_the_holder_frees_the_folder(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _CHILD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            assert child.stdout.readline() == "held\n"
            with pytest.raises(Refused, match=f"process {child.pid} on {gethostname()} since"):
                DataLock(tmp_path)
        finally:
            child.kill()
    DataLock(tmp_path).release()


@pytest.mark.parametrize("said", ["", "x", "[]", "{}", "7"])
def test_holder_that_has_not_written_its_name(tmp_path: Path, said: str) -> None:
    with DataLock(tmp_path):
        (tmp_path / "farmd.lock").write_text(said)
        with pytest.raises(Refused, match="just started"):
            DataLock(tmp_path)


def test_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "farmd.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="symbolic") as caught:
        DataLock(tmp_path)
    assert caught.value.code.name == "data-dir-unusable"
    assert not (tmp_path / "elsewhere").exists()


def test_data_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError) as caught:
        DataLock(tmp_path / "file" / "data")
    assert caught.value.code.name == "data-dir-unusable"
