"""Which parts are in a batch: a chain of numbers for each, and whole states copied. Compiled; knows arrays only."""

from __future__ import annotations

from farmd.planner.jit import Floats, Ints, compiled
from farmd.planner.powder.data import (
    AND,
    BATCH,
    BEFORE,
    COUNT,
    END,
    HEAD,
    IN,
    IN_TOO,
    NEXT,
    NONE,
    OF,
    OUT,
    OUT_TOO,
    State,
)


@compiled
def unlink(batch_is: Ints, chain: Ints, p: int) -> None:
    b, before, after = int(chain[p, BATCH]), int(chain[p, BEFORE]), int(chain[p, NEXT])
    if before == NONE:
        batch_is[b, HEAD] = after
    else:
        chain[before, NEXT] = after
    if after != NONE:
        chain[after, BEFORE] = before


@compiled
def link(batch_is: Ints, chain: Ints, p: int, b: int) -> None:
    """Put a part, which is in no batch, at the head of one."""
    head = int(batch_is[b, HEAD])
    chain[p, BATCH], chain[p, NEXT], chain[p, BEFORE] = b, head, NONE
    if head != NONE:
        chain[head, BEFORE] = p
    batch_is[b, HEAD] = p


@compiled
def take_sums(batch: Floats, batch_is: Ints, source: int, target: int) -> None:
    for k in range(6):
        batch[target, k] = batch[source, k]
    batch_is[target, COUNT] = batch_is[source, COUNT]


@compiled
def latest(times: Floats, length: Ints) -> float:
    """The last end of all machines."""
    top = 0.0
    for m in range(len(length)):
        top = max(top, times[m, length[m], END])
    return top


@compiled
def copy(source: State, target: State) -> None:
    """Make `target` what `source` is, the random word apart."""
    for m in range(len(source.length)):
        n = source.length[m]
        target.length[m] = n
        for k in range(n):
            target.row[m, k] = source.row[m, k]
        for k in range(n + 1):
            for i in range(3):
                target.times[m, k, i] = source.times[m, k, i]
    for p in range(len(source.chain)):
        for i in range(3):
            target.chain[p, i] = source.chain[p, i]
            target.lies[p, i] = source.lies[p, i]
    for b in range(len(source.batch)):
        for i in range(6):
            target.batch[b, i] = source.batch[b, i]
        for i in range(4):
            target.batch_is[b, i] = source.batch_is[b, i]
    for b in range(len(source.spare)):
        target.spare[b] = source.spare[b]


@compiled
def gather(batch_is: Ints, chain: Ints, members: Ints, made_of: Ints, d: int) -> tuple[int, int]:
    """The parts of spare batch `d` into `members`: how many lay together before, and how many now.

    Of two batches that are joined it is AND's that come first.
    """
    count, out, out_too = 0, int(made_of[d, OUT]), int(made_of[d, OUT_TOO])
    b = int(made_of[d, AND] if made_of[d, AND] != NONE else made_of[d, OF])
    p = int(batch_is[b, HEAD]) if b != NONE else NONE
    while p != NONE:
        if p != out and p != out_too:
            members[count] = p
            count += 1
        p = int(chain[p, NEXT])
    kept = count
    if made_of[d, AND] != NONE:
        p = int(batch_is[made_of[d, OF], HEAD])
        while p != NONE:
            members[count] = p
            count += 1
            p = int(chain[p, NEXT])
    for k in range(IN, IN_TOO + 1):
        if made_of[d, k] != NONE:
            members[count] = made_of[d, k]
            count += 1
    return kept, count
