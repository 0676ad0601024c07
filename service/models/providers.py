"""Execution providers of ONNX Runtime: which are asked for, by which options. Pure: names, not the runtime."""

from __future__ import annotations

import logging
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

_log = logging.getLogger("carousel.providers")


class Provider(NamedTuple):
    """One of them, by the name that ONNX Runtime has for it."""

    name: str
    options: dict[str, str]

    @property
    def short(self) -> str:
        """The name that operators write: `cuda`, `openvino`, `cpu`."""
        return self.name.removesuffix("ExecutionProvider").lower()


CPU = (Provider("CPUExecutionProvider", {}),)
THREADS = "threads"  # the option of the CPU's: of a run; without it there is one


def on_cpu(threads: int) -> tuple[Provider, ...]:
    """The CPU's provider, with so many threads for a run."""
    return (CPU[0]._replace(options={THREADS: str(threads)}),)


class Threads(NamedTuple):
    """How many threads a run may take; `asked`: of any model that keeps its bits, else of one whose runs are long."""

    most: int
    asked: bool


ONE_THREAD = Threads(1, asked=True)


Options = Mapping[str, Mapping[str, str]]  # by the short name of the provider


def providers_of(
    asked: Sequence[str], available: Sequence[str], options: Options | None = None
) -> tuple[Provider, ...]:
    """The providers that are asked for by short names and are there, in order.

    Raises:
        ValueError: one is not there, and `cpu` does not follow it.

    """
    there = [Provider(name, {}) for name in available]
    by_short = {one.short: Provider(one.name, dict((options or {}).get(one.short, {}))) for one in there}
    found = []
    for place, short in enumerate(asked):
        if short in by_short:
            found.append(by_short[short])
        elif "cpu" in asked[place + 1 :]:
            _log.warning("provider %s is not there: the next one is taken", short)
        else:
            raise ValueError(
                f"providers: {short} is not there; this ONNX Runtime has {', '.join(by_short)}."
                " Install its build for it, or let cpu follow"
            )
    return tuple(found)


def read_options(path: Path | None, known: Sequence[str]) -> Options:
    """Read a TOML file with a table for each provider that needs options; `known` are those of all builds.

    Raises:
        ValueError: it cannot be read, or there is no such provider.

    """
    if path is None:
        return {}
    try:
        told: Mapping[str, Any] = tomllib.loads(path.read_text())
        options = {
            short: {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in one.items()}
            for short, one in told.items()
        }
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(f"provider options {path}: {error}") from error
    if unknown := options.keys() - {Provider(name, {}).short for name in known}:
        raise ValueError(f"provider options {path}: no ONNX Runtime has {', '.join(sorted(unknown))}")
    return options
