"""A serial machine worked at by hand, through farmctl and the daemon: commands, the terminal, a noisy link."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from farmhouse import DATA, FARMCTL, Farmhouse, Printer, serial_machine, until


@pytest.fixture
def house(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Farmhouse]:
    printer = Printer(tmp_path, *getattr(request, "param", ()))
    house = Farmhouse(tmp_path, serial_machine(printer.port))
    house.start()
    try:
        until(lambda: house.machine("m1")["state"] == "idle", "the machine is linked")
        yield house
    finally:
        house.stop()
        printer.close()


def executed(house: Farmhouse) -> list[bytes]:
    return (house.folder / "executed").read_bytes().splitlines()


def refused(house: Farmhouse, *command: str) -> str:
    done = house.ask("send", "m1", *command)
    assert done.returncode == 1
    return done.stderr


def test_commands_by_hand_from_the_command_line_to_the_machine(house: Farmhouse) -> None:
    assert house.machine("m1")["capabilities"]["commands"]
    answer = house.farmctl("send", "m1", "M115")
    assert answer["complete"]
    assert answer["lines"][0].startswith("FIRMWARE_NAME:Marlin")
    assert refused(house, "G28").startswith("error not-held:")
    assert refused(house, "M112").startswith("error command-refused:")
    assert refused(house, "M104", "S400").startswith("error command-refused:")
    house.farmctl("clear", "m1")
    house.farmctl("hold", "m1")
    assert house.farmctl("send", "m1", "G28", "--reason", "new belt")["complete"]
    assert house.machine("m1")["permit"]
    house.farmctl("send", "m1", "G1", "E5", "F100")
    assert house.machine("m1")["permit"] is None, "there may be something on the bed"
    until(lambda: executed(house)[-2:] == [b"G28", b"G1 E5 F100"], "both were executed, and once")
    lines = house.farmctl("machine", "m1", "--terminal")["lines"]
    sent = [line["text"] for line in lines if line["sent"]]
    assert any(" G28*" in text for text in sent)
    assert [line["number"] for line in lines] == list(range(1, len(lines) + 1))
    events = house.farmctl("events", "--machine", "m1", "-n", "50")["events"]
    told = [(each["kind"], each["command"]) for each in events if "command" in each]
    assert told[-4:] == [
        ("CommandSent", "G28"),
        ("CommandAnswered", "G28"),
        ("CommandSent", "G1 E5 F100"),
        ("CommandAnswered", "G1 E5 F100"),
    ]
    assert not [each for each in told if each[1] in ("M112", "M104 S400")]
    sent_by = next(each for each in events if each["kind"] == "CommandSent" and each["command"] == "G28")
    assert sent_by["reason"] == "new belt"


def test_the_terminal_is_followed_as_it_happens(house: Farmhouse) -> None:
    token = house.folder / "data" / "token"
    words = ["--url", house.url, "--token-file", str(token), "machine", "m1", "--terminal", "--follow"]
    with subprocess.Popen([*FARMCTL, *words], stdout=subprocess.PIPE, text=True) as following:
        try:
            assert following.stdout is not None
            assert any("M115*" in following.stdout.readline() for _ in range(20))
            house.farmctl("send", "m1", "M114")
            shown = iter(following.stdout.readline, "")
            assert any("M114*" in line for line in shown), "the command is shown as it goes"
            assert any("Recv: X:" in line for line in shown)
        finally:
            following.terminate()


@pytest.mark.parametrize("house", [("--move-scale", "0.01", "--noise", "0.05")], indirect=True)
def test_a_noisy_link_is_told_before_it_ruins_a_part(house: Farmhouse) -> None:
    house.farmctl("submit", str(DATA / "box20.gcode"), "--quantity", "1")
    house.farmctl("clear", "m1")

    def noisy() -> bool:
        return any(task["kind"] == "noise" for task in house.farmctl("next")["tasks"])

    until(noisy, "somebody is sent to look at the cable")
    machine = house.machine("m1")
    assert "ferrite" in machine["attention"]["link-noisy"]
    assert machine["health"]["resends"] > 0
    assert machine["health"]["noise"] > 0.0
    assert [each["event"] for each in house.log].count("link noisy") == 1
