"""docs/ROLES.md has every operation of the API with its role, as the table in the code has it.

`python tests/docs/test_roles_documented.py` writes the table anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from farmd.api.app import operations
from farmd.api.roles import LEAST, MACHINES, OPEN, permits
from farmd.model.access import LADDER, Role

PAGE = Path(__file__).parents[2] / "docs" / "ROLES.md"
COMMAND = "python tests/docs/test_roles_documented.py"
BEGIN = f"<!-- roles: written by `{COMMAND}`, do not edit -->\n"
END = "<!-- roles: end -->"


def routes() -> dict[tuple[str, str], str]:
    """What each operation does, in its own first sentence."""
    return {
        operation: " ".join(route.description.split()).partition(". ")[0].rstrip(".")
        for operation, route in operations().items()
    }


def rows() -> Iterator[str]:
    told = routes()
    order = list(LADDER)
    for operation in sorted(LEAST, key=lambda each: (order.index(LEAST[each]), each[1], each[0])):
        method, path = operation
        marks = " | ".join("yes" if permits(role, operation) else "–" for role in Role)
        yield f"| `{method} {path}` | {marks} | {told[operation]} |\n"


def table() -> str:
    heads = " | ".join(role.value for role in Role)
    return f"| operation | {heads} | what it does |\n|{'---|' * (len(Role) + 2)}\n" + "".join(rows())


def rewritten(page: str) -> str:
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin, "the marker before the table is missing"
    assert end, "the marker behind the table is missing"
    return before + begin + table() + end + after


def test_the_page_is_as_the_table_in_the_code() -> None:
    page = PAGE.read_text()
    assert page == rewritten(page), f"docs/ROLES.md is behind the code: run `{COMMAND}`"


def test_every_operation_has_a_role_and_every_role_an_operation() -> None:
    assert routes().keys() == LEAST.keys()
    assert set(LEAST.values()) == set(LADDER)
    assert LEAST.keys() >= MACHINES
    assert not {path for _, path in LEAST} & OPEN


def test_reading_is_for_viewers_and_changing_is_not() -> None:
    for (method, _), least in LEAST.items():
        assert method in ("GET", "POST", "PATCH", "DELETE", "PUT")
        assert method == "GET" or least is not Role.VIEWER


if __name__ == "__main__":
    PAGE.write_text(rewritten(PAGE.read_text()))
