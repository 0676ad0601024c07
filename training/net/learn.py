"""Recipe and data → trained network."""

from pathlib import Path

from training.data.batches import carried, loader, streams, windows
from training.data.dataset import Dataset
from training.errors import TableError
from training.net.encoder import Encoder
from training.net.evaluate import warm_up
from training.net.fit import fit
from training.net.hardware import PLAIN, Hardware
from training.net.networks import Feedforward, Network, Recurrent
from training.recipe.recipe import Recipe
from training.tasks import task_of


def learn(
    recipe: Recipe, data: Dataset, seed: int, folder: Path, *, resume: bool = False, hardware: Hardware = PLAIN
) -> Network:
    """Return the trained network of a recipe; checkpoints and curves are written to `folder`."""
    how = recipe.training
    cut = windows(data.training, how)
    if not cut:
        raise TableError(f"{recipe.name}: no window of the training part has an answer that counts")
    return fit(
        lambda: build(recipe, data),
        carried(data.training, how) if how.carry else loader(cut, how.batch, shuffle=True),
        loader(streams(data.validation, warm_up(recipe)), how.batch),
        how=how,
        seed=seed,
        folder=folder,
        resume=resume,
        hardware=hardware,
    )


def build(recipe: Recipe, data: Dataset) -> Network:
    """Return the untrained network of a recipe."""
    size = recipe.network
    encoder = Encoder(data.features, data.inputs, table_width=size.table_width, limit=size.limit)
    task = task_of(recipe, data)
    head = task.head(size.hidden * (1 + size.bidirectional))
    network: Network
    if size.cell == "feedforward":
        network = Feedforward(encoder, head, hidden=size.hidden, layers=size.layers, dropout=size.dropout)
    else:
        network = Recurrent(encoder, head, **size.model_dump(exclude={"table_width", "limit"}))
    network.added = task.added
    return network
