"""Files on their way in: streamed, limited, never a path, and gone when anything is refused."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from farmd.api import HttpServer
from farmd.api.form import FormReader, PartBegins, PartData, PartEnds, plain_file_name
from farmd.model.errors import Refused
from farmd.store import Sink

BOX = (Path(__file__).parents[1] / "data" / "box20.gcode").read_bytes()


def form(*parts: tuple[str, str | None, bytes]) -> bytes:
    lines = []
    for name, file_name, content in parts:
        file = "" if file_name is None else f'; filename="{file_name}"'
        lines.append(
            f'--XX\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + content
        )
    return b"\r\n".join(lines) + b"\r\n--XX--\r\n"


async def send(shop: Any, body: Any, kind: str = "multipart/form-data; boundary=XX") -> httpx.Response:
    response: httpx.Response = await shop.client.post(
        "/api/v1/jobs", content=body, headers={"Content-Type": kind}
    )
    return response


async def test_fields_may_come_after_the_file(shop: Any) -> None:
    taken = await send(shop, form(("file", "box20.gcode", BOX), ("quantity", None, b"3")))
    assert (taken.status_code, taken.json()["quantity"]) == (201, 3)


async def test_too_large_by_its_length_and_without_one(shop: Any) -> None:
    body = form(("quantity", None, b"1"), ("file", "box20.gcode", BOX * 15))

    async def pieces() -> Any:
        for at in range(0, len(body), 60_000):
            yield body[at : at + 60_000]

    for sent in (body, pieces()):
        refused = await send(shop, sent)
        assert (refused.status_code, refused.json()["error"]["code"]) == (413, "too-large-upload")
    assert shop.vault_files() == []


async def test_the_largest_file_that_fits(shop: Any) -> None:
    content = BOX + b";" + b"\n" * (2_000_000 - len(BOX) - 1)
    taken = await send(shop, form(("quantity", None, b"1"), ("file", "box20.gcode", content)))
    assert taken.status_code == 201, taken.text
    over = await send(shop, form(("quantity", None, b"1"), ("file", "box20.gcode", content + b"\n")))
    assert over.status_code == 413


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (form(("quantity", None, b"1")), "file"),
        (form(("file", None, b"G28")), "file"),
        (form(("quantity", "q.txt", b"1")), "quantity"),
        (form(("file", "a.gcode", BOX), ("file", "b.gcode", BOX)), "file"),
        (form(("quantity", None, b"1"), ("quantity", None, b"2"), ("file", "a.gcode", BOX)), "quantity"),
        (form(("owner", None, b"x" * 5000), ("file", "a.gcode", BOX)), "owner"),
        (form(("owner", None, b"\xff"), ("file", "a.gcode", BOX)), "owner"),
        (form(*((f"f{i}", None, b"1") for i in range(40)), ("file", "a.gcode", BOX)), "f32"),
        (form(("quantity", None, b"1"), ("file", "a.gcode", BOX))[:-10], "body"),
        (b"not a form", "body"),
        (b"--XX\r\nContent-Disposition: form-data\r\n\r\nx\r\n--XX--\r\n", "body"),
        (b"--XX\r\n" + b"A: " + b"x" * 9000 + b"\r\n\r\nx\r\n--XX--\r\n", "body"),
        (b"", "body"),
    ],
)
async def test_damaged_forms_are_refused_and_leave_nothing(shop: Any, body: bytes, where: str) -> None:
    refused = await send(shop, body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "bad-request"), refused.text
    assert refused.json()["error"]["where"] == where
    assert shop.vault_files() == []


async def test_other_kinds_of_bodies_are_refused(shop: Any) -> None:
    for kind in (
        "application/json",
        "multipart/form-data",
        "multipart/form-data; boundary=" + "x" * 300,
        "x",
    ):
        refused = await send(shop, b"{}", kind)
        assert (refused.status_code, refused.json()["error"]["where"]) == (422, "Content-Type"), kind


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("box.gcode", "box.gcode"),
        ("../../etc/passwd", "passwd"),
        ("C:\\parts\\box.gcode", "box.gcode"),
        ("/", "unnamed"),
        ("..", "unnamed"),
        ("", "unnamed"),
        ("a\x00b\x1b[31m.gcode", "ab[31m.gcode"),
        ("häuschen.gcode", "häuschen.gcode"),
        ("x" * 300 + ".gcode.3mf", "x" * 140 + ".gcode.3mf"),
    ],
)
def test_file_names_are_only_shown(sent: str, shown: str) -> None:
    assert plain_file_name(sent) == shown


async def test_a_path_for_a_name_becomes_a_name(shop: Any) -> None:
    taken = await send(shop, form(("quantity", None, b"1"), ("file", "../../../tmp/evil.gcode", BOX)))
    assert taken.json()["file"] == "evil.gcode"


def test_the_form_is_read_alike_however_it_is_cut() -> None:
    body = form(("quantity", None, b"12"), ("file", "a.gcode", b"G28\r\n--X\r\n-\r\n" * 3))
    for step in (1, 2, 3, 7, len(body)):
        reader = FormReader("multipart/form-data; boundary=XX")
        told: list[tuple[str, str | None, bytes]] = []
        for at in range(0, len(body), step):
            for piece in reader.feed(body[at : at + step]):
                match piece:
                    case PartBegins(name, file_name):
                        told.append((name, file_name, b""))
                    case PartData(data):
                        told[-1] = (*told[-1][:2], told[-1][2] + data)
                    case PartEnds():
                        continue
        reader.finish()
        assert told == [("quantity", None, b"12"), ("file", "a.gcode", b"G28\r\n--X\r\n-\r\n" * 3)], step
    with pytest.raises(Refused):
        FormReader("multipart/form-data; boundary=XX").finish()


async def test_the_file_goes_to_the_disk_in_large_chunks(shop: Any, monkeypatch: Any) -> None:
    sizes: list[int] = []
    write = Sink.write
    monkeypatch.setattr(Sink, "write", lambda sink, chunk: (sizes.append(len(chunk)), write(sink, chunk))[1])
    content = BOX + b"\n" * 1_500_000

    async def pieces() -> Any:
        body = form(("quantity", None, b"1"), ("file", "box20.gcode", content))
        for at in range(0, len(body), 65_536):
            yield body[at : at + 65_536]

    assert (await send(shop, pieces())).status_code == 201
    assert sum(sizes) == len(content)
    assert all(size >= 256 * 1024 for size in sizes[:-1])
    assert max(sizes) < 700_000


async def test_a_sender_that_goes_away_leaves_nothing(shop: Any, server: HttpServer) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    token = shop.client.headers["Authorization"]
    body = form(("quantity", None, b"1"), ("file", "box20.gcode", BOX * 5))
    head = (
        f"POST /api/v1/jobs HTTP/1.1\r\nHost: f\r\nAuthorization: {token}\r\nContent-Length: {len(body)}\r\n"
    )
    writer.write(head.encode() + b"Content-Type: multipart/form-data; boundary=XX\r\n\r\n" + body[:600_000])
    await writer.drain()

    async def arrived() -> bool:
        return bool(shop.vault_files())

    await shop.until(arrived)
    writer.close()
    await writer.wait_closed()

    async def gone() -> bool:
        return not shop.vault_files()

    await shop.until(gone)
    assert shop.service.farm.jobs == {}
    assert reader.at_eof() or not await reader.read()


async def test_a_refusal_reaches_a_sender_that_is_still_sending(shop: Any, server: HttpServer) -> None:
    async with httpx.AsyncClient(base_url=server.url, headers=shop.client.headers) as client:
        body = form(("quantity", None, b"1"), ("file", "a.gcode", BOX * 100))
        refused = await client.post(
            "/api/v1/jobs", content=body, headers={"Content-Type": "multipart/form-data; boundary=XX"}
        )
        assert (refused.status_code, refused.json()["error"]["code"]) == (413, "too-large-upload")
        # The connection serves on.
        assert (await client.get("/api/v1/farm")).status_code == 200


async def test_only_so_many_at_once(shop: Any) -> None:
    uploading = shop.app.state.context.uploading
    held = [await uploading.acquire() for _ in range(16)]
    busy = await send(shop, form(("quantity", None, b"1"), ("file", "box20.gcode", BOX)))
    assert (busy.status_code, busy.json()["error"]["code"]) == (429, "too-many-requests")
    for _ in held:
        uploading.release()
