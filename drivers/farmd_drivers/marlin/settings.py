"""What a Marlin machine can be told in its `[machine.link]` table."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from farmd.driver import DriverSettings
from farmd_drivers.marlin.wire import states


class MarlinSettings(DriverSettings):
    """Settings of a Marlin machine."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    port: str
    """The serial port, best by its name in /dev/serial/by-id."""
    baud: int = Field(default=115200, gt=0)
    """The speed that the firmware was built for; boards with native USB take any."""
    banner_wait_s: float = Field(default=states.BANNER_S, ge=0)
    """Seconds that a board which opening the port resets is given to say `start`."""
    unseen_grace_s: float = Field(default=60.0, ge=0)
    """A link lost for no longer than this hides no print that somebody else started."""
    absence_grace_s: float = Field(default=900.0, ge=0)
    """The same for the time from the last link of an earlier farmd to the first of this one."""
