"""Many sessions in one call: while they move between engines, and so many that others have a turn between them."""

import asyncio
import gc
import json
import weakref
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from service.api.json.codec import parse
from service.api.json.fields import Sequenced
from service.api.json.items import AT_ONCE, Calls, Item, hold
from service.api.json.many_steps import Many
from service.api.json.pool import JsonPool
from service.errors import Overloaded
from service.models.description import Column
from service.settings import Settings
from tests.fakes import FakeStore, column, until
from tests.service.engine.serving import Serve, Serving
from tests.service.engine.test_migrating import beside

COUNT = 4 * AT_ONCE
ROOM = {"most": 2 * COUNT, "most_rows": COUNT}


async def steps(it: Serving, items: list[Any]) -> list[dict[str, Any]]:
    served = SimpleNamespace(description=SimpleNamespace(features=[Column("x")], outputs=[Column("y")]))
    versions: Any = SimpleNamespace(of=lambda one: (one.home, served), new=lambda *_: (it.engine, served))
    many = Many(versions, it.sessions, Settings(), JsonPool(10**6, COUNT))
    told = json.loads(await many.steps(items, "model", None, may_open=True, deadline=None))
    return cast("list[dict[str, Any]]", told["items"])


def items(*values: float) -> list[Any]:
    asked = [{"session": f"s{n}", "inputs": [[n], *([value] for value in values)]} for n in range(COUNT)]
    return cast("list[Any]", parse(json.dumps({"items": asked}))["items"])


async def test_a_session_that_is_migrated_while_another_is_opened_runs_where_it_is_then(serve: Serve) -> None:
    """It has another row there; in its old one another session may live."""
    store = FakeStore()
    it = serve(store=store)
    other = await beside(serve, it)
    session, _ = it.open("s"), other.open("first there")
    stranger = it.open("stranger")
    await it.step(session, 1)
    read = parse(b'{"items":[{"session":"new","inputs":[[5]]},{"session":"s","inputs":[[2]]}]}')
    store.held = True
    answering = asyncio.ensure_future(steps(it, read["items"]))
    await until(lambda: len(store) == 1)
    moving = it.engine.migrations.migrate(session, other.engine)
    await until(lambda: len(store) == 2)
    store.held = False
    store.release()
    assert [one["outputs"] for one in await answering] == [[[5.0]], [[3.0]]]
    assert it.sessions.get("s") == await moving
    assert await other.state(it.sessions.get("s")) == (2, 3.0)
    assert await it.state(stranger) == (0, 0.0)
    for engine, id in ((it, "new"), (it, "stranger"), (other, "s"), (other, "first there")):
        await engine.lifecycle.delete(it.sessions.get(id))


async def test_many_items_are_opened_and_accepted_a_slice_in_each_turn_of_the_loop(serve: Serve) -> None:
    it = serve(**ROOM, started=False)
    answering = asyncio.ensure_future(steps(it, items(1)))
    opened, accepted, held = [0], [0], {0}
    while accepted[-1] < COUNT:
        await asyncio.sleep(0)
        opened.append(it.engine.table.used)
        accepted.append(int(it.engine.table.waiting.sum()))
        held.add(it.engine.admission.rows)
    assert max(np.diff(opened)) == max(np.diff(accepted)) == AT_ONCE
    assert held == {0, COUNT}
    it.start()
    assert [one["outputs"] for one in await answering] == [[[n], [n + 1]] for n in range(COUNT)]


async def test_items_hold_their_room_until_they_are_accepted(serve: Serve) -> None:
    it = serve(**ROOM, started=False)
    stranger, _ = it.open("stranger"), [it.open(f"s{n}") for n in range(COUNT)]
    answering = asyncio.ensure_future(steps(it, items()))
    await until(lambda: it.engine.admission.rows > 0)
    with pytest.raises(Overloaded):
        it.step(stranger, 1)
    it.engine.admission.closed = True  # the service drains
    it.start()
    assert [one["outputs"] for one in await answering] == [[[n]] for n in range(COUNT)]


async def test_no_item_is_kept_by_what_ran_it(serve: Serve) -> None:
    """Else its memory is given back when the collector of cycles comes by, which may take days."""
    it = serve()
    item = Item(0, "s", it.open(), it.engine, cast("Any", None), Sequenced(column(1), objects=False), -1)
    hold([item])
    gc.disable()
    try:
        await Calls([item], None, lambda _: None).run()
        await it.quiet()
        outputs, watched = item.outputs, weakref.ref(item)
        del item
        assert (watched(), outputs.tolist()) == (None, [[1.0]])
    finally:
        gc.enable()
