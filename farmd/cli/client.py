"""farmctl's way to the daemon: HTTP with a token, and every failure as one of our errors.

Knows the API's addresses of events and uploads, and how it tells errors. Knows no view's fields.
"""

from __future__ import annotations

import getpass
import json
import re
import socket
import ssl
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, Self
from urllib.parse import quote

import httpx

from farmd import __version__
from farmd.cli.errors import Failed, NoDaemon, Told
from farmd.model.errors import ConfigError, ErrorCode, FarmdError, LinkLost
from farmd.socketpath import reachable

NOT_RUNNING = ErrorCode(
    "no-daemon",
    "the daemon does not answer",
    "start it with `farmd run`, or name another one with --url or FARMCTL_URL",
)
ANSWER_LOST = ErrorCode(
    "answer-lost",
    "the daemon was asked and its answer did not come",
    "see with `farmctl events` whether it was done, then ask again",
)
NOT_FARMD = ErrorCode(
    "not-farmd",
    "the answer is not one that farmd gives",
    "check --url or FARMCTL_URL, and the daemon's log",
)
BAD_URL = ErrorCode(
    "bad-url", "this is not an address farmctl can use", "write http://HOST:PORT, https://… or unix:FILE"
)
UNTRUSTED = ErrorCode(
    "untrusted-certificate",
    "the daemon's certificate is not one that is trusted here",
    "give the certificate of who signed it with --ca or FARMCTL_CA, and ask for the name that it is for",
)
STREAM_ENDED = ErrorCode("stream-ended", "the daemon ended the stream", "start it again, then follow again")

CONNECT_S = 5.0
ANSWER_S = 30.0
UPLOAD_S = 300.0
"""An upload is answered when the file is on the disk and read through, which may take its time."""
SILENCE_S = 60.0
"""Streams carry a comment at least every few seconds; one that is silent for so long is dead."""

Json = Any


