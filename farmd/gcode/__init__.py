"""Reading what people hand in: sliced files, their commands, and meshes; and the safety gate over them.

Pure: bytes in, plain values out. Knows no machine by name, no clock and no network.
"""

from farmd.gcode.allow import CLASSES, PERMISSIONS, is_allowable
from farmd.gcode.commands import Command, parse_line
from farmd.gcode.deny import check_line
from farmd.gcode.formats import FileKind, file_kind
from farmd.gcode.lines import ByteSource, bare_command, executable_lines, numbered_lines
from farmd.gcode.mesh import MeshFile, read_mesh
from farmd.gcode.read import gcode_text, is_mesh, open_gcode, read_sliced
from farmd.gcode.safety import Limits, Violation, check_command, check_safety, limits_of
from farmd.gcode.source import Readable
from farmd.gcode.summary import Box, Finding, SlicedFile, Thumbnail
from farmd.gcode.threemf import holds_gcode

__all__ = [
    "CLASSES",
    "PERMISSIONS",
    "Box",
    "ByteSource",
    "Command",
    "FileKind",
    "Finding",
    "Limits",
    "MeshFile",
    "Readable",
    "SlicedFile",
    "Thumbnail",
    "Violation",
    "bare_command",
    "check_command",
    "check_line",
    "check_safety",
    "executable_lines",
    "file_kind",
    "gcode_text",
    "holds_gcode",
    "is_allowable",
    "is_mesh",
    "limits_of",
    "numbered_lines",
    "open_gcode",
    "parse_line",
    "read_mesh",
    "read_sliced",
]
