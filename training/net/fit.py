"""Train a network with Lightning: seed, early stopping, checkpoints, resume.

Several processes, on one or several hosts, share each batch, so that they learn what one process learns. Checkpoints
and curves are written to one folder.
"""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGINT, SIGTERM
from typing import Any

import torch
from lightning import Trainer, seed_everything
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.utils.data import DataLoader

from training.errors import Interrupted, TrainingError
from training.net.hardware import PLAIN, Hardware, is_first, one_thread
from training.net.learner import Learner
from training.net.networks import Network
from training.net.progress import LOWER, Curves, Ending, ProgressLine
from training.recipe.recipe import Training

HINTS = (
    ".*does not have many workers",  # the data are in memory
    r".*isinstance\(treespec, LeafSpec\)",  # Lightning 2.6 with torch 2.13
    ".*Checkpoint directory .* exists and is not empty",  # emptied or resumed on purpose
)
for half in ("pytorch", "fabric"):
    logging.getLogger(f"lightning.{half}").setLevel(logging.WARNING)  # no banners


def fit(
    build: Callable[[], Network],
    training: DataLoader[Any],
    validation: DataLoader[Any],
    *,
    how: Training,
    seed: int,
    folder: Path,
    resume: bool = False,
    hardware: Hardware = PLAIN,
) -> Network:
    """Train the network that `build` returns; return it with the weights of its best validation loss, in eval mode.

    The same seed gives the same weights on the same machine: `build` is called after the seed is set, on one thread.
    `resume` continues from the last epoch in `folder`, with the same result as an uninterrupted run. Several processes
    share the folder.

    Raises:
        TrainingError: the hardware does not exist, more processes than rows in a batch, a broken checkpoint, no
            finite loss, or `Interrupted`.

    """
    start = _begun(folder, resume)
    with one_thread(), quiet_lightning():
        seed_everything(seed, workers=True, verbose=False)
        learner = Learner(build(), how)
        best = ModelCheckpoint(folder, "best", monitor="validation_loss", enable_version_counter=False)
        trainer = _trainer(how, folder, hardware, best)
        if trainer.world_size > how.batch:
            raise TrainingError(f"training.batch is {how.batch}, too few for {trainer.world_size} processes to share")
        try:
            trainer.fit(learner, training, validation, ckpt_path=start)
        except SystemExit as end:  # Lightning turns signals into it, SIGTERM into one with exit code 0
            signal = SIGTERM if isinstance(end, SIGTERMException) else SIGINT
            raise Interrupted(signal, f"in epoch {trainer.current_epoch + 1}") from None
        if best.best_model_score is None or not best.best_model_score.isfinite():
            raise TrainingError(f"the validation loss is no finite number from epoch 1 on; {LOWER}")
        learner.load_state_dict(_read(Path(best.best_model_path))["state_dict"])
    return learner.network.cpu().eval()


def _begun(folder: Path, resume: bool) -> Path | None:
    """Return the checkpoint to go on from, if there is one; without `resume` remove it."""
    folder.mkdir(parents=True, exist_ok=True)
    last = folder / "last.ckpt"
    for old in folder.glob("*.ckpt") if is_first() and not resume else ():
        old.unlink()
    if not (resume and last.exists()):
        return None
    try:
        _read(last)
    except Exception as error:  # of zip, pickle or torch, by where it is broken
        first = str(error).partition("\n")[0]
        raise TrainingError(f"{last}: the checkpoint is broken ({first}); fit again without --resume") from None
    return last


def _read(checkpoint: Path) -> dict[str, Any]:
    read: dict[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=True)
    return read


def _trainer(how: Training, folder: Path, hardware: Hardware, best: ModelCheckpoint) -> Trainer:
    """Return the trainer; it writes `last.ckpt` after each epoch, and `best` by its own rule."""
    stop = EarlyStopping("validation_loss", patience=how.patience)
    every = ModelCheckpoint(folder, "last", save_on_train_epoch_end=True, enable_version_counter=False)
    return hardware.trainer(
        default_root_dir=folder,
        max_epochs=how.epochs,
        gradient_clip_val=how.clip,
        logger=False,
        callbacks=[stop, Curves(folder), ProgressLine(), best, every, Ending(stop)],
        num_sanity_val_steps=0,
        enable_progress_bar=False,  # replaced by ProgressLine
        enable_model_summary=False,
    )


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Suppress hints of Lightning that the user of a recipe cannot act on."""
    with warnings.catch_warnings():
        for hint in HINTS:
            warnings.filterwarnings("ignore", hint)
        yield
