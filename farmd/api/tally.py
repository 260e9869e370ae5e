"""What the shop has made since its record began, kept current at the price of a short look at a time.

The first look sums up the whole record; each later one only what has come off machines since.
Knows the store; changes nothing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, fields, replace

from farmd.driver import offload
from farmd.driver.clock import now, shop_s
from farmd.store import Store, ThroughputRow

SETTLED_S = 5.0
"""A fact this old (real seconds) is in the store: group commits take milliseconds."""


@dataclass(frozen=True, slots=True)
class _Sums:
    until: float = 0.0
    rows: tuple[ThroughputRow, ...] = ()


class Tally:
    """Totals by machine, each a `ThroughputRow`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._sums = _Sums()
        self._turn = asyncio.Lock()

    async def rows(self) -> tuple[ThroughputRow, ...]:
        """The totals as of a few seconds ago."""
        async with self._turn:
            since, until = self._sums.until, now() - shop_s(SETTLED_S)
            if until > since:
                new = await offload(lambda: self._store.throughput(since, until))
                self._sums = _Sums(until, _added(self._sums.rows, new))
            return self._sums.rows


def _added(sums: tuple[ThroughputRow, ...], new: list[ThroughputRow]) -> tuple[ThroughputRow, ...]:
    by_key = {row.key: row for row in sums}
    counts = [field.name for field in fields(ThroughputRow) if field.name != "key"]
    for row in new:
        known = by_key.get(row.key, ThroughputRow(row.key))
        by_key[row.key] = replace(
            known, **{name: getattr(known, name) + getattr(row, name) for name in counts}
        )
    return tuple(by_key[key] for key in sorted(by_key))
