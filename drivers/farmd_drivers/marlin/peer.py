"""The strict Marlin emulator on pseudo-terminals: machines to try farmd with, without a machine.

`python -m farmd_drivers.marlin.peer` prints the paths of its ports and serves them until it is stopped;
`PtyPeer` does the same in a thread, for tests. What a machine can suffer is in reach: noise on the line,
a reset, a kill, a hang, a pulled cable. Here is the command line; the machines' ports are in `ptys`.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from dataclasses import replace
from pathlib import Path
from types import FrameType

from farmd_drivers.marlin.emulator.build import Build
from farmd_drivers.marlin.emulator.firmwares import MACHINES, machine_of
from farmd_drivers.marlin.emulator.klipper import Klipper
from farmd_drivers.marlin.emulator.machine import Marlin
from farmd_drivers.marlin.emulator.noise import Fault, Noise
from farmd_drivers.marlin.ptys import OF_THE_HOST, UPSETS, Loop
from farmd_drivers.marlin.ptys import PtyPeer as PtyPeer


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m farmd_drivers.marlin.peer",
        description="Strict Marlin 2 emulators on ptys. Prints one port a line, and serves until SIGTERM or SIGINT.",
    )
    parser.add_argument("--count", type=int, default=1, help="machines, all in one thread (1)")
    parser.add_argument("--link", type=Path, help="make this symbolic link to the port; of many: LINK-0 ...")
    parser.add_argument(
        "--record", type=Path, help="append every executed command here; of many: RECORD-0 ..."
    )
    parser.add_argument(
        "--report",
        type=Path,
        help="at the end, write what each machine did as JSON: counts, under-runs, digest",
    )
    parser.add_argument(
        "--leave-out",
        default=OF_THE_HOST.decode(),
        help="commands, by regular expression, that the SHA-256 in --report leaves out (%(default)s)",
    )
    machine = parser.add_argument_group("the machine")
    machine.add_argument(
        "--move-scale", type=float, default=0.0, help="share of its real time a move takes (0)"
    )
    machine.add_argument("--min-move", type=float, default=0.0, help="seconds that a move takes at least (0)")
    machine.add_argument("--planner", type=int, default=16, help="blocks of the planner (16)")
    machine.add_argument("--heat-rate", type=float, default=200.0, help="degrees per second (200)")
    machine.add_argument(
        "--ripple", type=float, default=0.0, help="degrees that a held temperature swings (0)"
    )
    link = parser.add_argument_group("the link")
    link.add_argument("--baud", type=int, default=0, help="pace of the bytes, both ways; 0: none (0)")
    link.add_argument("--rx", type=int, default=1024, help="bytes of the receive ring; an AVR has 128 (1024)")
    link.add_argument("--noise", type=float, default=0.0, help="chance of a fault per line, both ways (0)")
    link.add_argument(
        "--faults",
        default=",".join(Noise(0).faults),
        help=f"kinds of noise, of {','.join(Fault)} (%(default)s)",
    )

    link.add_argument("--seed", type=int, default=0, help="of the noise; machine N has seed + N (0)")
    firmware = parser.add_argument_group("the firmware")
    firmware.add_argument(
        "--dialect",
        choices=(*MACHINES, "klipper"),
        default="marlin",
        help="whose it is; another than Marlin's is as it is, but for moves and heat (%(default)s)",
    )
    firmware.add_argument("--ring", type=int, default=4, help="BUFSIZE, lines of the command ring (4)")
    firmware.add_argument("--advanced-ok", action="store_true", help="ok N12 P15 B3")
    firmware.add_argument("--no-emergency-parser", action="store_true")
    firmware.add_argument("--no-autoreport", action="store_true")
    firmware.add_argument("--no-keepalive", action="store_true")
    firmware.add_argument("--no-ok-after-resend", action="store_true")
    firmware.add_argument(
        "--early-resend-ok", action="store_true", help="the ok after a Resend is another line's"
    )
    firmware.add_argument("--no-m110", action="store_true", help="M110 is unknown")
    firmware.add_argument("--says-wait", action="store_true")
    parser.add_argument(
        "--upset",
        action="append",
        default=[],
        metavar="WHAT@COMMANDS",
        help=f"what happens after so many executed commands; several may be given. WHAT is of {', '.join(UPSETS)}",
    )
    return parser


def _upset(text: str) -> tuple[int, str]:
    what, _, after = text.partition("@")
    if what not in UPSETS or not after.isdigit():
        raise SystemExit(f"no such upset: {text!r}; it is WHAT@COMMANDS, and WHAT one of {', '.join(UPSETS)}")
    return int(after), what


def _numbered(path: Path | None, number: int, count: int) -> Path | None:
    return path if path is None or count == 1 else path.with_name(f"{path.name}-{number}")


def _other_machine(given: argparse.Namespace) -> Marlin | Klipper | None:
    if given.dialect == "marlin":
        return None
    return machine_of(given.dialect, move_scale=given.move_scale, heat_c_per_s=given.heat_rate)


def peers_of(given: argparse.Namespace) -> list[PtyPeer]:
    """The machines that the command line asks for."""
    build = replace(
        Build(),
        move_scale=given.move_scale,
        min_move_s=given.min_move,
        planner_blocks=given.planner,
        heat_c_per_s=given.heat_rate,
        ripple_c=given.ripple,
        baud=given.baud,
        rx_bytes=given.rx,
        ring_lines=given.ring,
        advanced_ok=given.advanced_ok,
        emergency_parser=not given.no_emergency_parser,
        autoreport=not given.no_autoreport,
        keepalive=not given.no_keepalive,
        ok_after_resend=not given.no_ok_after_resend,
        early_resend_ok=given.early_resend_ok,
        knows_m110=not given.no_m110,
        says_wait=given.says_wait,
    )
    upsets = dict(map(_upset, given.upset))
    if given.dialect == "klipper" and set(upsets.values()) - {"unplug"}:
        raise SystemExit("of the upsets, Klipper knows no other than unplug")
    faults = tuple(map(Fault, given.faults.split(",")))
    return [
        PtyPeer(
            build,
            noise=Noise(given.seed + number, given.noise, given.noise, faults),
            link=_numbered(given.link, number, given.count),
            record=_numbered(given.record, number, given.count),
            upsets=upsets,
            keep=False,
            leave_out=given.leave_out.encode(),
            machine=_other_machine(given),
        )
        for number in range(given.count)
    ]


def main(arguments: list[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    peers = peers_of(given)
    loop = Loop(peers)

    def stop(signum: int, frame: FrameType | None) -> None:
        loop.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    for peer in peers:
        print(peer.port, flush=True)
    loop.run()
    loop.close()
    if given.report is not None:
        given.report.write_text(json.dumps([peer.report() for peer in peers], indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
