"""A noisy link: when it is one, told once and once when it is over, shown where people look, counted over links."""

from __future__ import annotations

import pytest
from farmshop import SURE, T0, bench, farm_of, machine, schedule, shop, spec, warped
from structlog.testing import capture_logs

from farmd.daemon.live import Live, Trouble
from farmd.daemon.noise import LINK_NOISY, NoiseLimits, NoiseWatch
from farmd.daemon.views import machine_view
from farmd.daemon.walk import walk_list
from farmd.driver import LinkHealth, Observed
from farmd.driver.events import Activity
from farmd.model.errors import ErrorCode, LinkLost
from farmd.model.lifecycle import MachineState

UNPLUGGED = ErrorCode("test-pulled", "the cable is out", "plug it in")
OFFLINE = {"state": MachineState.OFFLINE}


def noise(share: float = 0.0, resends: int = 0, lines: int = 1000) -> LinkHealth:
    return LinkHealth(lines=lines, resends=resends, noise=share)


# --- the judgement ------------------------------------------------------------------------------


def test_a_share_of_damaged_lines_makes_a_link_noisy_until_it_is_half_of_it() -> None:
    watch = NoiseWatch(NoiseLimits())
    told = [watch.judge(noise(share), 5.0 * n) is not None for n, share in enumerate((0, 0.019, 0.02, 0.015))]
    assert told == [False, False, True, True]
    told = [
        watch.judge(noise(share), 20.0 + 5 * n) is not None for n, share in enumerate((0.01, 0.009, 0.015))
    ]
    assert told == [True, False, False]


def test_few_lines_make_no_share() -> None:
    watch = NoiseWatch(NoiseLimits())
    assert watch.judge(noise(0.5, lines=99), 0.0) is None
    assert watch.judge(noise(0.5, lines=100), 5.0) is not None


def test_resends_of_a_minute_make_a_link_noisy() -> None:
    watch = NoiseWatch(NoiseLimits(percent=0.0))
    counts = [0, 2, 4, 5, *[5] * 12, 5, 5]
    told = [watch.judge(noise(0.9, resends), 5.0 * n) is not None for n, resends in enumerate(counts)]
    assert told.index(True) == 3
    # The last of them fall out of the minute one by one; below half of five it is over.
    assert told[3:] == [True] * (told.count(True)) + [False] * (len(counts) - 3 - told.count(True))
    assert told[-1] is False


def test_the_first_report_of_a_link_counts_from_its_opening() -> None:
    watch = NoiseWatch(NoiseLimits())
    assert watch.judge(noise(resends=7), 100.0) is not None
    watch.forget()
    assert watch.judge(noise(resends=1), 105.0) is None
    assert watch.judge(noise(resends=5), 110.0) is not None


def test_limits_of_zero_tell_nothing() -> None:
    watch = NoiseWatch(NoiseLimits(0.0, 0.0))
    assert all(watch.judge(noise(1.0, 1000 * n), 5.0 * n) is None for n in range(5))


def test_the_trouble_has_figures_and_a_remedy() -> None:
    trouble = NoiseWatch(NoiseLimits()).judge(noise(0.034, resends=6), 0.0)
    assert trouble is not None
    assert "3.4 %" in trouble.what
    assert "6 resends" in trouble.what
    assert (trouble.code, trouble.remedy) == (LINK_NOISY.name, LINK_NOISY.remedy)


# --- the counts ---------------------------------------------------------------------------------


def test_counts_go_on_over_links() -> None:
    live = Live()
    assert live.link_totals() == {}
    live.take_health(LinkHealth(lines=10, resends=2, timeouts=1, garbled=3))
    live.take_health(LinkHealth(lines=25, resends=2, timeouts=1, garbled=4))
    assert live.link_totals() == {"lines": 25, "resends": 2, "timeouts": 1, "garbled": 4}
    live.close_link()
    assert live.health is None
    assert live.link_totals()["lines"] == 25
    live.take_health(LinkHealth(lines=5, resends=1, underruns=2))
    assert live.link_totals() == {"lines": 30, "resends": 3, "timeouts": 1, "garbled": 4, "underruns": 2}
    # A driver that counts anew without telling: nothing is lost all the same.
    live.take_health(LinkHealth(lines=1, underruns=0))
    assert live.link_totals()["lines"] == 31
    assert live.link_totals()["underruns"] == 2


