"""Following what the daemon tells as it happens: a lost daemon is looked for again, and told of once."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from farmd.cli.errors import NoDaemon
from farmd.model.errors import LinkLost

RECONNECT_S = (1.0, 2.0, 5.0, 10.0, 30.0)
"""How long to wait before each try to find a lost daemon again."""


def followed(listen: Callable[[int], Iterator[Any]], after: int, number: str) -> Iterator[Any]:
    """What `listen` gives after a number, for ever; `number` is the member of each that has its own."""
    tries = 0
    while True:
        try:
            for item in listen(after):
                tries = 0
                if item is not None:
                    after = item[number]
                    yield item
        except (NoDaemon, LinkLost) as error:
            if tries == len(RECONNECT_S):
                raise
            if tries == 0:
                print(f"lost the daemon ({error.what}), looking for it again", file=sys.stderr)
            time.sleep(RECONNECT_S[tries])
            tries += 1
