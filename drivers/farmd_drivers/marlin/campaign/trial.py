"""One trial: the core and the emulator with a link between them, in virtual time, and what must have held.

Knows the core's five calls and the emulator's two, and no loop, clock, file or device.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from farmd_drivers.marlin.campaign.setting import Setting
from farmd_drivers.marlin.emulator.faults import DEADLY, Life, Piece, Quirk, Saboteur, befall
from farmd_drivers.marlin.emulator.intake import BITS_PER_BYTE
from farmd_drivers.marlin.emulator.machine import Marlin
from farmd_drivers.marlin.emulator.noise import Noise
from farmd_drivers.marlin.wire import Wire, states
from farmd_drivers.marlin.wire.park import Parking
from farmd_drivers.marlin.wire.replies import Heat

LIMIT_S = 1800.0
"""Of virtual time, from power-on: three commands of ten minutes each, and what it takes to find a link dead."""
BATCH = 8
WRITINGS = 3000
"""More than these, and ten a line of the file, are no progress: polls of temperatures for LIMIT_S are 900."""
PERSON_S = 300.0
STALL_S = 3.0
"""Longer than anything is held up on the wire."""
OPENINGS = 3
"""How often the port is opened again after nobody answered."""
PARKING = Parking(away=(b"G1 Z5.0000 F600",), back=(b"G1 Z0.0000 F600",))
OFF = (b"M104 S0", b"M140 S0")
BEGIN_S = 100.0


@dataclass
class Trial:
    """One run. `trace` gets what passes and what befalls, with times, one line each."""

    setting: Setting
    trace: Callable[[str], None] | None = None
    noise: Noise | None = None
    """On top of the schedule, in the run."""
    limit_s: float = LIMIT_S
    broken: list[str] = field(default_factory=list)
    """What did not hold."""
    headless: list[int] = field(default_factory=list)
    """The places in what was executed of rests of lines of the file that the firmware believed."""

    def __post_init__(self) -> None:
        self.now = BEGIN_S
        self.machine = Marlin(self.setting.build)
        self.wire = self._open(states.BANNER_S, cold=False)
        self.saboteur = Saboteur(self.setting.schedule, self.machine, self._befall)
        self.outcome = ""
        self.accepted = -1
        self.sent: list[bytes] = []
        self._up: deque[tuple[float, bytes]] = deque()
        self._down: deque[tuple[float, bytes]] = deque()
        self._calls: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._plugged = True
        self._fed = 0
        self._most = WRITINGS + 10 * len(self.setting.job)
        self._began = False
        self._over = False
        self._failed_at_byte = 0
        self._opened = 1
        self.began_at = self.ended_at = math.inf
        self._executed_at_death = self._queued_at_death = 0
        self._executed_at_end = 0
        self._stopped = False
        self._lines = frozenset(self.setting.job)

    # Time.

    def run(self) -> str:
        """Run it to its end; returns "done", "failed", "cancelled" or "" when none came."""
        self.machine.power_on(self.now)
        self.saboteur.armed = self.setting.from_connect
        limit = self.now + self.limit_s
        while True:
            self._exchange()
            if self._over:
                break
            due = self._due()
            if due > limit or len(self.sent) > self._most:
                within = f"{self.limit_s:.0f} s and {self._most:,} writings"
                self.broken.append(f"no end within {within}; {self.wire.phase} {self.wire.link}")
                break
            self.now = max(self.now, due)
            self._happen()
        self._judge()
        return self.outcome

    def _due(self) -> float:
        due = self.machine.next_time()
        timer = self.wire.get_timer() if self._plugged else None
        if timer is not None and timer < due:
            due = timer
        for queue in (self._up, self._down):
            if queue and queue[0][0] < due:
                due = queue[0][0]
        return min(due, self._calls[0][0]) if self._calls else due

    def _happen(self) -> None:
        now = self.now
        while self._up and self._up[0][0] <= now:
            self.machine.receive(self._up.popleft()[1], now)
        self.machine.step(now)
        while self._down and self._down[0][0] <= now:
            self.wire.receive_data(self._down.popleft()[1], now)
        while self._calls and self._calls[0][0] <= now:
            heapq.heappop(self._calls)[2]()
        if self._plugged and (timer := self.wire.get_timer()) is not None and timer <= now:
            self.wire.handle_timer(now)

    def _exchange(self) -> None:
        """Bytes onto the link, and events out of the core, until there are no more."""
        machine = self.machine
        while True:
            if machine.output:
                data = bytes(machine.output)
                machine.output.clear()
                self._say("<", data)
                if self._plugged:
                    if self.noise is not None and self._began:
                        data = self.noise.toward_host(data)
                    self._post(self._down, self.saboteur.toward_host(data))
                continue
            if not self._plugged:
                return
            self._events()
            if (
                not self._plugged
                or len(self.sent) > self._most
                or not (data := self.wire.data_to_send(self.now))
            ):
                self._events()
                if not machine.output:
                    return
                continue
            self.sent.append(data)
            self._say(">", data)
            if self.noise is not None and self._began:
                data = self.noise.toward_machine(data)
            pieces = self.saboteur.toward_machine(data)
            if self._plugged:
                self._post(self._up, pieces)

    def _post(self, queue: deque[tuple[float, bytes]], pieces: list[Piece]) -> None:
        # The way to the machine is paced by the emulator; the way back is here.
        byte_s = (
            BITS_PER_BYTE / self.setting.build.baud
            if queue is self._down and self.setting.build.baud
            else 0.0
        )
        at = self.now + self.setting.latency_s
        for wait_s, data in pieces:
            at = max(at, queue[-1][0] if queue else at) + wait_s + len(data) * byte_s
            if data:
                queue.append((at, data))

    def _after(self, seconds: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._calls, (self.now + seconds, next(self._order), what))

    def _say(self, sign: str, what: object) -> None:
        if self.trace is not None:
            self.trace(f"{self.now - BEGIN_S:10.4f} {sign} {what}")

    # The core's events, and what a driver does on them.

    def _events(self) -> None:
        while (event := self.wire.next_event()) is not None:
            match event:
                case states.NeedLines():
                    self._feed()
                case states.Ready():
                    self._say("*", event)
                    self._ready()
                case Heat():
                    pass
                case states.RunDone():
                    self._end("done", len(self.setting.job))
                case states.RunCancelled():
                    self._say("*", event)
                    self._end("cancelled", event.lines_accepted)
                case states.RunFailed():
                    self._say("*", event)
                    self._end("failed", event.lines_accepted)
                case states.Drained():
                    self._say("*", event)
                    if event.lines_accepted != self.executed_lines:
                        self.broken.append(
                            f"at rest at {event.lines_accepted}, executed {self.executed_lines}"
                        )
                    self.wire.park(PARKING)
                case states.RunPaused():
                    self._say("*", event)
                    self._after(0.5, self.wire.resume)
                case states.Halted():
                    self._say("*", event)
                    if self.machine.alive and self.machine.stopped:
                        self._after(0.5, lambda: self.wire.recover(self.now))
                    else:
                        self._after(STALL_S, self._finish)
                case states.LinkDead():
                    self._say("*", event)
                    self._dead()
                case _:
                    self._say("*", event)

    def _finish(self) -> None:
        self._over = True

    def _ready(self) -> None:
        if self.outcome:
            self._over = True
        elif not self._began:
            self._began = True
            self.began_at = self.now
            self.saboteur.armed = True
            self.wire.begin(self.now, asks=self.setting.parks)
            self._feed()
        else:
            self.broken.append("ready in mid-run, and no end was told")

    def _feed(self) -> None:
        end = self._fed + BATCH
        self.wire.feed(list(self.setting.job[self._fed : end]))
        self._fed = end
        if end >= len(self.setting.job):
            self.wire.end_of_job()

    def _end(self, outcome: str, accepted: int) -> None:
        if self.outcome:
            self.broken.append(f"{outcome} after {self.outcome}")
            return
        self.outcome, self.accepted = outcome, accepted
        self._executed_at_end = self.executed_lines
        self._failed_at_byte = len(self.sent)
        self.ended_at = self.now
        if outcome == "done" and not self.machine.body.planner.is_still(self.now):
            self.broken.append("done before its motion is over")
        self._over = outcome != "failed"
        # A person comes by in the end: noise in the farewell can make an M1 of it, which waits for one.
        self._after(PERSON_S, self.machine.press)

    def _dead(self) -> None:
        if data := self.wire.data_to_send(self.now):
            self._say(">", data)
            self.sent.append(data)
        if self._opened == OPENINGS:
            self._over = True
        else:  # as a driver does
            self._opened += 1
            self._plugged = False
            self._after(1.0, self._plug)

    # What befalls.

    def _befall(self, what: Life) -> None:
        self._say("!", what)
        if what in DEADLY:
            self._executed_at_death = self.executed_lines
            self._queued_at_death = self.machine.queued
            self._stopped = what in (Life.STOP, Life.OVERHEAT)
        match what:
            case Life.UNPLUG:
                self._unplug()
            case Life.USER_PAUSE:
                self.wire.pause("asked for")
            case Life.USER_CANCEL:
                self.wire.cancel("asked for")
            case Life.ESTOP:
                data = self.wire.estop(self.now)
                self.sent.append(data)
                self._say(">", data)
                self._post(self._up, [(0.0, data)])
            case _:
                befall(self.machine, what, self.now)
                if what is Life.ACTION_PAUSED:
                    self._after(0.7, lambda: self.machine.say(b"//action:resumed"))

    def _unplug(self) -> None:
        self._up.clear()
        self._down.clear()
        self.wire.fail("the link was lost", self.now)
        self._events()
        while data := self.wire.data_to_send(self.now):
            self.sent.append(data)
        self._plugged = False
        self._after(1.5, self._plug)

    def _plug(self) -> None:
        self._say("!", "plugged in")
        self._plugged = True
        self.machine.output.clear()
        self.wire = self._open(0.1, cold=self._began)

    def _open(self, banner_s: float, *, cold: bool) -> Wire:
        wire = Wire(self.now, banner_s=banner_s, cold=cold)
        wire.send_by(self.setting.sending, self.setting.build.rx_bytes)
        return wire

    # What must hold.

    def _judge(self) -> None:
        job = {command: n for n, command in enumerate(self.setting.job)}
        machine, outcome = self.machine, self.outcome
        headless = set(machine.unchecked)
        self.headless = [n for n in headless if machine.executed[n] in job]
        ran = [job[line] for n, line in enumerate(machine.executed) if line in job and n not in headless]
        if self._stopped:
            # Moves are refused then, with ok; what was on its way behind them is executed all the same.
            late = ran[self._executed_at_death :]
            first = self._executed_at_death
            window = range(first, first + self.setting.window + self._noises)
            if late == sorted(set(late)) and set(late) <= set(window):
                ran = ran[: self._executed_at_death]
        if ran != list(range(len(ran))):
            self.broken.append(f"executed {ran}")
        if outcome == "done" and len(ran) != len(job):
            self.broken.append(f"done with {len(ran)} of {len(job)} lines executed")
        # Noise may make something else of lines without a number, and of a hello an emergency stop.
        unchecked = (machine.executed[n] for n in machine.unchecked)
        numbered = Counter(machine.executed) - Counter((*unchecked, *job, b"M112"))
        if foreign := [command for command in numbered if not self._sent(command)]:
            self.broken.append(f"executed what was not sent: {foreign}")
        if outcome in ("failed", "cancelled"):
            self._judge_place(len(ran))
            self._judge_heat()
        befell = {upset.what for upset in self.saboteur.done}
        if outcome == "done" and 0 < self._executed_at_death < len(ran):
            self.broken.append("done in spite of " + ", ".join(sorted(befell & DEADLY)))
        by_life = any(isinstance(what, Life) for what in befell)
        twice = sum(upset.what is Quirk.DAMAGED_RESEND for upset in self.saboteur.done) > 1
        excused = by_life or not machine.alive or not self.setting.build.knows_m110 or twice
        if outcome != "done" and not excused:
            self.broken.append(f"{outcome or 'no end'} by noise alone")

    @property
    def _noises(self) -> int:
        return sum(not isinstance(upset.what, Life) for upset in self.saboteur.done)

    def _judge_place(self, ran: int) -> None:
        window = self.setting.window
        lowest, highest = min(self._executed_at_end, ran) - window, ran + self._queued_at_death + self._noises
        if self.outcome == "cancelled":
            lowest = highest = ran
        if not lowest <= self.accepted <= highest:
            self.broken.append(f"place {self.accepted} is not within {lowest} to {highest}")

    def _judge_heat(self) -> None:
        after = b"".join(self.sent[self._failed_at_byte :])
        body = self.machine.body
        if (body.nozzle.target_c or body.bed.target_c) and not all(off in after for off in OFF):
            self.broken.append("left hot, and not told to be cold")
        elif (body.nozzle.target_c or body.bed.target_c) and self.machine.alive and self._plugged:
            self.broken.append("left hot, though it answers")

    @property
    def executed_lines(self) -> int:
        """How many lines of the file have been executed."""
        return sum(command in self._lines for command in self.machine.checked)

    def _sent(self, command: bytes) -> bool:
        return any(command in data for data in self.sent)
