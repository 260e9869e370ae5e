"""What the daemon does now and then: it notes that it lives, and forgets answers of long ago.

The note tells the next start since when machines have been out of sight, also after a night in
which nothing happened and a crash in the morning.
"""

from __future__ import annotations

from concurrent.futures import Executor
from functools import partial
from pathlib import Path

import structlog

from farmd.driver import now, offload, sleep
from farmd.store import Store

ALIVE_S = 300.0
DAY_S = 86400.0
ANSWERS_KEPT_S = 7 * DAY_S
"""How long a repeated request gets the answer that it got before."""
_NOTE = "last-alive"

log = structlog.get_logger("housekeeping")


async def keep_house(store: Store, writer: Executor, data_dir: Path) -> None:
    """For ever. Raises what the store raises; a note that cannot be written is tried again later."""
    forget_at = 0.0
    failed = False
    while True:
        at = now()
        try:
            await offload(partial(_note_alive, data_dir, at))
        except OSError as error:
            # Machines are watched and run without the note as well.
            if not failed:
                log.warning("note of being alive not written", folder=str(data_dir), why=str(error))
            failed = True
        else:
            if failed:
                log.info("note of being alive written again", folder=str(data_dir))
            failed = False
        if at >= forget_at:
            forget_at = at + DAY_S
            await offload(partial(store.forget_answers, at - ANSWERS_KEPT_S), writer)
        await sleep(ALIVE_S)


def last_alive(data_dir: Path) -> float:
    """When an earlier daemon last noted that it lived, UTC seconds; 0 where none did."""
    try:
        return float((data_dir / _NOTE).read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        return 0.0


def _note_alive(data_dir: Path, at: float) -> None:
    beside = data_dir / (_NOTE + ".new")
    beside.touch(mode=0o600)
    beside.write_text(f"{at:.3f}", encoding="ascii")
    beside.replace(data_dir / _NOTE)
