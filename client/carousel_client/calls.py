"""The calls that need no session object, each as a flow; `Client` and `AsyncClient` drive them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, NotRequired, TypeAlias, TypedDict

from carousel_client.errors import CarouselError, InvalidInput, problem_error
from carousel_client.exchange import Answer, Flow, Policy, Request, route
from carousel_client.sequences import S, encode, to_json


class Version(TypedDict):
    """One version of a model, and why it does not serve if it does not."""

    version: str
    state: Literal["ready", "loading", "unavailable"]
    reason: NotRequired[str]


class ModelVersions(TypedDict):
    """A model in the list of models; `default_version` is None while no version is ready."""

    name: str
    versions: list[Version]
    default_version: str | None


class Column(TypedDict):
    """A feature or an output."""

    name: str
    unit: NotRequired[str]


class Missing(TypedDict):
    """What a gap takes: the value before it, or `value`."""

    rule: Literal["hold", "constant", "mask"]
    value: NotRequired[float]
    column: NotRequired[str]  # the feature that marks the gaps, of `mask`


class Lag(TypedDict):
    """Another feature, `steps` rows before."""

    of: str
    steps: int


class Feature(Column):
    """A feature, and how its values are made where the model tells it; `Preparation` goes by it."""

    missing: NotRequired[Missing]
    initial: NotRequired[float]  # its value before the first row
    lag: NotRequired[Lag]
    mask_of: NotRequired[str]  # 1 where that feature has a gap, else 0
    calendar: NotRequired[Literal["hour", "weekday", "month"]]
    zone: NotRequired[str]  # in which the calendar is read; else off the time as it is written
    offsets: NotRequired[bool]  # with `zone`: times need an offset
    range: NotRequired[list[float]]  # a number outside counts as the nearest of these
    codes: NotRequired[list[int]]  # of a category
    labels: NotRequired[list[str]]  # the words that its codes stand for, where they stand for words


class ModelDescription(TypedDict):
    """What a version says about itself; `memory_horizon` in steps."""

    name: str
    version: str
    cell: str | None
    features: list[Feature]
    outputs: list[Column]
    state_bytes: int
    memory_horizon: NotRequired[float]
    metrics: dict[str, Any]
    streamable: bool
    bit_equal: bool
    tolerance: NotRequired[float]


Item: TypeAlias = tuple[str, S] | tuple[str, S, int | None]  # session, inputs, step


@dataclass(frozen=True, slots=True)
class ItemAnswer(Generic[S]):
    """What became of one item of `steps`: `outputs` and the next expected `step`, or the `error`."""

    session: str
    outputs: S | None = None
    step: int | None = None
    created: bool = False
    error: CarouselError | None = None


class Calls:
    """One flow a call. Knows WIRE's routes and bodies; the policy knows when to try again."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def ready(self, timeout: float | None = None) -> Flow[bool]:
        """Whether the service is there and ready. Asked once, never retried; no answer is a no."""
        probe = replace(self.policy, retries=0)
        outcome = yield from probe.outcome(Request("GET", "/health/ready"), probe.deadline(timeout))
        return outcome.error is None

    def models(self, *, timeout: float | None = None) -> Flow[list[ModelVersions]]:
        """Every model and its versions."""
        request = Request("GET", route("models"), replayable=True)
        models: list[ModelVersions] = Answer((yield from self.policy.exchange(request, self.policy.deadline(timeout))))[
            "models"
        ]
        return models

    def model(self, name: str, version: str | None = None, *, timeout: float | None = None) -> Flow[ModelDescription]:
        """What a model says about itself: features, outputs, units, metrics. Raises ModelNotFound, VersionNotFound."""
        request = Request("GET", route("models", name), version=version, replayable=True)
        described: Any = Answer((yield from self.policy.exchange(request, self.policy.deadline(timeout))))
        return described  # type: ignore[no-any-return]

    def predict(
        self, model: str, sequences: Iterable[S], version: str | None = None, *, timeout: float | None = None
    ) -> Flow[list[S]]:
        """Run whole sequences, each from the zero state; lengths may differ.

        `sequences` holds arrays [T, F], lists of lists or lists of dicts; the outputs [T, K] come in the same style
        and order. `timeout` is in seconds, for everything. Raises InvalidInput if any sequence is bad: then none ran.
        """
        encoded = [encode(sequence) for sequence in sequences]
        for i, sequence in enumerate(encoded):
            if sequence.lone:  # [[1, 2], [3, 4]] may be one sequence or two steps: never guess
                raise InvalidInput(f"sequences[{i}] is a lone step: predict takes a list of sequences")
        body = to_json({"sequences": [sequence.steps for sequence in encoded]})
        request = Request("POST", route("models", model, "predict"), body, version, replayable=True)
        answer = Answer((yield from self.policy.exchange(request, self.policy.deadline(timeout))))
        return [sequence.decode(outputs) for sequence, outputs in zip(encoded, answer["outputs"], strict=True)]

    def steps(
        self,
        model: str,
        items: Iterable[Item[S]],
        open: bool = False,
        version: str | None = None,
        *,
        timeout: float | None = None,
    ) -> Flow[list[ItemAnswer[S]]]:
        """Step many sessions in one call; one bad item never harms another, so errors are values here.

        An item is `(session id, inputs)` or `(session id, inputs, step)`, inputs as for `Session.step`. `open` creates
        the sessions that are unknown. Only a call whose every item names its `step` is sent again after a lost answer.
        """
        listed = []
        for i, item in enumerate(items):
            if not isinstance(item, tuple | list) or len(item) not in (2, 3):
                raise InvalidInput(f"items[{i}]: not (session id, inputs) or (session id, inputs, step)")
            listed.append((item[0], encode(item[1]), item[2] if len(item) > 2 else None))
        bodies = [
            {"session": session, "inputs": inputs.steps} | ({} if step is None else {"step": step})
            for session, inputs, step in listed
        ]
        body = to_json({"items": bodies} | ({"open": True} if open else {}))
        checked = all(step is not None for _, _, step in listed)
        request = Request("POST", route("models", model, "steps"), body, version, replayable=checked)
        answer = Answer((yield from self.policy.exchange(request, self.policy.deadline(timeout))))
        answers: list[ItemAnswer[S]] = []
        for (session, inputs, _), item in zip(listed, answer["items"], strict=True):
            if "error" in item:
                answers.append(ItemAnswer(session, error=problem_error(item["error"])))
            else:
                created = item.get("created", False)
                answers.append(ItemAnswer(session, inputs.decode(item["outputs"]), item["step"], created))
        return answers
