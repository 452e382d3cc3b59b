"""Shares of variance against closed forms."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from reliability.uncertainty.source_shares import Labels, SourceShares, shares_of_answers

RNG = np.random.default_rng(1)
X, Y, Z = (RNG.standard_normal(5000) for _ in range(3))
SIZES = {"x": 5000, "y": 5000, "z": 5000}


def source_shares(answer: Any, sizes: Mapping[str, int], **how: Any) -> SourceShares:
    return shares_of_answers(lambda rows: {"": answer(rows)}, sizes, **how)[""]


def test_sources_that_add_have_the_shares_of_their_variances() -> None:
    found = source_shares(
        lambda i: 1.0 + 2.0 * X[i["x"]] + Y[i["y"]],
        SIZES,
        draws=20_000,
        rng=np.random.default_rng(2),
    )
    variances = {"x": 4 * X.var(), "y": Y.var(), "z": 0.0}
    total = sum(variances.values())
    for name, variance in variances.items():
        # Estimates below zero are set to zero: at most half of the error is cut off.
        assert found.share[name] == pytest.approx(
            variance / total, abs=4 * found.standard_error[name] + 1e-3
        )
    assert sum(found.share.values()) == pytest.approx(1)


def test_a_product_is_all_interaction() -> None:
    found = source_shares(
        lambda i: X[i["x"]] * Y[i["y"]], SIZES, draws=20_000, rng=np.random.default_rng(3)
    )
    assert found.share["interaction"] > 1 - 4 * 3 / np.sqrt(20_000)


def test_standard_errors_are_those_of_repetitions() -> None:
    def answer(i: Mapping[str, np.ndarray]) -> np.ndarray:
        return np.asarray(X[i["x"]] + 0.7 * Y[i["y"]] + 0.5 * Z[i["z"]])

    runs = [
        source_shares(answer, SIZES, draws=500, rng=np.random.default_rng(k)) for k in range(60)
    ]
    seen = np.std([run.share["x"] for run in runs], ddof=1)
    stated = np.mean([run.standard_error["x"] for run in runs])
    # Standard error of a standard deviation from 60 runs: 9 %.
    assert seen == pytest.approx(stated, rel=0.4)


def test_an_answer_that_does_not_vary_has_no_shares() -> None:
    found = source_shares(
        lambda i: np.full(len(i["x"]), 3.0), SIZES, draws=50, rng=np.random.default_rng(4)
    )
    assert all(share == 0 for share in found.share.values())


def test_no_source_is_refused() -> None:
    with pytest.raises(ValueError, match="give at least one"):
        source_shares(lambda i: X, {}, draws=10, rng=np.random.default_rng(5))


def test_a_source_without_influence_has_no_share_at_all() -> None:
    found = source_shares(lambda i: X[i["x"]], SIZES, draws=300, rng=np.random.default_rng(6))
    assert found.share == {"x": 1.0, "y": 0.0, "z": 0.0, "interaction": 0.0}
    assert set(found.standard_error.values()) == {0.0}


def test_products_have_the_shares_of_their_closed_form() -> None:
    """(2 + x)(1 + y): main effects 1 and 4 times their variances, the product of both together."""
    found = source_shares(
        lambda i: (2.0 + X[i["x"]]) * (1.0 + 0.5 * Y[i["y"]]),
        SIZES,
        draws=40_000,
        rng=np.random.default_rng(7),
    )
    x, y = X.var(), 0.25 * Y.var()
    parts = {
        "x": x * (1 + 0.5 * Y.mean()) ** 2,
        "y": y * (2 + X.mean()) ** 2,
        "interaction": x * y,
    }
    total = sum(parts.values())
    for name, part in parts.items():
        error = found.standard_error[name]
        assert 0 < error < 0.02
        assert found.share[name] == pytest.approx(part / total, abs=4 * error)


def test_labels_take_the_variance_between_their_means() -> None:
    label = np.arange(5000) % 3
    effect = np.array([-1.0, 0.0, 1.5])[label]
    found = shares_of_answers(
        lambda i: {
            "both": effect[i["x"]] + X[i["x"]] + Y[i["y"]],
            "none": X[i["x"]] + Y[i["y"]],
        },
        {"x": 5000, "y": 5000},
        labels=Labels("family", "x", label),
        draws=20_000,
        rng=np.random.default_rng(8),
    )
    assert list(found["both"].share) == ["family", "x", "y", "interaction"]
    mean = np.array([(effect + X)[label == k].mean() for k in range(3)])
    between = mean.var()
    total = (effect + X).var() + Y.var()
    expected = {"family": between / total, "x": ((effect + X).var() - between) / total}
    for name, share in expected.items():
        error = found["both"].standard_error[name]
        assert found["both"].share[name] == pytest.approx(share, abs=4 * error)
    # Families that do not differ: what their means differ by chance is no share.
    assert found["none"].share["family"] < 4 * found["none"].standard_error["family"] + 2e-3
