"""On what a fit runs: accelerator, processes and precision, in Lightning's words. Knows nothing of what is learnt."""

import os
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
    """One process on the processor, unless something else is said or torchrun has started more.

    All processes together take the batches that one would take, so that their number is no hyperparameter.
    """

    accelerator: str = "cpu"  # cpu, gpu, auto, …
    devices: int | None = None  # processes on this host; left out: as many as torchrun started here, else one
    precision: Precision | None = None  # left out: bf16-mixed on a CUDA device that has it, else 32-true

    def trainer(self, **told: Any) -> Trainer:
        """Return Lightning's trainer for this hardware; hosts beyond this one are those of torchrun.

        Raises:
            TrainingError: there is no such hardware here.

        """
        devices, hosts = _started() or (self.devices or 1, 1)
        if self.devices not in (None, devices):
            raise TrainingError(f"--devices {self.devices}: torchrun has started {devices} here; leave it out")
        if self.accelerator == "cpu" and self.precision == "bf16-mixed" and not _halves():
            raise TrainingError("--precision bf16-mixed: this processor has no bfloat16; leave it out, or use a GPU")
        try:
            return Trainer(
                accelerator=self.accelerator,
                devices=devices,
                num_nodes=hosts,
                precision=self.precision or self._fitting(),
                use_distributed_sampler=False,  # the learner takes its share of each batch
                **told,
            )
        except (MisconfigurationException, ValueError) as error:  # ValueError: a name that it does not know
            raise TrainingError(f"--accelerator {self.accelerator}: {error}") from None

    def command(self, plain: str) -> str:
        """Return a command as it is written to run on this hardware."""
        told = [f"--{key} {value}" for key, value in asdict(self).items() if value != getattr(PLAIN, key)]
        devices, hosts = _started() or (1, 1)
        several = f"torchrun --nnodes {hosts} --nproc-per-node {devices} --no-python " if devices * hosts > 1 else ""
        return several + " ".join([plain, *told])

    def _fitting(self) -> Precision:
        cuda = self.accelerator in ("gpu", "cuda", "auto") and torch.cuda.is_available()
        return "bf16-mixed" if cuda and torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"


PLAIN = Hardware()


def _halves() -> bool:
    """Whether the processor's library has cells in bfloat16; without the library torch's own are used."""
    return not torch.backends.mkldnn.enabled or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _started() -> tuple[int, int] | None:
    """How many processes torchrun started on this host, and on how many hosts; None: it started none."""
    if not TorchElasticEnvironment.detect():
        return None
    local = int(os.environ["LOCAL_WORLD_SIZE"])
    return local, int(os.environ["WORLD_SIZE"]) // local


def is_first() -> bool:
    """Whether this is the first of all processes: the one that writes and speaks."""
    return bool(rank_zero_only.rank == 0)  # type: ignore[attr-defined]  # Lightning puts it there
