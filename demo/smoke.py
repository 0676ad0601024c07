"""A running service checked from outside, through the client: `python -m demo.smoke URL`. Knows no model by name."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carousel_client import CarouselError, Client, InvalidInput, ModelDescription, Session, SessionNotFound

STEPS = 50


class CheckFailed(Exception):
    """The service did not do what WIRE says."""


def expect(condition: bool, otherwise: str) -> None:
    """Raise CheckFailed unless `condition` holds."""
    if not condition:
        raise CheckFailed(otherwise)


class Equality:
    """Bit for bit, or within the tolerance that the model states for itself."""

    def __init__(self, model: ModelDescription) -> None:
        self.tolerance = 0.0 if model["bit_equal"] else model.get("tolerance", 0.0)
        self.words = f"within {self.tolerance:g}" if self.tolerance else "bit for bit"

    def expect(self, got: NDArray[Any], wanted: NDArray[Any], what: str) -> None:
        """Raise CheckFailed unless both arrays are the same."""
        expect(got.shape == wanted.shape, f"{what}: shape {got.shape}, not {wanted.shape}")
        off = float(np.max(np.abs(got - wanted)))
        expect(off <= self.tolerance, f"{what}: off by {off:g}, wanted equal {self.words}")


def checks(client: Client) -> Iterator[str]:
    """Run every check in turn; yields a line for each that passed. Raises CheckFailed, CarouselError."""
    expect(client.ready(), "no service answers there, or GET /health/ready is not 200")
    yield "ready"
    model = streamable(client)
    name, F = model["name"], len(model["features"])
    yield f"describes {name}/{model['version']}: {F} features, {len(model['outputs'])} outputs"
    inputs = np.random.default_rng(0).integers(0, 4, (STEPS, F)).astype(np.float32)  # [time, feature]
    (whole,) = client.predict(name, [inputs])
    with client.session(name) as session:
        yield from session_checks(client, session, inputs, whole, Equality(model))
        try:
            session.step(np.zeros(F))
        except SessionNotFound:
            yield "delete: the session is gone"
        else:
            raise CheckFailed("a deleted session still answers")


def streamable(client: Client) -> ModelDescription:
    """The first model that can be streamed."""
    served = [model["name"] for model in client.models() if model["default_version"] is not None]
    for name in served:
        if (model := client.model(name))["streamable"]:
            return model
    raise CheckFailed(f"no streamable model among {served}")


def session_checks(
    client: Client, session: Session, inputs: NDArray[Any], whole: NDArray[Any], equality: Equality
) -> Iterator[str]:
    """Walk a session through `inputs` [time, feature], whose outputs are to be `whole` [time, output]; delete it."""
    half, last = STEPS // 2, STEPS - 1
    for t in range(half):
        equality.expect(session.step(inputs[t]), whole[t], f"step {t}")
    with session.fork() as fork, client.restore(f"{session.id}-copy", session.state()) as copy:
        equality.expect(session.step(inputs[half:last]), whole[half:last], "many steps in one call")
        replay_last_step(client, session, inputs[half:last], whole[half:last], equality)
        equality.expect(session.step(inputs[last]), whole[last], "the step after a retry")
        yield f"predict of {STEPS} steps = stepping through a session, {equality.words}"
        yield "a retry of the last call is answered the same and moves nothing"
        for branch, what in ((fork, "fork"), (copy, "state export and import")):
            equality.expect(branch.step(inputs[half:]), whole[half:], what)
            yield f"{what}: the copy goes on from step {half}"
        copy.delete()
    try:
        session.step(np.zeros((1, inputs.shape[1] + 1)))
    except InvalidInput as refused:
        session.resume()
        expect(session.next_step == STEPS, f"a refused call moved the session to step {session.next_step}")
        yield f"a wrong shape is refused: {refused.detail}"
    else:
        raise CheckFailed("a step with one feature too many was accepted")
    session.delete()


def replay_last_step(
    client: Client, session: Session, inputs: NDArray[Any], outputs: NDArray[Any], equality: Equality
) -> None:
    """Send the session's last call once more, under the number that it had."""
    expect(session.next_step == STEPS - 1, f"the session is at step {session.next_step}, not {STEPS - 1}")
    (again,) = client.steps(session.model, [(session.id, inputs, STEPS // 2)], version=session.version)
    if again.outputs is None:
        raise CheckFailed(f"a retry of the last call was refused: {again.error}")
    equality.expect(again.outputs, outputs, "the retry of the last call")
    session.resume()
    expect(session.next_step == STEPS - 1, f"a retry moved the session to step {session.next_step}")


def main() -> None:
    """Print a line for every check; exit with 1 at the first that fails."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m demo.smoke URL")
    url = sys.argv[1]
    print(f"smoke: {url}")
    try:
        with Client(url) as client:
            for passed in checks(client):
                print(f"  ok  {passed}", flush=True)
    except (CheckFailed, CarouselError) as failure:
        sys.exit(f"  FAILED  {failure}")
    print("smoke: all well")


if __name__ == "__main__":
    main()
