"""`carousel bench` against a real service."""

from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from service.cli import app
from tests.wire.server import Server

QUICK = ["--seconds", "0.3", "--sessions", "5", "--sockets", "2"]


def counted(server: Server) -> list[float]:
    """Steps run, sessions opened and deleted."""
    totals = (server.metric(f"carousel_sessions_{what}_total") for what in ("opened", "deleted"))
    return [server.metric("carousel_steps_total", model="lstm", version="10"), *totals]


@pytest.mark.parametrize("arrivals", [[], ["--rate", "200"], ["--rate", "200", "--poisson"]])
def test_what_it_counts_is_what_the_service_ran(server: Server, tmp_path: Path, arrivals: list[str]) -> None:
    before = counted(server)
    file = tmp_path / "figures.json"
    options = ["--model", "lstm", "--lengths", "1-40", *QUICK, *arrivals, "--json", str(file)]
    result = CliRunner().invoke(app, ["bench", server.url, *options])
    assert result.exit_code == 0, result.output
    told = orjson.loads(file.read_bytes())["figures"]
    assert told["answers"] > 0
    assert told["refused"] == {}
    steps, opened, deleted = (now - then for now, then in zip(counted(server), before, strict=True))
    assert (told["steps"], 5, 5) == (steps, opened, deleted)
    assert "█" in result.output


def test_it_asks_which_model_where_there_are_several(server: Server) -> None:
    result = CliRunner().invoke(app, ["bench", server.url])
    assert result.exit_code == 2
    assert "--model" in result.output


@pytest.mark.parametrize("url", ["http://me:s3cret@127.0.0.1:9", "me:s3cret@127.0.0.1:9"])
def test_an_address_with_a_password_is_refused_without_showing_it(url: str) -> None:
    result = CliRunner().invoke(app, ["bench", url, "--model", "lstm"])
    assert result.exit_code == 2
    assert "not sent" in result.output
    assert "s3cret" not in result.output


def test_an_address_without_http_is_told_with_it() -> None:
    result = CliRunner().invoke(app, ["bench", "127.0.0.1:8000", "--model", "lstm"])
    assert result.exit_code == 2
    assert "write http://127.0.0.1:8000" in result.output


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--lengths", "5-2"], "5-2"),
        (["--lengths", "0"], "0"),
        (["--poisson"], "--rate"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(server: Server, options: list[str], says: str) -> None:
    result = CliRunner().invoke(app, ["bench", server.url, "--model", "lstm", *options])
    assert result.exit_code == 2
    assert says in result.output


def test_what_the_service_refuses_is_said_in_one_line(server: Server) -> None:
    result = CliRunner().invoke(app, ["bench", server.url, "--model", "bidirectional", *QUICK])
    assert result.exit_code == 1
    assert "not_streamable" in result.output
