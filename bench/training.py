"""What Lightning costs a fit: `python -m bench.training` prints a table and appends it to bench/RESULTS.md.

The peer is a loop written by hand around the same network, loss and optimizer, its windows stacked beforehand. Both in
one process, on one pinned core and one thread, in turn; no validation, no log, no checkpoint on either side. Seconds
are the processor's, since the machine is shared.
"""

import os
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch.nn.utils import clip_grad_norm_
from torch.optim import Adam

from bench.report import machine, spread
from training.data.batches import Window, collate, loader, windows
from training.data.dataset import Dataset, load
from training.net.fit import quiet_lightning
from training.net.hardware import Hardware, one_thread
from training.net.learn import build
from training.net.learner import Learner
from training.recipe.read import read_recipe
from training.recipe.recipe import Network, Recipe

_RESULTS = Path(__file__).parent / "RESULTS.md"
_SECONDS, _REPEATS, _BOUND = 2.0, 9, 0.9


@dataclass(frozen=True)
class Case:
    """A recipe, its data cut into windows."""

    recipe: Recipe
    data: Dataset
    windows: list[Window]

    @classmethod
    def of(cls, name: str, network: Network | None = None, batch: int | None = None) -> "Case":
        """Read a shipped recipe; another network or batch takes the place of its own."""
        recipe = read_recipe(name)
        how = recipe.training.model_copy(update={} if batch is None else {"batch": batch})
        recipe = recipe.model_copy(update={"training": how, "network": network or recipe.network})
        data = load(recipe)
        return cls(recipe, data, windows(data.training, how))

    def __str__(self) -> str:
        size, lengths = self.recipe.network, [len(one.x) for one in self.windows]
        T = f"T = {lengths[0]}" if len(set(lengths)) == 1 else f"T = {min(lengths)} to {max(lengths)}"
        layers = "" if size.layers == 1 else f" × {size.layers}"
        return f"{self.recipe.name}, {size.cell} {size.hidden}{layers}, batch {self.recipe.training.batch}, {T}"


class Watch(Callback):
    """Times an epoch, from its first batch on."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin."""
        self.begin = time.process_time()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End."""
        self.took = time.process_time() - self.begin


def by_lightning(case: Case, batches: int) -> float:
    """Seconds that our fit takes for so many batches."""
    how, watch = case.recipe.training, Watch()
    with quiet_lightning():
        trainer = Hardware().trainer(
            max_epochs=1,
            gradient_clip_val=how.clip,
            limit_train_batches=batches,
            limit_val_batches=0,
            callbacks=[watch],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(
            Learner(build(case.recipe, case.data), how), loader(case.windows, how.batch, shuffle=True), loader([], 1)
        )
    return watch.took


def by_hand(case: Case, batches: int) -> float:
    """Seconds that a bare loop takes for so many batches."""
    how, network, whole = case.recipe.training, build(case.recipe, case.data), collate(case.windows)
    optimizer = Adam(network.parameters(), lr=how.learning_rate)
    network.train()
    begin = time.process_time()
    for rows in torch.split(torch.randperm(len(whole.x)), how.batch)[:batches]:
        lengths = whole.lengths[rows]
        T = int(lengths.max())
        h, _ = network.hidden_values(whole.x[rows, :T], lengths, network.zero_state(len(rows)))
        loss = network.head.loss(h, whole.answers[rows, :T])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch ships no type for it
        clip_grad_norm_(network.parameters(), how.clip)
        optimizer.step()
    return time.process_time() - begin


def measured(case: Case) -> str:
    """One line of the table: both in turn, the one that goes first changing."""
    trial = min(20, len(case.windows) // case.recipe.training.batch)
    by_hand(case, 2)
    batches = min(max(int(_SECONDS * trial / by_hand(case, trial)), 5), len(case.windows) // case.recipe.training.batch)
    steps = batches * case.recipe.training.batch * sum(len(one.x) for one in case.windows) / len(case.windows)
    pairs = []
    for repeat in range(_REPEATS):
        took = {run: run(case, batches) for run in (by_hand, by_lightning)[:: 1 if repeat % 2 else -1]}
        pairs.append((steps / took[by_hand], steps / took[by_lightning]))
    ratios = [ours / bare for bare, ours in pairs]
    figures = spread([bare for bare, _ in pairs]), spread([ours for _, ours in pairs]), spread(ratios)
    met = "✓" if sorted(ratios)[_REPEATS // 2] >= _BOUND else "✗"
    return f"| {case} | {batches} | {' | '.join(figures)} | ≥ {_BOUND} {met} |"


def main() -> None:
    """Measure and append."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    large = Network(cell="lstm", hidden=256, layers=2)
    with one_thread():
        cases = [Case.of("metro-traffic"), Case.of("metro-traffic", large, 64), Case.of("reber")]
        lines = [measured(case) for case in cases]
    text = f"""
## {date.today()}: steps trained a second, beside a loop written by hand

`python -m bench.training`; {machine()}, one core, one thread, {_REPEATS} pairs in turn,
by processor time while other work ran on the machine; median [least–most].

| | batches | by hand, steps/s | `carousel-train fit`, steps/s | ratio | must be |
|---|---:|---:|---:|---:|---|
""" + "\n".join(lines)
    print(text)
    with _RESULTS.open("a", encoding="utf-8") as results:
        results.write(text + "\n")


if __name__ == "__main__":
    main()
