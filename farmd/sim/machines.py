"""Simulated machines of a configuration: their chances set, their truth kept where it is wanted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from farmd.config import Config

SIMULATED = "simulated"


def simulated_names(config: Config) -> set[str]:
    return {machine.name for machine in config.machines if machine.driver == SIMULATED}


def with_links(config: Config, under: Mapping[str, Any], over: Mapping[str, Any]) -> Config:
    """The settings of all simulated machines laid between `under` and `over`."""
    machines = tuple(
        machine.model_copy(update={"link": {**under, **machine.link, **over}})
        if machine.driver == SIMULATED
        else machine
        for machine in config.machines
    )
    return config.model_copy(update={"machines": machines})


def with_port(config: Config, name: str, port: str) -> Config:
    """One machine's port replaced: the demo's emulator is on a pseudo-terminal of its own."""
    machines = tuple(
        machine.model_copy(update={"link": {**machine.link, "port": port}})
        if machine.name == name
        else machine
        for machine in config.machines
    )
    return config.model_copy(update={"machines": machines})


def at_home_in(config: Config, data_dir: Path, listen: str | None = None) -> Config:
    """The farm with everything it keeps in `data_dir`."""
    farm = config.farm.model_copy(update={"data_dir": data_dir})
    database = config.database.model_copy(update={"url": f"sqlite:///{data_dir / 'farmd.sqlite'}"})
    update: dict[str, Any] = {"token_file": data_dir / "token"}
    if listen is not None:
        update["listen"] = listen
    api = config.api.model_copy(update=update)
    return config.model_copy(update={"farm": farm, "database": database, "api": api})
