"""What the conformance kit stands on: the integrator's `Rig`, and driver instances being served.

A `Watch` serves one driver instance just as the daemon does, calling `serve` again after a lost
link, and writes down everything it tells. Knows no single promise (those are in `kit_promises`).
"""

from __future__ import annotations

import abc
import asyncio
import inspect
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from farmd.driver.api import Driver, StartOrder
from farmd.driver.events import Ended, Event, Observed, Started
from farmd.model.errors import FarmdError, LinkLost, MachineFault, ProtocolError, Refused

POLL_S = 0.005
RETRY_S = 0.05
ESTOP_S = 0.25
"""An emergency stop may keep its caller no longer than this."""


class Broken(Exception):
    """A promise is broken; the text says how."""


class NotOffered(Exception):
    """The rig cannot bring this about, so the promise is not tried; the text says what."""


class Rig(abc.ABC):
    """One machine, simulated or real, and the way to it. The kit makes a fresh one for each promise.

    Times are real seconds of the loop. Overload what the machine can be made to do; promises whose
    means are missing are skipped and said to be.
    """

    settle_s: float = 2.0
    """Within this a command must return, and its effect must have been told."""
    quiet_s: float = 0.2
    """For so long the kit listens for what must not come."""
    link_timeout_s: float = 5.0
    """Within this the driver must notice that the link is gone, and again that it is back."""

    @abc.abstractmethod
    def driver(self) -> Driver:
        """A fresh driver instance onto this same machine, as after a restart of the daemon."""

    @abc.abstractmethod
    def order(self, run_id: str, *, long: bool) -> StartOrder:
        """A run that succeeds. Long: it outlasts any test. Short: it is over within `settle_s`."""

    @abc.abstractmethod
    def starts(self) -> Sequence[str]:
        """The START of every run that has reached the machine, from the machine's own side.

        Each by its run id, or "" where the machine is told none.
        """

    @abc.abstractmethod
    def is_off(self) -> bool:
        """Nothing moves and nothing is heated on the machine."""

    async def open(self) -> None:
        """Called before anything else; nothing to do unless overloaded."""
        return

    async def close(self) -> None:
        """Called last, whatever happened; nothing to do unless overloaded."""
        return

    async def cut_link(self) -> None:
        raise NotOffered("the rig cannot cut the link")

    async def restore_link(self) -> None:
        raise NotOffered("the rig cannot restore the link")

    async def reboot(self) -> None:
        """The machine restarts and forgets its present run."""
        raise NotOffered("the rig cannot restart the machine")

    async def foreign_start(self) -> None:
        """Somebody starts a long run of their own at the idle machine."""
        raise NotOffered("the rig cannot start a run at the machine")

    async def lose_next_start(self) -> None:
        """The machine does nothing with the next START that reaches it, and does not say so."""
        raise NotOffered("the rig cannot lose a START")

    async def fail_run(self) -> None:
        """The present run fails by the machine's own judgement."""
        raise NotOffered("the rig cannot make a run fail")

    async def break_machine(self) -> None:
        """The machine goes into a fault that needs a person."""
        raise NotOffered("the rig cannot break the machine")


def _plain_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **more: Any) -> asyncio.Future[Any]:
    return asyncio.Task(coroutine, loop=loop, **more)


_in_driver: ContextVar[bool] = ContextVar("in_driver", default=False)


@dataclass(slots=True)
class Orders:
    """The run ids handed over to one rig's machine by any instance, and those refused."""

    given: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


