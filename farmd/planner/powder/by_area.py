"""Outlines batched by area first and laid afterwards: thousands of moves by area take no longer than one layout.

A plate is trusted with a share of its area, which is learnt for each machine: more after batches that all lay, less
after one that did not. What found no place goes where it costs least, on boards. Knows no move and no acceptance.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from random import Random
from time import perf_counter

import numpy as np

from farmd.planner.budget import Meter
from farmd.planner.compiled import Compiled
from farmd.planner.jit import Floats
from farmd.planner.powder.aim import Aim
from farmd.planner.powder.anneal import anneal
from farmd.planner.powder.arrays import draft_of, like, lying_of, rows_of, state_of
from farmd.planner.powder.board import AREA_ONLY
from farmd.planner.powder.data import AREA, PLATE, Beds
from farmd.planner.powder.fill import fill, settle_all
from farmd.planner.powder.plates import Plates
from farmd.planner.powder.rows import Rows
from farmd.planner.powder.search import threads_of

FIRST_TRUST, LEAST_TRUST, MOST_TRUST, TRUST_STEP = 0.7, 0.3, 0.95, 0.015
MOVES_OF_A_PART, LONGER = 4_000, 1.2
"""By area, in the first attempt, and how many times more after each that found nothing better."""
MOST_MOVES = 1_000_000
"""In the first attempt."""
LAYINGS, LATE = 5.0, 1.5
"""How much longer than the filling, or than the attempt before, an attempt may be."""
STRETCHES = 12
"""Of an attempt, each a little colder."""
MOVES_OF_A_LAYOUT = 300
"""By area, in the time that a part is tried on a board."""
MOVES_PER_UNIT = 50


@dataclass(slots=True)
class ByArea:
    """Attempts, each from the best batches known, at `trust` by machine."""

    c: Compiled
    plates: Plates
    beds: Beds
    trust: Floats
    rng: Random

    @staticmethod
    def make(c: Compiled, plates: Plates, aim: Aim, rng: Random) -> ByArea:
        return ByArea(c, plates, aim.beds, np.full(len(plates.beds), FIRST_TRUST), rng)

    def trusted(self) -> Beds:
        """The beds with as much area as is trusted; a part that is larger fills one by itself."""
        part, bed = self.beds.part.copy(), self.beds.bed.copy()
        for i, m in enumerate(self.plates.beds):
            if self.plates.lays_outlines(m):
                bed[i, PLATE] *= self.trust[i]
        part[:, AREA] = np.minimum(part[:, AREA], bed[:, PLATE].min())
        return self.beds._replace(part=part, bed=bed)

    def attempt(self, rows: Rows, score: float, heats: Floats, moves: int, meter: Meter) -> Rows | None:
        """Batches that lie, from these; None where a part found no place at all."""
        beds = self.trusted()
        state = state_of(self.c, self.plates, beds, rows, self.rng)
        best, draft = like(state), draft_of(state)
        lying = lying_of(self.plates, state)
        ground = self.plates.ground._replace(how=np.array([AREA_ONLY], np.int32))
        found = np.inf
        for heat in heats:
            if not meter.counted and meter.progress() >= 1.0:
                break
            _, found = anneal(beds, ground, state, best, draft, lying, found, moves, score * heat)
        left = np.zeros(len(beds.part), np.int32)
        failed = np.zeros(len(self.trust), np.int32)
        count = settle_all(self.beds, self.plates.ground, best, draft, lying, left, failed)
        for i, m in enumerate(self.plates.beds):
            if self.plates.lays_outlines(m) and best.length[i] > 0:
                step = -TRUST_STEP if failed[i] else TRUST_STEP
                self.trust[i] = min(MOST_TRUST, max(LEAST_TRUST, self.trust[i] + step))
        if fill(self.beds, self.plates.ground, best, draft, lying, left[:count], len(left)):
            return None
        return rows_of(self.c, self.plates, best)


def by_area(
    c: Compiled, plates: Plates, rows: Rows, aim: Aim, meter: Meter, rng: Random, goal: float, laid_s: float
) -> Rows:
    """The best batches found until the meter ends or the score (of the aim) is down to `goal`.

    No attempt is begun that is likely to outlast the meter; `laid_s` is how long it took to lay all parts.
    """
    threads = threads_of(meter)
    walks = [ByArea.make(c, plates, aim, Random(rng.getrandbits(64))) for _ in range(threads)]
    best, least = rows, aim.score(rows)
    count = len(plates.area)
    tries, took = min(float(MOVES_OF_A_PART), MOST_MOVES / count), LAYINGS * laid_s

    def attempt(walk: ByArea) -> Rows | None:
        moves = max(1, int(tries) * count // STRETCHES)
        hot = aim.hot * 10.0 ** -walk.rng.random()
        return walk.attempt(
            best, least, hot * (aim.cold / hot) ** np.linspace(0.0, 1.0, STRETCHES), moves, meter
        )

    with ThreadPoolExecutor(threads) as pool:
        while least > goal and meter.spend(
            1 + int(tries + MOVES_OF_A_LAYOUT) * count // MOVES_PER_UNIT, like_s=took
        ):
            began, before = perf_counter(), least
            for made in list(pool.map(attempt, walks)):
                if made is not None and (score := aim.score(made)) < least:
                    best, least = made, score
            if least == before:
                tries *= LONGER
            took = 0.0 if meter.counted else max(LAYINGS * laid_s, LATE * (perf_counter() - began))
    return best
