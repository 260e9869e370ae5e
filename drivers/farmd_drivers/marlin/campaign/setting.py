"""The trials of the campaign as data, drawn from seeds: firmware, link, file, and what goes wrong.

Knows the emulator's builds and faults and the ways of sending, and nothing of what has to hold.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from farmd_drivers.marlin.emulator.build import Build
from farmd_drivers.marlin.emulator.faults import Life, Quirk, Schedule, make_schedule
from farmd_drivers.marlin.emulator.noise import Fault
from farmd_drivers.marlin.wire.window import Sending

BYTES: tuple[Fault | Quirk | Life, ...] = tuple(Fault)
QUIRKS: tuple[Fault | Quirk | Life, ...] = tuple(Quirk)
LIVES: tuple[Fault | Quirk | Life, ...] = tuple(Life)


@dataclass(frozen=True, slots=True)
class Setting:
    """Everything that a trial depends on. `latency_s` is that of the link, each way."""

    seed: int
    kind: str
    build: Build
    latency_s: float
    job: tuple[bytes, ...]
    schedule: Schedule
    sending: Sending = Sending.AUTO
    from_connect: bool = False
    """Things go wrong from the first byte, and not only in the run."""
    parks: bool = False
    """The head is taken away at a pause and at a stop."""

    @property
    def window(self) -> int:
        """Lines that may be on their way at once."""
        if self.sending is Sending.COUNTING:
            return self.build.rx_bytes // len(b"N1 M400*17\n")
        return (
            self.build.ring_lines if self.build.advanced_ok and self.sending is not Sending.PING_PONG else 1
        )


def draw(seed: int) -> Setting:
    """The trial of a seed."""
    source = random.Random(seed)
    chance = source.random
    baud = source.choice((0, 0, 115200, 250000))
    build = Build(
        emergency_parser=chance() < 0.7,
        autoreport=chance() < 0.8,
        keepalive=chance() < 0.7,
        inline_temperatures=chance() < 0.9,
        advanced_ok=chance() < 0.3,
        ok_after_resend=chance() < 0.7,
        early_resend_ok=chance() < 0.3,
        says_wait=chance() < 0.3,
        says_twice=chance() < 0.2,
        move_scale=source.choice((0.0, 1.0)),
        baud=baud,
        rx_bytes=128,
        knows_m110=seed % 53 != 0,
    )
    lines = source.randint(15, 40)
    kind = source.choices(("bytes", "quirks", "life", "all", "connect"), (40, 25, 20, 10, 5))[0]
    faults = {"bytes": BYTES, "quirks": QUIRKS, "life": LIVES, "connect": BYTES}.get(kind, BYTES + QUIRKS)
    schedule = make_schedule(source, lines + 8, faults, 1 if kind == "life" else source.randint(1, 4))
    if kind == "all":
        schedule += make_schedule(source, lines + 8, LIVES, 1)
    return Setting(
        seed=seed,
        kind=kind,
        build=build,
        latency_s=source.choice((0.0001, 0.001, 0.008)),
        sending=source.choices(tuple(Sending), (50, 10, 10, 30))[0],
        job=tuple(_job(source, lines)),
        schedule=schedule,
        from_connect=kind == "connect",
        parks=chance() < 0.5,
    )


def _job(source: random.Random, lines: int) -> Iterator[bytes]:
    """A file in small: every command but once."""
    yield b"G28"
    yield b"M140 S61"
    yield b"M104 S%d" % source.randint(180, 240)
    if source.random() < 0.3:
        yield b"M109 S%d" % source.randint(180, 240)
    if source.random() < 0.3:
        yield b"M117 the %d parts" % source.randint(2, 99)
    for n in range(lines - 5):
        yield b"G1 X%d.%02d Y%d E%.2f F6000" % (source.randint(10, 13), n, source.randint(10, 12), n * 0.05)
    yield b"M106 S%d" % source.randint(1, 255)
