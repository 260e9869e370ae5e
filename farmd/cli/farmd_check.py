"""`farmd check` and `farmd verify`: is the configuration right, is what is stored in order."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from farmd.cli.errors import REFUSED, Failed, Told
from farmd.model.errors import ErrorCode, Refused

if TYPE_CHECKING:
    from farmd.config import Config

NOTHING_STORED = ErrorCode(
    "nothing-stored", "there is no data folder", "correct data_dir, or start the daemon once"
)

ConfigFile = Annotated[
    Path,
    typer.Option(
        "--config", "-c", metavar="FILE", help="The farm's configuration (TOML).", show_default=False
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def register(app: typer.Typer) -> None:
    @app.command()
    def check(config: ConfigFile, as_json: Json = False) -> None:
        """Tell every mistake of a configuration at once.

        Each with its file and line, and what to do. Exit 0 when there is none, else 2.

        \b
        farmd check --config /etc/farmd/farm.toml
        """
        from farmd.config import load_config

        farm = load_config(config)
        if as_json:
            print(json.dumps({"errors": [], **summary(farm)}, indent=2, ensure_ascii=False))
        else:
            print(f"{config} is in order")
            for line in summary_lines(farm):
                print(f"  {line}")

    @app.command()
    def verify(config: ConfigFile, as_json: Json = False) -> None:
        """Check all that is stored: journal, state, files.

        The chain of the journal holds and ends where its anchors say, the state is what its facts add up
        to, and every file of the vault is what its name says. The daemon must not run. Exit 0 when all is
        in order, else 1.

        \b
        farmd verify --config /etc/farmd/farm.toml
        """
        from farmd.config import load_config

        verify_stored(load_config(config), as_json=as_json)


def verify_stored(config: Config, *, as_json: bool) -> None:
    """Print that all is in order; raises `Failed` with everything that is not, `Refused`, `ConfigError`."""
    from farmd.store import DataLock, Store, Vault, check_anchors, read_keys, verify

    data_dir = config.farm.data_dir
    if not data_dir.is_dir():
        raise Refused(NOTHING_STORED, where=str(data_dir))
    with DataLock(data_dir), Store.open(config.database.url, data_dir=data_dir) as store:
        keys = read_keys(config.vault.key_file, config.vault.old_key_files)
        vault = Vault(data_dir / "vault", keys=keys)
        findings = [*verify(store, vault), *check_anchors(store, config.anchor_path)]
        last = store.events(limit=1, newest_first=True) if not findings else []
        files = sum(1 for _ in vault.names())
    told = [Told(each.code.name, each.what, each.where, each.code.remedy) for each in findings]
    document = {
        "facts": last[0].seq if last else 0,
        "files": files,
        "errors": [each.as_dict() for each in told],
    }
    if told:
        raise Failed(told, REFUSED, document)
    if as_json:
        print(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        print(f"{document['facts']} facts and {files} files are in order")


def summary(config: Config) -> dict[str, Any]:
    """What a configuration describes, in numbers."""
    return {
        "farm": config.farm.name,
        "timezone": config.farm.timezone,
        "data_dir": str(config.farm.data_dir),
        "listen": config.api.listen,
        "machines": len(config.machines),
        "groups": dict(Counter(machine.group for machine in config.machines)),
        "drivers": dict(Counter(machine.driver for machine in config.machines)),
        "shifts": [
            {
                "name": shift.name,
                "days": list(shift.days),
                "from": shift.begins,
                "to": shift.ends,
                "people": shift.people,
            }
            for shift in config.shifts
        ],
        "materials": [material.name for material in config.materials],
    }


def summary_lines(config: Config) -> list[str]:
    told = summary(config)
    lines = [
        f"farm {told['farm']} ({told['timezone']}), API on {told['listen']}, data in {told['data_dir']}",
        f"{told['machines']} machines: {_counts(told['groups'])}; drivers: {_counts(told['drivers'])}",
    ]
    for shift in told["shifts"]:
        people = "people: any number" if shift["people"] is None else f"people: {shift['people']}"
        lines.append(
            f"shift {shift['name']}: {' '.join(shift['days'])} {shift['from']} to {shift['to']}, {people}"
        )
    if not told["shifts"]:
        lines.append("no shifts: people are taken to be there at any time")
    if told["materials"]:
        lines.append(f"materials: {', '.join(told['materials'])}")
    return lines


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in counts.items()) or "none"
