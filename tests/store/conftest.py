"""What the store's tests share."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine

from farmd.store import Vault

FARMLIFE = Path(__file__).with_name("farmlife.py")


@pytest.fixture(scope="session")
def farmlife() -> ModuleType:
    """The module of `FarmLife`."""
    spec = importlib.util.spec_from_file_location("farmlife", FARMLIFE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(tmp_path / "vault")


@pytest.fixture
def tamper(store_url: str) -> Any:
    """`with tamper() as connection`: change the database behind the store's back."""

    @contextmanager
    def behind(triggers: bool = False) -> Iterator[Connection]:
        engine = create_engine(store_url)
        try:
            with engine.begin() as connection:
                if not triggers:
                    _without_triggers(connection)
                yield connection
        finally:
            engine.dispose()

    return behind


def _without_triggers(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        for name in ("update", "delete", "replace"):
            connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS journal_no_{name}")
    else:
        connection.exec_driver_sql("ALTER TABLE journal DISABLE TRIGGER USER")
