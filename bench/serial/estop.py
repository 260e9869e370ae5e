"""From the call of an emergency stop, through HTTP, to M112 at the machine: at rest, and while others print."""

from __future__ import annotations

import time
from collections.abc import Callable

from bench.serial.farm import Farm, until
from bench.serial.files import even
from bench.serial.hall import HallProcess
from bench.serial.many_printers import MOVE_S, all_print, cores
from bench.serial.report import Row, median, percentile

IDLE = 20
"""Machines at rest that are stopped again and again."""
PRINTING = 50
PAUSE_S = 0.02
ARRIVAL_S = 5.0

Post = Callable[[str], int]


def rows(*, quick: bool) -> list[Row]:
    rounds = 1 if quick else 5
    ours, theirs = cores()
    with HallProcess("paced", IDLE + PRINTING, core=theirs) as hall, Farm(hall.ports, core=ours) as farm:
        farm.wait_linked()
        ask = farm.post()
        at_rest = _rounds(hall, farm, ask, rounds)
        # The machines at rest stay without a permit, so the others get the work.
        all_print(farm, even(12_000, MOVE_S), farm.names[IDLE:])
        time.sleep(1.0)
        loaded = _rounds(hall, farm, ask, rounds)
        # Of those that print, half, so that the load is still one.
        printing = [_stop(hall, farm, ask, index) for index in range(IDLE, IDLE + PRINTING // 2)]
    return [
        Row(
            "emergency stop, call to bytes, 99 of 100, at rest",
            _p99_ms(at_rest),
            "ms",
            3.0,
            also=_also(at_rest),
        ),
        Row(
            "emergency stop, call to bytes, 99 of 100, while 50 print",
            _p99_ms(loaded + printing),
            "ms",
            15.0,
            also={**_also(loaded + printing), "of_printing_ms": median(printing) * 1e3},
        ),
    ]


def _rounds(hall: HallProcess, farm: Farm, ask: Post, rounds: int) -> list[float]:
    """Stop every machine at rest, make it well again, and so on."""
    waits = []
    for _ in range(rounds):
        waits += [_stop(hall, farm, ask, index) for index in range(IDLE)]
        for index in range(IDLE):
            hall.ask("upset", index=index, what="power-on")
            farm.client.post("machines", farm.names[index], "release")
        until(
            lambda: all(each["state"] == "idle" for each in farm.machines()[:IDLE]),
            "the stopped machines are well again",
            60.0,
        )
    return waits


def _stop(hall: HallProcess, farm: Farm, ask: Post, index: int) -> float:
    """Seconds from the call to the arrival of M112."""
    time.sleep(PAUSE_S)
    called = time.monotonic()
    status = ask(f"machines/{farm.names[index]}/estop")
    if status != 200:
        raise RuntimeError(f"the emergency stop was answered with {status}")
    came: float = until(lambda: hall.ask("m112", index=index), "M112 arrives", ARRIVAL_S, pause_s=0.001)
    return came - called


def _p99_ms(waits: list[float]) -> float:
    return percentile(waits, 99) * 1e3


def _also(waits: list[float]) -> dict[str, float]:
    return {"samples": len(waits), "p50_ms": median(waits) * 1e3, "max_ms": max(waits) * 1e3}
