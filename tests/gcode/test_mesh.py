"""Meshes: volumes and outlines that can be worked out by hand."""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farmd.gcode import MeshFile, read_mesh
from farmd.gcode.hull import Hull, area
from farmd.model.errors import Refused

Write = Callable[[str, bytes | str], Path]
Zipped = Callable[[str, Mapping[str, bytes | str]], Path]
Point = tuple[float, float, float]

BOX_CORNERS = [(x, y, z) for z in (0, 1) for y in (0, 1) for x in (0, 1)]
BOX_FACES = [
    (0, 2, 3), (0, 3, 1), (4, 5, 7), (4, 7, 6), (0, 1, 5), (0, 5, 4),
    (2, 6, 7), (2, 7, 3), (0, 4, 6), (0, 6, 2), (1, 3, 7), (1, 7, 5),
]  # fmt: skip


def box(size: Point, at: Point = (0, 0, 0)) -> list[tuple[Point, Point, Point]]:
    corners = [tuple(a + c * s for a, c, s in zip(at, corner, size, strict=True)) for corner in BOX_CORNERS]
    return [(corners[a], corners[b], corners[c]) for a, b, c in BOX_FACES]  # type: ignore[misc]


def binary(triangles: list[tuple[Point, Point, Point]], head: bytes = b"made by a test") -> bytes:
    body = b"".join(struct.pack("<12fH", 0, 0, 0, *a, *b, *c, 0) for a, b, c in triangles)
    return head.ljust(80, b"\0") + struct.pack("<I", len(triangles)) + body


def refusal(path: Path) -> str:
    with pytest.raises(Refused) as caught:
        read_mesh(path)
    assert caught.value.where == path.name
    return caught.value.code.name


def test_a_box(write: Write) -> None:
    mesh = read_mesh(write("a.stl", binary(box((10, 20, 30), at=(-100, 50, 7)))))
    assert mesh == MeshFile(
        kind="stl",
        volume_mm3=pytest.approx(6000),
        size_mm=(10, 20, 30),
        height_mm=30,
        outline_mm=((0, 0), (10, 0), (10, 20), (0, 20)),
        area_mm2=200,
        triangles=12,
        items=1,
        closed=True,
    )


def test_binary_that_calls_itself_solid(write: Write) -> None:
    assert read_mesh(write("a.stl", binary(box((1, 2, 3)), head=b"solid box"))).volume_mm3 == pytest.approx(6)


def test_ascii_and_the_slicers_own_3mf_agree(data: Path) -> None:
    ascii_mesh, package = read_mesh(data / "clip.stl"), read_mesh(data / "clip.3mf")
    assert ascii_mesh.volume_mm3 == pytest.approx(package.volume_mm3, rel=1e-5)
    assert ascii_mesh.size_mm == pytest.approx(package.size_mm, abs=1e-4)
    assert ascii_mesh.area_mm2 == pytest.approx(package.area_mm2, rel=1e-5)
    assert (ascii_mesh.triangles, ascii_mesh.kind, package.kind) == (84, "stl", "3mf")
    assert read_mesh(data / "box20.stl").volume_mm3 == pytest.approx(8000)


def test_a_sphere_far_from_the_origin_in_many_blocks(write: Write) -> None:
    """Two hundred thousand triangles, so that blocks and the hull's preselection take part."""
    turns, rings, radius = 400, 250, 20.0
    a = np.linspace(0, 2 * math.pi, turns, endpoint=False)
    b = np.linspace(0, math.pi, rings + 1)
    grid = np.stack(
        (
            np.outer(np.sin(b), np.cos(a)) * radius + 500,
            np.outer(np.sin(b), np.sin(a)) * radius + 500,
            np.repeat(np.cos(b)[:, None] * radius, turns, axis=1),
        ),
        axis=2,
    )
    right = np.roll(grid, -1, axis=1)
    first = np.stack((grid[:-1], grid[1:], right[1:]), axis=2).reshape(-1, 3, 3)
    second = np.stack((grid[:-1], right[1:], right[:-1]), axis=2).reshape(-1, 3, 3)
    triangles = np.concatenate((first, second)).astype("<f4")
    records = np.zeros(len(triangles), dtype=[("n", "<f4", 3), ("p", "<f4", (3, 3)), ("a", "<u2")])
    records["p"] = triangles
    mesh = read_mesh(write("a.stl", b"\0" * 80 + struct.pack("<I", len(records)) + records.tobytes()))
    assert mesh.triangles == 200_000
    assert mesh.volume_mm3 == pytest.approx(4 / 3 * math.pi * radius**3, rel=1e-3)
    assert mesh.area_mm2 == pytest.approx(math.pi * radius**2, rel=1e-3)
    assert mesh.size_mm == pytest.approx((40, 40, 40), rel=1e-3)
    assert mesh.closed


