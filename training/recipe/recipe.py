"""The whole recipe, and its sections `[split]`, `[network]`, `[training]` and `[notes]`.

Checks which keys fit together. Does not know the file it comes from (`read`), the table or torch.
"""

from datetime import date, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal, Self

import tomli_w
from pydantic import Field, NonNegativeInt, PositiveInt, Strict, model_validator

from training.data.sources import Data
from training.recipe.features import Feature
from training.recipe.task import Task
from training.value import Value

Fraction = Annotated[float, Field(ge=0, lt=1)]
Moment = Annotated[datetime, Strict()] | Annotated[date, Strict()]


class ByTime(Value):
    """Split by time: training, then validation, then test. A boundary is a time, or the share of rows after it."""

    by: Literal["time"]
    validation: Fraction | Moment = 0.15  # start time, or share
    test: Fraction | Moment = 0.15
    end: Moment | None = None  # of the test part
    warm_up: NonNegativeInt | None = None  # steps before a part that are fed but not scored; default: one window


class BySequence(Value):
    """Split by whole sequences, drawn at random. Sequences that have a part in the data keep it."""

    by: Literal["sequence"]
    validation: Fraction | tuple[str, ...] = 0.15  # share, or ids
    test: Fraction | tuple[str, ...] = 0.15
    seed: int = 0


Split = Annotated[ByTime | BySequence, Field(discriminator="by")]


class Network(Value):
    """Type and size of the network."""

    cell: Literal["feedforward", "rnn", "gru", "lstm"] = "lstm"
    hidden: PositiveInt = 64
    layers: PositiveInt = 1
    dropout: Fraction = 0.0
    bidirectional: bool = False
    forget_bias: float = 0.0  # added to an LSTM's forget gate at the start; 1: it begins open (Jozefowicz et al. 2015)
    table_width: PositiveInt = 8  # width of the embedding of a category
    limit: Annotated[float, Field(gt=0)] = 3.0  # standardised numbers are clipped to ±limit

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.bidirectional and self.cell != "lstm":
            raise ValueError("bidirectional is for cell = 'lstm'")
        if self.forget_bias and self.cell != "lstm":
            raise ValueError("forget_bias is for cell = 'lstm'")
        return self


class Training(Value):
    """Training schedule, and how sequences are cut into windows."""

    epochs: PositiveInt = 24  # maximum; the learning rate falls to zero over them along a cosine
    patience: PositiveInt = 6  # epochs without a better validation loss before training stops
    batch: PositiveInt = 16
    learning_rate: Annotated[float, Field(gt=0)] = 0.01
    clip: Annotated[float, Field(gt=0)] = 1.0  # largest norm of the gradient
    window: PositiveInt | None = None  # steps; default: whole sequences
    stride: PositiveInt | None = None  # steps between window starts; default: one window
    uncounted: NonNegativeInt = 0  # first steps of a window that only warm up the state
    carry: bool = False  # truncated back-propagation: a window starts from the final state of the previous one

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.window is not None and self.uncounted >= self.window:
            raise ValueError(f"uncounted = {self.uncounted} leaves nothing of a window of {self.window} to learn from")
        if self.carry and (self.window is None or self.stride is not None or self.uncounted):
            raise ValueError("carry wants a window, and neither stride nor uncounted: windows follow each other")
        return self


class Notes(Value):
    """Texts by the recipe's author for the model card."""

    summary: str = ""
    data: str = ""
    split: str = ""


class Recipe(Value):
    """One training task. `folder` contains the recipe file; paths in the recipe are relative to it."""

    folder: Path
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}$")]
    title: str = ""
    notes: Notes = Notes()
    data: Data
    features: Annotated[tuple[Feature, ...], Field(min_length=1)]
    task: Task
    split: Split
    network: Network = Network()
    training: Training = Training()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        names = [feature.name for feature in self.features]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two features are named {name!r}; rename or remove one")
            if name in self.task.targets and 0 in self.task.horizons:
                raise ValueError(f"{name!r} is a target at horizon 0 and a feature: the input would contain the answer")
        if getattr(self.task, "residual", False):
            for name in self.task.targets:
                if not any(
                    one.kind == "number" and fnmatchcase(name, one.name.replace("[", "[[]")) for one in self.features
                ):
                    raise ValueError(
                        f"task.residual adds to the last value of {name!r}, which is no number feature; add it"
                    )
        if self.training.carry and self.network.bidirectional:
            raise ValueError("carry and bidirectional exclude each other: there is no state to carry")
        return self

    def changed(self, **sections: dict[str, object]) -> "Recipe":
        """Return a copy with some keys of some sections replaced, such as `network={"cell": "gru"}`."""
        return self.model_copy(
            update={name: getattr(self, name).model_copy(update=keys) for name, keys in sections.items()}
        )

    def toml(self) -> str:
        """Return the recipe as `read` takes it; keys that were not given are left out."""
        content = self.model_dump(exclude={"folder"}, exclude_unset=True, exclude_none=True)
        if "path" in content["data"]:
            content["data"]["path"] = str(content["data"]["path"])
        return tomli_w.dumps(content, multiline_strings=True)
