"""One connection of the HTTP server: who is at its other end, and how long it may keep us waiting.

A request's head has to arrive in time, whoever sends it byte by byte, and one address cannot take all the
connections there are. On the local socket the kernel says who asks; that goes into the request's state,
where no header reaches. Knows uvicorn's protocol class; knows no path.
"""

from __future__ import annotations

import asyncio
import socket

from uvicorn.protocols.http.h11_impl import H11Protocol

from farmd.api.peers import peer_of

HEAD_S = 10.0
"""In which a request's head has arrived."""
MAX_CONNECTIONS = 1000
"""More are closed at once, so that machines never run out of file descriptors for the API's sake."""
MAX_EACH = 250
"""From one address, this computer's own aside: many people may come through its proxy."""
MAX_LOCAL = 100
"""On the local socket; they come on top, so that there is always a way in."""
_LOOPBACK = ("127.", "::1", "::ffff:127.")
_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\nRetry-After: 5\r\n\r\n"
)


class Connection(H11Protocol):
    """As uvicorn's, with a watch over heads and the peer of a local socket in `scope["state"]`."""

    _head: asyncio.TimerHandle | None = None
    _is_local = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # asyncio hands out its own view of the socket, which has the same descriptor and `getsockopt`.
        endpoint: socket.socket = transport.get_extra_info("socket")
        self._is_local = endpoint.family == socket.AF_UNIX
        if self._is_local:
            self.app_state = {**self.app_state, "peer": peer_of(endpoint)}
        if self._is_too_many():
            transport.write(_BUSY)
            transport.close()
            return
        self._await_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()
        elif self._head is None:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        self._head = self.loop.call_later(HEAD_S, self._give_up)

    def _stop_waiting(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _give_up(self) -> None:
        self._head = None
        if not self.transport.is_closing():
            self.transport.close()

    def _is_too_many(self) -> bool:
        others = [each for each in self.connections if isinstance(each, Connection)]
        if self._is_local:
            return sum(each._is_local for each in others) > MAX_LOCAL
        if sum(not each._is_local for each in others) > MAX_CONNECTIONS:
            return True
        host = self.client[0] if self.client else ""
        if host.startswith(_LOOPBACK):
            return False
        return sum(each.client is not None and each.client[0] == host for each in others) > MAX_EACH
