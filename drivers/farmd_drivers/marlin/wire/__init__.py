"""The Marlin serial protocol without I/O: `Wire` is fed bytes and times, and gives bytes and events.

`core` has the bytes, `dialogue` the phases and the run, `discipline` what is done about lost lines, `outbox`
the numbered lines, `replies` the words, `firmware` and `dialects` who is spoken to, `thermometer` when to ask
for temperatures, `states` the tables, times and events. Nothing in here knows a loop, clock, file or device.
"""

from farmd_drivers.marlin.wire.core import Wire as Wire
