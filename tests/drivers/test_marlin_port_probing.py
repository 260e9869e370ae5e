"""The speed of a port: found by asking, remembered, told when it is another, and never switched silently."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import select
import struct
import threading
import time
import tty
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType

import pytest

from farmd.driver import Event, Observed
from farmd.model.errors import LinkLost
from farmd.model.machine import MachineSpec
from farmd_drivers.marlin import probing, transport
from farmd_drivers.marlin.driver import MarlinDriver
from farmd_drivers.marlin.emulator import Marlin
from farmd_drivers.marlin.emulator.build import Build
from farmd_drivers.marlin.probing import NO_ANSWER, is_answer
from farmd_drivers.marlin.settings import MarlinSettings
from farmd_drivers.marlin.transport import PORT_IN_USE, PORT_LOST, PORT_MISSING, open_port

SPEC = MachineSpec("mk3-01", "marlin", "mk3", "MEX", (250.0, 210.0, 210.0))
TCGETS2 = 0x802C542A
HELLO_S = 0.06


class FixedSpeed:
    """An emulated machine on a pty that understands one speed; at any other, both sides hear noise.

    `speeds` are those at which it was spoken to, in order, each once in a row.
    """

    def __init__(self, baud: int, *, silent: bool = False) -> None:
        self.baud = baud
        self.speeds: list[int] = []
        self.machine = Marlin(Build())
        self._silent = silent
        self._stopping = False

    def __enter__(self) -> FixedSpeed:
        self.master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)
        os.set_blocking(self.master, False)
        self.machine.power_on(time.monotonic())
        self.machine.output.clear()  # switched on long ago
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping = True
        self._thread.join()
        self.unplug()

    def unplug(self) -> None:
        for fd in (self.master, self._slave):
            if fd >= 0:
                os.close(fd)
        self.master = self._slave = -1

    def _speed(self) -> int:
        settings = bytearray(44)
        fcntl.ioctl(self._slave, TCGETS2, settings)
        return int(struct.unpack_from("I", settings, 40)[0])

    def _run(self) -> None:
        while not self._stopping:
            if not select.select([self.master], [], [], 0.005)[0]:
                self.machine.step(time.monotonic())
                self._answer(self.baud)
                continue
            data, speed = os.read(self.master, 65536), self._speed()
            if self.speeds[-1:] != [speed]:
                self.speeds.append(speed)
            if not self._silent:
                self.machine.receive(self._through(data, speed), time.monotonic())
                self._answer(speed)

    def _answer(self, speed: int) -> None:
        data = bytes(self.machine.output)
        self.machine.output.clear()
        if data:
            os.write(self.master, self._through(data, speed))

    def _through(self, data: bytes, speed: int) -> bytes:
        return data if speed == self.baud else bytes((byte * 73 + 0x91) & 0xFF | 0x80 for byte in data)


def driver(port: str, folder: Path, baud: int | str) -> MarlinDriver:
    settings = MarlinSettings.model_validate({"port": port, "baud": baud, "banner_wait_s": 0.02})
    return MarlinDriver(SPEC, settings, state_dir=folder)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "HELLO_S", HELLO_S)
    monkeypatch.setattr("farmd_drivers.marlin.wire.states.HELLO_S", HELLO_S)


@asynccontextmanager
async def served(machine: MarlinDriver) -> AsyncIterator[None]:
    """The driver, once it has observed the machine."""
    events: list[Event] = []
    task = asyncio.create_task(machine.serve(events.append))
    try:
        async with asyncio.timeout(20):
            while not any(isinstance(event, Observed) for event in events):
                if task.done():
                    task.result()
                await asyncio.sleep(0.005)
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def lost(machine: MarlinDriver) -> LinkLost:
    with pytest.raises(LinkLost) as caught:
        async with asyncio.timeout(20):
            await machine.serve(lambda event: None)
    return caught.value


@pytest.mark.parametrize("baud", [115200, 250000, 230400, 500000, 1000000, 57600])
async def test_the_speed_is_found_and_remembered(tmp_path: Path, baud: int) -> None:
    with FixedSpeed(baud) as peer:
        async with served(driver(peer.port, tmp_path, "auto")):
            assert peer.speeds == list(probing.SPEEDS[: probing.SPEEDS.index(baud) + 1])
        assert json.loads((tmp_path / "port.json").read_text()) == {"baud": baud}
        peer.speeds.clear()
        async with served(driver(peer.port, tmp_path, "auto")):
            assert peer.speeds == [baud]


async def test_a_machine_that_changed_its_speed_is_found_again(tmp_path: Path) -> None:
    (tmp_path / "port.json").write_text('{"baud": 500000}')
    with FixedSpeed(250000) as peer:
        async with served(driver(peer.port, tmp_path, "auto")):
            assert peer.speeds == [500000, 115200, 250000]
    assert json.loads((tmp_path / "port.json").read_text()) == {"baud": 250000}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"baud": 7}', '{"baud": "x"}'])
async def test_a_memory_that_cannot_be_read_is_only_a_hint(tmp_path: Path, text: str) -> None:
    (tmp_path / "port.json").write_text(text)
    with FixedSpeed(115200) as peer:
        async with served(driver(peer.port, tmp_path, "auto")):
            assert peer.speeds == [115200]


async def test_a_wrong_speed_in_the_configuration_is_told_and_kept(tmp_path: Path) -> None:
    with FixedSpeed(250000) as peer:
        machine = driver(peer.port, tmp_path, 115200)
        error = await lost(machine)
        assert error.code is NO_ANSWER
        assert error.what == "nothing answers at 115200 baud, and a machine does at 250000"
        assert "`baud = 250000`" in error.remedy
        # Asked once; the next attempts go on at the speed that was configured.
        peer.speeds.clear()
        again = await lost(machine)
        assert again.what == NO_ANSWER.meaning
        assert peer.speeds == [115200]
    assert not (tmp_path / "port.json").exists()


async def test_nothing_there_is_told_for_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "SPEEDS", (115200, 250000, 57600))
    with FixedSpeed(115200, silent=True) as peer:
        error = await lost(driver(peer.port, tmp_path, "auto"))
        assert (error.code, error.what) == (NO_ANSWER, "the machine answers at no speed")
        assert peer.speeds == [115200, 250000, 57600]
        error = await lost(driver(peer.port, tmp_path, 57600))
        assert (error.code, error.what) == (NO_ANSWER, NO_ANSWER.meaning)
        open_port(peer.port, 115200).close()


async def test_probing_that_is_broken_off_gives_the_port_back(tmp_path: Path) -> None:
    with FixedSpeed(115200, silent=True) as peer:
        serving = asyncio.create_task(driver(peer.port, tmp_path, "auto").serve(lambda event: None))
        while len(peer.speeds) < 2:  # noqa: ASYNC110 - a thread's doing
            await asyncio.sleep(0.005)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        open_port(peer.port, 115200).close()


async def test_a_port_that_goes_away_while_it_is_probed(tmp_path: Path) -> None:
    with FixedSpeed(115200, silent=True) as peer:
        losing = asyncio.create_task(lost(driver(peer.port, tmp_path, "auto")))
        while not peer.speeds:  # noqa: ASYNC110 - a thread's doing
            await asyncio.sleep(0.005)
        peer._stopping = True
        peer._thread.join()
        peer.unplug()
        assert (await losing).code is PORT_LOST


@pytest.mark.parametrize(
    "line",
    [
        b"ok",
        b"start",
        b"echo:start\r",
        b"wait",
        b" T:21.0 /0.0 B:20.1 /0.0",
        b"ok T:0",
        b"Resend: 1",
        b"echo:busy: processing",
        b"rs 1",
        b"// Klipper state: Ready",
        b"Error:checksum mismatch, Last Line: 0",
    ],
)
def test_what_firmware_says_is_an_answer(line: bytes) -> None:
    assert is_answer(line)


@pytest.mark.parametrize(
    "line", [b"", b"\r", b"o\x80k", b"\x00\xfe\x1c", b"ok\x00", b"hello", b"garbage:", b"\xffok"]
)
def test_noise_is_none(line: bytes) -> None:
    assert not is_answer(line)


def test_noise_at_another_speed_is_hardly_ever_an_answer() -> None:
    """Random bytes, a million of them, as many as ten hours of probing would bring."""
    source = os.urandom(1_000_000)
    assert not any(is_answer(line) for line in source.split(b"\n"))


# The port itself.


def test_a_missing_port_names_those_that_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "BY_NAME", (tmp_path / "by-id", tmp_path / "by-path"))
    with pytest.raises(LinkLost) as caught:
        open_port("/dev/does-not-exist", 115200)
    assert caught.value.what == PORT_MISSING.meaning
    (tmp_path / "by-id").mkdir()
    for n in range(8):
        (tmp_path / "by-id" / f"usb-{n}").touch()
    with pytest.raises(LinkLost) as caught:
        open_port("/dev/does-not-exist", 115200)
    assert caught.value.code is PORT_MISSING
    assert f"there are {tmp_path}/by-id/usb-0, " in caught.value.what
    assert caught.value.what.endswith("usb-5 and 2 more")


def test_two_machines_on_one_port(tmp_path: Path) -> None:
    with FixedSpeed(115200) as peer:
        (tmp_path / "other-name").symlink_to(peer.port)
        port = open_port(peer.port, 115200)
        with pytest.raises(LinkLost) as caught:
            open_port(str(tmp_path / "other-name"), 115200)
        assert caught.value.code is PORT_IN_USE
        port.close()
        open_port(str(tmp_path / "other-name"), 115200).close()


OPENER = "import os, sys; os.setuid(65534); os.close(os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY))"


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming somebody else takes root")
def test_a_program_that_asks_for_no_lock_is_kept_out_too() -> None:
    """TIOCEXCL holds off all but root; `flock` holds off whoever asks for it, root too."""
    import subprocess
    import sys

    def opens(path: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", OPENER, path], capture_output=True, text=True, check=False, timeout=20
        )
        return done.stderr

    with FixedSpeed(115200) as peer:
        os.chmod(peer.port, 0o666)
        assert opens(peer.port) == ""
        port = open_port(peer.port, 115200)
        assert "busy" in opens(peer.port)
        with pytest.raises(LinkLost) as caught:
            open_port(peer.port, 115200)
        assert caught.value.code is PORT_IN_USE
        port.close()
        assert opens(peer.port) == ""


def test_what_came_before_the_opening_is_not_heard() -> None:
    master, slave = pty.openpty()
    tty.setraw(slave)
    os.write(master, b"ok\nok\nResend: 17\n")
    port = open_port(os.ttyname(slave), 115200)
    assert port.serial.in_waiting == 0
    os.write(master, b"start\n")
    time.sleep(0.01)
    assert port.serial.read(100) == b"start\n"
    port.close()
    os.close(master)
    os.close(slave)
