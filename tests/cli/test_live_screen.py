"""`farmctl top` on a real terminal (a pty): it shows the farm, and q gives the terminal back as it was."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

_WAIT_S = 20.0


@pytest.fixture
def url(api: Any) -> Iterator[str]:
    """A real server on a free port that answers as `api` does."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = api(httpx.Request("GET", f"http://{self.headers['host']}{self.path}"))
            self.send_response(answer.status_code)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def _read_until(master: int, pattern: bytes) -> bytes:
    seen, deadline = b"", time.monotonic() + _WAIT_S
    while not re.search(pattern, seen):
        assert time.monotonic() < deadline, seen[-2000:]
        if select.select([master], [], [], 0.2)[0]:
            seen += os.read(master, 65536)
    return seen


def test_top_until_q(url: str) -> None:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    before = termios.tcgetattr(slave)
    command = [sys.executable, "-c", "from farmd.cli.farmctl import main; main()", "top", "--url", url]
    environment = {**os.environ, "TERM": "xterm-256color"}
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment)
    try:
        # Shown, and shown again a second later.
        seen = _read_until(master, rb"(?s)mk4-25.*mk4-25")
        assert b"\x1b[?1049h" in seen
        assert b"north-hall" in seen
        os.write(master, b"xq")
        seen = _read_until(master, rb"\x1b\[\?1049l")
        assert process.wait(_WAIT_S) == 0
        assert termios.tcgetattr(slave) == before
    finally:
        process.kill()
        process.wait()
        os.close(master)
        os.close(slave)
