"""Every fact and entity goes to JSON and its canonical bytes and comes back the same."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from enum import Enum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farmd.model import facts
from farmd.model.access import Token
from farmd.model.codec import BAD_RECORD, canonical, decode, encode
from farmd.model.errors import Refused
from farmd.model.facts import FACTS, JobSubmitted, MachineCleared, RunEnded
from farmd.model.farm import Counter, Gone
from farmd.model.machine import Machine, MachineSpec
from farmd.model.safe_mode import SafeMode
from farmd.model.work import Build, FileRecord, Job, Lot, Outcome, Run

ENTITIES: list[type] = [
    Job,
    Build,
    Run,
    Lot,
    FileRecord,
    Machine,
    MachineSpec,
    Counter,
    Gone,
    Token,
    SafeMode,
]
RECORDS: list[type] = [*FACTS.values(), *ENTITIES]

_floats = st.floats(allow_nan=False, allow_infinity=False)
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | _floats | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Values of a type as the model's hints name it."""
    args = typing.get_args(hint)
    match typing.get_origin(hint):
        case types.UnionType | typing.Union:
            return st.one_of(*(values(arm) for arm in args))
        case origin if origin is tuple and args[-1] is Ellipsis:
            return st.lists(values(args[0]), max_size=3).map(tuple)
        case origin if origin is tuple:
            return st.tuples(*(values(arm) for arm in args))
        case origin if origin is dict:
            return st.dictionaries(values(args[0]), values(args[1]), max_size=3)
    simple: dict[Any, st.SearchStrategy[Any]] = {
        str: st.text(max_size=8),
        bool: st.booleans(),
        int: st.integers(-(2**60), 2**60),
        float: _floats,
        Any: _json,
        types.NoneType: st.none(),
    }
    if hint in simple:
        return simple[hint]
    if issubclass(hint, Enum):
        return st.sampled_from(hint)
    return records(hint)


def records(cls: type) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(cls)
    return st.builds(cls, **{field.name: values(hints[field.name]) for field in dataclasses.fields(cls)})


def test_all_facts_are_here() -> None:
    declared = {
        name for name, cls in vars(facts).items() if isinstance(cls, type) and issubclass(cls, facts.Fact)
    }
    assert FACTS.keys() == declared - {"Fact"}
    assert all(getattr(facts, name) is FACTS[name] for name in FACTS)


@pytest.mark.parametrize("cls", RECORDS, ids=lambda cls: cls.__name__)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_there_and_back(cls: type, data: st.DataObject) -> None:
    record = data.draw(records(cls))
    assert decode(cls, encode(record)) == record
    written = canonical(record)
    again = decode(cls, json.loads(written))
    assert again == record
    assert type(again) is cls
    assert canonical(again) == written
    assert b"\n" not in written


def _example() -> Job:
    return Job("J-1", "bracket", "f" * 64, "bracket.gcode", "MEX", 3, 1.5, route=("print", "wash"))


def test_canonical_bytes_are_fixed() -> None:
    """The journal's chain is over these bytes; a change of them breaks every old journal."""
    fact = RunEnded(at=2.0, actor="machine:m1", run_id="R-1", outcome=Outcome.OK, made=2, reason="fertig ✓")
    assert (
        canonical(fact)
        == (
            '{"actor":"machine:m1","at":2.0,"made":2,"outcome":"ok","place":null,"ready_at":0.0,'
            '"reason":"fertig ✓","run_id":"R-1","used_g":0.0}'
        ).encode()
    )


def test_an_older_record_takes_defaults() -> None:
    old = {"id": "L-1", "material": "PLA", "grams_left": 3}
    assert decode(Lot, old) == Lot("L-1", "PLA", 3.0, 0.0)


def _changed(**changes: Any) -> dict[str, Any]:
    fact = JobSubmitted(at=1.0, actor="ann", job=_example())
    return encode(fact) | changes  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("cls", "data"),
    [
        (JobSubmitted, []),
        (JobSubmitted, None),
        (JobSubmitted, {"at": 1.0, "actor": "ann"}),
        (JobSubmitted, _changed(colour="red")),
        (JobSubmitted, _changed(at="noon")),
        (JobSubmitted, _changed(job="J-1")),
        (JobSubmitted, _changed(job=encode(_example()) | {"state": "lost"})),
        (JobSubmitted, _changed(job=encode(_example()) | {"route": 5})),
        (RunEnded, {"at": 1.0, "actor": "a", "run_id": "R-1", "outcome": "fine"}),
        (MachineCleared, {"at": 1.0, "actor": "a", "machine": "m", "permit_id": "P-1", "counts": [3]}),
        (MachineSpec, {"name": "m", "driver": "d", "group": "g", "process": "MEX", "volume_mm": [1, 2]}),
    ],
)
def test_a_bad_record_is_refused(cls: type, data: Any) -> None:
    with pytest.raises(Refused) as caught:
        decode(cls, data)
    assert caught.value.code is BAD_RECORD


def test_lenient_decoding_leaves_out_what_it_does_not_know_at_any_depth() -> None:
    body = _changed(colour="red", job=encode(_example()) | {"colour": "red"})
    assert decode(JobSubmitted, body, lenient=True) == JobSubmitted(at=1.0, actor="ann", job=_example())
    with pytest.raises(Refused):
        decode(JobSubmitted, body)
    for broken in ({}, body | {"at": "noon"}, body | {"job": {"id": "J-1"}}, None):
        with pytest.raises(Refused) as caught:
            decode(JobSubmitted, broken, lenient=True)
        assert caught.value.code is BAD_RECORD


def test_what_has_no_place_in_a_record() -> None:
    with pytest.raises(TypeError, match="set"):
        encode({1, 2})
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical(Lot("L-1", "PLA", float("nan")))
