"""The Marlin protocol core as transcripts: what it is told, and what it then says, byte for byte."""

from __future__ import annotations

import pytest

from farmd_drivers.marlin.job import LAYER_MARK
from farmd_drivers.marlin.wire import Wire, replies, states
from farmd_drivers.marlin.wire.replies import Heat, Kind, classify, clean, encode
from farmd_drivers.marlin.wire.states import Phase

Line = tuple[bytes | float, bytes]
"""What comes from the machine, or how many seconds pass; then what the wire says."""

HANDSHAKE: list[Line] = [
    (2.0, b"\nN0 M110 N0*125\n"),
    (b"ok\n", encode(1, b"M115")),
    (
        b"FIRMWARE_NAME:Marlin 2.1.2 (a b) EXTRUDER_COUNT:2\nCap:AUTOREPORT_TEMP:1\nok\n",
        encode(2, b"M113 S1"),
    ),
    (b"ok\n", encode(3, b"M155 S2")),
    (b"ok\n", encode(4, b"M105")),
    (b"ok T:21.0 /0.0 B:21.0 /0.0 @:0 B@:0\n", b""),
]
BEGIN: list[Line] = [
    (b"ok\n", encode(1, b"M105")),
    (b"ok T:21.0 /0.0\n", encode(2, b"G28")),
    (b"ok\n", encode(3, b"G1 X1")),
]
JOB = [b"G28", b"G1 X1", b"G1 X2", b"G1 X3"]


class Talk:
    """A wire that is read a transcript; whatever differs from it fails."""

    def __init__(self) -> None:
        self.now = 0.0
        self.wire = Wire(self.now)
        self.events: list[states.WireEvent] = []

    def hold(self, transcript: list[Line]) -> None:
        for told, said in transcript:
            if isinstance(told, float):
                self.pass_time(told)
            else:
                self.now += 0.001
                self.wire.receive_data(told, self.now)
            assert self.wire.data_to_send(self.now) == said, told
            while (event := self.wire.next_event()) is not None:
                if not isinstance(event, Heat | states.NeedLines):
                    self.events.append(event)

    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while (due := self.wire.get_timer()) is not None and due <= end:
            self.now = max(self.now, due)
            self.wire.handle_timer(self.now)
            if self.wire.link is not states.Link.CLEAR or self.wire.phase is Phase.HALTED:
                break
        self.now = max(self.now, end)

    def ready(self, answer_to_m113: bytes = b"") -> Talk:
        self.hold(
            [
                (answer_to_m113 + told, said) if isinstance(told, bytes) and b"M155" in said else (told, said)
                for told, said in HANDSHAKE
            ]
        )
        assert self.events == [states.Ready("Marlin 2.1.2 (a b)", frozenset({"AUTOREPORT_TEMP"}))]
        self.events.clear()
        return self

    def printing(self) -> Talk:
        """In a run, with `N3 G1 X1` outstanding."""
        self.ready()
        self.wire.begin(self.now)
        self.wire.feed(JOB)
        self.wire.end_of_job()
        self.hold([(b"", b"\nN0 M110 N0*125\n"), *BEGIN])
        assert self.events == [states.RunBegan()]
        self.events.clear()
        return self


def test_a_whole_run() -> None:
    talk = Talk().printing()
    talk.hold(
        [
            (b"ok\n", encode(4, b"G1 X2")),
            (b"o", b""),
            (b"k\n", encode(5, b"G1 X3")),
            (b" T:200.1 /210 B:60 /60 @:0\nok\n", encode(6, b"M400")),
            (b"echo:busy: processing\n", b""),
            (b"ok\n", encode(7, b"M105")),
            (b"ok\n", b""),
            (b"ok T:210 /210\n", b""),
        ]
    )
    assert talk.events == [states.RunDone()]


def test_hello_is_said_three_times() -> None:
    talk = Talk()
    hello = b"\nN0 M110 N0*125\n"
    talk.hold([(2.0, hello), (3.0, hello), (3.0, hello), (3.0, b"")])
    assert talk.events == [states.LinkDead("no answer")]
    assert talk.wire.phase is Phase.DEAD


