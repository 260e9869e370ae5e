"""Single commands by hand: who may send what when, what is on record before it is sent, and the permit."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from farmshop import SURE, T0, Bench, bench, farm_of, machine, running_farm, spec, warped

from farmd.daemon.shop import MaterialSpec
from farmd.driver import MACHINE_NOT_READY, Reply
from farmd.model import facts as f
from farmd.model.errors import MachineFault, Refused
from farmd.model.lifecycle import MachineState

ABLE = replace(SURE, commands=True)
OFFLINE = {"state": MachineState.OFFLINE}


def idle(**changes: object):
    return bench(farm_of(machine(**OFFLINE, **changes)), capabilities=ABLE)


def asked(b: Bench) -> list[str]:
    return [each for each in b.driver().asked if each.startswith("command")]


async def refusal(b: Bench, text: str) -> str:
    """Why a command is not sent; checks that it left no trace."""
    before, permit = b.kinds(), b.machine().permit
    with pytest.raises(Refused) as refused:
        await b.floor.command("m1", "anna", text)
    assert refused.value.where == "m1"
    assert (asked(b), b.kinds(), b.machine().permit) == ([], before, permit)
    return refused.value.code.name


def last(b: Bench, kind: type) -> f.Fact:
    return next(record.fact for record in reversed(b.ledger.recent) if isinstance(record.fact, kind))


# --- what may be sent, and when ----------------------------------------------------------------


@pytest.mark.parametrize("text", ["M114", "m115", " M105 ", "M503", "M114 ; where is it"])
@warped
async def test_questions_may_be_asked_at_any_time(text: str) -> None:
    for farm in (farm_of(machine(**OFFLINE)), farm_of(machine(**OFFLINE, held="new nozzle"))):
        async with bench(farm, capabilities=ABLE) as b:
            reply = await b.floor.command("m1", "anna", text)
            assert reply == Reply(("ok",))
            assert asked(b) == [f"command {text.strip()}"]
            assert b.machine().permit is not None


@pytest.mark.parametrize("held", [None, "mine"])
@warped
async def test_in_a_run_only_questions_and_small_adjustments(held: str | None) -> None:
    async with bench(running_farm(held=held), capabilities=ABLE) as b:
        for text in ("G28", "G1 X5", "M104 S200", "M600", "T1", "G91", "M220 S500", "M221 S10", "M83"):
            assert await refusal(b, text) == "command-in-run"
        for text in ("M105", "M220 S80", "M106 S128", "M117 almost done"):
            await b.floor.command("m1", "anna", text)
        assert asked(b) == [
            f"command {each}" for each in ("M105", "M220 S80", "M106 S128", "M117 almost done")
        ]


@warped
async def test_on_a_machine_that_nobody_holds_only_questions() -> None:
    async with idle() as b:
        for text in ("G28", "M106 S255", "M220 S80"):
            assert await refusal(b, text) == "not-held"
        await b.floor.hold("m1", "anna")
        for text in ("G28", "M106 S255", "G1 Z50 F600"):
            await b.floor.command("m1", "anna", text)
        await b.floor.release("m1", "anna")
        b.driver().asked.clear()
        assert await refusal(b, "G28") == "not-held"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("M112", "command-refused"),
        ("M500", "command-refused"),
        ("M24", "command-refused"),
        ("M32 part.gco", "command-refused"),
        ("m0502", "command-refused"),
        ("G28 M502", "command-refused"),
        ("M211 S0", "command-refused"),
        ("M104 S400", "command-refused"),
        ("M140 S150", "command-refused"),
        ("M105\nG28", "bad-command"),
        ("M105\rG28", "bad-command"),
        ("", "bad-command"),
        ("; nothing", "bad-command"),
    ],
)
@warped
async def test_the_gate_is_asked_whoever_holds_the_machine(text: str, code: str) -> None:
    async with idle(held="mine") as b:
        assert await refusal(b, text) == code


@warped
async def test_limits_are_those_of_the_machine_and_of_what_is_loaded() -> None:
    materials = {"PLA": MaterialSpec("PLA", max_nozzle_c=230.0), "PETG": MaterialSpec("PETG")}
    farm = farm_of(machine(**OFFLINE, held="mine", permit=None))
    async with bench(farm, spec(), capabilities=ABLE, materials=materials) as b:
        assert await refusal(b, "M104 S250") == "command-refused"
        await b.floor.command("m1", "anna", "M104 S220")
        await b.floor.load("m1", "anna", "PETG")
        await b.floor.command("m1", "anna", "M104 S250")


@warped
async def test_a_machine_without_a_link_or_without_commands_is_refused() -> None:
    async with bench(farm_of(machine(**OFFLINE))) as b:
        assert await refusal(b, "M105") == "not-supported"
    async with idle() as b:
        b.driver().lose()
        await b.settle(0.1)
        assert await refusal(b, "M105") == "machine-not-ready"
    async with idle() as b:
        with pytest.raises(Refused) as refused:
            await b.floor.command("m9", "anna", "M105")
        assert refused.value.code.name == "unknown-machine"


# --- the record --------------------------------------------------------------------------------


@warped
async def test_a_command_is_on_disk_before_it_is_sent_and_its_answer_after() -> None:
    async with idle(held="mine") as b:
        on_disk: list[list[str]] = []
        ask = b.driver()._ask

        def noted(what: str) -> None:
            on_disk.append([type(fact).__name__ for fact in b.store.facts])
            ask(what)

        b.driver()._ask = noted  # type: ignore[method-assign]
        b.driver().reply = Reply(("X:1.00 Y:2.00", "y\0" + "z" * 900))
        await b.floor.command("m1", "anna", "M114", "where is it")
        assert on_disk == [["MachineConnected", "CommandSent"]]
        sent, answered = last(b, f.CommandSent), last(b, f.CommandAnswered)
        assert sent == f.CommandSent(
            at=sent.at, actor="anna", machine="m1", command="M114", reason="where is it"
        )
        assert isinstance(answered, f.CommandAnswered)
        assert (answered.actor, answered.command, answered.complete) == ("machine:m1", "M114", True)
        assert answered.answer.startswith("X:1.00 Y:2.00; y\\0zzz")
        assert len(answered.answer) == 500
        assert "CommandAnswered" in [type(fact).__name__ for fact in b.store.facts]


@warped
async def test_what_was_not_sent_after_all_is_on_record_too() -> None:
    async with idle(held="mine") as b:
        b.driver().raises["command"] = Refused(MACHINE_NOT_READY, "it homes")
        with pytest.raises(Refused):
            await b.floor.command("m1", "anna", "G28")
        answered = last(b, f.CommandAnswered)
        assert isinstance(answered, f.CommandAnswered)
        assert answered.not_sent.startswith("it homes")
        assert not answered.complete


@warped
async def test_an_answer_that_is_not_all_there_is_told_as_such() -> None:
    async with idle(held="mine") as b:
        b.driver().reply = Reply(("echo:busy",), complete=False)
        assert (await b.floor.command("m1", "anna", "G28")).complete is False
        answered = last(b, f.CommandAnswered)
        assert isinstance(answered, f.CommandAnswered)
        assert (answered.answer, answered.complete, answered.not_sent) == ("echo:busy", False, "")


@warped
async def test_a_run_that_is_open_is_named_in_the_record() -> None:
    async with bench(running_farm(), capabilities=ABLE) as b:
        await b.floor.command("m1", "anna", "M105")
        for kind in (f.CommandSent, f.CommandAnswered):
            assert last(b, kind).run_id == "R-1"  # type: ignore[attr-defined]


@warped
async def test_a_driver_that_fails_is_its_machines_fault() -> None:
    async with idle(held="mine") as b:
        b.driver().raises["command"] = ValueError("oops")
        with pytest.raises(MachineFault):
            await b.floor.command("m1", "anna", "M105")
        assert b.machine().state is MachineState.FAULT
        del b.driver().raises["command"]
        await b.floor.release("m1", "anna")


@warped
async def test_one_command_at_a_time() -> None:
    async with idle(held="mine") as b:
        first = asyncio.ensure_future(b.floor.command("m1", "anna", "G28"))
        await asyncio.sleep(0.05)
        with pytest.raises(Refused) as refused:
            await b.floor.command("m1", "bo", "M105")
        assert refused.value.code.name == "command-open"
        assert await first == Reply(("ok",))
        await b.floor.command("m1", "bo", "M105")


@warped
async def test_released_while_the_disk_was_busy_it_is_not_sent() -> None:
    async with idle(held="mine") as b:
        sending = asyncio.ensure_future(b.floor.command("m1", "anna", "G28"))
        await asyncio.sleep(0)
        b.ledger.record(f.MachineReleased(at=T0, actor="bo", machine="m1"))
        with pytest.raises(Refused) as refused:
            await sending
        assert refused.value.code.name == "not-held"
        assert asked(b) == []
        answered = last(b, f.CommandAnswered)
        assert isinstance(answered, f.CommandAnswered)
        assert answered.not_sent


# --- the permit --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "void"),
    [
        ("G28", False),
        ("G1 X10 Y10", False),
        ("M106 S255", False),
        ("M104 S0", False),
        ("M114", False),
        ("G1 E5 F100", True),
        ("M104 S200", True),
        ("M600", True),
        ("M701", True),
        ("T0", True),
        ("PURGE", True),
    ],
)
@warped
async def test_what_may_have_left_something_on_the_bed_voids_the_permit(text: str, void: bool) -> None:
    async with idle(held="mine") as b:
        assert b.machine().permit is not None
        await b.floor.command("m1", "anna", text)
        assert (b.machine().permit is None) is void
        assert b.kinds().count("PermitVoided") == void
        if void:
            # In one breath with the intent: whatever happens, none is left without the other.
            sent = next(
                e for e in b.store.commits if any(isinstance(x, f.CommandSent) for y in e for x in y.facts)
            )
            assert {type(x) for y in sent for x in y.facts} >= {f.CommandSent, f.PermitVoided}
        await b.floor.command("m1", "anna", text)
        assert b.kinds().count("PermitVoided") == void


# --- asking to pause, resume and stop -----------------------------------------------------------


@warped
async def test_who_asked_to_pause_and_why_is_on_record() -> None:
    async with bench(running_farm()) as b:
        await b.floor.pause("m1", "anna", "the first layer lifts")
        await b.floor.resume("m1", "bo")
        await b.floor.stop("m1", "anna", "it does")
        told = [record.fact for record in b.ledger.recent if isinstance(record.fact, f.MachineAsked)]
        assert [(each.act, each.actor, each.reason, each.run_id) for each in told] == [
            ("pause", "anna", "the first layer lifts", "R-1"),
            ("resume", "bo", "", "R-1"),
            ("stop", "anna", "it does", "R-1"),
        ]
        assert {"pause", "resume", "stop"} <= set(b.driver().asked)
        assert set(told) <= set(b.store.facts)
        await b.floor.estop("m1", "anna", "it burns")
        assert b.machine().held == "emergency stop: it burns"
