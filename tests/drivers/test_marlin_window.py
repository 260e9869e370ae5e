"""Windows, deadlines and counters of the Marlin core: their arithmetic, and each case of loss as a transcript."""

from __future__ import annotations

import pytest

from farmd_drivers.marlin.wire import Wire, motion, replies, states
from farmd_drivers.marlin.wire.counters import BOUNDS_S, RECENT_LINES, Counters
from farmd_drivers.marlin.wire.dialects import KLIPPER
from farmd_drivers.marlin.wire.motion import Modal, silence_s
from farmd_drivers.marlin.wire.replies import Kind, Slots, classify, clean, encode
from farmd_drivers.marlin.wire.states import Link, Phase
from farmd_drivers.marlin.wire.window import MOST_LINES, SYNC_LINES, Sending, Window

# The arithmetic of a window.


def window_of(wanted: Sending, rx_bytes: int = 128, *, ring: int = 0, proves: bool = True) -> Window:
    window = Window()
    window.configure(wanted, rx_bytes)
    if ring:
        window.fit(15, ring - 1, 0)
    window.choose(proves=proves)
    return window


@pytest.mark.parametrize(
    ("wanted", "ring", "proves", "mode"),
    [
        (Sending.AUTO, 0, True, Sending.PING_PONG),
        (Sending.AUTO, 4, False, Sending.ADVANCED_OK),
        (Sending.PING_PONG, 4, True, Sending.PING_PONG),
        (Sending.ADVANCED_OK, 0, True, Sending.PING_PONG),
        (Sending.COUNTING, 0, True, Sending.COUNTING),
        (Sending.COUNTING, 0, False, Sending.PING_PONG),
        (Sending.COUNTING, 4, False, Sending.COUNTING),
    ],
)
def test_a_way_that_cannot_be_gone_is_ping_pong(
    wanted: Sending, ring: int, proves: bool, mode: Sending
) -> None:
    assert window_of(wanted, ring=ring, proves=proves).mode is mode


def test_bytes_on_their_way_leave_one_free() -> None:
    window = window_of(Sending.COUNTING)
    window.add(60)
    assert window.takes(67)
    assert not window.takes(68)
    window.add(67)
    assert window.used == 127
    assert not window.takes(1)
    window.answered(1)
    assert (window.used, window.takes(60), window.takes(61)) == (67, True, False)
    window.answered(5)
    assert (window.used, len(window.sizes)) == (0, 0)


def test_one_line_always_goes_and_one_may_have_to_go_alone() -> None:
    window = window_of(Sending.COUNTING, 64)
    assert window.takes(96)
    window.add(20)
    assert window.takes(20)
    window.stopped = True
    assert not window.takes(1)
    window.answered(1)
    assert window.takes(20)
    assert not window.stopped


def test_the_ring_has_one_slot_more_than_is_said() -> None:
    window = window_of(Sending.ADVANCED_OK, 4096, ring=4)
    assert window.max_lines == 4
    for _ in range(4):
        assert window.takes(30)
        window.add(30)
        assert not window.takes(30), "not before it has been read"
        window.unread = 0
    assert not window.takes(1)
    window.answered(1)
    window.fit(12, 0, 3)  # three in the ring besides the one answered: full, and one is free now
    assert (window.max_lines, window.unread) == (4, 0)
    window.fit(12, 1, 0)  # nothing of ours is in it, and yet but two are free
    assert (window.max_lines, window.unread) == (2, 0)
    window.fit(12, 3, 1)  # the ring is empty: ours has not been read yet
    assert (window.max_lines, window.unread) == (4, 1)
    assert not window.takes(1)
    assert window_of(Sending.ADVANCED_OK, 4096, ring=200).max_lines == MOST_LINES


def test_an_ok_of_advanced_ok_is_read_exactly() -> None:
    assert replies.slots(b"ok N12 P15 B3") == Slots(12, 15, 3)
    assert replies.slots(b"ok P15 B3") == Slots(None, 15, 3)
    assert replies.slots(b"ok") is None
    assert replies.slots(b"ok 12") is None
    assert replies.numbered_ok(b"ok N12 P15 B3\r") == (12, 15, 3)
    assert replies.numbered_ok(b"ok N12 P15 B3 ") is None
    assert replies.numbered_ok(b"ok P15 B3") is None


