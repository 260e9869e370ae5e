"""How a chart looks: its rules of style, by day and by night, and a colour for each setup."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

STYLE = """
text{font:11px system-ui,sans-serif;fill:#1d2530}.n{font-size:11px}.b{fill:#10151c;pointer-events:none}
.sm .b,.sm .n{font-size:9px}.day{font-weight:600}.h{text-anchor:middle;font-size:10px}.u,.h{fill:#4a5565}
.page{fill:#fff}.night{fill:#d3d8e0}.day1{fill:#f7f8fa}.g{stroke:#8d97a5;stroke-width:1;fill:none}
.fine{stroke:#c3c9d2;stroke-width:.5}.p{stroke:#0004;stroke-width:.5}.late{stroke:#c2000b;stroke-width:2}
.due{stroke:#c2000b;stroke-width:1.2;fill:none}.clr{fill:url(#clr)}.chg{fill:url(#chg)}.cool{fill:url(#cool)}
.ha{fill:#39434f}.hb{fill:#fff}.ca{fill:#5a7fa8}.cb{fill:#e6eef7}.na{fill:#a3abb6}
.wish{fill:#6a1b9a;stroke:#fff;stroke-width:.8}.on{fill:#e9edf2}.at{fill:#2f6db3}
@media(prefers-color-scheme:dark){text{fill:#e4e8ee}.b{fill:#10151c}.u,.h{fill:#a9b3c0}
.page{fill:#14181d}.night{fill:#0a0c0f}.day1{fill:#262c34}.g{stroke:#66707d}.fine{stroke:#3a424c}
.late,.due{stroke:#ff2f2f}.ha{fill:#d5dbe3}.hb{fill:#3a424d}.ca{fill:#7fa6d1}.cb{fill:#27323f}
.na{fill:#59626d}.wish{fill:#d9a5ff;stroke:#14181d}.on{fill:#2a313a}.at{fill:#6aa8ee}}
""".replace("\n", "")

BACKDROP = """
body{font:14px system-ui,sans-serif;margin:0;padding:12px 16px;background:#fff;color:#1d2530;
display:flex;flex-direction:column;height:100vh;box-sizing:border-box}
h1{font-size:18px;margin:0 0 4px}p{margin:0 0 8px}
.legend{display:flex;flex-wrap:wrap;gap:4px 16px;list-style:none;margin:0 0 6px;padding:0;font-size:12px}
.legend svg{vertical-align:-2px;margin-right:5px}
.chart{overflow:auto;flex:1;min-height:0;border-top:1px solid #8d97a5}
.chart svg{display:block}.axis{position:sticky;top:0;z-index:1}
@media(prefers-color-scheme:dark){body{background:#14181d;color:#e4e8ee}}
@media print{body{height:auto}.chart{overflow:visible}.axis{position:static}}
""".replace("\n", "")

HUES = (212, 28, 140, 48, 280, 0, 180, 95, 320, 245, 60, 160)
"""Neighbours in this row are far apart on the wheel."""
LIGHT = (74, 84, 66)


def setup_classes(setups: Iterable[str]) -> dict[str, str]:
    """A class for each setup, the most frequent first."""
    counts = Counter(setups)
    ordered = sorted(counts, key=lambda setup: (-counts[setup], setup))
    return {setup: f"s{i}" for i, setup in enumerate(ordered)}


def setup_rules(classes: Mapping[str, str]) -> str:
    """A light colour for each class, so that dark text reads on it by day and by night; they come again at last."""
    rules = []
    for i, name in enumerate(classes.values()):
        hue = (HUES[i % len(HUES)] + 9 * (i // len(HUES) // len(LIGHT))) % 360
        rules.append(f".{name}{{fill:hsl({hue},62%,{LIGHT[i // len(HUES) % len(LIGHT)]}%)}}")
    return "".join(rules)
