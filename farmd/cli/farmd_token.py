"""`farmd token`: tokens given out, listed and taken back, while the daemon runs and while it does not.

While it runs it is asked on its local socket, and what it is told counts at once. While it does not run the
record is written here, under the data folder's lock. The secret of a new token is made here and shown once;
nobody keeps it.
"""

from __future__ import annotations

import getpass
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from farmd.cli.farmd_check import Json
from farmd.model import facts as f
from farmd.model.access import Role
from farmd.model.errors import Refused

if TYPE_CHECKING:
    from farmd.cli.client import Client
    from farmd.model.farm import Farm
    from farmd.store import Store

USUAL_CONFIG = Path("/etc/farmd/farm.toml")

ConfigFile = Annotated[
    Path,
    typer.Option(
        "--config", "-c", metavar="FILE", envvar="FARMD_CONFIG", help="The farm's configuration (TOML)."
    ),
]
HELP = """Give tokens out, list them, take them back.

\b
farmd token add ana --role technician
farmd token list
farmd token revoke ana
"""
Name = Annotated[str, typer.Argument(metavar="NAME", show_default=False)]


def register(app: typer.Typer) -> None:
    tokens = typer.Typer(name="token", no_args_is_help=True, rich_markup_mode=None, help=HELP)
    app.add_typer(tokens)

    @tokens.command()
    def add(
        name: Name,
        role: Annotated[Role, typer.Option("--role", help="What its holder may do: docs/ROLES.md.")],
        expires: Annotated[
            str | None,
            typer.Option(
                metavar="WHEN", help="When it ends: 90d, 12h, or a day; else never, an engineer's in 90d."
            ),
        ] = None,
        config: ConfigFile = USUAL_CONFIG,
        as_json: Json = False,
    ) -> None:
        """Make a token and print it, once.

        \b
        farmd token add ana --role technician
        farmd token add bo --role engineer --expires 14d > bo.token
        """
        from farmd.api import new_token, sha256_of_token

        ends_at = None if expires is None else ends(expires, datetime.now().astimezone())
        secret = new_token()
        with _way(config) as way:
            view = way.add(name, role, sha256_of_token(secret), ends_at)
        if as_json:
            print(json.dumps({**view, "token": secret}, indent=2, ensure_ascii=False))
        else:
            print(secret)
            until = f"until {view['expires_at']}" if view["expires_at"] else "until it is revoked"
            typer.echo(f"{name} is {role.value} {until}; the token is shown this once", err=True)

    @tokens.command("list")
    def show(config: ConfigFile = USUAL_CONFIG, as_json: Json = False) -> None:
        """All tokens there are and were, without their secrets.

        \b
        farmd token list
        """
        from farmd.cli.session import console
        from farmd.cli.tables import tokens_table

        with _way(config) as way:
            views = way.views()
        if as_json:
            print(json.dumps({"tokens": views}, indent=2, ensure_ascii=False))
        else:
            console().print(tokens_table(views))

    @tokens.command()
    def revoke(
        name: Name,
        reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for those who read it later.")] = "",
        config: ConfigFile = USUAL_CONFIG,
        as_json: Json = False,
    ) -> None:
        """Take a token back: it opens nothing any more, at once.

        \b
        farmd token revoke ana --reason "left"
        """
        with _way(config) as way:
            view = way.revoke(name, reason)
        print(json.dumps(view, indent=2, ensure_ascii=False) if as_json else f"{name} is revoked")


def ends(text: str, now: datetime) -> float:
    """`90d`, `12h`, `2w` from now on, or a time in ISO 8601, a day alone meaning its end; UTC seconds."""
    from farmd.cli.text import due_time

    if text[:-1].isdecimal() and text[-1] in "hdw":
        unit = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}[text[-1]]
        try:
            return (now + int(text[:-1]) * unit).timestamp()
        except OverflowError as error:
            raise typer.BadParameter(f"{text!r} is longer than time is", param_hint="--expires") from error
    return datetime.fromisoformat(due_time(text)).timestamp()


@contextmanager
def _way(config_file: Path) -> Iterator[Offline | Online]:
    """To the tokens of a farm: by its daemon where one runs."""
    from farmd.cli.client import Client
    from farmd.config import load_config
    from farmd.store import DataLock, Store
    from farmd.store.lock import DATA_DIR_LOCKED

    config = load_config(config_file)
    try:
        lock = DataLock(config.farm.data_dir)
    except Refused as held:
        if held.code is not DATA_DIR_LOCKED:
            raise
        with Client(f"unix:{config.socket_path}", None) as client:
            yield Online(client)
        return
    with lock, Store.open(config.database.url, data_dir=config.farm.data_dir) as store:
        yield Offline(store)


class Online:
    """By the daemon."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def add(self, name: str, role: Role, sha256: str, ends_at: float | None) -> Any:
        until = None if ends_at is None else datetime.fromtimestamp(ends_at, UTC).isoformat()
        body = {"name": name, "role": role.value, "sha256": sha256, "expires": until}
        return self._client.post("tokens", body=body)

    def revoke(self, name: str, reason: str) -> Any:
        return self._client.post("tokens", name, "revoke", body={"reason": reason})

    def views(self) -> list[Any]:
        return list(self._client.get("tokens")["tokens"])


class Offline:
    """In the record itself."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._farm: Farm = store.load().farm
        self._actor = f"{getpass.getuser()}@offline"

    def add(self, name: str, role: Role, sha256: str, ends_at: float | None) -> Any:
        from farmd.daemon.keys import added

        return self._record(name, added(name, role, sha256, self._actor, time.time(), ends_at))

    def revoke(self, name: str, reason: str) -> Any:
        fact = f.TokenRevoked(at=time.time(), actor=self._actor, token=name, reason=reason)
        return self._record(name, fact)

    def views(self) -> list[Any]:
        from farmd.daemon.views import token_view

        tokens = self._farm.tokens
        return [token_view(tokens[name], time.time()) for name in sorted(tokens)]

    def _record(self, name: str, fact: f.Fact) -> Any:
        from farmd.daemon.views import token_view
        from farmd.model.apply import apply
        from farmd.store import Entry

        changed = apply(self._farm, fact)
        self._store.commit([Entry((fact,), changed)])
        self._farm.merge(changed)
        return token_view(self._farm.tokens[name], time.time())
