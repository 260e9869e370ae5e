"""Every metric is in docs/METRICS.md with its kind and labels, and the page names none that is not there."""

from __future__ import annotations

import re
from pathlib import Path

from farmd.api.metrics import METRICS

PAGE = (Path(__file__).parents[2] / "docs" / "METRICS.md").read_text()
ROWS = {
    name: [cell.strip() for cell in rest.split(" | ")]
    for name, rest in re.findall(r"^\| `(farmd_\w+)` \| (.+) \|$", PAGE, flags=re.MULTILINE)
}


def test_the_page_names_exactly_the_metrics_there_are() -> None:
    assert ROWS.keys() == {metric.name for metric in METRICS}


def test_the_page_gives_their_kinds_labels_and_meanings() -> None:
    for metric in METRICS:
        kind, labels, meaning = ROWS[metric.name]
        assert kind == metric.kind, metric.name
        assert tuple(re.findall(r"`(\w+)`", labels)) == metric.labels, metric.name
        assert len(meaning) > 20, metric.name


def test_names_follow_the_rules_of_prometheus() -> None:
    for metric in METRICS:
        assert metric.name.endswith("_total") == (metric.kind == "counter"), metric.name
        assert metric.help.endswith("."), metric.name
