"""The API's description as one plain page, made from /openapi.json's document. Needs no network but ours."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

router = APIRouter(include_in_schema=False)

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:56rem;margin:2rem auto;padding:0 1rem}"
    "code{font:14px ui-monospace,monospace}h2{margin-top:2rem}dt{margin-top:1rem}"
    "@media(prefers-color-scheme:dark){body{background:#111;color:#ddd}}"
)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


@router.get("/docs")
async def get_docs(request: Request) -> HTMLResponse:
    """Every address, what it takes and what it does."""
    document = request.app.openapi()
    page = "".join(_page(document))
    return HTMLResponse(page, headers={"Content-Security-Policy": _POLICY})


def _page(document: dict[str, Any]) -> Iterator[str]:
    title = escape(f"{document['info']['title']} {document['info']['version']}")
    yield f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
    yield f"<style>{_STYLE}</style><h1>{title}</h1>"
    yield f"<p>{escape(document['info']['description'])}</p>"
    yield '<p>The same for programs: <a href="/openapi.json">/openapi.json</a></p>'
    tags: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            tags.setdefault(operation["tags"][0], []).append((method, path, operation))
    for tag, operations in tags.items():
        yield f"<h2>{escape(tag)}</h2><dl>"
        for method, path, operation in operations:
            yield f"<dt><code>{method.upper()} {escape(path)}</code></dt><dd>"
            yield f"{escape(operation.get('description', ''))}{_takes(document, operation)}</dd>"
        yield "</dl>"


def _takes(document: dict[str, Any], operation: dict[str, Any]) -> str:
    names = [p["name"] for p in operation.get("parameters", ()) if p["in"] == "query"]
    for content in operation.get("requestBody", {}).get("content", {}).values():
        names += _schema(document, content["schema"])["properties"]
    return f"<br>takes <code>{escape(', '.join(names))}</code>" if names else ""


def _schema(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """The schema itself, where it only refers to one of the components."""
    name = schema.get("$ref", "").rpartition("/")[2]
    found: dict[str, Any] = document["components"]["schemas"][name] if name else schema
    return found
