"""One call of farmctl: where the daemon is, who asks, and how the answer is shown.

`command` adds the options that every command has. Knows no command.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from farmd.model.errors import ConfigError, ErrorCode

if TYPE_CHECKING:
    import httpx
    from rich.console import Console, RenderableType

    from farmd.cli.client import Client

TOKEN_UNREADABLE = ErrorCode(
    "token-unreadable", "the file with the token cannot be read", "check --token-file or FARMCTL_TOKEN_FILE"
)
DEFAULT_URL = "http://127.0.0.1:8420"
LOCAL_SOCKET = Path("/run/farmd/farmd.sock")
"""Where a daemon that systemd runs listens for those at its own computer."""
LOCAL_URL = f"unix:{LOCAL_SOCKET}"
PIPE_COLUMNS = 160
"""How wide tables may be where nobody looks: in a file or a pipe, unless COLUMNS says otherwise."""

Url = Annotated[
    str | None,
    typer.Option(
        "--url", metavar="URL", help=f"The daemon.  [FARMCTL_URL; else its local socket, else {DEFAULT_URL}]"
    ),
]
Token = Annotated[str | None, typer.Option("--token", metavar="TOKEN", help="Who asks.  [FARMCTL_TOKEN]")]
TokenFile = Annotated[
    Path | None,
    typer.Option("--token-file", metavar="FILE", help="A file with the token.  [FARMCTL_TOKEN_FILE]"),
]
Ca = Annotated[
    Path | None,
    typer.Option("--ca", metavar="FILE", help="Whom to trust for https, PEM.  [FARMCTL_CA]"),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@dataclass(slots=True)
class Session:
    """The settings of one call. `transport` stands in for the network."""

    transport: httpx.BaseTransport | None = None
    url: str | None = None
    token: str | None = None
    token_file: Path | None = None
    ca: Path | None = None
    json: bool = False

    def take(
        self, url: str | None, token: str | None, token_file: Path | None, ca: Path | None, as_json: bool
    ) -> None:
        """Settings from a command line; what is not given stays."""
        self.url = url or self.url
        self.ca = ca or self.ca
        if token or token_file:
            self.token, self.token_file = token, token_file
        self.json = as_json or self.json

    def client(self) -> Client:
        """A client of the daemon; raises `ConfigError`."""
        from farmd.cli.client import Client

        url = self.url or os.environ.get("FARMCTL_URL") or (LOCAL_URL if _is_local() else DEFAULT_URL)
        ca = self.ca or (Path(named) if (named := os.environ.get("FARMCTL_CA")) else None)
        return Client(url, self._token(), self.transport, ca)

    def _token(self) -> str | None:
        """What the command line says goes before the environment, and a token before a file with one."""
        if self.token or self.token_file:
            return self.token or _read_token(self.token_file)
        if token := os.environ.get("FARMCTL_TOKEN"):
            return token
        named = os.environ.get("FARMCTL_TOKEN_FILE")
        return _read_token(Path(named)) if named else None

    def show(self, document: object, *texts: RenderableType) -> None:
        """Print the document with `--json`, else the texts."""
        if self.json:
            self.print_json(document)
            return
        out = console()
        for text in texts:
            out.print(text)

    def print_json(self, document: object, *, indent: int | None = 2) -> None:
        print(json.dumps(document, indent=indent, ensure_ascii=False), flush=True)


def console(*, stderr: bool = False) -> Console:
    """stdout, or stderr; colours only on a terminal, and wide lines where nobody looks."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or os.environ.get("COLUMNS") else PIPE_COLUMNS
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False, soft_wrap=False)


def _is_local() -> bool:
    """Whether there is a daemon's socket here that this user may open."""
    return LOCAL_SOCKET.is_socket() and os.access(LOCAL_SOCKET, os.R_OK | os.W_OK)


LONGEST_TOKEN = 512


def _read_token(path: Path | None) -> str:
    try:
        with (path or Path()).expanduser().open("rb") as file:
            token = file.read(LONGEST_TOKEN + 2).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        what = getattr(error, "strerror", None) or "it is not a token"
        raise ConfigError(TOKEN_UNREADABLE, what, where=str(path)) from error
    if not token.isprintable() or " " in token or not 0 < len(token) <= LONGEST_TOKEN:
        # What is in it is never shown: it may be somebody's other secret.
        raise ConfigError(TOKEN_UNREADABLE, "it is not a token", where=str(path))
    return token


def command(
    app: typer.Typer, name: str | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function as a command of farmctl.

    Its first parameter takes the `Session`; the options of every command are added to its own.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        options = {"url": Url, "token": Token, "token_file": TokenFile, "ca": Ca, "as_json": Json}

        def run(ctx: typer.Context, **values: Any) -> None:
            session = ctx.find_object(Session)
            assert session is not None
            session.take(*(values.pop(option) for option in options))
            function(session, **values)

        added = [
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=_default(key))
            for key, kind in options.items()
        ]
        first = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
        keyword_only = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
        signature = inspect.Signature([first, *keyword_only, *added])
        run.__signature__ = signature  # type: ignore[attr-defined]
        run.__annotations__ = {key: each.annotation for key, each in signature.parameters.items()}
        run.__name__, run.__doc__ = function.__name__, function.__doc__
        app.command(name)(run)
        return function

    return register


def _default(option: str) -> Any:
    return False if option == "as_json" else None