def test_resend_waits_for_quiet_and_ignores_repeats() -> None:
    talk = Talk().printing()
    error = b"Error:checksum mismatch, Last Line: 2\nResend: 3\nok\n"
    talk.hold(
        [
            (error, b""),
            (0.02, b""),
            (b"Error:Line Number is not Last Line Number+1, Last Line: 2\nResend: 3\nok\n", b""),
            (0.031, encode(3, b"G1 X1")),
            (b"ok\n", encode(4, b"M105")),
            (b"ok T:200 /200\n", encode(5, b"G1 X2")),
        ]
    )
    assert talk.wire.counters.resends == 2


def test_resend_before_the_ok_of_an_earlier_line() -> None:
    """The line that lost its `N` was believed: its ok was false, and the next line tells."""
    talk = Talk().printing()
    talk.hold(
        [
            (b'echo:Unknown command: "O3 G1 X1"\nok\n', encode(4, b"G1 X2")),
            (b"Error:Line Number is not Last Line Number+1, Last Line: 2\nResend: 3\nok\n", b""),
            (0.031, encode(3, b"G1 X1")),
            (b"ok\n", encode(4, b"G1 X2")),
            (b"ok\n", encode(5, b"M105")),
            (b"ok T:200 /200\n", encode(6, b"G1 X3")),
        ]
    )
    assert [type(event) for event in talk.events] == [states.Noted]


def test_resend_of_the_line_not_sent_yet_counts_as_ok() -> None:
    talk = Talk().printing()
    talk.hold([(b"Resend: 4\nok\n", b""), (0.031, encode(4, b"M105"))])
    talk.hold([(b"ok T:200 /200\n", encode(5, b"G1 X2"))])


def test_resend_without_ok() -> None:
    talk = Talk().printing()
    talk.hold([(b"Resend: 3\n", b""), (0.4, b""), (0.1, encode(3, b"G1 X1"))])


@pytest.mark.parametrize("damaged", [b"Resend: 93", b"Resend: 1", b"Resend: 0", b"rs N900000000"])
def test_damaged_resend_is_probed(damaged: bytes) -> None:
    talk = Talk().printing()
    talk.hold(
        [
            (damaged + b"\nok\n", b""),
            (0.031, b"\n" + encode(3, b"G1 X1")),
            (b"Error:Line Number is not Last Line Number+1, Last Line: 3\nResend: 4\nok\n", b""),
            (0.031, encode(4, b"M105")),
            (b"ok T:200 /200\n", encode(5, b"G1 X2")),
        ]
    )
    assert talk.events == []


def test_counter_that_is_not_ours_fails_the_run_and_repeats_nothing() -> None:
    talk = Talk().printing()
    talk.hold([(b"Resend: 1\nok\n", b""), (0.031, b"\n" + encode(3, b"G1 X1"))])
    cold = b"\nM108\nM104 S0\nM104 T1 S0\nM140 S0\nM107\n"
    talk.hold([(b"Resend: 1\nok\n", cold), (0.5, b"\nN0 M110 N0*125\n")])
    assert talk.events == [states.RunFailed("the machine lost count: it asked for line 1 after 3", 1)]


def test_same_line_for_ever_fails_the_run() -> None:
    talk = Talk().printing()
    for _ in range(states.SAME_RESENDS):
        talk.hold([(b"Resend: 3\nok\n", b""), (0.031, encode(3, b"G1 X1"))])
    talk.hold([(b"Resend: 3\nok\n", b"\nM108\nM104 S0\nM104 T1 S0\nM140 S0\nM107\n")])
    assert [type(event) for event in talk.events] == [states.RunFailed]


