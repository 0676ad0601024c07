"""The loop of an engine: schedule, run, apply. It knows a queue and a runner; not callers, sessions or doors."""

import asyncio
import time

from service.queue import Queue
from service.runner import Runner
from service.statistics import Tally

_TURNS = 3  # of the loop before a tick, at most: what comes while others are read goes with them


class Ticks:
    """A tick takes what one turn of the loop delivered: there is no timer, and the next batch fills while it runs."""

    def __init__(self, queue: Queue, runner: Runner, tally: Tally) -> None:
        self._queue, self._runner, self._tally = queue, runner, tally
        self._rests = False  # nothing runs

    async def run(self) -> None:
        """One after another, until cancelled. Raises whatever the model fails with on zeros too."""
        while True:
            self._rests = idle = not self._queue.ready.is_set()
            await self._queue.ready.wait()
            self._rests = False
            if not self._queue.ready.is_set():
                continue  # it was done in a hurry
            if not (idle and self._alone()):
                await self._gathered()
                if not self._alone():
                    await self._tick()

    def hurry(self) -> None:
        """Do now what is alone, if nothing runs."""
        if self._rests:
            self._alone()

    def _alone(self) -> bool:
        """Whether all there was to do was one step, which is done: it waits for nobody, and needs no batch.

        A third of what a caller waits for who has the server for himself (`python -m bench --only lone`).
        """
        call = self._queue.alone()
        outputs = None if call is None else self._runner.alone(call)
        if call is None or outputs is None:
            return False
        begin = time.perf_counter()
        self._queue.answered(call, outputs)
        self._tally.answering.add(time.perf_counter() - begin)
        return True

    async def _gathered(self) -> None:
        """Return when a turn of the loop has brought nothing more, or after so many."""
        for _ in range(_TURNS):
            seen = len(self._queue)
            await asyncio.sleep(0)
            if len(self._queue) == seen:
                return

    async def _tick(self) -> None:
        """Run the next batch and settle what became of each work.

        `ended` is what a durable store will commit, as is the step that ran in `_alone`: before any of it is answered.
        """
        batch = self._queue.next_batch()
        if not batch:
            return
        outcome = await self._runner.run(batch)
        begin = time.perf_counter()
        self._queue.running(batch[0].ids)
        self._queue.goes_on(outcome.going_on)
        self._queue.finish(outcome.ended)
        for work, error in outcome.refused:
            self._queue.fail(work, error)
        self._tally.answering.add(time.perf_counter() - begin)
