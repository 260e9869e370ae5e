"""List scheduling: whenever a machine and a person are free, a rule picks the build that goes next.

Knows the rules (FIFO, FIFO that takes the same setup first, EDD, earliest deadline, WSPT, LPT, ATCS) and the clock of a
pass. Alike runs share a bucket, so a choice costs the number of buckets and not the length of the queue.
Batches come with a fixed machine and order; this file knows nothing of how they were made.

ATCS (Lee, Bhaskaran and Pinedo 1997), for a build of weight w, duration p, due date d and changeover s
at time t: (w/p) exp(-max(0, d-p-t) / (k1 mean p)) exp(-s / (k2 mean s)); compared by its logarithm.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heapify, heappop, heappush, heapreplace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from farmd.planner.compiled import INFINITY, Compiled, Jobs
from farmd.planner.people import EPSILON_S, NOBODY
from farmd.planner.schedule import Placed, Schedule, valued

Row = NDArray[np.float64]
Key = tuple[int, tuple[float, ...], float]
NO_DUE_S = 30 * 86400.0
MOST_BUCKETS = 2000
BY_RANK = ("fifo", "same", "edd", "deadline")
NEVER = 1e9
"""More than any rank: what needs a changeover goes behind all that needs none."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A dispatching rule; `k1` and `k2` are read by atcs (both) and lpt (`k2`)."""

    name: str
    k1: float = 2.0
    k2: float = 0.5


RULE_OF_POLICY = {
    "fifo": Rule("fifo"),
    "edd": Rule("edd"),
    "wspt": Rule("wspt"),
    "atcs": Rule("atcs", 2.0, 0.5),
}


def rules(makespan: bool) -> Iterator[Rule]:
    """The settings that a plan chooses from, the most promising first."""
    if makespan:
        yield from (Rule("lpt", k2=k2) for k2 in (0.5, 2.0, 0.1, 10.0))
    yield Rule("atcs", 2.0, 0.5)
    for k1, k2 in product((0.5, 4.0, 1.0, 8.0), (0.3, 1.0, 0.1)):
        yield Rule("atcs", k1, k2)
    yield from (Rule("edd"), Rule("wspt"), Rule("fifo"), Rule("atcs", 2.0, 0.01))


def _coarse(key: Key) -> Key:
    """The key of a bucket that also holds durations up to a fifth away; who may run where stays exact."""
    setup, times, weight = key
    rounded = (t if t == INFINITY else float(round(4 * math.log2(max(t, 1.0)))) for t in times)
    return setup, tuple(rounded), weight


class Dispatcher:
    """The buckets of a compiled problem; `run` is one pass."""

    def __init__(self, c: Compiled) -> None:
        self.c = c
        jobs, builds = c.jobs, c.problem.builds
        keys: list[Key] = [
            (jobs.setup[j], tuple(jobs.durations[j]), builds[c.build_of[j]].weight) for j in range(c.runs)
        ]
        if len(set(keys)) > MOST_BUCKETS:
            keys = [_coarse(key) for key in keys]
        buckets: dict[Key, int] = {}
        self.bucket_of: list[int] = []
        entry = []
        for j, key in enumerate(keys):
            if key not in buckets:
                buckets[key] = len(buckets)
                entry.append(j)
            self.bucket_of.append(buckets[key])
        self.size = len(buckets)
        self.setup_of = [setup for setup, _, _ in buckets]
        classes = range(len(c.class_machine))
        times = np.array([jobs.durations[j] for j in entry], dtype=float).reshape(self.size, len(classes))
        weights = np.array([weight for _, _, weight in buckets], dtype=float)
        self.allowed = [np.where(np.isinf(times[:, k]), -np.inf, 0.0) for k in classes]
        self.time = [np.where(np.isinf(times[:, k]), 0.0, times[:, k]) for k in classes]
        self.any_build = [bool(np.isfinite(times[:, k]).any()) for k in classes]
        log_weight = np.log(np.maximum(weights, 1e-9))
        self.urgency = [
            log_weight - np.log(np.maximum(t, 1.0)) + a for t, a in zip(self.time, self.allowed, strict=True)
        ]
        finite = times[np.isfinite(times)]
        self.mean_time = max(float(finite.mean()) if finite.size else 1.0, 1.0)
        rows = np.array(c.change, dtype=float)
        self.change = rows[:, self.setup_of] if self.size else np.zeros((len(rows), 0))
        positive = rows[rows > 0]
        self.mean_change = float(positive.mean()) if positive.size else 1.0
        self._orders()

    def _orders(self) -> None:
        release, deadline = self.c.jobs.release, self.c.jobs.deadline
        finite = [due for dues in self.c.jobs.dues for due, _ in dues if due < INFINITY]
        none = max([self.c.problem.now_s, *release, *finite], default=0.0) + NO_DUE_S
        dues = [dues[0][0] if dues and dues[0][0] < INFINITY else none for dues in self.c.jobs.dues]
        self.due = [min(pair) for pair in zip(dues, deadline, strict=True)]
        runs = range(self.c.runs)
        self.by_release = sorted(runs, key=lambda j: (release[j], j))
        self.by_due = sorted(runs, key=lambda j: (self.due[j], release[j], j))
        self.fifo_rank = {j: i for i, j in enumerate(self.by_release)}
        self.due_rank = {j: i for i, j in enumerate(self.by_due)}
        self.by_deadline = sorted(runs, key=lambda j: (deadline[j], self.due[j], j))
        self.deadline_rank = {j: i for i, j in enumerate(self.by_deadline)}

    def run(self, rule: Rule, jobs: Jobs, queues: list[list[int]]) -> Schedule | None:
        """One pass over all runs, and over the batches in `queues` by machine. None when windows run out."""
        return _Pass(self, rule, jobs, queues).run()


