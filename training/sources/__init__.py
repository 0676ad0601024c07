"""Where data come from: each source is the section `[data]` of a recipe, and reads itself into a `Table`.

A new source is a file beside this one: a `Value` with `source: Literal["its-name"]`, its keys, and `read`; then its
name in the union `Data`. A section without `source` is a table of the user's.
"""

from typing import Annotated

from pydantic import Field

from training.sources.file import TableFile
from training.sources.reber import Reber
from training.sources.table import Source, Table

Data = Annotated[TableFile | Reber, Field(discriminator="source")]

__all__ = ["Data", "Reber", "Source", "Table", "TableFile"]
