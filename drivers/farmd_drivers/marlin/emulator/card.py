"""The emulated machine with a card: files, one of them open, and the commands M20 to M30 and M524.

Written from Marlin's `cardreader.cpp`, `queue.cpp` and `M1001.cpp`: while a file is open for writing every
command is stored instead of executed, with CR LF and without its number, and nothing is heard early; lines
from the card get no ok; M23 and M28 end a print; `Not SD printing` is also said when it is paused or read to
its end; `Done printing file` comes when motion is over; M524 empties the ring and homes X and Y. Of the
firmware's reading ahead nothing is shown: a line is read when it is executed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from farmd_drivers.marlin.emulator.build import Build
from farmd_drivers.marlin.emulator.commands import HANDLERS, Handler, Job, Values
from farmd_drivers.marlin.emulator.machine import Marlin

_FINISHED = b"M1001"
"""What the firmware executes behind the last line of a file."""
_CLOSES = re.compile(rb"M29(?![0-9])")


class CardMarlin(Marlin):
    """A `Marlin` with a card. `files` by their upper-case 8.3 names, with the bytes stored.

    `tells_name`, `has_abort`: whether the firmware has M27 C and M524; `writes`: whether it was built to.
    `line_end`: what it puts behind each line it stores.
    """

    def __init__(
        self,
        build: Build | None = None,
        *,
        tells_name: bool = True,
        has_abort: bool = True,
        writes: bool = True,
        reports: bool = True,
        line_end: bytes = b"\r\n",
    ) -> None:
        super().__init__(build or Build())
        self.files: dict[str, bytearray] = {}
        self.inserted = True
        self.full_at = math.inf
        """Bytes of one file after which nothing more can be written."""
        self.open_file = ""
        self.position = 0
        self.starts: list[str] = []
        """Every beginning of a print at the first byte of a file, by the file's name."""
        self.asks: list[bytes] = []
        """Every command of the card that was executed."""
        self._tells_name = tells_name
        self._writes = writes
        self._reports = reports
        self._line_end = line_end
        self._report_s = 0.0
        self._report_due = math.inf
        self._ended = False
        self._is_quiet = False
        mine: dict[bytes, Handler] = {
            b"M20": self._do(self._list),
            b"M21": self._do(self._mount),
            b"M22": self._do(self._release),
            b"M23": self._do(self._choose),
            b"M24": self._do(self._go_on),
            b"M25": self._do(self._hold),
            b"M26": self._do(self._rewind),
            b"M27": self._do(self._tell),
            b"M28": self._do(self._write),
            b"M29": self._do(self._saved),
            b"M30": self._do(self._remove),
            b"M115": self._identify,
            _FINISHED: self._finish,
        }
        if has_abort:
            mine[b"M524"] = self._do(self._abort)
        self.handlers = {**HANDLERS, **mine}

    def power_on(self, now: float) -> None:
        super().power_on(now)
        self._close()
        self._report_s, self._report_due = 0.0, math.inf

    def panel_start(self, name: str, now: float) -> None:
        """Somebody chooses a file at the machine's panel."""
        self.step(now)
        self._select(name)
        self._print()
        self._happen()

    def panel_pause(self, now: float) -> None:
        self.step(now)
        self.source = None

    def panel_stop(self, now: float) -> None:
        self.step(now)
        self._stop()
        self._happen()

    @property
    def printing(self) -> bool:
        return self.source is not None

    # Time.

    def next_time(self) -> float:
        return min(super().next_time(), self._report_due) if self.alive else math.inf

    def _happen(self) -> None:
        super()._happen()
        if self._report_due <= self.now and self.alive:
            self._report_due = self.now + self._report_s
            self._say_status()

    def _execute(self, number: int | None, command: bytes, *, asked: bool = True) -> None:
        if self.saving is not None and not command.startswith(b"M29"):
            self.saving(command)  # known or not
            self._say_ok(number, b"")
            return
        self._is_quiet = not asked
        super()._execute(number, command, asked=asked)
        self._is_quiet = False

    def _say_ok(self, number: int | None, command: bytes) -> None:
        if not self._is_quiet:  # a line of the card gets none, whatever becomes of it
            super()._say_ok(number, command)

    # The file that is written, and the one that is printed.

    def _store(self, command: bytes) -> None:
        stored = self.files[self.open_file]
        if _CLOSES.search(command):
            self._saved(b"")
        elif len(stored) + len(command) + len(self._line_end) > self.full_at:
            self.say(b"Error:error writing to file")
        else:
            stored += command + self._line_end

    def _next_line(self) -> bytes | None:
        if self._ended:
            self._close()
            return _FINISHED
        data = self.files[self.open_file]
        while self.position < len(data):
            end = data.find(b"\n", self.position)
            line = bytes(data[self.position : end if end >= 0 else len(data)])
            self.position = end + 1 if end >= 0 else len(data)
            if command := line.partition(b";")[0].strip():
                self._ended = self.position >= len(data)
                return command
        self._close()
        return _FINISHED

    def _select(self, name: str) -> None:
        self._close()
        self.say(b"echo:Now fresh file: " + name.encode())
        if name in self.files:
            self.open_file = name
            self.say(b"File opened: %b Size: %d\nFile selected" % (name.encode(), len(self.files[name])))
        else:
            self.say(b"open failed, File: %b." % name.encode())

    def _print(self) -> None:
        if self.open_file:
            if self.position == 0 and not self.printing:
                self.starts.append(self.open_file)
            self.source = self._next_line

    def _close(self) -> None:
        self.open_file = ""
        self.position = 0
        self.saving = self.source = None
        self._ended = False

    def _stop(self) -> None:
        """What is left of a print that was aborted."""
        self._close()
        self._ring.clear()
        self.body.planner.drop()
        self.body.heaters_off()
        self._job = None
        self.executed.append(b"G28 X Y")

    def _say_status(self) -> None:
        if self.printing:
            self.say(b"SD printing byte %d/%d" % (self.position, len(self.files[self.open_file])))
        else:
            self.say(b"Not SD printing")

    # Commands.

    def _do(self, what: Callable[[bytes], None]) -> Handler:
        def handler(machine: Marlin, values: Values, command: bytes, job: Job) -> None:
            self.asks.append(command)
            what(command)

        return handler

    @staticmethod
    def _name(command: bytes) -> str:
        return command.partition(b" ")[2].strip().lstrip(b"/").decode("latin-1").upper()

    def _identify(self, machine: Marlin, values: Values, command: bytes, job: Job) -> None:
        has = (("SDCARD", True), ("SD_WRITE", self._writes), ("AUTOREPORT_SD_STATUS", self._reports))
        self.output += self.build.identity()
        self.output += b"".join(b"Cap:%b:%d\n" % (name.encode(), value) for name, value in has)

    def _finish(self, machine: Marlin, values: Values, command: bytes, job: Job) -> None:
        self.executed.pop()  # the firmware's own
        job.until = max(self.now, self.body.planner.synchronize(self.now))
        job.last_words = b"Done printing file\n"
        if job.until <= self.now:
            self.output += job.last_words

    def _list(self, command: bytes) -> None:
        self.say(b"Begin file list")
        for name, data in self.files.items():
            self.say(b"%b %d" % (name.encode(), len(data)))
        self.say(b"End file list")

    def _mount(self, command: bytes) -> None:
        self.say(b"echo:SD card ok" if self.inserted else b"echo:No SD card")

    def _release(self, command: bytes) -> None:
        if not self.printing:
            self._close()

    def _choose(self, command: bytes) -> None:
        if self.inserted:
            self._select(self._name(command))

    def _go_on(self, command: bytes) -> None:
        self._print()

    def _hold(self, command: bytes) -> None:
        self.source = None

    def _rewind(self, command: bytes) -> None:
        if self.open_file:
            self.position = int(command.partition(b"S")[2] or b"0")

    def _tell(self, command: bytes) -> None:
        if b"C" in command:
            if self._tells_name:
                self.say(b"Current file: " + (self.open_file.encode() or b"(no file)"))
        elif b"S" in command:
            if self._reports:
                self._report_s = float(command.partition(b"S")[2] or b"0")
                self._report_due = self.now + self._report_s if self._report_s else math.inf
        else:
            self._say_status()

    def _write(self, command: bytes) -> None:
        if not self.inserted or not self._writes:
            self.say(b"open failed, File: %b." % self._name(command).encode())
            return
        self._close()
        self.open_file = self._name(command)
        self.files[self.open_file] = bytearray()
        self.saving = self._store
        self.say(b"Writing to file: " + self.open_file.encode())

    def _saved(self, command: bytes) -> None:
        if self.saving is not None:
            self._close()
            self.say(b"Done saving file.")

    def _remove(self, command: bytes) -> None:
        name = self._name(command)
        if self.files.pop(name, None) is not None:
            self.say(b"File deleted:" + name.encode())
        else:
            self.say(b"Deletion failed, File: %b." % name.encode())

    def _abort(self, command: bytes) -> None:
        if self.printing:
            self._stop()
        else:
            self._close()