class _Pass:
    """The state of one pass: what waits, and when each machine could next be served."""

    def __init__(self, d: Dispatcher, rule: Rule, jobs: Jobs, queues: list[list[int]]) -> None:
        self.d, self.c, self.rule, self.jobs = d, d.c, rule, jobs
        self.people, self.terms = d.c.people, d.c.terms
        self.people.reset()
        self.terms.reset()
        self.fifo = rule.name in ("fifo", "same")
        self.rank, self.order = d.due_rank, d.by_due
        if self.fifo:
            self.rank, self.order = d.fifo_rank, d.by_release
        elif rule.name == "deadline":
            self.rank, self.order = d.deadline_rank, d.by_deadline
        self.waiting: list[list[int]] = [[] for _ in range(d.size)]
        self.head: Row = np.full(d.size, np.inf)
        self.score: Row = np.empty(d.size)
        self.rows: dict[tuple[int, int], Row] = {}
        self.next_release = 0
        self.left = d.c.runs
        self.queues = queues
        self.queued = [0] * len(queues)
        self.out: dict[int, list[float]] = {}
        self.batches = sum(map(len, queues))
        self.setup, self.left_grams = list(d.c.setup0), list(d.c.left0)
        self.heap: list[tuple[float, int]] = []
        self.placed: list[Placed] = []

    def run(self) -> Schedule | None:
        c = self.c
        for m, ready in enumerate(c.ready):
            self._serve_later(m, ready)
        heapify(self.heap)
        while self.heap and self.left + self.batches:
            at, m = self.heap[0]
            if self.people.limited and not self._uncrewed_batch(m):
                now = self.people.soonest(at, c.clear)[0]
                if at + EPSILON_S < now < INFINITY:
                    heapreplace(self.heap, (now, m))
                    continue
                if now == INFINITY:
                    heappop(self.heap)
                    continue
            heappop(self.heap)
            self._release(at)
            queue, i = self.queues[m], self.queued[m]
            if i < len(queue) and self.jobs.release[queue[i]] <= at:
                self._place_batch(m, queue[i], at)
            else:
                self._choose(m, at)
        return None if self.left + self.batches else valued(c, self.jobs, self.placed)

    def _uncrewed_batch(self, m: int) -> bool:
        return self.queued[m] < len(self.queues[m]) and not self.c.crewed(m)

    def _serve_later(self, m: int, at: float) -> None:
        """Serve the machine at the first time from `at` on when it may have something to do."""
        pending = self.queued[m] < len(self.queues[m])
        builds = self.left > 0 and self.d.size > 0 and self.d.any_build[self.c.class_of[m]]
        if pending and not builds:
            at = max(at, self.jobs.release[self.queues[m][self.queued[m]]])
        elif not pending and not builds:
            return
        if not self._uncrewed_batch(m):
            at = self.people.earliest(at, self.c.clear)[0]
        if at < INFINITY:
            heappush(self.heap, (at, m))

    def _release(self, at: float) -> None:
        release, order = self.c.jobs.release, self.d.by_release
        n = len(order)
        while self.next_release < n and release[order[self.next_release]] <= at + EPSILON_S:
            job = order[self.next_release]
            bucket = self.d.bucket_of[job]
            heappush(self.waiting[bucket], self.rank[job])
            self._set_head(bucket)
            self.next_release += 1

    def _set_head(self, bucket: int) -> None:
        waiting = self.waiting[bucket]
        if not waiting:
            self.head[bucket] = np.inf
        elif self.rule.name in BY_RANK:
            self.head[bucket] = waiting[0]
        else:
            self.head[bucket] = self.d.due[self.order[waiting[0]]]

    def _base(self, k: int, setup: int) -> Row:
        """What of the score does not change with time, for a machine class and the setup on the machine."""
        row = self.rows.get((k, setup))
        if row is None:
            d, rule = self.d, self.rule
            change = d.change[setup] / (rule.k2 * d.mean_change)
            if rule.name == "atcs":
                row = d.urgency[k] - change
            elif rule.name == "wspt":
                row = d.urgency[k]
            elif rule.name == "lpt":
                row = np.log(np.maximum(d.time[k], 1.0)) - change + d.allowed[k]
            elif rule.name == "same":
                row = d.allowed[k] - NEVER * (d.change[setup] > 0)
            else:
                row = d.allowed[k]
            self.rows[(k, setup)] = row
        return row

    def _rate(self, m: int, at: float) -> Row:
        """The score of each bucket's first run for this machine now; minus infinity for none."""
        k = self.c.class_of[m]
        base, score = self._base(k, self.setup[m]), self.score
        if self.rule.name in BY_RANK:
            return np.subtract(base, self.head, out=score)
        if self.rule.name == "atcs":
            np.subtract(self.head, self.d.time[k], out=score)
            np.subtract(score, at, out=score)
            np.maximum(score, 0.0, out=score)
            np.multiply(score, 1.0 / (self.rule.k1 * self.d.mean_time), out=score)
            return np.subtract(base, score, out=score)
        np.multiply(self.head, 1e-12, out=score)
        return np.subtract(base, score, out=score)

    def _choose(self, m: int, at: float) -> None:
        """Place the best build whose work can start now; else come back when one's can."""
        c, setup = self.c, self.setup[m]
        score = self._rate(m, at) if self.d.size else self.score
        later = INFINITY
        while self.d.size:
            bucket = int(score.argmax())
            if score[bucket] == -np.inf:
                break
            change = c.change[setup][self.d.setup_of[bucket]]
            job = self.order[self.waiting[bucket][0]]
            work = c.clear + change + (self._spool_s(m, job) if c.spools else 0.0)
            start, crew = self.people.soonest(at, work)
            if start > at + EPSILON_S:
                later = min(later, start)
                score[self.d.change[setup] >= change] = -np.inf
                continue
            # Before maintenance there may be time for something shorter.
            begins, until = self._terms(m, job, start, work)
            if until <= start:
                self._place(m, bucket, start, crew, work, begins)
                return
            later = min(later, until)
            score[bucket] = -np.inf
        if self.next_release < c.runs:
            later = min(later, max(at, c.jobs.release[self.d.by_release[self.next_release]]))
        if self.queued[m] < len(self.queues[m]):
            later = min(later, max(at, self.jobs.release[self.queues[m][self.queued[m]]]))
        if later < INFINITY:
            self._serve_later(m, later)

    def _spool_s(self, m: int, job: int) -> float:
        """What a change of spool takes if the run were the machine's next."""
        changed = self.setup[m] != self.c.jobs.setup[job]
        return self.c.spool_s(list(self.left_grams), m, job, changed=changed)

    def _terms(self, m: int, job: int, at: float, work: float) -> tuple[float, float]:
        """When it would start, and until when the machine is shut for it: `at` where it is not."""
        takes = self.jobs.durations[job][self.c.class_of[m]]
        start = at + work
        if not self.terms.binding:
            return start, at
        start = self.terms.powered(m, start, takes)
        return start, self.terms.open_at(m, at, start + takes)

    def _place(self, m: int, bucket: int, at: float, crew: int, work: float, start: float) -> None:
        c = self.c
        job = self.order[heappop(self.waiting[bucket])]
        self._set_head(bucket)
        self.people.take(crew, at, work)
        takes = c.jobs.durations[job][c.class_of[m]]
        if self.terms.binding:
            self.terms.take(m, start, takes)
        if c.spools:
            c.spool_s(self.left_grams, m, job, changed=self.setup[m] != c.jobs.setup[job])
        end = start + takes
        self.placed.append(Placed(job, m, crew, at, start, end))
        self.setup[m] = c.jobs.setup[job]
        self.left -= 1
        self._serve_later(m, c.free_again(m, end, self.out))

    def _place_batch(self, m: int, job: int, at: float) -> None:
        c = self.c
        work = c.clear if c.crewed(m) else 0.0
        takes = self.jobs.durations[job][c.class_of[m]]
        if self.terms.binding:
            at, crew, start = self.terms.begin(self.people, m, at, work, takes, attended=c.crewed(m))
            if at == INFINITY:
                return
            self.terms.take(m, start, takes)
        else:
            at, crew = self.people.soonest(at, work) if c.crewed(m) else (at, NOBODY)
            start = at + work
        self.people.take(crew, at, work)
        end = start + takes
        self.placed.append(Placed(job, m, crew, at, start, end))
        self.queued[m] += 1
        self.batches -= 1
        self._serve_later(m, c.free_again(m, end, self.out))
