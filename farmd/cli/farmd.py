"""farmd, the service's own command line. Each group of commands is a module with `register(app)`.

Whatever is heavy is imported by the command that needs it, so that `--help` stays quick.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from farmd import __version__
from farmd.cli import farmd_check, farmd_plan, farmd_planner, farmd_run, farmd_store, farmd_token
from farmd.cli.errors import WRONG, run

app = typer.Typer(name="farmd", add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.callback(invoke_without_command=True)
def root(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """The daemon that plans and runs a shop of additive machines.

    \b
    farmd demo
    farmd check --config farm.toml
    farmd run --config farm.toml
    farmd plan problem.json --budget 10 --out plan.json

    Exit codes: 0 done, 1 refused or not in order, 2 usage or configuration, 3 no daemon.
    """
    if version:
        print(f"farmd {__version__}")
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        print(ctx.get_help())
        raise typer.Exit(WRONG)


farmd_run.register(app)
farmd_check.register(app)
farmd_store.register(app)
farmd_plan.register(app)
farmd_token.register(app)
farmd_planner.register(app)


def farmd(args: Sequence[str]) -> int:
    """Run one command line to its exit code."""
    return run(app, "farmd", args)


def main() -> None:
    sys.exit(farmd(sys.argv[1:]))
