"""The example driver keeps farmd's promises, on a simulated machine over real TCP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from farmd_example.driver import ExampleDriver, ExampleSettings
from farmd_example.peer import ExamplePeer

from farmd.driver import Activity, Event, Observed, StartOrder
from farmd.driver.kit import Rig, check_driver
from farmd.model.machine import MachineSpec


class ExampleRig(Rig):
    settle_s = 1.0
    quiet_s = 0.1
    link_timeout_s = 1.0

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._peer = ExamplePeer()
        self._port = 0

    async def open(self) -> None:
        self._port = await self._peer.listen()

    async def close(self) -> None:
        await self._peer.close()

    def driver(self) -> ExampleDriver:
        spec = MachineSpec("example-1", "example", "example", "MEX", (200.0, 200.0, 200.0))
        settings = ExampleSettings(host="127.0.0.1", port=self._port, timeout_s=0.1)
        return ExampleDriver(spec, settings, state_dir=self._state_dir / str(self._port))

    def order(self, run_id: str, *, long: bool) -> StartOrder:
        return StartOrder(run_id, "print", duration_s=600.0 if long else 0.1, parts=1, fence=1)

    def starts(self) -> Sequence[str]:
        return self._peer.starts

    def is_off(self) -> bool:
        return self._peer.activity == "fault"

    async def cut_link(self) -> None:
        self._peer.mute = True

    async def restore_link(self) -> None:
        self._peer.mute = False

    async def reboot(self) -> None:
        self._peer.reboot()

    async def foreign_start(self) -> None:
        self._peer.run("benchy", 600.0)

    async def lose_next_start(self) -> None:
        self._peer.drop_next_start = True

    async def fail_run(self) -> None:
        self._peer.fail()

    async def break_machine(self) -> None:
        self._peer.fault("the door is open")


def rigs(folder: Path) -> Callable[[], Rig]:
    return lambda: ExampleRig(folder)


async def test_example_driver_keeps_its_promises(tmp_path: Path) -> None:
    verdict = await check_driver(rigs(tmp_path))
    print(verdict)
    assert set(verdict.skipped) == {"run-is-not-adopted", "unsupported-is-refused"}


async def test_lost_start_makes_the_driver_look_again(tmp_path: Path) -> None:
    rig, told = ExampleRig(tmp_path), asyncio.Queue[Event]()
    await rig.open()
    driver = rig.driver()
    serving = asyncio.create_task(driver.serve(told.put_nowait))
    try:
        async with asyncio.timeout(5.0):
            await told.get()
            await rig.lose_next_start()
            await driver.start(rig.order("R-1", long=True))
            second = await told.get()
        assert isinstance(second, Observed)
        assert second.activity is Activity.IDLE
        await driver.start(rig.order("R-2", long=True))
        assert not serving.done()
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        await rig.close()
