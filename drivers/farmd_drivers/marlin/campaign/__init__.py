"""The property campaign: the protocol core against the strict emulator, for any schedule of faults.

A `Trial` is one run of a short file over one link, in virtual time and without a device, drawn whole from a
seed: the firmware's build, the speed of the link, the file, and what goes wrong. `Trial.run` returns how it
ended and what of the following did not hold:

* what was executed of the file is its beginning, each line once and in order (of stopped firmware, which
  refuses moves and nothing else: its beginning up to then), and no numbered line was executed that the host
  did not send. With more than one line on the wire one thing is beyond a host, and only counted (`headless`):
  firmware that flushes in the middle of a line believes the rest of it, if that is a command;
* a run that is said to be done was executed whole, and no move of it is left;
* the place of a run that is said to be cancelled is the number of lines executed, exactly. Of one that has
  failed, it is at least what was executed when that was said, less what may be on its way at once
  (`window`, one line in ping-pong): their oks may have been lost or still to come. It is at most what was
  executed in the end or died in the firmware's ring, and one more for each fault of noise: what became of a
  spoilt line is certain only when its successor was accepted, and an ok that nobody said looks like a true one;
* whenever motion is said to be over, in mid-run, exactly the lines that are said to be have been executed;
* what no run survives ends none as done, and noise and quirks alone end every run as done (up to four in a
  run of 15 to 40 lines; one line in eight or so). Excepted are the one bit that makes an emergency stop of
  `M110`, two damaged requests in one run, which can look like those of a firmware that was reset, and
  firmware that knows no `M110`: there nothing may ever begin;
* after a run that failed or was cancelled the heaters are off; or the machine does not answer, and what
  switches them off has been sent;
* everything ends within `LIMIT_S` of virtual time.

For tests and benchmarks; no driver imports it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from farmd_drivers.marlin.campaign.setting import Setting as Setting
from farmd_drivers.marlin.campaign.setting import draw as draw
from farmd_drivers.marlin.campaign.trial import Trial as Trial


@dataclass(slots=True)
class Tally:
    """What came of some trials: how many of each kind ended how, and what did not hold in which."""

    ends: Counter[tuple[str, str]] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    """How often each fault happened."""
    broken: list[tuple[int, str]] = field(default_factory=list)
    headless: list[int] = field(default_factory=list)
    """Seeds in which firmware believed the rest of a line of the file."""

    def add(self, other: Tally) -> None:
        self.ends += other.ends
        self.faults += other.faults
        self.broken += other.broken
        self.headless += other.headless


def try_seeds(seeds: range) -> Tally:
    """The trials of these seeds."""
    tally = Tally()
    for seed in seeds:
        trial = Trial(draw(seed))
        try:
            outcome = trial.run()
        except Exception as error:  # noqa: BLE001 - what the core raises is a finding like any other
            outcome = "raised"
            trial.broken.append(f"raised {error!r}")
        tally.ends[trial.setting.kind, outcome or "never begun"] += 1
        tally.faults.update(upset.what.value for upset in trial.saboteur.done)
        if trial.headless:
            tally.headless.append(seed)
        tally.broken += [(seed, what) for what in trial.broken]
    return tally
