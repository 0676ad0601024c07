"""One section of the report, and the style of its figure.

Figures are SVG elements. Ink has the colour of the page's text, so that one figure serves light and dark pages.
"""

import re
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from numpy.typing import NDArray

INK, GREY, MODEL, BASELINE = "#22303c", "#808c96", "#d55e00", "#2f86c1"  # distinguishable with colour blindness
COLOURS = (MODEL, BASELINE, "#009e73", "#cc79a7", GREY)  # of lines, the model first
STYLE: dict[Any, Any] = {  # of matplotlib, while sections are made and written
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
    **dict.fromkeys(("figure.facecolor", "axes.facecolor", "legend.facecolor"), "none"),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon", "text.parse_math"), False),
    "axes.titlelocation": "left",
    "date.converter": "concise",
    "figure.figsize": (7.2, 3.2),
    "figure.constrained_layout.use": True,
    "savefig.dpi": 150,  # of rasterised heat maps
    "svg.fonttype": "none",
    "svg.hashsalt": "carousel",  # equal runs give equal pages
}


class Section(NamedTuple):
    """Heading, and content in this order; tables are (head, rows)."""

    heading: str
    text: str = ""
    tables: Sequence[tuple[Sequence[str], Sequence[Sequence[str]]]] = ()
    figure: Figure | None = None
    facts: Mapping[str, str] = {}
    verbatim: str = ""

    @property
    def svg(self) -> str:
        """The figure as an SVG element."""
        if self.figure is None:
            return ""
        text = StringIO()
        self.figure.savefig(text, format="svg", metadata={"Date": None})
        element = re.sub(r"<metadata>.*?</metadata>", "", text.getvalue()[text.getvalue().index("<svg") :], flags=re.S)
        unique = f"f{crc32(element.encode()):x}-"  # all figures of a page number their ids alike
        element = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{unique}", element)
        return element.replace(INK, "currentColor")


def panels(figure: Figure, count: int) -> list[Axes]:
    """Return `count` axes below each other that share the horizontal axis."""
    figure.set_figheight(0.7 + 2.3 * count)
    return list(figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0])


def label_time(axes: Axes, times: NDArray[Any]) -> None:
    """Label the horizontal axis, unless dates label themselves."""
    if not np.issubdtype(times.dtype, np.datetime64):
        axes.set_xlabel("time")


def logarithmic(axes: Axes) -> None:
    """Make the vertical axis logarithmic, with plain numbers."""
    axes.set_yscale("log")
    axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")


def short(name: str) -> str:
    """Return a name that fits beside an axis."""
    return name if len(name) <= 18 else f"{name[:17]}…"
