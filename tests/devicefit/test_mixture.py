"""Laws of ln R against 50-digit arithmetic."""

import re

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from devicefit.mixture import NormalMixture

MIXTURES = {
    "one": ([1.0], [8.5], [0.3]),
    "two": ([0.997, 0.003], [11.5, 7.4], [0.5, 0.2]),
    "three": ([0.9949, 0.005, 1e-4], [8.0, 9.0, 11.5], [0.05, 0.3, 0.5]),
}


def mixture(name: str) -> NormalMixture:
    weight, mean, sd = (np.array(v) for v in MIXTURES[name])
    return NormalMixture(np.log(weight), mean, sd)


def reference(name: str, y: float) -> tuple[float, float, float]:
    """Logarithms of density, distribution and survival function with 50 digits."""
    with mpmath.workdps(50):
        parts = list(zip(*MIXTURES[name], strict=True))
        density = sum(w * mpmath.npdf(y, m, s) for w, m, s in parts)
        root = mpmath.sqrt(2)
        below = sum(w * mpmath.erfc((m - mpmath.mpf(y)) / s / root) / 2 for w, m, s in parts)
        above = sum(w * mpmath.erfc((mpmath.mpf(y) - m) / s / root) / 2 for w, m, s in parts)
        # the weights as stored sum to one only to 1e-16
        total = sum(mpmath.mpf(w) for w, _, _ in parts)
        return tuple(float(mpmath.log(v / total)) for v in (density, below, above))


@pytest.mark.parametrize("name", MIXTURES)
@pytest.mark.parametrize("z", [0.0, 0.5, 3.0, 8.0, 15.0, 25.0, 37.0, 60.0])
@pytest.mark.parametrize("side", [-1, 1])
def test_against_high_precision(name: str, z: float, side: int) -> None:
    law = mixture(name)
    # z standard deviations beyond the outermost component; 37 is a probability near 1e-300
    edge = (law.mean + side * z * law.sd).max() if side > 0 else (law.mean - z * law.sd).min()
    got = law.ln_density(edge), law.ln_distribution(edge), law.ln_survival(edge)
    # relative error of the probability itself, i.e. absolute error of its logarithm
    np.testing.assert_allclose(got, reference(name, float(edge)), rtol=1e-13, atol=1e-13)


def test_the_tail_reaches_1e_300() -> None:
    tail = mixture("one").ln_survival(8.5 + 0.3 * 37.0)
    assert np.log(1e-301) < tail < np.log(1e-298)
    assert np.isfinite(mixture("one").ln_survival(8.5 + 0.3 * 1e4))


@pytest.mark.parametrize("name", MIXTURES)
def test_infinite_values(name: str) -> None:
    law = mixture(name)
    assert law.ln_distribution(np.inf) == pytest.approx(0, abs=1e-15)
    assert law.ln_distribution(-np.inf) == -np.inf
    assert law.ln_survival(-np.inf) == pytest.approx(0, abs=1e-15)
    assert law.ln_survival(np.inf) == -np.inf


@given(st.sampled_from(list(MIXTURES)), st.floats(0, 20), st.floats(0, 5))
def test_probabilities_add_up_and_never_fall(name: str, y: float, step: float) -> None:
    law = mixture(name)
    below, above = law.ln_distribution(y), law.ln_survival(y)
    assert below <= 0
    assert above <= 0
    assert np.exp(below) + np.exp(above) == pytest.approx(1.0, abs=1e-14)
    assert law.ln_distribution(y + step) >= below
    assert law.ln_survival(y + step) <= above


def test_a_component_without_weight_does_not_count() -> None:
    with np.errstate(divide="ignore"):
        law = NormalMixture(np.log([1.0, 0.0]), np.array([8.5, 0.0]), np.array([0.3, 5.0]))
    for function in ("ln_density", "ln_distribution", "ln_survival"):
        assert getattr(law, function)(3.0) == getattr(mixture("one"), function)(3.0)


def test_values_broadcast_against_the_trailing_axes_only() -> None:
    # as many values as components: they must not be taken for components
    law = mixture("two")
    y = np.array([7.0, 12.0])
    for function in (law.ln_density, law.ln_distribution, law.ln_survival):
        np.testing.assert_array_equal(function(y), [function(v) for v in y])
        assert function(y[:, None] + np.zeros(3)).shape == (2, 3)
    wide = NormalMixture(*(np.stack([a, a], axis=-1) for a in (law.ln_weight, law.mean, law.sd)))
    np.testing.assert_array_equal(wide.ln_density(y), law.ln_density(y))
    np.testing.assert_array_equal(wide.ln_density(y[:, None])[:, 1], law.ln_density(y))


@pytest.mark.parametrize("name", MIXTURES)
def test_samples(name: str) -> None:
    law = mixture(name)
    n = 200_000
    values = law.sample(n, rng=np.random.default_rng(11))
    weight, mean, sd = (np.array(v) for v in MIXTURES[name])
    centre = (weight * mean).sum()
    spread = np.sqrt((weight * (sd**2 + (mean - centre) ** 2)).sum())
    # 9 checks in 3 mixtures at 4.5 standard errors: 6e-5 that a correct one fails
    assert abs(values.mean() - centre) < 4.5 * spread / np.sqrt(n)
    kurtosis = (
        weight * (3 * sd**4 + 6 * sd**2 * (mean - centre) ** 2 + (mean - centre) ** 4)
    ).sum() / spread**4
    assert abs(values.var() / spread**2 - 1) < 4.5 * np.sqrt((kurtosis - 1) / n)
    assert stats.kstest(values, lambda y: np.exp(law.ln_distribution(y))).pvalue > 1e-5


def test_samples_have_the_trailing_shape() -> None:
    law = mixture("three")
    wide = NormalMixture(
        *(np.tile(a[:, None, None], (1, 4, 2)) for a in (law.ln_weight, law.mean, law.sd))
    )
    values = wide.sample(500, rng=np.random.default_rng(1))
    assert values.shape == (500, 4, 2)
    assert stats.kstest(values.ravel(), lambda y: np.exp(law.ln_distribution(y))).pvalue > 1e-5
    assert np.array_equal(values, wide.sample(500, rng=np.random.default_rng(1)))
    assert wide.components == 3
    assert wide.sample(0, rng=np.random.default_rng(1)).shape == (0, 4, 2)


@pytest.mark.parametrize(
    ("weight", "mean", "sd", "message"),
    [
        (
            [1.0],
            [1.0, 2.0],
            [1.0, 1.0],
            "ln_weight (1,), mean (2,) and sd (2,) must have one shape",
        ),
        ([0.5, 0.5], [1.0, 2.0], [1.0, 0.0], "sd is 0.0 at index (1,); it must be positive"),
        ([0.5, 0.5], [1.0, 2.0], [np.nan, 1.0], "sd is nan at index (0,); it must be positive"),
        ([0.5, 0.5], [1.0, 2.0], [1.0, -2.0], "sd is -2.0 at index (1,); it must be positive"),
        ([0.2, 0.3], [1.0, 2.0], [1.0, 1.0], "weights must sum to one; their sum reaches 0.5"),
        ([0.9, 0.3], [1.0, 2.0], [1.0, 1.0], "weights must sum to one; their sum reaches 1.2"),
    ],
)
def test_validation(weight: list, mean: list, sd: list, message: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        NormalMixture(np.log(weight), np.array(mean), np.array(sd))