# Words that noise or old firmware makes.


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (b"ok 12", Kind.OK),
        (b"kok", Kind.OK),
        (b"okok", Kind.OK),
        (b"oj N12 P15 B3", Kind.OK),
        (b"k T:21.0 /0.0", Kind.OK),
        (b"oj", Kind.GARBLED),
        (b"k", Kind.GARBLED),
        (b"okResend: 12", Kind.RESEND),
        (b"Error:checksum mismatch, Last Line: 11Resend: 12", Kind.RESEND),
        (b"T:20.0 /0.0 B:20.0 /0.0 @:0start", Kind.START),
        (b"echo:start", Kind.START),
        (b"o\x80k\0", Kind.OK),
        (b"echo:Please restart", Kind.TEXT),
        (b"echo:Ready to start", Kind.TEXT),
        (b"Error:0", Kind.ERROR),
        (b": Extruder switched off. MAXTEMP triggered !", Kind.FATAL),
        (b"!! Shutdown due to webhooks request", Kind.FATAL),
        (b"echo:SD card ok", Kind.TEXT),
    ],
)
def test_replies_that_noise_has_been_at(reply: bytes, kind: Kind) -> None:
    assert classify(clean(reply)) is kind


def test_numbers_and_oks_in_lines_that_lost_their_break() -> None:
    assert replies.resend_number(b"okResend: 12") == 12
    assert replies.resend_number(b"Error:checksum mismatch, Last Line: 11Resend: 12") == 12
    assert replies.ends_in_ok(b"T:20.0 /0.0 B@:0ok")
    assert not replies.ends_in_ok(b"okok")
    assert replies.is_noisy(b"o\x80k")
    assert not replies.is_noisy(b" T:20 /0\tB:0 /0\r")


# How long moves may take.


@pytest.mark.parametrize(
    ("sent", "at_least", "at_most"),
    [
        ([b"G28", b"G1 X100 F600"], 10.0, 10.5),
        ([b"G28", b"G1 X100 F6000", *[b"G1 X%d" % n for n in range(99, 59, -1)]], 0.0, 0.1),
        ([b"G28", b"G1 X100 F60", *[b"G1 X%d F6000" % n for n in range(99, 79, -1)]], 100.0, 101.0),
        ([b"G91", b"G1 X30 F60", b"G90", b"G1 Y1 F6000"], 30.0, 31.0),
        ([b"G28", b"G1 Z30 F60000"], 6.0, 6.2),
        ([b"M83", b"G1 E40 F6000"], 2.0, 2.2),
        ([b"G28", b"G20", b"G1 X1 F60"], 1.0, 1.3),
        ([b"M220 S50", b"G28", b"G1 X60 F600"], 12.0, 12.2),
        ([b"G28", b"G92 X50", b"G1 X60 F60"], 10.0, 10.2),
        ([b"G28", b"G2 X0 Y0 I10 J0 F600"], 2 * 6.28, 2 * 6.6),
        ([b"G28", b"G1 X20 F600", b"G3 X0 I-10 F600"], 3.14 + 2.0, 6.9),
        ([b"G28", b"G1 X100 F600", b"M106 S255"], 10.0, 10.5),
        ([b"G28", b"G1 X100 F600", b"G1 X0", b"G4 S3"], 23.0, 24.0),
        ([b"G28", b"G1 X100 F600", b"G1 X0", b"M42 P1"], 22.0, 23.0),
        ([b"M106"], 0.0, 0.0),
    ],
)
def test_what_moves_may_take(sent: list[bytes], at_least: float, at_most: float) -> None:
    assert at_least <= silence_s(Modal(), sent, sent[-1:]) <= at_most


def test_what_holds_is_found_in_many_commands_at_once() -> None:
    moves = [b"G1 X%d Y%d E0.1" % (n, n) for n in range(100)]
    commands = [b"G21", b"G90", b"M83", b"G1 Z5 F1200", *moves, b"M117 ZEBRA"]
    skimmed, walked = Modal(), Modal()
    skimmed.skim(commands)
    for command in commands:
        walked.take(command)
    assert skimmed.at | {b"E": 0.0} == walked.at | {b"E": 0.0}
    assert (skimmed.feed_mm_s, skimmed.relative, skimmed.relative_e) == (20.0, False, True)
    skimmed.skim([b"G91", b"G1 X1"])
    assert skimmed.relative
    assert b"X" not in skimmed.at
    assert motion.takes_no_time(b"g0x5")
    assert not motion.takes_no_time(b"G2 X5 I3")
    assert not motion.takes_no_time(b"M400")


