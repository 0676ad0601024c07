"""JSON load below ASGI: what one turn of the loop brings is parsed, submitted and answered together, in plain loops.

One request after the other, each from its first byte to its call, would push what the next one needs out of the caches.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import numpy as np
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from service.api.http import body
from service.api.http.edge import REQUEST_ID, Edge
from service.api.http.request import STEPS, Request
from service.api.json.single_steps import answers, one_steps, rows
from service.engine.call import LAST, Call
from service.errors import CarouselError

if TYPE_CHECKING:
    from service.api.json.answering import Answering
    from service.engine.engine import Engine
    from service.sessions.sessions import Sessions

_PLAIN = 2**15  # bytes of a body that is parsed with others: a step of so many numbers takes 0.2 ms

_log = logging.getLogger("carousel.request")


@dataclass(slots=True)
class _Singles:
    """Requests of one numbered step each, of different sessions of one engine."""

    requests: list[Request] = field(default_factory=list)
    rows: dict[int, None] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)
    numbers: list[bytes] = field(default_factory=list)  # float64


class JsonLane:
    """Serves the requests that connections read themselves: see `connection.Lane`. `doors` are by route."""

    def __init__(
        self, doors: Mapping[str, Answering], sessions: Sessions, edge: Edge, most: int, serves: Callable[[bytes], bool]
    ) -> None:
        self._doors, self._sessions, self._edge, self.most, self.serves = doors, sessions, edge, most, serves
        self._waiting: list[Request] = []
        self._came = 0  # in this turn
        self._lonely = True  # one came in the last turn that brought any: the next one waits for no other
        self._serving = False
        self._head: tuple[list[tuple[bytes, bytes]], bytes] = [], b""  # headers of the server, and a head with them

    def early(self, request: Request) -> None:
        """Refuse a request whose body is on its way, if there is no room for it."""
        request.id = self._edge.id(request.headers)
        try:
            self._doors[request.route].spare(request, request.length)
        except CarouselError as error:
            request.refuse(error)

    def add(self, request: Request) -> None:
        """Serve a request at the end of this turn."""
        self._waiting.append(request)
        self._came += 1
        if self._came == 1:
            asyncio.get_running_loop().call_soon(self._end_turn)
            if self._lonely and not self._serving:
                self._serve()

    def note(self, request: Request, status: int) -> None:
        """Count and log an answer."""
        context = REQUEST_ID.set(request.id.decode("ascii"))
        self._edge.note("POST", request.route, request.path.decode("ascii"), status, request.begin)
        REQUEST_ID.reset(context)

    def _end_turn(self) -> None:
        self._lonely, self._came = self._came == 1, 0
        if self._waiting:
            self._serve()

    def _serve(self) -> None:
        self._serving = True  # what an answer lets come meanwhile is of the next turn
        requests, self._waiting = self._waiting, []
        try:
            self._serve_all(requests)
        except Exception:
            self._fail(requests)
        self._serving = False

    def _fail(self, requests: list[Request]) -> None:
        """Answer what is left of a turn in which something went wrong that should not."""
        _log.exception("a turn of %d requests", len(requests))
        for request in requests:
            request.refuse(CarouselError())

    def _serve_all(self, requests: list[Request]) -> None:
        singles: list[Request] = []
        others: list[Request] = []
        for request in requests:
            if not request.id:
                request.id = self._edge.id(request.headers)
            plain = request.route is STEPS and len(request.content) <= _PLAIN and body.TIMEOUT not in request.headers
            (singles if plain else others).append(request)
        if singles:
            self._submit(singles, others)
        for request in others:
            self._doors[request.route].serve(request)

    def _submit(self, requests: list[Request], others: list[Request]) -> None:
        """Submit single steps together; what is not plain joins the others, which are served one by one."""
        groups: dict[Engine, _Singles] = {}
        try:
            places = self._sessions.here([one.name for one in requests])
        except CarouselError:
            others += requests
            return
        steps = one_steps([one.content for one in requests])
        for request, found, place in zip(requests, steps, places, strict=True):
            if found is None or place is None or not 0 <= found[1] < LAST:
                others.append(request)
                continue
            engine, row = cast("Engine", place[0]), place[1]
            group = groups.get(engine)
            if len(found[0]) != 8 * engine.model.features or (group is not None and row in group.rows):
                others.append(request)
                continue
            if group is None:
                group = groups[engine] = _Singles()
            group.requests.append(request)
            group.rows[row] = None
            group.numbers.append(found[0])
            group.asked.append(found[1])
        for engine, group in groups.items():
            self._submit_group(engine, group, others)

    def _submit_group(self, engine: Engine, group: _Singles, others: list[Request]) -> None:
        """Submit single steps of one engine as one call. Those that it cannot take join the others."""
        room = engine.admission.room()
        others.extend(group.requests[room:])
        requests = group.requests[:room]
        inputs = rows(group.numbers[:room], engine.model.features) if requests else None
        if inputs is None:
            others.extend(requests)
            return
        table_rows, asked = np.array([*group.rows][:room]), np.array(group.asked[:room])
        lengths = np.ones(len(inputs), np.int64)
        call = Call(table_rows, lengths, asked, inputs, self._ended, tags=requests)
        if len(requests) == 1 and engine.run_alone(call):
            return
        try:
            engine.submit(call)
        except CarouselError:
            others.extend(requests)

    def _ended(self, call: Call) -> None:
        requests = cast("list[Request]", call.tags)
        try:
            self._answer(call, requests)
        except Exception:
            self._fail(requests)

    def _answer(self, call: Call, requests: list[Request]) -> None:
        """Answer single steps."""
        outputs, starts = call.outputs, call.starts
        if call.errors:
            good = [index for index in range(len(requests)) if index not in call.errors]
            for index, error in call.errors.items():
                requests[index].refuse(error)
            if not good:
                return
            requests, outputs, starts = [requests[index] for index in good], outputs[good], starts[good]
        head, verbose, count = self._plain_head(requests[0]), self._edge.verbose, 0
        for request, content in zip(requests, answers(outputs, (starts + 1).tolist()), strict=True):
            connection = request.connection
            if verbose or not connection.hears(request):
                connection.answer(request, body.Json(content, 200))
                continue
            connection.write(b"%b%d\r\nx-request-id: %b\r\n\r\n%b" % (head, len(content), request.id, content))
            count += 1
        self._edge.answers["POST", STEPS, 200] += count

    def _plain_head(self, request: Request) -> bytes:
        """The head of an answer to its content-length; the server makes new headers when the date changes."""
        headers = request.connection.server_state.default_headers
        if headers is not self._head[0]:
            lines = b"".join(b"%b: %b\r\n" % header for header in headers)
            self._head = headers, STATUS_LINE[200] + lines + b"content-type: application/json\r\ncontent-length: "
        return self._head[1]
