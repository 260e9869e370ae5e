"""The dispatcher: asks what to start whenever state or plan change, and hands it to the attendants."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog

from farmd.daemon.attendant import Attendant
from farmd.daemon.dispatch import Start, dispatch
from farmd.daemon.ledger import Ledger, Record
from farmd.daemon.planning import Planning
from farmd.daemon.rules import unwanted
from farmd.daemon.shop import Shop
from farmd.driver import now
from farmd.driver.clock import wait_until
from farmd.model import facts as f
from farmd.model.errors import Refused
from farmd.model.farm import Farm
from farmd.model.work import Build

PERIOD_S = 60.0
"""Look again at least this often: a batch may only be waiting for its time (shop seconds)."""

log = structlog.get_logger("dispatcher")


class Dispatcher:
    """Starts what is to be started, and withdraws what nobody wants any more.

    One start at a time per machine, by its permit.
    """

    def __init__(
        self, ledger: Ledger, planning: Planning, shop: Shop, attendants: Mapping[str, Attendant]
    ) -> None:
        self.paused = False
        """No new starts; what runs goes on. Set while the daemon shuts down."""
        self.looked_at = 0.0
        """When it last looked what to start, in seconds of the loop."""
        self._ledger = ledger
        self._planning = planning
        self._shop = shop
        self._attendants = attendants
        self._wake = asyncio.Event()
        ledger.subscribe(self._on_records)
        planning.on_publish(self._wake.set)

    def _on_records(self, records: tuple[Record, ...]) -> None:
        self._wake.set()

    async def run(self) -> None:
        """Start what can be started, for ever."""
        async with asyncio.TaskGroup() as starting:
            while True:
                self.looked_at = asyncio.get_running_loop().time()
                self._withdraw()
                for start in self._due():
                    self._planning.begin(start.step)
                    starting.create_task(self._start(start), name=f"start:{start.machine}")
                # The starts record their intents before anything else is decided.
                await asyncio.sleep(0)
                await wait_until(self._wake, now() + PERIOD_S)
                self._wake.clear()

    def _withdraw(self) -> None:
        farm = self._ledger.farm
        while (build := _first_unwanted(farm)) is not None:
            self._ledger.record(f.BuildWithdrawn(at=now(), actor="daemon", build_id=build.id))

    def _due(self) -> list[Start]:
        if self.paused or self._ledger.blocked is not None:
            return []
        return dispatch(self._ledger.farm, self._planning.schedule, self._shop, now())

    async def _start(self, start: Start) -> None:
        try:
            await self._attendants[start.machine].start(start.permit_id, start.build)
        except Refused as refused:
            log.info("not started", machine=start.machine, code=refused.code.name, why=refused.what)
            self._planning.ask()


def _first_unwanted(farm: Farm) -> Build | None:
    return next((build for build in farm.builds.values() if unwanted(farm, build)), None)
