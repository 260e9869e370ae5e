"""Compiled passes of list scheduling with a rule that is tuned to the problem.

The rule is ATCS with one term more: a machine that ends while nobody is there stands still, so what ends in the
morning goes on in the evening. Knows how its three parameters are sought; `kernel_passes.py` is the pass.
"""

from __future__ import annotations

import math
from random import Random
from typing import NamedTuple

import numpy as np

from farmd.planner import kernel
from farmd.planner.budget import Meter
from farmd.planner.compiled import INFINITY, Compiled
from farmd.planner.greedy import Dispatcher
from farmd.planner.kernel_arrays import blank, like, shop_of, timed
from farmd.planner.kernel_data import Shop, State
from farmd.planner.kernel_passes import Buckets, dispatch
from farmd.planner.schedule import Schedule

MOST_PASSES = 40
SPREAD = 0.6
"""How far, as the logarithm of a factor, a parameter is drawn from the best one known."""


class Weights(NamedTuple):
    """`k1` and `k2` of ATCS, and `k3`: mean durations that a mean duration of standing still is worth."""

    k1: float
    k2: float
    k3: float


FIRST = (Weights(2.0, 0.5, 3.0), Weights(2.0, 0.5, 1.0), Weights(1.0, 0.5, 3.0), Weights(2.0, 0.5, 0.0))


def tuned_pass(c: Compiled, d: Dispatcher, meter: Meter, rng: Random) -> Schedule | None:
    """The best schedule of some passes, at least one; for builds alone. None when windows run out in each."""
    jobs = c.jobs
    shop = shop_of(c, jobs)
    buckets = _buckets(d, len(c.ready))
    state = blank(shop, len(c.ready), _room(c))
    best, best_cost, weights = like(state), INFINITY, FIRST[0]
    longest = 0.0
    for i in range(MOST_PASSES):
        if i > 0 and not meter.spend(like_s=longest):
            break
        began = meter.elapsed_s()
        tried = FIRST[i] if i < len(FIRST) else _near(weights, rng)
        cost = _run(d, tried, shop, state, buckets)
        if cost < best_cost:
            kernel.copy(state, best)
            best_cost, weights = cost, tried
        longest = max(longest, meter.elapsed_s() - began)
    return None if best_cost == INFINITY else timed(c, jobs, shop, best)


def _near(w: Weights, rng: Random) -> Weights:
    k1, k2, k3 = (value * math.exp(rng.gauss(0.0, SPREAD)) for value in w)
    return Weights(k1, k2, k3)


def _room(c: Compiled) -> int:
    """How long a row may grow."""
    return min(c.runs, 4 * c.runs // max(1, len(c.ready)) + 64) + 2


def _buckets(d: Dispatcher, machines: int) -> Buckets:
    bucket = np.array(d.bucket_of, dtype=np.int32)
    members = np.array(d.by_due, dtype=np.int32)
    members = members[np.argsort(bucket[members], kind="stable")]
    rank = np.empty(len(members), np.int32)
    rank[members] = np.arange(len(members), dtype=np.int32)
    longest_first = [np.log(np.maximum(t, 1.0)) for t in d.time]
    urgency = longest_first if d.c.makespan else d.urgency
    return Buckets(
        members=members,
        due=np.array(d.due, dtype=float),
        by_release=np.array(d.by_release, dtype=np.int32),
        rank=rank,
        bucket=bucket,
        end=np.cumsum(np.bincount(bucket, minlength=d.size)).astype(np.int32),
        setup=np.array(d.setup_of, dtype=np.int32),
        urgency=np.ascontiguousarray(urgency),
        time=np.ascontiguousarray(
            [np.where(a < 0.0, np.inf, t) for a, t in zip(d.allowed, d.time, strict=True)]
        ),
        stage=np.zeros(len(members), np.int32),
        head=np.zeros(d.size, np.int32),
        next_at=np.zeros(machines),
    )


def _run(d: Dispatcher, w: Weights, shop: Shop, state: State, buckets: Buckets) -> float:
    per_slack = 0.0 if d.c.makespan else 1.0 / (w.k1 * d.mean_time)
    per_change = 1.0 / (w.k2 * d.mean_change)
    return float(dispatch(shop, state, buckets, per_change, per_slack, w.k3 / d.mean_time))
