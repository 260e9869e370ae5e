"""How good a link is, in numbers: counts since it was opened, the share of noise, how long answers take.

Told of happenings, it counts; it decides nothing, and knows no state, time of its own or device.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from dataclasses import dataclass

RECENT_LINES = 500
"""Over so many lines the share of noise is taken."""
SAMPLE_MASK = 15
"""The turn-round of lines is measured whose number has none of these bits: one in 16."""
SHORTEST_S, STEP, STEPS = 20e-6, 2**0.5, 50
BOUNDS_S = tuple(SHORTEST_S * STEP**n for n in range(STEPS))
"""Upper bounds of the turn-rounds counted together: from 20 us to 8 min, each 1.4 times the one before."""
MOST_SAMPLES = 2048
"""From then on old samples weigh half."""


@dataclass(frozen=True, slots=True)
class Health:
    """The link's figures at one moment. Counts are since it was opened; `mode` is how lines are sent.

    `noise` is the share, 0 to 1, of the last `RECENT_LINES` lines at which something did not arrive as it was
    sent; turn-rounds (from a line to its ok) are seconds, right to a fifth, None before the first; `underruns`
    is None where the firmware does not tell; `waiting_s` is how long nothing was heard of an open line.
    """

    lines: int
    resends: int
    timeouts: int
    garbled: int
    stray_oks: int
    starved: int
    underruns: int | None
    noise: float
    turn_round_p50_s: float | None
    turn_round_p99_s: float | None
    mode: str
    waiting_s: float


class Counters:
    """Counts since the link was opened."""

    def __init__(self) -> None:
        self.resends = 0
        """Requests for a line, repeats of the same one included."""
        self.probes = 0
        """Lines sent once more to learn whether they or their oks were lost."""
        self.timeouts = 0
        """Those of them that were sent because of silence."""
        self.garbled = 0
        """Replies that noise has made unreadable, or nearly."""
        self.stray_oks = 0
        """Oks that no line waited for, or that belong to an earlier one."""
        self.starved = 0
        """How often a line could have been sent and none was there."""
        self.underruns = 0
        """How often the planner ran empty among moves of the job, as far as oks tell."""
        self.is_moving = False
        """By an ok, there was more than one move in the planner, and nothing has waited for their end since."""
        self.shortest_turn_s = 0.0
        """What a turn-round takes at least; 0 while unknown."""
        self._troubles: deque[int] = deque(maxlen=RECENT_LINES)
        self._turns = [0] * (STEPS + 1)
        self._samples = 0

    def trouble(self, line: int) -> None:
        """Something did not arrive as it was sent, when `line` lines had been sent in all."""
        self._troubles.append(line)

    def noise(self, lines: int) -> float:
        """The share of noise, when `lines` lines have been sent in all."""
        recent = min(lines, RECENT_LINES)
        found = len({at for at in self._troubles if at > lines - recent})
        return min(1.0, found / recent) if recent else 0.0

    def turned(self, seconds: float) -> None:
        """A line was answered after so long."""
        self._turns[bisect_left(BOUNDS_S, seconds)] += 1
        self._samples += 1
        # The shortest one follows a link that becomes slower, slowly.
        self.shortest_turn_s = min(seconds, 1.02 * self.shortest_turn_s or seconds)
        if self._samples >= MOST_SAMPLES:
            self._turns = [count // 2 for count in self._turns]
            self._samples = sum(self._turns)

    def turn_round_s(self, share: float) -> float | None:
        """The turn-round that this share of the lines did not exceed; None before the first."""
        if not self._samples:
            return None
        wanted = share * self._samples
        for index, count in enumerate(self._turns):
            wanted -= count
            if count and wanted <= 0:
                return BOUNDS_S[min(index, STEPS - 1)]
        return BOUNDS_S[-1]

    def under_ran(self) -> None:
        """The planner was found empty: one under-run, however long the standstill was."""
        self.underruns += 1
        self.is_moving = False

    def health(self, lines: int, mode: str, *, tells_moves: bool, waiting_s: float) -> Health:
        """The figures, when `lines` lines have been sent in all; `tells_moves`: oks tell of the planner."""
        return Health(
            lines=lines,
            resends=self.resends,
            timeouts=self.timeouts,
            garbled=self.garbled,
            stray_oks=self.stray_oks,
            starved=self.starved,
            underruns=self.underruns if tells_moves else None,
            noise=self.noise(lines),
            turn_round_p50_s=self.turn_round_s(0.5),
            turn_round_p99_s=self.turn_round_s(0.99),
            mode=mode,
            waiting_s=waiting_s,
        )
