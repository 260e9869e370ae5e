"""The Marlin serial protocol without I/O: `Wire` is fed bytes and times, and gives bytes and events.

`core` has the bytes, `dialogue` the phases of a run and `handshake` the others, `park` the scripts that move the
head, `modal` what a file has set. `discipline` is what is done about lost lines, on the state in `lines`: `outbox`
has the numbered lines, `window` how many may be on their way, `patience` and `motion` how long an answer may stay
away, `quiet` and `requests` what a Resend means, `proof` what M105 proves, `counters` how good the link is.
`replies` has the words, `firmware` and `dialects` who is spoken to, `thermometer` when to ask for temperatures,
`states` the tables, times and events. Nothing in here knows a loop, clock, file or device.
"""

from farmd_drivers.marlin.wire.core import Wire as Wire
