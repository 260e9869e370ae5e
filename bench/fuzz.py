"""Fuzzing of the readers of uploads, guided by what their code covers: `python -m bench.fuzz --seconds 600`.

Needs Atheris, which has a virtual environment of its own (tests/peers); it is never part of the tests. Each kind of
file gets its share of the time, begins with the sample files, and keeps what it finds in a corpus under
`.fuzz/KIND`. Whatever a reader raises but its own refusals ends the campaign with the file that made it do so.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[1]
DATA = ROOT / "tests" / "data"
CORPUS = ROOT / ".fuzz"
KINDS = {"gcode": "*.gcode", "stl": "*.stl", "3mf": "*.3mf", "bgcode": "*.bgcode", "gcode.3mf": "*.gcode.3mf"}
LONGEST_BYTES = 40_000
SLOWEST_S = 20
"""For one file; a reader that takes longer hangs."""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=60, help="for all kinds together")
    parser.add_argument("--kind", choices=KINDS, action="append", help="only these")
    args = parser.parse_args()
    kinds = args.kind or list(KINDS)
    python = atheris()
    for kind in kinds:
        folder = CORPUS / kind
        folder.mkdir(parents=True, exist_ok=True)
        for sample in DATA.glob(KINDS[kind]):
            shutil.copy(sample, folder / f"sample-{sample.name}")
        if kind == "bgcode":
            (folder / "sample-packed").write_bytes(packed())
        ran = subprocess.run(
            [
                str(python), "-m", "bench.fuzz_target", kind, str(folder),
                f"-max_total_time={max(1, args.seconds // len(kinds))}", f"-max_len={LONGEST_BYTES}",
                f"-timeout={SLOWEST_S}", f"-artifact_prefix={CORPUS}/{kind}-", "-print_final_stats=1", "-verbosity=0",
            ],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), sysconfig.get_path("purelib")))},
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
        executed = [line for line in ran.stderr.splitlines() if "number_of_executed_units" in line]
        print(
            f"{kind}: {executed[0].split()[-1] if executed else '?'} files, exit {ran.returncode}", flush=True
        )
        if ran.returncode:
            print(ran.stdout[-4000:], ran.stderr[-4000:], sep="\n")
            return 1
    return 0


def packed() -> bytes:
    """A short text in binary G-code."""
    sys.path.insert(0, str(ROOT / "tests" / "gcode"))
    from bgpack import MEAT_WITH_COMMENTS, SHRUNK_12, gcode_blocks, header

    text = b"".join((DATA / "box20.gcode").read_bytes().splitlines(keepends=True)[:300])
    return bytes(header() + gcode_blocks(text, SHRUNK_12, MEAT_WITH_COMMENTS))


def atheris() -> Path:
    """The interpreter of Atheris' own environment."""
    sys.path.insert(0, str(ROOT))
    from tests.peers.venvs import python_of

    return python_of("atheris")


if __name__ == "__main__":
    sys.exit(main())
