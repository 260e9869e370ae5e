"""What slicers write into comments: settings, results, pictures, labels of objects.

Collects raw texts by key; what they mean is known in `slicers`. Constant memory: only keys that
somebody reads are kept, and every collection has a limit.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct

from farmd.gcode.commands import Command
from farmd.gcode.formats import PNG_MAGIC, THUMBNAIL_LIMIT, TRUNCATED
from farmd.gcode.summary import Thumbnail
from farmd.model.errors import Refused

WANTED = frozenset(
    {
        "estimated printing time (normal mode)",
        "total estimated time",
        "time",
        "time_elapsed",
        "filament used",
        "filament used [mm]",
        "filament used [g]",
        "total filament used [g]",
        "total filament length [mm]",
        "total filament weight [g]",
        "filament weight",
        "filament type",
        "filament_type",
        "filament_colour",
        "extruder_colour",
        "filament_density",
        "filament_diameter",
        "nozzle_diameter",
        "nozzle diameter",
        "layer_height",
        "layer height",
        "first_layer_height",
        "initial_layer_print_height",
        "total layer number",
        "layer_count",
        "max_layer_z",
        "max_z_height",
        "printer_model",
        "printer_settings_id",
        "target_machine.name",
        "temperature",
        "first_layer_temperature",
        "nozzle_temperature",
        "nozzle_temperature_initial_layer",
        "bed_temperature",
        "first_layer_bed_temperature",
        "hot_plate_temp",
        "hot_plate_temp_initial_layer",
        "chamber_temperature",
        "chamber_temperatures",
    }
)
VALUE_LIMIT = 2000
LABELS_LIMIT = 10_000

_PAIR = re.compile(rb";\s*([A-Za-z][^:=]{0,80})[:=]\s*(.{0,%d})" % VALUE_LIMIT)
_BAMBU_TOTAL = re.compile(rb"total estimated time\s*[:=]\s*([^;]{1,60})")
_MADE_BY = re.compile(
    rb";\s*(?:generated (?:by|with)\s+|(?=BambuStudio \d|OrcaSlicer \d))(.{1,100})", re.IGNORECASE
)
_PRODUCER = re.compile(r"([A-Za-z][A-Za-z_ ]*?)[ -]+v?(\d[\w.+-]*)")
_THUMBNAIL = re.compile(rb";\s*thumbnail(_\w+)? begin (\d{1,5})x(\d{1,5})\s+(\d{1,9})\s*")
_THUMBNAIL_END = re.compile(rb";\s*thumbnail(?:_\w+)? end\s*")
_LEADING = re.compile(r"\s*[-+]?(?:\d{1,12}(?:\.\d{0,12})?|\.\d{1,12})")
_BASE64 = re.compile(rb"[A-Za-z0-9+/=]*")
_LEVEL = re.compile(rb";\s*Z(?:_HEIGHT)?:\s*(\d{1,5}(?:\.\d{1,6})?)\s*")
_DULL = (b";TYPE:", b";WIDTH:", b";HEIGHT:", b";WIPE_", b"; FEATURE:", b"; LINE_WIDTH:", b"; LAYER_HEIGHT:")
_COPY_LABEL = b"; printing object "
_ID_LABEL = b"; start printing object, unique label id:"
_MESH_LABEL = b";MESH:"

BLOCKS: tuple[tuple[bytes, bytes], ...] = (
    (b"; prusaslicer_config = begin", b"; prusaslicer_config = end"),
    (b"; SuperSlicer_config = begin", b"; SuperSlicer_config = end"),
    (b"; HEADER_BLOCK_START", b"; HEADER_BLOCK_END"),
    (b"; THUMBNAIL_BLOCK_START", b"; THUMBNAIL_BLOCK_END"),
    (b"; CONFIG_BLOCK_START", b"; CONFIG_BLOCK_END"),
    (b"; EXECUTABLE_BLOCK_START", b"; EXECUTABLE_BLOCK_END"),
)
"""Blocks that a slicer opens and closes: one left open means that the file was cut off."""
RESULTS_AT_END = ("PrusaSlicer", "SuperSlicer")
"""Slicers that name themselves in the first line and write what was used behind the last command."""
_OPENING = dict(BLOCKS)
_CLOSING = frozenset(end for _, end in BLOCKS)


class Notes:
    """The comments so far: `values` by key in lower case (the last text that is not empty wins),
    `slicer` and `slicer_version`, `levels` (heights, mm, of `;Z:` marks), the largest `thumbnail`."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.slicer: str | None = None
        self.slicer_version: str | None = None
        self.levels: set[bytes] = set()
        self.thumbnail: Thumbnail | None = None
        self.layer_counts = 0
        self._labels: dict[str, set[str | bytes]] = {}
        self._announced = 0
        self._open_block: bytes | None = None
        self._results_follow = False
        self._picture: _Picture | None = None

    def comment(self, line: bytes) -> None:
        """Take one line that begins with ";"."""
        if self._picture is not None and self._picture_line(line):
            return
        if line.startswith(_DULL):
            return
        if line.startswith(_COPY_LABEL):
            self._label("copy", line[len(_COPY_LABEL) :].strip())
            return
        if level := _LEVEL.fullmatch(line):
            if len(self.levels) < LABELS_LIMIT:
                self.levels.add(level[1])
            return
        if line.startswith(_ID_LABEL):
            self._label("id", line[len(_ID_LABEL) :].strip())
        elif line.startswith(_MESH_LABEL):
            if line.strip() != b";MESH:NONMESH":
                self._label("mesh", line[len(_MESH_LABEL) :].strip())
        elif begin := _THUMBNAIL.fullmatch(line):
            width, height = int(begin[2]), int(begin[3])
            self._picture = _Picture(width, height, int(begin[4]), png=begin[1] is None)
        elif self.slicer is None and (made := _MADE_BY.match(line)):
            self.made_by(made[1])
            self._results_follow = self.slicer in RESULTS_AT_END
        else:
            self._block_or_pair(line)

    def _block_or_pair(self, line: bytes) -> None:
        bare = line.strip()
        if end := _OPENING.get(bare):
            self._open_block = end
        elif bare in _CLOSING:
            self._open_block = None
        elif pair := _PAIR.match(line):
            key = pair[1].decode("latin-1").strip().lower()
            self.setting(key, pair[2])
            if key == "layer_count":
                self.layer_counts += 1
            elif total := _BAMBU_TOTAL.search(line):
                self.setting("total estimated time", total[1])

    def made_by(self, text: bytes) -> None:
        """Take the words in which a slicer names itself and its version."""
        words = shown(text)
        producer = _PRODUCER.match(words)
        self.slicer, self.slicer_version = (producer[1], producer[2]) if producer else (words, None)

    def setting(self, key: str, value: bytes) -> None:
        """Keep a setting or result if anybody reads its key."""
        if key in WANTED and (text := shown(value)):
            self.values[key] = text

    def picture(self, picture: Thumbnail | None) -> None:
        """Keep a thumbnail if it is the largest so far."""
        best = self.thumbnail
        if picture and (best is None or picture.width * picture.height > best.width * best.height):
            self.thumbnail = picture

    def prefer(self, other: Notes) -> None:
        """Take over what `other` says of the slicer, its settings and results; the larger thumbnail."""
        self.values |= other.values
        if other.slicer is not None:
            self.slicer, self.slicer_version = other.slicer, other.slicer_version
        self.picture(other.thumbnail)

    def label(self, command: Command) -> None:
        """Take a command that labels objects: M486, EXCLUDE_OBJECT_DEFINE."""
        if command.name == "M486":
            if command.text[:1] in "Ss" and (index := command.values.get("S")) is not None and index >= 0:
                self._label("m486", str(int(index)))
            elif command.text[:1] in "Tt" and (total := command.values.get("T")) is not None:
                self._announced = max(self._announced, int(total))
        elif command.name in ("EXCLUDE_OBJECT_DEFINE", "EXCLUDE_OBJECT_START") and "NAME" in command.named:
            self._label("klipper", command.named["NAME"])

    def _label(self, kind: str, name: str | bytes) -> None:
        names = self._labels.setdefault(kind, set())
        if len(names) < LABELS_LIMIT:
            names.add(name[:200])

    @property
    def object_count(self) -> int:
        """Distinct labelled objects, each copy counted; Cura's meshes only where nothing else is labelled."""
        counts = {kind: len(names) for kind, names in self._labels.items()}
        meshes = counts.pop("mesh", 0)
        return max([min(self._announced, LABELS_LIMIT), *counts.values()]) or meshes

    def _picture_line(self, line: bytes) -> bool:
        """Take a line while a thumbnail is open; False when the line is not part of it."""
        assert self._picture is not None
        text = line[1:].strip()
        if not _THUMBNAIL_END.fullmatch(line):
            if _BASE64.fullmatch(text):
                self._picture.add(text)
                return True
            self._picture = None  # it has lost its end
            return False
        self.picture(self._picture.finished())
        self._picture = None
        return True

    def finish(self) -> None:
        """The file is over. Raises `Refused(file-truncated)` when it stopped inside a block."""
        if self._picture is not None:
            raise Refused(TRUNCATED, "the file stops inside a thumbnail")
        if self._open_block is not None:
            last = self._open_block[2:].decode("ascii")
            raise Refused(TRUNCATED, f"the file stops before its slicer's line {last!r}")
        if self._results_follow and "filament used [mm]" not in self.values:
            raise Refused(
                TRUNCATED, f"the results that {self.slicer} writes after the last command are missing"
            )


