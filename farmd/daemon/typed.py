"""Single commands that a person types for a machine: whether and when one may be sent, and the record of it.

All of it is decided here, whatever way a command came; the driver asks the gate once more for itself. A command
is on record before it is sent. What may have left something on the bed voids an unspent permit, in the same
breath. Knows no HTTP and no protocol.
"""

from __future__ import annotations

from farmd.daemon.attendant import Attendant
from farmd.daemon.blame import printable
from farmd.daemon.ledger import Ledger
from farmd.daemon.shop import Shop
from farmd.driver import MACHINE_NOT_READY, NOT_SUPPORTED, Reply, now
from farmd.gcode import check_command, parse_line
from farmd.gcode.allow import remedy
from farmd.gcode.manual import is_harmless, is_question, leaves_bed
from farmd.model import facts as f
from farmd.model.apply_safety import require_normal
from farmd.model.errors import ErrorCode, FarmdError, Refused
from farmd.model.lifecycle import MachineState
from farmd.model.machine import Machine

BAD_COMMAND = ErrorCode("bad-command", "this is not one command", "send one line of G-code at a time")
COMMAND_REFUSED = ErrorCode(
    "command-refused",
    "this command is never sent to a machine",
    "do it at the machine itself, or by farmd's own command for it (see `farmctl --help`)",
)
COMMAND_IN_RUN = ErrorCode(
    "command-in-run",
    "while a run is open, only questions and small adjustments are sent",
    "wait for its end, or end it with `farmctl stop NAME`; docs/CLI.md lists what may be sent",
)
NOT_HELD = ErrorCode(
    "not-held",
    "nobody holds the machine, so a run could start under your hands",
    "say `farmctl hold NAME` first, and `farmctl release NAME` when you are done",
)
COMMAND_OPEN = ErrorCode("command-open", "another command is still being answered", "try again in a moment")
LONGEST_ANSWER = 500
"""Characters of an answer that are kept on record."""
_RUNNING = frozenset({MachineState.BUSY, MachineState.FOREIGN})


class Typing:
    """Sends typed commands, one at a time to each machine."""

    def __init__(self, ledger: Ledger, shop: Shop) -> None:
        self._ledger = ledger
        self._shop = shop
        self._open: set[str] = set()

    async def send(self, keeper: Attendant, actor: str, text: str, reason: str = "") -> Reply:
        """Send one command and give the answer. Raises `Refused`; nothing was sent then."""
        text = text.strip()
        self._check(keeper, text)
        name = keeper.name
        if name in self._open:
            raise Refused(COMMAND_OPEN, where=name)
        self._open.add(name)
        try:
            run_id = keeper.machine.run_id
            await self._ledger.record(*self._intent(keeper.machine, actor, text, reason))
            try:
                # The disk took its time, and somebody may have released the machine meanwhile.
                self._check(keeper, text)
                reply = await keeper.command(text)
            except FarmdError as error:
                await self._answered(name, text, run_id, not_sent=error.told, complete=False)
                raise
            answer = printable("; ".join(reply.lines))[:LONGEST_ANSWER]
            await self._answered(name, text, run_id, answer=answer, complete=reply.complete)
        finally:
            self._open.discard(name)
        return reply

    def _check(self, keeper: Attendant, text: str) -> None:
        """Whether it may be sent now. Raises `Refused`."""
        name, machine = keeper.name, keeper.machine
        if not keeper.driver.capabilities.commands:
            raise Refused(NOT_SUPPORTED, "its driver takes no single commands", where=name)
        if len(text.splitlines()) != 1 or not parse_line(text.encode()):
            raise Refused(BAD_COMMAND, "it is not one line with a command", where=name)
        spec = self._shop.specs[name]
        finding = check_command(text, self._shop.limits(spec, machine.material), spec.allow)
        if finding is not None:
            advice = remedy(finding.permission) if finding.permission else ""
            what = f"{finding.command} {finding.reason}"
            raise Refused(COMMAND_REFUSED, what, where=name, remedy=advice)
        if machine.state is MachineState.OFFLINE:
            raise Refused(MACHINE_NOT_READY, "there is no link to it", where=name)
        if is_question(text):
            return
        require_normal(self._ledger.farm)
        if machine.run_id is not None or machine.state in _RUNNING:
            if not is_harmless(text):
                raise Refused(COMMAND_IN_RUN, where=name)
        elif machine.held is None:
            raise Refused(NOT_HELD, where=name)

    def _intent(self, machine: Machine, actor: str, text: str, reason: str) -> list[f.Fact]:
        at, name = now(), machine.name
        facts: list[f.Fact] = [
            f.CommandSent(
                at=at, actor=actor, machine=name, command=text, reason=reason, run_id=machine.run_id
            )
        ]
        if machine.permit is not None and not leaves_bed(text):
            why = f"{text} was sent by hand and may have left something on the bed"
            facts.append(f.PermitVoided(at=at, actor=actor, machine=name, reason=why))
        return facts

    async def _answered(
        self,
        name: str,
        text: str,
        run_id: str | None,
        *,
        answer: str = "",
        complete: bool,
        not_sent: str = "",
    ) -> None:
        fact = f.CommandAnswered(
            at=now(),
            actor=f"machine:{name}",
            machine=name,
            command=text,
            answer=answer,
            complete=complete,
            not_sent=printable(not_sent)[:LONGEST_ANSWER],
            run_id=run_id,
        )
        await self._ledger.record(fact)
