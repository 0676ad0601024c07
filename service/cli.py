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
) -> None:
    """Serve the models of a folder. Every setting is also a CAROUSEL_* variable (docs/operations.md)."""
    from service.server import serve as run
    from service.settings import load

    given = {"host": host, "port": port, "models": models}
    try:
        settings = load(**{name: value for name, value in given.items() if value is not None})
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    run(settings)


@app.command()
def openapi() -> None:
    """Print the OpenAPI document of the service."""
    import orjson

    from service.main import Carousel
    from service.settings import Settings

    document = Carousel(Settings()).app.openapi()
    typer.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
