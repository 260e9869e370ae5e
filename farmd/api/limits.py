"""How much one caller may ask for: requests in a second, streams at one time. Knows callers by a name only.

A bucket holds so many requests and is filled again at a steady rate; whoever finds theirs empty is told
how long to wait.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

BURST_S = 2.0
"""A bucket holds what fills it in so long."""
MOST_BUCKETS = 10_000
REQUESTS_PER_S = 200.0
"""By one token, unless the configuration says otherwise."""
STRANGERS_PER_S = 10.0
"""Requests without a good token, from one address."""
STREAMS_EACH = 25
"""At one time, by one token."""


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float


class Buckets:
    """A bucket for each name. A rate of 0 limits nothing."""

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._size = max(1.0, per_s * BURST_S)
        self._buckets: dict[str, _Bucket] = {}

    def take(self, name: str) -> int:
        """0 when a request may pass; else after how many whole seconds one may."""
        if self._per_s <= 0:
            return 0
        at = asyncio.get_running_loop().time()
        bucket = self._buckets.get(name)
        if bucket is None:
            self._make_room(at)
            bucket = self._buckets[name] = _Bucket(self._size, at)
        bucket.left = min(self._size, bucket.left + (at - bucket.at) * self._per_s)
        bucket.at = at
        if bucket.left >= 1.0:
            bucket.left -= 1.0
            return 0
        return max(1, math.ceil((1.0 - bucket.left) / self._per_s))

    def _make_room(self, at: float) -> None:
        """Forget those that are full again; all of them, where that is not enough."""
        if len(self._buckets) < MOST_BUCKETS:
            return
        refill_s = self._size / self._per_s
        self._buckets = {name: each for name, each in self._buckets.items() if at - each.at < refill_s}
        if len(self._buckets) >= MOST_BUCKETS:
            self._buckets.clear()


class Limits:
    """What the gate asks before it lets somebody through."""

    def __init__(
        self, requests_per_s: float = REQUESTS_PER_S, strangers_per_s: float = STRANGERS_PER_S
    ) -> None:
        self.requests = Buckets(requests_per_s)
        self.strangers = Buckets(strangers_per_s)
        self._streams: Counter[str] = Counter()

    def streams(self, name: str) -> int:
        """How many streams somebody has open."""
        return self._streams[name]

    @contextmanager
    def streaming(self, name: str) -> Iterator[None]:
        self._streams[name] += 1
        try:
            yield
        finally:
            self._streams[name] -= 1
            if not self._streams[name]:
                del self._streams[name]
