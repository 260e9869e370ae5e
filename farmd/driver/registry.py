"""Finds drivers by name among the entry points of the group `farmd.drivers`."""

from __future__ import annotations

import functools
from importlib.metadata import EntryPoint, entry_points

from farmd.driver.api import Driver
from farmd.model.errors import ConfigError, ErrorCode

GROUP = "farmd.drivers"

UNKNOWN_DRIVER = ErrorCode(
    "unknown-driver",
    "no installed package offers a driver of this name",
    "install the package that offers it, or use one of those named",
)
BROKEN_DRIVER = ErrorCode(
    "broken-driver",
    "the driver cannot be imported",
    "mend or reinstall the package that offers it",
)


@functools.cache
def _entries() -> dict[str, EntryPoint]:
    """Read once: it takes milliseconds, and a farm asks for each of its machines."""
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def driver_names() -> tuple[str, ...]:
    """Names of all installed drivers, sorted."""
    return tuple(sorted(_entries()))


def find_driver(name: str) -> type[Driver]:
    """The driver class of that name; raises `ConfigError`."""
    entry = _entries().get(name)
    if entry is None:
        raise ConfigError(UNKNOWN_DRIVER, f"no driver {name!r}; there are {', '.join(driver_names())}")
    try:
        driver = entry.load()
    except (ImportError, AttributeError, SyntaxError) as error:
        raise ConfigError(BROKEN_DRIVER, f"driver {name!r} ({entry.value}): {error}") from error
    if not (isinstance(driver, type) and issubclass(driver, Driver)):
        raise ConfigError(
            BROKEN_DRIVER, f"driver {name!r}: {entry.value} is not a subclass of farmd.driver.Driver"
        )
    return driver