def test_lost_ok_is_found_by_a_probe() -> None:
    """Once `busy` was heard, a silence a little over its interval is explained by nothing."""
    talk = Talk().printing()
    talk.hold([(b"echo:busy: processing\n", b""), (1.1, b""), (b" T:200 /200 B:60 /60\n", b"")])
    talk.hold(
        [
            (0.1, b"\n" + encode(3, b"G1 X1")),
            (b"Error:Line Number is not Last Line Number+1, Last Line: 3\nResend: 4\nok\n", b""),
            (0.031, encode(4, b"M105")),
            (b"ok\n", b""),  # of the line that was only slow: the answer to M105 is still to come
            (b"ok T:200 /200\n", encode(5, b"G1 X2")),
        ]
    )


def test_patience_doubles_only_for_losses_in_a_row() -> None:
    """Without `busy` a silence may be a move that is slower than its text says, whose ok comes after all."""
    talk = Talk().ready(b'echo:Unknown command: "M113 S1"\n')
    talk.wire.begin(talk.now)
    talk.wire.feed([b"G91", b"G1 X5 F60", *[b"G1 X5"] * 40])
    talk.hold([(b"", b"\nN0 M110 N0*125\n"), (b"ok\n", encode(1, b"M105"))])
    talk.hold([(b"ok T:21.0 /0.0\n", encode(2, b"G91")), (b"ok\n", encode(3, b"G1 X5 F60"))])
    move_s = 5.0 + 0.001

    def lose_ok_of(line: int, command: bytes, moves: int) -> None:
        patience_s = 1.0 + moves * move_s
        half = patience_s / 2
        talk.hold([(b"T:2 /2\n", b""), (half, b""), (b"T:2 /2\n", b""), (half - 0.1, b"")])
        talk.hold([(0.1, b"\n" + encode(line, command))])
        talk.hold([(b"Resend: %d\nok\n" % (line + 1), b""), (0.031, encode(line + 1, b"M105"))])

    def go_on(line: int, count: int) -> None:
        talk.hold([(b"ok T:21.0 /0.0\n", encode(line, b"G1 X5"))])
        for after in range(line + 1, line + count):
            talk.hold([(b"ok\n", encode(after, b"G1 X5"))])

    lose_ok_of(3, b"G1 X5 F60", 1)
    go_on(5, 1)
    lose_ok_of(5, b"G1 X5", 2)
    go_on(7, 9)
    lose_ok_of(15, b"G1 X5", 1)


def test_busy_for_hours_is_no_silence() -> None:
    talk = Talk().printing()
    for _ in range(4000):
        talk.hold([(b"echo:busy: paused for user\n", b""), (2.0, b"")])
    # Nobody has told a temperature meanwhile; the question takes the next number.
    talk.hold([(b"ok\n", encode(4, b"M105")), (b"ok T:200 /200\n", encode(5, b"G1 X2"))])
    assert talk.wire.counters.probes == 0


def test_line_refused_without_resend_is_sent_again() -> None:
    talk = Talk().printing()
    talk.hold([(b"Error:No Line Number with checksum, Last Line: 2\n", b"\n" + encode(3, b"G1 X1"))])


def test_restart_in_mid_print() -> None:
    talk = Talk().printing()
    talk.hold([(b"ok\n", encode(4, b"G1 X2")), (b"echo:start\n", b""), (b"Resend: 1\nok\n", b"")])
    assert talk.events == [states.RunFailed("the machine restarted", 2), states.Restarted()]
    talk.hold([(0.5, b"\nN0 M110 N0*125\n")])


def test_power_off_by_the_machine_halts() -> None:
    talk = Talk().printing()
    talk.hold([(b"//action:poweroff\n", b""), (0.3, b"")])
    assert [type(event) for event in talk.events] == [states.RunFailed, states.Halted]


def test_stopped_firmware_is_not_printed_on() -> None:
    talk = Talk().printing()
    talk.hold([(b"Error:Printer stopped due to errors. Fix the error and use M999\nok\n", b""), (0.3, b"")])
    assert talk.wire.phase is Phase.HALTED
    talk.wire.recover(talk.now)
    talk.hold([(b"", b"\nM999\n"), (b"Resend: 4\nok\n", b""), (2.0, b"\nN0 M110 N0*125\n")])


