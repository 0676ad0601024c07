from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from training.net.progress import ProgressLine


@pytest.mark.parametrize("batches", [999, float("inf")])
def test_a_long_run_is_one_line_of_a_narrow_terminal(batches: float) -> None:
    console = Console(width=80, force_terminal=True)
    progress = ProgressLine(console)
    losses = {"train_loss": -0.000123456, "validation_loss": -123456.789}
    trainer: Any = SimpleNamespace(
        is_global_zero=True, num_training_batches=batches, current_epoch=998, max_epochs=1000, callback_metrics=losses
    )
    progress.on_train_epoch_start(trainer, trainer)
    progress.on_train_batch_end(trainer)
    progress.on_train_epoch_end(trainer, trainer)
    (line,) = console.render_lines(progress.line.get_renderable(), pad=False)
    text = "".join(segment.text for segment in line).rstrip()
    assert text.startswith("epoch 999/1000 ")
    assert text.endswith("train -0.0001235  validation -1.235e+05")
