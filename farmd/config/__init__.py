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
    JournalTable,
    MachineTable,
    MaterialTable,
    PlannerTable,
    ShiftTable,
    StorageTable,
    TargetTable,
    VaultTable,
)
from farmd.config.terms import MaintenanceTable, PowerGroupTable
from farmd.config.windows import maintenance, shift_windows

__all__ = [
    "ApiTable",
    "ChamberTable",
    "ChangeoverTable",
    "Config",
    "DatabaseTable",
    "FarmTable",
    "JournalTable",
    "MachineTable",
    "MaintenanceTable",
    "MaterialTable",
    "PlannerTable",
    "PowerGroupTable",
    "ShiftTable",
    "StorageTable",
    "TargetTable",
    "VaultTable",
    "load_config",
    "maintenance",
    "shift_windows",
]
