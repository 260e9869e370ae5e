"""A request with a key that is sent again after a crash, wherever that came: one act, one answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from farmd.store import Entry, StoreFailed
from farmd.store.errors import STORE_FAILED

BOX = (Path(__file__).parents[1] / "data" / "box20.gcode").read_bytes()


def crash_after(shop: Any, commits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk takes so many commits more, and then none: what a kill at that moment leaves behind."""
    real, left = shop.service.store.commit, [commits]

    def commit(entries: list[Entry]) -> int:
        if left[0] == 0:
            raise StoreFailed(STORE_FAILED, "killed")
        left[0] -= 1
        return int(real(entries))

    monkeypatch.setattr(shop.service.store, "commit", commit)


async def killed(
    open_shop: Any, commits: int, ask: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> httpx.Response | None:
    """Ask a daemon that dies after so many commits; its answer, where it had time for one."""
    answer = None
    with suppress(StoreFailed), monkeypatch.context() as patch:
        async with open_shop() as shop:
            # What the start has to write is written.
            await shop.service.ledger.flush()
            crash_after(shop, commits, patch)
            answer = await ask(shop)
            await asyncio.sleep(0.05)
    return answer if answer is not None and answer.status_code < 400 else None


@pytest.mark.parametrize("commits", range(4))
async def test_a_retry_after_a_kill_makes_no_second_job(
    open_shop: Any, commits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(shop: Any) -> Any:
        return shop.post_file(BOX, "box20.gcode", {"quantity": 3}, Idempotency_Key="k")

    first = await killed(open_shop, commits, ask, monkeypatch)
    assert (first is None) == (commits == 0)
    async with open_shop() as shop:
        again = await ask(shop)
        assert again.status_code == 201
        assert again.headers.get("Idempotent-Replayed", "false") == ("true" if commits else "false")
        if first is not None:
            assert again.content == first.content
        assert [job["id"] for job in (await shop.get("/jobs?state=all"))["jobs"]] == [again.json()["id"]]
        assert (
            len([e for e in (await shop.get("/events?limit=1000"))["events"] if e["kind"] == "JobSubmitted"])
            == 1
        )


@pytest.mark.parametrize(("commits", "status"), [(0, 200), (1, 409), (2, 200), (3, 200)])
async def test_a_small_act_is_done_once_too(
    open_shop: Any, commits: int, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(shop: Any) -> Any:
        return shop.post("/machines/mk4-01/hold", {"reason": "look"}, Idempotency_Key="k")

    first = await killed(open_shop, commits, ask, monkeypatch)
    async with open_shop() as shop:
        again = await ask(shop)
        assert again.status_code == status
        if status == 409:
            assert again.json()["error"]["code"] == "answer-not-kept"
        if first is not None:
            assert again.content == first.content
        events = (await shop.get("/events?limit=1000"))["events"]
        assert len([event for event in events if event["kind"] == "MachineHeld"]) == 1


async def test_a_key_is_its_tokens_own(shop: Any) -> None:
    from farmd.api import new_token, sha256_of_token

    secret = new_token()
    await shop.post("/tokens", {"name": "ana", "role": "planner", "sha256": sha256_of_token(secret)})
    first = await shop.post_file(BOX, "box20.gcode", {"quantity": 3}, Idempotency_Key="k")
    other = await shop.post_file(
        BOX, "box20.gcode", {"quantity": 3}, Idempotency_Key="k", Authorization=f"Bearer {secret}"
    )
    assert first.status_code == 201
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency-conflict")


async def test_a_refusal_after_something_was_done_is_the_answer(shop: Any) -> None:
    # Asking is on record before the machine is told, and it has no run to pause.
    first = await shop.post("/machines/mk4-01/pause", Idempotency_Key="k")
    revision = shop.service.farm.revision
    again = await shop.post("/machines/mk4-01/pause", Idempotency_Key="k")
    assert first.status_code == again.status_code >= 400
    assert again.content == first.content
    assert shop.service.farm.revision == revision