# Counters.


def test_turn_rounds_are_right_to_a_fifth() -> None:
    counters = Counters()
    assert counters.turn_round_s(0.5) is None
    for n in range(1000):
        counters.turned(0.001 if n < 980 else 0.5)
    assert counters.turn_round_s(0.5) == pytest.approx(0.001, rel=0.42)
    assert counters.turn_round_s(0.99) == pytest.approx(0.5, rel=0.42)
    assert 0.001 <= counters.shortest_turn_s < 0.002
    for _ in range(20_000):
        counters.turned(0.05)
    assert counters.turn_round_s(0.5) == pytest.approx(0.05, rel=0.42), "it follows the present"
    counters.turned(1e9)
    assert counters.turn_round_s(1.0) == BOUNDS_S[-1]


def test_noise_is_a_share_of_recent_lines() -> None:
    counters = Counters()
    assert counters.noise(0) == 0.0
    for line in (10, 10, 20):
        counters.trouble(line)
    assert counters.noise(20) == pytest.approx(2 / 20)
    for line in (590, 600):
        counters.trouble(line)
    assert counters.noise(600) == pytest.approx(2 / RECENT_LINES)
    assert counters.noise(2000) == 0.0


# Transcripts.

OK = b"ok\n"
REPORT = b"ok T:21.0 /0.0 B:21.0 /0.0 @:0 B@:0\n"
MARLIN = b"FIRMWARE_NAME:Marlin 2.1.2 (a b) EXTRUDER_COUNT:1\nCap:AUTOREPORT_TEMP:1\n"


class Talk:
    """A wire, and somebody who plays the machine. `advanced`: with ADVANCED_OK, a ring of 4 and 16 blocks."""

    def __init__(
        self, sending: Sending = Sending.AUTO, rx_bytes: int = 128, *, advanced: bool = False
    ) -> None:
        self.now = 0.0
        self.wire = Wire(self.now)
        self.wire.send_by(sending, rx_bytes)
        self.advanced = advanced
        self.events: list[states.WireEvent] = []

    def ok(self, number: int, free: int = 15, slots: int = 3) -> bytes:
        return b"ok N%d P%d B%d\n" % (number, free, slots) if self.advanced else OK

    def tell(self, *told: bytes) -> bytes:
        """The machine says something; what is said to it then."""
        for data in told:
            self.now += 0.001
            self.wire.receive_data(data, self.now)
        return self.said()

    def said(self) -> bytes:
        data = b""
        while more := self.wire.data_to_send(self.now):
            data += more
        while (event := self.wire.next_event()) is not None:
            self.events.append(event)
        return data

    def wait(self, seconds: float) -> bytes:
        """Time passes; what is said meanwhile."""
        data, end = self.said(), self.now + seconds
        while (due := self.wire.get_timer()) is not None and due <= end:
            self.now = max(self.now, due)
            self.wire.handle_timer(self.now)
            data += self.said()
        self.now = end
        return data

    def silence_until_said(self) -> float:
        """How long nothing happens until something is said."""
        began = self.now
        for _ in range(10_000):
            due = self.wire.get_timer()
            assert due is not None
            self.now = max(self.now, due)
            self.wire.handle_timer(self.now)
            if self.said():
                return self.now - began
        raise AssertionError("nothing was ever said")

    def printing(self, job: list[bytes]) -> Talk:
        """In a run, with the first line of it answered and no more told of the rest."""
        assert self.wait(2.0) == b"\nN0 M110 N0*125\n"
        self.tell(self.ok(0))
        sent = self.tell(MARLIN, self.ok(1))
        while b"M105" not in sent:
            sent = self.tell(self.ok(int(sent[1:2])))
        self.tell(REPORT)
        assert self.wire.phase is Phase.IDLE
        self.wire.begin(self.now)
        self.wire.feed(job)
        assert self.said() == b"\nN0 M110 N0*125\n"
        self.tell(self.ok(0))
        assert self.tell(REPORT) == encode(2, job[0])
        self.events.clear()
        return self

    def calmed(self, job: list[bytes], lines: int = 8) -> bytes:
        """As `printing`, up to the opening of the window; what is said then."""
        self.printing(job)
        for number in range(2, lines + 1):
            last = self.tell(self.ok(number))
            if number < lines:
                assert last == encode(number + 1, job[number - 1])
        return last

    def filled(self, job: list[bytes]) -> Talk:
        """As `calmed`, with lines 9 to 12 on their way."""
        self.calmed(job)
        for number in (10, 11, 12):
            assert self.wait(0.02) == encode(number, job[number - 2])
        return self


