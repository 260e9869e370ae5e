"""What must hold of a shop (`crashshop.py`) however it was crashed: no work lost, no start twice or without a
permit, parts counted once, the chain whole, the record true to what the machines did."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections import Counter
from pathlib import Path

from crashpeople import MACHINES, Acked

from farmd.model.errors import ConfigError
from farmd.model.lifecycle import JobState, RunState
from farmd.model.work import Outcome
from farmd.store import Store, Vault, verify
from farmd_drivers.simulated.machine import Answer
from farmd_drivers.simulated.truth import TruthFiles

ALL = 1 << 31
DATABASE = ("farmd.sqlite", "farmd.sqlite-wal")


def violations(folder: Path, *, finished: bool = True, folded: bool = True) -> list[str]:
    """Everything that is wrong after all those crashes; empty when all is well.

    Without `folded` the chain and the state, which are not mended later, are left to a later look.
    """
    data = folder / "data"
    with Store.open(f"sqlite:///{data / 'farmd.sqlite'}", data_dir=data) as store:
        wrong = [f"verify: {found}" for found in verify(store, Vault(data / "vault"))] if folded else []
        events = store.events(limit=ALL)
        jobs = {job.id: job for job in store.jobs(limit=ALL)}
        runs = {run.id: run for run in store.runs(limit=ALL)}
        farm = store.load().farm
    wrong += _lost_work(folder, jobs, events)
    wrong += _starts(folder, events, runs)
    wrong += _counts(jobs, events)
    if finished:
        wrong += [f"{job.id} is {job.state}, {job.good} of {job.quantity}" for job in farm.jobs.values()]
        wrong += [f"{build.id} is left over, {build.state}" for build in farm.builds.values()]
        wrong += [
            f"{run.id} is left open, {run.state}"
            for run in farm.runs.values()
            if run.state is not RunState.ENDED
        ]
    return wrong


def _lost_work(folder: Path, jobs: dict, events: list) -> list[str]:
    wrong = []
    cleared = Counter(
        (
            e.body["machine"],
            e.body["run_id"],
            sum(c["good"] for c in e.body["counts"]),
            sum(c["scrap"] for c in e.body["counts"]),
        )
        for e in events
        if e.kind == "MachineCleared"
    )
    quantity: dict = {}
    for kind, *words in Acked(folder).lines():
        match kind:
            case "job" | "edit":
                if words[0] not in jobs:
                    wrong.append(f"job {words[0]} was accepted and is lost")
                quantity[words[0]] = words[1]
            case "clear" if cleared[tuple(words)] != 1:
                wrong.append(f"clearing {words} is recorded {cleared[tuple(words)]} times")
            case "cancel" if jobs[words[0]].state is not JobState.CANCELLED:
                wrong.append(f"job {words[0]} was cancelled and is {jobs[words[0]].state}")
    edited = {e.body["job_id"] for e in events if e.kind == "JobEdited"}
    wrong += [
        f"{job_id} was accepted for {wanted} and is for {jobs[job_id].quantity}"
        for job_id, wanted in quantity.items()
        if job_id in jobs and job_id not in edited and jobs[job_id].quantity != wanted
    ]
    return wrong


def _starts(folder: Path, events: list, runs: dict) -> list[str]:
    """Every physical start: once, by an intent on record, which spent a permit that was given and not void."""
    wrong = []
    permits: dict = {}
    intents = {}
    fence = 0
    for event in events:
        body = event.body
        match event.kind:
            case "DaemonStarted":
                fence = body["fence"]
            case "MachineCleared":
                if permits.get(body["machine"]) is not None:
                    wrong.append(f"a second permit for {body['machine']} at {event.seq}")
                permits[body["machine"]] = body["permit_id"]
            case "PermitVoided" | "ForeignRunStarted" | "ForeignRunEnded":
                permits[body["machine"]] = None
            case "MachineConnected" if body["seen"] == "foreign":
                permits[body["machine"]] = None
            case "RunIntended":
                if permits.get(body["machine"]) != body["permit_id"]:
                    wrong.append(f"{body['run_id']} was intended without its permit")
                if body["fence"] != fence:
                    wrong.append(f"{body['run_id']} was intended with an old fence")
                permits[body["machine"]] = None
                intents[body["run_id"]] = body["machine"]
    resolved = {e.body["run_id"] for e in events if e.kind == "RunEnded" and e.actor == "hands"}
    for name in MACHINES:
        files = TruthFiles(folder / "truth", name)
        starts = files.starts()
        for run_id, count in Counter(start.run_id for start in starts).items():
            if count > 1:
                wrong.append(f"{run_id} was started {count} times")
            if intents.get(run_id) != name:
                wrong.append(f"{run_id} was started on {name} without an intent")
        taken = {start.run_id for start in starts if start.answer is Answer.TAKEN}
        for run_id in taken:
            if run_id in runs and runs[run_id].outcome is Outcome.NOT_STARTED:
                wrong.append(f"{run_id} was made on {name} and is recorded as not started")
        truth = files.load()
        for past in truth.history if truth else ():
            run = runs.get(past.run_id)
            if run is not None and run.outcome not in (None, past.outcome) and run.id not in resolved:
                wrong.append(f"{run.id} was {past.outcome} and is recorded as {run.outcome}")
    return wrong


def _counts(jobs: dict, events: list) -> list[str]:
    """Parts are counted once, and a job's numbers are what was counted."""
    wrong = []
    cleared = Counter(e.body["run_id"] for e in events if e.kind == "MachineCleared" and e.body["run_id"])
    wrong += [f"{run_id} was cleared {count} times" for run_id, count in cleared.items() if count > 1]
    ends = Counter(e.body["run_id"] for e in events if e.kind == "RunEnded")
    wrong += [f"{run_id} ended {count} times" for run_id, count in ends.items() if count > 1]
    operation = {e.body["build_id"]: e.body["operation"] for e in events if e.kind == "BuildQueued"}
    of_run = {e.body["run_id"]: operation[e.body["build_id"]] for e in events if e.kind == "RunIntended"}
    good: Counter = Counter()
    scrap: Counter = Counter()
    for event in events:
        for count in event.body.get("counts", ()):
            scrap[count["job_id"]] += count["scrap"]
            if of_run[event.body["run_id"]] == jobs[count["job_id"]].route[-1]:
                good[count["job_id"]] += count["good"]
    for job in jobs.values():
        if job.scrap != scrap[job.id]:
            wrong.append(f"{job.id} has {job.scrap} scrap, counted were {scrap[job.id]}")
        if job.state is JobState.CANCELLED:
            continue
        if job.good + job.surplus < good[job.id] or job.good > good[job.id]:
            wrong.append(f"{job.id} has {job.good} good and {job.surplus} over, counted were {good[job.id]}")
        if job.state is JobState.DONE and job.good < job.quantity:
            wrong.append(f"{job.id} is done with {job.good} of {job.quantity}")
    return wrong


def torn(data: Path, size: int, chance: random.Random) -> list[str]:
    """What is wrong with a record whose write-ahead log was cut anywhere: it must be a whole prefix."""
    with tempfile.TemporaryDirectory(dir=data.parent) as name:
        folder = Path(name)
        for each in DATABASE:
            shutil.copy(data / each, folder / each)
        with Store.open(f"sqlite:///{DATABASE[0]}", data_dir=folder) as store:
            whole = [event.body for event in store.events(limit=1 << 31)]
        for each in DATABASE:
            shutil.copy(data / each, folder / each)
        (folder / f"{DATABASE[0]}-shm").unlink(missing_ok=True)
        os.truncate(folder / DATABASE[1], chance.randint(0, size))
        try:
            with Store.open(f"sqlite:///{DATABASE[0]}", data_dir=folder) as store:
                wrong = [f"torn: {each}" for each in verify(store, Vault(data / "vault"))]
                kept = [event.body for event in store.events(limit=1 << 31)]
        except ConfigError as error:
            return [f"torn: {error}"]
    if kept != whole[: len(kept)]:
        wrong.append("torn: what is left is no prefix")
    return wrong
