"""Once a shop lists its materials, a name that is none of them is told, with what is near."""

from __future__ import annotations

import pytest
from farmshop import shop, spec

from farmd.daemon.shop import MaterialSpec


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (None, ""),
        ("PLA", ""),
        ("PLA black", ""),
        ("pla", "did you mean 'PLA'?"),
        ("PETg black", "did you mean 'PETG'?"),
        ("UNOBTAINIUM", "none of the shop's materials (PETG, PLA)"),
    ],
)
def test_unlisted_material_is_told(name: str | None, told: str) -> None:
    listed = {each: MaterialSpec(each) for each in ("PLA", "PETG")}
    answer = shop(spec(), materials=listed).unlisted(name)
    assert told in answer
    assert (answer == "") is (told == "")


def test_without_a_list_every_material_is_taken() -> None:
    assert shop(spec(), materials={}).unlisted("UNOBTAINIUM") == ""