def test_inside_out_and_open_meshes(write: Write) -> None:
    inside_out = [(c, b, a) for a, b, c in box((2, 2, 2))]
    assert read_mesh(write("a.stl", binary(inside_out))).volume_mm3 == pytest.approx(8)
    assert not read_mesh(write("b.stl", binary(box((2, 2, 2))[:-2]))).closed


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "file-empty"),
        (binary(box((1, 1, 1)))[:-1], "file-truncated"),
        (binary(box((1, 1, 1))) + b"x", "file-damaged"),
        (b"\0" * 40, "file-truncated"),
        (binary([]), "mesh-invalid"),
        (binary(box((1, 1, 0))), "mesh-invalid"),
        (binary([((math.nan, 0, 0), (1, 0, 0), (0, 1, 0))]), "mesh-invalid"),
        (binary([((math.inf, 0, 0), (1, 0, 0), (0, 1, 0))]), "mesh-invalid"),
        (b"solid a\nfacet normal 0 0 1\nouter loop\nvertex 0 0 0\nvertex 1 0 0\n", "file-truncated"),
        (
            b"solid a\nfacet normal 0 0 1\nouter loop\nvertex 0 0 0\nendloop\nendfacet\nendsolid\n",
            "file-damaged",
        ),
        (b"solid a\nfacet normal 0 0 1\nouter loop\nvertex 0 zero 0\n", "file-damaged"),
        (b"solid a\nendsolid a\n", "mesh-invalid"),
    ],
)
def test_no_mesh(write: Write, content: bytes, code: str) -> None:
    assert refusal(write("a.stl", content)) == code


def test_sliced_files_are_no_meshes(data: Path) -> None:
    assert refusal(data / "box20.gcode") == "file-not-mesh"


# --- 3MF ----------------------------------------------------------------------------------------


def mesh_xml(number: int, size: Point, kind: str = "") -> str:
    vertices = "".join(
        f'<vertex x="{x * size[0]}" y="{y * size[1]}" z="{z * size[2]}"/>' for x, y, z in BOX_CORNERS
    )
    faces = "".join(f'<triangle v1="{a}" v2="{b}" v3="{c}"/>' for a, b, c in BOX_FACES)
    return (
        f'<object id="{number}" {kind}><mesh><vertices>{vertices}</vertices>'
        f"<triangles>{faces}</triangles></mesh></object>"
    )


def model(objects: str, items: str, unit: str = "") -> str:
    return (
        '<?xml version="1.0"?><model xmlns="http://schemas.microsoft.com/3dmanufacturing/core/2015/02" '
        f'xmlns:p="http://schemas.microsoft.com/3dmanufacturing/production/2015/06" {unit}>'
        f"<resources>{objects}</resources><build>{items}</build></model>"
    )


def package(zipped: Zipped, text: str, **more: str) -> Path:
    relations = (
        '<Relationships><Relationship Target="/3D/main.model" Id="r" '
        'Type="http://schemas.microsoft.com/3dmanufacturing/2013/01/3dmodel"/></Relationships>'
    )
    return zipped("a.3mf", {"_rels/.rels": relations, "3D/main.model": text, **more})


def test_units(zipped: Zipped) -> None:
    for unit, factor in (("inch", 25.4), ("centimeter", 10), ("micron", 0.001), ("meter", 1000)):
        text = model(mesh_xml(1, (2, 3, 4)), '<item objectid="1"/>', f'unit="{unit}"')
        mesh = read_mesh(package(zipped, text))
        assert mesh.size_mm == pytest.approx((2 * factor, 3 * factor, 4 * factor))
        assert mesh.volume_mm3 == pytest.approx(24 * factor**3)


def test_items_and_transforms(zipped: Zipped) -> None:
    """The same box upright, and lying turned about x beside it."""
    items = (
        '<item objectid="1" transform="1 0 0 0 1 0 0 0 1 100 0 0"/>'
        '<item objectid="1" transform="1 0 0 0 0 1 0 -1 0 0 0 0"/>'
        '<item objectid="1" printable="0" transform="1 0 0 0 1 0 0 0 1 0 0 900"/>'
    )
    mesh = read_mesh(package(zipped, model(mesh_xml(1, (10, 20, 30)), items)))
    assert mesh.items == 2
    assert mesh.volume_mm3 == pytest.approx(12000)
    assert mesh.size_mm == (110, 50, 30)
    assert mesh.closed


