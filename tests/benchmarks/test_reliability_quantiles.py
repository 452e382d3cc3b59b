"""Quantiles of accuracy against chips whose law is known."""

import numpy as np
import pytest

from benchmarks.reliability_quantiles import compared, summary
from reliability.accuracy.propagation import pair_draws, propagate
from reliability.accuracy.surface import AccuracySurface
from reliability.plans.seen_rates import SeenRates
from tests.reliability.made_up import flat_in_tilt

RATES = np.log([1e-3, 1e-2, 1e-1])


@pytest.fixture(scope="module")
def surface() -> AccuracySurface:
    draws = 50
    shift = 0.1 * np.random.default_rng(3).standard_normal((draws, 1))
    share = np.log([0.003, 0.03, 0.3])[None] + shift
    flat = np.zeros((draws, 3))
    return flat_in_tilt(
        RATES,
        {"lost": share, "gained": share - 1},
        {"lost": flat + 0.7, "gained": flat},
        images=1000,
        correct=950,
    )


def of_chips(surface: AccuracySurface, seen: SeenRates, chips: int) -> np.ndarray:
    rng = np.random.default_rng(9)
    pairing = pair_draws(len(seen.ln_ber), surface.draws, draws=chips, rng=rng)
    return np.asarray(propagate(surface, seen, pairing).loss[:, 0])


def test_chips_of_the_law_itself_agree_and_those_of_another_rate_do_not(
    surface: AccuracySurface,
) -> None:
    ln_ber = np.random.default_rng(1).normal(np.log(1e-2), 0.3, (400, 1))
    seen = SeenRates.equal(ln_ber)
    rows = compared(surface, seen, of_chips(surface, seen, 300), seed=1)
    assert [row["quantile_of_accuracy"] for row in rows] == [0.05, 0.5, 0.95]
    assert rows[0]["promised"] < rows[1]["promised"] < rows[2]["promised"]
    found = summary(rows)
    # z = 4 for three quantiles
    assert (found["quantiles"], found["agree"]) == (3, 3)
    other = compared(surface, seen, of_chips(surface, SeenRates.equal(ln_ber + 0.7), 300), seed=1)
    # control that must fail: twice the rate loses twice as many images
    assert not any(row["agrees"] for row in other[:2])
    assert all(row["z"] < 0 and row["difference_points"] < 0 for row in other[:2])
