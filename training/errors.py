"""Errors of the training half. Each message names the file, line or key at fault, and the fix.

TrainingError
  RecipeError         the recipe cannot be read, or names something that does not exist
  TableError          the data do not match the recipe
  VerificationError   the exported file does not compute what was trained
  Interrupted         a signal ended the training before there was a model
"""


class TrainingError(Exception):
    """Error that the user of `carousel-train` can fix; printed without a traceback."""

    exit_code = 1


class RecipeError(TrainingError):
    """The recipe cannot be followed."""


class TableError(TrainingError):
    """The data do not match the recipe."""


class VerificationError(TrainingError):
    """The exported file does not compute what the trained network computes."""


class Interrupted(TrainingError):
    """A signal ended the training; the exit code is 128 + its number."""

    def __init__(self, signal: int, place: str) -> None:
        super().__init__(f"interrupted {place}, without a model; the same command with --resume goes on from there")
        self.exit_code = 128 + signal
