"""Feeds the service manager's watchdog (sd_notify(3)), for as long as what it stands for is alive.

That is the loop, the store and the dispatcher. Whoever is not fed in time kills the daemon and starts it anew.
"""

from __future__ import annotations

import asyncio
import os
import socket
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress

import structlog

from farmd.daemon.dispatcher import PERIOD_S
from farmd.daemon.service import Service
from farmd.driver import offload
from farmd.model.errors import FarmdError

LOOP_LATE_S = 2.0
STORE_WAIT_S = 5.0
DISPATCHER_LATE_S = PERIOD_S + 30.0

log = structlog.get_logger("watchdog")


def tell_systemd(state: str) -> None:
    """Tell the service manager about our state, where one started us."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    # A manager that has gone away is no reason to stop.
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
        notify.connect(address)
        notify.sendall(state.encode())


def watchdog_s() -> float | None:
    """How often the service manager wants to be told, in seconds; None when it does not."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        every_us = int(os.environ.get("WATCHDOG_USEC", "0"))
    except ValueError:
        return None
    return every_us / 1e6 if every_us > 0 else None


async def feed(service: Service, every_s: float) -> None:
    """Feed the watchdog three times in `every_s` while all is well, for ever."""
    loop = asyncio.get_running_loop()
    # Behind the files that are read before hundreds of starts, a store that is well would seem dead.
    asking = ThreadPoolExecutor(1, thread_name_prefix="watchdog")
    try:
        while True:
            due = loop.time() + every_s / 3
            await asyncio.sleep(every_s / 3)
            late_s = loop.time() - due
            if trouble := await what_is_dead(service, late_s, asking):
                log.error("watchdog not fed", why=trouble)
            else:
                tell_systemd("WATCHDOG=1")
    finally:
        asking.shutdown(wait=False)


async def what_is_dead(service: Service, late_s: float, asking: Executor | None = None) -> str:
    """Why the watchdog must not be fed; empty when it may. `late_s` is how late the loop was just now.

    The store is asked in `asking`, or in the common pool.
    """
    if late_s > LOOP_LATE_S:
        return f"the loop was {late_s:.1f} s late"
    quiet_s = asyncio.get_running_loop().time() - service.dispatcher.looked_at
    if quiet_s > DISPATCHER_LATE_S:
        return f"the dispatcher has not looked for {quiet_s:.0f} s"
    try:
        async with asyncio.timeout(STORE_WAIT_S):
            await offload(service.store.node, asking)
    except TimeoutError:
        return f"the store has not answered for {STORE_WAIT_S:.0f} s"
    except FarmdError as error:
        return error.code.meaning
    return ""
