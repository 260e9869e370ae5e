"""A compiled problem and its batches as the arrays of the kernel, and what the kernel found as rows.

Knows the layout of `data.Beds` and `data.State`, where machines are those with a chamber only. Knows no move
and no acceptance.
"""

from __future__ import annotations

from random import Random

import numpy as np

from farmd.planner.compiled import INFINITY, Compiled
from farmd.planner.powder import chain, data, kernel
from farmd.planner.powder.board import BOXES, OUTLINES, Lying, lift
from farmd.planner.powder.boxes import desk_of
from farmd.planner.powder.data import Beds, Draft, State
from farmd.planner.powder.plates import Plates
from farmd.planner.powder.rows import Rows, sort_row

TIE_PRICE = 1e-6
"""Weighted seconds of tardiness that a second of earlier end is worth in the search: it breaks ties."""
MOST_PLACES = 4_000_000
"""In all rows together."""


def beds_of(c: Compiled, plates: Plates) -> Beds:
    """The arrays of a problem."""
    parts = [
        (
            part.area_mm2, part.volume_mm3, part.height_mm, part.release_s,
            INFINITY if part.due_s is None else part.due_s,
            0.0 if part.due_s is None else part.weight,
            c.stability_price_s,
        )
        for part in c.problem.parts
    ]  # fmt: skip
    position = {m: i for i, m in enumerate(plates.beds)}
    fits = [[position[m] for m in fit] for fit in plates.fits]
    firsts = np.cumsum([0, *(len(fit) for fit in fits)])
    can = np.zeros((len(parts), len(position)), np.int32)
    for p, fit in enumerate(fits):
        can[p, fit] = 1
    by_area = np.argsort(np.array(plates.area), kind="stable")
    rank = np.argsort(by_area)
    wishes = [position.get(m, -1) if m >= 0 else -1 for m in c.part_wish]
    beds = np.array([_bed(c, plates, m) for m in plates.beds], dtype=float)
    norm_s = _norm_s(c, plates, beds) if c.makespan else 0.0
    spans = sorted(
        (start, end) for crew in c.people.crews for start, end in zip(crew.starts, crew.ends, strict=True)
    )
    windows = np.array([[s for s, _ in spans], [e for _, e in spans], [e for _, e in spans]], dtype=float)
    windows[data.REACH] = np.maximum.accumulate(windows[data.CLOSE])
    flow = 0.0 if c.makespan else TIE_PRICE
    return Beds(
        part=np.array(parts, dtype=float).reshape(-1, 7),
        part_is=np.array([wishes, firsts[:-1], firsts[1:], rank, by_area], dtype=np.int32).T.copy(),
        fits=np.array([m for fit in fits for m in fit], dtype=np.int32),
        can=can,
        bed=beds,
        windows=windows,
        terms=np.array([not c.people.free, c.clear, c.price, flow, norm_s], dtype=float),
    )


def _bed(c: Compiled, plates: Plates, m: int) -> tuple[float, ...]:
    chamber = c.problem.machines[m].chamber
    assert chamber is not None
    return (
        plates.limit[m], plates.most_volume[m], chamber.mm_per_mm3,
        chamber.setup_s, chamber.s_per_mm3, chamber.s_per_mm, c.ready[m], c.cooldown[m], float(chamber.crewed),
    )  # fmt: skip


def _norm_s(c: Compiled, plates: Plates, beds: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
    """About the makespan."""
    each = [
        min(c.batch(m, (p,)).duration_s * plates.share(p, m) for m in fit)
        for p, fit in enumerate(plates.fits)
    ]
    latest = max(part.release_s for part in c.problem.parts)
    return max(latest, float(beds[:, data.READY].min())) + 2.0 * sum(each) / len(beds) + 1.0


def state_of(c: Compiled, plates: Plates, beds: Beds, rows: Rows, rng: Random) -> State:
    """The batches of these rows; parts that are in none are in no chain."""
    parts, machines = len(beds.part), len(plates.beds)
    cap = min(parts, MOST_PLACES // machines)
    state = State(
        row=np.zeros((machines, cap), np.int32),
        times=np.zeros((machines, cap + 1, 3)),
        length=np.array([len(rows[m]) for m in plates.beds], np.int32),
        batch=np.zeros((parts + 2, 6)),
        batch_is=np.full((parts + 2, 4), data.NONE, np.int32),
        chain=np.full((parts, 3), data.NONE, np.int32),
        spare=np.zeros(parts + 1, np.int32),
        random=np.array([rng.getrandbits(63) | 1], dtype=np.uint64),
        lies=np.zeros((parts, 3), np.int32),
    )
    b = 0
    for i, m in enumerate(plates.beds):
        for k, batch in enumerate(rows[m]):
            state.row[i, k] = b
            for p, *lies in plates.lain.get((m, frozenset(batch.parts)), ()):
                state.lies[p] = lies
            for p in batch.parts:
                chain.link(state.batch_is, state.chain, p, b)
            b += 1
    state.spare[: parts - b] = np.arange(b, parts)
    state.spare[-1] = parts - b
    kernel.lay(beds, state, draft_of(state))
    return state


def lying_of(plates: Plates, state: State) -> Lying:
    """The boards of the batches."""
    ground = plates.ground
    parts = len(state.chain)
    columns, rows = (int(most) + 1 for most in ground.cells.max(axis=0))
    boards = ground.how[0] == OUTLINES
    desk = desk_of(parts if ground.how[0] == BOXES else 0)
    lying = Lying(
        boards=np.zeros((len(state.batch) if boards else 1, rows, -(-columns // 64)), dtype=np.uint64),
        drawn=np.zeros((parts, 3), np.int32),
        densest=np.ones(len(plates.beds)),
        members=np.zeros(parts, np.int32),
        order=np.zeros(parts, np.int32),
        sky=desk.sky,
        spots=desk.lies,
        line=np.zeros((2, -(-columns // 64)), dtype=np.uint64),
    )
    for i, m in enumerate(plates.beds):
        if plates.lays_outlines(m):
            for b in state.row[i, : state.length[i]].tolist():
                for p in np.flatnonzero(state.chain[:, data.BATCH] == b).tolist():
                    lift(ground, lying, state.lies, b, p)
    return lying


def like(state: State) -> State:
    """A state of the same size, with everything copied."""
    return State._make(array.copy() for array in state)


def draft_of(state: State) -> Draft:
    cap = state.row.shape[1]
    return Draft(np.zeros((2, cap + 1), np.int32), np.zeros((2, cap + 2, 3)), np.zeros((2, 6), np.int32))


def score_of(beds: Beds, state: State) -> float:
    """The makespan, or the cost, of the batches."""
    if beds.terms[data.NORM_S] > 0.0:
        return float(chain.latest(state.times, state.length))
    return float(state.times[range(len(state.length)), state.length, data.COST].sum())


def rows_of(c: Compiled, plates: Plates, state: State) -> Rows:
    """The batches of each machine in order; where their parts lie is left with the plates."""
    members: dict[int, list[int]] = {}
    for p, b in enumerate(state.chain[:, data.BATCH].tolist()):
        if b != data.NONE:
            members.setdefault(b, []).append(p)
    rows: Rows = [[] for _ in c.ready]
    for m, row, n in zip(plates.beds, state.row.tolist(), state.length.tolist(), strict=True):
        rows[m] = sort_row(c, [c.batch(m, tuple(members[b])) for b in row[:n]])
        if plates.lays_outlines(m):
            for batch in rows[m]:
                lies = tuple((p, *state.lies[p].tolist()) for p in batch.parts)
                plates.lain[m, frozenset(batch.parts)] = lies
    return rows
