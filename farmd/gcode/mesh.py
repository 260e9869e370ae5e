"""Meshes: what planning needs to know of an STL or a model in a 3MF.

Knows geometry only. Triangles come in blocks, so that an STL of any size is read in constant memory;
a 3MF's vertices have to be kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from farmd.gcode.formats import DAMAGED, EMPTY, NOT_MESH, TRUNCATED, file_kind
from farmd.gcode.hull import Hull, Polygon, area
from farmd.gcode.lines import text_blocks
from farmd.gcode.meshxml import read_model
from farmd.gcode.source import Readable
from farmd.gcode.summary import Vector
from farmd.model.errors import ErrorCode, Refused

BAD_MESH = ErrorCode("mesh-invalid", "the mesh encloses no volume", "repair the model or export it again")

Triangles = NDArray[np.float64]
"""Shape (n, 3, 3): n triangles of three points of x, y, z."""

CLOSED_TOLERANCE = 1e-4
COORDINATE_LIMIT_MM = 1e6
_HEADER, _FACET = 80, 50
_BLOCK = 1 << 15
_FACETS = np.dtype([("normal", "<f4", 3), ("points", "<f4", (3, 3)), ("attribute", "<u2")])
_SOLID = re.compile(rb"\s*solid\b", re.IGNORECASE)
_VERTEX = re.compile(rb"\s*vertex\s+(\S{1,40})\s+(\S{1,40})\s+(\S{1,40})\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class MeshFile:
    """The summary of one mesh. An STL's numbers are taken as mm.

    `size_mm` is the bounding box (x, y, z), `height_mm` its z. `outline_mm` is the convex hull of the
    mesh seen from above, counter-clockwise, with the corner of the bounding box at 0, 0, and `area_mm2`
    that hull's area. `items` counts the bodies that a 3MF places on the plate (1 for an STL). `closed`
    is False when the surface has holes; the volume is then a guess.
    """

    kind: Literal["stl", "3mf"]
    volume_mm3: float
    size_mm: Vector
    height_mm: float
    outline_mm: Polygon
    area_mm2: float
    triangles: int
    items: int
    closed: bool


def read_mesh(path: Readable, *, name: str = "") -> MeshFile:
    """Read an STL (binary or ASCII) or the model in a 3MF; `name` (default: the path's) says the kind.

    Raises `Refused` for other files, wrong lengths, and meshes without volume.
    """
    name = name or path.name
    try:
        kind = file_kind(name)
        if kind == "stl":
            return _read_stl(path)
        if kind in ("3mf", "gcode.3mf"):
            measure = _Measure()
            items = 0
            for points in read_model(path):
                items += 1
                for start in range(0, len(points), _BLOCK):
                    measure.add(points[start : start + _BLOCK])
            return measure.result("3mf", items)
        raise Refused(NOT_MESH)
    except Refused as error:
        raise Refused(error.code, error.what, where=name, remedy=error.remedy) from error


def _read_stl(path: Readable) -> MeshFile:
    size = path.stat().st_size
    if size == 0:
        raise Refused(EMPTY)
    measure = _Measure()
    with path.open("rb") as stream:
        head = stream.read(_HEADER + 4)
        count = int.from_bytes(head[_HEADER:], "little")
        expected = _HEADER + 4 + _FACET * count
        if len(head) == _HEADER + 4 and size == expected:
            blocks = _binary_blocks(stream, count)
        elif _SOLID.match(head):
            stream.seek(0)
            blocks = _ascii_blocks(stream)
        elif size < expected:
            raise Refused(TRUNCATED, f"the STL has {size} bytes; its {count} triangles need {expected}")
        else:
            raise Refused(DAMAGED, f"the STL has {size} bytes; its {count} triangles end at {expected}")
        for block in blocks:
            measure.add(block)
    return measure.result("stl", 1)


def _binary_blocks(stream: BinaryIO, count: int) -> Iterator[Triangles]:
    while count:
        facets = min(count, _BLOCK)
        data = stream.read(facets * _FACET)
        if len(data) != facets * _FACET:
            raise Refused(TRUNCATED, "the file became shorter while it was read")
        yield np.frombuffer(data, _FACETS)["points"].astype(np.float64)
        count -= facets


def _ascii_blocks(stream: BinaryIO) -> Iterator[Triangles]:
    points: list[tuple[float, float, float]] = []
    corners = facets = 0
    ended = False
    for block in text_blocks(stream):
        for line in block.splitlines():
            if vertex := _VERTEX.fullmatch(line):
                corners += 1
                points.append(_floats(vertex))
            else:
                word = line.split(maxsplit=1)[:1]
                key = word[0].lower() if word else b""
                if key == b"endfacet":
                    facets += 1
                    if corners != 3:
                        raise Refused(DAMAGED, f"facet {facets} of the STL has {corners} corners")
                    corners = 0
                ended = key == b"endsolid" or (ended and not key)
        whole = len(points) - corners
        if whole:
            yield np.array(points[:whole]).reshape(-1, 3, 3)
            points = points[whole:]
    if not ended or points:
        raise Refused(TRUNCATED, "the STL has no endsolid")


def _floats(vertex: re.Match[bytes]) -> tuple[float, float, float]:
    try:
        return float(vertex[1]), float(vertex[2]), float(vertex[3])
    except ValueError as error:
        raise Refused(DAMAGED, f"a corner of the STL is no number ({error})") from error


class _Measure:
    """Volume, bounds and outline of the triangles so far."""

    def __init__(self) -> None:
        self._origin: NDArray[np.float64] | None = None
        self._low = np.full(3, np.inf)
        self._high = np.full(3, -np.inf)
        self._volume = 0.0
        self._facing = np.zeros(3)
        self._surface = 0.0
        self._triangles = 0
        self._hull = Hull()

    def add(self, triangles: Triangles) -> None:
        if not np.isfinite(triangles).all() or np.abs(triangles).max() > COORDINATE_LIMIT_MM:
            raise Refused(BAD_MESH, "the mesh has a corner that is nowhere on a machine")
        points = triangles.reshape(-1, 3)
        self._low = np.minimum(self._low, points.min(axis=0))
        self._high = np.maximum(self._high, points.max(axis=0))
        self._hull.add(points[:, :2])
        # The volume is summed from a corner of the mesh: from far away, differences would drown.
        if self._origin is None:
            self._origin = points[0].copy()
        a, b, c = (triangles[:, i] - self._origin for i in range(3))
        self._volume += float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum()) / 6
        facing = np.cross(b - a, c - a) / 2
        self._facing += facing.sum(axis=0)
        self._surface += float(np.sqrt((facing**2).sum(axis=1)).sum())
        self._triangles += len(triangles)

    def result(self, kind: Literal["stl", "3mf"], items: int) -> MeshFile:
        size = self._high - self._low
        if not self._triangles or not (size > 0).all() or abs(self._volume) <= 1e-9:
            raise Refused(BAD_MESH)
        x, y = float(self._low[0]), float(self._low[1])
        outline = tuple((round(px - x, 6), round(py - y, 6)) for px, py in self._hull.polygon())
        return MeshFile(
            kind=kind,
            volume_mm3=abs(self._volume),
            size_mm=(round(float(size[0]), 6), round(float(size[1]), 6), round(float(size[2]), 6)),
            height_mm=round(float(size[2]), 6),
            outline_mm=outline,
            area_mm2=area(outline),
            triangles=self._triangles,
            items=items,
            closed=float(np.abs(self._facing).max()) <= CLOSED_TOLERANCE * self._surface,
        )