class Watch:
    """One driver instance, served. `connections` has the events of each call of `serve`."""

    def __init__(self, rig: Rig, driver: Driver, orders: Orders) -> None:
        self.rig = rig
        self.driver = driver
        self.orders = orders
        self.connections: list[list[Event]] = []
        self.losses: list[FarmdError] = []
        self.fell: str = ""
        """How `serve` ended against the rules; empty while it did not."""
        self._task: asyncio.Task[None] | None = None

    @property
    def events(self) -> list[Event]:
        return [event for connection in self.connections for event in connection]

    def serve(self) -> None:
        """Begins to serve the driver; events come in from now on."""
        self._task = asyncio.create_task(self._serve())

    async def leave(self) -> None:
        """Cancels `serve`, as the daemon does when it ends."""
        task = self._task
        if task is None:
            return
        self._task = None
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=self.rig.settle_s)
        if not done:
            raise Broken(f"serve did not end within {self.rig.settle_s} s of being cancelled")

    async def command(self, name: str, *arguments: object) -> Refused | None:
        """Calls a command; returns the refusal, if it was refused. Raises `Broken`."""
        token = _in_driver.set(True)
        try:
            async with asyncio.timeout(self.rig.settle_s):
                await getattr(self.driver, name)(*arguments)
        except Refused as error:
            return error
        except LinkLost as error:
            self.losses.append(error)
        except TimeoutError as error:
            raise Broken(f"{name} did not return within {self.rig.settle_s} s") from error
        except (ProtocolError, MachineFault) as error:
            raise Broken(f"{name} raised {error}") from error
        except Exception as error:
            raise Broken(f"{name} raised {type(error).__name__}: {error}") from error
        finally:
            _in_driver.reset(token)
        return None

    def estop(self) -> Refused | None:
        """Calls the emergency stop; returns the refusal, if it was refused. Raises `Broken`."""
        begin = time.perf_counter()
        try:
            result: object = self.driver.estop()  # type: ignore[func-returns-value]
        except Refused as error:
            return error
        except Exception as error:
            raise Broken(f"estop raised {type(error).__name__}: {error}") from error
        took_s = time.perf_counter() - begin
        if inspect.iscoroutine(result):
            result.close()
        if inspect.isawaitable(result):
            raise Broken("estop has to be awaited")
        if took_s > ESTOP_S:
            raise Broken(f"estop kept its caller for {took_s:.2f} s")
        return None

    async def start(self, order: StartOrder) -> Refused | None:
        """Hands over a run; returns the refusal, if it was refused."""
        self.orders.given.append(order.run_id)
        refusal = await self.command("start", order)
        if refusal is not None:
            self.orders.refused.append(order.run_id)
        return refusal

    async def run(self, order: StartOrder) -> None:
        """Hands over a run and waits until it is told to run."""
        if (refusal := await self.start(order)) is not None:
            raise Broken(f"an idle machine refused a start: {refusal}")
        await self.expect(lambda: self.told(Started, order.run_id), f"no Started told {order.run_id}")

    def told(self, kind: type[Event], run_id: str) -> list[Any]:
        """The events of that kind about that run."""
        return [event for event in self.events if isinstance(event, kind) and _run_of(event) == run_id]

    def last_observed(self) -> Observed:
        """What was told last by an `Observed`."""
        seen = [event for event in self.events if isinstance(event, Observed)]
        if not seen:
            raise Broken("the machine's state was never told by an Observed")
        return seen[-1]

    def ended(self, run_id: str) -> Ended | None:
        """The end of that run, once told."""
        ends = self.told(Ended, run_id)
        return ends[0] if ends else None

    async def expect(
        self, condition: Callable[[], object], otherwise: str, within_s: float | None = None
    ) -> None:
        """Waits until the condition holds; raises `Broken` when it does not in time."""
        bound_s = self.rig.settle_s if within_s is None else within_s
        try:
            async with asyncio.timeout(bound_s):
                while not condition():  # noqa: ASYNC110 - conditions look at the machine too
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            after = f"; serve ended: {self.fell}" if self.fell else ""
            raise Broken(f"{otherwise} within {bound_s} s{after}") from None

    async def quiet(self) -> None:
        """Listens on, for what must not come."""
        await asyncio.sleep(self.rig.quiet_s)

    async def _serve(self) -> None:
        _in_driver.set(True)
        while True:
            told: list[Event] = []
            self.connections.append(told)
            try:
                await self.driver.serve(told.append)
            except (LinkLost, ProtocolError, MachineFault) as error:
                self.losses.append(error)
            except Exception as error:  # noqa: BLE001 - as the daemon does: whatever a driver raises is noted
                self.fell = f"it raised {type(error).__name__}: {error}"
                return
            else:
                self.fell = "it returned"
                return
            await asyncio.sleep(RETRY_S)


class Stage:
    """One promise being tried: a rig and the driver instances made for it."""

    def __init__(self, make_rig: Callable[[], Rig]) -> None:
        self.rig = make_rig()
        self.watches: list[Watch] = []
        self.neighbours: list[Stage] = []
        self._make_rig = make_rig
        self._orders = Orders()
        self._tasks: weakref.WeakSet[asyncio.Future[Any]] = weakref.WeakSet()

    async def neighbour(self) -> Stage:
        """Another machine of the same kind; it leaves the stage with this one."""
        other = Stage(self._make_rig)
        self.neighbours.append(other)
        await other.rig.open()
        return other

    def instance(self) -> Watch:
        """A fresh driver instance, not yet served."""
        watch = Watch(self.rig, self.rig.driver(), self._orders)
        self.watches.append(watch)
        return watch

    async def connect(self) -> Watch:
        """A fresh driver instance that has told the machine's state."""
        watch = self.instance()
        watch.serve()
        await watch.expect(lambda: watch.connections[0:1] and watch.connections[0], "nothing was told")
        return watch

    async def leave(self) -> list[str]:
        """Cancels every `serve` and closes the rigs; returns what outlived that."""
        stages = (self, *self.neighbours)
        left = []
        try:
            for watch in [watch for stage in stages for watch in stage.watches]:
                try:
                    await watch.leave()
                except Broken as error:
                    left.append(str(error))
            if (tasks := {task for task in self._tasks if not task.done()}) and not left:
                _, going_on = await asyncio.wait(tasks, timeout=self.rig.settle_s)
                left += sorted(f"{task!r} goes on after serve was cancelled" for task in going_on)
        finally:
            for stage in stages:
                await stage.rig.close()
        return left

    @contextmanager
    def noting_tasks(self) -> Iterator[None]:
        """Notes every task that the drivers make."""
        loop = asyncio.get_running_loop()
        former = loop.get_task_factory()

        def factory(owner: asyncio.AbstractEventLoop, coroutine: Any, **more: Any) -> asyncio.Future[Any]:
            make = former or _plain_task
            task = make(owner, coroutine, **more)
            if _in_driver.get():
                self._tasks.add(task)
            return task

        loop.set_task_factory(factory)
        try:
            yield
        finally:
            loop.set_task_factory(former)


def _run_of(event: Event) -> str | None:
    return getattr(event, "run_id", None)
