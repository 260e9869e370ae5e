"""A machine that speaks the example line protocol on a local TCP port, for tests. See README.md."""

from __future__ import annotations

import asyncio


class ExamplePeer:
    """`starts` are the run ids of all STARTs received. While `mute`, nothing goes in or out."""

    def __init__(self) -> None:
        self.starts: list[str] = []
        self.mute = False
        self.drop_next_start = False
        self.activity = "idle"
        self._run = "-"
        self._past: list[str] = []
        self._restarts = self._jobs = 0
        self._length_s = self._done_s = self._since = 0.0
        self._end: asyncio.TimerHandle | None = None
        self._links: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def listen(self) -> int:
        """Begins to listen; returns the port."""
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def close(self) -> None:
        self._halt()
        self._hang_up()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    def reboot(self) -> None:
        """Power is lost and comes back: the run is gone, and so are the links."""
        self._over("failed")
        self._restarts += 1
        self.activity = "idle"
        self._hang_up()

    def run(self, name: str, seconds: float) -> None:
        """Starts a run, if idle."""
        if self.activity != "idle":
            return
        self.activity, self._run = "running", name
        self._length_s, self._done_s = seconds, 0.0
        self._jobs += 1
        self._say(f"RUNS {name} {self._jobs}")
        self._go()

    def fail(self) -> None:
        self._over("failed")

    def fault(self, text: str) -> None:
        self._over("failed")
        self.activity = "fault"
        self._say(f"FAULT {text}")

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._links.add(writer)
        try:
            while line := await reader.readline():
                if not self.mute:
                    self._obey(line.decode().split(), writer)
        except ConnectionError:
            return  # the other side went away, as it may
        finally:
            self._links.discard(writer)
            writer.transport.abort()

    def _obey(self, words: list[str], writer: asyncio.StreamWriter) -> None:
        match words:
            case ["STATE"]:
                fraction = f"{self._fraction():.4f}"
                state = f"STATE {self.activity} {self._run} {fraction} {self._restarts} {self._jobs}"
                writer.write("\n".join([state, *self._past, "END\n"]).encode())
            case ["START", name, seconds]:
                self.starts.append(name)
                dropped, self.drop_next_start = self.drop_next_start, False
                if not dropped:
                    self.run(name, float(seconds))
            case ["PAUSE"] if self.activity == "running":
                self._done_s = self._done()
                self._halt()
                self.activity = "paused"
                self._say(f"PAUSED {self._run}")
            case ["RESUME"] if self.activity == "paused":
                self.activity = "running"
                self._say(f"RESUMED {self._run}")
                self._go()
            case ["CANCEL"]:
                self._over("cancelled")
            case ["OFF"]:
                self.fault("emergency stop")
            case ["MEND"] if self.activity == "fault":
                self.activity = "idle"
                self._say("WELL")
            case ["PING"]:
                writer.write(b"PONG\n")

    def _over(self, outcome: str) -> None:
        if self._run == "-":
            return
        line = f"{self._run} {outcome} {self._fraction():.4f}"
        self._past = [*self._past, f"PAST {line}"][-20:]
        self._halt()
        self.activity, self._run = "idle", "-"
        self._say(f"OVER {line}")

    def _go(self) -> None:
        loop = asyncio.get_running_loop()
        self._since = loop.time()
        self._end = loop.call_later(self._length_s - self._done_s, self._over, "ok")

    def _halt(self) -> None:
        if self._end is not None:
            self._end.cancel()
            self._end = None

    def _done(self) -> float:
        since_s = asyncio.get_running_loop().time() - self._since if self._end is not None else 0.0
        return min(self._length_s, self._done_s + since_s)

    def _fraction(self) -> float:
        return self._done() / self._length_s if self._run != "-" else 0.0

    def _say(self, line: str) -> None:
        if not self.mute:
            for writer in self._links:
                writer.write(line.encode() + b"\n")

    def _hang_up(self) -> None:
        for writer in self._links:
            writer.transport.abort()
