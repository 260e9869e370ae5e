"""`farmd run`, `farmd simulate` and `farmd demo`: the daemon as a service, in jumping time, and on show."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from farmd.cli.errors import REFUSED, Failed, Told
from farmd.cli.farmd_check import ConfigFile
from farmd.model.errors import ErrorCode
from farmd.planner import POLICIES

DEMO_WRONG = ErrorCode(
    "demo-wrong",
    "the demo's record, counts or serial transcript do not agree",
    "report it with the summary and the folder that is named",
)

Seed = Annotated[int, typer.Option("--seed", help="The same seed gives the same bytes.")]


def register(app: typer.Typer) -> None:
    @app.command()
    def run(config: ConfigFile) -> None:
        """Run the farm until SIGTERM or Ctrl-C.

        Machines go on printing what they can without the daemon. Logs are JSON lines on stdout.

        \b
        farmd run --config /etc/farmd/farm.toml
        """
        from farmd.cli.service import serve
        from farmd.config import load_config

        serve(load_config(config))

    @app.command()
    def simulate(
        shop: Annotated[Path, typer.Argument(metavar="SHOP.toml", help="A shop with a table [simulation].")],
        days: Annotated[float, typer.Option("--days", min=0.01, help="How long, in days of the shop.")],
        seed: Seed = 1,
        policy: Annotated[str, typer.Option("--policy", help=f"One of {', '.join(POLICIES)}.")] = "plan",
        faults: Annotated[
            Path | None, typer.Option("--faults", metavar="FILE", help="Faults to inject.")
        ] = None,
        out: Annotated[
            Path | None, typer.Option("--json", metavar="OUT", help="Write the report there.")
        ] = None,
        keep: Annotated[
            Path | None, typer.Option("--keep", metavar="DIR", help="Keep journal and vault in a new folder.")
        ] = None,
    ) -> None:
        """Run the daemon through days of a shop in seconds, and report.

        The same shop, days, seed, policy and faults give the same report, byte for byte.

        \b
        farmd simulate config/shops/mixed-25.toml --days 30 --seed 1 --json report.json
        """
        if policy not in POLICIES:
            raise typer.BadParameter(
                f"{policy!r} is not one of {', '.join(POLICIES)}", param_hint="'--policy'"
            )
        from farmd.cli.simulation import run_simulation
        from farmd.sim.simulate import Request

        run_simulation(Request(shop, days, seed, policy=policy, faults=faults, data_dir=keep), out)

    @app.command()
    def demo(
        speed: Annotated[
            float | None, typer.Option("--speed", min=1, max=5000, help="Shop seconds in one second.")
        ] = None,
        until_done: Annotated[bool, typer.Option("--until-done", help="End when all is made.")] = False,
        as_json: Annotated[
            bool, typer.Option("--json", help="Print the summary as JSON, and no live view.")
        ] = False,
        seed: Seed = 1,
        listen: Annotated[str, typer.Option("--listen", help="Address of the demo's API.")] = "127.0.0.1:0",
    ) -> None:
        """Show a simulated shop of 25 machines at work on real sliced files.

        One machine is a Marlin emulator on a pseudo-terminal, printed on by the real serial driver.
        The demo plays the technicians. Ctrl-C or q ends it.

        \b
        farmd demo
        farmd demo --until-done --json
        """
        from farmd.cli.show import disagreement, show

        summary = show(speed=speed, until_done=until_done, quiet=as_json, seed=seed, listen=listen)
        if as_json:
            print(json.dumps(summary, indent=2))
        if problem := disagreement(summary):
            raise Failed(
                [Told(DEMO_WRONG.name, problem, summary["folder"], DEMO_WRONG.remedy)], REFUSED, summary
            )
