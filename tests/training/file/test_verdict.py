import re

import pytest

from training.file.verdict import Verdict
from training.recipe.task import Classification, Regression
from training.tasks import Figures

OUTPUTS = [{"name": "y", "unit": "kW"}]
REGRESSION = Regression(kind="regression", targets=("y",))


def scores(own: float, persistence: float, figure: str = "mse_z") -> dict[str, Figures]:
    return {"test": {figure: own}, "state_dropped": {figure: 0.0}, "persistence": {figure: persistence}}


@pytest.mark.parametrize(
    ("validation", "test", "better", "words"),
    [
        (
            (0.1, 0.2),
            (0.3, 0.4),
            True,
            "Better than the best baseline, persistence .*: MSE, z-scored 0.1 against 0.2 on the",
        ),
        (
            (0.2, 0.1),
            (0.4, 0.3),
            False,
            "Do not serve this: it is not better than .* 0.4 against 0.3 on the test part. Try r",
        ),
        ((0.1, 0.2), (0.4, 0.3), False, "Do not serve this: it is better than .*, on the validation part only: MSE"),
        ((0.2, 0.2), (0.1, 0.3), False, "Do not serve this: it is better than .*, on the test part only: MSE"),
        ((float("nan"), 0.2), (0.1, 0.3), None, "Not judged"),
        ((0.2, float("nan")), (0.1, 0.3), None, "Not judged"),
    ],
)
def test_the_validation_part_comes_first_and_both_parts_must_be_won(
    validation: tuple[float, float], test: tuple[float, float], better: bool | None, words: str
) -> None:
    found = Verdict.of(REGRESSION, {"validation": scores(*validation), "test": scores(*test)}, OUTPUTS)
    assert found.better is better
    assert re.match(words, found.sentence), found.sentence


def test_a_task_is_judged_by_its_own_measure() -> None:
    mae = REGRESSION.model_copy(update={"loss": "mae"})
    found = Verdict.of(mae, {"validation": scores(1, 2, "mae"), "test": scores(1, 2, "mae")}, OUTPUTS)
    assert found.figure == "mae"
    assert "MAE, kW 1 against 2 on the validation part" in found.sentence
    weighted = Classification(kind="classification", target="y", weights="balanced")
    found = Verdict.of(weighted, {"validation": scores(0.8, 0.4, "f1"), "test": scores(0.8, 0.4, "f1")}, OUTPUTS)
    assert found.better is True  # a higher F1 is better


def test_outputs_without_a_common_unit_are_judged_by_the_mean_of_their_own() -> None:
    own = {"test": {"a_mse_z": 0.1, "b_mse_z": 0.5}, "persistence": {"a_mse_z": 0.3, "b_mse_z": 0.4}}
    assert "0.3 against 0.35" in Verdict.of(REGRESSION, {"validation": own, "test": own}, OUTPUTS).sentence
