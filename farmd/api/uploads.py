"""A file with its form, from the network into the vault: streamed, counted, hashed, or gone.

The file goes to the vault's sink in chunks as it arrives; nothing holds it whole and nothing is
written twice. Whatever is refused, at whatever point, leaves no file behind. Knows forms and the
vault; knows nothing of what a file means.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request

from farmd.api.errors import BAD_REQUEST, TOO_LARGE_UPLOAD
from farmd.api.form import FormReader, PartBegins, PartData, PartEnds, Piece, plain_file_name
from farmd.daemon.ledger import Ledger
from farmd.driver import offload
from farmd.model.errors import Refused
from farmd.store import Sink, Store, StoredFile, Vault

T = TypeVar("T")

CHUNK_BYTES = 512 * 1024
"""How much is handed to the disk at once."""
MAX_FIELD_BYTES = 4096
MAX_FIELDS = 32
MAX_FORM_BYTES = 64 * 1024
"""What a form may have besides its file."""
FILE_FIELD = "file"
DRAIN_BYTES = 64 * 1024 * 1024
DRAIN_S = 10.0
"""How much of a refused body is still read, so that its sender comes to reading the answer."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """A form that has arrived whole. The file is not kept until the sink's `store` is called."""

    fields: dict[str, str]
    file_name: str
    sink: Sink


@asynccontextmanager
async def receive(request: Request, vault: Vault, max_bytes: int) -> AsyncIterator[Incoming]:
    """The form in a request's body. Raises `Refused`; what is not stored inside the block is gone after it."""
    too_large = Refused(TOO_LARGE_UPLOAD, f"the file has more than {max_bytes} bytes", where=FILE_FIELD)
    body = request.stream()
    try:
        reader = FormReader(request.headers.get("content-type", ""))
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > max_bytes + MAX_FORM_BYTES:
            raise too_large
        receiving = vault.receive()
        sink = await finished(receiving.__enter__)
    except Refused:
        await _drain(request, body)
        raise
    try:
        try:
            intake = _Intake(sink, too_large, max_bytes)
            async for chunk in body:
                for piece in reader.feed(chunk):
                    await intake.take(piece)
            reader.finish()
            incoming = await intake.whole()
        except Refused:
            await _drain(request, body)
            raise
        except ClientDisconnect as gone:
            raise Refused(BAD_REQUEST, "the sender went away", where="body") from gone
        yield incoming
    finally:
        await finished(lambda: receiving.__exit__(None, None, None))


class _Intake:
    """Takes the pieces of one form: fields into memory, the file into the sink."""

    def __init__(self, sink: Sink, too_large: Refused, max_bytes: int) -> None:
        self._sink = sink
        self._too_large = too_large
        self._max_bytes = max_bytes
        self._fields: dict[str, str] = {}
        self._file_name: str | None = None
        self._buffer = bytearray()
        self._size = 0
        self._field = ""
        self._is_file = False
        self._value = bytearray()

    async def take(self, piece: Piece) -> None:
        match piece:
            case PartBegins(name, file_name):
                self._begin(name, file_name)
            case PartData(data) if self._is_file:
                await self._file_data(data)
            case PartData(data):
                if len(self._value) + len(data) > MAX_FIELD_BYTES:
                    raise Refused(BAD_REQUEST, "the field is too long", where=self._field[:80])
                self._value += data
            case PartEnds() if not self._is_file:
                self._fields[self._field] = self._decoded()

    async def whole(self) -> Incoming:
        if self._file_name is None:
            raise Refused(BAD_REQUEST, f"the form has no file in {FILE_FIELD!r}", where=FILE_FIELD)
        await self._write()
        return Incoming(self._fields, self._file_name, self._sink)

    def _begin(self, name: str, file_name: str | None) -> None:
        self._field, self._value = name, bytearray()
        self._is_file = file_name is not None
        if name in self._fields or (name == FILE_FIELD and self._file_name is not None):
            raise Refused(BAD_REQUEST, "the field comes twice", where=name[:80])
        if self._is_file != (name == FILE_FIELD):
            raise Refused(BAD_REQUEST, f"the file, and only it, comes in {FILE_FIELD!r}", where=name[:80])
        if len(self._fields) >= MAX_FIELDS:
            raise Refused(BAD_REQUEST, "the form has too many fields", where=name[:80])
        if file_name is not None:
            self._file_name = plain_file_name(file_name)

    async def _file_data(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._max_bytes:
            raise self._too_large
        self._buffer += data
        if len(self._buffer) >= CHUNK_BYTES:
            await self._write()

    async def _write(self) -> None:
        if self._buffer:
            chunk, self._buffer = bytes(self._buffer), bytearray()
            await finished(lambda: self._sink.write(chunk))

    def _decoded(self) -> str:
        try:
            return self._value.decode()
        except UnicodeDecodeError as error:
            raise Refused(BAD_REQUEST, "the field is not UTF-8", where=self._field[:80]) from error


class Shelf:
    """Files that are in the vault while it is not yet decided whether a job wants them.

    A file that no record knows is taken out again when the last request that brought it has failed.
    """

    def __init__(self, ledger: Ledger, store: Store, vault: Vault) -> None:
        self._ledger = ledger
        self._store = store
        self._vault = vault
        self._undecided: Counter[str] = Counter()
        # Between storing a file and counting it nobody may find it unwanted.
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def keep(self, sink: Sink) -> AsyncIterator[StoredFile]:
        """The file in the vault, for as long as the block takes to record who wants it."""
        async with self._turn:
            stored = await finished(sink.store)
            self._undecided[stored.sha256] += 1
        try:
            yield stored
        finally:
            self._undecided[stored.sha256] -= 1
            if not self._undecided[stored.sha256]:
                del self._undecided[stored.sha256]
                await self._drop_unwanted(stored.sha256)

    async def _drop_unwanted(self, sha256: str) -> None:
        async with self._turn:
            if sha256 in self._undecided or sha256 in self._ledger.farm.files:
                return
            if await offload(lambda: self._store.file(sha256)) is None:
                await finished(lambda: self._vault.remove(sha256))


async def finished(work: Callable[[], T]) -> T:
    """`offload`, and on cancellation wait for the thread, which still has the file open, to be done."""
    task = asyncio.ensure_future(offload(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise


async def _drain(request: Request, body: AsyncIterator[bytes]) -> None:
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > DRAIN_BYTES:
        return
    left = DRAIN_BYTES
    try:
        async with asyncio.timeout(DRAIN_S):
            async for chunk in body:
                left -= len(chunk)
                if left < 0:
                    return
    except (TimeoutError, ClientDisconnect):
        return
