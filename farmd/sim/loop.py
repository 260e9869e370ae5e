"""An event loop whose time jumps to the next timer when nothing is ready.

The shipping daemon runs on it unmodified. Time stands still while any work done off the loop is
outstanding; results are delivered only when nothing else is ready, in the order of submission,
so a run depends on nothing but its inputs. There are no sockets and no signals here: waiting for
one would be waiting for ever, and is reported as a deadlock.
"""

from __future__ import annotations

import asyncio
import functools
import math
import selectors
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
RESOLUTION_S = 1e-9


class Deadlock(RuntimeError):
    """Nothing is ready, no timer is set and no work is outstanding."""


class _JumpingSelector(selectors.BaseSelector):
    """A selector that never waits: asked to, it lets the loop deliver work or jump in time."""

    def __init__(self) -> None:
        self._keys: dict[int, selectors.SelectorKey] = {}
        self.idle: Callable[[float | None], None] = lambda timeout: None

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        key = self._keys[fd] = selectors.SelectorKey(fileobj, fd, events, data)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        return self._keys.pop(fd)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout > 0:
            self.idle(timeout)
        return []

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys

    def close(self) -> None:
        self._keys.clear()


class WarpLoop(asyncio.SelectorEventLoop):
    """The simulation's loop. `time()` starts at 0 and moves only when everybody waits."""

    def __init__(self) -> None:
        self._time_s = 0.0
        self._outstanding: deque[tuple[Future[Any], asyncio.Future[Any]]] = deque()
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="warp")
        selector = _JumpingSelector()
        super().__init__(selector)
        selector.idle = self._idle

    def time(self) -> float:
        return self._time_s

    def offload(self, work: Callable[[], T], executor: Executor | None) -> asyncio.Future[T]:
        """Run `work` in `executor`; its result comes when the loop is idle, after all submitted before."""
        result: asyncio.Future[T] = self.create_future()
        self._outstanding.append(((executor or self._pool).submit(work), result))
        return result

    def run_in_executor(  # type: ignore[override]  # the base class states it with a type variable tuple
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        return self.offload(functools.partial(func, *args), executor)

    def close(self) -> None:
        super().close()
        self._pool.shutdown()

    def _idle(self, timeout: float | None) -> None:
        if self._outstanding:
            work, result = self._outstanding.popleft()
            error = work.exception()
            if result.done():
                return
            if error is not None:
                result.set_exception(error)
            else:
                result.set_result(work.result())
        elif timeout is None:
            raise Deadlock("nothing is ready and no timer is set")
        else:
            # At large times a tiny step may not advance a float at all.
            self._time_s = max(self._time_s + timeout, math.nextafter(self._time_s, math.inf))
            # asyncio calls a timer due when it is within this of now; less than a float's grain is never.
            self._clock_resolution = max(RESOLUTION_S, 2 * math.ulp(self._time_s))
