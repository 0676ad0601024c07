"""Where data come from: each source is the section `[data]` of a recipe, and reads itself into a `Table`.

A new source is a file beside this one: a `Value` with `source: Literal["its-name"]`, its keys, and `read`; then its
name in the union `Data`. A section without `source` is a table of the user's.
"""

from typing import Annotated

from pydantic import Field

from training.sources.chorales import Chorales
from training.sources.cmapss import Cmapss
from training.sources.file import TableFile
from training.sources.reber import Reber
from training.sources.recall import Recall
from training.sources.table import Source, Table

Data = Annotated[TableFile | Reber | Cmapss | Chorales | Recall, Field(discriminator="source")]

__all__ = ["Chorales", "Cmapss", "Data", "Reber", "Recall", "Source", "Table", "TableFile"]
