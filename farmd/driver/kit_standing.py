"""The promises that hold in every scene: each judges what one driver instance told there.

A function yields one sentence for each way in which its promise is broken; its docstring *is* the
promise. Knows no driver, and no scene.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterator

from farmd.driver.events import Ended, Event, Observed, Paused, Progressed, Resumed, Started
from farmd.driver.kit_stage import Watch
from farmd.model.work import Outcome


def observed_first(watch: Watch) -> Iterator[str]:
    """The first event after every connect is `Observed`."""
    if watch.connections and not (watch.events or watch.losses or watch.fell):
        yield "nothing was told after the connect"
    for told in watch.connections:
        if told and not isinstance(told[0], Observed):
            yield f"the first event after a connect was {told[0]}"


def events_are_known(watch: Watch) -> Iterator[str]:
    """Only the events of `farmd.driver` are told, with values that can be."""
    known = typing.get_args(Event)
    for event in watch.events:
        if type(event) not in known:
            yield f"{event!r} is no event of farmd.driver"
        elif isinstance(event, Progressed) and not 0.0 <= event.fraction <= 1.0:
            yield f"a fraction lies between 0 and 1: {event}"
        elif isinstance(event, Ended) and (event.used_g < 0.0 or event.ready_in_s < 0.0):
            yield f"neither material nor time can be negative: {event}"
        elif isinstance(event, Ended) and event.outcome is Outcome.NOT_STARTED:
            yield f"a run that did not start did not end: {event}"


def run_ids_are_ours(watch: Watch) -> Iterator[str]:
    """Events of runs name run ids that were handed over and not refused; none is invented."""
    ours = set(watch.orders.given) - set(watch.orders.refused)
    for event in watch.events:
        if isinstance(event, Started | Paused | Resumed | Ended | Progressed) and event.run_id not in ours:
            yield f"nobody handed over the run of {event}"


def started_has_evidence(watch: Watch) -> Iterator[str]:
    """`Started` says by what it is known, and is told once per connection."""
    for told in watch.connections:
        seen: set[str] = set()
        for event in told:
            if not isinstance(event, Started):
                continue
            if not event.evidence.strip():
                yield f"no evidence is given: {event}"
            if event.run_id in seen:
                yield f"{event.run_id} was told twice as started"
            seen.add(event.run_id)


def ended_once(watch: Watch) -> Iterator[str]:
    """A run's `Ended` is told once."""
    for run_id in dict.fromkeys(watch.orders.given):
        if (times := len(watch.told(Ended, run_id))) > 1:
            yield f"the end of {run_id} was told {times} times"


def start_at_most_once(watch: Watch) -> Iterator[str]:
    """No run reaches the machine more than once, whatever happens."""
    starts = list(watch.rig.starts())
    named = [run_id for run_id in starts if run_id]
    for run_id in sorted({run_id for run_id in named if named.count(run_id) > 1}):
        yield f"{run_id} reached the machine {named.count(run_id)} times"
    orders = len(watch.orders.given) - len(watch.orders.refused)
    if len(starts) > orders:
        yield f"{len(starts)} STARTs reached the machine for {orders} orders not refused"


def serve_errors_are_allowed(watch: Watch) -> Iterator[str]:
    """`serve` never returns, and raises nothing but `LinkLost`, `ProtocolError` and `MachineFault`."""
    if watch.fell:
        yield f"serve ended: {watch.fell}"


STANDING: tuple[Callable[[Watch], Iterator[str]], ...] = (
    observed_first,
    events_are_known,
    run_ids_are_ours,
    started_has_evidence,
    ended_once,
    start_at_most_once,
    serve_errors_are_allowed,
)
