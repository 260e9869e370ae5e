"""The Marlin driver keeps the promises of every driver, on emulated machines on pseudo-terminals."""

from __future__ import annotations

import itertools
from pathlib import Path

from farmd.driver.kit import check_driver
from farmd_drivers.marlin.rig import MarlinRig


async def test_marlin_driver_keeps_its_promises(tmp_path: Path) -> None:
    numbers = itertools.count()
    verdict = await check_driver(lambda: MarlinRig(tmp_path / str(next(numbers))))
    # A fed machine shows no run of others, has no START that could be lost, and is never adopted.
    assert verdict.skipped == (
        "lost-start-is-not-told",
        "run-is-adopted",
        "foreign-run-is-told",
        "unsupported-is-refused",
    ), str(verdict)
    assert len(verdict.kept) == 24
