"""The commands of farmctl about the whole farm: the plan, the walk list, events, what was made."""

from __future__ import annotations

import itertools
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from farmd.cli.commands_jobs import JobId, is_job
from farmd.cli.session import Session, command, console
from farmd.cli.text import here, since_time

if TYPE_CHECKING:
    from farmd.cli.client import Client

EVENTS = 1000


class By(StrEnum):
    """What each row of the throughput is of."""

    MACHINE = "machine"
    DESIGN = "design"
    DAY = "day"


def register(app: typer.Typer) -> None:
    @command(app)
    def plan(session: Session) -> None:
        """What is planned where and when, and what is not.

        \b
        farmctl plan
        """
        from farmd.cli.pages import plan_page

        with session.client() as client:
            view = client.get("plan")
        session.show(view, plan_page(view, here()))

    @command(app, "next")
    def next_(session: Session) -> None:
        """The walk list: what people should do, in order.

        Each with the command that tells farmd that it is done.

        \b
        farmctl next
        """
        from farmd.cli.tables import walk_table

        with session.client() as client:
            answer = client.get("next")
        tasks = answer["tasks"]
        head = safe_mode_lines(answer.get("safe_mode", []))
        session.show(answer, *head, walk_table(tasks, here()) if tasks else "nothing to do")

    @command(app)
    def safe_mode(
        session: Session,
        leave: Annotated[
            bool, typer.Option("--leave", help="All is in order again: start what is to be started.")
        ] = False,
        reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for the record.")] = "",
    ) -> None:
        """Why nothing is started, if so, and what to do about it.

        In safe mode the farm is watched and runs can be ended, and nothing else is done.

        \b
        farmctl safe-mode
        farmctl safe-mode --leave --reason "disk exchanged, record verified"
        """
        with session.client() as client:
            if leave:
                client.post("safe-mode", "leave", body={"reason": reason})
            answer = client.get("safe-mode")
        fine = ["all is in order; work is started as planned"]
        session.show(answer, *(safe_mode_lines(answer["causes"]) or fine))

    @command(app)
    def top(session: Session) -> None:
        """The farm as it goes, every second.

        q or Ctrl-C ends it. In a pipe, or with --json, one look.

        \b
        farmctl top
        """
        from farmd.cli.screen import Screen, frame_from

        with session.client() as client:
            frame = frame_from(client, here())
            out = console()
            if session.json:
                session.print_json(frame.as_dict())
            elif not out.is_terminal:
                longest = max(len(frame.jobs), len(frame.tasks))
                out.print(frame.picture(out.width, min(60, 6 + len(frame.machines) + longest)))
            else:
                with Screen(out) as screen:
                    screen.show(frame)
                    while not screen.wait(1.0):
                        frame = frame_from(client, here(), before=frame)
                        screen.show(frame)

    @command(app)
    def events(
        session: Session,
        follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as they happen.")] = False,
        limit: Annotated[
            int, typer.Option("--limit", "-n", min=1, max=EVENTS, help="The last so many.")
        ] = 20,
        job: Annotated[str | None, typer.Option(metavar="ID", help="About one job.")] = None,
        machine: Annotated[str | None, typer.Option(metavar="NAME", help="About one machine.")] = None,
        run: Annotated[str | None, typer.Option(metavar="ID", help="About one run.")] = None,
    ) -> None:
        """What happened, the newest last. With --follow and --json, one JSON object a line.

        \b
        farmctl events --machine mk4-03 -n 50
        farmctl events --follow --json | jq .kind
        """
        from farmd.cli.following import followed
        from farmd.cli.pages import events_text

        about = {"job": job, "machine": machine, "run": run}
        with session.client() as client:
            last = client.get("events", limit=limit, newest_first=True, **about)["events"][::-1]
            if not follow:
                session.show({"events": last}, *events_text(last, here()))
                return
            after = last[-1]["seq"] if last else 0
            later = followed(lambda seen: client.follow("events", after=seen, **about), after, "seq")
            for event in itertools.chain(last, later):
                _show_event(session, event)

    @command(app)
    def whoami(session: Session) -> None:
        """Under which name and role the daemon knows you.

        \b
        farmctl whoami
        """
        with session.client() as client:
            view = client.get("me")
        session.show(view, f"{view['name']}: {view['role']}")

    @command(app)
    def throughput(
        session: Session,
        since: Annotated[
            str | None,
            typer.Option(metavar="D", help="From when: 12h, 7d, 2w ago, or a time; else from midnight."),
        ] = None,
        by: Annotated[By, typer.Option(help="What each row is of.")] = By.MACHINE,
    ) -> None:
        """What was made: good parts, scrap, runs, busy time.

        \b
        farmctl throughput --since 7d --by day
        farmctl throughput --since 2026-03-01 --by design --json
        """
        from farmd.cli.pages import throughput_pace
        from farmd.cli.tables import throughput_table

        with session.client() as client:
            answer = client.get("throughput", since=since_time(since, here()), by=by.value)
        session.show(answer, throughput_table(answer), "", throughput_pace(answer))

    @command(app)
    def trace(session: Session, job_id: JobId) -> None:
        """A job's builds, runs and every event about it.

        \b
        farmctl trace J-12
        """
        from farmd.cli.pages import builds_text, events_text, job_page

        if not is_job(job_id):
            raise typer.BadParameter(
                f"{job_id!r} is not a job's id, which is J- and a number", param_hint="ID"
            )
        with session.client() as client:
            view = client.get("jobs", job_id)
            found = _events_of(client, job_id)
        now = here()
        parts = [job_page(view, now), "", *builds_text(view["builds"], now), "", *events_text(found, now)]
        session.show({"job": view, "events": found}, *parts)


def safe_mode_lines(causes: list[Any]) -> list[str]:
    """A line for each cause of safe mode."""
    return [f"SAFE MODE ({each['cause']}): {each['what']}; {each['remedy']}" for each in causes]


def _events_of(client: Client, job_id: str) -> list[Any]:
    found: list[Any] = []
    while True:
        after = found[-1]["seq"] if found else 0
        page = client.get("events", after=after, limit=EVENTS, job=job_id)["events"]
        found += page
        if not page:
            return found


def _show_event(session: Session, event: Any) -> None:
    from farmd.cli.pages import event_line

    if session.json:
        session.print_json(event, indent=None)
    else:
        console().print(event_line(event, here()), soft_wrap=True)