JOB = [b"G1 X%d Y1" % n for n in range(10, 99)] + [b"G1 X%d Y2" % n for n in range(10, 99)]


def lines(first: int, last: int) -> bytes:
    return b"".join(encode(number, JOB[number - 2]) for number in range(first, last + 1))


def test_a_window_by_advanced_ok_opens_after_eight_lines_in_peace() -> None:
    """A line goes when the one before it has been read: by the slots that are taken, or by time."""
    talk = Talk(advanced=True)
    assert talk.calmed(JOB) == lines(9, 9)
    assert talk.wait(0.014) == b""
    assert talk.wait(0.01) == lines(10, 10)
    assert talk.tell(talk.ok(9, 2, 2)) == lines(11, 11), "line 10 takes the slot that is missing"
    assert talk.tell(talk.ok(10, 2, 3)) == b"", "line 11 is not in the ring yet"
    assert talk.wait(0.02) == lines(12, 12)
    assert talk.wait(0.02) == lines(13, 13)
    assert talk.wait(0.02) == lines(14, 14)
    assert talk.wait(0.5) == b"", "four are in the ring"
    assert talk.tell(talk.ok(11, 10, 0)) == lines(15, 15)
    assert talk.tell(talk.ok(12, 10, 0)) == lines(16, 16)
    assert talk.wire.lines_accepted == 11
    assert talk.wire.health(talk.now).mode == "advanced-ok, 4 lines and 127 bytes at most"


def test_the_number_in_an_ok_ends_every_drift() -> None:
    talk = Talk(advanced=True).filled(JOB)
    assert talk.tell(talk.ok(11, 15, 2)) == lines(13, 13), "two oks were lost"
    assert talk.wire.lines_accepted == 10
    assert talk.tell(talk.ok(11), talk.ok(11)) == b"", "doubled"
    assert talk.tell(b"ok P15 B3\n") == b"", "of a line that lost its number"
    assert talk.tell(talk.ok(99, 15, 2)) == lines(14, 14), "damaged, so taken for the next one"
    assert talk.wire.lines_accepted == 11
    assert talk.tell(talk.ok(14)) == lines(15, 15)
    assert talk.wire.lines_accepted == 13
    assert talk.wire.counters.stray_oks == 3


def test_somebody_elses_lines_in_the_ring_narrow_the_window() -> None:
    talk = Talk(advanced=True).filled(JOB)
    assert talk.tell(talk.ok(12, 15, 0)) == lines(13, 13)
    assert talk.wait(0.3) == b""
    assert talk.tell(talk.ok(13, 15, 3)) == lines(14, 14)
    assert talk.wait(0.02) == lines(15, 15)


