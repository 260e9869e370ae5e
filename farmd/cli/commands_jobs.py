"""The commands of farmctl about jobs. `hold` and `release` take machines too: names never look like ids."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from farmd.cli.session import Session, command
from farmd.cli.text import due_time, here

JobId = Annotated[str, typer.Argument(metavar="ID", help="A job, J-….", show_default=False)]
JobOrMachine = Annotated[
    str, typer.Argument(metavar="ID", help="A job, J-…, or a machine's name.", show_default=False)
]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for those who read it later.")]
Priority = Annotated[float | None, typer.Option("--priority", metavar="P", help="Weight of being late.")]


def register(app: typer.Typer) -> None:
    @command(app)
    def submit(
        session: Session,
        files: Annotated[
            list[Path],
            typer.Argument(metavar="FILE", help="Sliced files or meshes.", exists=True, dir_okay=False),
        ],
        quantity: Annotated[
            int, typer.Option("--quantity", "-n", min=1, help="Good parts of each file.")
        ] = 1,
        parts_per_plate: Annotated[
            int | None, typer.Option(min=1, help="Parts that one plate makes; else as the file says.")
        ] = None,
        due: Annotated[str | None, typer.Option(metavar="ISO", help="When it is wanted; local time.")] = None,
        priority: Priority = None,
        material: Annotated[str | None, typer.Option(help="Else as the file says.")] = None,
        group: Annotated[str | None, typer.Option(help="Only on these machines, or this one.")] = None,
        design: Annotated[
            str | None, typer.Option(metavar="NUMBER@REV", help="Else the file's name.")
        ] = None,
        owner: Annotated[str | None, typer.Option(help="Who it is for.")] = None,
        route: Annotated[
            str | None, typer.Option(metavar="STEPS", help="Operations in order, such as print,depowder.")
        ] = None,
        volume_mm3: Annotated[
            float | None, typer.Option("--volume-mm3", help="Powder parts: else as the mesh says.")
        ] = None,
        height_mm: Annotated[float | None, typer.Option("--height-mm", help="The same.")] = None,
        area_mm2: Annotated[float | None, typer.Option("--area-mm2", help="The same.")] = None,
    ) -> None:
        """Ask for good parts of one or more files.

        \b
        farmctl submit bracket.gcode --quantity 40 --due 2026-03-31T14:00
        farmctl submit plates/*.bgcode -n 8 --priority 3 --group mk4 --owner workshop
        farmctl submit clip.stl -n 200 --material PA12
        """
        from farmd.cli.submit import submit_all

        order: dict[str, Any] = {
            "quantity": quantity,
            "parts_per_plate": parts_per_plate,
            "due": due_time(due) if due else None,
            "priority": priority,
            "material": material,
            "group": group,
            "design": design,
            "owner": owner,
            "route": route,
            "volume_mm3": volume_mm3,
            "height_mm": height_mm,
            "area_mm2": area_mm2,
        }
        submit_all(session, files, {key: str(value) for key, value in order.items() if value is not None})

    @command(app)
    def jobs(
        session: Session,
        late: Annotated[bool, typer.Option("--late", help="Those that are late or will be.")] = False,
        every: Annotated[bool, typer.Option("--all", help="Those that are done or cancelled, too.")] = False,
        limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 200,
    ) -> None:
        """The jobs, and when each ends by the plan.

        \b
        farmctl jobs
        farmctl jobs --late --json
        """
        from farmd.cli.tables import jobs_table

        found: list[Any] = []
        with session.client() as client:
            while len(found) <= limit:
                page = client.get(
                    "jobs",
                    state="all" if every else "open",
                    late=True if late else None,
                    limit=PAGE,
                    offset=len(found),
                )["jobs"]
                found += page
                if len(page) < PAGE:
                    break
        if len(found) > limit:
            print(f"the first {limit} jobs; see more with --limit", file=sys.stderr)
        shown = found[:limit]
        session.show({"jobs": shown}, jobs_table(shown, here()) if shown else "no jobs")

    @command(app)
    def job(session: Session, job_id: JobId) -> None:
        """Everything about one job: counts, times, runs.

        \b
        farmctl job J-12
        """
        from farmd.cli.pages import job_page

        with session.client() as client:
            view = client.get("jobs", job_id)
        session.show(view, job_page(view, here()))

    @command(app)
    def why(session: Session, job_id: JobId) -> None:
        """Why a job waits, machine by machine.

        Names on each machine the first rule that fails, and what frees it.

        \b
        farmctl why J-12
        """
        from farmd.cli.pages import why_page

        with session.client() as client:
            view = client.get("jobs", job_id, "why")
        session.show(view, why_page(view, here()))

    @command(app)
    def edit(
        session: Session,
        job_id: JobId,
        priority: Priority = None,
        due: Annotated[
            str | None, typer.Option(metavar="ISO", help="When it is wanted; `none` removes the date.")
        ] = None,
        quantity: Annotated[int | None, typer.Option("--quantity", "-n", min=1, help="Good parts.")] = None,
        reason: Reason = "",
    ) -> None:
        """Change what a job asks for.

        \b
        farmctl edit J-12 --priority 5 --due 2026-04-02
        farmctl edit J-12 --due none --quantity 60
        """
        body: dict[str, Any] = {}
        if priority is not None:
            body["priority"] = priority
        if quantity is not None:
            body["quantity"] = quantity
        if due is not None:
            body["due"] = None if due == "none" else due_time(due)
        if not body:
            raise typer.BadParameter("nothing to change: give --priority, --due or --quantity")
        if reason:
            body["reason"] = reason
        with session.client() as client:
            _show_job(session, client.patch("jobs", job_id, body=body))

    @command(app)
    def hold(session: Session, target: JobOrMachine, reason: Reason = "") -> None:
        """Start nothing more for a job or on a machine.

        What runs goes on.

        \b
        farmctl hold J-12 --reason "new revision comes"
        farmctl hold mk4-03 --reason "nozzle to be changed"
        """
        _job_or_machine(session, target, "hold", reason)

    @command(app)
    def release(session: Session, target: JobOrMachine, reason: Reason = "") -> None:
        """Let a held job, or a held or mended machine, go on.

        \b
        farmctl release J-12
        farmctl release mk4-03
        """
        _job_or_machine(session, target, "release", reason)

    @command(app)
    def cancel(session: Session, job_id: JobId, reason: Reason = "") -> None:
        """Make nothing more of a job, and stop its runs.

        \b
        farmctl cancel J-12 --reason "ordered twice"
        """
        with session.client() as client:
            _show_job(session, client.post("jobs", job_id, "cancel", body={"reason": reason}))


PAGE = 100


def is_job(name: str) -> bool:
    """Whether this is a job's id; machines are never named so."""
    return name.startswith("J-")


def _job_or_machine(session: Session, target: str, verb: str, reason: str) -> None:
    from farmd.cli.pages import machine_line

    with session.client() as client:
        if is_job(target):
            _show_job(session, client.post("jobs", target, verb, body={"reason": reason}))
        else:
            machine = client.post("machines", target, verb, body={"reason": reason})
            session.show(machine, machine_line(machine, here()))


def _show_job(session: Session, view: Any) -> None:
    from farmd.cli.pages import job_line

    session.show(view, job_line(view, here()))
