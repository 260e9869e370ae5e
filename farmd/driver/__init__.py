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
    Reply,
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
from farmd.driver.heat_guard import HEAT_GUARD, Alarm, HeaterRules, HeatGuard, rules_of
from farmd.driver.registry import driver_names, find_driver

__all__ = [
    "HEAT_GUARD",
    "MACHINE_NOT_READY",
    "NOT_SUPPORTED",
    "Activity",
    "Alarm",
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
    "HeatGuard",
    "HeaterRules",
    "LinkHealth",
    "Observed",
    "Paused",
    "Progressed",
    "Rebooted",
    "Recovered",
    "Reply",
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
    "rules_of",
    "sleep",
    "sleep_until",
]
