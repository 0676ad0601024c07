"""What the engine itself costs a tick, without doors: `python -m bench.engine`, appended to RESULTS.md.

Four callers of 64 sessions of model S keep four calls of one step under way each, as four sockets with frames would.
The floor is the bare model at the same batch, its state fed back, on the same pinned core in turn.
"""

import asyncio
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import uvloop

from bench import floor, inputs, models
from bench.report import Line, append, spread, table
from service.engine.admission import Bounds
from service.engine.call import Call
from service.engine.engine import Engine
from service.models.files import read
from service.models.fitness import examine
from service.models.model import Index, OnnxModel
from service.models.speed import Policy
from service.sessions.budget import Budget
from service.sessions.sessions import Sessions
from service.store.memory import MemoryStore

_CALLERS, _SESSIONS, _UNDER_WAY, _CALLS, _REPEATS = 4, 64, 4, 400, 5


async def engine(model: OnnxModel, batch: int) -> float:
    """Steps/s of the engine when a tick takes `batch` rows."""
    fitness = examine(model, Policy(batch=batch, chunk=32, steps=32 * batch))
    sessions = Sessions(Budget(each=4, most_bytes=2**28), most=1000, most_bytes=2**30)
    served = Engine(model, fitness, sessions, MemoryStore(), Bounds(10_000, 2**28))
    loop = asyncio.create_task(served.run())
    rows = inputs.pool(model.features)[:_SESSIONS]
    one = np.ones(_SESSIONS, np.int64)
    clock = asyncio.get_running_loop().time
    begin = clock()
    await asyncio.gather(*(_caller(served, rows, one) for _ in range(_CALLERS)))
    took = clock() - begin
    loop.cancel()
    return _CALLERS * _SESSIONS * _CALLS / took


async def _caller(served: Engine, rows: inputs.Array, one: Index) -> None:
    own = np.array([(await served.lifecycle.open(None, 3600)).row for _ in range(_SESSIONS)])
    room = asyncio.Semaphore(_UNDER_WAY)

    def ended(call: Call) -> None:
        if call.errors:
            raise AssertionError(call.errors)
        room.release()

    for step in range(_CALLS):
        await room.acquire()
        served.submit(Call(own, one, np.full(_SESSIONS, step), rows, ended))
    for _ in range(_UNDER_WAY):
        await room.acquire()


def main() -> None:
    """Measure both in turn, and record them."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with TemporaryDirectory() as folder:
        path = models.write(Path(folder), "S")
        model, lines = OnnxModel(*read(path)), []
        for batch in (64, 256):
            pairs = [
                (floor.steps_per_second(path, batch, 1.0), uvloop.run(engine(model, batch))) for _ in range(_REPEATS)
            ]
            own = [1e6 * batch * (1 / reached - 1 / bare) for bare, reached in pairs]
            says = f"the engine in process, S, ticks of {batch} rows"
            ratios = tuple(reached / bare for bare, reached in pairs)
            lines.append(Line(says, "steps/s", spread([reached for _, reached in pairs]), ratios))
            lines.append(Line(says, "a tick, beside the model, µs", spread(own)))
    print(table(lines))
    append(lines, "python -m bench.engine", _REPEATS, 1.0)


if __name__ == "__main__":
    main()
