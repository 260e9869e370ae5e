"""Reads the configuration file and what the environment overrides, or tells every mistake at once.

The only place of farmd that reads settings from the environment.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from pydantic_settings import BaseSettings, SettingsConfigDict

from farmd.config import lines
from farmd.config.checks import config_errors, problems
from farmd.config.models import Config, VaultTable
from farmd.model.errors import ConfigError, ConfigErrors, ErrorCode

UNREADABLE = ErrorCode(
    "config-unreadable",
    "the configuration file cannot be read",
    "give its path with --config, and let the service's user read it",
)
SYNTAX = ErrorCode(
    "config-syntax", "the configuration file is not valid TOML", "correct the line that is named"
)

PREFIX = "FARMD_"


class Overrides(BaseSettings):
    """`FARMD_API__LISTEN` and the like: settings of these three tables, from the environment."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="ignore", frozen=True
    )

    farm: dict[str, str] = {}
    api: dict[str, str] = {}
    database: dict[str, str] = {}


def load_config(path: Path, *, apart: Collection[str] = ()) -> Config:
    """The configuration in the TOML file `path`, environment applied, paths absolute, defaults filled in.

    Tables named in `apart` are somebody else's and are not looked at.
    Raises `ConfigErrors` with everything that is wrong, each error with `FILE:LINE` as its place.
    """
    text, raw = _read(path)
    for table in apart:
        raw.pop(table, None)
    from_environment: set[lines.Path] = set()
    overrides = Overrides().model_dump()
    for table, settings in overrides.items():
        if settings and isinstance(raw.setdefault(table, {}), dict):
            raw[table] |= settings
            from_environment |= {(table, key) for key in settings}
    at = lines.Lines(text)

    def where(key: lines.Path) -> str:
        if key[:2] in from_environment:
            return f"environment {PREFIX}{'__'.join(str(part) for part in key[:2]).upper()}"
        return f"{path}:{at.of(key)}"

    errors = config_errors(problems(raw), where)
    if errors:
        raise ConfigErrors(errors)
    return _resolved(Config.model_validate(raw), path)


def _read(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        what = error.strerror or str(error)
        raise ConfigErrors([ConfigError(UNREADABLE, what, where=str(path))]) from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigErrors([ConfigError(SYNTAX, "not UTF-8 text", where=f"{path}:{line}")]) from error
    try:
        return text, tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        named = re.search(r"\(at line (\d+), column \d+\)$", str(error))
        line = int(named[1]) if named else text.rstrip().count("\n") + 1
        what = re.sub(r" \(at .*\)$", "", str(error))
        raise ConfigErrors([ConfigError(SYNTAX, what, where=f"{path}:{line}")]) from error


def _resolved(config: Config, path: Path) -> Config:
    data_dir = path.absolute().parent / config.farm.data_dir.expanduser()
    token_file = config.api.token_file.expanduser()
    token_file = data_dir / "token" if token_file == Path() else path.absolute().parent / token_file
    url = config.database.url or f"sqlite:///{data_dir / 'farmd.sqlite'}"
    folder = path.absolute().parent

    def beside(given: Path | None) -> Path | None:
        return None if given is None else folder / given.expanduser()

    names = {machine.name: [each.name for each in machine.each()] for machine in config.machines}
    api, journal = config.api, config.journal
    doors = {
        "token_file": token_file,
        "socket": beside(api.socket),
        "tls_cert": beside(api.tls_cert),
        "tls_key": beside(api.tls_key),
    }
    anchors = {"anchor_file": beside(journal.anchor_file)}
    return config.model_copy(
        update={
            "planner": config.planner.model_copy(update={"socket": beside(config.planner.socket)}),
            "farm": config.farm.model_copy(update={"data_dir": data_dir}),
            "api": api.model_copy(update=doors),
            "journal": journal.model_copy(update=anchors),
            "vault": config.vault.model_copy(update=_vault_keys(config.vault, folder)),
            "database": config.database.model_copy(update={"url": url}),
            "machines": tuple(each for machine in config.machines for each in machine.each()),
            "power_groups": tuple(
                group.model_copy(
                    update={"machines": tuple(n for m in group.machines for n in names.get(m, (m,)))}
                )
                for group in config.power_groups
            ),
        }
    )


def _vault_keys(vault: VaultTable, folder: Path) -> dict[str, object]:
    """The vault's key files: those that are given, else those that the service manager hands over."""
    old = tuple(folder / path.expanduser() for path in vault.old_key_files)
    if vault.key_file is not None:
        return {"key_file": folder / vault.key_file.expanduser(), "old_key_files": old}
    credentials = Path(os.environ.get("CREDENTIALS_DIRECTORY", "") or "/nonexistent")
    handed, handed_old = credentials / "master.key", credentials / "master.key.old"
    return {
        "key_file": handed if handed.is_file() else None,
        "old_key_files": (*old, handed_old) if handed_old.is_file() else old,
    }
