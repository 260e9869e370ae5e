"""The HTTP server: uvicorn inside the daemon's loop, without its signal handlers.

It listens at an address, by TLS where there is a certificate, and on a local socket where there is one.
Knows sockets and the app's one switch that ends its streams; knows no route.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI

from farmd.api.connection import Connection
from farmd.driver import offload
from farmd.model.errors import ConfigError, ErrorCode

LISTEN_FAILED = ErrorCode(
    "listen-failed",
    "the API cannot be served at this address",
    "end whoever uses the port, or change `listen` in [api]",
)
GRACE_S = 5
"""How long requests under way may take to end when the server stops."""
KEEP_ALIVE_S = 30
BACKLOG = 256
HEAD_BYTES = 32 * 1024
"""Of a request's head, at most."""


def bind(host: str, port: int) -> socket.socket:
    """A listening socket at this address; port 0 takes a free one. Raises `ConfigError(LISTEN_FAILED)`."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        # asyncio turns Nagle's delay off only where a socket says that it is TCP.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        what = error.strerror or str(error)
        raise ConfigError(LISTEN_FAILED, what, where=f"{host}:{port}") from error
    return listener


class HttpServer:
    """Serves an app at one address: `start`, then `run` for as long as it is wanted, then `stop`.

    A `listener` that is bound already is used instead of a new one. `tls` is for that address alone;
    `local` is a listening Unix socket, whose connections tell the app who is at their other end.
    """

    def __init__(
        self,
        app: FastAPI,
        host: str,
        port: int,
        listener: socket.socket | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        local: socket.socket | None = None,
    ) -> None:
        self._app = app
        self._host = host
        self._asked_port = port
        self._listener = listener
        self._tls = tls
        self._local = local
        self._port = 0
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port it listens on, also where any free one was asked for; 0 before `start`."""
        return self._port

    @property
    def url(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'https' if self._tls else 'http'}://{host}:{self._port}"

    async def start(self) -> None:
        """Listen; requests are answered when this returns. Raises `ConfigError(LISTEN_FAILED)`."""
        listener = self._listener
        if listener is None:
            listener = await offload(lambda: bind(self._host, self._asked_port))
        self._port = listener.getsockname()[1]
        server = self._server = _Server(
            uvicorn.Config(
                self._app,
                http=Connection,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                h11_max_incomplete_event_size=HEAD_BYTES,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=GRACE_S,
            ),
            self._tls,
            self._local,
        )
        self._serving = asyncio.create_task(server.serve([listener]), name="http")
        ready = asyncio.create_task(server.ready.wait())
        await asyncio.wait({ready, self._serving}, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if self._serving.done():
            self._serving.result()

    async def run(self) -> None:
        """Until `stop`. Raises what makes the server fail; cancelled, it stops."""
        if self._serving is None:
            raise RuntimeError("the server has not been started")
        try:
            await asyncio.shield(self._serving)
        except asyncio.CancelledError:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End streams, let requests under way end, close. Again does nothing."""
        if self._server is None or self._serving is None:
            return
        self._app.state.context.closing.set()
        self._server.should_exit = True
        await asyncio.wait({self._serving})


class _Server(uvicorn.Server):
    def __init__(
        self, config: uvicorn.Config, tls: ssl.SSLContext | None, local: socket.socket | None
    ) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()
        self._tls = tls
        self._local = local

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.config.ssl = self._tls
        await super().startup(sockets)
        if self._local is not None:
            loop = asyncio.get_running_loop()
            # uvicorn would speak TLS on it as well; it closes this server with its own.
            self.servers.append(await loop.create_server(self._connection, sock=self._local, backlog=BACKLOG))
        self.ready.set()

    def _connection(self) -> Connection:
        return Connection(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the daemon's."""
        yield
