"""Plans from processes beside the daemon; see `plan_worker` for their other end, `plan_seats` for where they are.

Two long-lived workers: one for first plans, which must come at once, and one that improves them for as long as
nothing else is asked for. A worker that does not answer in time, dies, or answers nonsense is killed and started
anew at the next question. The question that it failed raises `PlannerFailed`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import structlog

from farmd.daemon.plan_seats import Children, Seat, Seats
from farmd.daemon.plan_wire import READY, Held, Question, head_of, pack_question, unpack_plan
from farmd.daemon.planning import PlannerFailed
from farmd.driver import offload
from farmd.planner.plans import Plan
from farmd.planner.problem import Problem

QUICK_EFFORT = 1
"""A first plan by rules."""
QUICK_S = 0.01
"""How long what is left of the last plan is improved before it is published again."""
QUICK_TIMEOUT_S = 30.0
OVERTIME_S = 5.0
SLICES = (0.1, 0.2, 0.3, 0.4)
"""Shares of the budget after which a better plan is told: what breaks an improvement off costs only the last."""
WARM_TIMEOUT_S = 900.0
"""How long the planner's search may take to compile. A worker gets ready before it is asked anything: it is not
killed for compiling."""
START_WAIT_S = 5.0
"""How long the first plan waits for that; it is then made uncompiled."""
START_TIMEOUT_S = 60.0
"""How long a worker may take to get ready. What it needs is compiled by then, or not to be: one that hangs goes."""
BODY_LIMIT = 256 * 1024 * 1024

log = structlog.get_logger("planner")


class Worker:
    """One process, and the one question that it may be busy with."""

    def __init__(self, seats: Seats) -> None:
        self._seats = seats
        self._interpreted = False
        self._starting: asyncio.Task[None] | None = None
        self._process: Seat | None = None
        self._reading: asyncio.Task[None] | None = None
        self._held = Held()
        self._number = 0
        self._waiting: tuple[int, asyncio.Future[tuple[dict[str, Any], bytes]]] | None = None
        self._answered = 0
        self._asking = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    async def be(self, *, interpreted: bool) -> None:
        """Answer the next questions with the search compiled, or as it is written."""
        if interpreted != self._interpreted:
            await self.close()
            self._interpreted = interpreted

    async def ask(self, question: Question, timeout_s: float) -> Plan:
        """The plan that it answers; raises `PlannerFailed`. Cancelled, it tells the worker to stop."""
        async with self._asking:
            try:
                process = await self._started()
                async with asyncio.timeout(timeout_s):
                    head, body = await self._exchange(process, question)
            except (TimeoutError, OSError, ValueError) as error:
                await self.close()
                raise PlannerFailed(f"the planner's worker did not answer: {error!r}") from error
            except asyncio.CancelledError:
                self._stop()
                raise
            if "error" in head:
                self._held = Held()
                raise PlannerFailed(str(head["error"]))
            try:
                return await offload(lambda: unpack_plan(head, body, question.problem))
            except ValueError as error:
                await self.close()
                raise PlannerFailed(f"the planner's worker answered nonsense: {error}") from error

    async def _exchange(self, process: Seat, question: Question) -> tuple[dict[str, Any], bytes]:
        pieces, held = await offload(lambda: pack_question(question, self._held))
        self._number, self._held = question.number, held
        answer: asyncio.Future[tuple[dict[str, Any], bytes]] = asyncio.get_running_loop().create_future()
        self._waiting = (question.number, answer)
        head = {"question": question.number, "pieces": [len(piece) for piece in pieces]}
        # All of it at once: whoever breaks off in between must not leave half a question.
        process.to.writelines((json.dumps(head).encode() + b"\n", *pieces))
        await process.to.drain()
        return await answer

    def _stop(self) -> None:
        """Nobody waits any more: whatever it answers to this question is dropped."""
        process, waiting, self._waiting = self._process, self._waiting, None
        if process is None or process.to.is_closing() or waiting is None:
            return
        process.to.write(json.dumps({"stop": waiting[0]}).encode() + b"\n")

    async def _started(self) -> Seat:
        if self._process is not None and self._process.gone:
            await self.close()
        if self._starting is None:
            self._starting = asyncio.create_task(self._start(), name="planner-start")
            # Whoever asked may have gone before it failed.
            self._starting.add_done_callback(lambda done: done.cancelled() or done.exception())
        # A process half started would be nobody's.
        await asyncio.shield(self._starting)
        assert self._process is not None
        return self._process

    async def _start(self) -> None:
        self._held = Held()
        process = self._process = await self._seats.take(interpreted=self._interpreted)
        async with asyncio.timeout(START_TIMEOUT_S):
            hello = await process.out.readline()
        if not hello or head_of(hello) != READY:
            raise OSError(f"the worker did not get ready: {hello[:40]!r}")
        self._reading = asyncio.create_task(self._read(process), name="planner-answers")

    async def _read(self, process: Seat) -> None:
        """Hand answers to who waits for them, and drop all others."""
        error: Exception
        try:
            while line := await process.out.readline():
                head = head_of(line)
                number, length = head.get("question"), head.get("bytes", 0)
                if type(length) is not int or not 0 <= length <= BODY_LIMIT:
                    raise ValueError(f"an answer of {length!r} bytes")
                body = await process.out.readexactly(length)
                if type(number) is not int or not self._answered < number <= self._number:
                    raise ValueError(f"an answer to question {number!r}, which nobody asked")
                self._answered = number
                if self._waiting is not None and self._waiting[0] == number:
                    waiting, self._waiting = self._waiting[1], None
                    if not waiting.done():
                        waiting.set_result((head, body))
            error = OSError("the worker ended")
        except (OSError, ValueError, EOFError) as failure:
            error = failure if isinstance(failure, (OSError, ValueError)) else OSError("the worker ended")
        # Whoever asks next finds no process and starts one.
        process.kill()
        if self._waiting is not None and not self._waiting[1].done():
            self._waiting[1].set_exception(error)

    async def close(self) -> None:
        """End the process, if there is one."""
        starting, self._starting = self._starting, None
        if starting is not None and not starting.done() and self._process is not None:
            self._process.kill()
        if starting is not None:
            await asyncio.wait([starting])
        process, self._process = self._process, None
        reading, self._reading = self._reading, None
        self._waiting = None
        if process is None:
            return
        process.kill()
        await process.wait()
        if reading is not None:
            await reading


class PlannerProcess:
    """Owns the workers. `close` ends them."""

    def __init__(
        self,
        *,
        policy: str,
        budget_s: float,
        stability_price_s: float,
        seed: int = 0,
        seats: Seats | None = None,
    ) -> None:
        seats = seats or Children()
        self._policy = policy
        self._budget_s = budget_s
        self._stability_price_s = stability_price_s
        self._seed = seed
        self._asked = 0
        self.first, self.improver = Worker(seats), Worker(seats)
        self._warming: asyncio.Task[bool] | None = None
        self._warmer = Warmer(seats)

    async def quick(self, problem: Problem, incumbent: Plan | None) -> Plan:
        if incumbent is None or self._policy != "plan":
            question = self._question(problem, None, effort=QUICK_EFFORT)
        else:
            question = self._question(problem, incumbent, seconds=QUICK_S, at_once=True)
        warming = self._warm()
        await asyncio.wait([warming], timeout=START_WAIT_S)
        await self.first.be(interpreted=not warming.done() or not warming.result())
        return await self.first.ask(question, QUICK_TIMEOUT_S)

    async def better(self, problem: Problem, incumbent: Plan) -> AsyncGenerator[Plan]:
        if self._policy != "plan" or self._budget_s <= 0:
            return
        compiled = await asyncio.shield(self._warm())
        await self.improver.be(interpreted=not compiled)
        best = incumbent
        for share in SLICES:
            question = self._question(problem, best, seconds=share * self._budget_s)
            found = await self.improver.ask(question, self._budget_s + OVERTIME_S)
            news = found.status != "infeasible" and found.assignments != best.assignments
            if news:
                best = found
                yield best
            if found.status == "optimal" and not news:
                return

    def _question(
        self,
        problem: Problem,
        incumbent: Plan | None,
        *,
        seconds: float | None = None,
        effort: int | None = None,
        at_once: bool = False,
    ) -> Question:
        self._asked += 1
        return Question(
            number=self._asked,
            problem=problem,
            seconds=seconds,
            effort=effort,
            seed=self._seed + self._asked,
            policy=self._policy,
            stability_price_s=self._stability_price_s,
            incumbent=incumbent,
            at_once=at_once,
        )

    def _warm(self) -> asyncio.Task[bool]:
        if self._warming is None:
            self._warming = asyncio.create_task(self._warmer.run(), name="planner-warming")
        return self._warming

    async def close(self) -> None:
        """End the workers, if there are any."""
        if self._warming is not None:
            self._warmer.give_up()
            await asyncio.wait([self._warming])
        await self.first.close()
        await self.improver.close()


class Warmer:
    """Has the planner's search compiled in a process of its own."""

    def __init__(self, seats: Seats) -> None:
        self._seats = seats
        self._process: Seat | None = None
        self._given_up = False

    async def run(self) -> bool:
        """Whether that can be done."""
        process = self._process = await self._seats.take(warm=True)
        if self._given_up:
            process.kill()
        told = b""
        try:
            async with asyncio.timeout(WARM_TIMEOUT_S):
                told = await process.out.read()
        except (TimeoutError, OSError):
            process.kill()
        code = await process.wait()
        text = told.decode(errors="replace").strip()
        warm = code == 0 or (code is None and bool(text))
        if warm:
            log.info("planner warm", told=text)
        elif not self._given_up:
            log.warning("the planner's search cannot be compiled", code=code, told=text)
        return warm

    def give_up(self) -> None:
        self._given_up = True
        if self._process is not None:
            self._process.kill()
