"""Single commands that a person types: the driver's own check of them, and the wait for the answer.

Who may send what and when is the daemon's business; here the same gate is asked once more, with what only the
driver knows: whether it is feeding a run, and what would block its link. Knows no run's file and no record.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from farmd.driver import MACHINE_NOT_READY, Reply
from farmd.gcode import bare_command, check_command, limits_of, parse_line
from farmd.gcode.manual import is_harmless
from farmd.model.errors import ErrorCode, Refused
from farmd.model.machine import MachineSpec
from farmd_drivers.marlin.transport import Connection
from farmd_drivers.marlin.wire import states
from farmd_drivers.marlin.wire.replies import COMMAND_BYTES

COMMAND_NOT_TAKEN = ErrorCode(
    "command-not-taken",
    "this command cannot be sent over this machine's link",
    "do it at the machine itself, or with another command",
)
ANSWER_S = 10.0
"""So long an answer is waited for. What takes longer (homing, heating) goes on; the terminal shows its answer."""
_BLOCKING = frozenset({"M0", "M1"})
"""Nothing gets through behind these until somebody presses a button."""


class Typist:
    """Sends one typed command at a time over a machine's link of the moment."""

    def __init__(self, machine: MachineSpec) -> None:
        self._machine = machine
        self._answer: asyncio.Future[states.Answered] | None = None

    async def send(self, connection: Connection, text: str, about: Callable[[str], Awaitable[None]]) -> Reply:
        """Send it, and give what is answered within ANSWER_S; `about` is told before.

        Raises `Refused`; nothing was sent then.
        """
        wire = connection.wire
        self._check(connection, text)
        await about(text)
        command = self._check(connection, text)  # much may have happened meanwhile
        wire.type_command(command)
        answer = self._answer = asyncio.get_running_loop().create_future()
        try:
            connection.pump()
            async with asyncio.timeout(ANSWER_S):
                told = await answer
        except TimeoutError:
            if wire.typed.withdraw():
                raise _not_now("the machine is busy with what it was sent before") from None
            return Reply(tuple(wire.typed.lines), complete=False)
        finally:
            self._answer = None
        if not told.sent:
            raise _not_now("it was dropped for what happened meanwhile")
        return Reply(told.lines, complete=told.complete)

    def _check(self, connection: Connection, text: str) -> bytes:
        """The command, when it may be sent now; else raises `Refused`."""
        wire = connection.wire
        command = self._checked(text, in_run=wire.in_run or wire.card.in_print)
        if self._answer is not None or wire.typed.is_open:
            raise _not_now("another command is still being answered")
        if not wire.may_type:
            doing = "storing a file on its card" if wire.card.saving else wire.phase
            raise _not_now(f"the machine is {doing}")
        return command

    def answered(self, event: states.Answered) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(event)

    def break_off(self, connection: Connection) -> None:
        """The link is lost: what was answered up to now is all there will be."""
        typed = connection.wire.typed
        if typed.is_open:
            self.answered(states.Answered(tuple(typed.lines), complete=False, sent=not typed.withdraw()))

    def _checked(self, text: str, *, in_run: bool) -> bytes:
        try:
            command = bare_command(text.encode("ascii").strip())
        except UnicodeEncodeError as error:
            raise Refused(COMMAND_NOT_TAKEN, "it has letters that firmware does not know") from error
        parsed = parse_line(command)
        if not parsed or len(command) > COMMAND_BYTES:
            what = f"a command has at least one letter and at most {COMMAND_BYTES}"
            raise Refused(COMMAND_NOT_TAKEN, what)
        finding = check_command(command, limits_of(self._machine), self._machine.allow)
        if finding is not None:
            raise Refused(COMMAND_NOT_TAKEN, f"{finding.command} {finding.reason}")
        if any(each.name in _BLOCKING for each in parsed):
            raise Refused(COMMAND_NOT_TAKEN, f"{parsed[0].name} blocks the link until a button is pressed")
        if in_run and not is_harmless(command.decode()):
            raise _not_now("a run is open")
        return command


def _not_now(why: str) -> Refused:
    return Refused(MACHINE_NOT_READY, f"{why}; nothing was sent")
