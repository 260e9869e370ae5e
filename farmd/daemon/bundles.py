"""Identical powder parts in bundles: how many are planned as one, and the box that these take on a plate.

Pure. Knows the shape of a part and the chambers that take it; no job, plan or machine.
"""

from __future__ import annotations

from collections.abc import Sequence

from farmd.model.machine import ChamberSpec
from farmd.model.work import PartShape

BUNDLES_PER_LOAD = 10
"""A bundle of identical powder parts fills at most this part of the smallest load; finer packs better."""
BUNDLES_PER_JOB = 4
"""A job is cut into at least so many bundles, so that it can be shared out to chambers."""

Box = tuple[float, float]


def bundle_of(shape: PartShape, count: int, chambers: Sequence[ChamberSpec]) -> int:
    """How many of `count` parts are planned as one; the box of so many fits on the plate of each chamber."""
    if not chambers:
        return 1
    by_area = min(chamber.area_mm2 for chamber in chambers) / shape.area_mm2
    by_volume = min(chamber.most_volume_mm3 for chamber in chambers) / shape.volume_mm3
    most = int(min(by_area, by_volume) / BUNDLES_PER_LOAD)
    bundle = max(1, min(most, -(-count // BUNDLES_PER_JOB)))
    while bundle > 1 and not all(_goes_on(block_mm(shape, bundle), chamber.size_mm) for chamber in chambers):
        bundle -= 1
    return bundle


def block_mm(shape: PartShape, pieces: int) -> Box | None:
    """The box of a bundle: its pieces in the rows that take least room, and of these the nearest to a square."""
    if shape.size_mm is None:
        return None
    width, length = shape.size_mm
    ways = [(rows * width, -(-pieces // rows) * length) for rows in range(1, pieces + 1)]
    return min(ways, key=lambda box: (round(box[0] * box[1], 6), abs(box[0] - box[1])))


def _goes_on(block: Box | None, plate: Box) -> bool:
    return block is None or (min(block) <= min(plate) and max(block) <= max(plate))
