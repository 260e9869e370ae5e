"""What the daemon's tests share is in `farmshop.py` and `crash*.py`; here it is made importable."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog


def _load(name: str) -> None:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


for _name in ("farmshop", "crashpeople", "crashproof", "crashshop", "crashfast", "powercut"):
    if _name not in sys.modules:
        _load(_name)


@pytest.fixture(autouse=True)
def quiet_logs() -> Iterator[None]:
    """Nothing is printed; `capture_logs` still sees everything."""
    before = structlog.get_config()
    structlog.configure(processors=[], logger_factory=structlog.ReturnLoggerFactory())
    yield
    structlog.configure(**before)
