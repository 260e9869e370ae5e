"""The HTTP server: uvicorn inside the daemon's loop, without its signal handlers.

Knows sockets and the app's one switch that ends its streams; knows no route.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI

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
MAX_CONNECTIONS = 1000
"""More are answered 503, so that machines never run out of file descriptors for the API's sake."""


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

    A `listener` that is bound already is used instead of a new one.
    """

    def __init__(self, app: FastAPI, host: str, port: int, listener: socket.socket | None = None) -> None:
        self._app = app
        self._host = host
        self._asked_port = port
        self._listener = listener
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
        return f"http://{host}:{self._port}"

    async def start(self) -> None:
        """Listen; requests are answered when this returns. Raises `ConfigError(LISTEN_FAILED)`."""
        listener = self._listener
        if listener is None:
            listener = await offload(lambda: bind(self._host, self._asked_port))
        self._port = listener.getsockname()[1]
        server = self._server = _Server(
            uvicorn.Config(
                self._app,
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                limit_concurrency=MAX_CONNECTIONS,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=GRACE_S,
            )
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
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the daemon's."""
        yield
