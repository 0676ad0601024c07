"""What a number, a step and a sequence are; the same at every door that takes one."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.wire.expect import problem
from tests.wire.ws import Socket

Door = Callable[[str], dict[str, Any]]  # the JSON text of an S → the problem it leads to

BAD = {
    "too few features": ("[[1,2,3],[1,2]]", "[1]: 2 features, the model has 3"),
    "too many features": ("[[1,2,3,4]]", "[0]: 4 features, the model has 3"),
    "no step": ("[]", ": empty"),
    "an empty step": ("[[]]", "[0]: 0 features, the model has 3"),
    "true": ("[[1,true,3]]", "[0][1]"),
    "a string": ('[[1,2,"3"]]', "[0][2]"),
    "null": ("[[1,2,3],[null,2,3]]", "[1][0]"),
    "a nested list": ("[[1,2,[3]]]", "[0][2]"),
    "an object for a number": ("[[1,2,{}]]", "[0][2]"),
    "1e400": ("[[1,2,1e400]]", "[0][2]"),
    "over float32": ("[[1,2,3.5e38]]", "[0][2]"),
    "minus over float32": ("[[-3.5e38,2,3]]", "[0][0]"),
    "an integer over float32": (f"[[1,2,{10**40}]]", "[0][2]"),
    "an integer over float64": (f"[[1,2,{10**400}]]", "[0][2]"),
    "an integer of 5 000 digits": (f"[[1,2,{'9' * 5000}]]", "[0][2]"),
    "not a list": ("3", ""),
    "null for all": ("null", ""),
    "an object for all": ("{}", ""),
    "a number for a step": ("[1]", "[0]"),
    "lists, then an object": ('[[1,2,3],{"x0":1,"x1":2,"x2":3}]', "[1]"),
    "objects, then a list": ('[{"x0":1,"x1":2,"x2":3},[1,2,3]]', "[1]"),
    "a missing name": ('[{"x0":1,"x1":2}]', "[0]"),
    "an unknown name": ('[{"x0":1,"x1":2,"x2":3,"x3":4}]', "[0]"),
    "a wrong name": ('[{"x0":1,"x1":2,"X2":3}]', "[0]"),
    "a named string": ('[{"x0":1,"x1":2,"x2":"3"}]', "[0].x2"),
    "a named 1e400": ('[{"x0":1,"x1":2,"x2":1e400}]', "[0].x2"),
}


@pytest.fixture(params=["predict", "history", "steps", "item", "frame"])
def door(request: pytest.FixtureRequest, http: httpx.Client, stream: Socket, name: str) -> Door:
    if request.param not in ("predict", "history"):
        http.post("/v1/models/lstm/sessions", json={"id": name})

    def post(path: str, text: str) -> dict[str, Any]:
        told: dict[str, Any] = http.post(path, content=text).json()
        return told

    def frame(text: str) -> dict[str, Any]:
        channel = stream.open("lstm", name)["channel"]
        error: dict[str, Any] = stream.ask(f'{{"id":2,"channel":{channel},"inputs":{text}}}')["error"]
        return error

    def item(text: str) -> dict[str, Any]:
        told = post("/v1/models/lstm/steps", f'{{"items":[{{"session":"{name}","inputs":{text}}}]}}')
        error: dict[str, Any] = told["items"][0]["error"]
        return error

    doors: dict[str, Door] = {
        "predict": lambda text: post("/v1/models/lstm/predict", f'{{"sequences":[{text}]}}'),
        "history": lambda text: post("/v1/models/lstm/sessions", f'{{"id":"{name}","history":{text}}}'),
        "steps": lambda text: post(f"/v1/sessions/{name}/steps", f'{{"inputs":{text}}}'),
        "item": item,
        "frame": frame,
    }
    return doors[request.param]


@pytest.mark.parametrize("what", BAD)
def test_what_is_no_sequence_is_an_invalid_input_whose_place_is_named(
    door: Door, what: str, http: httpx.Client, name: str
) -> None:
    text, place = BAD[what]
    told = problem(door(text), "invalid_input")
    assert place in told["detail"]
    session = http.get(f"/v1/sessions/{name}")
    assert session.status_code == 404 or session.json()["step"] == 0


@pytest.mark.parametrize("text", ["[[1,2,NaN]]", "[[1,2,Infinity]]", "[[1,2,-Infinity]]", "[[1,2,01]]", "[[1,2,0x1]]"])
@pytest.mark.parametrize("beside", ["", ",1e400"])
def test_what_is_no_json_is_an_invalid_request(http: httpx.Client, text: str, beside: str) -> None:
    body = f'{{"sequences":[{text}{beside}]}}'
    problem(http.post("/v1/models/lstm/predict", content=body).json(), "invalid_request")


@pytest.mark.parametrize("text", ['"\\ud800"', '"\\udc00"', '"\\ud800\\u0041"'])
def test_a_lone_surrogate_is_no_text_wherever_it_stands(http: httpx.Client, stream: Socket, text: str) -> None:
    item = f'{{"items":[{{"inputs":[[1,2,1e400]],"session":{text}}}]}}'
    problem(http.post("/v1/models/lstm/steps", content=item).json(), "invalid_request")
    told = stream.ask(f'{{"id":1,"x":1e400,"open":{{"model":"lstm","version":{text}}}}}')
    problem(told["error"], "invalid_request")


def test_a_number_is_judged_by_its_nearest_float32(http: httpx.Client) -> None:
    below, half_a_unit_above = ("3.4028235677973363e38", "3.4028235677973366e38")  # the largest float32, or infinity

    def asked(number: str) -> httpx.Response:
        return http.post("/v1/models/feedforward/predict", content=f'{{"sequences":[[[{number},1e-300,0]]]}}')

    assert asked(below).status_code == 200 or asked(below).json()["code"] == "non_finite_output"
    problem(asked(half_a_unit_above).json(), "invalid_input")
