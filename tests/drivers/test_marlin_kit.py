"""The Marlin driver keeps the promises of every driver, on emulated machines on pseudo-terminals."""

from __future__ import annotations

import itertools
from pathlib import Path

from farmd.driver.kit import check_driver, promises
from farmd_drivers.marlin.rig import MarlinRig

NOT_FOR_FED_MACHINES = "history-is-an-authority"
"""It asks for a run that ends well while nobody looks. A fed run cannot: it ends as failed, and the
history says so (test_marlin_driver has that)."""


async def test_marlin_driver_keeps_its_promises(tmp_path: Path) -> None:
    numbers = itertools.count()
    verdict = await check_driver(
        lambda: MarlinRig(tmp_path / str(next(numbers))), only=promises().keys() - {NOT_FOR_FED_MACHINES}
    )
    # A fed machine shows no run of others, has no START that could be lost, and is never adopted.
    assert verdict.skipped == (
        "lost-start-is-not-told",
        "run-is-adopted",
        "foreign-run-is-told",
        "unsupported-is-refused",
    ), str(verdict)
    assert len(verdict.kept) >= 22
