"""The property campaign of the serial core, long: `python -m bench.campaign --schedules 1000000`.

Each seed is a run of a short file with its own firmware, link and faults, in virtual time; what has to hold
is said in `farmd_drivers.marlin.campaign`. `--seed N` runs one of them, and shows what passed on the wire.
`--throughput` measures instead what noise costs: the same file over the same link, clean and with a share
of all lines corrupted, each way; reported is the virtual time of the clean run over that of the noisy one.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

from farmd_drivers.marlin.campaign import Setting, Tally, Trial, draw, try_seeds
from farmd_drivers.marlin.emulator.build import Build
from farmd_drivers.marlin.emulator.noise import Fault, Noise
from farmd_drivers.marlin.wire.window import Sending

CHUNK = 1000
ONE_BIT, ANY = (Fault.GARBLE,), tuple(Fault)
SPOILT = {
    "0.1 % to it, one bit": (0.001, False, ONE_BIT),
    "5 % to it, one bit": (0.05, False, ONE_BIT),
    "5 % both ways, one bit": (0.05, True, ONE_BIT),
    "0.1 % both ways, any": (0.001, True, ANY),
    "5 % both ways, any": (0.05, True, ANY),
}
"""The share of lines that are spoilt, toward the machine only or both ways, and how."""
LATENCY_S = 0.001
"""Each way: one frame of USB. On a UART every byte takes 10 bits of its time besides, both ways."""
AT_ONCE, AVR = Build(baud=115200, rx_bytes=128), Build(baud=115200, rx_bytes=128, move_scale=1.0)
USB = Build(move_scale=1.0)
LINKS = {
    "115,200 baud, moves at once": (AT_ONCE, Sending.PING_PONG),
    "115,200 baud, moves at once, counting": (AT_ONCE, Sending.COUNTING),
    "115,200 baud, 100 moves/s": (AVR, Sending.PING_PONG),
    "115,200 baud, 100 moves/s, counting": (AVR, Sending.COUNTING),
    "115,200 baud, 100 moves/s, ADVANCED_OK": (replace(AVR, advanced_ok=True), Sending.AUTO),
    "USB, moves at once": (Build(), Sending.PING_PONG),
    "USB, moves at once, counting": (Build(), Sending.COUNTING),
    "USB, 100 moves/s": (USB, Sending.PING_PONG),
    "USB, 100 moves/s, ADVANCED_OK": (replace(USB, advanced_ok=True), Sending.AUTO),
}


def chunks(first: int, count: int) -> Iterator[range]:
    for start in range(first, first + count, CHUNK):
        yield range(start, min(start + CHUNK, first + count))


def campaign(first: int, count: int, workers: int) -> Tally:
    """All seeds from `first` on, with a line of progress now and then."""
    tally = Tally()
    began = told = time.monotonic()
    done = 0
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        for piece, seeds in zip(pool.map(try_seeds, chunks(first, count)), chunks(first, count), strict=True):
            tally.add(piece)
            done += len(seeds)
            for seed, what in piece.broken:
                print(f"BROKEN: {what}\n  python -m bench.campaign --seed {seed}", flush=True)
            if time.monotonic() - told > 5:
                told = time.monotonic()
                rate = done / (told - began)
                print(
                    f"{done:>9,} of {count:,}, {rate:,.0f} a second, {len(tally.broken)} broken", flush=True
                )
    seconds = time.monotonic() - began
    print(f"{done:,} schedules in {seconds:.1f} s: {done / seconds:,.0f} a second on {workers} processes")
    return tally


def tell(tally: Tally) -> None:
    total = tally.ends.total()
    print("\nkind      ended            runs   share")
    for (kind, end), runs in sorted(tally.ends.items()):
        print(f"{kind:<9} {end:<11} {runs:>9,}  {runs / total:6.2%}")
    print("\nfaults that happened: " + ", ".join(f"{name} {n:,}" for name, n in tally.faults.most_common()))
    print(f"rests of lines that firmware believed: {len(tally.headless)}, such as seeds {tally.headless[:5]}")
    print(f"broken: {len(tally.broken)}")


def one(seed: int) -> int:
    """Run one seed and show it."""
    setting = draw(seed)
    print(f"{setting.kind}: {', '.join(map(str, setting.schedule)) or 'no faults'}\n{setting.build}")
    print(f"latency {setting.latency_s} s, {len(setting.job)} lines, sending: {setting.sending}")
    trial = Trial(setting, trace=print)
    outcome = trial.run()
    print(f"\n{outcome or 'never begun'}, place {trial.accepted}, executed {trial.executed_lines}")
    for what in trial.broken:
        print(f"BROKEN: {what}")
    return bool(trial.broken)


def moves(lines: int) -> tuple[bytes, ...]:
    """A file of moves of 1 mm, 100 of them a second, some 34 bytes each."""
    head = (b"G28", b"G91", b"G1 F6000")
    return (*head, *(b"G1 X%d.%06d Y0.000 E%.5f" % (1 - 2 * (n % 2), n, n * 1e-5) for n in range(lines)))


def seconds(build: Build, sending: Sending, noise: Noise | None, job: tuple[bytes, ...]) -> tuple[float, int]:
    """How long a run takes in virtual time, and how many under-runs there were; exact, or it raises."""
    setting = Setting(0, "throughput", build, LATENCY_S, job, (), sending=sending)
    trial = Trial(setting, noise=noise, limit_s=1e6)
    outcome = trial.run()
    if outcome != "done" or trial.broken:
        raise RuntimeError(f"{outcome}: {trial.broken}")
    return trial.ended_at - trial.began_at, trial.machine.body.planner.under_runs


def throughput(lines: int) -> None:
    job = moves(lines)
    print(
        f"{lines:,} moves; share of the clean run's lines a second, in virtual time, and under-runs of the planner"
    )
    print(f"{'link and machine':<42} {'clean':>8}" + "".join(f"{name:>24}" for name in SPOILT))
    for name, (build, sending) in LINKS.items():
        clean_s, _ = seconds(build, sending, None, job)
        row = f"{name:<42} {lines / clean_s:>4,.0f} l/s"
        for share, both_ways, faults in SPOILT.values():
            noise = Noise(1, share, share if both_ways else 0.0, faults)
            noisy_s, stops = seconds(build, sending, noise, job)
            row += f"{clean_s / noisy_s:>18.1%} {stops:>5,}"
        print(row, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.campaign", description=__doc__)
    parser.add_argument("--schedules", type=int, default=1_000_000, help="how many seeds")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--seed", type=int, help="run this one, and show what passes")
    parser.add_argument("--throughput", action="store_true", help="measure what noise costs")
    parser.add_argument("--lines", type=int, default=20_000, help="of the file of --throughput")
    given = parser.parse_args()
    if given.seed is not None:
        return one(given.seed)
    if given.throughput:
        throughput(given.lines)
        return 0
    tally = campaign(given.first, given.schedules, given.workers)
    tell(tally)
    return bool(tally.broken)


if __name__ == "__main__":
    sys.exit(main())
