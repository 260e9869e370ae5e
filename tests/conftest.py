"""Fixtures of all rooms: both databases. PostgreSQL is a real server, started once per test process.

A test that needs a server which is not installed is skipped with the reason `NAME left out: how to get
it`; pytest tells these reasons at its end. With FARMD_TESTS_REQUIRE_SERVERS=1 such a test fails.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path

import psycopg
import pytest

from farmd.store import Store

_START_S = 30.0
_STOP_S = 15.0
_LEFT_OUT = " left out: "
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


def postgres_programs() -> Path | None:
    """The folder of PostgreSQL's own programs, the newest if there are several."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    versions = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    return max((path.parent for path in versions), key=lambda path: float(path.parent.name), default=None)


class PostgresServer:
    """A PostgreSQL of our own on a free loopback port, its data in a temporary folder.

    `durable=False` leaves out fsync, for tests that do not cut the power.
    """

    def __init__(self, programs: Path, *, durable: bool = False) -> None:
        self._programs = programs
        self._folder = Path(tempfile.mkdtemp(prefix="farmd-postgres-"))
        # PostgreSQL refuses to run as root.
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user:
            os.chown(self._folder, pwd.getpwnam(self._user).pw_uid, -1)
        self._password = secrets.token_hex(16)
        self._durable = durable
        try:
            self._init()
            self._process = self._start()
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise

    def fresh(self) -> str:
        """The URL of the server's one database, emptied; whoever was connected to it is not any more."""
        others = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        with self._connect() as connection:
            connection.execute(f"{others} AND datname = 'postgres'".encode())
            connection.execute(b"DROP SCHEMA public CASCADE")
            connection.execute(b"CREATE SCHEMA public")
        return f"postgresql+psycopg://farmd:{self._password}@127.0.0.1:{self._port}/postgres"

    def stop(self) -> None:
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _connect(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(
            host="127.0.0.1",
            port=self._port,
            user="farmd",
            password=self._password,
            dbname="postgres",
            connect_timeout=5,
            autocommit=True,
        )

    def _init(self) -> None:
        password_file = self._folder / "password"
        password_file.write_text(self._password)
        if self._user:
            os.chown(password_file, pwd.getpwnam(self._user).pw_uid, -1)
        subprocess.run(
            [
                self._programs / "initdb",
                *("-D", self._folder / "data"),
                *("-U", "farmd", "--auth=scram-sha-256", f"--pwfile={password_file}"),
                *("--encoding=UTF8", "--locale=C", "--no-sync"),
            ],
            user=self._user,
            cwd=self._folder,
            check=True,
            capture_output=True,
            timeout=60,
        )

    def _start(self) -> subprocess.Popen[bytes]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port: int = probe.getsockname()[1]
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self._port,
            "unix_socket_directories": "",
            "fsync": "on" if self._durable else "off",
            "shared_buffers": "32MB",
            "max_connections": 40,
        }
        libc = ctypes.CDLL(None)
        with (self._folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [
                    self._programs / "postgres",
                    *("-D", self._folder / "data"),
                    *(arg for name, value in settings.items() for arg in ("-c", f"{name}={value}")),
                ],
                user=self._user,
                cwd=self._folder,
                stdout=log,
                stderr=log,
                # However the tests end, the server does not outlive them.
                preexec_fn=lambda: libc.prctl(_DIE_WITH_PARENT, signal.SIGINT),
            )
        until = time.monotonic() + _START_S
        while True:
            try:
                self._connect().close()
                return process
            except psycopg.OperationalError as error:
                if process.poll() is not None or time.monotonic() > until:
                    process.kill()
                    process.wait()
                    said = (self._folder / "log").read_text(errors="replace")
                    raise RuntimeError(f"PostgreSQL did not start: {said}") from error
                time.sleep(0.05)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server; the test is skipped where none is installed."""
    programs = postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL left out: apt-get install postgresql")
    server = PostgresServer(programs)
    yield server
    server.stop()


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> str:
    """The URL of an empty database."""
    return postgres.fresh()


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database; the test runs once on each."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'farm.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def store(store_url: str, tmp_path: Path) -> Iterator[Store]:
    """An open, empty store; the test runs once on each database."""
    with Store.open(store_url, data_dir=tmp_path) as opened:
        yield opened


def _left_out(report: pytest.TestReport | pytest.CollectReport) -> str | None:
    """What a skipped test wanted, when it is a server that is not installed."""
    reason = report.longrepr[2].removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else ""
    return reason if report.skipped and _LEFT_OUT in reason else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Nothing is left out where FARMD_TESTS_REQUIRE_SERVERS=1 says so."""
    report = yield
    reason = _left_out(report)
    if reason and os.environ.get("FARMD_TESTS_REQUIRE_SERVERS") == "1":
        report.outcome = "failed"
        report.longrepr = f"nothing may be left out here: {reason}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line for each server that was missing."""
    reasons = Counter(filter(None, map(_left_out, terminalreporter.stats.get("skipped", []))))
    for reason, count in reasons.items():
        terminalreporter.write_line(f"{reason} ({count} tests)")
