"""`farmd run` under a service manager: it tells when it is ready and when it ends, and feeds the watchdog."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from farmhouse import Farmhouse

MACHINE = (
    '[[machine]]\nname = "m1"\ndriver = "simulated"\ngroup = "mk4"\nprocess = "MEX"\n'
    'volume_mm = [250, 210, 220]\nnozzle_mm = 0.4\nmaterial = "PLA black"\nmax_nozzle_c = 290\n'
)
WATCHDOG_S = 0.6


class Manager:
    """The socket that a service manager listens at."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))

    def told(self, within_s: float) -> str | None:
        """The next message; None when none comes in time."""
        self._socket.settimeout(within_s)
        try:
            return self._socket.recv(4096).decode()
        except TimeoutError:
            return None

    def drain(self) -> None:
        while self.told(0.05) is not None:
            pass

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.close()


def test_ready_fed_and_ending(tmp_path: Path, manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", str(int(WATCHDOG_S * 1e6)))
    farm = Farmhouse(tmp_path, MACHINE)
    farm.start()
    try:
        assert manager.told(10) == "READY=1"
        assert [manager.told(5) for _ in range(3)] == ["WATCHDOG=1"] * 3
        assert farm._daemon is not None
        os.kill(farm._daemon.pid, signal.SIGSTOP)
        manager.drain()
        assert manager.told(3 * WATCHDOG_S) is None, "who stands still is not fed"
        os.kill(farm._daemon.pid, signal.SIGCONT)
        assert manager.told(10) == "WATCHDOG=1"
        manager.drain()
    finally:
        assert farm.stop() == 0
    last = None
    while (message := manager.told(0.5)) is not None:
        last = message
    assert last == "STOPPING=1"
