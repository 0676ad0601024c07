"""The lane over a real engine: requests of one turn go together, and none harms another."""

import asyncio
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from starlette.responses import Response
from uvicorn.server import ServerState

from service.api.http.edge import Edge
from service.api.http.request import MANY, PREDICT, STEPS, Head, Request
from service.api.json.calls import JsonCalls
from service.api.json.lane import JsonLane
from service.api.json.pool import JsonPool
from service.errors import ModelNotFound
from service.models.description import Column, Description
from service.settings import Settings
from tests.service.api.line import parts
from tests.service.engine.serving import Serving


class Repository:
    """One model over the engine of a test."""

    def __init__(self, serving: Serving) -> None:
        self._engine = serving.engine
        self._served = SimpleNamespace(description=Description((Column("x"),), (Column("sum"),), ""))

    def ready(self, model: str, version: str | None = None) -> tuple[Any, Any]:
        if model != "model":
            raise ModelNotFound(f"no model {model!r}")
        return self._engine, self._served

    def check(self, model: str, version: str | None) -> None:
        self.ready(model, version)

    def new(self, model: str, version: str | None, id: str) -> tuple[Any, Any]:
        return self.ready(model, version)

    def of(self, session: Any) -> tuple[Any, Any]:
        return self._engine, self._served

    def only(self, model: str, version: str | None) -> Any:
        return self.ready(model, version)[0]


class Connection:
    """Takes the answer to one request."""

    def __init__(self) -> None:
        self.server_state = ServerState()
        self.status, self.told, self.headers = 0, b"", {}  # type: ignore[var-annotated]

    def answer(self, request: Request, response: Response) -> None:
        self.status, self.told = response.status_code, bytes(response.body)
        self.headers = {"x-request-id": request.id.decode()}

    def hears(self, request: Request) -> bool:
        return True

    def write(self, text: bytes) -> None:
        first, self.headers, self.told = parts(text)
        self.status = int(first.split()[1])

    @property
    def json(self) -> Any:
        return orjson.loads(self.told)


class Clients:
    """Makes requests and lets the turn end."""

    def __init__(self, **how: Any) -> None:
        self.serving = Serving(**how)
        self.serving.clock.now = time.monotonic() + 1  # deadlines of requests are on that clock
        self.edge = Edge()
        repository: Any = Repository(self.serving)
        self.pool = JsonPool(10**6, 100)
        calls = JsonCalls(repository, self.serving.sessions, Settings(max_queue_rows=100), self.pool)
        self.lane = JsonLane(
            {STEPS: calls, MANY: calls, PREDICT: calls}, self.serving.sessions, self.edge, 10**6, lambda host: True
        )
        self.asked: list[Connection] = []

    def ask(self, route: str, name: str, content: Any, **headers: str) -> Connection:
        given = {key.replace("_", "-").encode(): value.encode() for key, value in headers.items()}
        connection = Connection()
        body = content if isinstance(content, bytes) else orjson.dumps(content)
        request = Request(connection, Head(b"/", route, name, given, 0, len(body)))
        request.take(body, 0)
        self.lane.add(request)
        self.asked.append(connection)
        return connection

    def step(self, id: str, value: float, step: int | None = 0, **headers: str) -> Connection:
        named = {} if step is None else {"step": step}
        return self.ask(STEPS, id, {"inputs": [[value]], **named}, **headers)

    async def answered(self) -> None:
        async with asyncio.timeout(10):
            while not all(one.status for one in self.asked):  # noqa: ASYNC110  # a connection sets no event
                await asyncio.sleep(0)


@pytest.fixture
async def clients() -> AsyncIterator[Clients]:
    one = Clients()
    one.serving.start()
    for id in "abc":
        one.serving.open(id)
    for _ in range(2):
        one.step("warm", 0)  # two in a turn: the next one waits for others
    await one.answered()
    one.edge.answers.clear()
    yield one
    await one.serving.stop()


