"""`python -m tests.chaos`: a campaign of any length."""

import random
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from tests.chaos.campaign import Campaign, Plan


def main(
    kills: Annotated[int, typer.Option(help="How often the server ends.")] = 20,
    seed: Annotated[int | None, typer.Option(help="[default: a random one]")] = None,
    *,
    longest: Annotated[float, typer.Option(help="Seconds that a server lives at most, once it is ready.")] = 1.0,
    streams: Annotated[int, typer.Option(help="Sessions of a client.")] = 64,
    store: Annotated[
        str,
        typer.Option(help="embedded, redis, or cluster: three of Redis. It and its owners are stopped and killed too."),
    ] = "embedded",
    workers: Annotated[int, typer.Option(help="That share the store; they are stopped and killed too.")] = 1,
    replicas: Annotated[int, typer.Option(help="Services over one Redis, which are stopped and killed in turn.")] = 1,
    pause: Annotated[float, typer.Option(help="Seconds that a process stands still at most.")] = 2.0,
    write: Annotated[
        str, typer.Option(help="When steps are written by the embedded store: before, sync or behind.")
    ] = "before",
) -> None:
    """Kill and restart a server under load, and compare every answer with an undisturbed run."""
    if replicas > 1 and store == "embedded":
        raise typer.BadParameter("several services need --store redis or cluster")
    seed = random.randrange(2**16) if seed is None else seed
    print(f"seed {seed}", flush=True)
    settings: dict[str, object] = {"store_sync": 1} if write == "sync" else {}
    behind = 100 if write == "behind" else 0
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        campaign = Campaign(
            Plan(
                *(seed, kills),
                longest=longest,
                streams=streams,
                store=store,
                pause=pause,
                behind=behind,
                workers=workers,
                replicas=replicas,
                settings=settings,
            ),
            Path(folder),
        )
        figures = campaign.run()
    if figures.harms:
        print(", ".join(f"{count} × {kind}" for kind, count in sorted(figures.harms.items())))
    slowest = max(campaign.recoveries, default=0.0)
    print(
        f"{kills} ends in {time.perf_counter() - begin:.0f} s, {figures.steps} answered steps,"
        f" {figures.unnamed} more that named none,"
        f" {figures.resumed} sessions resumed, {figures.replayed} frames replayed, {figures.resent} sent again;"
        f" 0 lost, doubled, torn or leaked; ready again after {slowest:.1f} s at most"
    )


if __name__ == "__main__":
    typer.run(main)
