"""The Marlin serial protocol without I/O: bytes and times in, bytes and events out.

States, times and events are in `states`, words in `replies`, lines and their numbers in `outbox`, what
is done about lost lines in `discipline`; here are the phases and the run. The caller owns the port and
the clock: it hands in what it received, sends what `data_to_send` gives, calls `handle_timer` at
`get_timer`, and after each of these calls reads `next_event` until it is None. Times are seconds of any
monotonic clock. This file knows no loop, no clock, no file and no device; a job is lists of commands
that somebody feeds.

A line of a job costs one comparison on receipt and one `pop` on sending. Whatever is not a bare `ok`
to a job line takes the slower way.
"""

from __future__ import annotations

import math
from collections import deque

from farmd_drivers.marlin import replies, states
from farmd_drivers.marlin.discipline import Counters, Discipline, Verdict
from farmd_drivers.marlin.outbox import SYNC
from farmd_drivers.marlin.replies import Kind
from farmd_drivers.marlin.states import PHASE, RUN_PHASES, Link, Phase, WireEvent

DRAIN = (b"M400", SYNC)
"""Ends every part of a run: wait until motion is over, then the proof."""
BREAK_WAIT = b"M108\n"
"""Unnumbered, because only so is it heard while a command waits for heat."""


class Wire:
    """One link to one machine, from the opening of its port to its closing.

    `now` is the time of the opening; `banner_s` how long a banner is waited for.
    """

    def __init__(self, now: float, *, banner_s: float = states.BANNER_S) -> None:
        self.info: dict[str, str] = {}
        self.capabilities: dict[str, bool] = {}
        self.phase = Phase.LISTENING
        self._line = Discipline(now)
        self._out = self._line.out
        self._events: deque[WireEvent] = deque()
        self._opened_at = now
        self._banner_s = banner_s
        self._partial = b""
        self._plain = False
        """STREAMING, and nothing but lines of the job outstanding and waiting."""
        self._began = False
        self._reason = ""
        """Why the run is being paused or cancelled."""
        self._pause_wanted: str | None = None
        """Why the run is to pause as soon as it streams."""
        self._phase_due = now + banner_s
        self._poll_due = math.inf
        self._autoreport = False
        self._has_keepalive = True
        """M113 was not refused. Only Marlin refuses what it does not have, so others are not believed."""
        self._unproven = 0
        self._halt_text: list[str] = []
        self._halt_confirmed = False
        self._halt_accepted: int | None = None

    # What the caller asks for.

    @property
    def counters(self) -> Counters:
        return self._line.counters

    @property
    def link(self) -> Link:
        return self._line.link

    @property
    def in_run(self) -> bool:
        return self.phase in RUN_PHASES

    @property
    def lines_accepted(self) -> int:
        """Lines of the present job that were answered with ok, in order from its first."""
        return self._out.lines_accepted(self._line.outstanding)

    def begin(self, now: float) -> None:
        """Begin a run; its lines come by `feed`. Only in phase IDLE."""
        self._out.clear_job()
        self._began = False
        self._pause_wanted = None
        self._go("begin")
        self._out.host.clear()
        if self.link is Link.CLEAR:
            self._greet(now)

    def feed(self, commands: list[bytes], pause: str | None = None) -> None:
        """The next commands of the job; with `pause`, the run pauses after them for that reason."""
        self._out.batches.append((commands, pause))

    def end_of_job(self) -> None:
        """All commands of the job have been fed."""
        self._out.all_fed = True

    def pause(self, reason: str) -> None:
        """Stop feeding at the next line; RunPaused follows when motion is over. Not printing: nothing."""
        if self.phase in (Phase.RENUMBERING, Phase.PREPARING):
            self._pause_wanted = reason
        elif self.phase is Phase.STREAMING:
            self._go("pause")
            self._reason = reason
            self._out.host.extend(DRAIN)
            self._plain = False

    def resume(self) -> None:
        """Go on exactly behind the last line accepted. Not paused: nothing."""
        self._pause_wanted = None
        if self.phase is Phase.PAUSED:
            self._events.append(states.RunResumed())
        if "resume" in PHASE[self.phase]:
            self._go("resume")
            self._replan()

    def cancel(self, reason: str) -> None:
        """Stop feeding, end a heat wait, heaters off; RunCancelled follows. No run open: nothing."""
        if "cancel" not in PHASE[self.phase]:
            return
        if self.link is not Link.CLEAR and replies.is_long(self._out.last_command):
            self._line.urgent += BREAK_WAIT
        self._go("cancel")
        self._reason = reason
        self._out.drop_unsent()
        self._out.host.clear()
        self._out.host.extend((*self._heaters_off(), *DRAIN))
        self._plain = False

    def fail(self, reason: str, now: float) -> None:
        """End the run as failed, heaters off, and shake hands again. No run open: nothing."""
        if self.in_run:
            self._fail_run(reason)
            self._line.urgent += self.farewell()
            self._listen(now, states.BANNER_SETTLE_S)

    def estop(self, now: float) -> bytes:
        """The bytes of an emergency stop, to be written at once. Halted follows within 1 s."""
        self._line.urgent = b""
        if self.phase is not Phase.DEAD:
            self._fail_run("emergency stop")
            self._enter_halt(now, states.KILL_ANSWER_S)
        # Unnumbered it is heard early; numbered it is heard where unnumbered lines are not.
        stop = b"\nM112\n" + replies.encode(self._out.sent + 1, b"M112")
        return stop + b"".join(command + b"\n" for command in self._heaters_off())

    def farewell(self) -> bytes:
        """Bytes that leave a machine cold that will not be fed any more, whatever it is waiting for."""
        return b"\n" + BREAK_WAIT + b"".join(command + b"\n" for command in self._heaters_off())

    def recover(self, now: float) -> None:
        """Try to leave HALTED: M999 for stopped firmware, then shake hands; Ready or LinkDead follows."""
        if self.phase is Phase.HALTED:
            self._line.urgent += b"\nM999\n"
            self._listen(now, self._banner_s)

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
        due = min(self._poll_due, self._phase_due, self._line.due())
        return None if due == math.inf else due

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        if now >= self._phase_due:
            self._phase_due = math.inf
            if self.phase is Phase.HALTED:
                self._tell_halt()
            else:
                self._go("greet")
                self._greet(now)
        self._act(self._line.handle_timer(now), now)
        if now >= self._poll_due:
            self._poll_due = now + states.POLL_S
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

    def _greet(self, now: float) -> None:
        """Number anew from 0. The hello is repeated until it is answered; nothing is at stake before."""
        self._line.hello(now, greeting=self.phase is Phase.GREETING)
        self._plain = False

    # Receiving.

    def _reply(self, line: bytes, now: float) -> None:
        kind = replies.classify(line)
        match kind:
            case Kind.OK:
                if report := replies.is_report_of_m105(line):
                    self._heat(line, now)
                self._act(self._line.ok(report=report), now)
            case Kind.RESEND:
                if self.phase not in (Phase.LISTENING, Phase.HALTED):
                    self._act(self._line.resend(replies.resend_number(line), now), now)
            case Kind.BUSY:
                self._line.busy(now)
            case Kind.TEMPERATURES:
                if replies.is_heat_wait(line):
                    self._line.working(now)
                self._heat(line, now)
            case Kind.WAIT:
                self._act(self._line.idle_peer(now), now)
            case Kind.REFUSED_LINE:
                self._act(self._line.refused(now), now)
            case Kind.START:
                self._restarted(now)
            case Kind.FATAL | Kind.STOPPED:
                self._halt(line.decode("latin-1"), now)
            case Kind.ACTION:
                self._action(replies.host_action(line), now)
            case Kind.FIRMWARE:
                self.info = replies.firmware_info(line)
            case Kind.CAPABILITY:
                name, has = replies.capability(line)
                self.capabilities[name] = has
            case Kind.UNKNOWN_COMMAND if b"M113" in line:
                self._has_keepalive = False
            case Kind.ERROR | Kind.UNKNOWN_COMMAND:
                self._events.append(states.Noted(line.decode("latin-1")))
            case Kind.TEXT | Kind.RESEND_REASON:
                pass

    def _act(self, verdict: Verdict, now: float) -> None:
        match verdict:
            case Verdict.NOTHING:
                if self._line.link not in (Link.CLEAR, Link.AWAIT_OK):
                    self._plain = False
            case Verdict.ACCEPTED | Verdict.PROVEN:
                self._accepted(now, proof=verdict is Verdict.PROVEN)
            case Verdict.COUNT_LOST:
                self._count_lost(now)
            case Verdict.STUCK:
                self._give_up("communication stuck: the same line was asked for again and again", now)
            case Verdict.DEAD:
                self._die("no answer")

    def _accepted(self, now: float, *, proof: bool) -> None:
        """Lines up to the last sent have been accepted; go on with what waited for them."""
        out = self._out
        if self.phase is Phase.RENUMBERING and out.sent > 0:
            self._greet(now)  # a question was outstanding when the run began
            return
        if out.sent == 0 and "greeted" in PHASE[self.phase]:
            out.host.append(b"M115" if self.phase is Phase.GREETING else SYNC)
            self._go("greeted")
            self._line.greeted()
        elif self.phase is Phase.STREAMING and not self._began and self.lines_accepted:
            self._began = True
            self._events.append(states.RunBegan())
        elif "scripted" in PHASE[self.phase] and not out.host and not out.replay:
            self._script_ended(proof)
        self._replan()

    def _script_ended(self, proof: bool) -> None:
        phase = self.phase
        if phase is Phase.IDENTIFYING:
            self._go("scripted")
            self._out.host.append(b"M113 S%d" % states.KEEPALIVE_S)
            self._report_by_itself()
            self._out.host.append(SYNC)
            return
        if not proof and self._line.inline is not False:
            self._unproven += 1
            if self._line.inline or self._unproven == 1:
                self._out.host.append(SYNC)
                return
            self._line.inline = False  # answered twice in some other way: this firmware has no `ok T:`
        if phase is Phase.SETTING_UP and self._report_by_itself():
            self._out.host.append(SYNC)
            return
        self._go("scripted")
        if phase is Phase.SETTING_UP:
            if self._has_keepalive and "Marlin" in self.info.get("FIRMWARE_NAME", ""):
                self._line.keeps_alive()
            has = frozenset(name for name, value in self.capabilities.items() if value)
            self._poll_due = self._line.since + states.POLL_S
            self._events.append(states.Ready(self.info.get("FIRMWARE_NAME", ""), has))
        elif phase is Phase.PREPARING:
            if self._pause_wanted is not None:
                self.pause(self._pause_wanted)
        elif phase is Phase.PAUSING:
            self._events.append(states.RunPaused(self._reason))
        elif phase is Phase.CLOSING:
            self._events.append(states.RunDone())
        else:
            self._events.append(states.RunCancelled(self._reason, self.lines_accepted))

    def _report_by_itself(self) -> bool:
        """Ask for automatic reports where the firmware has them, once; whether that was asked now."""
        ask = not self._autoreport and self.capabilities.get("AUTOREPORT_TEMP", False)
        if ask:
            self._autoreport = True
            self._out.host.append(b"M155 S%d" % states.AUTOREPORT_S)
        return ask

    def _count_lost(self, now: float) -> None:
        if "greet" in PHASE[self.phase]:
            if self.phase is Phase.IDLE:
                self._events.append(states.Restarted())
            self._go("greet")  # nothing but questions has been sent since the hello
            self._greet(now)
        else:
            asked, sent = self._line.asked_number, self._out.sent
            self._give_up(f"the machine lost count: it asked for line {asked} after {sent}", now)

    def _give_up(self, reason: str, now: float) -> None:
        if self.in_run:
            self.fail(reason, now)
        else:
            self._die(reason)

    # What happens to the machine.

    def _restarted(self, now: float) -> None:
        young = self.phase is Phase.IDLE and now < self._opened_at + states.SPURIOUS_START_S
        if not young and (self.in_run or self.phase in (Phase.IDLE, Phase.HALTED)):
            self._fail_run("the machine restarted")
            self._events.append(states.Restarted())
        self._listen(now, states.BANNER_SETTLE_S)

    def _listen(self, now: float, wait_s: float) -> None:
        self._go("listen")
        self._line.go("clear")
        self._out.host.clear()
        self._out.replay.clear()
        self._autoreport = self._plain = False
        self._poll_due = math.inf
        self._phase_due = now + wait_s

    def _halt(self, text: str, now: float) -> None:
        self._halt_confirmed = True
        if self.phase is not Phase.HALTED:
            accepted = self.lines_accepted if self.in_run else None
            self._enter_halt(now, states.HALT_TEXT_S)
            self._halt_accepted = accepted
            self._halt_confirmed = True
        self._halt_text.append(text)

    def _enter_halt(self, now: float, tell_after_s: float) -> None:
        self._go("halt")
        self._line.go("halt")
        self._out.drop_unsent()
        self._out.host.clear()
        self._out.replay.clear()
        self._halt_text = []
        self._halt_confirmed = self._plain = False
        self._halt_accepted = None
        self._phase_due = now + tell_after_s
        self._poll_due = math.inf

    def _tell_halt(self) -> None:
        text = "; ".join(self._halt_text)
        if self._halt_accepted is not None:
            self._events.append(states.RunFailed(text, self._halt_accepted))
        self._events.append(states.Halted(text, self._halt_confirmed))

    def _die(self, reason: str) -> None:
        if self.in_run:
            self._line.urgent += self.farewell()
        self._fail_run(reason)
        self._events.append(states.LinkDead(reason))
        self._go("die")
        self._line.go("die")
        self._phase_due = self._poll_due = math.inf
        self._plain = False

    def _fail_run(self, reason: str) -> None:
        if self.in_run:
            self._events.append(states.RunFailed(reason, self.lines_accepted))
            self._out.drop_unsent()

    def _action(self, action: str, now: float) -> None:
        if action == "pause":
            self.pause("asked for by the machine")
        elif action == "paused" and self.phase is Phase.STREAMING:
            self._go("hold")
            self._plain = False
            self._events.append(states.RunPaused("paused at the machine"))
        elif action in ("resume", "resumed"):
            self.resume()
        elif action == "cancel":
            self.cancel("cancelled at the machine")
        elif action == "poweroff" and self.phase is not Phase.HALTED:
            self._halt("the machine asked to be switched off", now)

    def _heat(self, line: bytes, now: float) -> None:
        heat = replies.temperatures(line)
        if not heat.actual_c:
            return
        if self._autoreport:
            self._poll_due = max(self._poll_due, now + 3 * states.AUTOREPORT_S)
        elif any(goal > heat.actual_c.get(name, goal) + 2 for name, goal in heat.target_c.items()):
            self._poll_due = min(self._poll_due, now + states.POLL_HEATING_S)
        self._events.append(heat)

    # Small things.

    def _go(self, event: str) -> None:
        self.phase = PHASE[self.phase][event]

    def _replan(self) -> None:
        """See whether the fast way may be taken."""
        out = self._out
        self._plain = (
            self.phase is Phase.STREAMING
            and self._began
            and not out.host
            and not out.replay
            and not self._line.urgent
            and (self.link is Link.CLEAR or not out.is_host_last)
        )

    def _heaters_off(self) -> tuple[bytes, ...]:
        count = self.info.get("EXTRUDER_COUNT", "")
        nozzles = int(count) if count.isdigit() else 1
        return replies.heaters_off(nozzles, self.capabilities.get("CHAMBER_TEMPERATURE", False))
