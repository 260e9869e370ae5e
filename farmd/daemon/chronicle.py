"""The chronicle: what the shop made, one log entry for each run that ended and each job that was counted.

Listens to the ledger and logs; changes nothing and keeps nothing.
"""

from __future__ import annotations

import structlog

from farmd.daemon.ledger import Record
from farmd.model import facts as f
from farmd.model.work import Build, Job, Run

log = structlog.get_logger("chronicle")


def chronicle(records: tuple[Record, ...]) -> None:
    """A listener of the ledger. Logs `run finished` and `parts counted`."""
    for record in records:
        match record.fact:
            case f.RunEnded():
                _run_finished(record, record.fact)
            case f.MachineCleared():
                _parts_counted(record, record.fact)


def _run_finished(record: Record, fact: f.RunEnded) -> None:
    run = next(entity for entity in record.changed if isinstance(entity, Run))
    build = next(entity for entity in record.changed if isinstance(entity, Build))
    log.info(
        "run finished",
        machine=run.machine,
        run=run.id,
        build=build.id,
        jobs=[item.job_id for item in build.items],
        outcome=fact.outcome.value,
        busy_s=0.0 if run.started_at is None else round(fact.at - run.started_at, 3),
        parts=fact.made,
    )


def _parts_counted(record: Record, fact: f.MachineCleared) -> None:
    designs = {entity.id: entity.design for entity in record.changed if isinstance(entity, Job)}
    for count in fact.counts:
        log.info(
            "parts counted",
            job=count.job_id,
            machine=fact.machine,
            design=designs[count.job_id],
            good=count.good,
            scrap=count.scrap,
        )
