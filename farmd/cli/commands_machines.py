"""The commands of farmctl about machines: see them, drive them, say what was done to them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from farmd.cli.commands_jobs import Reason
from farmd.cli.errors import REFUSED, Failed, Told
from farmd.cli.session import Session, command
from farmd.cli.text import here, plain
from farmd.model.errors import ErrorCode

if TYPE_CHECKING:
    from farmd.cli.client import Client

NOT_STOPPED = ErrorCode(
    "not-stopped", "the machine could not be told to stop", "stop it at the machine itself, now"
)

MachineName = Annotated[str, typer.Argument(metavar="NAME", help="A machine.", show_default=False)]


class Verdict(StrEnum):
    """What a person sees at a machine whose run is uncertain."""

    PRINTING = "printing"
    NOT_STARTED = "not-started"
    FAILED = "failed"


def register(app: typer.Typer) -> None:
    @command(app)
    def machines(session: Session) -> None:
        """All machines: what each does, waits for, and has loaded.

        \b
        farmctl machines
        """
        from farmd.cli.tables import machines_table

        with session.client() as client:
            answer = client.get("machines")
        found = answer["machines"]
        session.show(answer, machines_table(found, here()) if found else "no machines")

    @command(app)
    def machine(
        session: Session,
        name: MachineName,
        terminal: Annotated[
            bool, typer.Option("--terminal", help="What went over its link instead, line by line.")
        ] = False,
        follow: Annotated[
            bool, typer.Option("--follow", "-f", help="With --terminal: go on as it happens.")
        ] = False,
    ) -> None:
        """Everything about one machine, and its last runs.

        With --terminal --follow --json, one JSON object a line.

        \b
        farmctl machine mk4-03
        farmctl machine mk4-03 --terminal --follow
        """
        from farmd.cli.pages import machine_page

        if follow and not terminal:
            raise typer.BadParameter("--follow goes with --terminal")
        with session.client() as client:
            if terminal:
                _terminal(session, client, name, follow=follow)
                return
            view = client.get("machines", name)
        session.show(view, machine_page(view, here()))

    @command(app)
    def send(
        session: Session,
        name: MachineName,
        words: Annotated[list[str], typer.Argument(metavar="COMMAND…", help="One line of G-code.")],
        reason: Reason = "",
    ) -> None:
        """Send a machine one command by hand, and show what it answers.

        Questions at any time; small adjustments (fan, speed, flow, display) while a run is open; everything
        else that is not forbidden only on a machine that you hold. What may have left something on the bed
        takes the permit away: say `farmctl clear` when it is clear.

        \b
        farmctl send mk4-03 M114
        farmctl send mk4-03 M220 S80 --reason "stringing"
        farmctl hold mk4-03; farmctl send mk4-03 G28; farmctl release mk4-03
        """
        from farmd.cli.text import plain

        with session.client() as client:
            body = {"command": " ".join(words), "reason": reason}
            answer = client.post("machines", name, "command", body=body)
        shown = [plain(line) for line in answer["lines"]] or (["ok"] if answer["complete"] else [])
        if not answer["complete"]:
            shown.append(f"no answer yet: see `farmctl machine {plain(name)} --terminal --follow`")
        session.show(answer, *shown)

    @command(app)
    def pause(session: Session, name: MachineName, reason: Reason = "") -> None:
        """Pause the run on a machine.

        \b
        farmctl pause mk4-03
        """
        _drive(session, name, "pause", reason)

    @command(app)
    def resume(session: Session, name: MachineName, reason: Reason = "") -> None:
        """Go on with a paused run.

        \b
        farmctl resume mk4-03
        """
        _drive(session, name, "resume", reason)

    @command(app)
    def stop(session: Session, name: MachineName, reason: Reason = "") -> None:
        """End the run on a machine safely.

        Its parts are lost; what its job still needs is planned anew.

        \b
        farmctl stop mk4-03 --reason "spaghetti"
        """
        _drive(session, name, "stop", reason)

    @command(app)
    def estop(
        session: Session,
        name: Annotated[str | None, typer.Argument(metavar="[NAME]", show_default=False)] = None,
        every: Annotated[bool, typer.Option("--all", help="Every machine of the farm.")] = False,
        reason: Reason = "",
    ) -> None:
        """Emergency stop of one machine, or of all.

        They are held after it, until `farmctl release`.

        \b
        farmctl estop mk4-03
        farmctl estop --all
        """
        if (name is None) != every:
            raise typer.BadParameter("give a machine's name, or --all")
        if name is not None:
            _drive(session, name, "estop", reason)
            return
        with session.client() as client:
            answer = client.post("estop", body={"reason": reason})
        stopped, running = answer["stopped"], answer["not_stopped"]
        if running:
            # Who presses this button wants to know about every machine.
            if not session.json:
                print(f"{len(stopped)} stopped: {', '.join(map(plain, stopped)) or 'none'}")
            told = [Told(NOT_STOPPED.name, NOT_STOPPED.meaning, name, NOT_STOPPED.remedy) for name in running]
            raise Failed(told, REFUSED, answer)
        session.show(answer, f"{len(stopped)} stopped: {', '.join(map(plain, stopped))}")

    @command(app)
    def clear(
        session: Session,
        name: MachineName,
        good: Annotated[
            list[str] | None,
            typer.Option(metavar="[JOB=]N", help="Good parts, in all or of a job; else all that are left."),
        ] = None,
        scrap: Annotated[
            list[str] | None, typer.Option(metavar="[JOB=]N", help="Parts that are not good.")
        ] = None,
        reason: Reason = "",
    ) -> None:
        """Say that a machine is clear and ready.

        Counts the parts that came off it, and gives the permit for the next start. Of a build of several
        jobs, numbers are given for each job; give an option once for each.

        \b
        farmctl clear mk4-03
        farmctl clear mk4-03 --good 3 --scrap 1 --reason "warped corner"
        farmctl clear sls-1 --scrap J-2=1 --scrap J-5=3
        """
        from farmd.cli.counts import counted_body
        from farmd.cli.pages import machine_line

        with session.client() as client:
            body = {**counted_body(good or [], scrap or []), "reason": reason}
            answer = client.post("machines", name, "clear", body=body)
        counted = f"counted {answer['good']} good, {answer['scrap']} scrap"
        session.show(answer, counted, machine_line(answer["machine"], here()))

    @command(app)
    def load(
        session: Session,
        name: MachineName,
        material: Annotated[
            str, typer.Argument(metavar="MATERIAL|LOT", help='Such as "PLA black", or a known lot.')
        ],
        grams: Annotated[float | None, typer.Option(min=0, help="How much of it is there.")] = None,
        nozzle: Annotated[
            float | None, typer.Option("--nozzle", metavar="MM", help="The nozzle, too.")
        ] = None,
        lot: Annotated[str | None, typer.Option(help="The lot that the material is of.")] = None,
        reason: Reason = "",
    ) -> None:
        """Say what has been loaded on a machine.

        \b
        farmctl load mk4-03 "PETG black" --grams 1000
        farmctl load mk4-03 PLA --nozzle 0.6
        """
        from farmd.cli.pages import machine_line
        from farmd.cli.state import nozzle as nozzle_text

        with session.client() as client:
            body = {
                "material": material,
                "grams": grams,
                "nozzle_mm": nozzle,
                "lot": lot,
                "reason": reason or None,
            }
            view = client.post("machines", name, "load", body=body)
        loaded = ", ".join(filter(None, (view["material"], nozzle_text(view["nozzle_mm"]), view["lot"])))
        session.show(view, f"loaded {plain(loaded)}", machine_line(view, here()))

    @command(app)
    def resolve(
        session: Session,
        run: Annotated[str, typer.Argument(metavar="RUN", help="A run, R-….", show_default=False)],
        verdict: Annotated[Verdict, typer.Argument(help="What the machine really does.", show_default=False)],
        reason: Reason = "",
    ) -> None:
        """Say what became of an uncertain run.

        Look at its machine first: nothing else can tell.

        \b
        farmctl resolve R-7K2M9QX4TB printing
        """
        with session.client() as client:
            view = client.post(
                "runs", run, "resolve", body={"verdict": verdict.value, "reason": reason or None}
            )
        session.show(view, f"{view['id']} on {view['machine']} is {view['outcome'] or view['state']}")

    @command(app, name="continue")
    def go_on(
        session: Session,
        run: Annotated[str, typer.Argument(metavar="RUN", help="A run, R-….", show_default=False)],
        reason: Reason = "",
    ) -> None:
        """Go on where a run broke off, with its part still on the machine as it was.

        Look at the part first: it must stand firm, and nothing else may be in the way. Only for machines
        that can find their position anew without touching the part (`farmctl machine NAME` says so).

        \b
        farmctl continue R-7K2M9QX4TB
        """
        with session.client() as client:
            view = client.post("runs", run, "continue", body={"reason": reason or None})
        session.show(view, f"{view['id']} goes on with {run} on {view['machine']}")


def _terminal(session: Session, client: Client, name: str, *, follow: bool) -> None:
    from farmd.cli.following import followed
    from farmd.cli.session import console
    from farmd.cli.terminal import terminal_text

    out = console()
    answer = client.get("machines", name, "terminal")
    page = answer["lines"]
    if not follow:
        session.show(answer, *terminal_text(page, on_terminal=out.is_terminal))
        return
    seen = page[-1]["number"] if page else 0
    later = followed(lambda after: client.follow("machines", name, "terminal", after=after), seen, "number")
    for line, before in _with_before(itertools.chain(page, later)):
        if session.json:
            session.print_json(line, indent=None)
            continue
        for text in terminal_text([line], on_terminal=out.is_terminal, after=before):
            out.print(text, soft_wrap=True)


def _with_before(lines: Iterable[Any]) -> Iterator[tuple[Any, int | None]]:
    """Each line with the number of the one before it."""
    before = None
    for line in lines:
        yield line, before
        before = line["number"]


def _drive(session: Session, name: str, verb: str, reason: str) -> None:
    """Tell a machine something. What the daemon answers is how it was then: the machine obeys after that."""
    from farmd.cli.state import machine_note, machine_word

    with session.client() as client:
        view = client.post("machines", name, verb, body={"reason": reason})
    now = here()
    was = ": ".join(filter(None, (machine_word(view, now)[0], machine_note(view, now))))
    session.show(view, f"told {plain(name)} to {'stop at once' if verb == 'estop' else verb}; it was {was}")
