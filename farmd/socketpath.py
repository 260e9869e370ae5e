"""Names of local sockets that the kernel takes, however deep their folder lies. Knows no protocol."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LONGEST_BYTES = 107


@contextmanager
def reachable(path: Path) -> Iterator[str]:
    """A name for a socket's path that is short enough, good inside the block. Raises `OSError`."""
    if len(os.fsencode(path)) <= LONGEST_BYTES:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
