"""The Marlin serial protocol without I/O: bytes and times in, bytes and events out.

States, times and events are in `states`, words in `replies`, lines and their numbers in `outbox`, what
is done about lost lines in `discipline`, the phases and the run in `dialogue`; here are the bytes. The
caller owns the port and the clock: it hands in what it received, sends what `data_to_send` gives, calls
`handle_timer` at `get_timer`, and after each of these calls reads `next_event` until it is None. Times
are seconds of any monotonic clock. This file knows no loop, no clock, no file and no device; a job is
lists of commands that somebody feeds.

A line of a job costs one comparison on receipt and one `pop` on sending. Whatever is not a bare `ok`
to a job line takes the slower way. In a window that holds for oks in a row, bare or with numbers, and for
as many lines as have room; what is no line of the job goes alone, but for a question that proves.
"""

from __future__ import annotations

import math

from farmd_drivers.marlin.wire import replies, states
from farmd_drivers.marlin.wire.card_link import CardLink
from farmd_drivers.marlin.wire.counters import SAMPLE_MASK, Health
from farmd_drivers.marlin.wire.dialects import kind_of
from farmd_drivers.marlin.wire.dialogue import DRAIN
from farmd_drivers.marlin.wire.discipline import Verdict
from farmd_drivers.marlin.wire.outbox import SYNC
from farmd_drivers.marlin.wire.replies import Kind
from farmd_drivers.marlin.wire.states import Link, Phase, WireEvent
from farmd_drivers.marlin.wire.window import Sending

_MAY_END_IN_OK = frozenset({Kind.RESEND, Kind.BUSY, Kind.TEMPERATURES})
SYNC_BYTES = len(replies.encode(99_999_999, SYNC))