def test_noise_without_a_line_break_is_dropped() -> None:
    talk = Talk().printing()
    for _ in range(100):
        talk.hold([(b"\x00\x80" * 500, b"")])
    talk.hold([(b"\nok\n", encode(4, b"G1 X2"))])


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (b"ok", Kind.OK),
        (b" ok\r", Kind.OK),
        (b"o\x80k", Kind.OK),
        (b"okok", Kind.OK),
        (b"kok", Kind.OK),
        (b"ok N12 P15 B3", Kind.OK),
        (b"ok 12", Kind.OK),
        (b"Resend:12", Kind.RESEND),
        (b"rs N12 Expected checksum 67", Kind.RESEND),
        (b"Resend: N12", Kind.RESEND),
        (b"echo:busy: processing", Kind.BUSY),
        (b"wait", Kind.WAIT),
        (b"start", Kind.START),
        (b"echo:start", Kind.START),
        (b"okstart", Kind.START),
        (b" T:200.1 /210 B:60 /60 W:?", Kind.TEMPERATURES),
        (b"//action:pause", Kind.ACTION),
        (b"// Klipper state: Ready", Kind.TEXT),
        (b"Error:checksum mismatch, Last Line: 3", Kind.RESEND_REASON),
        (b"Error:expected line 5 got 4", Kind.RESEND_REASON),
        (b"Error:No Line Number with checksum, Last Line: 3", Kind.REFUSED_LINE),
        (b"Error:Thermal Runaway, system stopped! Heater_ID: 0", Kind.FATAL),
        (b"Error:Heating failed, system stopped! Heater_ID: bed", Kind.FATAL),
        (b"rror:Printer halted. kill() called!", Kind.FATAL),
        (b"fatal: stopped", Kind.FATAL),
        (b"!! Shutdown due to M112 command", Kind.FATAL),
        (b'echo:Unknown command: "O3"', Kind.UNKNOWN_COMMAND),
        (b"Error:volume.init failed", Kind.ERROR),
        (b"echo:DEBUG: MAXTEMP is 275", Kind.TEXT),
        (b" Watchdog Reset", Kind.TEXT),
        (b"FIRMWARE_NAME:Marlin 2", Kind.FIRMWARE),
        (b"Cap:EEPROM:1", Kind.CAPABILITY),
    ],
)
def test_replies_are_told_apart(reply: bytes, kind: Kind) -> None:
    assert classify(clean(reply)) is kind


def test_words_of_the_protocol() -> None:
    assert encode(0, b"M110 N0") == b"N0 M110 N0*125\n"
    assert replies.encode_batch(7, [b"G28", b"M105"]) == [encode(7, b"G28"), encode(8, b"M105")]
    assert replies.command_of(encode(12, b"M117 a * b")) == b"M117 a * b"
    longest = b"M117 " + b"x" * (replies.COMMAND_BYTES - 5)
    assert len(encode(99_999_999, longest).rstrip(b"\n")) <= replies.LINE_BYTES
    assert replies.temperatures(b"ok T:21.5 /0.0 T1:22 /5 B:60.0 /60.0 C:30 @:0 B@:0") == Heat(
        {"nozzle": 21.5, "nozzle1": 22.0, "bed": 60.0, "chamber": 30.0},
        {"nozzle": 0.0, "nozzle1": 5.0, "bed": 60.0},
    )
    info = replies.firmware_info(b"FIRMWARE_NAME:Marlin 2.1 (Jan 1 12:30) URL:https://a.b/c UUID:1-2")
    assert info == {"FIRMWARE_NAME": "Marlin 2.1 (Jan 1 12:30)", "URL": "https://a.b/c", "UUID": "1-2"}
    assert replies.heaters_off(2, True) == (b"M104 S0", b"M104 T1 S0", b"M140 S0", b"M141 S0", b"M107")
    assert len(LAYER_MARK.findall(b";LAYER_CHANGE\n;BEFORE_LAYER_CHANGE\n;LAYER:0\n; CHANGE_LAYER\n")) == 3
    assert Wire(0.0).get_timer() == pytest.approx(states.BANNER_S)
