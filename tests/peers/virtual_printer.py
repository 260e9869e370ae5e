"""OctoPrint's virtual printers on pseudo-terminals: run by the interpreter of the peer's own environment.

`virtual_printer.py FOLDER` answers each line of JSON on its input with one: `{"make": SETTINGS}` with a new
printer's number, port and the path of what it executes; `{"printer": N, "debug": TEXT}` says to it what would
follow `!!DEBUG:` on its line (`reset`, `drop_connection`, ...); `{"printer": N, "close": true}` ends it. Knows
OctoPrint and ptys, and nothing of farmd.
"""

import json
import logging
import os
import pty
import sys
import threading
import tty
import types
from pathlib import Path

logging.disable(logging.CRITICAL)
# Lists the host's addresses, which a printer does not need, and has to be compiled.
sys.modules.setdefault("netifaces", types.ModuleType("netifaces"))

import octoprint.plugin  # noqa: E402
from octoprint.plugins.virtual_printer import VirtualPrinterPlugin  # noqa: E402
from octoprint.plugins.virtual_printer.virtual import SerialTimeoutException, VirtualPrinter  # noqa: E402
from octoprint.printer.profile import PrinterProfileManager  # noqa: E402
from octoprint.settings import settings  # noqa: E402

READ_S = 0.2


class Recording(VirtualPrinter):
    """The printer, which writes down what it executes: it looks for a handler of each letter first."""

    def __init__(self, record: Path, *args: object, **kwargs: object) -> None:
        self._record = record.open("w", buffering=1)
        super().__init__(*args, **kwargs)

    def _gcode_G(self, code: str, data: str) -> None:
        self._record.write(data + "\n")

    def _gcode_M(self, code: str, data: str) -> None:
        self._record.write(data + "\n")

    def _gcode_T(self, code: str, data: str) -> None:
        self._record.write(data + "\n")
        super()._gcode_T(code, data)


class OnPty:
    """A printer and its port."""

    def __init__(self, folder: Path, changes: dict[str, object]) -> None:
        folder.mkdir()
        defaults = {**VirtualPrinterPlugin().get_settings_defaults(), **changes}
        own = octoprint.plugin.plugin_settings("virtual_printer", defaults=defaults)
        self.record = folder / "executed"
        self.printer = Recording(self.record, own, PrinterProfileManager(), str(folder), read_timeout=READ_S)
        self._ours, self._theirs = pty.openpty()
        tty.setraw(self._theirs)
        self.port = os.ttyname(self._theirs)
        self._open = True
        for each in (self._listen, self._speak):
            threading.Thread(target=each, daemon=True).start()

    def _listen(self) -> None:
        text = b""
        try:
            while data := os.read(self._ours, 4096):
                # It takes up one line for each write, and leaves the others until the next.
                *lines, text = (text + data).split(b"\n")
                for line in lines:
                    left = line + b"\n"
                    while left and self._open:
                        left = left[self.printer.write(left) :]
        except (SerialTimeoutException, OSError):
            return

    def _speak(self) -> None:
        try:
            while self._open:
                if line := self.printer.readline():
                    os.write(self._ours, line if line.endswith(b"\n") else line + b"\n")
        except (SerialTimeoutException, AttributeError, OSError):
            self.hang_up()

    def hang_up(self) -> None:
        if self._open:
            self._open = False
            os.close(self._theirs)
            os.close(self._ours)

    def close(self) -> None:
        self.printer.close()
        self.hang_up()


def main() -> None:
    folder = Path(sys.argv[1])
    settings(init=True, basedir=str(folder))
    octoprint.plugin.plugin_manager(init=True, plugin_folders=[], plugin_entry_points=[])
    printers: list[OnPty] = []
    for line in sys.stdin:
        request = json.loads(line)
        answer: dict[str, object] = {}
        if "make" in request:
            made = OnPty(folder / str(len(printers)), request["make"])
            answer = {"printer": len(printers), "port": made.port, "executed": str(made.record)}
            printers.append(made)
        elif "debug" in request:
            printers[request["printer"]].printer._debugTrigger(request["debug"])
        else:
            printers[request["printer"]].close()
        print(json.dumps(answer), flush=True)
    os._exit(0)


main()
