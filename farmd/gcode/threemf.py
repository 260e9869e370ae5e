"""A sliced 3MF (.gcode.3mf): the G-code of its plates and what `slice_info.config` says of them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from farmd.gcode.archive import Archive, Attributes, open_archive, read_xml
from farmd.gcode.formats import DAMAGED, NOT_SLICED, THUMBNAIL_LIMIT
from farmd.gcode.lines import ByteSource
from farmd.gcode.notes import Notes, leading_number, png_thumbnail
from farmd.gcode.scan import Scanner
from farmd.gcode.source import Readable
from farmd.model.errors import Refused

_PLATE = re.compile(r"Metadata/plate_(\d{1,4})\.gcode")
_SLICE_INFO = "Metadata/slice_info.config"
_TOOL_FILAMENTS_LIMIT = 64


def plate_numbers(archive: Archive) -> tuple[int, ...]:
    """The numbers of the plates whose G-code the archive holds, ascending."""
    return tuple(sorted(int(found[1]) for name in archive.names if (found := _PLATE.fullmatch(name))))


def holds_gcode(path: Readable) -> bool:
    """Whether a 3MF holds a sliced plate; raises `Refused` for a damaged or unsafe archive."""
    with open_archive(path) as archive:
        return plate_numbers(archive) != ()


def chosen_plate(archive: Archive, plate: int | None) -> int:
    """The plate asked for, by default the first; raises `Refused(file-not-sliced)` when it is not there."""
    plates = plate_numbers(archive)
    if not plates:
        raise Refused(NOT_SLICED)
    if plate is not None and plate not in plates:
        raise Refused(NOT_SLICED, f"the 3MF holds no G-code of plate {plate}")
    return plates[0] if plate is None else plate


@contextmanager
def open_plate(path: Readable, plate: int | None) -> Iterator[ByteSource]:
    """The G-code of one plate as a stream of text."""
    with open_archive(path) as archive, archive.open(_entry(chosen_plate(archive, plate))) as stream:
        yield stream


def scan_plate(archive: Archive, plate: int, tick: Callable[[int], None] | None) -> tuple[Scanner, Slice]:
    """Read one plate: its G-code once (against its MD5 sum where there is one), its picture, its results."""
    scanner = Scanner()
    with archive.open(_entry(plate)) as stream:
        digested = _Digested(stream)
        scanner.read(digested, tick)
    sum_name = _entry(plate) + ".md5"
    if sum_name in archive.names:
        told = archive.read(sum_name, 1024).strip().decode("latin-1").lower()
        if told != digested.md5.hexdigest():
            raise Refused(DAMAGED, f"the MD5 sum of plate {plate} is not that of its G-code")
    picture = f"Metadata/plate_{plate}.png"
    if picture in archive.names and archive.size(picture) <= THUMBNAIL_LIMIT:
        scanner.notes.thumbnail = (
            png_thumbnail(archive.read(picture, THUMBNAIL_LIMIT)) or scanner.notes.thumbnail
        )
    info = Slice(plate)
    if _SLICE_INFO in archive.names:
        with archive.open(_SLICE_INFO) as stream:
            read_xml(stream, info.begin, info.end)
    info.fill(scanner.notes)
    return scanner, info


def _entry(plate: int) -> str:
    return f"Metadata/plate_{plate}.gcode"


class _Digested:
    def __init__(self, stream: ByteSource) -> None:
        self._stream = stream
        self.md5 = hashlib.md5(usedforsecurity=False)

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(size)
        self.md5.update(data)
        return data


class Slice:
    """One plate's results out of `slice_info.config`; they stand in where the G-code's comments are silent."""

    def __init__(self, plate: int) -> None:
        self.plate = plate
        self.objects: set[str] = set()
        self._values: dict[str, str] = {}
        self._filaments: list[Attributes] = []
        self._here: tuple[dict[str, str], list[Attributes], set[str]] | None = None

    def begin(self, name: str, attributes: Attributes) -> None:
        """Take the beginning of an element."""
        if name == "plate":
            self._here = ({}, [], set())
        elif self._here is not None:
            values, filaments, objects = self._here
            if name == "metadata" and "key" in attributes:
                values[attributes["key"]] = attributes.get("value", "")
            elif name == "filament" and len(filaments) < _TOOL_FILAMENTS_LIMIT:
                filaments.append(attributes)
            elif name == "object" and attributes.get("skipped", "false") != "true":
                objects.add(attributes.get("identify_id", str(len(objects))))

    def end(self, name: str) -> None:
        """Take the end of an element."""
        if name == "plate" and self._here is not None:
            if leading_number(self._here[0].get("index", "")) == self.plate:
                self._values, self._filaments, self.objects = self._here
            self._here = None

    def fill(self, notes: Notes) -> None:
        """Hand the plate's results to `notes`, as far as they are not there yet."""
        told = {
            "time": self._values.get("prediction", ""),
            "total filament weight [g]": self._values.get("weight", ""),
            "printer_model": self._values.get("printer_model_id", ""),
            "nozzle_diameter": self._values.get("nozzle_diameters", ""),
            "filament_type": ";".join(f.get("type", "") for f in self._filaments),
            "filament_colour": ";".join(f.get("color", "") for f in self._filaments),
            "filament used [mm]": ",".join(
                str((leading_number(f.get("used_m", "")) or 0.0) * 1000) for f in self._filaments
            ),
        }
        for key, text in told.items():
            if key not in notes.values:
                notes.setting(key, text.encode())
