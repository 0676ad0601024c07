"""Data sources: each is the section `[data]` of a recipe, and reads its data as a `Table`.

To add a source, write a file with a `Value` that has `source: Literal["its-name"]`, its keys and `read`, and add it to
the union `Data`. A section without `source` is a `TableFile`.
"""

from typing import Annotated

from pydantic import Field

from training.data.sources.chorales import Chorales
from training.data.sources.cmapss import Cmapss
from training.data.sources.file import TableFile
from training.data.sources.reber import Reber
from training.data.sources.recall import Recall
from training.data.sources.table import Table

Data = Annotated[TableFile | Reber | Cmapss | Chorales | Recall, Field(discriminator="source")]

__all__ = ["Chorales", "Cmapss", "Data", "Reber", "Recall", "Table", "TableFile"]
