"""`make results`: measure every row of the table that is missing, then write docs/results.md.

A row whose recipe or data have changed is measured anew. Each row is a process of its own, on one thread: an error in
one loses no other. Stop it at any time, and go on with the same command.
"""

import os
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from demo.page import page
from demo.rows import ROWS, Result, Row, asked, code_sha256, on_file
from training.data.dataset import load
from training.errors import TrainingError

_PAGE = Path("docs/results.md")
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}  # wherever it is called from
_CONSOLE = Console()


def main() -> None:
    """Measure what is missing and write the page; exit with 1 if a row failed."""
    hashes, refused = _data()
    missing = [row for row in ROWS if row.recipe in hashes and not _fresh(row, hashes[row.recipe])]
    failed = _measured(missing)
    not_run = {row: refused[row.recipe] for row in ROWS if row.recipe in refused} | failed
    results = {row: result for row in ROWS if row not in failed and (result := on_file(row))}
    _PAGE.write_text(page(results, {row: why for row, why in not_run.items() if row not in results}), encoding="utf-8")
    _CONSOLE.print(f"[bold]Wrote[/] {_PAGE}: {len(results)} of {len(ROWS)} rows, {len(missing)} measured now")
    for row, why in not_run.items():
        _CONSOLE.print(f"[red]{row}[/]: {why}", soft_wrap=True)
    _tell_age(results)
    sys.exit(1 if failed else 0)


def _data() -> tuple[dict[str, str], dict[str, str]]:
    """Return the hash of each recipe's data, and why the others cannot be read."""
    hashes, refused = {}, {}
    for row in {row.recipe: row for row in ROWS}.values():
        try:
            hashes[row.recipe] = load(row.told()).sha256
        except TrainingError as error:
            refused[row.recipe] = str(error)
    return hashes, refused


def _fresh(row: Row, data_sha256: str) -> bool:
    """Whether a row was measured with the recipe and the data of today."""
    result = on_file(row)
    return result is not None and (result.recipe, result.data_sha256) == (asked(row.told()), data_sha256)


def _measured(rows: list[Row]) -> dict[Row, str]:
    """Measure rows one after another; return why those that failed did."""
    failed = {}
    columns = (TextColumn("{task.description}"), BarColumn(16), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=_CONSOLE) as progress:
        bar = progress.add_task("", total=len(rows))
        for row in rows:
            progress.update(bar, description=str(row))
            if why := _failure(row):
                failed[row] = why
            progress.console.print(f"{row}: {why or 'done'}", soft_wrap=True)
            progress.advance(bar)
    return failed


def _failure(row: Row) -> str | None:
    """Measure a row in a process of its own; return what it died of."""
    row.folder.mkdir(parents=True, exist_ok=True)
    (row.folder / "result.json").unlink(missing_ok=True)
    log = row.folder / "measure.log"
    with log.open("wb") as output:
        command = [sys.executable, "-m", "demo.measure", row.recipe, row.cell, str(row.seed)]
        ended = subprocess.run(
            command, stdout=output, stderr=subprocess.STDOUT, env=os.environ | _ENVIRONMENT, check=False
        )
    if ended.returncode == 0:
        return None
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return f"{next(filter(None, reversed(lines)), f'ended with {ended.returncode}')} (see {log})"


def _tell_age(results: dict[Row, Result]) -> None:
    """Name the rows that older code has measured."""
    now = code_sha256()
    old = [str(row) for row, result in results.items() if result.code_sha256 != now]
    if old:
        _CONSOLE.print(f"training/ has changed since {len(old)} of them; remove a folder of runs/results to redo a row")


if __name__ == "__main__":
    main()
