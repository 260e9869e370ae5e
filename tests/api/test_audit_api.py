"""Every act that somebody may do over the API is on record: who, what, when, why, and what it was before."""

from __future__ import annotations

from typing import Any

import pytest

from farmd.api.roles import LEAST
from farmd.cli.farmctl import farmctl

WHY = "because of the audit"
KINDS = {
    "PATCH /api/v1/jobs/{job_id}": "JobEdited",
    "POST /api/v1/estop": "MachineHeld",
    "POST /api/v1/jobs": "JobSubmitted",
    "POST /api/v1/jobs/{job_id}/cancel": "JobCancelled",
    "POST /api/v1/jobs/{job_id}/hold": "JobHeld",
    "POST /api/v1/jobs/{job_id}/release": "JobReleased",
    "POST /api/v1/machines/{name}/clear": "MachineCleared",
    "POST /api/v1/machines/{name}/command": "CommandSent",
    "POST /api/v1/machines/{name}/estop": "MachineHeld",
    "POST /api/v1/machines/{name}/hold": "MachineHeld",
    "POST /api/v1/machines/{name}/load": "MaterialLoaded",
    "POST /api/v1/machines/{name}/pause": "MachineAsked",
    "POST /api/v1/machines/{name}/release": "MachineReleased",
    "POST /api/v1/machines/{name}/resume": "MachineAsked",
    "POST /api/v1/machines/{name}/stop": "MachineAsked",
    "POST /api/v1/runs/{run_id}/continue": "RunContinued",
    "POST /api/v1/runs/{run_id}/resolve": "RunEnded",
    "POST /api/v1/safe-mode/leave": "SafeModeLeft",
    "POST /api/v1/tokens": "TokenAdded",
    "POST /api/v1/tokens/{name}/revoke": "TokenRevoked",
}
"""By which fact each act is on record. `RunContinued` and `RunEnded` are shown in the daemon's own tests."""


def test_every_operation_that_changes_something_has_its_fact() -> None:
    from farmd.model import facts as f

    assert {f"{method} {path}" for method, path in LEAST if method != "GET"} == KINDS.keys()
    for kind in KINDS.values():
        fact = f.FACTS[kind]
        names = set(fact.__dataclass_fields__)
        assert {"at", "actor"} <= names
        # A submitted job and a token say what they are for; all else why.
        assert "reason" in names or kind in ("JobSubmitted", "TokenAdded"), kind


async def newest(shop: Any) -> dict[str, Any]:
    events: list[dict[str, Any]] = (await shop.get("/events?newest_first=true&limit=1"))["events"]
    return events[0]


async def test_who_and_why(shop: Any) -> None:
    job = (await shop.submit(quantity=2))["id"]
    for path, kind in (
        (f"/jobs/{job}/hold", "JobHeld"),
        (f"/jobs/{job}/release", "JobReleased"),
        ("/machines/mk4-01/hold", "MachineHeld"),
        ("/machines/mk4-01/release", "MachineReleased"),
        (f"/jobs/{job}/cancel", "JobCancelled"),
    ):
        before = shop.service.farm.revision
        done = await shop.post(path, {"reason": WHY}, X_Farmd_Actor="ana")
        assert done.status_code == 200
        events = (await shop.get(f"/events?after={before}&limit=10"))["events"]
        told = next(event for event in events if event["kind"] == kind)
        assert (told["actor"], told["reason"], bool(told["at"])) == ("ana@first", WHY, True)


async def test_a_change_is_recorded_with_what_was_before(shop: Any) -> None:
    job = (await shop.submit(quantity=2, priority=3, due="2027-01-01T00:00:00Z"))["id"]
    edit = {"quantity": 5, "due": None, "reason": WHY}
    assert (await shop.client.patch(f"/api/v1/jobs/{job}", json=edit)).status_code == 200
    events = (await shop.get(f"/events?job={job}&newest_first=true&limit=5"))["events"]
    told = next(event for event in events if event["kind"] == "JobEdited")
    assert (told["quantity"], told["quantity_before"]) == (5, 2)
    assert (told["clear_due"], told["due_at_before"]) == (True, 1798761600.0)
    assert (told["priority"], told["priority_before"], told["reason"]) == (None, None, WHY)

    for body, before in (
        ({"material": "PETG", "grams": 500, "nozzle_mm": 0.6}, ("PLA", None, 0.4)),
        ({"material": "PLA", "reason": WHY}, ("PETG", "L-mk4-01-", None)),
    ):
        await shop.post("/machines/mk4-01/load", body)
        events = (await shop.get("/events?machine=mk4-01&newest_first=true&limit=5"))["events"]
        told = next(event for event in events if event["kind"] == "MaterialLoaded")
        lot = told["lot_id_before"] and told["lot_id_before"].rstrip("0123456789")
        assert (told["material_before"], lot, told["nozzle_mm_before"]) == before
        assert told["reason"] == body.get("reason", "")


async def test_farmctl_shows_it(
    shop: Any, server: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import asyncio

    monkeypatch.setenv("COLUMNS", "300")

    job = (await shop.submit(quantity=2, priority=3))["id"]
    secret = shop.client.headers["Authorization"].removeprefix("Bearer ")

    async def ctl(*args: str) -> str:
        call = [*args, "--url", server.url, "--token", secret]
        assert await asyncio.to_thread(farmctl, call) == 0
        return capsys.readouterr().out

    await ctl("edit", job, "--priority", "7", "--reason", WHY)
    lines = (await ctl("events", "--job", job)).splitlines()
    (line,) = [line for line in lines if "JobEdited" in line]
    assert f'priority=7 priority_before=3 reason="{WHY}" by ' in line
    assert line.endswith("first")


async def test_a_refused_request_is_in_the_log_with_who_asked(
    shop: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    from farmd.api import new_token, sha256_of_token

    secret = new_token()
    await shop.post("/tokens", {"name": "board", "role": "viewer", "sha256": sha256_of_token(secret)})
    capsys.readouterr()
    refused = await shop.client.post(
        "/api/v1/machines/mk4-01/clear", json={}, headers={"Authorization": f"Bearer {secret}"}
    )
    assert refused.status_code == 403
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "asked" in line]
    assert all(part in line for part in ("board", "403", "/api/v1/machines/mk4-01/clear"))