class _Picture:
    """A thumbnail that is being read."""

    def __init__(self, width: int, height: int, length: int, *, png: bool) -> None:
        self.width, self.height, self.length = width, height, length
        self._wanted = png and length <= THUMBNAIL_LIMIT * 4 // 3
        self._text = bytearray()

    def add(self, text: bytes) -> None:
        if self._wanted:
            self._text += text
            self._wanted = len(self._text) <= self.length

    def finished(self) -> Thumbnail | None:
        if not self._wanted or len(self._text) != self.length:
            return None
        try:
            data = base64.b64decode(self._text, validate=True)
        except binascii.Error:
            return None
        return png_thumbnail(data)


def png_thumbnail(data: bytes) -> Thumbnail | None:
    """The picture, with the size that it says of itself; None when the bytes are not a PNG of sane size."""
    if (
        len(data) > THUMBNAIL_LIMIT
        or not data.startswith(PNG_MAGIC)
        or data[12:16] != b"IHDR"
        or len(data) < 33
    ):
        return None
    width, height = struct.unpack(">II", data[16:24])
    if not (0 < width <= 10_000 and 0 < height <= 10_000):
        return None
    return Thumbnail(width, height, base64.b64encode(data).decode("ascii"))


def shown(value: bytes) -> str:
    """A text out of a file, fit to be shown: no control characters, no blanks around it, bounded length."""
    text = value[:VALUE_LIMIT].decode("utf-8", "replace")
    return "".join(c if c.isprintable() else " " for c in text).strip()


def leading_number(text: str) -> float | None:
    """The number that a text begins with ("0.4,0.4" gives 0.4), or None."""
    match = _LEADING.match(text)
    return float(match[0]) if match else None
