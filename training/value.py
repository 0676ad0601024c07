"""Base class of every part of a recipe."""

from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    """Frozen, validated value; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")
