"""farmctl, the technician's tool: a thin client of the daemon's HTTP API.

Exit codes: 0 done, 1 refused, 2 usage or configuration, 3 no daemon.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from farmd import __version__
from farmd.cli import commands_farm, commands_jobs, commands_machines
from farmd.cli.errors import WRONG, run
from farmd.cli.session import Ca, Json, Session, Token, TokenFile, Url

if TYPE_CHECKING:
    import httpx

app = typer.Typer(name="farmctl", add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.callback(invoke_without_command=True)
def root(
    ctx: typer.Context,
    url: Url = None,
    token: Token = None,
    token_file: TokenFile = None,
    ca: Ca = None,
    as_json: Json = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """See and drive a farm: jobs, machines, the plan, what to do next.

    \b
    farmctl submit bracket.gcode --quantity 40 --due 2026-03-31T14:00
    farmctl next
    farmctl clear mk4-03
    farmctl why J-12

    Exit codes: 0 done, 1 refused, 2 usage or configuration, 3 no daemon.
    """
    session = ctx.find_object(Session)
    assert session is not None
    session.take(url, token, token_file, ca, as_json)
    if version:
        print(f"farmctl {__version__}")
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        print(ctx.get_help())
        raise typer.Exit(WRONG)


commands_jobs.register(app)
commands_machines.register(app)
commands_farm.register(app)


def farmctl(args: Sequence[str], transport: httpx.BaseTransport | None = None) -> int:
    """Run one command line to its exit code. `transport` stands in for the network."""
    return run(app, "farmctl", args, Session(transport))


def main() -> None:
    sys.exit(farmctl(sys.argv[1:]))
