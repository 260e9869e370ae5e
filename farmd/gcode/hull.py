"""The convex hull of points in the plane, taken piece by piece so that memory stays small."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
Polygon = tuple[tuple[float, float], ...]

_DIRECTIONS = 32


class Hull:
    """The hull of all points added so far."""

    def __init__(self) -> None:
        self._corners: Points = np.empty((0, 2))

    def add(self, points: Points) -> None:
        """Take points, shape (n, 2)."""
        both = np.concatenate((self._corners, points))
        self._corners = np.array(_chain(np.unique(_outer(both), axis=0)))

    def polygon(self) -> Polygon:
        """The corners counter-clockwise from the lowest x; fewer than three when the points lie in a line."""
        return tuple((float(x), float(y)) for x, y in self._corners)


def area(polygon: Polygon) -> float:
    """The area of a polygon given counter-clockwise."""
    if len(polygon) < 3:
        return 0.0
    closed = (*polygon, polygon[0])
    return sum(a[0] * b[1] - b[0] * a[1] for a, b in pairwise(closed)) / 2


def _outer(points: Points) -> Points:
    """The points without most of those inside: all strictly within the polygon of the extreme ones."""
    if len(points) < 4 * _DIRECTIONS:
        return points
    angles = np.arange(_DIRECTIONS) * (2 * math.pi / _DIRECTIONS)
    extremes = [int(np.argmax(points[:, 0] * math.cos(a) + points[:, 1] * math.sin(a))) for a in angles]
    corners = points[extremes]
    slack = 1e-9 * float(np.max(np.ptp(points, axis=0))) ** 2
    rest = points
    inside = np.ones(len(rest), dtype=bool)
    for a, b in pairwise([*corners, corners[0]]):
        if (a == b).all():
            continue
        inside &= (b[0] - a[0]) * (rest[:, 1] - a[1]) - (b[1] - a[1]) * (rest[:, 0] - a[0]) > slack
    return rest[~inside]


def _chain(points: Points) -> list[tuple[float, float]]:
    """Andrew's monotone chain over points that are sorted by x, then y."""
    ordered = [(float(x), float(y)) for x, y in points]
    if len(ordered) < 3:
        return ordered
    lower, upper = _half(ordered), _half(ordered[::-1])
    return lower[:-1] + upper[:-1]


def _half(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    half: list[tuple[float, float]] = []
    for x, y in points:
        while len(half) > 1:
            (ax, ay), (bx, by) = half[-2], half[-1]
            if (bx - ax) * (y - ay) - (by - ay) * (x - ax) > 0:
                break
            half.pop()
        half.append((x, y))
    return half
