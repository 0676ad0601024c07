"""What every part of a recipe is: frozen, and closed to keys that it does not know."""

from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    """A frozen, validated value; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")
