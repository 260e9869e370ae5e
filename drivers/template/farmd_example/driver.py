"""A driver for machines that speak the example line protocol over TCP (see README.md).

Knows the protocol and farmd's public driver interface, nothing else of farmd.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from farmd import driver as fd
from farmd.model.errors import ErrorCode, LinkLost, ProtocolError, Refused
from farmd.model.machine import Fault, MachineSpec
from farmd.model.work import Outcome, Place

NO_ANSWER = ErrorCode("example-no-answer", "the machine does not answer", "check its power and its network")
STRANGE_LINE = ErrorCode(
    "example-strange-line", "the machine broke its protocol", "check its firmware version"
)
RUN_PREFIX = "R-"
"""Every run id of farmd begins so; a machine's own job names must not."""


class ExampleSettings(fd.DriverSettings):
    host: str
    port: int = 4711
    timeout_s: float = 5.0
    """After so long without a word we ask, and after as long again the link is lost."""


class ExampleDriver(fd.Driver):
    settings_type = ExampleSettings
    capabilities = fd.Capabilities(
        pause=True,
        stop=True,
        estop=True,
        adopts=True,
        history_authoritative=True,
        evidence="The machine answers RUNS with our run id.",
        proven_on="",  # name the hardware here once you have seen it work
    )

    def __init__(self, machine: MachineSpec, settings: fd.DriverSettings, *, state_dir: Path) -> None:
        assert isinstance(settings, ExampleSettings)
        self._name, self._settings = machine.name, settings
        self._memory = state_dir / "seen"
        self._writer: asyncio.StreamWriter | None = None
        self._restarts, self._idle, self._unanswered = "", False, False

    async def serve(self, report: fd.Report) -> None:
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                reader, writer = await asyncio.open_connection(self._settings.host, self._settings.port)
        except (OSError, TimeoutError) as error:
            raise LinkLost(NO_ANSWER, str(error), where=self._name) from error
        try:
            writer.write(b"STATE\n")
            report(await self._observe(reader, writer))
            self._writer = writer  # from here on commands may be sent
            while True:
                words = await self._line(reader, writer)
                if words != ["PONG"]:
                    report(self._event(words))
                elif self._unanswered:  # a START, and not a word since: look again
                    writer.write(b"STATE\n")
                    report(await self._observe(reader, writer))
        except ValueError as error:  # no number, no such outcome, no UTF-8, a line without end
            raise ProtocolError(STRANGE_LINE, str(error), where=self._name) from error
        finally:
            self._writer = None
            writer.transport.abort()

    async def start(self, order: fd.StartOrder) -> None:
        if not self._idle:
            raise Refused(fd.MACHINE_NOT_READY, where=self._name)
        self._send(f"START {order.run_id} {order.duration_s}")
        self._idle, self._unanswered = False, True  # `Started` comes with its RUNS

    async def pause(self) -> None:
        self._send("PAUSE")

    async def resume(self) -> None:
        self._send("RESUME")

    async def stop(self) -> None:
        self._send("CANCEL")

    async def recover(self) -> None:
        self._send("MEND")

    def estop(self) -> None:
        self._send("OFF")

    def _send(self, line: str) -> None:
        if self._writer is None:
            raise Refused(fd.MACHINE_NOT_READY, "there is no link; nothing was sent", where=self._name)
        self._writer.write(line.encode() + b"\n")

    async def _line(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> list[str]:
        for asked in (False, True):
            try:
                async with asyncio.timeout(self._settings.timeout_s):
                    line = await reader.readline()
            except TimeoutError as error:
                if asked:
                    raise LinkLost(NO_ANSWER, where=self._name) from error
                writer.write(b"PING\n")
                continue
            except OSError as error:
                raise LinkLost(NO_ANSWER, str(error), where=self._name) from error
            if line:
                return line.decode().split()
            break
        raise LinkLost(NO_ANSWER, "the machine closed the link", where=self._name)

    async def _observe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> fd.Observed:
        history: list[fd.Finished] = []
        state: list[str] = []
        while (words := await self._line(reader, writer)) != ["END"]:
            match words:
                case ["STATE", _, _, _, _, _]:
                    state = words[1:]
                case ["PAST", run, outcome, fraction]:
                    history.append(fd.Finished(run, Outcome(outcome), place=Place(fraction=float(fraction))))
        if not state:
            raise ProtocolError(STRANGE_LINE, "END came before STATE", where=self._name)
        activity, run, fraction, self._restarts, jobs = state
        seen = self._memory.read_text().split() if self._memory.exists() else [self._restarts, jobs]
        self._remember(jobs)
        self._idle, self._unanswered = activity == "idle", False
        return fd.Observed(
            fd.Activity(activity),
            run_id=None if run == "-" else run,
            fraction=float(fraction),
            history=tuple(history),
            fault=self._fault("it was in fault when we came") if activity == "fault" else None,
            rebooted=seen[0] != self._restarts,
            unseen_start=seen[1] != jobs,
        )

    def _event(self, words: list[str]) -> fd.Event:
        match words:
            case ["RUNS", run, jobs]:
                self._idle, self._unanswered = False, False
                self._remember(jobs)
                return fd.Started(run, "RUNS") if run.startswith(RUN_PREFIX) else fd.ForeignStarted(run)
            case ["PAUSED", run]:
                return fd.Paused(run)
            case ["RESUMED", run]:
                return fd.Resumed(run)
            case ["OVER", run, outcome, fraction]:
                self._idle = True
                ours = run.startswith(RUN_PREFIX)
                place = Place(fraction=float(fraction))
                return fd.Ended(run, Outcome(outcome), place=place) if ours else fd.ForeignEnded()
            case ["FAULT", *text]:
                self._idle = False
                return fd.Faulted(self._fault(" ".join(text)))
            case ["WELL"]:
                self._idle = True
                return fd.Recovered()
        raise ProtocolError(STRANGE_LINE, " ".join(words), where=self._name)

    def _fault(self, what: str) -> Fault:
        return Fault("example-fault", what, "mend the machine, then recover it")

    def _remember(self, jobs: str) -> None:
        self._memory.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._memory.with_suffix(".new")
        fresh.write_text(f"{self._restarts} {jobs}")
        fresh.replace(self._memory)  # the old or the new, never a half
