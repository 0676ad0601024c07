"""What every row needs: models, the generator, references, a folder for logs, how long and how often to measure."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from bench import models, servers
from bench.check import Reference, check
from bench.generator import Generator, Load, NotRunError, Tally
from bench.servers import Server

_CHECKED = 0.01  # of the steps that a run was answered


@dataclass
class Workshop:
    """Handed from row to row; `say` tells what is going on."""

    folder: Path
    seconds: float
    repeats: int
    long: bool
    say: Callable[[str], None]
    beside: Path | None = None  # another `carousel`, to be measured beside this one
    _references: dict[str, Reference] = field(default_factory=dict)

    @cached_property
    def generator(self) -> Generator:
        """Compiled once. Raises NotRunError without a compiler."""
        return Generator(self.folder)

    def models(self, name: str) -> Path:
        """A folder of models in which only this one is."""
        folder = self.folder / f"models-{name}"
        if not folder.exists():
            models.write(folder, name)
        return folder

    def file(self, name: str) -> Path:
        """The file of a model."""
        return self.models(name) / name / "1/model.onnx"

    def reference(self, name: str) -> Reference:
        """Lone runs of a model."""
        return self._references.setdefault(name, Reference(self.file(name)))

    def log(self, who: str) -> Path:
        """Where a server writes its log."""
        return self.folder / f"{who}.log"

    def carousel(self, model: str, **settings: object) -> AbstractContextManager[Server]:
        """The service, with one model."""
        return servers.carousel(self.models(model), self.log("carousel"), **settings)

    def checked(
        self, load: Load, model: str, server: Server, *, seconds: float | None = None, lead: float | None = None
    ) -> Tally:
        """Run a load for `seconds` after a `lead`, and compare at least 1 % of its answers with lone runs."""
        load = load if lead is None else replace(load, warm=lead)
        samples = self.folder / "samples"
        samples.unlink(missing_ok=True)
        tally = self.generator.run(load, model, server.port, seconds or self.seconds, samples=samples)
        self.verify(samples, load, model, tally)
        return tally

    def verify(self, samples: Path, load: Load, model: str, tally: Tally) -> None:
        """Compare what a run kept. Raises WrongAnswerError, or NotRunError if it kept too little."""
        compared = check(samples, load, self.reference(model))
        if compared < _CHECKED * tally.all_steps:
            raise NotRunError(f"only {compared} of {tally.all_steps} steps were kept to be checked")
