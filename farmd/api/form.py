"""Reading multipart/form-data as it arrives: bytes in, pieces out. No input or output of its own.

`feed` gives what a chunk completes: a part's beginning, some of its data, its end. Memory holds one
chunk and one part's headers. Knows nothing of orders and files.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from farmd.api.errors import BAD_REQUEST
from farmd.model.errors import Refused

MAX_HEADER_BYTES = 4096
MAX_HEADERS = 8
_LONGEST_FILE_NAME = 150


@dataclass(frozen=True, slots=True)
class PartBegins:
    """`file_name` is None for a plain field, and as the sender wrote it for a file."""

    name: str
    file_name: str | None


@dataclass(frozen=True, slots=True)
class PartData:
    data: bytes


@dataclass(frozen=True, slots=True)
class PartEnds:
    pass


Piece = PartBegins | PartData | PartEnds


class FormReader:
    """Reads one form. Raises `Refused(BAD_REQUEST)` for anything that is none."""

    def __init__(self, content_type: str) -> None:
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/form-data" or not boundary:
            raise Refused(BAD_REQUEST, "the body must be multipart/form-data", where="Content-Type")
        self._pieces: list[Piece] = []
        self._header_name = b""
        self._header_value = b""
        self._disposition = b""
        self._ended = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._part_begins,
                    "on_part_data": lambda data, start, end: self._pieces.append(PartData(data[start:end])),
                    "on_part_end": lambda: self._pieces.append(PartEnds()),
                    "on_header_field": self._header_field,
                    "on_header_value": self._header_bytes,
                    "on_header_end": self._header_ends,
                    "on_headers_finished": self._headers_end,
                    "on_end": self._end,
                },
                max_header_count=MAX_HEADERS,
                max_header_size=MAX_HEADER_BYTES,
            )
        except FormParserError as error:
            raise Refused(BAD_REQUEST, str(error), where="Content-Type") from error

    def feed(self, chunk: bytes) -> list[Piece]:
        """What this chunk completes, in order."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise Refused(BAD_REQUEST, f"the form is damaged: {error}", where="body") from error
        pieces, self._pieces = self._pieces, []
        return pieces

    def finish(self) -> None:
        """The body is over; a form that is not has been cut off."""
        if not self._ended:
            raise Refused(BAD_REQUEST, "the form was cut off", where="body")

    def _part_begins(self) -> None:
        self._disposition = b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _header_bytes(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _header_ends(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = self._header_value
        self._header_name = self._header_value = b""

    def _headers_end(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"name" not in options:
            raise Refused(BAD_REQUEST, "a part of the form has no name", where="body")
        file_name = options.get(b"filename")
        self._pieces.append(
            PartBegins(_text(options[b"name"]), None if file_name is None else _text(file_name))
        )

    def _end(self) -> None:
        self._ended = True


def plain_file_name(sent: str) -> str:
    """A name to show people, never a path: the last part of what was sent, printable, not too long."""
    last = sent.replace("\\", "/").rpartition("/")[2]
    name = "".join(char for char in unicodedata.normalize("NFC", last) if char.isprintable()).strip()
    if not name.strip(". "):
        return "unnamed"
    # The end says what kind of file it is, and stays.
    return name if len(name) <= _LONGEST_FILE_NAME else name[-_LONGEST_FILE_NAME:]


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")
