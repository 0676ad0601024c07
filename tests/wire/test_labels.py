"""A step by name may hold a category's label; the same at every door that takes steps as text."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from carousel_client import Client, InvalidInput, Preparation
from tests.wire.expect import bits, done, problem
from tests.wire.server import Server
from tests.wire.ws import Socket

Step = dict[str, Any]
Door = Callable[[list[Step]], dict[str, Any]]  # steps → the answer's outputs, or the problem that they lead to

CODED: Step = {
    **{"traffic_volume": 3100, "temp": 289.4, "rain_1h": 0.2, "snow_1h": 0, "clouds_all": 40},
    **{"hour": 14, "weekday": 2, "month": 5, "weather_main": 6},
}
WORDED = {"weather_main": "Rain", **CODED, "weekday": "Wednesday"} | {"weather_main": "Rain"}


@pytest.fixture(params=["predict", "history", "steps", "item", "frame"])
def door(request: pytest.FixtureRequest, http: httpx.Client, stream: Socket, name: str) -> Door:
    """One door, which begins a new session for each call."""
    count = 0

    def session() -> str:
        nonlocal count
        count += 1
        return f"{name}-{count}"

    def post(path: str, body: Any) -> dict[str, Any]:
        return dict(http.post(path, json=body).json())

    def history(steps: list[Step]) -> dict[str, Any]:
        told = post("/v1/models/metro-traffic/sessions", {"id": (id := session()), "history": steps})
        return told if "code" in told else post(f"/v1/sessions/{id}/steps", {"inputs": [CODED]})

    def steps(steps: list[Step]) -> dict[str, Any]:
        post("/v1/models/metro-traffic/sessions", {"id": (id := session())})
        return post(f"/v1/sessions/{id}/steps", {"inputs": steps})

    def item(steps: list[Step]) -> dict[str, Any]:
        told = post(
            "/v1/models/metro-traffic/steps", {"items": [{"session": session(), "inputs": steps}], "open": True}
        )
        return dict(told["items"][0].get("error") or told["items"][0])

    def frame(steps: list[Step]) -> dict[str, Any]:
        channel = stream.open("metro-traffic", session())["channel"]
        told = stream.ask(json.dumps({"id": 2, "channel": channel, "inputs": steps}))
        return dict(told.get("error") or told)

    doors: dict[str, Door] = {
        "predict": lambda steps: post("/v1/models/metro-traffic/predict", {"sequences": [steps]}),
        **{"history": history, "steps": steps, "item": item, "frame": frame},
    }
    return doors[request.param]


def outputs(told: dict[str, Any]) -> bytes:
    assert "outputs" in told, told
    nested = told["outputs"][0] if isinstance(told["outputs"][0], list) else told["outputs"]
    return bits([[*step.values()] for step in nested])


@pytest.mark.parametrize("steps", [1, 3, 2500])  # 2500: parsed by another process
def test_a_label_counts_as_its_code(door: Door, steps: int) -> None:
    other = CODED | {"weather_main": 0}
    mixed = [WORDED, other, CODED] * (steps // 3 + 1)
    coded = [CODED, other, CODED] * (steps // 3 + 1)
    assert outputs(door(mixed[:steps])) == outputs(door(coded[:steps]))


@pytest.mark.parametrize(
    ("wrong", "detail"),
    [
        ({"weather_main": "rian"}, "[1].weather_main: 'rian' is no label of this feature; the nearest are 'Rain'"),
        ({"weather_main": "§"}, "[1].weather_main: '§' is no label of this feature; the nearest are 'Clear', "),
        ({"weather_main": "R" * 10**5}, f"[1].weather_main: {'R' * 50!r} is no label of this feature; "),
        ({"weather_main": ""}, "[1].weather_main: '' is no label of this feature; "),
        ({"weekday": "Mittwoch"}, "[1].weekday: 'Mittwoch' is no label of this feature; "),
        ({"temp": "Rain"}, "[1].temp: not a number"),
        ({"temp": "289.4"}, "[1].temp: not a number"),
        ({"weather_main": True}, "[1].weather_main: not a number"),
        ({"weather_main": ["Rain"]}, "[1].weather_main: not a number"),
    ],
)
def test_an_unknown_label_is_an_invalid_input_that_names_place_and_nearest(
    door: Door, wrong: Step, detail: str
) -> None:
    told = problem(door([WORDED, CODED | wrong, CODED | {"hour": None}]), "invalid_input")
    assert detail in told["detail"]
    assert len(told["detail"]) < 300


def test_a_fault_before_and_behind_labels_is_told_at_its_place(door: Door) -> None:
    assert "[0].temp: not a number" in problem(door([WORDED | {"temp": None}, WORDED]), "invalid_input")["detail"]
    assert "[1].temp: not a number" in problem(door([WORDED, WORDED | {"temp": None}]), "invalid_input")["detail"]
    assert "[1].temp: no finite float32" in problem(door([WORDED, WORDED | {"temp": 1e40}]), "invalid_input")["detail"]
    assert "[0]: unknown feature 'wind'" in problem(door([WORDED | {"wind": "Rain"}]), "invalid_input")["detail"]


def test_a_label_in_a_step_by_order_is_not_a_number(http: httpx.Client) -> None:
    told = http.post("/v1/models/metro-traffic/predict", json={"sequences": [[[*WORDED.values()]]]}).json()
    assert problem(told, "invalid_input")["detail"] == "sequences[0][0][0]: not a number"


def test_a_retry_by_code_is_the_same_call(http: httpx.Client, name: str) -> None:
    done(http.post("/v1/models/metro-traffic/sessions", json={"id": name}), 201)
    first, second = (
        done(http.post(f"/v1/sessions/{name}/steps", json={"inputs": [one], "step": 0})) for one in (WORDED, CODED)
    )
    assert first == second
    assert second["step"] == 1


def test_of_many_sequences_each_may_have_labels(http: httpx.Client) -> None:
    sequences = [
        [WORDED if index % 7 else CODED] for index in range(2000)
    ]  # so many come packed from the other process
    told = done(http.post("/v1/models/metro-traffic/predict", json={"sequences": sequences}))
    assert len({outputs({"outputs": [one]}) for one in told["outputs"]}) == 1
    sequences[1999] = [CODED | {"weather_main": "Regen"}]
    told = http.post("/v1/models/metro-traffic/predict", json={"sequences": sequences}).json()
    assert problem(told, "invalid_input")["detail"].startswith("sequences[1999][0].weather_main: 'Regen' is no label")


def test_the_clients_dicts_may_have_labels(server: Server) -> None:
    with Client(server.url) as client, client.session("metro-traffic") as session, client.stream() as stream:
        step = session.step(WORDED)
        assert client.predict("metro-traffic", [[WORDED, CODED]])[0][0] == step
        with pytest.raises(InvalidInput, match="'Regen' is no label of this feature; the nearest are"):
            session.step(CODED | {"weather_main": "Regen"})
        prepared = Preparation(client.model("metro-traffic")).row(WORDED)
        with stream.open("metro-traffic") as channel:
            assert channel.step(prepared).tolist() == pytest.approx([*step.values()])
