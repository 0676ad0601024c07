"""What the wire shows of models and sessions, and the small fields that several doors read. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from service.api.json.fields import fields
from service.engine.call import LAST, UNCHECKED
from service.errors import InvalidRequest
from service.sessions.snapshots import Rule

if TYPE_CHECKING:
    from service.engine.engine import Engine
    from service.models.description import Column
    from service.models.model import OnnxModel, State
    from service.models.repository import Repository
    from service.sessions.session import Standing
    from service.settings import Settings

_OFTEN = 2**53  # steps: the largest number that every JSON reader keeps
_KEPT, _KEPT_BYTES = 256, 2**24  # snapshots of a session


BEGINNINGS = {"constants": dict, "initial": dict}  # of a session: see OnnxModel.opening


def models(repository: Repository) -> dict[str, Any]:
    """`GET /v1/models`."""
    listed: dict[str, list[dict[str, Any]]] = {}
    for one in repository.versions():
        reason = {"reason": one.reason} if one.reason else {}
        listed.setdefault(one.model, []).append({"version": one.version, "state": one.state, **reason})
    return {
        "models": [
            {"name": name, "versions": versions, "default_version": repository.default(name)}
            for name, versions in listed.items()
        ]
    }


def model(engine: Engine, served: OnnxModel) -> dict[str, Any]:
    """`GET /v1/models/{model}`."""
    told, fitness = served.description, engine.fitness
    view: dict[str, Any] = {
        "name": engine.name,
        "version": engine.version,
        "cell": told.cell,
        "features": [_column(column) for column in told.features],
        "outputs": [_column(column) for column in told.outputs],
        "state_bytes": engine.table.row_bytes,
        "metrics": dict(told.metrics),
        "streamable": fitness.streamable,
        "bit_equal": fitness.bit_equal,
        "provider": served.provider,
    }
    if served.signature is not None:
        view["signature"] = served.signature.shown()
    if fitness.reason is not None:
        view["not_streamable"] = fitness.reason
    if fitness.in_thread:
        view["in_thread"] = True
    if told.memory_horizon is not None:
        view["memory_horizon"] = told.memory_horizon
    if not fitness.bit_equal:
        view["tolerance"] = fitness.tolerance
    return view


def _column(column: Column) -> dict[str, Any]:
    return {"name": column.name} | ({"unit": column.unit} if column.unit else {}) | dict(column.making)


def session(one: Standing, promises: Mapping[str, int]) -> dict[str, Any]:
    """The session object."""
    expires = datetime.now(UTC) + timedelta(seconds=one.left)
    return {
        "id": one.id,
        "model": one.model,
        "version": one.version,
        "step": one.step,
        "ttl_seconds": one.ttl,
        "expires_at": expires.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        **promises,
    } | ({} if one.snapshots is None else {"snapshots": one.snapshots})


def listed(one: Standing, promises: Mapping[str, int]) -> dict[str, Any]:
    """The session object of a page."""
    return session(one, promises) | {"resident": one.resident, "idle_seconds": round(max(0.0, one.ttl - one.left), 3)}


def ttl(asked: dict[str, Any], settings: Settings) -> float:
    """`ttl_seconds`, or the default.

    Raises:
        InvalidRequest: not within (0, max_ttl_seconds].

    """
    seconds: float = asked.get("ttl_seconds", settings.default_ttl_seconds)
    if not 0 < seconds <= settings.max_ttl_seconds:
        raise InvalidRequest(f"ttl_seconds: {seconds} is not over 0 and at most {settings.max_ttl_seconds:g}")
    return seconds


def rule(asked: dict[str, Any], row_bytes: int, place: str) -> Rule | None:
    """`snapshots`, if it was given: how often one is taken, and how many are kept.

    Raises:
        InvalidRequest: it says something else, or they would be too many or too large.

    """
    if "snapshots" not in asked:
        return None
    place = f"{place}.snapshots"
    told = fields(asked["snapshots"], place, {"every": int, "keep": int}, {})
    if not 1 <= told["every"] <= _OFTEN:
        raise InvalidRequest(f"{place}.every: {told['every']} is not from 1 to {_OFTEN}")
    if not 1 <= told["keep"] <= _KEPT:
        raise InvalidRequest(f"{place}.keep: {told['keep']} is not from 1 to {_KEPT}")
    if told["keep"] * row_bytes > _KEPT_BYTES:
        raise InvalidRequest(f"{place}.keep: {told['keep']} of {row_bytes} bytes are over {_KEPT_BYTES}")
    return Rule(told["every"], told["keep"])


def beginning(asked: dict[str, Any], served: OnnxModel) -> State | None:
    """The state of a session that is opened with `constants` or `initial`; None: the zero state. See OnnxModel."""
    constants, initial = asked.get("constants", {}), asked.get("initial", {})
    return served.opening(constants, initial) if constants or initial else None


def going_on(state: State, source: OnnxModel, served: OnnxModel) -> State | None:
    """The state in which a history begins when its session goes on in another version; None: the zero state.

    It has the constants of the session, where that version has such inputs.
    """
    ports = {one.port for one in served.tensors.constants}
    constants = {port.name: value for port, value in source.constants(state).items() if port in ports}
    return served.begun(constants, 1) if constants else None


def step(asked: dict[str, Any], place: str) -> int:
    """`step`, LAST at most; UNCHECKED: it was not given.

    Raises:
        InvalidRequest: it is negative.

    """
    if "step" not in asked:
        return UNCHECKED
    number: int = asked["step"]
    if number < 0:
        raise InvalidRequest(f"{place}.step: {number} is negative")
    return min(number, LAST)


def bad_name(place: str, name: str) -> InvalidRequest:
    """The refusal of a name that is none."""
    return InvalidRequest(f"{place}: {name[:130]!r} is not 1-128 characters of A-Z a-z 0-9 . _ : @ -, nor . or ..")
