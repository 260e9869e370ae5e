"""OctoPrint's serial layer prints a file: run by the interpreter of its own environment.

`rival_octoprint.py PORT FILE TIMEOUT_S FOLDER`. `octoprint.util.comm.MachineCom` as the server drives it, with
its default settings and without plug-ins, web server or state monitor, which would only cost more. Tells
what happens as lines of JSON, with the monotonic time and the CPU of this process so far. Knows nothing of farmd.
"""

import json
import logging
import os
import sys
import threading
import time
import types

logging.disable(logging.CRITICAL)
# Lists the host's addresses, which a printer does not need, and has to be compiled.
sys.modules.setdefault("netifaces", types.ModuleType("netifaces"))

import octoprint.plugin  # noqa: E402
from octoprint.events import eventManager  # noqa: E402
from octoprint.printer.profile import PrinterProfileManager  # noqa: E402
from octoprint.settings import settings  # noqa: E402
from octoprint.util.comm import MachineCom, MachineComPrintCallback  # noqa: E402


def tell(event: str, **more: object) -> None:
    times = os.times()
    told = {"event": event, "at": time.monotonic(), "cpu_s": times.user + times.system, **more}
    print(json.dumps(told), flush=True)


def rss_mb() -> float:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6


class Told(MachineComPrintCallback):
    """The first end of the print, whichever it is."""

    def __init__(self) -> None:
        self.is_ready, self.is_over = threading.Event(), threading.Event()
        self.how = ""

    def _over(self, how: str) -> None:
        if not self.is_over.is_set():
            self.how = how
            self.is_over.set()

    def on_comm_print_job_done(self, suppress_script: bool = False) -> None:
        self._over("done")

    def on_comm_print_job_cancelling(self, firmware_error: object = None, user: object = None) -> None:
        self._over("failed")

    def on_comm_error(self, *args: object, **kwargs: object) -> None:
        self._over("failed")

    def on_comm_state_change(self, state: int) -> None:
        if state == MachineCom.STATE_OPERATIONAL:
            self.is_ready.set()
        if state in (MachineCom.STATE_CLOSED, MachineCom.STATE_ERROR, MachineCom.STATE_CLOSED_WITH_ERROR):
            self._over("failed")


def main() -> None:
    port, path, timeout_s, folder = sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4]
    settings(init=True, basedir=folder)
    octoprint.plugin.plugin_manager(init=True, plugin_folders=[], plugin_entry_points=[])
    eventManager()
    told = Told()
    comm = MachineCom(port, 115200, callbackObject=told, printerProfileManager=PrinterProfileManager())
    comm.start()
    if not told.is_ready.wait(30):
        tell("failed", why="not operational")
        os._exit(1)
    tell("online", rss_mb=rss_mb())
    comm.selectFile(path, False)
    tell("began")
    comm.startPrint()
    tell(told.how if told.is_over.wait(timeout_s) else "timeout", rss_mb=rss_mb())
    os._exit(0)


main()
