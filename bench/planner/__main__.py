"""Measures the planner: `python -m bench.planner PART [options]`; without a part, all goals in a short form."""

from __future__ import annotations

import sys
from importlib import import_module

from bench.planner import together

PARTS = ("fdm", "powder", "routes", "events", "loop", "fuzz")


def main() -> int:
    """Measure the part that is named, or everything."""
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        return together.main(sys.argv[1:])
    if sys.argv[1] not in PARTS:
        print(f"usage: python -m bench.planner {'|'.join(PARTS)} [options], or [--long]", file=sys.stderr)
        return 2
    import_module(f"bench.planner.{sys.argv[1]}").main(sys.argv[2:])
    return 0


if __name__ == "__main__":
    sys.exit(main())
