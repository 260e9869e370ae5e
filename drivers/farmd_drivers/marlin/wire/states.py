"""The states of a Marlin link, as two transition tables, with the times and events that go with them.

`discipline` walks the first and `dialogue` the second; the tests walk them too. This module knows
names and numbers only: no bytes, no device, no loop, no file.

**Link** says whether a line may be sent. In CLEAR one may; in AWAIT_OK as many are on their way as may
be: one in ping-pong, and in a window as many as `window` allows. So in a window lines may be outstanding
in CLEAR too. "send" is the sending of the last one that there is room for, "ok" an answer to the oldest
or to several, "room" comes by time alone. RESYNC follows a `Resend`: everything that the firmware says is
let pass until it is quiet, then sending goes on from the line it asked for, one line at a time until all
has gone well for a while. It is not counted what was lost: lines that were flushed give no ok, lines
before them still do. (In ping-pong, where nothing but the line asked for can be on its way, the ok of
that `Resend` is quiet enough; a row of such cases shows that it is not.) PROBE follows silence, or a
reply that cannot be true: the last numbered line is sent once more. That is safe at any time. If the line
had been lost it is now executed, and `ok` follows. If only its `ok` had been lost the firmware refuses
the duplicate and asks for the line after it. A numbered line can never be executed twice, as long as the
firmware's own counter lives; hence no rewind ever goes below a line that is *certain* (one that the
firmware has answered with something only it can say). Firmware that checks no numbers would execute it
twice: there the probe is a new line, `M105`, whose answer comes behind all others; what is still
unanswered then was lost, and fails the run.

**Phase** says what is being said. LISTENING waits for the banner of a board that the opening of the port
has reset. GREETING sets the line counter with a numbered `M110`. IDENTIFYING and SETTING_UP are scripts
of host commands, and so are PREPARING (after RENUMBERING at the start of a run), PAUSING, PARKING,
RETURNING, CLOSING, CANCELLING and LEAVING. Every script but the first ends with `M105`, whose answer `ok
T:...` no other line has: it proves that everything before it was executed, and it ends any drift that a
doubled `ok` has caused. CLOSING is `M400` and that proof, so a run is over when motion is over, not when
the last line was accepted; PAUSING is the same behind the last line sent, and so is CANCELLING, with the
heaters off. Where a machine can be parked, PARKING and LEAVING follow them: `Drained` is told, whoever
feeds the wire works out from the lines accepted where the head is, and gives the script that takes it
away. RETURNING is the script that brings it back, or that leads it to a place in the middle of a file.
HALTED means killed or stopped firmware; only a restart or a person leaves it. DEAD means that nothing
answers; the port has to be opened again.

Whatever happens in mid-run to the firmware's counter (a restart, with a banner or with a banner that
noise has eaten) fails the run. It never begins the file again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from farmd_drivers.marlin.wire.card import CardEvent
from farmd_drivers.marlin.wire.replies import Heat


class Link(StrEnum):
    CLEAR = "clear"
    AWAIT_OK = "await-ok"
    RESYNC = "resync"
    PROBE = "probe"
    HALTED = "halted"
    DEAD = "dead"


class Phase(StrEnum):
    LISTENING = "listening"
    GREETING = "greeting"
    IDENTIFYING = "identifying"
    SETTING_UP = "setting-up"
    IDLE = "idle"
    RENUMBERING = "renumbering"
    PREPARING = "preparing"
    STREAMING = "streaming"
    PAUSING = "pausing"
    PARKING = "parking"
    PAUSED = "paused"
    RETURNING = "returning"
    CLOSING = "closing"
    CANCELLING = "cancelling"
    LEAVING = "leaving"
    HALTED = "halted"
    DEAD = "dead"


_ALWAYS_LINK = {"halt": Link.HALTED, "die": Link.DEAD, "clear": Link.CLEAR}

LINK: Mapping[Link, Mapping[str, Link]] = {
    Link.CLEAR: {
        "send": Link.AWAIT_OK,
        "ok": Link.CLEAR,
        "resend": Link.RESYNC,
        "probe": Link.PROBE,
        **_ALWAYS_LINK,
    },
    Link.AWAIT_OK: {
        "ok": Link.CLEAR,
        "room": Link.CLEAR,
        "resend": Link.RESYNC,
        "probe": Link.PROBE,
        **_ALWAYS_LINK,
    },
    Link.PROBE: {"ok": Link.CLEAR, "resend": Link.RESYNC, "probe": Link.PROBE, **_ALWAYS_LINK},
    Link.RESYNC: {"quiet": Link.CLEAR, "resend": Link.RESYNC, "probe": Link.PROBE, **_ALWAYS_LINK},
    Link.HALTED: {"halt": Link.HALTED, "clear": Link.CLEAR},
    Link.DEAD: {},
}

_ALWAYS = {"listen": Phase.LISTENING, "halt": Phase.HALTED, "die": Phase.DEAD}

PHASE: Mapping[Phase, Mapping[str, Phase]] = {
    Phase.LISTENING: {"greet": Phase.GREETING, **_ALWAYS},
    Phase.GREETING: {"greeted": Phase.IDENTIFYING, **_ALWAYS},
    Phase.IDENTIFYING: {"scripted": Phase.SETTING_UP, "greet": Phase.GREETING, **_ALWAYS},
    Phase.SETTING_UP: {"scripted": Phase.IDLE, "greet": Phase.GREETING, **_ALWAYS},
    Phase.IDLE: {"begin": Phase.RENUMBERING, "greet": Phase.GREETING, **_ALWAYS},
    Phase.RENUMBERING: {
        "greeted": Phase.PREPARING,
        "greet": Phase.RENUMBERING,
        "cancel": Phase.CANCELLING,
        **_ALWAYS,
    },
    Phase.PREPARING: {
        "scripted": Phase.STREAMING,
        "return": Phase.RETURNING,
        "greet": Phase.RENUMBERING,
        "cancel": Phase.CANCELLING,
        **_ALWAYS,
    },
    Phase.STREAMING: {
        "pause": Phase.PAUSING,
        "hold": Phase.PAUSED,
        "exhausted": Phase.CLOSING,
        "cancel": Phase.CANCELLING,
        **_ALWAYS,
    },
    Phase.PAUSING: {
        "scripted": Phase.PAUSED,
        "drained": Phase.PARKING,
        "resume": Phase.STREAMING,
        "cancel": Phase.CANCELLING,
        **_ALWAYS,
    },
    Phase.PARKING: {"scripted": Phase.PAUSED, "cancel": Phase.CANCELLING, **_ALWAYS},
    Phase.PAUSED: {
        "resume": Phase.STREAMING,
        "return": Phase.RETURNING,
        "cancel": Phase.CANCELLING,
        **_ALWAYS,
    },
    Phase.RETURNING: {"scripted": Phase.STREAMING, "cancel": Phase.CANCELLING, **_ALWAYS},
    Phase.CLOSING: {"scripted": Phase.IDLE, "cancel": Phase.CANCELLING, **_ALWAYS},
    Phase.CANCELLING: {"scripted": Phase.IDLE, "drained": Phase.LEAVING, **_ALWAYS},
    Phase.LEAVING: {"scripted": Phase.IDLE, **_ALWAYS},
    Phase.HALTED: {"listen": Phase.LISTENING, "halt": Phase.HALTED},
    Phase.DEAD: {},
}

RUN_PHASES = frozenset(
    {
        Phase.RENUMBERING,
        Phase.PREPARING,
        Phase.STREAMING,
        Phase.PAUSING,
        Phase.PARKING,
        Phase.PAUSED,
        Phase.RETURNING,
        Phase.CLOSING,
        Phase.CANCELLING,
        Phase.LEAVING,
    }
)
"""The phases in which a run is open."""

BANNER_S = 2.0
"""A boot loader is deaf for 0.5 to 2 s after the reset that opening the port causes."""
BANNER_SETTLE_S = 0.5
"""After `start` the rest of the banner follows, and the firmware reads nothing meanwhile."""
ASK_WHO = 2
"""How often M115 is asked again when its answer was not understood: noise may have touched it."""
STARTING_S = 30.0
"""Klipper needs 2.5 s to find its boards; one that needs longer than this does not find them."""
SPURIOUS_START_S = 5.0
"""Some boards (Prusa-Firmware #1184) say `start` twice within 5 s of the opening."""
HELLO_S = 3.0
"""One hello's wait; three of them make the 10 s that OctoPrint gives a connection."""
HELLOS = 3
"""The first hello may be eaten by what was left on the line."""
KEEPALIVE_S = 1
"""How often `busy` is asked for with M113; Marlin's default is 2 s."""
BUSY_MARGIN_S = 0.12
"""With `busy` every second while a handler runs, a little more of silence means that none runs."""
LONGEST_INTERVAL_S = 6.0
"""No firmware says `busy` less often; what comes later is not the next one."""
SILENCE_S = 1.0
"""So long after nothing explains it any more, a silence is asked about."""
FREE_S = 0.4
"""The same where a move has no reason to wait: a display may hold up the firmware's loop for so long."""
MOVES_SLACK = 2.0
"""And where the moves before it are a reason, so many times what they may take, if that is sooner than the
deadlines above: somebody may have turned the speed down."""
GARBLED_S = 0.1
"""After a reply that noise has made unreadable, most likely an ok: for whatever follows to come first."""
LATER_S = 3.0
"""From the second one on, probes without an answer are so much further apart: a card may hold up a loop."""
LONG_KEEPALIVE_S = 10.0
"""Firmware without BUSY_WHILE_HEATING is silent on `busy` in M109 and M190."""
LONG_S = 30.0
"""OctoPrint's communication time-out, the measure where nothing better is known."""
USER_WAIT_S = 6 * 3600.0
"""A machine that waits for a person says so, once or for as long as it waits; a spool takes its time."""
STEADY_WAITS = 3
"""Who has said so often in a row will go on saying it, or has lost the ok at the end of it."""
BACKOFF_LIMIT = 8
"""Without `busy`, each lost ok in a row doubles what the moves may take, up to this factor."""
BACKOFF_LINES = 8
"""After so many lines in peace the patience is the usual one again: a ring of the firmware, twice over."""
PROBES = 3
"""Three probes without any answer, and nobody is there."""
ANSWER_S = 1800.0
"""Where a line must not be sent again, silence proves nothing: a macro of Klipper's may heat and wait so long."""
WAIT_S = 0.25
"""`wait` says that nothing is queued; younger lines may just have crossed it."""
QUIET_S = 0.03
"""Quiet after a Resend, or QUIET_TURNS shortest turn-rounds of this link: then nothing is on its way any more."""
QUIET_TURNS = 3
QUICK_LINES, MOST_QUICK = 8, 4
"""One Resend in so many lines, up to so many in advance, is obeyed without waiting for quiet: in ping-pong
nothing but the line it asks for can be on its way. A row of them means that something is."""
REFUSAL_S = 0.015
"""A line that was damaged has been refused by then, or by QUIET_TURNS shortest turn-rounds."""
CALM_LINES = 8
"""After a Resend, so many lines go one by one before a window opens again."""
UNREPORTED = 3
"""So many M105 in a row answered by a bare ok: this firmware puts its report on a line of its own, or has none."""
REPORT_S = 0.1
"""A report on a line of its own follows its ok at once."""
DRIFT_LINES = 16
"""A rewind behind more lines than that which were answered with ok: not noise, but a counter that is not ours."""
NEAR_LINES = 4
"""A rewind behind more lines than that has to be asked for twice."""
QUIET_LIMIT_S = 0.5
"""No ok within 0.5 s of a Resend: this firmware sends none (OctoPrint #2285)."""
SAME_RESENDS = 10
"""The same line asked for ten times: OctoPrint's limit for a stuck link."""
HISTORY_LINES = 128
"""Sent lines kept for rewinds: the window, a planner and a ring of the largest boards, and more."""
AUTOREPORT_S = 2
"""How often M155 makes the firmware report temperatures."""
POLL_S = 5.0
POLL_HEATING_S = 2.0
"""M105 where there is no M155: every 5 s, and every 2 s while heating."""
HALT_TEXT_S = 0.04
"""Marlin tells of a kill in two or three lines, one behind the other; sooner than this nobody can act."""
HALT_ANSWER_S = 0.25
"""Firmware that is asked why it has halted answers within this."""
KILL_ANSWER_S = 1.0
"""After M112 the kill text comes within 1 s, or M112 was not understood."""
STOP_AGAIN_S = 0.1
"""An emergency stop that nothing has confirmed by then is said again: what it cut in two may have made the firmware
throw it away. A confirmation takes 4 ms at 115200 baud."""
PARTIAL_BYTES = 4096
"""More than this without a line break is noise."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The handshake is over and the machine idle. `capabilities` are those it has."""

    firmware: str
    capabilities: frozenset[str]


@dataclass(frozen=True, slots=True)
class NeedLines:
    """The last batch of the job has been taken up: feed another, or say that it was the last."""


@dataclass(frozen=True, slots=True)
class RunBegan:
    """The first line of the job was accepted."""


@dataclass(frozen=True, slots=True)
class Drained:
    """Motion is over, to be paused or, `stopping`, ended: answer with `park`.

    `lines_accepted` lines of the job were executed. `is_parked`: the head was taken away before. `is_placed`:
    else it is where these lines have brought it.
    """

    lines_accepted: int
    stopping: bool
    is_parked: bool
    is_placed: bool


@dataclass(frozen=True, slots=True)
class RunPaused:
    reason: str


@dataclass(frozen=True, slots=True)
class Arrived:
    """The head is where the lines accepted have brought it, after it was not."""


@dataclass(frozen=True, slots=True)
class RunResumed:
    pass


@dataclass(frozen=True, slots=True)
class RunDone:
    """Every line was executed and motion has stopped."""


@dataclass(frozen=True, slots=True)
class RunCancelled:
    """Feeding and motion have stopped and the heaters are off."""

    reason: str
    lines_accepted: int


@dataclass(frozen=True, slots=True)
class RunFailed:
    """The run is over; `lines_accepted` lines of the job were answered with ok."""

    reason: str
    lines_accepted: int


@dataclass(frozen=True, slots=True)
class Performed:
    """What `perform` was given has been executed."""


@dataclass(frozen=True, slots=True)
class Acted:
    """The machine told of a host action (`pause`, `resumed`) while nothing was fed to it."""

    action: str


@dataclass(frozen=True, slots=True)
class Restarted:
    """The firmware restarted while the link stayed up."""


@dataclass(frozen=True, slots=True)
class Halted:
    """The firmware was killed or has stopped; `confirmed` tells whether it said so itself."""

    text: str
    confirmed: bool


@dataclass(frozen=True, slots=True)
class LinkDead:
    """Nothing answers any more."""

    reason: str


@dataclass(frozen=True, slots=True)
class Answered:
    """A command that a person typed has been answered; or, not `complete`, its answer will never come.

    `sent` is false when it was dropped from the queue before it was sent.
    """

    lines: tuple[str, ...]
    complete: bool
    sent: bool


@dataclass(frozen=True, slots=True)
class Noted:
    """An error or a warning that stops nothing."""

    text: str


WireEvent = (
    Ready
    | NeedLines
    | RunBegan
    | Drained
    | RunPaused
    | Arrived
    | RunResumed
    | RunDone
    | RunCancelled
    | RunFailed
    | Restarted
    | Halted
    | LinkDead
    | Answered
    | Noted
    | Performed
    | Acted
    | CardEvent
    | Heat
)
