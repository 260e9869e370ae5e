"""Logging set-up: structlog, one JSON object a line, with machine, run and job ids bound where known.

Standard output goes to journald when run as a service. The demo logs to its data folder instead.
What libraries log through the standard library comes out in the same form, with its logger's name.
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
    """Log JSON lines of at least `level` (debug, info, warning, error) to `stream`, stdout by default.

    Of libraries, at least warnings.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    stream = stream or sys.stdout
    common: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        _shop_time,
        structlog.processors.format_exc_info,
    ]
    json_line = structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[*common, json_line],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    of_libraries = logging.StreamHandler(stream)
    of_libraries.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*common, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, json_line],
        )
    )
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[of_libraries], force=True)
