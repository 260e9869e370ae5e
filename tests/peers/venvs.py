"""Virtual environments of the peers: other hosts and other printers, each in its own, pinned, made once.

`python_of(NAME)` gives the interpreter of `.venv-peers/NAME` in the checkout and makes it on first use from
`requirements-NAME.txt`; a changed list makes it anew. Knows pip and folders, and nothing of the peers.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HOME = ROOT / ".venv-peers"
MAKING_S = 300.0


class PeerMissing(Exception):
    """The peer's environment cannot be made here; the text says why, in one line."""


def python_of(name: str) -> Path:
    """The interpreter of a peer's environment. Raises `PeerMissing`."""
    wanted = Path(__file__).with_name(f"requirements-{name}.txt")
    folder = HOME / name
    python = folder / "bin" / "python"
    made_of = hashlib.sha256(wanted.read_bytes() + sys.version.encode()).hexdigest()
    HOME.mkdir(exist_ok=True)
    with (HOME / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = folder / "made-of"
        if stamp.exists() and stamp.read_text() == made_of:
            return python
        shutil.rmtree(folder, ignore_errors=True)
        _run(sys.executable, "-m", "venv", str(folder))
        # Without dependencies: the lists are whole, and say so of what they leave out.
        options = ("--quiet", "--no-deps", "--retries", "2", "--timeout", "20")
        _run(str(python), "-m", "pip", "install", *options, "--requirement", str(wanted))
        stamp.write_text(made_of)
    return python


def _run(*command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=MAKING_S)
    except subprocess.CalledProcessError as error:
        said = [line for line in error.stderr.splitlines() if line.startswith("ERROR")] or [str(error)]
        raise PeerMissing(said[-1]) from error
    except (subprocess.TimeoutExpired, OSError) as error:
        raise PeerMissing(str(error)) from error
