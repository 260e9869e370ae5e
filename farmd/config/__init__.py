"""The farm's configuration: one TOML file, three tables of which the environment may override.

`load_config` gives frozen models or tells every mistake at once. Knows drivers by name only.
"""

from farmd.config.load import load_config
from farmd.config.models import (
    ApiTable,
    ChamberTable,
    ChangeoverTable,
    Config,
    DatabaseTable,
    FarmTable,
    MachineTable,
    MaterialTable,
    PlannerTable,
    ShiftTable,
    TargetTable,
)
from farmd.config.windows import shift_windows

__all__ = [
    "ApiTable",
    "ChamberTable",
    "ChangeoverTable",
    "Config",
    "DatabaseTable",
    "FarmTable",
    "MachineTable",
    "MaterialTable",
    "PlannerTable",
    "ShiftTable",
    "TargetTable",
    "load_config",
    "shift_windows",
]
