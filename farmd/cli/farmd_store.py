"""`farmd backup`, `restore`, `migrate` and `vault`: what is done with a farm's record and files as a whole."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from farmd import __version__
from farmd.cli.farmd_check import NOTHING_STORED, ConfigFile, Json
from farmd.model.errors import ConfigError, ErrorCode, Refused

NO_KEY = ErrorCode(
    "no-vault-key",
    "no key of the vault is given",
    "make one with `farmd vault key FILE`, and name it in [vault]",
)

vault_app = typer.Typer(
    help="""The vault's keys: made, and exchanged.

    \b
    farmd vault key /etc/farmd/master.key
    farmd vault encrypt --config /etc/farmd/farm.toml
    """,
    no_args_is_help=True,
)


def register(app: typer.Typer) -> None:
    @app.command()
    def backup(
        folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where back-ups are kept.")],
        config: ConfigFile,
        keep: Annotated[
            int, typer.Option("--keep", min=0, help="Remove all but the newest so many; 0 keeps all.")
        ] = 0,
        as_json: Json = False,
    ) -> None:
        """Back up record and files, while the farm runs.

        The back-up is a folder of its own in DIR, synced, read again and checked before it gets its name.

        \b
        farmd backup /var/backups/farmd --config /etc/farmd/farm.toml --keep 14
        """
        from farmd.config import load_config
        from farmd.store import back_up, rotate

        farm = load_config(config)
        data_dir = farm.farm.data_dir
        if not data_dir.is_dir():
            raise Refused(NOTHING_STORED, where=str(data_dir))
        made = back_up(
            farm.database.url, data_dir, folder, at=time.time(), version=__version__, config_file=config
        )
        removed = rotate(folder, keep)
        told = {
            "backup": str(made.folder),
            "facts": made.facts,
            "files": len(made.files),
            "bytes": sum(size for size, _ in made.files.values()),
            "missing": list(made.missing),
            "removed": [str(path) for path in removed],
        }
        if as_json:
            print(json.dumps(told, indent=2))
            return
        print(f"{made.folder}: {made.facts} facts and {len(made.files)} files, checked")
        for sha256 in made.missing:
            print(f"  the vault does not have {sha256}")

    @app.command()
    def restore(
        folder: Annotated[
            Path, typer.Argument(metavar="DIR", help="A back-up, or a folder whose newest one is meant.")
        ],
        config: ConfigFile,
        as_json: Json = False,
    ) -> None:
        """Put a back-up in the place of a farm that is lost.

        Only where there is no farm. It begins in safe mode: `farmctl next` says what is to be settled
        with the machines first, `farmctl safe-mode --leave` ends it.

        \b
        farmd restore /mnt/backups/farmd --config /etc/farmd/farm.toml
        """
        from farmd.config import load_config
        from farmd.store import find_backup
        from farmd.store import restore as put_back

        farm = load_config(config)
        found = find_backup(folder)
        fact = put_back(
            found, farm.database.url, farm.farm.data_dir, at=time.time(), anchors=farm.anchor_path
        )
        told = {"backup": str(found.folder), "facts": found.facts, "fence": fact.fence}
        if as_json:
            print(json.dumps(told, indent=2))
        else:
            print(f"{found.facts} facts restored from {found.folder}; the farm will start in safe mode")

    @app.command()
    def migrate(
        config: ConfigFile,
        dry_run: Annotated[
            bool, typer.Option("--dry-run", help="Change nothing; say what would be.")
        ] = False,
        as_json: Json = False,
    ) -> None:
        """Bring the record to this version's schema.

        A start does so too. With --dry-run it is all done and taken back, every row read as this version
        reads it. The daemon must not run.

        \b
        farmd migrate --dry-run --config /etc/farmd/farm.toml
        """
        from farmd.config import load_config
        from farmd.store import DataLock, bring_up

        farm = load_config(config)
        data_dir = farm.farm.data_dir
        if not data_dir.is_dir():
            raise Refused(NOTHING_STORED, where=str(data_dir))
        with DataLock(data_dir):
            steps, rows = bring_up(farm.database.url, data_dir, rehearse=dry_run)
        told = {
            "from": steps.before,
            "to": steps.after,
            "steps": [{"revision": name, "what": what} for name, what in steps.revisions],
            "rows": rows,
            "dry_run": dry_run,
        }
        if as_json:
            print(json.dumps(told, indent=2))
            return
        for name, what in steps.revisions:
            print(f"{name}: {what}")
        if not steps.revisions:
            print(f"the schema is {steps.after}, the newest; {rows} rows are in order")
        else:
            done = "would be" if dry_run else "is"
            print(f"the schema {done} {steps.after}, from {steps.before or 'none'}; {rows} rows are in order")

    app.add_typer(vault_app, name="vault")


@vault_app.command()
def key(file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file.")]) -> None:
    """Make a new random key in a new file.

    Whoever loses it loses all files that are sealed with it: keep a copy apart from the back-ups.

    \b
    farmd vault key /etc/farmd/master.key
    """
    from farmd.store import make_key

    make_key(file)
    print(f"{file}: a new key, readable for its owner alone")


@vault_app.command()
def encrypt(config: ConfigFile, as_json: Json = False) -> None:
    """Seal the files that lie open in the vault.

    The daemon must not run. Killed, it can be started again.

    \b
    farmd vault encrypt --config /etc/farmd/farm.toml
    """
    _seal_all(config, as_json, rewrap_only=False)


@vault_app.command()
def rotate(config: ConfigFile, as_json: Json = False) -> None:
    """Give all sealed files the present key, after an exchange.

    `key_file` names the new one, `old_key_files` those before it. The files' content is not touched.
    The daemon must not run. Killed, it can be started again.

    \b
    farmd vault rotate --config /etc/farmd/farm.toml
    """
    _seal_all(config, as_json, rewrap_only=True)


def _seal_all(config_file: Path, as_json: bool, *, rewrap_only: bool) -> None:
    from farmd.config import load_config
    from farmd.store import DataLock, Vault, read_keys

    farm = load_config(config_file)
    data_dir = farm.farm.data_dir
    if not data_dir.is_dir():
        raise Refused(NOTHING_STORED, where=str(data_dir))
    keys = read_keys(farm.vault.key_file, farm.vault.old_key_files)
    if keys is None:
        raise ConfigError(NO_KEY, where=str(config_file))
    changed = looked = 0
    with DataLock(data_dir):
        vault = Vault(data_dir / "vault", keys=keys)
        for sha256 in list(vault.names()):
            looked += 1
            if not (rewrap_only and not vault.is_sealed(sha256)):
                changed += vault.seal(sha256)
    if as_json:
        print(json.dumps({"files": looked, "changed": changed}))
    else:
        print(f"{changed} of {looked} files changed; all are in order")
