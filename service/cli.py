"""`carousel`: the command line of the service."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Serve recurrent networks.")


@app.callback()
def carousel() -> None:
    """Serve recurrent networks."""


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on. [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on. [default: 8000]")] = None,
    models: Annotated[Path | None, typer.Option(help="Folder of NAME/VERSION/model.onnx. [default: models]")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that serve over the port. [default: 1]")] = None,
) -> None:
    """Serve the models of a folder. Every setting is also a CAROUSEL_* variable (docs/operations.md)."""
    from service.settings import load

    given = {"host": host, "port": port, "models": models, "workers": workers}
    try:
        settings = load(**{name: value for name, value in given.items() if value is not None})
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if not settings.models.is_dir():
        raise typer.BadParameter(f"{settings.models} is not a folder", param_hint="--models (CAROUSEL_MODELS)")
    if settings.workers > 1:
        from service.workers.supervisor import serve as serve_by_workers

        serve_by_workers(settings)
    else:
        from service.server import serve as serve_alone

        serve_alone(settings)


@app.command()
def check(path: Annotated[Path, typer.Argument(help="A model file, or a folder of models.", exists=True)]) -> None:
    """Say all about model files without a server: what they are, how they are served, or why not (docs/models.md)."""
    from service.check import check as run

    told, good = run(path)
    typer.echo(told)
    raise typer.Exit(0 if good else 1)


@app.command()
def adapt(
    path: Annotated[Path, typer.Argument(help="A model file.", exists=True, dir_okay=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")],
) -> None:
    """Write a model file anew in the model contract, where that is mechanical (docs/models.md)."""
    from service.adapt import adapt as run
    from service.errors import ModelUnusable

    try:
        typer.echo(run(path, output))
    except ModelUnusable as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from error


@app.command()
def openapi() -> None:
    """Print the OpenAPI document of the service."""
    import orjson

    from service.main import Carousel
    from service.settings import Settings

    document = Carousel(Settings()).app.openapi()
    typer.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))


@app.command()
def bench(
    url: Annotated[str, typer.Argument(help="A running service, as http://HOST:PORT.")],
    *,
    model: Annotated[str | None, typer.Option(help="[default: the only one it has]")] = None,
    sessions: Annotated[int, typer.Option(min=1, help="Live sessions, opened for this and deleted after it.")] = 64,
    sockets: Annotated[int, typer.Option(min=1, help="Sockets that share them.")] = 16,
    lengths: Annotated[str, typer.Option(help="Steps of a call: a number, or LEAST-MOST.")] = "1",
    rate: Annotated[
        float | None, typer.Option(min=0.01, help="Calls/s of all sessions together. [default: closed loop]")
    ] = None,
    poisson: Annotated[bool, typer.Option(help="Calls at random at that rate, not evenly spaced.")] = False,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long.")] = 10.0,
    json: Annotated[Path | None, typer.Option(help="Write the figures to this file too.")] = None,
) -> None:
    """Load a running service, and print throughput and latencies (docs/bench.md)."""
    from loadtest import load
    from loadtest.report import bench as run

    if "@" in url:
        raise typer.BadParameter("the URL has a user and a password, which are not sent: write http://HOST:PORT")
    if not url.startswith(("http://", "https://")):
        raise typer.BadParameter(f"{url}: write http://{url}")
    least, _, most = lengths.partition("-")
    if not (least.isdigit() and (most or least).isdigit() and 1 <= int(least) <= int(most or least)):
        raise typer.BadParameter(f"--lengths {lengths}: neither a number from 1 nor LEAST-MOST")
    if poisson and rate is None:
        raise typer.BadParameter("--poisson needs --rate")
    arrival = load.Arrival.closed if rate is None else load.Arrival.poisson if poisson else load.Arrival.constant
    try:
        names = [model] if model else load.models(url.rstrip("/"))
        if len(names) != 1:
            raise typer.BadParameter(f"--model: one of {', '.join(names)}")
        plan = load.Plan(
            url.rstrip("/"),
            names[0],
            sessions=sessions,
            sockets=sockets,
            lengths=(int(least), int(most or least)),
            arrival=arrival,
            rate=rate or 0,
            seconds=seconds,
        )
        run(plan, json)
    except load.NotServedError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from error
