"""Feeding a run: its file is checked and written down before the first byte, and read ahead of the need.

Reads the file in the machine's own thread; hands batches of commands to the wire. Knows no port.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor

from farmd.driver import offload
from farmd.model.errors import ErrorCode, Refused
from farmd_drivers.marlin.account import Account, FedRun
from farmd_drivers.marlin.head import Head
from farmd_drivers.marlin.job import Batch, JobFile
from farmd_drivers.marlin.runlog import RUN_LOG_UNWRITABLE, RunLog
from farmd_drivers.marlin.transport import Connection
from farmd_drivers.marlin.wire.park import Script

FILE_UNREADABLE = ErrorCode(
    "file-unreadable", "the file of the run cannot be read", "look at the vault with `farmd verify`"
)


class Feeder:
    """The feeding of one machine's runs."""

    def __init__(self, account: Account, log: RunLog, head: Head) -> None:
        self.is_wanted = False
        """The wire has taken up the last batch that it was given."""
        self._account = account
        self._log = log
        self._head = head

    async def prepare(
        self, job: JobFile, run_id: str, worker: Executor, check: Callable[[], object]
    ) -> tuple[Batch, tuple[Script, ...]]:
        """Check the file and write the run down; no byte has been sent when this returns.

        `check` raises `Refused` when something has come between. Raises `Refused` or `OSError`.
        """
        first = await offload(job.prepare, worker)
        approach = self._head.approach(job)
        check()
        self._log.begin(run_id, elsewhere=bool(approach))
        try:
            await offload(self._log.save, worker)
            check()
        except OSError as error:
            self._log.forget()
            raise Refused(RUN_LOG_UNWRITABLE, str(error)) from error
        except BaseException:
            self._log.forget()
            raise
        return first, approach

    def begin(self, connection: Connection, run: FedRun, first: Batch, approach: tuple[Script, ...]) -> None:
        """Send the first lines of a run that is written down."""
        self._account.run = run
        self.is_wanted = False
        connection.wire.begin(asyncio.get_running_loop().time(), asks=self._head.asks, approach=approach)
        self._feed(connection, run, first)

    async def read_ahead(self, connection: Connection, worker: Executor) -> None:
        """Read the next batch, if it is wanted. A file that cannot be read on fails the run."""
        run = self._account.run
        if not self.is_wanted or run is None or run.all_read:
            return
        self.is_wanted = False
        try:
            batch = await offload(run.job.next_batch, worker)
        except (OSError, Refused) as error:
            if self._account.run is run:
                reason = f"the file cannot be read on: {error}"
                connection.wire.fail(reason, asyncio.get_running_loop().time())
                connection.pump()
        else:
            if self._account.run is run:
                self._feed(connection, run, batch)

    def _feed(self, connection: Connection, run: FedRun, batch: Batch | None) -> None:
        if batch is None:
            run.all_read = True
            connection.wire.end_of_job()
        else:
            connection.wire.feed(batch.commands, batch.pause)
        connection.pump()
