"""Machines over HTTP: clearing counts parts and gives one permit; commands reach the machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

BOX = (Path(__file__).parents[1] / "data" / "box20.gcode").read_bytes()


async def test_machines_as_they_are(shop: Any) -> None:
    first, second = (await shop.get("/machines"))["machines"]
    assert (first["name"], first["state"], first["material"], first["permit"]) == (
        "mk4-01",
        "idle",
        "PLA",
        None,
    )
    assert second["nozzle_mm"] == 0.6
    one = await shop.get("/machines/mk4-01")
    assert one["runs"] == []
    assert one["waits_for"]["remedy"]


async def test_a_double_click_gives_one_permit(shop: Any) -> None:
    first = await shop.post("/machines/mk4-01/clear")
    assert first.json()["machine"]["permit"].startswith("P-")
    second = await shop.post("/machines/mk4-01/clear")
    assert (second.status_code, second.json()["error"]["code"]) == (409, "already-clear")
    kinds = [event["kind"] for event in (await shop.get("/events?machine=mk4-01&limit=1000"))["events"]]
    assert kinds.count("MachineCleared") == 1


async def test_clearing_counts_what_came_off(shop: Any) -> None:
    await shop.submit(quantity=4, parts_per_plate=2)
    await shop.post("/machines/mk4-01/clear")
    await shop.made()
    wrong = await shop.post("/machines/mk4-01/clear", {"good": 3})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (422, "bad-count")
    cleared = await shop.post("/machines/mk4-01/clear", {"good": 1, "scrap": 1, "reason": "a warped corner"})
    assert (cleared.json()["good"], cleared.json()["scrap"]) == (1, 1)
    job = await shop.get("/jobs/J-1")
    assert (job["good"], job["scrap"]) == (1, 1)
    (row,) = (await shop.get("/throughput"))["rows"]
    assert (row["key"], row["good"], row["scrap"], row["runs_ok"]) == ("mk4-01", 1, 1, 1)


async def test_counting_by_job(shop: Any) -> None:
    await shop.submit(quantity=4, parts_per_plate=2)
    await shop.post("/machines/mk4-01/clear")
    await shop.made()
    for bad, code in (
        ({"counts": {"J-9": {"good": 1}}}, "bad-count"),
        ({"counts": {"J-1": {"good": 2}}, "good": 2}, "bad-count"),
        ({"counts": {"J-1": {"good": -1}}}, "bad-request"),
        ({"counts": {"J-1": {"bad": 1}}}, "bad-request"),
        ({"counts": {"J-1": 2}}, "bad-request"),
        ({"counts": [["J-1", 2]]}, "bad-request"),
    ):
        refused = await shop.post("/machines/mk4-01/clear", bad)
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, code), bad
    cleared = await shop.post("/machines/mk4-01/clear", {"counts": {"J-1": {"scrap": 1}}})
    assert (cleared.json()["good"], cleared.json()["scrap"]) == (1, 1)


async def test_pause_resume_stop(shop: Any) -> None:
    printing_time = b"; estimated printing time (normal mode) = "
    long = re.sub(printing_time + rb".*", printing_time + b"5d 0h 0m 0s", BOX)
    assert (await shop.post_file(long, "box.gcode", {})).status_code == 201
    slow = shop.service.attendants["mk4-01"].driver.machine
    await shop.post("/machines/mk4-01/clear")

    async def state(wanted: str) -> None:
        async def is_so() -> bool:
            runs = (await shop.get("/runs?machine=mk4-01"))["runs"]
            return bool(runs) and runs[0]["state"] == wanted

        await shop.until(is_so)

    await state("running")
    assert (await shop.post("/machines/mk4-01/pause")).status_code == 200
    await state("paused")
    assert slow.truth.phase.value == "paused"
    assert (await shop.post("/machines/mk4-01/resume")).status_code == 200
    await state("running")
    assert (await shop.post("/machines/mk4-01/stop", {"reason": "wrong plate"})).status_code == 200
    await state("ended")
    assert (await shop.get("/runs?machine=mk4-01"))["runs"][0]["outcome"] == "cancelled"
    assert (await shop.get("/runs?machine=mk4-02"))["runs"] == []


async def test_holding_a_machine(shop: Any) -> None:
    held = await shop.post("/machines/mk4-01/hold", {"reason": "new nozzle"}, X_Farmd_Actor="bo")
    assert held.json()["held"] == "new nozzle"
    assert (await shop.post("/machines/mk4-01/release")).json()["held"] is None
    newest = (await shop.get("/events?machine=mk4-01&newest_first=true&limit=2"))["events"]
    assert [(event["kind"], event["actor"]) for event in newest] == [
        ("MachineReleased", "first"),
        ("MachineHeld", "bo@first"),
    ]


async def test_loading_a_lot(shop: Any) -> None:
    loaded = await shop.post("/machines/mk4-01/load", {"material": "PLA red", "grams": 750, "lot": "L-7"})
    assert (loaded.json()["material"], loaded.json()["lot"]) == ("PLA red", "L-7")
    assert (await shop.get("/lots"))["lots"] == [
        {"id": "L-7", "material": "PLA red", "grams_left": 750.0, "grams_used": 0.0}
    ]
    other = await shop.post("/machines/mk4-01/load", {"material": "PETG", "lot": "L-7"})
    assert (other.status_code, other.json()["error"]["code"]) == (422, "bad-load")
    for bad in ({}, {"material": "P\u0000LA"}, {"material": "PLA", "grams": -1}, {"material": 7}):
        refused = await shop.post("/machines/mk4-01/load", bad)
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "bad-request"), bad


async def test_emergency_stop_of_one_and_of_all(shop: Any) -> None:
    one = await shop.post("/machines/mk4-01/estop")
    assert one.json()["held"] == "emergency stop"
    every = await shop.post("/estop")
    assert every.json() == {"stopped": ["mk4-01", "mk4-02"], "not_stopped": []}
    shop.service.attendants["mk4-02"].driver.machine.pull_cable()
    assert (await shop.post("/estop")).json() == {"stopped": ["mk4-01"], "not_stopped": ["mk4-02"]}


async def test_an_uncertain_run_is_resolved_by_a_person(shop: Any) -> None:
    await shop.submit()
    shop.service.attendants["mk4-01"].driver.machine.cut_next_start(arrives=True)
    await shop.post("/machines/mk4-01/clear")

    async def doubted() -> bool:
        return any(task["kind"] == "resolve" for task in (await shop.get("/next"))["tasks"])

    await shop.until(doubted)
    (run,) = (await shop.get("/runs"))["runs"]
    wrong = await shop.post(f"/runs/{run['id']}/resolve", {"verdict": "perhaps"})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (422, "bad-request")
    resolved = await shop.post(f"/runs/{run['id']}/resolve", {"verdict": "not-started"})
    assert (resolved.json()["state"], resolved.json()["outcome"]) == ("ended", "not-started")
    assert [build["state"] for build in (await shop.get("/builds"))["builds"]] == ["queued"]
    gone = await shop.post(f"/runs/{run['id']}/resolve", {"verdict": "printing"})
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "unknown-run")


async def test_unknown_machines(shop: Any) -> None:
    for act in ("clear", "pause", "resume", "stop", "estop", "hold", "release"):
        missing = await shop.post(f"/machines/mk9/{act}")
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "unknown-machine"), act
    assert (await shop.client.get("/api/v1/machines/mk9")).status_code == 404


async def test_a_drivers_bug_answers_in_the_same_shape(shop: Any, monkeypatch: Any) -> None:
    async def broken() -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(shop.service.attendants["mk4-01"].driver, "pause", broken)
    failed = await shop.post("/machines/mk4-01/pause")
    assert failed.status_code in (500, 503)
    assert failed.json()["error"]["code"] in ("internal-error", "driver-bug")
    assert (await shop.get("/machines/mk4-02"))["state"] == "idle"
