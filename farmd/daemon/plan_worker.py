"""The planner's process: reads questions from standard input, writes plans to standard output.

A question is a line of JSON with the lengths of the pieces behind it, `{"stop": N}` breaks the answer to question N
off. An answer is a line of JSON with the length of what is behind it; see `plan_wire`. Started and restarted by
`planner_process`; niced, so that planning never starves the daemon's loop. It may be killed at any time.
With `--warm` it compiles what the planner compiles, says so, and ends.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, BinaryIO

from farmd.daemon.plan_wire import READY, Held, Question, head_of, pack_plan, unpack_question
from farmd.model.errors import FarmdError
from farmd.planner import Budget, PlanningErrors, plan
from farmd.planner.renewal import renewed
from farmd.planner.warm import made_ready

NICE = 10


class Inbox:
    """Reads questions in a thread of its own, so that a stop is heard while a plan is being made."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._questions: SimpleQueue[tuple[int, list[bytes]] | None] = SimpleQueue()
        self._stopped: set[int] = set()
        self._closed = False
        threading.Thread(target=self._read, daemon=True).start()

    def next(self) -> tuple[int, list[bytes]] | None:
        """The next question, in pieces; None when there will be none."""
        return self._questions.get()

    def stopped(self, number: int) -> Callable[[], bool]:
        """Whether nobody waits for the answer to this question any more."""
        return lambda: self._closed or number in self._stopped

    def _read(self) -> None:
        for line in self._source:
            head = head_of(line)
            if "stop" in head:
                self._stopped.add(head["stop"])
            else:
                pieces = [self._source.read(length) for length in head["pieces"]]
                self._questions.put((head["question"], pieces))
        self._closed = True
        self._questions.put(None)


def answer(question: Question, stopped: Callable[[], bool]) -> tuple[dict[str, Any], bytes]:
    """The head and the body of the reply to one question."""
    budget = Budget(question.seconds, question.effort, stopped)
    found = None
    if question.at_once and question.incumbent is not None and not question.problem.routes:
        found = renewed(
            question.problem,
            question.incumbent,
            budget=budget,
            seed=question.seed,
            stability_price_s=question.stability_price_s,
        )
    if found is None:
        found = plan(
            question.problem,
            budget=budget,
            seed=question.seed,
            policy=question.policy,
            stability_price_s=question.stability_price_s,
            incumbent=question.incumbent,
        )
    return pack_plan(found, question.problem)


def serve(inbox: Inbox, out: BinaryIO) -> None:
    """Answer until there are no more questions."""
    held = Held()
    made_ready()
    out.write(json.dumps(READY).encode() + b"\n")
    out.flush()
    while (asked := inbox.next()) is not None:
        number, pieces = asked
        body = b""
        # What a plan is made of lives as long as the question: looking for cycles in between only costs time.
        gc.disable()
        try:
            head, body = answer(unpack_question(pieces, held), inbox.stopped(number))
        except (FarmdError, PlanningErrors, ValueError, KeyError, TypeError, ArithmeticError) as error:
            head = {"error": f"{type(error).__name__}: {error}"}
        head |= {"question": number, "bytes": len(body)}
        out.write(json.dumps(head, separators=(",", ":")).encode() + b"\n" + body)
        out.flush()
        gc.enable()


def main() -> None:
    # Whoever started us may have seen to it, and forbid it.
    with suppress(PermissionError):
        os.nice(NICE)
    if "--warm" in sys.argv:
        print(made_ready() or "loaded from the disk")
    else:
        serve(Inbox(sys.stdin.buffer), sys.stdout.buffer)


if __name__ == "__main__":
    main()