class Wire(CardLink):
    """One link to one machine, from the opening of its port to its closing: a `Dialogue` in bytes."""

    def __init__(self, now: float, *, banner_s: float = states.BANNER_S, cold: bool = False) -> None:
        super().__init__(now, banner_s=banner_s, cold=cold)
        self._partial = b""
        """What came after the last line break."""
        self._is_wide = False
        """Oks have numbers, or more than one line may be on its way."""

    # The five calls of a protocol without I/O.

    def next_event(self) -> WireEvent | None:
        return self._events.popleft() if self._events else None

    def receive_data(self, data: bytes, now: float) -> None:
        """Take in what came from the machine, in pieces of any size."""
        if self._plain and not self._partial:
            line = self._line
            if self._is_wide:
                if self._oks(data, now):
                    return
            elif (data == b"ok\n" or data == b"ok\r\n") and line.link is Link.AWAIT_OK:
                line.link = Link.CLEAR
                line.acked = sent = self._out.sent
                if line.sample_line == sent:
                    line.turned(now)
                return
        lines = (self._partial + data).split(b"\n")
        self._partial = lines.pop()
        if len(self._partial) > states.PARTIAL_BYTES:
            self._partial = b""
        for raw in lines:
            if (reply := replies.clean(raw)) and self.phase is not Phase.DEAD:
                self._reply(reply, now)
            if replies.is_noisy(raw) and self.phase is not Phase.LISTENING:
                self._line.garbled(now, short=False)
        self._line.heard(now)

    def data_to_send(self, now: float) -> bytes:
        """Everything that may be sent now."""
        line, out = self._line, self._out
        if self._plain and line.link is Link.CLEAR and (out.fresh or self._has_fresh()):
            if self._is_wide:
                return self._fill(now)
            data = out.fresh.pop()
            out.sent = sent = out.sent + 1
            out.history.append(data)
            line.since = now
            line.link = Link.AWAIT_OK
            if not sent & SAMPLE_MASK:
                line.sample(now)
            return data
        next_line = self._next_line() if line.link is Link.CLEAR and not self._plain else None
        data, line.urgent = line.urgent, b""
        if next_line is not None:
            line.sent(now)
            data += next_line
        return data

    # What lines come to, as far as windows are concerned.

    def _act(self, verdict: Verdict, now: float) -> None:
        if verdict is Verdict.RESYNCED:
            if self.phase is Phase.STREAMING:
                self._prove()
            verdict = Verdict.ACCEPTED
        elif verdict is Verdict.DOUBT:
            if self._plain and self._is_wide:
                self._prove()
            verdict = Verdict.NOTHING
        super()._act(verdict, now)

    def _prove(self) -> bool:
        """Ask for a proof of everything sent so far, where there is one; whether it was asked for now."""
        # Where a file is being written, the question would end up in it.
        if not self._line.proves or self.card.saving or SYNC in self._out.host:
            return False
        self._line.asks()
        self._out.host.append(SYNC)
        self._plain = False
        return True

    def _replan(self) -> None:
        super()._replan()
        window = self._line.window
        self._is_wide = window.is_numbered or window.mode is Sending.COUNTING
        if window.mode is not Sending.PING_PONG and not self._line.is_calm:
            self._plain = False

    def _set_up(self) -> None:
        super()._set_up()
        self._line.settle()

    def health(self, now: float) -> Health:
        """How good the link is, in numbers; see there."""
        return self._line.health(now)

    def send_by(self, sending: Sending, rx_bytes: int) -> None:
        """How lines are sent, to a machine whose receive buffer is so large. Before the first byte."""
        self._line.window.configure(sending, rx_bytes)

    def get_timer(self) -> float | None:
        """When `handle_timer` is due at the latest, or None."""
        due = self._line.due()
        if self._heat.due < due:
            due = self._heat.due
        if self._phase_due < due:
            due = self._phase_due
        return None if due == math.inf else due

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        if now >= self._phase_due:
            self._phase_due = math.inf
            if self.phase is Phase.HALTED:
                self._halt_due(now)
            elif self.phase is Phase.PAUSED:
                self._standby_due()
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
        out, line = self._out, self._line
        if self.phase in (Phase.LISTENING, Phase.HALTED, Phase.DEAD):
            return None
        if line.outstanding and not (out.host and out.host[0] == SYNC and line.window.takes_more(SYNC_BYTES)):
            return None  # the window closes before anything else goes
        if out.replay:
            return out.take_replay()
        if not out.host and self.phase is Phase.STREAMING and self._has_fresh():
            return out.take_fresh()
        if not out.host:
            return None
        self._plain = False
        return out.take_host()

    def _fill(self, now: float) -> bytes:
        """As many lines of the job as have room."""
        line, out = self._line, self._out
        window, history = line.window, out.history
        filled = b""
        while out.fresh or self._has_fresh():
            fresh = out.fresh
            data = fresh[-1]
            if not window.takes(len(data)):
                line.link = Link.AWAIT_OK
                break
            if out.alone and out.alone[-1] == len(fresh):
                out.alone.pop()
                window.stopped = True
            fresh.pop()
            out.sent = sent = out.sent + 1
            history.append(data)
            filled = filled + data if filled else data
            if not sent & SAMPLE_MASK and line.sample_line < 0:
                line.sample(now)
            line.since = now
            if not window.add(len(data)):
                line.link = Link.AWAIT_OK
                break
        return filled

    def _has_fresh(self) -> bool:
        """Whether a line of the job can go now; takes up batches, and what comes after the last."""
        out = self._out
        while not out.fresh:
            if self._line.wants_sync and self._prove():
                return False
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
                self._plain = False
                return False
            else:
                self.counters.starved += 1
                return False
        return True

    # Receiving.

    def _oks(self, data: bytes, now: float) -> bool:
        """Take in what is nothing but oks to lines in the window; False when it is anything else."""
        line = self._line
        if not line.window.is_numbered:
            count = data.count(b"ok\n")
            if 3 * count != len(data) or not 0 < count <= line.outstanding:
                return False
            line.answered(line.acked + count, now)
        else:
            if data[-1:] != b"\n":
                return False
            told = [replies.numbered_ok(reply) for reply in data[:-1].split(b"\n")]
            last, sent = line.acked, self._out.sent
            for slots in told:
                if slots is None or not last < slots[0] <= sent:
                    return False
                last = slots[0]
            for slots in told:
                line.fit(*slots)  # type: ignore[misc]
            line.answered(last, now)
        line.link = Link.CLEAR
        return True

    def _reply(self, line: bytes, now: float) -> None:
        kind = kind_of(line, self.firmware.dialect)
        if self.typed.is_open:
            self.typed.hear(kind, line)
        self._hear_card(kind, line, now)
        match kind:
            case Kind.OK:
                if not line.startswith(b"ok"):
                    self._line.garbled(now, short=False)
                if b"FIRMWARE_NAME:" in line:
                    self._named(line.partition(b" ")[2], now)
                if self._is_of_another(line, now):
                    return
                if report := replies.is_report_of_m105(line):
                    self._temperatures(line, now)
                self._act(self._line.ok(now, report=report, slots=replies.slots(line)), now)
            case Kind.RESEND:
                if self.phase not in (Phase.LISTENING, Phase.HALTED):
                    self._act(self._line.resend(replies.resend_number(line), now), now)
            case Kind.BUSY:
                self._line.busy(now, person=replies.is_user_wait(line))
            case Kind.TEMPERATURES:
                if replies.is_heat_wait(line) or not self._heat.by_itself:
                    self._line.working(now)
                self._temperatures(line, now)
                self._act(self._line.reported(now), now)
            case Kind.WAIT:
                self._act(self._line.idle_peer(now), now)
            case Kind.REFUSED_LINE:
                self._act(self._line.refused(now), now)
            case Kind.START:
                self.firmware.hear_banner(line)
                self._line.speak(self.firmware.dialect)
                self._restarted(now)
            case Kind.REFUSED:
                self._refused(line.decode("latin-1"), now)
            case Kind.SKIPPED:
                self._line.skipped = replies.number_in(line)
                self._plain = False
            case Kind.FIRMWARE:
                self._named(line, now)
            case Kind.FATAL | Kind.STOPPED:
                self._halted(line.decode("latin-1"), now)
            case Kind.ACTION:
                self._action(replies.host_action(line), now)
            case Kind.ERROR | Kind.UNKNOWN_COMMAND | Kind.CAPABILITY:
                if kind is Kind.UNKNOWN_COMMAND:
                    self._line.misread(now)
                if not self.firmware.hear(kind, line):
                    self._events.append(states.Noted(line.decode("latin-1")))
            case Kind.GARBLED:
                self._act(self._line.garbled(now, short=True), now)
            case Kind.TEXT:
                self._heard(line, now)
            case Kind.RESEND_REASON:
                pass
        if kind in _MAY_END_IN_OK and replies.ends_in_ok(line):
            self._act(self._line.ok(now, report=False), now)

    def _is_of_another(self, line: bytes, now: float) -> bool:
        """Whether an ok says by its number that it is not of the line that waits for one."""
        if not self.firmware.dialect.numbered_ok:
            return False
        number = replies.number_in(line) if self._line.skipped is None else self._line.skipped
        self._line.skipped = None
        if number is None or self._line.link is Link.RESYNC:
            return False
        if self._line.acked < number <= self._out.sent:
            self._line.answered(number - 1, now)  # an ok before it was lost, and is not needed
            return False
        self.counters.stray_oks += 1
        return True

    def _temperatures(self, line: bytes, now: float) -> None:
        heat = replies.temperatures(line)
        if heat.actual_c:
            self._heat.read(heat, now)
            self._events.append(heat)
