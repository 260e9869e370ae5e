"""The log: one JSON object a line, whoever logs."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from farmd.logging import set_up_logging


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Where everything is logged to; afterwards logging is as it was."""
    root = logging.getLogger()
    before = root.level, root.handlers[:]
    # `force` closes the handlers that it takes away; pytest's must live.
    root.handlers[:] = []
    written = io.StringIO()
    set_up_logging("info", written)
    yield written
    root.setLevel(before[0])
    root.handlers[:] = before[1]
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_librarys_exception_is_one_object(stream: io.StringIO) -> None:
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        logging.getLogger("uvicorn.error").exception("Exception in %s application\n", "ASGI")
    (line,) = lines(stream)
    trace = line.pop("exception")
    assert line == {"level": "error", "logger": "uvicorn.error", "event": "Exception in ASGI application\n"}
    assert trace.startswith("Traceback")
    assert trace.endswith("ValueError: first\nsecond")


def test_farmds_own_and_a_librarys_lines_go_to_one_stream(stream: io.StringIO) -> None:
    structlog.get_logger("farmd").info("ready", api="http://127.0.0.1:1")
    logging.getLogger("asyncio").warning("slow\tcallback")
    logging.getLogger("httpx").info("not told: libraries are heard from warnings on")
    assert lines(stream) == [
        {"api": "http://127.0.0.1:1", "event": "ready", "level": "info"},
        {"event": "slow\tcallback", "level": "warning", "logger": "asyncio"},
    ]


async def test_lines_in_a_loop_carry_the_shops_time(stream: io.StringIO) -> None:
    logging.getLogger("uvicorn").error("x")
    structlog.get_logger().info("y")
    assert all(isinstance(line["at"], float) for line in lines(stream))
