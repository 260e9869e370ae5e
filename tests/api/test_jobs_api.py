"""Submitting, looking at and changing jobs over HTTP, with real sliced files."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from farmd.gcode import read_sliced

DATA = Path(__file__).parents[1] / "data"
BOX = (DATA / "box20.gcode").read_bytes()


async def test_submit_makes_a_job_of_a_real_file(shop: Any) -> None:
    response = await shop.post_file(
        BOX,
        "box20.gcode",
        {
            "quantity": 5,
            "due": "2027-01-01T00:00:00+01:00",
            "priority": 2,
            "owner": "ada",
            "parts_per_plate": 2,
        },
        X_Farmd_Actor="ada l.",
    )
    assert response.status_code == 201
    job = response.json()
    assert (job["id"], job["state"], job["quantity"], job["owner"]) == ("J-1", "open", 5, "ada")
    assert (job["due_at"], job["priority"], job["parts_per_plate"]) == ("2026-12-31T23:00:00.000Z", 2.0, 2)
    assert (job["duration_s"], job["material"], job["nozzle_mm"]) == (1151.0, "PLA", 0.4)
    assert job["file_sha256"] == hashlib.sha256(BOX).hexdigest()
    assert shop.vault_files() == [job["file_sha256"]]
    (event,) = (await shop.get("/events?job=J-1"))["events"]
    assert (event["kind"], event["actor"]) == ("JobSubmitted", "ada l.@first")


async def test_one_job_with_its_builds_runs_and_file(shop: Any) -> None:
    await shop.submit()
    await shop.post("/machines/mk4-01/clear")
    await shop.made()
    assert (await shop.post("/machines/mk4-01/clear")).json()["good"] == 1
    job = await shop.get("/jobs/J-1")
    assert (job["state"], job["good"], job["missing"]) == ("done", 1, 0)
    (build,), (run,) = job["builds"], job["runs"]
    assert (build["id"], build["items"], build["cleared"]) == ("B-1", [["J-1", 1]], True)
    assert (run["build"], run["machine"], run["outcome"], run["items"]) == (
        "B-1",
        "mk4-01",
        "ok",
        [["J-1", 1]],
    )
    assert job["file"]["name"] == "box20.gcode"
    assert job["file"]["slicer"] == "PrusaSlicer"
    assert "thumbnail" not in job["file"]
    assert (await shop.get(f"/runs/{run['id']}"))["outcome"] == "ok"
    assert [j["id"] for j in (await shop.get("/jobs?state=closed"))["jobs"]] == ["J-1"]
    assert (await shop.get("/jobs"))["jobs"] == []
    assert (await shop.get("/jobs/J-1/why"))["state"] == "done"


async def test_lists_are_paged_newest_first(shop: Any) -> None:
    for _ in range(3):
        await shop.submit()
    await shop.post("/jobs/J-1/cancel", {"reason": "not wanted"})
    ids = [job["id"] for job in (await shop.get("/jobs?state=all"))["jobs"]]
    assert ids == ["J-3", "J-2", "J-1"]
    assert [job["id"] for job in (await shop.get("/jobs?limit=1&offset=1"))["jobs"]] == ["J-2"]
    assert [job["id"] for job in (await shop.get("/jobs?state=all&limit=2&offset=1"))["jobs"]] == [
        "J-2",
        "J-1",
    ]
    assert [job["state"] for job in (await shop.get("/jobs?state=closed"))["jobs"]] == ["cancelled"]


async def test_late_jobs(shop: Any) -> None:
    await shop.submit()
    await shop.submit(due="2020-01-01")
    await shop.submit(due="2099-01-01")
    await shop.submit(due="2020-01-02")
    assert [job["id"] for job in (await shop.get("/jobs?late=true"))["jobs"]] == ["J-4", "J-2"]
    assert [job["id"] for job in (await shop.get("/jobs?late=true&state=all&offset=1"))["jobs"]] == ["J-2"]


async def test_hold_release_cancel(shop: Any) -> None:
    await shop.submit()
    assert (await shop.post("/jobs/J-1/hold", {"reason": "wait for ada"})).json()["state"] == "held"
    again = await shop.post("/jobs/J-1/hold")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "illegal-transition")
    assert (await shop.post("/jobs/J-1/release")).json()["state"] == "open"
    assert (await shop.post("/jobs/J-1/cancel")).json()["state"] == "cancelled"
    for act in ("cancel", "hold", "release"):
        gone = await shop.post(f"/jobs/J-1/{act}")
        assert (gone.status_code, gone.json()["error"]["code"]) == (409, "job-closed"), act
        unknown = await shop.post(f"/jobs/J-7/{act}")
        assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "unknown-job"), act
    kinds = [event["kind"] for event in (await shop.get("/events?job=J-1"))["events"]]
    assert kinds == ["JobSubmitted", "JobHeld", "JobReleased", "JobCancelled"]


async def test_why_names_what_would_free_it(shop: Any) -> None:
    await shop.submit()
    answer = await shop.get("/jobs/J-1/why")
    by_machine = {row["machine"]: row for row in answer["machines"]}
    assert "`farmctl clear mk4-01`" in by_machine["mk4-01"]["remedy"]
    assert (await shop.client.get("/api/v1/jobs/J-9/why")).status_code == 404


async def test_a_done_job_is_closed_for_good_when_its_parts_are_off(shop: Any) -> None:
    await shop.submit()
    await shop.post("/machines/mk4-01/clear")
    await shop.made()
    await shop.post("/machines/mk4-01/clear")
    more = await shop.client.patch("/api/v1/jobs/J-1", json={"quantity": 7})
    error = more.json()["error"]
    assert (more.status_code, error["code"], error["where"]) == (409, "job-closed", "J-1")
    assert (error["what"], error["remedy"]) == ("the job is done", "submit a new one")
    unknown = await shop.client.patch("/api/v1/jobs/J-7", json={"quantity": 7})
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "unknown-job")


async def test_a_file_that_another_version_has_read_keeps_nobody_from_working(open_shop: Any) -> None:
    async with open_shop() as shop:
        await shop.submit()
        database = sqlite3.connect(shop.data_dir / "farmd.sqlite")
    (text,) = database.execute("SELECT summary FROM file").fetchone()
    summary = {key: value for key, value in json.loads(text).items() if key != "kind"} | {"mood": "good"}
    database.execute("UPDATE file SET summary = ?", (json.dumps(summary),))
    database.commit()
    database.close()
    async with open_shop() as shop:
        await shop.post("/machines/mk4-01/clear")

        async def planned() -> bool:
            return "J-1" in (await shop.get("/plan"))["left_out"]

        await shop.until(planned)
        rows = (await shop.get("/jobs/J-1/why"))["machines"]
        assert {row["rule"] for row in rows} == {"file-unread"}
        assert all("submit the file again" in row["remedy"] for row in rows)
        assert (await shop.submit())["id"] == "J-2"
        assert {row["rule"] for row in (await shop.get("/jobs/J-1/why"))["machines"]} & {
            "file-unread"
        } == set()
        await shop.made()


async def test_files_are_read_two_at_a_time_by_threads_of_their_own(shop: Any, monkeypatch: Any) -> None:
    threads: list[str] = []
    reading: list[int] = []
    lock = threading.Lock()
    count = 0

    def slow(path: Path, name: str) -> Any:
        nonlocal count
        with lock:
            count += 1
            threads.append(threading.current_thread().name)
            reading.append(count)
        time.sleep(0.05)
        with lock:
            count -= 1
        return read_sliced(path, name=name)

    monkeypatch.setattr("farmd.daemon.desk.read_sliced", slow)
    answers = await asyncio.gather(*(shop.post_file(BOX, "box20.gcode", {}) for _ in range(6)))
    assert [answer.status_code for answer in answers] == [201] * 6
    assert {name.rpartition("_")[0] for name in threads} == {"reader"}
    assert max(reading) == 2


async def test_editing(shop: Any) -> None:
    await shop.submit(due="2027-01-01T00:00:00Z")
    edit = await shop.client.patch("/api/v1/jobs/J-1", json={"quantity": 7, "priority": 3})
    assert (edit.json()["quantity"], edit.json()["priority"]) == (7, 3.0)
    assert edit.json()["due_at"] == "2027-01-01T00:00:00.000Z"
    assert (await shop.client.patch("/api/v1/jobs/J-1", json={"due": None})).json()["due_at"] is None
    for bad in ({"quantity": 0}, {"quantity": "7"}, {"due": "soon"}, {"colour": "red"}, {"priority": -1}):
        refused = await shop.client.patch("/api/v1/jobs/J-1", json=bad)
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "bad-request"), bad
        assert refused.json()["error"]["where"] == next(iter(bad))


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"quantity": 0}, "quantity"),
        ({"quantity": "many"}, "quantity"),
        ({"quantity": ""}, "quantity"),
        ({"priority": "nan"}, "priority"),
        ({"due": "tomorrow"}, "due"),
        ({"colour": "red"}, "colour"),
        ({"owner": "a\x00b"}, "owner"),
        ({"route": "print,polish"}, "route"),
        ({"height_mm": -1}, "height_mm"),
    ],
)
async def test_orders_that_cannot_be_read_leave_nothing(
    shop: Any, fields: dict[str, Any], where: str
) -> None:
    revision = shop.service.farm.revision
    refused = await shop.post_file(BOX, "box20.gcode", fields)
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "bad-order")
    assert refused.json()["error"]["where"] == where
    assert refused.json()["error"]["remedy"]
    assert shop.vault_files() == []
    assert shop.service.farm.revision == revision


async def test_what_no_machine_can_make_is_refused_and_not_kept(shop: Any) -> None:
    refused = await shop.post_file(BOX, "box20.gcode", {"group": "sls"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "no-machine-fits")
    assert shop.vault_files() == []
    damaged = await shop.post_file(b"no G-code at all", "box20.gcode", {})
    assert damaged.status_code == 409
    assert shop.vault_files() == []


async def test_a_refused_file_that_a_job_has_stays(shop: Any) -> None:
    await shop.submit()
    refused = await shop.post_file(BOX, "box20.gcode", {"group": "sls"})
    assert refused.status_code == 409
    assert shop.vault_files() == [hashlib.sha256(BOX).hexdigest()]


async def test_refused_and_taken_at_the_same_moment(shop: Any) -> None:
    answers = await asyncio.gather(
        *(shop.post_file(BOX, "box20.gcode", {"group": group}) for group in ("sls", "mk4") * 4)
    )
    assert sorted(answer.status_code for answer in answers) == [201] * 4 + [409] * 4
    assert shop.vault_files() == [hashlib.sha256(BOX).hexdigest()]
    assert shop.service.vault.path(hashlib.sha256(BOX).hexdigest()).is_file()


async def test_unknown_jobs(shop: Any) -> None:
    for name in ("J-77", "..", "J-1%00", "x" * 300):
        missing = await shop.client.get(f"/api/v1/jobs/{name}")
        assert missing.status_code == 404, name
        assert missing.json()["error"]["code"] in ("unknown-job", "not-found")


async def test_the_same_key_and_order_is_one_job(shop: Any) -> None:
    first = await shop.post_file(BOX, "box20.gcode", {"quantity": 3}, Idempotency_Key="k1")
    again = await shop.post_file(BOX, "box20.gcode", {"quantity": 3}, Idempotency_Key="k1")
    assert (again.status_code, again.content) == (first.status_code, first.content) == (201, first.content)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert list(shop.service.farm.jobs) == ["J-1"]
    other = await shop.post_file(BOX, "box20.gcode", {"quantity": 4}, Idempotency_Key="k1")
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency-conflict")
    changed = await shop.post_file(BOX + b"\n", "box20.gcode", {"quantity": 3}, Idempotency_Key="k1")
    assert changed.json()["error"]["code"] == "idempotency-conflict"
    assert shop.vault_files() == [hashlib.sha256(BOX).hexdigest()]


async def test_the_same_key_at_the_same_moment_is_one_job(shop: Any) -> None:
    answers = await asyncio.gather(
        *(shop.post_file(BOX, "box20.gcode", {}, Idempotency_Key="k2") for _ in range(5))
    )
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert list(shop.service.farm.jobs) == ["J-1"]


async def test_answers_are_remembered_over_a_restart(open_shop: Any) -> None:
    async with open_shop() as shop:
        first = await shop.post_file(BOX, "box20.gcode", {}, Idempotency_Key="k5")
    async with open_shop() as shop:
        again = await shop.post_file(BOX, "box20.gcode", {}, Idempotency_Key="k5")
        assert (again.status_code, again.content) == (201, first.content)
        assert list(shop.service.farm.jobs) == ["J-1"]


async def test_a_refusal_is_not_remembered(shop: Any) -> None:
    refused = await shop.post_file(BOX, "box20.gcode", {"quantity": 0}, Idempotency_Key="k3")
    assert refused.status_code == 422
    taken = await shop.post_file(BOX, "box20.gcode", {"quantity": 1}, Idempotency_Key="k3")
    assert taken.status_code == 201


async def test_keys_count_for_small_posts_too(shop: Any) -> None:
    first = await shop.post("/machines/mk4-01/hold", {"reason": "a"}, Idempotency_Key="k4")
    revision = shop.service.farm.revision
    again = await shop.post("/machines/mk4-01/hold", {"reason": "a"}, Idempotency_Key="k4")
    assert (again.status_code, again.content) == (200, first.content)
    assert shop.service.farm.revision == revision
    other = await shop.post("/machines/mk4-02/hold", {"reason": "a"}, Idempotency_Key="k4")
    assert other.json()["error"]["code"] == "idempotency-conflict"
    bad = await shop.post("/machines/mk4-02/hold", {"reason": "a"}, Idempotency_Key="k" * 300)
    assert (bad.status_code, bad.json()["error"]["where"]) == (422, "Idempotency-Key")
