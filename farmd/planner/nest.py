"""Boxes on a plate: bottom-left placing along a skyline, with quarter turns.

Knows rectangles in mm. A set that it cannot place may still be placeable: it is a heuristic, so a
refusal is never a proof.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

Box = tuple[float, float]
Place = tuple[float, float, bool]
SLACK_MM = 1e-9

_ORDERS: tuple[Callable[[Box], tuple[float, float]], ...] = (
    lambda box: (-max(box), -min(box)),
    lambda box: (-box[0] * box[1], -max(box)),
    lambda box: (-min(box), -max(box)),
)


def place(boxes: Sequence[Box], plate: Box) -> list[Place] | None:
    """For each box the x and y of its lower left corner and whether it is turned; None if one finds no place."""
    if sum(w * h for w, h in boxes) > plate[0] * plate[1] * (1 + SLACK_MM):
        return None
    for order in _ORDERS:
        sequence = sorted(range(len(boxes)), key=lambda i: (*order(boxes[i]), i))
        found = _skyline([boxes[i] for i in sequence], plate)
        if found is not None:
            out: list[Place] = [(0.0, 0.0, False)] * len(boxes)
            for i, spot in zip(sequence, found, strict=True):
                out[i] = spot
            return out
    return None


def _skyline(boxes: Sequence[Box], plate: Box) -> list[Place] | None:
    """Each box in turn as low, then as far left, as it goes."""
    sky: list[tuple[float, float, float]] = [(0.0, plate[0], 0.0)]
    out: list[Place] = []
    for width, length in boxes:
        best: tuple[float, float, float, float, float, bool] | None = None
        for w, h, turned in ((width, length, False), (length, width, True)):
            for i, (x, _, _) in enumerate(sky):
                y = _rest(sky, i, w)
                if y is not None and y + h <= plate[1] + SLACK_MM:
                    spot = (y + h, x, y, w, h, turned)
                    if best is None or spot < best:
                        best = spot
        if best is None:
            return None
        _, x, y, w, h, turned = best
        out.append((x, y, turned))
        sky = _raised(sky, x, x + w, y + h)
    return out


def _rest(sky: list[tuple[float, float, float]], i: int, width: float) -> float | None:
    """The height on which a box rests whose left edge is at segment i; None past the plate's edge."""
    right = sky[i][0] + width
    if right > sky[-1][1] + SLACK_MM:
        return None
    top = 0.0
    for start, _, height in sky[i:]:
        if start >= right - SLACK_MM:
            break
        top = max(top, height)
    return top


def _raised(
    sky: list[tuple[float, float, float]], left: float, right: float, top: float
) -> list[tuple[float, float, float]]:
    """The skyline with [left, right] raised to `top`."""
    out: list[tuple[float, float, float]] = []
    placed = False
    for start, end, height in sky:
        if end <= left + SLACK_MM:
            out.append((start, end, height))
            continue
        if not placed:
            if start < left - SLACK_MM:
                out.append((start, left, height))
            out.append((left, right, top))
            placed = True
        if end > right + SLACK_MM:
            out.append((max(start, right), end, height))
    return out
