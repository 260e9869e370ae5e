"""Sends files with their orders, one after the other, as they are read from the disk.

Knows uploads. A file that is refused does not keep the others from being sent.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from farmd.cli.errors import NO_DAEMON, REFUSED, Failed, NoDaemon, Told
from farmd.cli.session import Session, console
from farmd.cli.text import here
from farmd.model.errors import ErrorCode

if TYPE_CHECKING:
    from farmd.cli.client import Client

UNREADABLE = ErrorCode(
    "upload-unreadable", "the file to be sent cannot be read", "check its name and who may read it"
)


def submit_all(session: Session, files: Sequence[Path], fields: Mapping[str, str]) -> None:
    """A job for each file. Raises `Failed` at the end when any was refused, with all that were."""
    from farmd.cli.pages import job_line

    jobs: list[Any] = []
    errors: list[Told] = []
    exit_code = REFUSED
    with session.client() as client:
        for path in files:
            try:
                job = _submit(client, path, fields)
            except Failed as error:
                errors += [Told(e.code, e.what, e.where or str(path), e.remedy) for e in error.errors]
                continue
            except OSError as error:
                what = error.strerror or UNREADABLE.meaning
                errors.append(Told(UNREADABLE.name, what, str(path), UNREADABLE.remedy))
                continue
            except NoDaemon as error:
                errors.append(Told.of(error))
                exit_code = NO_DAEMON
                break
            jobs.append(job)
            if not session.json:
                session.show(job, job_line(job, here()))
    document = {"jobs": jobs, "errors": [error.as_dict() for error in errors]}
    if errors:
        raise Failed(errors, exit_code, document)
    if session.json:
        session.print_json(document)


def _submit(client: Client, path: Path, fields: Mapping[str, str]) -> Any:
    """Send one file; once more when the connection breaks, which the key makes harmless."""
    from farmd.cli.client import ANSWER_LOST

    key = str(uuid.uuid4())
    try:
        with _reading(path) as file:
            return client.upload(path.name, file, fields, key)
    except NoDaemon as error:
        if error.code is not ANSWER_LOST:
            raise
        with _reading(path) as file:
            return client.upload(path.name, file, fields, key)


@contextmanager
def _reading(path: Path) -> Iterator[BinaryIO]:
    """The open file; on a terminal with a bar that shows how much of it has been read."""
    if not sys.stderr.isatty():
        with path.open("rb") as file:
            yield file
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with (
        Progress(*columns, console=console(stderr=True), transient=True) as progress,
        progress.open(path, "rb", description=path.name) as file,
    ):
        yield file
