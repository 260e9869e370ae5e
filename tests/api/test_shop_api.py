"""The shop as a whole over HTTP: plan, next steps, throughput, health, metrics, and the API's own description."""

from __future__ import annotations

import base64
import dataclasses
import math
import re
from typing import Any

import pytest

from farmd.api import metrics
from farmd.daemon.views import iso
from farmd.model.work import FileRecord
from farmd.planner import read_problem
from farmd.store import StoreFailed
from farmd.store.errors import STORE_FAILED


async def test_the_farm_in_a_few_numbers(shop: Any) -> None:
    await shop.submit()
    farm = await shop.get("/farm")
    assert (farm["name"], farm["machines"], farm["jobs_open"]) == ("test-hall", 2, 1)
    assert (farm["speed"], farm["boot_id"]) == (3000.0, shop.service.boot_id)
    assert farm["started_at"] <= farm["now"]


async def test_plan_and_problem(shop: Any) -> None:
    await shop.submit()

    async def planned() -> bool:
        return bool((await shop.get("/plan"))["steps"])

    await shop.until(planned)
    plan = await shop.get("/plan")
    assert (plan["steps"][0]["machine"], plan["steps"][0]["work"]) == ("mk4-01", "J-1")
    problem = read_problem(await shop.get("/plan/problem"))
    assert [build.id for build in problem.builds] == ["J-1"]
    tasks = (await shop.get("/next"))["tasks"]
    assert ("mk4-01", "clear", "farmctl clear mk4-01") in {
        (t["machine"], t["kind"], t["command"]) for t in tasks
    }


async def test_throughput_says_what_it_covers(shop: Any) -> None:
    await shop.submit()
    await shop.post("/machines/mk4-01/clear")
    await shop.made()
    await shop.post("/machines/mk4-01/clear")
    for by, key in (("machine", "mk4-01"), ("design", "box20")):
        answer = await shop.get(f"/throughput?by={by}")
        assert [row["key"] for row in answer["rows"]] == [key]
        assert answer["total"]["good"] == answer["total"]["runs_ok"] == 1
        assert answer["annualised_good"] == pytest.approx(365.0)
        assert answer["target"] == 1_000_000
    days = await shop.get("/throughput?by=day&since=2026-09-20T00:00:00Z")
    assert sum(row["good"] for row in days["rows"]) == days["total"]["good"] == 1
    for query in (
        "since=2099-01-01",
        "since=2026-02-01&until=2026-01-01",
        "by=hour",
        "by=day&since=1990-01-01",
    ):
        refused = await shop.client.get(f"/api/v1/throughput?{query}")
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "bad-request"), query


async def test_health(shop: Any, monkeypatch: Any) -> None:
    well = await shop.client.get("/healthz", headers={"Authorization": ""})
    assert (well.status_code, well.json()["status"]) == (200, "ok")

    def gone() -> str:
        raise StoreFailed(STORE_FAILED, "reading: a secret detail")

    monkeypatch.setattr(shop.app.state.context.probe._store, "node", gone)
    ill = await shop.client.get("/healthz")
    assert (ill.status_code, ill.json()["status"]) == (503, "failing")
    assert "secret" not in ill.text


def samples(text: str) -> dict[str, float]:
    rows = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in rows}


async def test_metrics(shop: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("farmd.api.tally.SETTLED_S", 0.0)
    await shop.submit(quantity=2)
    before = samples((await shop.client.get("/metrics")).text)
    assert before['farmd_jobs{state="open"}'] == 1
    assert before['farmd_machines{state="idle"}'] == 2
    assert before['farmd_tasks{kind="clear"}'] >= 1
    await shop.post("/machines/mk4-01/clear")
    await shop.made()
    await shop.post("/machines/mk4-01/clear", {"good": 0, "scrap": 1})
    await shop.made()
    await shop.post("/machines/mk4-01/clear")
    response = await shop.client.get("/metrics")
    assert response.headers["content-type"] == metrics.CONTENT_TYPE
    after = samples(response.text)
    assert after['farmd_parts_good_total{machine="mk4-01"}'] == 1
    assert after['farmd_parts_scrap_total{machine="mk4-01"}'] == 1
    assert after['farmd_runs_total{machine="mk4-01",outcome="ok"}'] == 2
    assert after["farmd_journal_revision"] == shop.service.farm.revision > before["farmd_journal_revision"]
    assert after["farmd_plan_age_seconds"] >= 0
    again = samples((await shop.client.get("/metrics")).text)
    assert again['farmd_parts_good_total{machine="mk4-01"}'] == 1


async def test_every_metric_is_told_and_none_is_undeclared(shop: Any) -> None:
    await shop.submit()
    await shop.post("/machines/mk4-01/clear")
    await shop.made()
    text = (await shop.client.get("/metrics")).text
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, flags=re.MULTILINE))
    assert kinds == {metric.name: metric.kind for metric in metrics.METRICS}
    assert len(metrics.METRICS) == sum(isinstance(m, metrics.Metric) for m in vars(metrics).values())


