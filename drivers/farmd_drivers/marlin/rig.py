"""The conformance kit's rig of an emulated Marlin machine, for tests; the driver never imports it.

Files begin with `M117` and the run id, by which the machine's own record tells which runs reached it.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

from farmd.driver import RunFile, StartOrder
from farmd.driver.kit import Rig
from farmd.model.machine import MachineSpec

from .driver import MarlinDriver
from .emulator.build import Build
from .peer import PtyPeer
from .settings import MarlinSettings

SPEC = MachineSpec("mk3-01", "marlin", "mk3", "MEX", (250.0, 210.0, 210.0))
MOVE_S = 0.02


class MarlinRig(Rig):
    """An emulated machine, `peer`, on a pty, in a thread, whose moves take `MOVE_S` each; `folder` is its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.peer = PtyPeer(Build(move_scale=1.0), link=folder / "port")

    async def open(self) -> None:
        self.peer.__enter__()

    async def close(self) -> None:
        self.peer.__exit__(None, None, None)

    def driver(self) -> MarlinDriver:
        settings = MarlinSettings(port=str(self.folder / "port"), banner_wait_s=0.05)
        return MarlinDriver(SPEC, settings, state_dir=self.folder)

    def order(self, run_id: str, *, long: bool) -> StartOrder:
        speed_mm_min = 60 / MOVE_S
        moves = [f"G1 X1 F{speed_mm_min:.0f}"] * (10_000 if long else 3)
        data = "\n".join([f"M117 {run_id}", "G91", "M104 S200", "M140 S60", *moves, "M104 S0", "M140 S0"])
        content = data.encode()
        digest = hashlib.sha256(content).hexdigest()
        file = RunFile(f"{run_id}.gcode", digest, len(content), lambda: io.BytesIO(content))
        return StartOrder(run_id, "print", 60.0, 1, fence=1, file=file, mass_g=20.0)

    def starts(self) -> Sequence[str]:
        return [line[5:].decode() for line in self.peer.executed if line.startswith(b"M117 ")]

    def is_off(self) -> bool:
        return self.peer.machine.is_off

    async def cut_link(self) -> None:
        self.peer.unplug()

    async def restore_link(self) -> None:
        self.peer.replug()

    async def reboot(self) -> None:
        self.peer.reset()

    async def fail_run(self) -> None:
        self.peer.reset()

    async def break_machine(self) -> None:
        self.peer.stop_moving()
