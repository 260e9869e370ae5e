"""Answers to requests with a key: begun with their facts, told later, and then for good."""

from __future__ import annotations

from farmd.store import Answer, Entry, Store

AT = 1_790_000_000.0


def test_what_was_begun_is_replaced_by_how_it_was_answered_and_that_stands(store: Store) -> None:
    store.commit([Entry(answer=Answer("k", "aa", 0, "", AT))])
    begun = store.idempotent("k")
    assert begun is not None
    assert begun.status == 0
    store.commit([Entry(answer=Answer("k", "bb", 201, "{}", AT + 1))])
    assert store.idempotent("k") == begun, "another request with the same key"
    told = Answer("k", "aa", 200, '{"held":"x"}', AT + 1)
    store.commit([Entry(answer=told), Entry(answer=Answer("k", "aa", 409, "{}", AT + 2))])
    found = store.idempotent("k")
    assert found is not None
    assert (found.status, found.response, found.request_sha256) == (200, told.response, "aa")


def test_begun_and_told_in_one_commit(store: Store) -> None:
    told = Answer("k", "aa", 200, "{}", AT)
    store.commit([Entry(answer=Answer("k", "aa", 0, "", AT)), Entry(answer=told)])
    assert store.idempotent("k") == told
