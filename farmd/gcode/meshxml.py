"""The model in a 3MF: objects, components, units and the items on the plate (3MF core specification).

Also follows components into other model parts of the package (production extension), because the
common slicers save their projects so. Objects of type "other" or "support" and items marked as not
printable are no parts and left out.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from farmd.gcode.archive import Archive, Attributes, open_archive, read_xml
from farmd.gcode.formats import DAMAGED, NOT_MESH, UNSAFE
from farmd.gcode.source import Readable
from farmd.model.errors import Refused

TRIANGLES_LIMIT = 50_000_000
INSTANCES_LIMIT = 10_000
DEPTH_LIMIT = 16

_UNITS_MM = {
    "micron": 0.001,
    "millimeter": 1.0,
    "centimeter": 10.0,
    "inch": 25.4,
    "foot": 304.8,
    "meter": 1000.0,
}
_PART_TYPES = ("model", "solidsupport")
_ROOT_RELATIONS = "_rels/.rels"
_MODEL_RELATION = "http://schemas.microsoft.com/3dmanufacturing/2013/01/3dmodel"
_IDENTITY = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]])

Matrix = NDArray[np.float64]
"""Shape (4, 3), as 3MF writes it: a row (x, y, z, 1) times the matrix."""
Key = tuple[str, str]
"""The part of the package and the id of an object in it."""


@dataclass(slots=True)
class _Object:
    is_part: bool
    vertices: array[float] = field(default_factory=lambda: array("d"))
    triangles: array[int] = field(default_factory=lambda: array("Q"))
    components: list[tuple[Key, Matrix]] = field(default_factory=list)


class _Model:
    """One model part of the package while its XML is read."""

    def __init__(self, part: str) -> None:
        self.part = part
        self.unit_mm = 1.0
        self.objects: dict[str, _Object] = {}
        self.items: list[tuple[Key, Matrix]] = []
        self._open: _Object | None = None

    def begin(self, name: str, values: Attributes) -> None:
        try:
            self._begin(name, values)
        except (KeyError, ValueError, OverflowError) as error:
            raise Refused(DAMAGED, f"an element <{name}> of the model cannot be read ({error})") from error

    def _begin(self, name: str, values: Attributes) -> None:
        here = self._open
        if name == "vertex" and here is not None:
            here.vertices.extend((float(values["x"]), float(values["y"]), float(values["z"])))
        elif name == "triangle" and here is not None:
            here.triangles.extend((int(values["v1"]), int(values["v2"]), int(values["v3"])))
        elif name == "component" and here is not None:
            here.components.append(self._placed(values))
        elif name == "object":
            self._open = _Object(values.get("type", "model") in _PART_TYPES)
            self.objects[values["id"]] = self._open
        elif name == "item" and values.get("printable", "1") != "0":
            self.items.append(self._placed(values))
        elif name == "model":
            self.unit_mm = _UNITS_MM[values.get("unit", "millimeter")]

    def end(self, name: str) -> None:
        if name == "object":
            self._open = None

    def _placed(self, values: Attributes) -> tuple[Key, Matrix]:
        part = values.get("path", self.part).lstrip("/")
        matrix = _IDENTITY
        if "transform" in values:
            numbers = [float(text) for text in values["transform"].split()]
            if len(numbers) != 12:
                raise ValueError("a transform has 12 numbers")
            matrix = np.array(numbers).reshape(4, 3)
        return (part, values["objectid"]), matrix


def read_model(path: Readable) -> Iterator[NDArray[np.float64]]:
    """The bodies on the plate of a 3MF in mm, each as triangles of shape (n, 3, 3).

    A body is one mesh of one item; raises `Refused` for a package that is damaged, unsafe or empty.
    """
    with open_archive(path) as archive:
        yield from _Package(archive).bodies()


class _Package:
    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._models: dict[str, _Model] = {}
        self._triangles = 0
        self._instances = 0

    def bodies(self) -> Iterator[NDArray[np.float64]]:
        root = self._model(self._root())
        for key, matrix in root.items:
            yield from self._placed(key, matrix, root.unit_mm, 0)

    def _root(self) -> str:
        targets: list[str] = []

        def begin(name: str, values: Attributes) -> None:
            if name == "Relationship" and values.get("Type") == _MODEL_RELATION:
                targets.append(values.get("Target", "").lstrip("/"))

        if _ROOT_RELATIONS in self._archive.names:
            with self._archive.open(_ROOT_RELATIONS) as stream:
                read_xml(stream, begin)
        return targets[0] if targets else "3D/3dmodel.model"

    def _model(self, part: str) -> _Model:
        model = self._models.get(part)
        if model is None:
            if part not in self._archive.names:
                raise Refused(NOT_MESH, f"the 3MF has no model {part[:80]!r}")
            model = self._models[part] = _Model(part)
            with self._archive.open(part) as stream:
                read_xml(stream, model.begin, model.end)
        return model

    def _placed(self, key: Key, matrix: Matrix, unit_mm: float, depth: int) -> Iterator[NDArray[np.float64]]:
        part, number = key
        found = self._model(part).objects.get(number)
        if found is None:
            raise Refused(DAMAGED, f"the model refers to an object {number[:40]!r} that it does not have")
        self._instances += 1
        if depth > DEPTH_LIMIT or self._instances > INSTANCES_LIMIT:
            raise Refused(UNSAFE, "the model's components repeat or nest without end")
        if not found.is_part:
            return
        if found.triangles:
            yield self._transformed(found, matrix, unit_mm)
        for child, child_matrix in found.components:
            # Row vectors: first the child's own transform, then the one of its parent.
            with np.errstate(all="ignore"):  # what leaves the numbers' range is refused where it is measured
                linear = child_matrix[:3] @ matrix[:3]
                moved = child_matrix[3] @ matrix[:3] + matrix[3]
            yield from self._placed(child, np.vstack((linear, moved)), unit_mm, depth + 1)

    def _transformed(self, found: _Object, matrix: Matrix, unit_mm: float) -> NDArray[np.float64]:
        self._triangles += len(found.triangles) // 3
        if self._triangles > TRIANGLES_LIMIT:
            raise Refused(UNSAFE, f"the model has more than {TRIANGLES_LIMIT} triangles")
        vertices = np.frombuffer(found.vertices, dtype=np.float64).reshape(-1, 3)
        corners = np.frombuffer(found.triangles, dtype=np.uint64).reshape(-1, 3)
        if corners.max() >= len(vertices):
            raise Refused(DAMAGED, "a triangle of the model has a corner that does not exist")
        with np.errstate(all="ignore"):
            placed = (vertices @ matrix[:3] + matrix[3]) * unit_mm
        return np.ascontiguousarray(placed[corners.astype(np.int64)])