def test_a_window_by_counting_keeps_to_the_bytes() -> None:
    talk = Talk(Sending.COUNTING)
    size = len(encode(9, JOB[7]))
    assert talk.calmed(JOB) == lines(9, 8 + 127 // size)
    assert talk.tell(OK * 2).count(b"\n") == 2
    talk = Talk(Sending.COUNTING, 64)
    assert talk.calmed(JOB) == lines(9, 8 + 63 // size)


def test_a_proof_ends_the_drift_of_doubled_and_lost_oks() -> None:
    job = [b"G1 X%d" % n for n in range(SYNC_LINES)]
    for lost in (True, False):
        talk = Talk(Sending.COUNTING)
        said = talk.calmed(job)
        talk.wire.feed(job)
        sent = taken = 8 + said.count(b"\n")
        answered = 8
        said = talk.tell(OK * (2 if lost else 4))
        drift = -1 if lost else 1  # three were executed
        answered += 3
        while b"M105" not in said:
            sent += said.count(b"\n")
            assert talk.wire._line.acked - answered == drift
            answered += 1
            said = talk.tell(OK)
            assert sent < 400, "no proof was ever asked for"
        if not lost:
            said = talk.tell(
                OK * (sent - answered)
            )  # those before the question, which are one too few for us
            assert said == b""
        taken = talk.wire._out.sent
        assert talk.tell(REPORT) != b""
        assert talk.wire._out.certain == taken
        assert talk.wire._line.outstanding == len(talk.wire._line.window.sizes)
        assert talk.wire.counters.probes == 0


def test_counting_is_over_when_lines_behind_a_refused_one_were_lost() -> None:
    """What was on its way behind it may have been cut, and the rest of a cut line is executed unchecked."""
    talk = Talk(Sending.COUNTING)
    said = talk.calmed(JOB)
    assert said.count(b"\n") > 1
    assert talk.tell(b"Error:checksum mismatch, Last Line: 8\nResend: 9\nok\n") == b""
    said = talk.wait(0.031)
    for _ in range(60):
        assert said.count(b"\n") == 1
        said = talk.tell(REPORT if b"M105" in said else OK)


def test_a_resend_in_a_window_is_obeyed_from_that_line_on_one_by_one() -> None:
    """Lines before it answer after it; lines behind it repeat it; neither is counted."""
    talk = Talk(advanced=True).filled(JOB)
    refusal = b"Error:Line Number is not Last Line Number+1, Last Line: 10\nResend: 11\nok\n"
    assert talk.tell(b"Error:checksum mismatch, Last Line: 10\nResend: 11\nok\n", talk.ok(9), refusal) == b""
    assert talk.wire.link is Link.RESYNC
    assert talk.wait(0.029) == b""
    assert talk.wait(0.002) == lines(11, 11)
    assert talk.tell(talk.ok(10)) == b"", "of a line before it"
    assert talk.tell(talk.ok(11)) == lines(12, 12)
    assert talk.tell(talk.ok(12)) == encode(13, b"M105")
    assert talk.tell(REPORT) == encode(14, JOB[11])
    for number in range(14, 18):
        assert talk.tell(talk.ok(number)).count(b"\n") == 1
        assert talk.wait(0.3) == b""
    assert talk.tell(talk.ok(18)).count(b"\n") == 1
    assert talk.wait(0.3).count(b"\n") == 3, "all well for eight lines"
    assert talk.wire.counters.resends == 2
    assert talk.wire.health(talk.now).noise > 0


def test_in_counting_the_window_stays_shut_until_a_proof() -> None:
    talk = Talk(Sending.COUNTING)
    last = 8 + talk.calmed(JOB).count(b"\n")
    assert talk.tell(b"Error:checksum mismatch, Last Line: 9\nResend: %d\nok\n" % last) == b""
    assert talk.wait(0.031) == lines(last, last)
    said = talk.tell(OK)
    while b"M105" not in said:
        assert said.count(b"\n") == 1
        said = talk.tell(OK)
    assert talk.tell(OK) == b"", "late, of a line before"
    said = talk.tell(REPORT)
    for _ in range(20):
        if said.count(b"\n") > 1:
            break
        said = talk.tell(OK)
    assert said.count(b"\n") > 1


def test_ping_pong_goes_on_at_once_where_nothing_can_be_on_its_way() -> None:
    talk = Talk().printing(JOB)
    refusal = b"Error:checksum mismatch, Last Line: %d\nResend: %d\nok\n"
    assert talk.tell(refusal % (1, 2)) == b"", "whether an ok follows a Resend is not known yet"
    assert talk.wait(0.031) == lines(2, 2)
    talk.tell(OK)
    assert talk.tell(REPORT) == encode(4, JOB[1])
    for _ in range(4, 40):
        talk.tell(OK)
    # Lines have one number more since the question.
    assert talk.tell(refusal % (39, 40)) == encode(40, JOB[37])
    for number in range(41, 44):
        assert talk.tell(OK) == encode(number, JOB[number - 3])
        assert talk.tell(refusal % (number - 1, number)) == encode(number, JOB[number - 3])
    talk.tell(OK)
    assert talk.tell(refusal % (43, 44)) == b"", "so many in a row are no accident: wait for quiet"
    assert talk.wait(0.031) == encode(44, JOB[41])


def test_a_quick_resend_that_is_repeated_waits_after_all() -> None:
    talk = Talk().printing(JOB)
    talk.tell(b"Resend: 2\nok\n")
    talk.wait(0.031)
    talk.tell(OK)
    talk.tell(REPORT)
    for _ in range(30):
        talk.tell(OK)
    twice = b"Error:checksum mismatch, Last Line: 33\nResend: 34\nResend: 34\nok\n"
    assert talk.tell(twice) == b""
    assert talk.wait(0.031) == encode(34, JOB[31])


def test_quiet_is_three_turns_of_a_slow_link() -> None:
    talk = Talk().printing(JOB)
    for _ in range(40):
        talk.now += 0.1
        talk.tell(OK)
    assert talk.tell(b"Resend: 42\nok\n") == b""
    assert talk.wait(0.25) == b""
    assert talk.wait(0.1) == lines(42, 42)


def test_the_same_line_for_ever_in_a_window_is_stuck() -> None:
    talk = Talk(advanced=True).filled(JOB)
    for _ in range(states.SAME_RESENDS):
        assert talk.tell(b"Resend: 11\nok\n") == b""
        assert talk.wait(0.031) == lines(11, 11)
    talk.tell(b"Resend: 11\nok\n")
    assert [
        type(event) for event in talk.events if not isinstance(event, states.NeedLines | states.RunBegan)
    ] == [states.RunFailed]


@pytest.mark.parametrize("number", [1, 4])
def test_a_line_far_below_what_was_answered_fails_the_run(number: int) -> None:
    talk = Talk(advanced=True).filled(JOB)
    for after in range(13, 60):
        assert talk.tell(talk.ok(after - 4, 15, 0)) == lines(after, after)
    ask = b"Resend: %d\nok\n" % number
    assert talk.tell(ask) == b""
    last = talk.wire._out.sent
    assert talk.wait(0.031) == b"\n" + lines(last, last)
    talk.tell(ask)
    (failed,) = [event for event in talk.events if isinstance(event, states.RunFailed)]
    assert "lost count" in failed.reason
    assert failed.lines_accepted == 54, "line 55 was the last one answered, and line 1 was no line of the job"


def test_a_resend_for_a_line_never_sent_says_that_all_came() -> None:
    talk = Talk(advanced=True).filled(JOB)
    assert talk.tell(b"Resend: 13\nok\n") == b""
    assert talk.wire.lines_accepted == 11
    assert talk.wait(0.031) == encode(13, b"M105")


def test_a_long_command_has_nothing_queued_behind_it() -> None:
    job = [*JOB[:9], b"M109 S200", *JOB[9:]]
    talk = Talk(advanced=True)
    assert talk.calmed(job) == lines(9, 9)
    assert talk.wait(0.04) == lines(10, 10) + encode(11, b"M109 S200")
    assert talk.wire.is_slow
    assert talk.wait(0.3) == b""
    assert talk.tell(talk.ok(9, 15, 1), talk.ok(10, 15, 2)) == b""
    assert talk.tell(b"echo:busy: processing\n") == b""
    assert talk.tell(talk.ok(11)).count(b"\n") == 1
    assert talk.wait(0.06).count(b"\n") == 3


# Deadlines.


def test_with_busy_a_silence_is_told_from_work_in_little_over_a_second() -> None:
    talk = Talk().printing(JOB)
    assert talk.silence_until_said() == pytest.approx(1.12)
    talk = Talk().printing([b"G1 X100 F60", *JOB])
    for _ in range(100):
        talk.now += 1.0
        assert talk.tell(b"echo:busy: processing\n") == b""
    assert talk.wire.counters.probes == 0
    talk.tell(b" T:20 /20 B:20 /20 @:0\n")
    assert talk.silence_until_said() == pytest.approx(1.12, abs=0.01), "temperatures excuse nothing"
    assert talk.wire.counters.timeouts == 1


def test_quick_moves_are_asked_after_sooner() -> None:
    """Nothing keeps the answer but a move of the planner, which takes a tenth of a second."""
    talk = Talk().printing([b"G28", *[b"G1 X%d F6000" % n for n in range(1, 40, 2)]])
    for _ in range(10):
        talk.tell(OK)
    assert states.FREE_S < talk.silence_until_said() < 0.7
    assert talk.tell(b"Resend: 13\nok\n") == b""
    assert talk.wait(0.031) == encode(13, b"M105")
    talk.tell(REPORT)
    assert talk.silence_until_said() > 0.7, "twice as long, in case it was slow and not lost"
    talk.tell(b"Resend: 15\nok\n")
    talk.wait(0.031)
    talk.tell(REPORT)
    talk.now += 0.3
    assert talk.tell(b"echo:busy: processing\n") == b""
    assert talk.silence_until_said() == pytest.approx(1.12, abs=0.01)


def test_who_is_busy_every_two_seconds_is_given_them() -> None:
    talk = Talk().printing([b"G1 X100 F60", *JOB])
    assert talk.tell(b"echo:busy: processing\n") == b""
    talk.now += 2.0
    talk.wire.handle_timer(talk.now)
    talk.said()
    talk.tell(b"echo:busy: processing\n")
    assert talk.silence_until_said() == pytest.approx(2.12, abs=0.01)


def test_claims_of_busy_are_not_believed_for_ever() -> None:
    """It claims to say busy, says it never, and its moves take longer than their text says."""
    talk = Talk().printing(JOB)
    assert talk.silence_until_said() == pytest.approx(1.12)
    talk.tell(b"Resend: 3\nok\n")
    talk.wait(0.031)
    assert talk.silence_until_said() == pytest.approx(1.12, abs=0.01)
    talk.tell(b"Resend: 4\nok\n")
    talk.wait(0.031)
    assert talk.silence_until_said() > 2.0


def test_room_in_the_planner_makes_it_sooner() -> None:
    talk = Talk(advanced=True).filled(JOB)
    assert talk.tell(talk.ok(9, 9, 0)) == lines(13, 13)
    assert talk.silence_until_said() == pytest.approx(states.FREE_S, abs=0.01)
    talk = Talk(advanced=True).filled(JOB)
    talk.tell(talk.ok(9, 2, 0))
    assert talk.silence_until_said() == pytest.approx(1.12, abs=0.01)


def test_an_unreadable_answer_is_asked_after_at_once() -> None:
    talk = Talk().printing(JOB)
    assert talk.tell(b"oj\n") == b""
    assert talk.wait(0.099) == b""
    assert talk.wait(0.002) == b"\n" + lines(2, 2)
    assert talk.tell(b"Resend: 3\nok\n") == b""
    assert talk.wait(0.031) == encode(3, b"M105")
    counters = talk.wire.counters
    assert (counters.garbled, counters.timeouts, counters.probes) == (1, 0, 1)


def test_an_unreadable_answer_in_a_window_is_asked_after_by_a_proof() -> None:
    talk = Talk(Sending.COUNTING)
    said = talk.calmed(JOB)
    last = 8 + said.count(b"\n")
    assert talk.tell(OK) == lines(last + 1, last + 1)
    assert talk.tell(b"o\n") == b""
    assert talk.tell(OK) == encode(last + 2, b"M105")
    assert talk.tell(REPORT).count(b"\n") > 1
    assert talk.wire.counters.probes == 0


@pytest.mark.parametrize("steady", [True, False])
def test_a_person_is_waited_for_for_hours(steady: bool) -> None:
    talk = Talk().printing([b"M600", *JOB])
    for _ in range(5 if steady else 1):
        talk.now += 2.0
        assert talk.tell(b"echo:busy: paused for user\n") == b""
    # Who says it again and again and then no more has been answered; who says it once is still waiting.
    waited_s = talk.silence_until_said()
    assert waited_s == pytest.approx(states.LONG_S if steady else states.USER_WAIT_S, abs=7)


def test_the_wait_for_a_person_ends_with_its_ok() -> None:
    talk = Talk().printing([b"M600", *JOB])
    talk.tell(b"echo:busy: paused for user\n")
    assert talk.tell(OK) == encode(3, JOB[0])
    assert talk.silence_until_said() < 1.2


def test_long_commands_have_deadlines_of_their_own() -> None:
    talk = Talk().printing([b"G28", *JOB])
    assert talk.silence_until_said() == pytest.approx(states.LONG_KEEPALIVE_S, abs=0.01)
    assert talk.silence_until_said() == pytest.approx(2 * states.LONG_KEEPALIVE_S, abs=0.01)
    talk = Talk().printing([b"M190 S60", *JOB])
    for _ in range(60):
        talk.now += 1.0
        assert talk.tell(b" T:20 /0 B:30 /60 @:0 W:?\n") == b""
    assert talk.wire.counters.probes == 0


def test_a_probe_is_repeated_and_then_nobody_is_there() -> None:
    talk = Talk().printing(JOB)
    gaps = [talk.silence_until_said() for _ in range(3)]
    assert gaps == [pytest.approx(1.12), pytest.approx(1.12), pytest.approx(1.12 + states.LATER_S)]
    talk.silence_until_said()
    assert isinstance(talk.events[-1], states.LinkDead)
    assert [type(event) for event in talk.events].count(states.RunFailed) == 1


# Firmware that does not check numbers.


def test_nothing_is_sent_twice_to_who_does_not_count() -> None:
    talk = Talk()
    talk.wire.speak(KLIPPER.name)
    assert talk.wait(2.0) == b"N0 M110 N0*125\n"
    said = talk.tell(OK)
    while b"M105" not in said:
        said = talk.tell(b"FIRMWARE_NAME:Klipper\n" if b"M115" in said else b"", OK)
    talk.tell(b"ok T:0\n")
    assert talk.wire.phase is Phase.IDLE
    talk.wire.begin(talk.now)
    talk.wire.feed(JOB)
    talk.said()
    talk.tell(OK)
    first = talk.tell(b"ok T:0\n")
    assert b"G1 X10 Y1" in first
    sent = talk.wait(600)
    assert b"G1" not in sent
    assert b"M105" in sent
    assert talk.wire.in_run
    questions = sent.count(b"M105")
    assert questions < 10
    assert talk.tell(OK) == b"", "of the line; the questions are still to be answered"
    talk.events.clear()
    said = b""
    for _ in range(questions + 1):  # and one that asked for temperatures
        said += talk.tell(b"ok T:0\n")
    assert said.count(b"G1") == 1
    assert b"G1 X11 Y1" in said
    assert talk.wire.lines_accepted == 1
    assert b"M105" in talk.wait(30)
    talk.tell(b"ok T:0\n")  # and no ok for the line before it
    (failed,) = [event for event in talk.events if isinstance(event, states.RunFailed)]
    assert failed.lines_accepted == 1


# Under-runs.


def test_under_runs_are_counted_once_for_each_stop() -> None:
    job = [*[b"G1 X%d Y1" % n for n in range(60)], b"G4 P10", *[b"G1 X%d Y2" % n for n in range(60)]]
    talk = Talk(advanced=True).printing(job)
    number = 2

    def answer(*free: int) -> None:
        nonlocal number
        for blocks in free:
            talk.tell(talk.ok(number, blocks, 3))
            number += 1

    answer(*[14] * 5)  # as it starts
    assert talk.wire.health(talk.now).underruns == 0
    answer(10, 5, 0, 0, 3, 9, 14, 14, 14, 10)
    assert talk.wire.health(talk.now).underruns == 1
    answer(5, 14, 5)
    assert talk.wire.health(talk.now).underruns == 2
    while number < 62:
        answer(3)
    answer(15, 14, 13, 2)  # behind the dwell
    assert talk.wire.health(talk.now).underruns == 2
    assert Talk().printing(JOB).wire.health(0.0).underruns is None


def test_health_is_plain_numbers() -> None:
    talk = Talk(advanced=True)
    talk.calmed(JOB)
    for number in range(9, 40):
        talk.tell(talk.ok(number))
    health = talk.wire.health(talk.now + 0.5)
    assert health.lines == talk.wire._out.sent + 4, "those of the handshake too"
    assert (health.resends, health.timeouts, health.garbled, health.stray_oks) == (0, 0, 0, 0)
    assert health.noise == 0.0
    assert health.turn_round_p50_s is not None
    assert health.turn_round_p99_s is not None
    assert 0.0005 < health.turn_round_p50_s <= health.turn_round_p99_s < 0.01
    assert health.waiting_s == pytest.approx(0.5)
