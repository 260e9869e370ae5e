"""Measures the planner, a part at a time: `python -m bench.planner PART [options]`."""

from __future__ import annotations

import sys

from bench.planner import fdm, powder

PARTS = {"fdm": fdm.main, "powder": powder.main}


def main() -> int:
    """Measure the part that is named."""
    if len(sys.argv) < 2 or sys.argv[1] not in PARTS:
        print(f"usage: python -m bench.planner {'|'.join(PARTS)} [options]", file=sys.stderr)
        return 2
    PARTS[sys.argv[1]](sys.argv[2:])
    return 0


if __name__ == "__main__":
    sys.exit(main())
