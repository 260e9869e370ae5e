"""`farmd demo`: the whole shop by its command, to the end."""

from __future__ import annotations

import json
import subprocess

from farmhouse import FARMD


def test_the_demo_makes_everything_and_its_record_agrees() -> None:
    done = subprocess.run(
        [*FARMD, "demo", "--until-done", "--json", "--speed", "1500"],
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    jobs, parts = summary["jobs"], summary["parts"]
    assert jobs["done"] == jobs["submitted"] == 8
    assert jobs["open"] == 0
    assert parts["made"] == parts["good"] + parts["scrap"] + parts["surplus"]
    assert parts["good"] == 418
    assert summary["journal_agrees"] is True
    serial = summary["serial"]["serial-01"]
    assert serial["exact"] is True
    assert serial["runs"] >= 2
    assert serial["commands"] > 5000
