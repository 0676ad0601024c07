"""Many sessions in one call, while they move between engines."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from service.api.json.codec import parse
from service.api.json.many_steps import Many
from service.models.description import Column
from service.settings import Settings
from tests.fakes import FakeStore, until
from tests.service.engine.serving import Serve
from tests.service.engine.test_migrating import beside


async def test_a_session_that_is_migrated_while_another_is_opened_runs_where_it_is_then(serve: Serve) -> None:
    """It has another row there; in its old one another session may live."""
    store = FakeStore()
    it = serve(store=store)
    other = await beside(serve, it)
    session, _ = it.open("s"), other.open("first there")
    stranger = it.open("stranger")
    await it.step(session, 1)
    served = SimpleNamespace(description=SimpleNamespace(features=[Column("x")], outputs=[Column("y")]))
    versions: Any = SimpleNamespace(of=lambda one: (one.home, served), new=lambda *_: (it.engine, served))
    many = Many(versions, it.sessions, Settings())
    read = cast("dict[str, Any]", parse(b'{"items":[{"session":"new","inputs":[[5]]},{"session":"s","inputs":[[2]]}]}'))
    store.held = True
    answering = asyncio.ensure_future(many.steps(read["items"], "model", None, may_open=True, deadline=None))
    await until(lambda: len(store) == 1)
    moving = it.engine.migrations.migrate(session, other.engine)
    await until(lambda: len(store) == 2)
    store.held = False
    store.release()
    told, _ = await answering
    assert [one["outputs"].tolist() for one in told] == [[[5.0]], [[3.0]]]
    assert it.sessions.get("s") == await moving
    assert await other.state(it.sessions.get("s")) == (2, 3.0)
    assert await it.state(stranger) == (0, 0.0)
    for engine, id in ((it, "new"), (it, "stranger"), (other, "s"), (other, "first there")):
        await engine.lifecycle.delete(it.sessions.get(id))
