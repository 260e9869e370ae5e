"""Boxes on a plate: bottom-left placing along a skyline, with quarter turns, compiled.

Knows rectangles in mm. A set that it cannot place may still be placeable: it is a heuristic, so a
refusal is never a proof.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from farmd.planner.jit import Floats, Ints, compiled

Box = tuple[float, float]
Place = tuple[float, float, bool]
SLACK_MM = 1e-9
ORDERS = 3
X, TOP = 0, 1
LEFT, BOTTOM, TURNED = 0, 1, 2


class Desk(NamedTuple):
    """Room to work in for so many boxes: their `order`, the `sky` as (X, TOP) from left to right, where they lie
    (LEFT, BOTTOM, TURNED)."""

    order: Ints
    sky: Floats
    lies: Floats


def desk_of(boxes: int) -> Desk:
    return Desk(np.zeros(boxes, np.int32), np.zeros((2 * boxes + 4, 2)), np.zeros((boxes, 3)))


@compiled
def _key(width: float, length: float, rule: int) -> float:
    """Large ones first: by the longer side, by area, by the shorter side."""
    if rule == 0:
        return max(width, length) + 1e-3 * min(width, length)
    if rule == 1:
        return width * length
    return min(width, length) + 1e-3 * max(width, length)


@compiled
def _sort(box: Floats, members: Ints, count: int, order: Ints, rule: int) -> None:
    for i in range(count):
        p = members[i]
        key = _key(box[p, 0], box[p, 1], rule)
        k = i
        while k > 0:
            q = order[k - 1]
            other = _key(box[q, 0], box[q, 1], rule)
            if other > key or (other == key and q < p):
                break
            order[k] = q
            k -= 1
        order[k] = p


@compiled
def _raise(sky: Floats, steps: int, left: float, right: float, top: float) -> int:
    """The skyline with [left, right] at `top`; returns how many steps it has. The last step is the plate's edge."""
    first = 0
    while sky[first + 1, X] <= left + SLACK_MM:
        first += 1
    last = first
    while sky[last + 1, X] < right - SLACK_MM:
        last += 1
    keep_left = sky[first, X] < left - SLACK_MM
    keep_right = sky[last + 1, X] > right + SLACK_MM
    after = sky[last, TOP]
    begin = first + (1 if keep_left else 0)
    rest = last + 1
    size = begin + 1 + (1 if keep_right else 0)
    shift = size - rest
    if shift > 0:
        for k in range(steps, rest - 1, -1):
            sky[k + shift, X], sky[k + shift, TOP] = sky[k, X], sky[k, TOP]
    elif shift < 0:
        for k in range(rest, steps + 1):
            sky[k + shift, X], sky[k + shift, TOP] = sky[k, X], sky[k, TOP]
    sky[begin, X], sky[begin, TOP] = left, top
    if keep_right:
        sky[begin + 1, X], sky[begin + 1, TOP] = right, after
    return steps + shift


@compiled
def _pack(
    box: Floats,
    members: Ints,
    order: Ints,
    sky: Floats,
    lies: Floats,
    count: int,
    width: float,
    length: float,
) -> bool:
    """Each box in `order` as low, then as far left, as it goes."""
    sky[0, X] = sky[0, TOP] = 0.0
    sky[1, X], sky[1, TOP] = width, np.inf
    steps = 1
    for i in range(count):
        p = order[i]
        best_top, best_x, best_y, best_w, turned = np.inf, 0.0, 0.0, 0.0, 0.0
        for turn in range(2):
            w, h = box[p, turn], box[p, 1 - turn]
            for s in range(steps):
                x = sky[s, X]
                if x + w > width + SLACK_MM:
                    break
                y = 0.0
                k = s
                while k < steps and sky[k, X] < x + w - SLACK_MM:
                    y = max(y, sky[k, TOP])
                    k += 1
                if y + h <= length + SLACK_MM and y + h < best_top - SLACK_MM:
                    best_top, best_x, best_y, best_w, turned = y + h, x, y, w, float(turn)
        if best_top == np.inf:
            return False
        for k in range(count):
            if members[k] == p:
                lies[k, LEFT], lies[k, BOTTOM], lies[k, TURNED] = best_x, best_y, turned
        steps = _raise(sky, steps, best_x, best_x + best_w, best_top)
    return True


@compiled
def pack(
    box: Floats,
    members: Ints,
    order: Ints,
    sky: Floats,
    lies: Floats,
    count: int,
    width: float,
    length: float,
) -> bool:
    """Whether the first `count` of `members` (rows of `box`) find a place on a plate; `lies` says where."""
    total = 0.0
    for i in range(count):
        total += box[members[i], 0] * box[members[i], 1]
    if total > width * length * (1.0 + SLACK_MM):
        return False
    for rule in range(ORDERS):
        _sort(box, members, count, order, rule)
        if _pack(box, members, order, sky, lies, count, width, length):
            return True
    return False


def place(boxes: Sequence[Box], plate: Box) -> list[Place] | None:
    """For each box the x and y of its lower left corner and whether it is turned; None if one finds no place."""
    if not boxes:
        return []
    desk = desk_of(len(boxes))
    members = np.arange(len(boxes), dtype=np.int32)
    if not pack(np.array(boxes, dtype=float), members, *desk, len(boxes), *plate):
        return None
    return [(float(x), float(y), bool(turned)) for x, y, turned in desk.lies]
