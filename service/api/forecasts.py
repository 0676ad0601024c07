"""What a forecast asks for: inputs, and how often a copy is fed its own outputs. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from service.api.json.fields import Sequenced, sequence
from service.engine.forecasts import Asked
from service.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.api.json.fields import Named
    from service.models.description import Description
    from service.models.model import Array, Index


def asked(given: dict[str, Any], model: Description, place: str) -> tuple[Asked, Callable[[Array], Array | Named]]:
    """What a copy is fed, and how outputs [T, K] are written: in the style of the inputs.

    Raises:
        InvalidInput: there is nothing to feed, or the outputs of the model are not its next inputs.

    """
    steps: int = given.get("steps", 0)
    if "steps" in given and steps < 1:
        raise InvalidInput(f"{place}.steps: {steps} is not at least 1")
    if not given:
        raise InvalidInput(f"{place}: neither inputs nor steps")
    nothing = np.empty((0, len(model.features)), np.float32)
    inputs = Sequenced(nothing, objects=False)
    if "inputs" in given:
        inputs = sequence(given["inputs"], model.features, f"{place}.inputs")
    feeds = _feeds(model, place) if steps else np.arange(0)
    return Asked(inputs.inputs, steps, feeds), lambda outputs: inputs.outputs(outputs, model.outputs)


def _feeds(model: Description, place: str) -> Index:
    """Which output each feature of the next step is, [F]."""
    outputs = {column.name: index for index, column in enumerate(model.outputs)}
    strangers = outputs.keys() ^ {column.name for column in model.features}
    if strangers:
        raise InvalidInput(f"{place}.steps: {min(strangers)!r} is not both a feature and an output of the model")
    later = [column for column in model.outputs if column.making.get("horizon", 1) != 1]
    if later:
        raise InvalidInput(f"{place}.steps: {later[0].name!r} is told {later[0].making['horizon']} steps ahead, not 1")
    return np.array([outputs[column.name] for column in model.features])
