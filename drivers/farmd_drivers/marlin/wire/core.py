"""The Marlin serial protocol without I/O: bytes and times in, bytes and events out.

States, times and events are in `states`, words in `replies`, lines and their numbers in `outbox`, what
is done about lost lines in `discipline`, the phases and the run in `dialogue`; here are the bytes. The
caller owns the port and the clock: it hands in what it received, sends what `data_to_send` gives, calls
`handle_timer` at `get_timer`, and after each of these calls reads `next_event` until it is None. Times
are seconds of any monotonic clock. This file knows no loop, no clock, no file and no device; a job is
lists of commands that somebody feeds.

A line of a job costs one comparison on receipt and one `pop` on sending. Whatever is not a bare `ok`
to a job line takes the slower way.
"""

from __future__ import annotations

import math

from farmd_drivers.marlin.wire import replies, states
from farmd_drivers.marlin.wire.dialogue import DRAIN, Dialogue
from farmd_drivers.marlin.wire.outbox import SYNC
from farmd_drivers.marlin.wire.replies import Kind
from farmd_drivers.marlin.wire.states import Link, Phase, WireEvent


class Wire(Dialogue):
    """One link to one machine, from the opening of its port to its closing: a `Dialogue` in bytes."""

    def __init__(self, now: float, *, banner_s: float = states.BANNER_S, cold: bool = False) -> None:
        super().__init__(now, banner_s=banner_s, cold=cold)
        self._partial = b""
        """What came after the last line break."""

    # The five calls of a protocol without I/O.

    def next_event(self) -> WireEvent | None:
        return self._events.popleft() if self._events else None

    def receive_data(self, data: bytes, now: float) -> None:
        """Take in what came from the machine, in pieces of any size."""
        if (
            self._plain
            and (data == b"ok\n" or data == b"ok\r\n")
            and self._line.link is Link.AWAIT_OK
            and not self._partial
        ):
            self._line.link = Link.CLEAR
            return
        lines = (self._partial + data).split(b"\n")
        self._partial = lines.pop()
        if len(self._partial) > states.PARTIAL_BYTES:
            self._partial = b""
        for raw in lines:
            if (line := replies.clean(raw)) and self.phase is not Phase.DEAD:
                self._reply(line, now)
        self._line.heard(now)

    def data_to_send(self, now: float) -> bytes:
        """Everything that may be sent now."""
        line, out = self._line, self._out
        if self._plain and out.fresh and line.link is Link.CLEAR:
            data = out.fresh.pop()
            out.sent += 1
            out.history.append(data)
            line.since = now
            line.link = Link.AWAIT_OK
            return data
        next_line = self._next_line() if line.link is Link.CLEAR else None
        data, line.urgent = line.urgent, b""
        if next_line is not None:
            line.sent(now)
            data += next_line
        return data

    def get_timer(self) -> float | None:
        """When `handle_timer` is due at the latest, or None."""
        due = min(self._heat.due, self._phase_due, self._line.due())
        return None if due == math.inf else due

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        if now >= self._phase_due:
            self._phase_due = math.inf
            if self.phase is Phase.HALTED:
                self._halt_due(now)
            else:
                self._go("greet")
                self._greet(now)
        self._act(self._line.handle_timer(now), now)
        if now >= self._heat.due:
            self._heat.ask_again(now)
            if self.phase in (Phase.IDLE, Phase.STREAMING, Phase.PAUSED) and not self._out.host:
                self._out.host.append(SYNC)
                self._plain = False

    # Sending.

    def _next_line(self) -> bytes | None:
        out = self._out
        if self.phase in (Phase.LISTENING, Phase.HALTED, Phase.DEAD):
            return None
        if out.replay:
            return out.take_replay()
        if not out.host and self.phase is Phase.STREAMING and self._has_fresh():
            return out.take_fresh()
        if not out.host:
            return None
        self._plain = False
        return out.take_host()

    def _has_fresh(self) -> bool:
        """Whether a line of the job can go now; takes up batches, and what comes after the last."""
        out = self._out
        while not out.fresh:
            if out.pause_after is not None:
                reason, out.pause_after = out.pause_after, None
                self.pause(reason)
                return False
            if out.batches:
                out.load()
                if not out.batches and not out.all_fed:
                    self._events.append(states.NeedLines())
            elif out.all_fed:
                self._go("exhausted")
                out.host.extend(DRAIN)
                return False
            else:
                self.counters.starved += 1
                return False
        return True

    # Receiving.

    def _reply(self, line: bytes, now: float) -> None:
        kind = replies.classify(line)
        match kind:
            case Kind.OK:
                if report := replies.is_report_of_m105(line):
                    self._temperatures(line, now)
                self._act(self._line.ok(report=report), now)
            case Kind.RESEND:
                if self.phase not in (Phase.LISTENING, Phase.HALTED):
                    self._act(self._line.resend(replies.resend_number(line), now), now)
            case Kind.BUSY:
                self._line.busy(now)
            case Kind.TEMPERATURES:
                if replies.is_heat_wait(line):
                    self._line.working(now)
                self._temperatures(line, now)
            case Kind.WAIT:
                self._act(self._line.idle_peer(now), now)
            case Kind.REFUSED_LINE:
                self._act(self._line.refused(now), now)
            case Kind.START:
                self._restarted(now)
            case Kind.FATAL | Kind.STOPPED:
                self._halted(line.decode("latin-1"), now)
            case Kind.ACTION:
                self._action(replies.host_action(line), now)
            case Kind.ERROR | Kind.UNKNOWN_COMMAND | Kind.FIRMWARE | Kind.CAPABILITY:
                if not self.firmware.hear(kind, line):
                    self._events.append(states.Noted(line.decode("latin-1")))
            case Kind.TEXT | Kind.RESEND_REASON:
                pass

    def _temperatures(self, line: bytes, now: float) -> None:
        heat = replies.temperatures(line)
        if heat.actual_c:
            self._heat.read(heat, now)
            self._events.append(heat)
