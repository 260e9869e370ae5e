"""The health of a link as it is told to the daemon, every few seconds. Counted in `wire`; judged by the daemon."""

from __future__ import annotations

from farmd.driver import LinkHealth
from farmd_drivers.marlin.account import Account
from farmd_drivers.marlin.terminal import Terminal
from farmd_drivers.marlin.wire import Wire

HEALTH_EVERY = 20
"""With every 20th look at the run, so every 5 s."""


def tell_health(turn: int, wire: Wire, now: float, account: Account, terminal: Terminal) -> None:
    """What is due at the `turn`th look: telling how the link is, and forgetting what a babbling one has said."""
    if turn % HEALTH_EVERY:
        return
    terminal.tidy()
    health = wire.health(now)
    account.tell(
        LinkHealth(
            lines=health.lines,
            resends=health.resends,
            timeouts=health.timeouts,
            garbled=health.garbled,
            underruns=health.underruns,
            noise=health.noise,
            turn_round_p50_s=health.turn_round_p50_s,
            turn_round_p99_s=health.turn_round_p99_s,
            mode=health.mode,
        )
    )
