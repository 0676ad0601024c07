"""What is to be done for many requests, one stage of all after the other (cohort scheduling, Larus & Parkes 2002)."""

import asyncio
from collections.abc import Callable

Stage = Callable[[], None]


class Cohort:
    """Runs at the end of a turn of the loop what was added in it, and in rounds what these add.

    One request after the other, each from its first byte to its call, pushes what the next one needs out of the caches:
    64 of them take two fifths more time than in stages. Where one came alone the turn before, the first is not kept
    waiting for others.
    """

    def __init__(self) -> None:
        self._waiting: list[Stage] = []
        self._came = 0  # in this turn
        self._lonely = True  # one came in the last turn in which any came
        self._runs = False
        self.alone = False  # what runs now is all there is

    def __repr__(self) -> str:
        return f"<Cohort of {len(self._waiting)}>"

    def add(self, stage: Stage) -> None:
        """Run it when all of the stage before it have run; it may not raise."""
        self._waiting.append(stage)
        if self._runs:
            return
        self._came += 1
        if self._came == 1:
            asyncio.get_running_loop().call_soon(self._end)
            if self._lonely:
                self._run()

    def _end(self) -> None:
        self._lonely, self._came = self._came == 1, 0
        self._run()

    def _run(self) -> None:
        self._runs = True
        try:
            while self._waiting:
                stages, self._waiting = self._waiting, []
                self.alone = len(stages) == 1
                for stage in stages:
                    stage()
        finally:
            self._runs = False
