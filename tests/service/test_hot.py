"""Which paths are hot, and what they name."""

import pytest
from starlette.responses import Response

from service.api.edge import Edge
from service.api.hot import Asked, Hot


async def steps(asked: Asked, name: str) -> Response:
    return Response()


async def predict(asked: Asked, name: str) -> Response:
    return Response()


HOT = Hot({"/v1/sessions/{id}/steps": steps, "/v1/models/{model}/predict": predict}, Edge())


@pytest.mark.parametrize("name", ["s", "A-z.0_9:@-", "..", "x" * 128])
def test_a_path_names_a_route_and_what_stands_in_its_braces(name: str) -> None:
    assert HOT.find(f"/v1/sessions/{name}/steps".encode()) == ("/v1/sessions/{id}/steps", steps, name)
    assert HOT.find(f"/v1/models/{name}/predict".encode()) == ("/v1/models/{model}/predict", predict, name)


@pytest.mark.parametrize(
    "path",
    [
        *("", "/", "/v1/sessions/s/predict", "/v1/models/m/steps", "/v1/sessions//steps", "/v1/sessions/s/t/steps"),
        *("/v1/sessions/s/steps/", "/v1/sessions/s/steps?a=b", "/v1/sessions/s?/steps", "/v1/sessions/%41/steps"),
        *("/v1/sessions/s/steps\n", "/v1/sessions/é/steps", "/v1/sessions/a b/steps", "/V1/sessions/s/steps"),
        *("x/v1/sessions/s/steps", "/v1/sessions/s/stepsx", "/v1/sessions/s/stepS", "*"),
    ],
)
def test_any_other_path_is_not_hot(path: str) -> None:
    assert HOT.find(path.encode()) is None
