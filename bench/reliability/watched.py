"""`farmd run` with a watch on its loop and its machines: `python -m bench.reliability.watched CONFIG OUT`.

The daemon is the shipped one. When it ends, OUT has how late each of the watch's turns of the loop came, and
when each emergency stop reached a driver (clock `monotonic`, which all processes share).
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from farmd.cli import service
from farmd.config import load_config
from farmd_drivers.simulated.driver import SimulatedDriver

EVERY_S = 0.01


def main(config: Path, out: Path) -> None:
    lags: list[float] = []
    stops: list[tuple[str, float]] = []
    lasting: list[asyncio.Task[None]] = []
    estop, tell = SimulatedDriver.estop, service.tell_systemd

    async def watch() -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + EVERY_S
            await asyncio.sleep(EVERY_S)
            lags.append(loop.time() - due)

    def stopped(self: SimulatedDriver) -> None:
        stops.append((self._name, time.monotonic()))
        estop(self)

    def told(state: str) -> None:
        tell(state)
        if state == "READY=1":
            lasting.append(asyncio.get_running_loop().create_task(watch()))
        else:
            lasting.pop().cancel()
            out.write_text(json.dumps({"lags": lags, "stops": stops}))

    SimulatedDriver.estop = stopped  # type: ignore[method-assign]
    service.tell_systemd = told
    service.serve(load_config(config))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