def test_times_beyond_all_calendars_do_not_break_a_view() -> None:
    assert iso(1e12) == iso(math.inf) == "9999-12-31T23:59:59.000Z"
    assert iso(1_790_000_000.25) == "2026-09-21T14:13:20.250Z"
    assert iso(None) is None


def test_labels_are_escaped() -> None:
    text = metrics.render({metrics.INFO: [metrics.Sample(1, {"farm": 'a "b"\\\nc', "version": "1"})]})
    assert 'farmd_info{farm="a \\"b\\"\\\\\\nc",version="1"} 1\n' in text


async def test_thumbnails(shop: Any) -> None:
    sha256 = "ab" * 32
    png = b"\x89PNG\r\n\x1a\n" + b"picture"
    thumbnail = {"width": 1, "height": 1, "png_base64": base64.b64encode(png).decode()}
    record = FileRecord(sha256, "a.gcode", 1, "gcode", {"thumbnail": thumbnail})
    shop.service.farm.files[sha256] = record
    picture = await shop.client.get(f"/api/v1/files/{sha256}/thumbnail")
    assert (picture.status_code, picture.content, picture.headers["content-type"]) == (200, png, "image/png")
    thumbnail["png_base64"] = base64.b64encode(b"<script>").decode()
    shop.service.farm.files[sha256] = dataclasses.replace(record, summary={"thumbnail": thumbnail})
    assert (await shop.client.get(f"/api/v1/files/{sha256}/thumbnail")).status_code == 404
    missing = await shop.client.get(f"/api/v1/files/{'cd' * 32}/thumbnail")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not-found")


async def test_what_is_not_there(shop: Any) -> None:
    for method, path, status, code in (
        ("GET", "/api/v1/nothing", 404, "not-found"),
        ("DELETE", "/api/v1/jobs", 405, "method-not-allowed"),
        ("GET", "/api/v1/jobs?limit=0", 422, "bad-request"),
        ("GET", "/api/v1/runs?machine=a%00b", 422, "bad-request"),
    ):
        response = await shop.client.request(method, path)
        assert (response.status_code, response.json()["error"]["code"]) == (status, code)
        assert set(response.json()["error"]) == {"code", "what", "where", "remedy"}
    damaged = await shop.client.post(
        "/api/v1/machines/mk4-01/hold", content=b'{"reason', headers={"Content-Type": "application/json"}
    )
    assert (damaged.status_code, damaged.json()["error"]["code"]) == (422, "bad-request")


CONTRACT = """
GET /api/v1/farm|POST /api/v1/jobs|GET /api/v1/jobs|GET /api/v1/jobs/{job_id}|GET /api/v1/jobs/{job_id}/why
PATCH /api/v1/jobs/{job_id}|POST /api/v1/jobs/{job_id}/hold|POST /api/v1/jobs/{job_id}/release
POST /api/v1/jobs/{job_id}/cancel|GET /api/v1/machines|GET /api/v1/machines/{name}|POST /api/v1/estop
POST /api/v1/machines/{name}/pause|POST /api/v1/machines/{name}/resume|POST /api/v1/machines/{name}/stop
POST /api/v1/machines/{name}/estop|POST /api/v1/machines/{name}/hold|POST /api/v1/machines/{name}/release
GET /api/v1/machines/{name}/terminal|POST /api/v1/machines/{name}/command
POST /api/v1/machines/{name}/clear|POST /api/v1/machines/{name}/load|GET /api/v1/builds|GET /api/v1/runs
GET /api/v1/runs/{run_id}|POST /api/v1/runs/{run_id}/resolve|POST /api/v1/runs/{run_id}/continue
GET /api/v1/plan|GET /api/v1/plan/problem|GET /api/v1/me|GET /api/v1/tokens|POST /api/v1/tokens
POST /api/v1/tokens/{name}/revoke|GET /api/v1/safe-mode|POST /api/v1/safe-mode/leave
GET /api/v1/machines/{name}/telemetry
GET /api/v1/next|GET /api/v1/lots|GET /api/v1/throughput|GET /api/v1/events
GET /api/v1/files/{sha256}/thumbnail|GET /healthz|GET /metrics
"""


async def test_the_document_names_each_route(shop: Any) -> None:
    document = (await shop.client.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.")
    told = {f"{m.upper()} {path}" for path, methods in document["paths"].items() for m in methods}
    assert told == set(CONTRACT.strip().replace("\n", "|").split("|"))
    operations = [op for methods in document["paths"].values() for op in methods.values()]
    assert len({op["operationId"] for op in operations}) == len(operations)
    assert all(op["description"] and op["tags"] for op in operations)
    references = set(re.findall(r'"#/components/schemas/([^"]+)"', str(document).replace("'", '"')))
    assert references <= document["components"]["schemas"].keys()
    form = document["paths"]["/api/v1/jobs"]["post"]["requestBody"]["content"]["multipart/form-data"][
        "schema"
    ]
    assert {"file", "quantity"} == set(form["required"])
    page = (await shop.client.get("/docs")).text
    assert all(path in page for path in document["paths"])
    assert "http://" not in page
    assert "https://" not in page
