"""The demo's judgement of a serial transcript."""

from __future__ import annotations

import pytest

from farmd.sim.demo import only_added

A, B = [b"G28", b"G1 X1", b"G1 X2"], [b"G28", b"G1 Y1"]
ADDED = b"M105"


@pytest.mark.parametrize(
    ("executed", "files", "exact"),
    [
        ([], [], True),
        ([b"M110 N0", *A, ADDED, *B, b"M400"], [(A, True), (B, True)], True),
        ([*A[:2], ADDED, A[2]], [(A, True)], True),
        (A[:2], [(A, True)], False),
        (A[:2], [(A, False)], True),
        ([*A[:2], b"M104 S0", *B], [(A, False), (B, True)], True),
        ([*A, *A], [(A, True)], False),
        ([A[0], A[2]], [(A, True)], False),
        ([A[0], A[2]], [(A, False)], False),
        ([b"G1 X9", *A], [(A, True)], False),
        ([*A, b"G1 X9"], [(A, True)], False),
    ],
)
def test_only_what_is_listed_may_stand_between(
    executed: list[bytes], files: list[tuple[list[bytes], bool]], exact: bool
) -> None:
    assert only_added(executed, files) is exact