async def test_single_steps_of_one_turn_run_together_and_each_client_gets_its_own_answer(clients: Clients) -> None:
    a, b, c = (clients.step(id, value, x_request_id=id) for id, value in (("a", 1), ("b", 2), ("c", 4)))
    assert not a.status, "others may come in this turn"
    await clients.answered()
    assert clients.serving.model.batches == [[1, 1, 1]]
    assert [one.told for one in (a, b, c)] == [b'{"outputs":[[%d.0]],"step":1}' % value for value in (1, 2, 4)]
    assert [one.headers["x-request-id"] for one in (a, b, c)] == ["a", "b", "c"]
    assert a.headers["content-type"] == "application/json"
    assert clients.edge.answers == {("POST", STEPS, 200): 3}


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ((STEPS, "none", {"inputs": [[1]], "step": 0}), "session_not_found"),
        ((STEPS, "b", {"inputs": [[1]], "step": 7}), "step_conflict"),
        ((STEPS, "b", {"inputs": [[1]], "step": -1}), "invalid_request"),
        ((STEPS, "b", {"inputs": [[1]], "step": 2**63}), "step_conflict"),
        ((STEPS, "b", {"inputs": [[1, 2]], "step": 0}), "invalid_input"),
        ((STEPS, "b", {"inputs": [[]], "step": 0}), "invalid_input"),
        ((STEPS, "b", {"inputs": [[1e39]], "step": 0}), "invalid_input"),
        ((STEPS, "b", {"inputs": [[True]], "step": 0}), "invalid_input"),
        ((STEPS, "b", {"inputs": [[1]], "x": 0}), "invalid_request"),
        ((STEPS, "b", b'{"inputs":[[1]],"step":0'), "invalid_request"),
        ((STEPS, "b", b""), "invalid_request"),
        ((PREDICT, "none", {"sequences": [[[1]]]}), "model_not_found"),
        ((PREDICT, "model", {"sequences": []}), "invalid_input"),
        ((MANY, "model", {"items": []}), "invalid_input"),
    ],
)
async def test_a_fault_of_one_client_harms_no_other_of_its_turn(clients: Clients, wrong: Any, code: str) -> None:
    a, faulty, c = clients.step("a", 1), clients.ask(*wrong), clients.step("c", 4)
    await clients.answered()
    assert (a.json["outputs"], c.json["outputs"]) == ([[1]], [[4]])
    assert faulty.json["code"] == code
    assert clients.serving.sessions.get("b").step == 0


async def test_all_kinds_of_calls_of_one_turn_are_answered(clients: Clients) -> None:
    step, unchecked = clients.step("a", 1), clients.step("b", 2, None)
    longer = clients.ask(STEPS, "c", {"inputs": [[1], [2]], "step": 0})
    named = clients.ask(PREDICT, "model", {"sequences": [[{"x": 1}, {"x": 2}], [[3]]]})
    items = [{"session": "a", "inputs": [[1]]}, {"session": "d", "inputs": [[5]]}, {"session": "a", "inputs": [[1]]}]
    many = clients.ask(MANY, "model", {"items": items, "open": True})
    await clients.answered()
    assert (step.json["outputs"], unchecked.json["outputs"]) == ([[1]], [[2]])
    assert longer.json == {"outputs": [[1], [3]], "step": 2}
    assert named.json["outputs"] == [[{"sum": 1}, {"sum": 3}], [[3]]]
    assert [one["outputs"] for one in many.json["items"]] == [[[2]], [[5]], [[3]]]
    assert [one.get("created") for one in many.json["items"]] == [None, True, None]


async def test_steps_of_one_session_in_one_turn_run_in_their_order(clients: Clients) -> None:
    first, second, third = (clients.step("a", 1, step) for step in range(3))
    await clients.answered()
    assert [one.json for one in (first, second, third)] == [{"outputs": [[n]], "step": n} for n in (1, 2, 3)]


async def test_a_step_that_is_sent_twice_in_one_turn_is_applied_once(clients: Clients) -> None:
    first, again = clients.step("a", 1), clients.step("a", 1)
    await clients.answered()
    assert first.json == again.json == {"outputs": [[1]], "step": 1}


async def test_as_many_of_a_turn_are_accepted_as_there_is_room_for() -> None:
    clients = Clients(most_rows=2)
    asked = []
    for id in "abc":
        clients.serving.open(id)
    clients.step("warm", 0), clients.step("warm", 0)
    await clients.answered()
    for id in "abc":
        asked.append(clients.step(id, 1))
    await asyncio.sleep(0)
    assert [one.status for one in asked] == [0, 0, 503]
    assert asked[2].json["code"] == "overloaded"
    clients.serving.start()
    await clients.answered()
    assert [one.status for one in asked] == [200, 200, 503]
    assert clients.serving.engine.statistics().refused == {"overloaded": 1}
    await clients.serving.stop()


async def test_a_deadline_is_of_its_client_alone(clients: Clients) -> None:
    late, other = clients.step("a", 1, x_request_timeout_ms="0"), clients.step("b", 2)
    await clients.answered()
    assert (late.json["code"], other.json["step"]) == ("deadline_exceeded", 1)