def test_components_nest_and_reach_into_other_parts(zipped: Zipped) -> None:
    objects = (
        mesh_xml(1, (1, 1, 1))
        + mesh_xml(8, (500, 500, 500), 'type="other"')
        + '<object id="2"><components><component objectid="1" transform="2 0 0 0 2 0 0 0 2 0 0 0"/>'
        '<component objectid="8"/><component objectid="5" p:path="/3D/Objects/o.model" '
        'transform="1 0 0 0 1 0 0 0 1 10 0 0"/></components></object>'
    )
    text = model(objects, '<item objectid="2" transform="1 0 0 0 1 0 0 0 3 0 0 1"/>')
    path = package(zipped, text, **{"3D/Objects/o.model": model(mesh_xml(5, (4, 5, 6)), "")})
    mesh = read_mesh(path)
    assert mesh.volume_mm3 == pytest.approx(3 * (8 + 120))
    assert mesh.size_mm == (14, 5, 18)
    assert mesh.items == 2


@pytest.mark.parametrize(
    ("objects", "items", "code"),
    [
        (mesh_xml(1, (1, 1, 1)), "", "mesh-invalid"),
        (mesh_xml(1, (1, 1, 1)), '<item objectid="2"/>', "file-damaged"),
        (mesh_xml(1, (1, 1, 1)), '<item objectid="1" transform="1 0"/>', "file-damaged"),
        (
            mesh_xml(1, (1, 1, 1)),
            '<item objectid="1" transform="1e300 0 0 0 1e300 0 0 0 1e300 0 0 0"/>',
            "mesh-invalid",
        ),
        (mesh_xml(1, (1, 1, 1)).replace('v1="0"', 'v1="99"'), '<item objectid="1"/>', "file-damaged"),
        (mesh_xml(1, (1, 1, 1)).replace('v1="0"', 'v1="-1"'), '<item objectid="1"/>', "file-damaged"),
        (mesh_xml(1, (1, 1, 1)).replace('x="0"', 'x="nan"'), '<item objectid="1"/>', "mesh-invalid"),
        (mesh_xml(1, (1, 1, 1)).replace('x="0"', 'x="one"'), '<item objectid="1"/>', "file-damaged"),
        (
            '<object id="1"><components><component objectid="1"/></components></object>',
            '<item objectid="1"/>',
            "archive-unsafe",
        ),
        (
            mesh_xml(0, (1, 1, 1))
            + "".join(
                f'<object id="{n}"><components>{f"<component objectid={chr(34)}{n - 1}{chr(34)}/>" * 10}'
                "</components></object>"
                for n in range(1, 10)
            ),
            '<item objectid="9"/>',
            "archive-unsafe",
        ),
    ],
)
def test_models_that_are_none(zipped: Zipped, objects: str, items: str, code: str) -> None:
    assert refusal(package(zipped, model(objects, items))) == code


def test_a_3mf_without_a_model(zipped: Zipped) -> None:
    assert refusal(zipped("a.3mf", {"x.txt": "hello"})) == "file-not-mesh"


# --- outlines -----------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(-20, 20), st.integers(-20, 20)), min_size=1, max_size=300),
    st.integers(1, 50),
)
@settings(max_examples=100, deadline=None)
def test_the_hull_holds_every_point(points: list[tuple[int, int]], block: int) -> None:
    hull = Hull()
    for start in range(0, len(points), block):
        hull.add(np.array(points[start : start + block], dtype=float))
    polygon = hull.polygon()
    assert set(polygon) <= {(float(x), float(y)) for x, y in points}
    if len(polygon) >= 3:
        assert area(polygon) > 0
        for (ax, ay), (bx, by) in zip(polygon, polygon[1:] + polygon[:1], strict=True):
            assert all((bx - ax) * (y - ay) - (by - ay) * (x - ax) >= 0 for x, y in points)


def test_the_hull_of_many_points_is_that_of_its_corners() -> None:
    rng = random.Random(3)
    inside = [(rng.uniform(0, 10), rng.uniform(0, 5)) for _ in range(20_000)]
    hull = Hull()
    hull.add(np.array([*inside, (-1, -1), (12, -1), (12, 7), (-1, 7)]))
    assert hull.polygon() == ((-1, -1), (12, -1), (12, 7), (-1, 7))
