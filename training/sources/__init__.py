"""Where data come from: each source is the section `[data]` of a recipe, and reads itself into a `Table`.

A new source is a file beside this one: a `Value` with `source: Literal["its-name"]`, its keys, and `read`. With it
`Data` becomes a union: `Annotated[TableFile | Other, Field(discriminator="source")]`.
"""

from training.sources.file import TableFile
from training.sources.table import Source, Table

Data = TableFile

__all__ = ["Data", "Source", "Table", "TableFile"]
