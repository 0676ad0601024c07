"""Hardware of a training run: accelerator, processes, precision, in Lightning's words; and the number of threads."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from lightning import Trainer
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.fabric.utilities.rank_zero import rank_zero_only

from training.errors import TrainingError

Precision = Literal["32-true", "bf16-mixed"]


@dataclass(frozen=True)
class Hardware:
    """One process on the CPU by default. Several processes share each batch, so their number is no hyperparameter."""

    accelerator: str = "cpu"  # cpu, gpu, auto, …
    devices: int | None = None  # processes on this host; default: those that torchrun started, else 1
    precision: Precision | None = None  # default: bf16-mixed on a CUDA device that supports it, else 32-true

    def trainer(self, **settings: Any) -> Trainer:
        """Return Lightning's trainer for this hardware.

        Raises:
            TrainingError: this machine does not have such hardware.

        """
        devices, hosts = _torchrun() or (self.devices or 1, 1)
        if self.devices not in (None, devices):
            raise TrainingError(f"--devices {self.devices}: torchrun has started {devices} here; leave it out")
        # Whether oneDNN has bfloat16 cells here; without oneDNN torch uses its own.
        bfloat16 = not torch.backends.mkldnn.enabled or torch.ops.mkldnn._is_mkldnn_bf16_supported()
        if self.accelerator == "cpu" and self.precision == "bf16-mixed" and not bfloat16:
            raise TrainingError("--precision bf16-mixed: this processor has no bfloat16; leave it out, or use a GPU")
        try:
            return Trainer(
                accelerator=self.accelerator,
                devices=devices,
                num_nodes=hosts,
                precision=self.precision or ("bf16-mixed" if self._cuda_has_bfloat16() else "32-true"),
                use_distributed_sampler=False,  # `fit.Learner` takes its share of each batch
                **settings,
            )
        except (MisconfigurationException, ValueError) as error:  # ValueError: unknown accelerator
            raise TrainingError(f"--accelerator {self.accelerator}: {error}") from None

    def command(self, plain: str) -> str:
        """Return a command with the options for this hardware, and torchrun if it was used."""
        options = [f"--{key} {value}" for key, value in asdict(self).items() if value != getattr(PLAIN, key)]
        devices, hosts = _torchrun() or (1, 1)
        several = f"torchrun --nnodes {hosts} --nproc-per-node {devices} --no-python " if devices * hosts > 1 else ""
        return several + " ".join([plain, *options])

    def _cuda_has_bfloat16(self) -> bool:
        cuda = self.accelerator in ("gpu", "cuda", "auto") and torch.cuda.is_available()
        return cuda and torch.cuda.is_bf16_supported(including_emulation=False)


PLAIN = Hardware()


def _torchrun() -> tuple[int, int] | None:
    """Return the number of processes that torchrun started on this host, and of hosts; None without torchrun."""
    if not TorchElasticEnvironment.detect():
        return None
    local = int(os.environ["LOCAL_WORLD_SIZE"])
    return local, int(os.environ["WORLD_SIZE"]) // local


def is_first() -> bool:
    """Return whether this process is the one that writes files and messages."""
    return bool(rank_zero_only.rank == 0)  # type: ignore[attr-defined]  # set by Lightning


@contextmanager
def one_thread() -> Iterator[None]:
    """Use one thread: a second one does not speed up small networks, and sums would depend on their number."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
