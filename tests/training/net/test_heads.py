from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn import functional

from training.data.dataset import Scaling
from training.net.heads import Band, Classes, Head, Labels, Values

SCALING = Scaling(np.array([50.0, 10.0]), np.array([20.0, 3.0]))
HEADS: dict[str, tuple[Callable[[], Head], list[float]]] = {
    "values": (lambda: Values(4, SCALING), [45.0, 12.0]),
    "band": (lambda: Band(4, SCALING, (0.1, 0.5, 0.9)), [45.0, 12.0]),
    "classes": (lambda: Classes(4, np.ones(3)), [2.0]),
    "labels": (lambda: Labels(4, np.array([0.5, 0.1])), [1.0, 0.0]),
}


def hidden() -> torch.Tensor:
    return torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))


def answers(values: list[float]) -> torch.Tensor:
    return torch.tensor(values).expand(2, 5, -1).clone()


@pytest.mark.parametrize("name", HEADS)
def test_an_answer_that_does_not_count_moves_neither_loss_nor_gradient(name: str) -> None:
    make, truth = HEADS[name]
    head, partly = make(), answers(truth)
    partly[0, 2:] = np.nan
    head.loss(hidden(), partly).backward()
    gradient = head.linear.weight.grad
    assert gradient is not None
    assert gradient.isfinite().all()
    counted = torch.cat([hidden()[0, :2], hidden()[1]])[None]
    torch.testing.assert_close(
        head.loss(hidden(), partly), head.loss(counted, answers(truth).reshape(1, 10, -1)[:, :7])
    )


@pytest.mark.parametrize("name", HEADS)
def test_nothing_that_counts_is_a_loss_of_nothing(name: str) -> None:
    make, truth = HEADS[name]
    assert make().loss(hidden(), answers(truth) * np.nan).item() == 0


def test_values_are_judged_in_units_of_their_deviation() -> None:
    head = Values(4, SCALING)
    error = (head(hidden()) - answers([45.0, 12.0])) / torch.tensor([20.0, 3.0])
    torch.testing.assert_close(head.loss(hidden(), answers([45.0, 12.0])), error.square().mean())


def test_while_learning_an_answer_above_the_cap_counts_as_it() -> None:
    capped, free = Values(4, SCALING, cap=11.0), Values(4, SCALING)
    capped.load_state_dict(free.state_dict())
    assert capped.loss(hidden(), answers([45.0, 12.0])) == free.loss(hidden(), answers([11.0, 11.0]))
    assert capped.loss(hidden(), answers([10.0, 9.0])) == free.loss(hidden(), answers([10.0, 9.0]))


def test_quantiles_never_cross_and_are_judged_by_the_pinball_loss() -> None:
    head = Band(4, SCALING, (0.1, 0.5, 0.9))
    said = head(hidden() * 100).unflatten(-1, (2, 3))
    assert (said.diff(dim=-1) >= 0).all()
    truth = answers([45.0, 12.0])
    error = (truth[..., None] - head(hidden()).unflatten(-1, (2, 3))) / torch.tensor([20.0, 3.0])[:, None]
    level = torch.tensor([0.1, 0.5, 0.9])
    torch.testing.assert_close(head.loss(hidden(), truth), torch.maximum(level * error, (level - 1) * error).mean())


def test_probabilities_are_ready_to_use_and_their_loss_is_in_nats() -> None:
    classes, labels = Classes(4, np.ones(3)), Labels(4, np.array([0.5, 0.1]))
    torch.testing.assert_close(classes(hidden()).sum(-1), torch.ones(2, 5))
    torch.testing.assert_close(classes.loss(hidden(), answers([2.0])), -classes(hidden())[..., 2].log().mean())
    truth = answers([1.0, 0.0])
    torch.testing.assert_close(labels.loss(hidden(), truth), functional.binary_cross_entropy(labels(hidden()), truth))


def test_labels_begin_at_what_is_known_of_each() -> None:
    labels = Labels(4, np.array([0.5, 0.001]))
    torch.testing.assert_close(labels(torch.zeros(1, 1, 4))[0, 0], torch.tensor([0.5, 0.001]))


def test_a_target_that_never_varied_is_judged_in_its_own_unit() -> None:
    assert Values(4, Scaling(np.array([5.0]), np.array([0.0]))).std.tolist() == [1.0]


@pytest.mark.parametrize(
    ("loss", "scaled", "expected"),
    [
        ("mse", True, 0.25 + 4),
        ("mae", True, 0.5 + 2),
        ("huber", True, 0.125 + 1.5),
        ("mse", False, 1 + 16),
        ("mae", False, 1 + 4),
    ],
)
def test_the_loss_of_numbers_is_of_the_kind_and_in_the_unit_that_is_asked(
    loss: str, scaled: bool, expected: float
) -> None:
    head = Values(4, Scaling(np.array([0.0]), np.array([2.0])), loss=loss, scaled=scaled)
    with torch.no_grad():
        head.linear.weight.zero_()
        head.linear.bias.zero_()
    answers = torch.tensor([[[1.0], [-4.0], [torch.nan]]])
    assert head.loss(torch.zeros(1, 3, 4), answers).item() == pytest.approx(expected / 2)


def test_a_class_counts_by_its_weight() -> None:
    head = Classes(4, np.array([1.0, 3.0]))
    h, none = torch.randn(1, 2, 4), torch.nan
    first, second, both = (
        head.loss(h, torch.tensor([[[a], [b]]])).item() for a, b in ((0.0, none), (none, 1.0), (0.0, 1.0))
    )
    plain = -head(h)[0, 1].log()[1].item()
    assert second == pytest.approx(3 * plain, rel=1e-5)
    assert both == pytest.approx((first + second) / 2, rel=1e-5)
