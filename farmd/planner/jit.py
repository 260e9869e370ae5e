"""numba's decorators as the planner uses them, and where what they compile is kept.

Knows folders and numba's options. Knows no function that is compiled.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

numba: Any
try:
    import numba
except OSError:
    # Nothing may be made executable here (systemd's MemoryDenyWriteExecute): the same code, interpreted.
    numba = None

F = TypeVar("F", bound=Callable[..., Any])
Floats = NDArray[np.float64]
Ints = NDArray[np.int32]
Words = NDArray[np.uint64]

_HERE = Path(__file__).parent
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "_nrt": False}
"""Without numba's runtime, which counts references of arrays at every call: measured, that was nine tenths of
the time. So nothing that is compiled may make an array."""


@cache
def cache_folder(room: Path) -> Path | None:
    """Where the compiled functions of a folder of sources are kept: beside it, else in the user's cache; None: nowhere.

    It is named after all sources that may be compiled in there and here: numba looks at the file of a function
    alone, not at what it calls in others.
    """
    sources = [path.read_bytes() for path in sorted({*_HERE.glob("*.py"), *room.glob("*.py")})]
    stamp = hashlib.sha256(b"".join(text for text in sources if b"planner.jit" in text)).hexdigest()[:16]
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path(os.path.expanduser("~")) / ".cache")
    for parent in (room / "__pycache__", user / "farmd"):
        folder = parent / f"compiled-{stamp}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with TemporaryFile(dir=folder):
                return folder
        except OSError:
            continue
    return None


def compiled(function: F) -> F:
    """numba's `njit` as a typed decorator, kept on the disk where a folder can be written."""
    if numba is None:
        return function
    folder = cache_folder(Path(function.__code__.co_filename).parent)
    if folder is None:
        return cast(F, numba.njit(**OPTIONS)(function))
    settings = numba.config
    before, settings.CACHE_DIR = settings.CACHE_DIR, str(folder)
    try:
        return cast(F, numba.njit(cache=True, **OPTIONS)(function))
    finally:
        settings.CACHE_DIR = before


def inlined(function: F) -> F:
    """As `compiled`, and written out where it is called: handing over dozens of arrays took two thirds of a move."""
    return function if numba is None else cast(F, numba.njit(inline="always", **OPTIONS)(function))
