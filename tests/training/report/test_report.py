import json
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.training import tables
from training.train import train

BAD = "<script>alert(1)</script> $x$"
SERIES = tables.csv(
    tables.hours(80), list(range(80)), ["a", "b", "c", "d"] * 20, [0, 1, 1, 0] * 20, header=f"time,x,s,{BAD}"
)
SEQUENCES = tables.csv(
    [str(i // 8) for i in range(80)],
    list(range(80)),
    list(range(80)),
    ["a", "b", "c", "d"] * 20,
    [0, 1, 1, 0] * 20,
    header=f"id,time,x,s,{BAD}",
)
TASKS = {
    "regression": 'kind = "regression"\ntargets = ["x"]',
    "horizons": 'kind = "regression"\ntargets = ["x"]\nhorizons = [1, 3]\nseason = 24',
    "quantiles": 'kind = "quantiles"\ntargets = ["x"]\nhorizons = [1, 2]',
    "classification": 'kind = "classification"\ntarget = "s"\nhorizon = 1\nlabels = ["a", "b", "c", "d", "never"]',
    "multilabel": f'kind = "multilabel"\ntargets = ["{BAD}"]\nhorizon = 1',
    "next-symbol": 'kind = "next-symbol"\ntarget = "s"',
}
ALWAYS = ["On unseen data", "How it learnt", "Forecast and truth"]
AHEAD, ALONG, TRUE = "Error by horizon", "Error along a sequence", "Does what it says come true?"
WHICH, BACK, LAST = "Which class for which", "How far back it listens", ["Made by", "Recipe"]
VOID = {"meta"}


class Outline(HTMLParser):
    """Reads a page, closes what is open, and remembers headings, ids and all text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []
        self.ids: Counter[str] = Counter()
        self.text = ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag != "script"
        if tag not in VOID:
            self.open.append(tag)
        self.ids.update(value for key, value in attrs if key == "id" and value)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids.update(value for key, value in attrs if key == "id" and value)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)


def fitted(folder: Path, task: str, network: str = "", *, several: bool = False) -> str:
    """Return the report of a tiny fit, on one series or on ten sequences."""
    text = tables.RECIPE.replace(TASKS["regression"], TASKS[task])
    symbols = '[[features]]\nkind = "category"\nname = "s"\n'
    text = text.replace("[task]", f"{symbols}\n[task]").replace("hidden = 4", f"hidden = 4\n{network}")
    if several:
        text = text.replace('by = "time"', 'by = "sequence"').replace(
            "[[features]]", 'sequence = "id"\n[[features]]', 1
        )
    train(
        tables.recipe(folder, text, SEQUENCES if several else SERIES, epochs="2"),
        folder / "models",
        runs=folder / "runs",
    )
    return (folder / "runs/tiny/1/report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("task", "applies"),
    [
        ("regression", []),
        ("horizons", [AHEAD]),
        ("quantiles", [AHEAD, TRUE]),
        ("classification", [TRUE, WHICH]),
        ("multilabel", [TRUE]),
        ("next-symbol", [TRUE]),
    ],
)
@pytest.mark.parametrize("several", [False, True])
def test_a_page_has_what_applies_to_its_task_and_nothing_else(
    task: str, applies: list[str], several: bool, tmp_path: Path
) -> None:
    html = fitted(tmp_path, task, several=several)
    outline = Outline(html)
    along = [ALONG] if several else []
    shown = [
        *ALWAYS,
        *[one for one in applies if one == AHEAD],
        *along,
        *[one for one in applies if one != AHEAD],
        BACK,
    ]
    assert outline.headings == [*shown, *LAST]
    assert html.count("<svg") == len(shown) - 1  # the first section is a table
    assert "$x$" in outline.text or task != "multilabel"
    assert "nan" not in outline.text.lower()
    assert [id for id, times in outline.ids.items() if times > 1] == []
    assert len(html) < 1_500_000


@pytest.mark.parametrize("network", ['cell = "feedforward"', "bidirectional = true"])
def test_what_keeps_no_state_has_no_memory_to_show(network: str, tmp_path: Path) -> None:
    assert BACK not in Outline(fitted(tmp_path, "regression", network)).headings


def test_it_says_what_made_it_and_which_epoch_is_kept(tmp_path: Path) -> None:
    text = Outline(fitted(tmp_path, "regression")).text
    curves = json.loads((tmp_path / "runs/tiny/1/curves.json").read_text(encoding="utf-8"))
    best = min(curves, key=lambda one: one["validation_loss"])
    assert f"Of 2 epochs the network of epoch {best['epoch']} is kept" in text
    assert f"the lowest, {best['validation_loss']:.4g}." in text
    assert "carousel-train fit tiny --version 1 --seed 0" in text
    assert json.loads((tmp_path / "runs/tiny/1/recipe.json").read_text(encoding="utf-8"))["data"] in text
    assert "hidden = 4" in text


def test_equal_fits_leave_equal_pages(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    assert fitted(tmp_path, "quantiles") == fitted(tmp_path / "other", "quantiles")


def test_a_report_that_cannot_be_written_is_told_and_costs_no_model(tmp_path: Path) -> None:
    (tmp_path / "runs/tiny/1/report.html").mkdir(parents=True)
    with pytest.warns(UserWarning, match=r"the report is missing, the model is not:\n(.|\n)*report\.html"):
        path = train(tables.recipe(tmp_path), tmp_path / "models", runs=tmp_path / "runs")
    assert path.exists()
    assert path.with_name("card.md").exists()
