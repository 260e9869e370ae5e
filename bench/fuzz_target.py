"""What Atheris runs: one file of a kind into the readers of uploads. Started by `bench.fuzz` alone."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris  # type: ignore[import-not-found, unused-ignore]

with atheris.instrument_imports(include=["farmd.gcode"]):
    from farmd.gcode import is_mesh, read_mesh, read_sliced
    from farmd.model.errors import FarmdError

FOLDER = Path(tempfile.mkdtemp(prefix="farmd-fuzz-"))
KIND = sys.argv.pop(1)
PATH = FOLDER / f"a.{KIND}"


def read(content: bytes) -> None:
    PATH.write_bytes(content)
    try:
        if is_mesh(PATH.name, PATH):
            read_mesh(PATH, name=PATH.name)
        else:
            read_sliced(PATH, name=PATH.name)
    except FarmdError:
        return


atheris.Setup(sys.argv, read)
atheris.Fuzz()
