"""Settings: from the environment, overruled, and never silently wrong."""

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from service.settings import load


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without variables of ours."""
    for name in [name for name in os.environ if name.upper().startswith("CAROUSEL_")]:
        monkeypatch.delenv(name)
    return monkeypatch


def test_defaults_listen_on_this_machine_alone() -> None:
    settings = load()
    assert (settings.host, settings.port, settings.models) == ("127.0.0.1", 8000, Path("models"))


def test_the_environment_decides_and_what_is_given_overrules_it(clean: pytest.MonkeyPatch) -> None:
    clean.setenv("CAROUSEL_PORT", "1234")
    clean.setenv("carousel_replay", "7")
    assert (load().port, load().replay) == (1234, 7)
    assert load(port=99).port == 99


def test_a_misspelt_variable_is_refused_by_name(clean: pytest.MonkeyPatch) -> None:
    clean.setenv("CAROUSEL_PROT", "1234")
    with pytest.raises(ValueError, match=r"CAROUSEL_PROT.*CAROUSEL_PORT"):
        load()


def test_the_variable_of_trainings_data_is_none_of_ours(clean: pytest.MonkeyPatch) -> None:
    clean.setenv("CAROUSEL_DATA", "/data")
    load()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("port", value) for value in (-1, 65536, "http")),
        *((name, 0) for name in ("replay", "max_sessions", "max_queue_rows", "max_body_bytes", "drain_seconds")),
        *((name, value) for name in ("default_ttl_seconds", "max_ttl_seconds") for value in (0, "inf", "nan", 1e12)),
        *((f"{name}_seconds", "inf") for name in ("lame_duck", "drain", "watch", "head")),
        ("log_level", "loud"),
        ("replay", 257),
        ("grpc_port", 8000),
        ("unknown", 1),
        *((name, "") for name in ("host", "models", "store_path", "provider_options", "providers")),
        ("providers", " , "),
        *(("allowed_hosts", value) for value in ("*", "a b", "http://rnn.example", "rnn.example:80", "a,[::1]")),
        *(("allowed_origins", value) for value in ("*", "board.example", "https://board.example/")),
        *(("allowed_origins", value) for value in ("https://Board.example", "file://", "https://a b")),
    ],
)
def test_a_value_out_of_range_is_refused(name: str, value: object) -> None:
    with pytest.raises(ValidationError):
        load(**{name: value})


@pytest.mark.parametrize("wrong", [{"state_key": "2026:hunter2"}, {"workers": 2}, {"max_ttl_seconds": 1}])
def test_a_refusal_tells_no_secret(wrong: dict[str, object]) -> None:
    secrets = {"state_key": "2026:hunter2-hunter2-hunter2", "store_url": "redis://:hunter2@127.0.0.1/0"}
    with pytest.raises(ValidationError) as refusal:
        load(**(secrets | wrong))
    assert "hunter2" not in str(refusal.value)


def test_hosts_and_origins_are_listed_by_commas() -> None:
    settings = load(
        allowed_hosts="rnn.example, Rnn2", allowed_origins="https://board.example, http://[::1]:80,http://10.0.0.1:3000"
    )
    assert settings.allowed_hosts == ("rnn.example", "Rnn2")
    assert settings.allowed_origins == ("https://board.example", "http://[::1]:80", "http://10.0.0.1:3000")
    assert load(allowed_hosts="", allowed_origins=" ,").allowed_origins == ()


def test_a_default_ttl_over_the_maximum_is_refused() -> None:
    with pytest.raises(ValidationError, match="max_ttl_seconds"):
        load(default_ttl_seconds=100, max_ttl_seconds=99)


@pytest.mark.parametrize("store", ["memory", "redis"])
@pytest.mark.parametrize("told", [{"store_write": "behind"}, {"store_sync": True}])
def test_a_promise_that_the_store_does_not_give_is_refused(store: str, told: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="is for the embedded store"):
        load(store=store, **told)
    load(store="embedded", **told)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        load().port = 1  # type: ignore[misc]
