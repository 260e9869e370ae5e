"""Every driver says by what it knows that a run has started; without that nobody can settle a doubt."""

from __future__ import annotations

import pytest

from farmd.driver import driver_names, find_driver


@pytest.mark.parametrize("name", driver_names())
def test_a_driver_states_its_evidence(name: str) -> None:
    assert len(find_driver(name).capabilities.evidence.split()) > 4
