"""Logging set-up: structlog, one JSON object a line, with machine, run and job ids bound where known.

Standard output goes to journald when run as a service. The demo logs to its data folder instead.
"""

from __future__ import annotations

import logging
import sys
from typing import TextIO

import structlog

from farmd.driver.clock import now


def _shop_time(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """The shop's time where a loop runs, else none: wall time is a property of the loop."""
    try:
        event["at"] = round(now(), 3)
    except RuntimeError:
        event.pop("at", None)
    return event


def set_up_logging(level: str = "info", stream: TextIO | None = None) -> None:
    """Log JSON lines of at least `level` (debug, info, warning, error) to `stream`, stdout by default."""
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _shop_time,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(stream or sys.stdout),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=max(number, logging.WARNING), stream=stream or sys.stdout, force=True)
