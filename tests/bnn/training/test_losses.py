import numpy as np
import pytest
import torch

from bnn.training.losses import training_loss

SCORES = np.array([[2.0, -1.0, 0.5], [0.0, 3.0, -2.0]])
TARGETS = np.array([0, 2])


def loss(name: str, margin: float) -> float:
    found = training_loss(
        torch.from_numpy(SCORES), torch.from_numpy(TARGETS), loss=name, margin=margin
    )
    return float(found)


@pytest.mark.parametrize("margin", [0.0, 1.5])
def test_cross_entropy_lowers_the_right_score(margin: float) -> None:
    scores = SCORES.copy()
    scores[[0, 1], TARGETS] -= margin
    each = np.log(np.exp(scores).sum(axis=1)) - scores[[0, 1], TARGETS]
    assert loss("cross-entropy", margin) == pytest.approx(each.mean(), rel=1e-12)


def test_squared_hinge_asks_for_a_margin_on_both_sides() -> None:
    # by hand, margin 1: the right scores 2 and -2 miss by 0 and 3, the wrong ones -1, 0.5, 0 and 3
    # by 0, 1.5, 1 and 4
    assert loss("squared hinge", 1.0) == pytest.approx((9 + 2.25 + 1 + 16) / 6, rel=1e-12)
