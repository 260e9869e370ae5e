"""A Marlin machine that is printed on from its own card keeps the promises of a driver that adopts."""

from __future__ import annotations

import hashlib
import io
import itertools
import time
from pathlib import Path

from farmd.driver import RunFile, StartOrder
from farmd.driver.kit import check_driver
from farmd_drivers.marlin.driver import MarlinDriver
from farmd_drivers.marlin.emulator.build import Build
from farmd_drivers.marlin.emulator.card import CardMarlin
from farmd_drivers.marlin.ptys import PtyPeer
from farmd_drivers.marlin.rig import SPEC, MarlinRig
from farmd_drivers.marlin.settings import MarlinSettings

MOVE_S = 0.02


class CardRig(MarlinRig):
    """An emulated machine with a card on a pty; `folder` is its own."""

    settle_s = 5.0
    link_timeout_s = 8.0

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        build = Build(move_scale=1.0)
        self.card = CardMarlin(build)
        self.peer = PtyPeer(build, link=folder / "port", machine=self.card)

    def driver(self) -> MarlinDriver:
        port = str(self.folder / "port")
        settings = MarlinSettings(port=port, banner_wait_s=0.05, print_from="card")
        return MarlinDriver(SPEC, settings, state_dir=self.folder)

    def order(self, run_id: str, *, long: bool) -> StartOrder:
        content = _file(run_id, 2000 if long else 3)
        digest = hashlib.sha256(content).hexdigest()
        file = RunFile(f"{run_id}.gcode", digest, len(content), lambda: io.BytesIO(content))
        return StartOrder(run_id, "print", 60.0, 1, fence=1, file=file, mass_g=20.0)

    async def foreign_start(self) -> None:
        def begin() -> None:
            self.card.files["BENCHY.GCO"] = bytearray(_file("", 2000).partition(b"\n")[2])
            self.card.panel_start("BENCHY.GCO", time.monotonic())

        self.peer._do(begin)

    async def fail_run(self) -> None:
        self.peer._do(lambda: self.card.panel_stop(time.monotonic()))


def _file(run_id: str, moves: int) -> bytes:
    lines = ["G91", "M104 S200", "M140 S60", *([f"G1 X1 F{60 / MOVE_S:.0f}"] * moves), "M104 S0", "M140 S0"]
    return "\n".join([f"M117 {run_id}", *lines]).encode()


async def test_marlin_driver_that_prints_from_the_card_keeps_its_promises(tmp_path: Path) -> None:
    numbers = itertools.count()
    verdict = await check_driver(lambda: CardRig(tmp_path / str(next(numbers))))
    # It adopts; it has no START that could be lost, and what ended unseen is known to nobody.
    assert verdict.skipped == (
        "lost-start-is-not-told",
        "run-is-not-adopted",
        "history-is-an-authority",
        "unsupported-is-refused",
    ), str(verdict)
    assert len(verdict.kept) == 24
