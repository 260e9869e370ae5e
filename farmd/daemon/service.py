"""Everything a face of the daemon may use, in one frozen bundle: the API and the live view get this."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from farmd.daemon.attendant import Attendant
from farmd.daemon.desk import Desk
from farmd.daemon.dispatcher import Dispatcher
from farmd.daemon.floor import Floor
from farmd.daemon.ledger import Ledger
from farmd.daemon.live import Live
from farmd.daemon.planning import Planning
from farmd.daemon.safety import Safety
from farmd.daemon.shop import Shop
from farmd.daemon.stalls import StallWatch
from farmd.model.farm import Farm
from farmd.store import Store, Telemetry, Vault


@dataclass(frozen=True, slots=True)
class Service:
    """Read `farm` and `planning.schedule`; change things only through `desk` and `floor`."""

    shop: Shop
    ledger: Ledger
    desk: Desk
    floor: Floor
    planning: Planning
    dispatcher: Dispatcher
    attendants: Mapping[str, Attendant]
    store: Store
    vault: Vault
    safety: Safety
    telemetry: Telemetry | None
    """Of past minutes and hours; None where none is kept."""
    boot_id: str
    started_at: float
    stalls: StallWatch = field(default_factory=StallWatch)
    """Entered where time is real."""

    @property
    def farm(self) -> Farm:
        return self.ledger.farm

    @property
    def lives(self) -> Mapping[str, Live]:
        """What is known of each machine this moment."""
        return {name: attendant.live for name, attendant in self.attendants.items()}