# --- the attendant ------------------------------------------------------------------------------


@warped
async def test_noise_is_told_once_and_its_end_once() -> None:
    with capture_logs() as logs:
        async with bench(farm_of(machine(**OFFLINE))) as b:
            live, report = b.attendants["m1"].live, b.driver().report
            for share in (0.0, 0.05, 0.06, 0.05, 0.0, 0.0):
                report(noise(share))
                await b.settle(5.0)
                assert (live.noisy is not None) is (share > 0)
                assert ("link-noisy" in live.attention) is (share > 0)
            assert [e["event"] for e in logs if "noisy" in e["event"] or "quiet" in e["event"]] == [
                "link noisy",
                "link quiet again",
            ]
            assert not [kind for kind in b.kinds() if "Link" in kind], "telemetry is not recorded"


@warped
async def test_a_lost_link_is_no_longer_noisy_and_the_next_counts_anew() -> None:
    async with bench(farm_of(machine(**OFFLINE))) as b:
        live = b.attendants["m1"].live
        b.driver().report(noise(0.05, resends=9))
        assert live.noisy is not None
        b.driver().report(Observed(Activity.IDLE))
        b.driver().report(noise(0.05, resends=9))
        assert "link-noisy" in live.attention, "a fresh look at the machine does not make its link better"
        b.driver().lose(LinkLost(UNPLUGGED, where="/dev/x"))
        await b.settle(0.1)
        assert live.noisy is None
        assert live.lost == Trouble("test-pulled", "/dev/x: the cable is out", "plug it in")
        assert live.health is not None, "what it was like can still be seen"
        await b.settle(2.0)
        assert live.lost is None
        assert live.health is None
        b.driver().report(noise(0.0, resends=1, lines=50))
        assert live.noisy is None
        assert live.link_totals()["lines"] == 1050


# --- where people look --------------------------------------------------------------------------


def test_the_walk_list_tells_why_a_link_is_lost_and_what_to_do() -> None:
    farm = farm_of(machine(**OFFLINE), machine("m2", **OFFLINE))
    lives = {
        "m1": Live(lost=Trouble("port-in-use", "/dev/x: another program holds it", "stop it")),
        "m2": Live(),
    }
    first, second = walk_list(farm, schedule(), shop(spec(), spec("m2")), T0, lives)
    assert (first.kind, first.machine) == ("link", "m1")
    assert first.what == "no link: /dev/x: another program holds it; stop it"
    assert second.what == "no link: look at power, cable and port"


@pytest.mark.parametrize("state", [MachineState.IDLE, MachineState.BUSY])
def test_the_walk_list_ends_with_noisy_links(state: MachineState) -> None:
    farm = farm_of(machine(state=state, permit=None), machine("m2"))
    lives = {"m1": Live(noisy=Trouble("link-noisy", "4.0 % damaged", "see the cable"))}
    *others, task = walk_list(farm, schedule(), shop(spec(), spec("m2")), T0, lives)
    assert (task.machine, task.kind, task.what) == ("m1", "noise", "4.0 % damaged; see the cable")
    assert task.command == "farmctl machine m1"
    assert all(other.kind != "noise" for other in others)


def test_a_machine_is_shown_with_the_health_of_its_link() -> None:
    farm, the_shop = farm_of(machine()), shop(spec(), capabilities=SURE)
    live = Live(health=LinkHealth(lines=7, resends=1, mode="ping-pong"))
    seen = machine_view("m1", farm, the_shop, schedule(), live)["health"]
    assert (seen["lines"], seen["resends"], seen["underruns"], seen["mode"]) == (7, 1, None, "ping-pong")
    assert machine_view("m1", farm, the_shop, schedule(), Live())["health"] is None
    assert machine_view("m1", farm, the_shop, schedule(), None)["health"] is None
