"""Laws of ln R against 50-digit arithmetic."""

import re

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from devicefit.distributions.mixture import Mixture, mix

MIXTURES = {
    "one": ([1.0], [8.5], [0.3]),
    "two": ([0.997, 0.003], [11.5, 7.4], [0.5, 0.2]),
    "three": ([0.9949, 0.005, 1e-4], [8.0, 9.0, 11.5], [0.05, 0.3, 0.5]),
}


def mixture(name: str) -> Mixture:
    weight, mean, sd = (np.array(v) for v in MIXTURES[name])
    return Mixture(np.log(weight), mean, sd)


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
    edge = (
        (law.location + side * z * law.scale).max()
        if side > 0
        else (law.location - z * law.scale).min()
    )
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


@settings(deadline=None)  # the first call compiles
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
        law = Mixture(np.log([1.0, 0.0]), np.array([8.5, 0.0]), np.array([0.3, 5.0]))
    for function in ("ln_density", "ln_distribution", "ln_survival"):
        assert getattr(law, function)(3.0) == getattr(mixture("one"), function)(3.0)


def test_values_broadcast_against_the_trailing_axes_only() -> None:
    # as many values as components: they must not be taken for components
    law = mixture("two")
    y = np.array([7.0, 12.0])
    for function in (law.ln_density, law.ln_distribution, law.ln_survival):
        np.testing.assert_array_equal(function(y), [function(v) for v in y])
        assert function(y[:, None] + np.zeros(3)).shape == (2, 3)
    wide = Mixture(*(np.stack([a, a], axis=-1) for a in (law.ln_weight, law.location, law.scale)))
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
    wide = Mixture(
        *(np.tile(a[:, None, None], (1, 4, 2)) for a in (law.ln_weight, law.location, law.scale))
    )
    values = wide.sample(500, rng=np.random.default_rng(1))
    assert values.shape == (500, 4, 2)
    assert stats.kstest(values.ravel(), lambda y: np.exp(law.ln_distribution(y))).pvalue > 1e-5
    assert np.array_equal(values, wide.sample(500, rng=np.random.default_rng(1)))
    assert wide.components == 3
    assert wide.sample(0, rng=np.random.default_rng(1)).shape == (0, 4, 2)


@pytest.mark.parametrize(
    ("weight", "location", "scale", "message"),
    [
        (
            [1.0],
            [1.0, 2.0],
            [1.0, 1.0],
            "ln_weight (1,), location (2,) and scale (2,) must have one shape",
        ),
        ([0.5, 0.5], [1.0, 2.0], [1.0, 0.0], "scale is 0.0 at index (1,)"),
        ([0.5, 0.5], [1.0, 2.0], [np.nan, 1.0], "scale is nan at index (0,)"),
        ([0.5, 0.5], [1.0, 2.0], [1.0, -2.0], "scale is -2.0 at index (1,)"),
        ([0.5, 0.5], [1.0, 2.0], [1.0, np.inf], "scale is inf at index (1,)"),
        ([0.2, 0.3], [1.0, 2.0], [1.0, 1.0], "weights must sum to one; their sum reaches 0.5"),
        ([0.9, 0.3], [1.0, 2.0], [1.0, 1.0], "weights must sum to one; their sum reaches 1.2"),
    ],
)
def test_validation(weight: list, location: list, scale: list, message: str) -> None:
    if message.startswith("scale"):
        message += "; it must be positive and finite"
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        Mixture(np.log(weight), np.array(location), np.array(scale))


