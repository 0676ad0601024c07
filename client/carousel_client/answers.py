"""What the service may answer over HTTP, and whether it fits the call: nothing else reads a body of the service."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, TypedDict, TypeVar, cast

from msgspec import Struct

from carousel_client.checks import Count, Rows, check, clean, outputs_of, problem_error, read, seconds
from carousel_client.descriptions import ModelDescription, ModelVersions
from carousel_client.errors import CarouselError, ForeignAnswer
from carousel_client.sequences import Encoded, S

P = ParamSpec("P")
T = TypeVar("T")


class SessionObject(Struct):
    """A session, as `GET /v1/sessions/{id}` tells it."""

    id: str
    model: str
    version: str
    step: Count
    behind_ms: Count = 0  # of answers that the service may lose
    snapshots: list[Count] | None = None  # steps of those that are kept, oldest first; None: it takes none


class SessionInfo(SessionObject, kw_only=True):
    """A session of a page: whether it is in memory (`resident`), and how long nothing was called on it."""

    ttl_seconds: float
    expires_at: str  # RFC 3339, UTC
    resident: bool
    idle_seconds: float


class SessionPage(Struct):
    """Sessions in the order of their ids; `next` is the `after` of the next page, None on the last one."""

    sessions: list[SessionInfo]
    next: str | None = None


class _Copies(Struct):
    sessions: list[SessionObject]


class _Deleted(Struct):
    deleted: Count


class _Stepped(Struct):
    outputs: Rows
    step: Count


class _Predicted(Struct):
    model: str
    version: str
    outputs: list[Rows]
    last: bool = False  # one answer a sequence


class _Item(Struct):
    session: str
    outputs: Rows | None = None
    step: Count | None = None
    created: bool = False
    error: dict[str, Any] | None = None


class _Items(Struct):
    items: list[_Item]


@dataclass(frozen=True, slots=True)
class ItemAnswer(Generic[S]):
    """What became of one item of `Client.steps`: `outputs` and the next `step` of the session, or the `error`."""

    session: str
    outputs: S | None = None
    step: int | None = None
    created: bool = False
    error: CarouselError | None = None


class _Models(TypedDict):
    models: list[ModelVersions]


def located(method: Callable[Concatenate[Answer, P], T]) -> Callable[Concatenate[Answer, P], T]:
    """A method whose ForeignAnswer has the status and the request id of the answer."""

    @wraps(method)
    def checked(self: Answer, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(self, *args, **kwargs)
        except ForeignAnswer as error:
            error.detail = f"status {self.status}, but {error.detail}"
            error.status, error.request_id = self.status, self.request_id
            raise

    return checked


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer over HTTP. Each method reads the body that one call expects, and raises ForeignAnswer else."""

    status: int
    content: bytes
    media_type: str = ""
    request_id: str | None = None
    retry_after: float | None = None

    @classmethod
    def of(cls, status: int, headers: Mapping[str, str], content: bytes) -> Answer:
        """From what an HTTP library gives; `headers` are found in any case."""
        wait, id = headers.get("Retry-After", ""), headers.get("X-Request-Id", "")
        asked = seconds(float(wait)) if wait.isascii() and wait.isdigit() else None
        return cls(status, content, headers.get("Content-Type", ""), clean(id)[:128] or None, asked)

    @property
    def success(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300

    def error(self) -> CarouselError:
        """The error that an answer other than a success means; ForeignAnswer where it is no problem document."""
        known: dict[str, Any] = {"status": self.status, "request_id": self.request_id, "retry_after": self.retry_after}
        try:
            return problem_error(read(self.content, dict), **known)
        except ForeignAnswer:
            page = clean(self.content[:80].decode("utf-8", "replace").strip())
            return ForeignAnswer(f"status {self.status}, not a problem document: {page!r}", **known)

    @located
    def models(self) -> list[ModelVersions]:
        """The list of models."""
        read(self.content, _Models)
        return cast(list[ModelVersions], read(self.content, dict)["models"])  # with the keys of newer services

    @located
    def model(self, name: str, version: str | None) -> ModelDescription:
        """The description of a model; of any version, if `version` is None."""
        told = read(self.content, ModelDescription)
        check(told["name"] == name and version in {None, told["version"]}, "the description of another model")
        check(bool(told["features"] and told["outputs"]), "a model without features or outputs")
        words = [one for one in told["features"] if "labels" in one]
        check(all(len(one["labels"]) == len(one.get("codes", [])) for one in words), "labels without codes")
        return cast(ModelDescription, read(self.content, dict))

    @located
    def session(self, /, id: str, **known: str | int | None) -> SessionObject:
        """The object of session `id`; `known`: its model, version and step, None where any will do."""
        told = read(self.content, SessionObject)
        for name, expected in {"id": id, **known}.items():
            given = getattr(told, name)
            check(expected in {None, given}, f"a session of {name} {clean(repr(given))}, not {expected!r}")
        return told

    @located
    def page(self, model: str | None, prefix: str, after: str, limit: int) -> SessionPage:
        """A page of sessions, that the filters let through and in order."""
        told = read(self.content, SessionPage)
        ids = [one.id for one in told.sessions]
        check(len(ids) <= limit and all(one < other for one, other in zip([after, *ids], ids, strict=False)), "no page")
        check(all(one.startswith(prefix) for one in ids), "a session of another prefix")
        check(all(model in {None, one.model} for one in told.sessions), "a session of another model")
        check(told.next is None or ids[-1:] == [told.next], "a next page that is not behind this one")
        return told

    @located
    def forked(self, /, ids: list[str], **known: str | None) -> SessionObject:
        """One of the copies with these ids; `known`: their model and version, None where any will do."""
        told = read(self.content, _Copies).sessions
        check([one.id for one in told] == ids, "copies of other ids")
        check(len({(one.model, one.version, one.step) for one in told}) == 1, "copies that differ")
        same = all(expected in {None, getattr(told[0], name)} for name, expected in known.items())
        check(same, "copies of another model")
        return told[0]

    @located
    def deleted_many(self) -> int:
        """How many sessions were deleted."""
        return read(self.content, _Deleted).deleted

    @located
    def stepped(self, inputs: Encoded[S], step: int) -> tuple[S, int]:
        """The outputs of a call on a session at `step`, in the style of the inputs, and the next step."""
        told = read(self.content, _Stepped)
        check(told.step == step + len(inputs.steps), f"next step {told.step} after {len(inputs.steps)} from {step}")
        return outputs_of([told.outputs], [inputs])[0], told.step

    @located
    def forecast(self, asked: Encoded[S], step: int | None) -> S:
        """The outputs of a forecast; `step` is that of the session, None: any."""
        told = read(self.content, _Stepped)
        check(step in {None, told.step}, f"a forecast from step {told.step}, not {step}")
        return outputs_of([told.outputs], [asked])[0]

    @located
    def predicted(self, model: str, version: str | None, sequences: list[Encoded[S]]) -> list[S]:
        """The outputs of whole sequences, each in the style of its inputs."""
        told = read(self.content, _Predicted)
        check(told.model == model and version in {None, told.version}, "the outputs of another model")
        return outputs_of(told.outputs, sequences, last=told.last)

    @located
    def items(self, asked: list[tuple[str, Encoded[S], int | None]]) -> list[ItemAnswer[S]]:
        """What became of each session of a call on many: outputs and next step, or an error."""
        told = read(self.content, _Items).items
        check(len(told) == len(asked), f"{len(told)} items for {len(asked)}")
        check([item.session for item in told] == [session for session, _, _ in asked], "items of other sessions")
        moved = [(item, inputs, step) for item, (_, inputs, step) in zip(told, asked, strict=True) if not item.error]
        for item, inputs, step in moved:
            after = (item.step or 0) - len(inputs.steps)  # the step that it began at
            check(after == step if step is not None else after >= 0, f"step {item.step} of {clean(item.session)!r}")
        values = iter(outputs_of([item.outputs or [] for item, _, _ in moved], [inputs for _, inputs, _ in moved]))
        return [
            ItemAnswer(item.session, error=problem_error(item.error, session=item.session))
            if item.error
            else ItemAnswer(item.session, next(values), item.step, item.created)
            for item in told
        ]

    @located
    def state(self) -> bytes:
        """The bytes of a state."""
        check(self.media_type == "application/octet-stream" and bool(self.content), "no bytes of a state")
        return self.content

    @located
    def deleted(self) -> None:
        """Nothing: the session was deleted."""
        check(self.status == 204, "not the answer of a deletion")