class Client:
    """A connection to one daemon. Every method raises `Failed`, `NoDaemon` or `ConfigError`."""

    def __init__(
        self,
        url: str,
        token: str | None,
        transport: httpx.BaseTransport | None = None,
        ca: Path | None = None,
    ) -> None:
        """`url` is `http://…`, `https://…`, or `unix:FILE` for a local socket; `ca` is whom to trust for https."""
        self.url = url.rstrip("/")
        self._holding = ExitStack()
        base_url = self.url
        if path := re.fullmatch(r"unix:(?://)?(.+)", self.url):
            base_url = "http://local"
            transport = transport or httpx.HTTPTransport(uds=self._named(Path(path[1])))
        elif not re.match(r"https?://[^/]", url):
            raise ConfigError(BAD_URL, where=url)
        headers = httpx.Headers(
            {"User-Agent": f"farmctl/{__version__}", "X-Farmd-Actor": _who()}, encoding="utf-8"
        )
        if token:
            headers["Authorization"] = f"Bearer {token}"
        try:
            self._http = httpx.Client(
                base_url=base_url + "/api/v1",
                headers=headers,
                timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S),
                # The daemon is in the house: a proxy meant for the world outside would not find it.
                trust_env=False,
                transport=transport,
                # Certificates take longer to load than most commands to run; without TLS none are used.
                verify=_trust(ca) if url.startswith("https:") else False,
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise ConfigError(BAD_URL, str(error), where=url) from error

    def _named(self, path: Path) -> str:
        try:
            name = self._holding.enter_context(reachable(path))
            # The HTTP library would leave its socket open where nobody listens.
            with socket.socket(socket.AF_UNIX) as trying:
                trying.connect(name)
            return name
        except OSError as error:
            self._holding.close()
            raise NoDaemon(NOT_RUNNING, error.strerror or str(error), where=self.url) from error

    def close(self) -> None:
        self._http.close()
        self._holding.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def get(self, *path: str, **query: str | int | bool | None) -> Json:
        """GET /api/v1/path…; parts of the path are quoted, parameters that are None left out."""
        params = {key: _text(value) for key, value in query.items() if value is not None}
        return self._ask("GET", path, params=params)

    def post(self, *path: str, body: Mapping[str, Any] | None = None) -> Json:
        """POST a JSON object; members that are None are left out."""
        sent = {key: value for key, value in (body or {}).items() if value is not None}
        return self._ask("POST", path, json=sent)

    def patch(self, *path: str, body: Mapping[str, Any]) -> Json:
        """PATCH with a JSON object; None is sent as null."""
        return self._ask("PATCH", path, json=dict(body))

    def upload(self, name: str, file: IO[bytes], fields: Mapping[str, str], key: str) -> Json:
        """POST a file as it is read from the disk. With the same `key` it may be sent again and counts once."""
        return self._ask(
            "POST",
            ("jobs",),
            files={"file": (name, file, "application/octet-stream")},
            data=dict(fields),
            headers={"Idempotency-Key": key},
            timeout=httpx.Timeout(UPLOAD_S, connect=CONNECT_S),
        )

    def follow(self, *path: str, after: int, **query: str | None) -> Iterator[Json | None]:
        """What is at an address after a number, as it happens; None for a sign of life. Ends with an error."""
        params = {key: value for key, value in query.items() if value is not None}
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
        timeout = httpx.Timeout(SILENCE_S, connect=CONNECT_S)
        with (
            self._transport_errors(),
            self._http.stream(
                "GET",
                _address(path),
                params={**params, "after": str(after)},
                headers=headers,
                timeout=timeout,
            ) as response,
        ):
            if response.status_code != 200:
                response.read()
                raise self._refusal(response)
            for data in server_sent(response.iter_lines()):
                yield None if data is None else self._decoded(data)
        raise LinkLost(STREAM_ENDED, where=self.url)

    def _ask(self, method: str, path: tuple[str, ...], **request: Any) -> Json:
        url = _address(path)
        with self._transport_errors():
            response = self._http.request(method, url, **request)
        if not response.is_success:
            raise self._refusal(response)
        return self._decoded(response.text)

    def _decoded(self, text: str) -> Json:
        try:
            return json.loads(text)
        except ValueError as error:
            raise FarmdError(NOT_FARMD, "the answer is not JSON", where=self.url) from error

    def _refusal(self, response: httpx.Response) -> Failed | FarmdError:
        try:
            error = response.json()["error"]
            told = Told(
                str(error["code"]), str(error["what"]), str(error["where"] or ""), str(error["remedy"])
            )
        except (ValueError, KeyError, TypeError):
            what = f"it answered {response.status_code} {response.reason_phrase}"
            return FarmdError(NOT_FARMD, what, where=self.url)
        return Failed([told])

    @contextmanager
    def _transport_errors(self) -> Iterator[None]:
        try:
            yield
        except (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.InvalidURL) as error:
            raise ConfigError(BAD_URL, str(error), where=self.url) from error
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            if (untrusted := _distrust(error)) is not None:
                raise ConfigError(UNTRUSTED, untrusted, where=self.url) from error
            raise NoDaemon(NOT_RUNNING, _reason(error), where=self.url) from error
        except httpx.TransportError as error:
            raise NoDaemon(ANSWER_LOST, where=self.url) from error


def server_sent(lines: Iterable[str]) -> Iterator[str | None]:
    """The data of each server-sent event; None for a comment, which is a sign of life."""
    data: list[str] = []
    for line in lines:
        if line.startswith(":"):
            yield None
        elif line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif not line and data:
            yield "\n".join(data)
            data = []


def _trust(ca: Path | None) -> ssl.SSLContext:
    if ca is None:
        return httpx.create_ssl_context()
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(UNTRUSTED, "the file has no certificate that can be read", where=str(ca)) from error


def _distrust(error: BaseException | None) -> str | None:
    """Why a certificate was not accepted, where that is behind an error."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message or UNTRUSTED.meaning
        error = error.__cause__ or error.__context__
    return None


def _address(path: tuple[str, ...]) -> str:
    return "/" + "/".join(quote(part, safe="") for part in path)


def _who() -> str:
    """The user at this machine, under whose name acts are recorded; nothing where that tells nobody."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):
        return ""
    # The account that services run under, and a name that farmd keeps for itself.
    return "" if name == "daemon" else name


def _reason(error: Exception) -> str:
    """Why there is no connection, without the system's number for it."""
    return str(error).rpartition("] ")[2].lower() or NOT_RUNNING.meaning


def _text(value: str | int | bool) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)