@pytest.mark.parametrize(
    ("kernels", "dof", "message"),
    [
        (("normal",), None, "give one of normal, student-t, logistic for each of the 2 components"),
        (("normal", "cauchy"), None, "give one of normal, student-t, logistic for each"),
        (("normal", "student-t"), None, "a student-t component needs dof"),
        (("normal", "student-t"), [1.0, 0.0], "dof is 0.0 at index (0,); it must be positive"),
        (("normal", "student-t"), [1.0, -3.0], "dof is -3.0 at index (0,); it must be positive"),
        (("student-t", "normal"), [np.nan, 1.0], "dof is nan at index (0,); it must be positive"),
        (("student-t", "normal"), [2.0, 2.0, 2.0], "dof (3,) does not broadcast against"),
    ],
)
def test_kernels_are_checked(kernels: tuple, dof: list | None, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Mixture(
            np.log([0.5, 0.5]),
            np.zeros(2),
            np.ones(2),
            kernels,
            None if dof is None else np.array(dof),
        )


# --- other kernels --------------------------------------------------------------------------------

HEAVY = Mixture(
    np.log([0.6, 0.3, 0.1]),
    np.array([8.0, 9.0, 11.0]),
    np.array([0.1, 0.3, 0.5]),
    ("student-t", "logistic", "normal"),
    np.array([2.5, 1.0, 1.0]),
)
PARTS = [
    (0.6, stats.t(2.5, 8.0, 0.1)),
    (0.3, stats.logistic(9.0, 0.3)),
    (0.1, stats.norm(11.0, 0.5)),
]


@pytest.mark.parametrize("y", [-30.0, 3.0, 7.9, 8.0, 10.0, 15.0, 60.0])
def test_heavy_tails_against_scipy(y: float) -> None:
    for function, name in (
        (HEAVY.ln_density, "pdf"),
        (HEAVY.ln_distribution, "cdf"),
        (HEAVY.ln_survival, "sf"),
    ):
        expected = sum(w * getattr(part, name)(y) for w, part in PARTS)
        assert np.exp(function(y)) == pytest.approx(expected, rel=1e-10, abs=0)


def test_heavy_samples() -> None:
    values = HEAVY.sample(100_000, rng=np.random.default_rng(5))
    pvalue = stats.kstest(values, lambda y: np.exp(HEAVY.ln_distribution(y))).pvalue
    assert pvalue > 1e-5
    # a control that must fail: the same places and scales, all normal
    wrong = Mixture(HEAVY.ln_weight, HEAVY.location, HEAVY.scale)
    assert stats.kstest(values, lambda y: np.exp(wrong.ln_distribution(y))).pvalue < 1e-8


INTERVALS = [
    (-np.inf, 8.0),
    (8.0, np.inf),
    (-np.inf, np.inf),
    (7.5, 8.6),
    (20.0, 21.0),
    (-9.0, -8.0),
    (20.0, 20.0 + 1e-9),
    (8.0, 8.0 + 1e-7),
    (7.97, 7.97 + 3.1e-5),
    (11.9, 11.9 + 2e-5),
]


@pytest.mark.parametrize(("low", "high"), INTERVALS)
def test_intervals_against_high_precision(low: float, high: float) -> None:
    def below(y: float) -> mpmath.mpf:
        if np.isinf(y):
            return mpmath.mpf(y > 0)
        half, y = mpmath.mpf(1) / 2, mpmath.mpf(y)
        z = (y - 8) / mpmath.mpf(0.1)
        x = mpmath.mpf(2.5) / (mpmath.mpf(2.5) + z * z)
        tail = mpmath.betainc(mpmath.mpf(1.25), half, 0, x, regularized=True) / 2
        student = tail if z < 0 else 1 - tail
        logistic = 1 / (1 + mpmath.exp(-(y - 9) / mpmath.mpf(0.3)))
        normal = mpmath.erfc((11 - y) / mpmath.mpf(0.5) / mpmath.sqrt(2)) / 2
        return mpmath.mpf(0.6) * student + mpmath.mpf(0.3) * logistic + mpmath.mpf(0.1) * normal

    with mpmath.workdps(60):
        expected = float(mpmath.log(below(high) - below(low)))
    # ends of a narrow interval are themselves rounded: 1e-16 of 20 in 1e-9 is 4e-6
    rounding = 2 * np.spacing(abs(low)) / (high - low) if np.isfinite(high - low) else 0.0
    assert HEAVY.ln_interval(low, high) == pytest.approx(expected, abs=2e-11 + rounding)


@given(st.floats(-5, 30), st.floats(1e-3, 5), st.floats(1e-3, 5))
@settings(deadline=None)
def test_intervals_add_up(low: float, first: float, second: float) -> None:
    middle, high = low + first, low + first + second
    parts = np.logaddexp(HEAVY.ln_interval(low, middle), HEAVY.ln_interval(middle, high))
    assert parts == pytest.approx(HEAVY.ln_interval(low, high), abs=1e-9)


def test_empty_and_reversed_intervals() -> None:
    assert HEAVY.ln_interval(8.0, 8.0) == -np.inf
    assert HEAVY.ln_interval(-np.inf, -np.inf) == -np.inf
    got = HEAVY.ln_interval([-np.inf, 8.0], [8.0, np.inf])
    np.testing.assert_allclose(np.exp(got).sum(), 1, rtol=1e-12)
    with pytest.raises(ValueError, match=re.escape("high is below low, or one is not a number")):
        HEAVY.ln_interval([7.0, 8.0], [7.5, 7.9])
    with pytest.raises(ValueError, match=re.escape("at index (1,)")):
        HEAVY.ln_interval([7.0, np.nan], [7.5, 7.9])


def test_mixing_laws() -> None:
    shape = (2, 5, 3)

    def widened(law: Mixture) -> Mixture:
        arrays = [
            np.tile(a[:, None, None, None], (1, *shape))
            for a in (law.ln_weight, law.location, law.scale)
        ]
        dof = None if law.dof is None else law.dof[:, None, None, None]
        return Mixture(*arrays, law.kernels, dof)

    laws = [widened(HEAVY), widened(mixture("two"))]
    both = mix(laws, np.log([0.25, 0.75]))
    assert both.components == 5
    assert both.trailing == shape
    assert both.kernels == ("student-t", "logistic", "normal", "normal", "normal")
    for y in (4.0, 8.1, 20.0):
        expected = 0.25 * np.exp(laws[0].ln_survival(y)) + 0.75 * np.exp(laws[1].ln_survival(y))
        np.testing.assert_allclose(np.exp(both.ln_survival(y)), expected, rtol=1e-12)
    # a weight of zero, and weights that differ from draw to draw
    with np.errstate(divide="ignore"):
        only = mix(laws, np.log([1.0, 0.0]))
    np.testing.assert_allclose(only.ln_density(8.2), laws[0].ln_density(8.2), rtol=1e-14)
    share = np.random.default_rng(2).random(shape)
    varied = mix(laws, np.log(np.stack([share, 1 - share])))
    expected = share * np.exp(laws[0].ln_density(8.2)) + (1 - share) * np.exp(
        laws[1].ln_density(8.2)
    )
    np.testing.assert_allclose(np.exp(varied.ln_density(8.2)), expected, rtol=1e-12)


def test_mixing_is_checked() -> None:
    one, two = mixture("one"), mixture("two")
    with pytest.raises(ValueError, match="there is no law to mix"):
        mix([], [])
    with pytest.raises(ValueError, match=re.escape("ln_weights has shape (1,); give one for each")):
        mix([one, two], [0.0])
    with pytest.raises(ValueError, match="weights must sum to one"):
        mix([one, two], np.log([0.5, 0.4]))
    wide = Mixture(*(np.tile(a[:, None], (1, 2)) for a in (one.ln_weight, one.location, one.scale)))
    with pytest.raises(ValueError, match=re.escape("trailing shapes [(), (2,)]")):
        mix([one, wide], np.log([0.5, 0.5]))


def test_parts_and_thinning_keep_the_kernels() -> None:
    shape = (2, 40, 3)
    dof = np.linspace(2, 9, 80).reshape(1, 2, 40, 1)
    law = Mixture(
        np.zeros((1, *shape)), np.zeros((1, *shape)), np.ones((1, *shape)), ("student-t",), dof
    )
    few = law.thinned(10)
    assert few.trailing == (2, 10, 3)
    expected = stats.t.logcdf(-2.0, np.broadcast_to(dof[0], shape)[:, ::4])
    np.testing.assert_allclose(few.ln_distribution(-2.0), expected, rtol=1e-10)
    single = law.part((1, 39, 2))
    assert single.ln_distribution(-2.0) == pytest.approx(stats.t.logcdf(-2.0, 9.0), rel=1e-10)


@pytest.mark.parametrize("shape", [(), (3,), (4, 3), (2, 4, 3)])
def test_flat_arrays_are_what_broadcasting_gives(shape: tuple[int, ...]) -> None:
    dof = np.array([3.0, 1.0, 1.0]).reshape((3, *(1,) * len(shape)))
    arrays = [
        np.broadcast_to(a.reshape(dof.shape), (3, *shape)).copy()
        for a in (HEAVY.ln_weight, HEAVY.location, HEAVY.scale)
    ]
    law = Mixture(*arrays, HEAVY.kernels, dof)
    target = (6, *shape) if len(shape) == 2 else shape
    codes, ln_weight, location, _, freedom = law.flat(target)
    assert codes.tolist() == [1, 2, 0]
    columns = target[-1] if target else 1
    assert ln_weight.shape == (3, int(np.prod(target)) // columns, columns)
    np.testing.assert_array_equal(location[:, 0, 0], HEAVY.location)
    assert freedom.shape == (*location.shape[:2], 1)
    assert freedom[0, 0, 0] == 3.0
    assert not location.flags.writeable