async def test_a_lone_client_is_served_within_its_turn(clients: Clients) -> None:
    clients.step("a", 1)
    await clients.answered()
    await clients.serving.quiet()
    for _ in range(5):
        await asyncio.sleep(0)
    assert clients.step("a", 1, 1).status == 200, "nothing else had to run"


async def test_a_defect_of_ours_is_logged_and_told_and_the_next_turn_is_served(
    clients: Clients, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr("service.api.json.lane.one_steps", lambda bodies: 1 / 0)
        a, b = clients.step("a", 1), clients.step("b", 2)
        await clients.answered()
    assert (a.status, b.status, a.json["code"]) == (500, 500, "internal")
    assert caplog.records[0].exc_info is not None and caplog.records[0].exc_info[0] is ZeroDivisionError
    assert b"Zero" not in a.told
    again = clients.step("a", 1)
    await clients.answered()
    assert again.json["step"] == 1


async def test_predicts_of_one_turn_and_one_length_run_together_and_each_gets_its_own_answer(clients: Clients) -> None:
    model = clients.serving.model
    model.batches.clear()
    three = [clients.ask(PREDICT, "model", {"sequences": [[[value], [1], [1]]]}) for value in (1, 2, 4)]
    other = clients.ask(PREDICT, "model", {"sequences": [[[8], [8]]]})
    named = clients.ask(PREDICT, "model", {"sequences": [[{"x": 16}, {"x": 1}, {"x": 1}]]})
    await clients.answered()
    assert model.batches == [[3, 3, 3, 3, 2]]
    assert [one.json["outputs"] for one in three] == [[[[x], [x + 1], [x + 2]]] for x in (1.0, 2.0, 4.0)]
    assert other.json["outputs"] == [[[8.0], [16.0]]]
    assert named.json["outputs"] == [[{"sum": 16.0}, {"sum": 17.0}, {"sum": 18.0}]]


async def test_a_predict_that_fails_harms_none_of_its_turn(clients: Clients) -> None:
    clients.serving.model.nan_on = 7
    good, bad, fine = (clients.ask(PREDICT, "model", {"sequences": [[[value], [1]]]}) for value in (1, 7, 3))
    await clients.answered()
    assert (good.status, good.json["outputs"]) == (200, [[[1.0], [2.0]]])
    assert (bad.status, bad.json["code"]) == (422, "non_finite_output")
    assert (fine.status, fine.json["outputs"]) == (200, [[[3.0], [4.0]]])
    assert clients.serving.engine.statistics().refused == {"non_finite_output": 1}


async def test_predicts_for_which_there_is_room_are_run_when_all_of_a_turn_are_too_many(clients: Clients) -> None:
    many = [clients.ask(PREDICT, "model", {"sequences": [[[value]]]}) for value in range(130)]
    await clients.answered()
    codes = [one.status for one in many]
    assert set(codes) == {200, 503}
    assert [one.json["outputs"] for one in many if one.status == 200] == [
        [[[float(value)]]] for value, one in enumerate(many) if one.status == 200
    ]
    assert clients.serving.engine.admission.rows == 0


async def test_a_client_that_leaves_before_its_turn_is_over_is_not_run(clients: Clients) -> None:
    clients.serving.model.batches.clear()
    requests = []
    for value in (1, 2):
        body = orjson.dumps({"sequences": [[[value], [1]]]})
        request = Request(Connection(), Head(b"/", PREDICT, "model", {}, 0, len(body)))
        request.take(body, 0)
        clients.lane.add(request)
        requests.append(request)
    await asyncio.sleep(0)
    assert not requests[0].leave(), "it has an answer to come: that it left"
    while not all(one.connection.status for one in requests):  # type: ignore[attr-defined]  # noqa: ASYNC110
        await asyncio.sleep(0)
    left, stayed = (one.connection for one in requests)
    assert (left.status, stayed.json["outputs"]) == (499, [[[2.0], [3.0]]])  # type: ignore[attr-defined]
    assert clients.serving.model.batches == [[2]]


async def test_a_client_that_leaves_abandons_its_predict(clients: Clients) -> None:
    clients.serving.model.hold()
    connection = Connection()
    body = orjson.dumps({"sequences": [[[1]]]})
    request = Request(connection, Head(b"/", PREDICT, "model", {}, 0, len(body)))
    request.take(body, 0)
    clients.lane.add(request)
    async with asyncio.timeout(10):
        while not clients.serving.engine.admission.rows:  # noqa: ASYNC110  # an engine sets no event when a call comes
            await asyncio.sleep(0)
    assert request.leave()
    assert clients.serving.engine.admission.rows == 0
    clients.serving.model.release()
    await clients.serving.quiet()
    assert connection.status == 0
