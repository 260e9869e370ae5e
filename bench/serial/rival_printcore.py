"""Printrun's printcore prints a file: run by the interpreter of its own environment.

`rival_printcore.py PORT FILE TIMEOUT_S`. Tells what happens as lines of JSON, with the monotonic time and the
CPU of this process so far. The file is parsed before the print begins. Knows nothing of farmd.
"""

import json
import logging
import os
import sys
import threading
import time

logging.disable(logging.CRITICAL)

from printrun import gcoder  # noqa: E402
from printrun.printcore import printcore  # noqa: E402


def tell(event: str, **more: object) -> None:
    times = os.times()
    told = {"event": event, "at": time.monotonic(), "cpu_s": times.user + times.system, **more}
    print(json.dumps(told), flush=True)


def rss_mb() -> float:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6


def main() -> None:
    port, path, timeout_s = sys.argv[1], sys.argv[2], float(sys.argv[3])
    online, over = threading.Event(), threading.Event()
    core = printcore()
    core.onlinecb = online.set
    core.endcb = over.set
    core.errorcb = lambda text: None
    core.connect(port, 115200)
    if not online.wait(20):
        tell("failed", why="not online")
        os._exit(1)
    tell("online", rss_mb=rss_mb())
    with open(path) as file:
        gcode = gcoder.LightGCode([line.strip() for line in file])
    tell("began")
    core.startprint(gcode)
    tell("done" if over.wait(timeout_s) else "timeout", rss_mb=rss_mb())
    os._exit(0)


main()
