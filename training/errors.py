"""What can go wrong between a recipe and a model file. A message names file, line or key, and the fix.

TrainingError
  RecipeError         the recipe cannot be read, or asks for what does not exist
  TableError          the data are not what the recipe says
  VerificationError   the exported file does not compute what was trained
"""


class TrainingError(Exception):
    """Whatever the user of `carousel-train` can mend; printed without a traceback."""


class RecipeError(TrainingError):
    """The recipe cannot be followed."""


class TableError(TrainingError):
    """The data are not what the recipe says."""


class VerificationError(TrainingError):
    """The exported file does not compute what the trained network computes."""
