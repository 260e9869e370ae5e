"""The public API of integrators: write a subclass of `Driver` and register it as an entry point.

Start with drivers/README.md and drivers/template/. Everything an integrator needs is imported
from here; the rest of farmd is not for drivers to know.
"""

from farmd.driver.api import (
    MACHINE_NOT_READY,
    NOT_SUPPORTED,
    Capabilities,
    Driver,
    DriverSettings,
    Report,
    RunFile,
    StartOrder,
    TerminalLine,
)
from farmd.driver.clock import now, offload, sleep, sleep_until
from farmd.driver.events import (
    Activity,
    Attention,
    BedCleared,
    Ended,
    Event,
    Faulted,
    Finished,
    ForeignEnded,
    ForeignStarted,
    LinkHealth,
    Observed,
    Paused,
    Progressed,
    Rebooted,
    Recovered,
    Resumed,
    Started,
    Temperatures,
)
from farmd.driver.registry import driver_names, find_driver

__all__ = [
    "MACHINE_NOT_READY",
    "NOT_SUPPORTED",
    "Activity",
    "Attention",
    "BedCleared",
    "Capabilities",
    "Driver",
    "DriverSettings",
    "Ended",
    "Event",
    "Faulted",
    "Finished",
    "ForeignEnded",
    "ForeignStarted",
    "LinkHealth",
    "Observed",
    "Paused",
    "Progressed",
    "Rebooted",
    "Recovered",
    "Report",
    "Resumed",
    "RunFile",
    "StartOrder",
    "Started",
    "Temperatures",
    "TerminalLine",
    "driver_names",
    "find_driver",
    "now",
    "offload",
    "sleep",
    "sleep_until",
]
