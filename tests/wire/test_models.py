"""`GET /v1/models`, `GET /v1/models/{model}`, and which version is meant."""

from typing import Any

import httpx
import pytest

from tests.wire.conftest import METADATA
from tests.wire.expect import done, refused


def listed(http: httpx.Client, name: str) -> dict[str, Any]:
    (one,) = [model for model in done(http.get("/v1/models"))["models"] if model["name"] == name]
    return dict(one)


def test_the_list_tells_each_version_its_state_and_why_one_is_unavailable(http: httpx.Client) -> None:
    versions = {one["version"]: one for one in listed(http, "lstm")["versions"]}
    assert list(versions) == ["1", "2", "10", "11"]
    assert versions["1"] == {"version": "1", "state": "ready"}
    assert versions["11"]["state"] == "unavailable"
    assert versions["11"]["reason"]


def test_the_default_version_is_the_greatest_ready_one_by_number(http: httpx.Client) -> None:
    assert listed(http, "lstm")["default_version"] == "10"
    assert done(http.get("/v1/models/lstm"))["version"] == "10"


def test_a_description_shows_what_the_file_says_of_itself(http: httpx.Client) -> None:
    assert done(http.get("/v1/models/named")) == METADATA | {
        "name": "named",
        "version": "1",
        "state_bytes": 64,
        "streamable": True,
        "bit_equal": True,
        "provider": "cpu",
    }


def test_a_file_without_metadata_has_no_cell_no_metrics_and_numbered_columns(http: httpx.Client) -> None:
    told = done(http.get("/v1/models/gru"))
    assert told["cell"] is None
    assert told["metrics"] == {}
    assert told["features"] == [{"name": "x0"}, {"name": "x1"}, {"name": "x2"}]
    assert told["outputs"] == [{"name": "y0"}]
    assert "memory_horizon" not in told


def test_a_tolerance_is_told_where_batched_is_not_alone_bit_for_bit(http: httpx.Client) -> None:
    for name in ("lstm", "gru", "rnn", "feedforward", "log"):
        told = done(http.get(f"/v1/models/{name}"))
        assert ("tolerance" in told) is not told["bit_equal"]


def test_feedforward_is_streamable_with_no_state_and_bidirectional_is_not_streamable(http: httpx.Client) -> None:
    forward, both = (done(http.get(f"/v1/models/{name}")) for name in ("feedforward", "bidirectional"))
    assert (forward["streamable"], forward["state_bytes"]) == (True, 0)
    assert both["streamable"] is False


@pytest.mark.parametrize(
    ("verb", "path", "body"),
    [
        ("GET", "", None),
        ("POST", "/predict", {"sequences": [[[1, 2, 3]]]}),
        ("POST", "/sessions", {}),
        ("POST", "/steps", {"items": [{"session": "s", "inputs": [[1, 2, 3]]}], "open": True}),
    ],
)
class TestEveryModelCall:
    def test_names_the_version_it_means(self, http: httpx.Client, verb: str, path: str, body: Any, name: str) -> None:
        answers = []
        for version in ("1", "2"):
            body = body and (
                body | {"items": [{"session": name + version, "inputs": [[1, 2, 3]]}]} if "items" in body else body
            )
            answer = http.request(verb, f"/v1/models/lstm{path}?version={version}", json=body)
            assert answer.status_code in (200, 201)
            told = answer.json()
            if "items" in told:
                told = http.get(f"/v1/sessions/{name}{version}").json()
            answers.append(told["version"])
        assert answers == ["1", "2"]

    def test_knows_no_unknown_model(self, http: httpx.Client, verb: str, path: str, body: Any) -> None:
        refused(http.request(verb, f"/v1/models/none{path}", json=body), "model_not_found")

    @pytest.mark.parametrize("version", ["3", "01", "latest", ""])
    def test_knows_no_unknown_version(self, http: httpx.Client, verb: str, path: str, body: Any, version: str) -> None:
        refused(http.request(verb, f"/v1/models/lstm{path}?version={version}", json=body), "version_not_found")

    def test_tells_why_a_version_is_unavailable(self, http: httpx.Client, verb: str, path: str, body: Any) -> None:
        told = refused(http.request(verb, f"/v1/models/lstm{path}?version=11", json=body), "version_not_found")
        reason = next(one["reason"] for one in listed(http, "lstm")["versions"] if one["version"] == "11")
        assert reason in told["detail"]

    def test_looks_at_the_model_before_the_inputs(self, http: httpx.Client, verb: str, path: str, body: Any) -> None:
        worse = {"predict": {"sequences": []}, "sessions": {"history": "x"}, "steps": {"items": []}}
        body = worse.get(path.strip("/"))
        refused(http.request(verb, f"/v1/models/none{path}", json=body), "model_not_found")


def test_a_model_tells_how_a_caller_makes_its_values(http: httpx.Client) -> None:
    features = {one["name"]: one for one in done(http.get("/v1/models/metro-traffic"))["features"]}
    assert features["temp"]["missing"] == {"rule": "hold"}
    assert features["hour"]["calendar"] == "hour"
    assert features["weather_main"]["labels"][:2] == ["Clear", "Clouds"]
