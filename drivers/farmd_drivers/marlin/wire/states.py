"""The states of a Marlin link, as two transition tables, with the times and events that go with them.

`discipline` walks the first and `dialogue` the second; the tests walk them too. This module knows
names and numbers only: no bytes, no device, no loop, no file.

**Link** says whether a line may be sent. One numbered line is on its way at a time (ping-pong). In
CLEAR a line may go out; AWAIT_OK has one outstanding. RESYNC follows a `Resend`: everything that
the firmware says is let pass until it is quiet, then sending goes on from the line it asked for.
PROBE follows silence, or a reply that cannot be true: the last numbered line is sent once more. That
is safe at any time. If the line had been lost it is now executed, and `ok` follows. If only its `ok`
had been lost the firmware refuses the duplicate and asks for the line after it. A numbered line can
never be executed twice, as long as the firmware's own counter lives; hence no rewind ever goes below
a line that is *certain* (one that the firmware has answered with something only it can say). A window
of more than one line is the same table with "fewer than `window` lines outstanding" for CLEAR.

**Phase** says what is being said. LISTENING waits for the banner of a board that the opening of the
port has reset. GREETING sets the line counter with a numbered `M110`. IDENTIFYING and SETTING_UP are
scripts of host commands, and so are PREPARING (after RENUMBERING at the start of a run), PAUSING,
CLOSING and CANCELLING. Every script but the first ends with `M105`, whose answer `ok T:...` no other
line has: it proves that everything before it was executed, and it ends any drift that a doubled `ok`
has caused. CLOSING is `M400` and that proof, so a run is over when motion is over, not when the last
line was accepted. HALTED means killed or stopped firmware; only a restart or a person leaves it. DEAD
means that nothing answers; the port has to be opened again.

Whatever happens in mid-run to the firmware's counter (a restart, with a banner or with a banner that
noise has eaten) fails the run. It never begins the file again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

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
    PAUSED = "paused"
    CLOSING = "closing"
    CANCELLING = "cancelling"
    HALTED = "halted"
    DEAD = "dead"


_ALWAYS_LINK = {"halt": Link.HALTED, "die": Link.DEAD, "clear": Link.CLEAR}

LINK: Mapping[Link, Mapping[str, Link]] = {
    Link.CLEAR: {"send": Link.AWAIT_OK, "resend": Link.RESYNC, "probe": Link.PROBE, **_ALWAYS_LINK},
    Link.AWAIT_OK: {"ok": Link.CLEAR, "resend": Link.RESYNC, "probe": Link.PROBE, **_ALWAYS_LINK},
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
        "resume": Phase.STREAMING,
        "cancel": Phase.CANCELLING,
        **_ALWAYS,
    },
    Phase.PAUSED: {"resume": Phase.STREAMING, "cancel": Phase.CANCELLING, **_ALWAYS},
    Phase.CLOSING: {"scripted": Phase.IDLE, "cancel": Phase.CANCELLING, **_ALWAYS},
    Phase.CANCELLING: {"scripted": Phase.IDLE, **_ALWAYS},
    Phase.HALTED: {"listen": Phase.LISTENING, "halt": Phase.HALTED},
    Phase.DEAD: {},
}

RUN_PHASES = frozenset(
    {
        Phase.RENUMBERING,
        Phase.PREPARING,
        Phase.STREAMING,
        Phase.PAUSING,
        Phase.PAUSED,
        Phase.CLOSING,
        Phase.CANCELLING,
    }
)
"""The phases in which a run is open."""

BANNER_S = 2.0
"""A boot loader is deaf for 0.5 to 2 s after the reset that opening the port causes."""
BANNER_SETTLE_S = 0.5
"""After `start` the rest of the banner follows, and the firmware reads nothing meanwhile."""
SPURIOUS_START_S = 5.0
"""Some boards (Prusa-Firmware #1184) say `start` twice within 5 s of the opening."""
HELLO_S = 3.0
"""One hello's wait; three of them make the 10 s that OctoPrint gives a connection."""
HELLOS = 3
"""The first hello may be eaten by what was left on the line."""
KEEPALIVE_S = 1
"""How often `busy` is asked for with M113; Marlin's default is 2 s."""
OK_KEEPALIVE_S = 2.5
"""With `busy` every second while a handler runs, two missed ones mean that none runs."""
OK_S = 5.0
"""Without the busy protocol a slow move may explain a silence, and a probe too many does no harm."""
LONG_KEEPALIVE_S = 10.0
"""Firmware without BUSY_WHILE_HEATING is silent on `busy` in M109 and M190."""
LONG_S = 30.0
"""OctoPrint's communication time-out, the measure where nothing better is known."""
BACKOFF_LIMIT = 8
"""Without `busy`, each lost ok in a row doubles the patience up to this factor."""
BACKOFF_LINES = 8
"""After so many lines in peace the patience is the usual one again: a ring of the firmware, twice over."""
PROBES = 3
"""Three probes without any answer, and nobody is there."""
WAIT_S = 0.25
"""`wait` says that nothing is queued; younger lines may just have crossed it."""
QUIET_S = 0.03
"""Quiet after a Resend: 30 ms is more than three turns of any USB link."""
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
HALT_TEXT_S = 0.25
"""Marlin tells of a kill in two or three lines."""
KILL_ANSWER_S = 1.0
"""After M112 the kill text comes within 1 s, or M112 was not understood."""
STOP_AGAIN_S = 0.3
"""An emergency stop that nothing has confirmed by then is said again."""
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
class RunPaused:
    reason: str


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
class Noted:
    """An error or a warning that stops nothing."""

    text: str


WireEvent = (
    Ready
    | NeedLines
    | RunBegan
    | RunPaused
    | RunResumed
    | RunDone
    | RunCancelled
    | RunFailed
    | Restarted
    | Halted
    | LinkDead
    | Noted
    | Heat
)
