"""Windows of persistence: data with one effect per device keep one, data with two get two."""

import numpy as np
import pytest
from scipy.stats import norm

from devicefit.persistence.persistence import Persistence
from devicefit.persistence.windows import WindowedPersistence, windowed_persistence

DEVICES, PLACES, CYCLES, TAU = 60, 6, 30, 1.0
X = np.linspace(1.0, 2.0, PLACES)


def readings(effects, seed):
    """Counts of every device at every place; effects of shape (device, place)."""
    rng = np.random.default_rng(seed)
    device = np.repeat(np.arange(DEVICES), PLACES)
    place = np.tile(np.arange(PLACES), DEVICES)
    errors = rng.binomial(CYCLES, norm.cdf(norm.ppf(0.3) * np.sqrt(1 + TAU**2) + effects).ravel())
    return device, place, errors, np.full(DEVICES * PLACES, CYCLES)


def fitted(counts, seed=3):
    probability = np.full(PLACES, 0.3)
    return windowed_persistence(*counts, probability, X, draws=200, rng=np.random.default_rng(seed))


def test_one_effect_per_device_keeps_one_window():
    effects = np.random.default_rng(1).normal(0, TAU, (DEVICES, 1)) * np.ones(PLACES)
    found = fitted(readings(effects, 2))
    assert found.start.tolist() == [1.0]
    tau = found.windows[0].tau
    assert abs(tau.mean() - TAU) < 3.5 * tau.std() + TAU / np.sqrt(2 * DEVICES)


def test_effects_that_change_at_a_value_get_two_windows():
    rng = np.random.default_rng(4)
    effects = np.repeat(rng.normal(0, TAU, (DEVICES, 2)), PLACES // 2, axis=1)
    found = fitted(readings(effects, 5))
    assert found.start.tolist() == [1.0, X[PLACES // 2]]
    assert found.draws == 200
    for window in found.windows:
        assert abs(window.tau.mean() - TAU) < 3.5 * window.tau.std() + TAU / np.sqrt(2 * DEVICES)


def test_values_are_given_to_their_window():
    def constant(value):
        return Persistence(*(np.full(3, value) for _ in range(4)))

    found = WindowedPersistence(np.array([1.0, 2.0]), (constant(0.1), constant(0.2)))
    at = found.at(np.array([0.5, 1.0, 1.99, 2.0, 9.0]))
    for values in vars(at).values():
        np.testing.assert_array_equal(values, np.tile([0.1, 0.1, 0.1, 0.2, 0.2], (3, 1)))


def test_same_generator_same_draws_and_order_of_rows_is_free():
    counts = readings(np.random.default_rng(1).normal(0, TAU, (DEVICES, PLACES)), 2)
    order = np.random.default_rng(7).permutation(len(counts[0]))
    one, two = fitted(counts), fitted(tuple(c[order] for c in counts))
    np.testing.assert_array_equal(one.start, two.start)
    for a, b in zip(one.windows, two.windows, strict=True):
        np.testing.assert_allclose(a.tau, b.tau, rtol=1e-6)


def test_impossible_counts_are_refused():
    device, place, errors, trials = readings(np.zeros((DEVICES, PLACES)), 8)
    with pytest.raises(ValueError, match="of trials"):
        fitted((device, place, errors + 50, trials))
