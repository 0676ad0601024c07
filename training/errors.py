"""Errors of the training half. Each message names the file, line or key at fault, and the fix.

TrainingError
  RecipeError         the recipe cannot be read, or names something that does not exist
  TableError          the data do not match the recipe
  VerificationError   the exported file does not compute what was trained
"""


class TrainingError(Exception):
    """Error that the user of `carousel-train` can fix; printed without a traceback."""


class RecipeError(TrainingError):
    """The recipe cannot be followed."""


class TableError(TrainingError):
    """The data do not match the recipe."""


class VerificationError(TrainingError):
    """The exported file does not compute what the trained network computes."""
