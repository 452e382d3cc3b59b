"""Errors of complementary pairs against panels of Gauss-Legendre nodes, closed forms and mpmath."""

import itertools

import mpmath
import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from devicefit.distributions import pair_error
from devicefit.distributions.mixture import Mixture
from devicefit.distributions.pair_error import ln_pair_error

KINDS = ("normal", "student-t", "logistic")
Cell = tuple[str, float, float]  # kernel, scale, degrees of freedom


def law(cell: Cell, location: float) -> Mixture:
    kernel, scale, dof = cell
    one = np.ones(1)
    return Mixture(np.zeros(1), location * one, scale * one, (kernel,), dof * one)


def ln_pair(lrs: Cell, hrs: Cell, d: float, offset: float) -> float:
    return float(ln_pair_error(law(lrs, 8.0), law(hrs, 8.0 + d), offset))


def frozen(cell: Cell) -> stats.rv_continuous:
    kernel, scale, dof = cell
    return {
        "normal": stats.norm(0, scale),
        "student-t": stats.t(dof, 0, scale),
        "logistic": stats.logistic(0, scale),
    }[kernel]


def panels(centres: dict[float, float], reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of Gauss-Legendre panels that grow away from each centre (its scale)."""
    edges = {-reach, reach}
    for centre, scale in centres.items():
        steps = scale * np.concatenate([np.arange(0, 12, 0.5), 12 * 1.5 ** np.arange(100)])
        edges |= {float(e) for e in (*(centre + steps), *(centre - steps)) if abs(e) < reach}
    edge = np.array(sorted(edges))
    edge = edge[np.concatenate([[True], np.diff(edge) > 1e-9 * np.maximum(1e-3, abs(edge[1:]))])]
    x, w = np.polynomial.legendre.leggauss(10)
    half = np.diff(edge)[:, None] / 2
    return ((edge[:-1, None] + half) + half * x).ravel(), (half * w).ravel()


def reference(lrs: Cell, hrs: Cell, d: float, offset: float) -> float:
    """P(y_L + offset > y_H): density of LRS times distribution of HRS, then over the offset."""
    left, right = frozen(lrs), frozen(hrs)
    heavy = "student-t" in (lrs[0], hrs[0])
    reach = 1e9 * max(lrs[1], hrs[1]) if heavy else 60 * (lrs[1] + hrs[1]) + 2 * d

    def without_offset(gap: float) -> float:
        y, w = panels({0.0: lrs[1], gap: hrs[1]}, reach)
        return float(np.sum(w * left.pdf(y) * right.cdf(y - gap)))

    if offset == 0:
        return without_offset(d)
    # as far as the offset reaches, and where it closes the gap
    width = lrs[1] + hrs[1]
    o, w = panels({0.0: offset, d: width}, max(14 * offset, d + 3 * offset))
    w = w * stats.norm.pdf(o, 0, offset)
    kept = w > w.max() * 1e-60
    return float(sum(v * without_offset(d - u) for u, v in zip(o[kept], w[kept], strict=True)))


def distance_for(lrs: Cell, hrs: Cell, offset: float, ber: float) -> float:
    low, high = 0.0, 1e5
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if ln_pair(lrs, hrs, middle, offset) > np.log(ber) else (low, middle)
        )
    return low


MIXED = [pair for pair in itertools.product(KINDS, repeat=2) if pair != ("normal", "normal")]


@pytest.mark.parametrize("pair", MIXED, ids="-".join)
@pytest.mark.parametrize("ratio", [1 / 50, 0.2, 1.0, 5.0, 50.0])
def test_without_offset(pair: tuple[str, str], ratio: float) -> None:
    rng = np.random.default_rng([KINDS.index(pair[0]), KINDS.index(pair[1]), int(100 * ratio)])
    for ber in (0.3, 1e-3, 1e-8, 1e-15):
        dofs = np.exp(rng.uniform(np.log(1.5), np.log(100), 2))
        wide = np.exp(rng.uniform(np.log(0.1), np.log(0.6)))
        scales = wide * np.array([min(ratio, 1), min(1 / ratio, 1)])
        lrs, hrs = ((k, float(s), float(v)) for k, s, v in zip(pair, scales, dofs, strict=True))
        # at a given dof a heavy tail reaches 1e-15 only at absurd distances
        d = min(distance_for(lrs, hrs, 0.0, ber), 1e3 * wide)
        got = np.exp(ln_pair(lrs, hrs, d, 0.0))
        assert got == pytest.approx(reference(lrs, hrs, d, 0.0), rel=1e-6)


@pytest.mark.parametrize("offset", [0.05, 0.3])
@pytest.mark.parametrize(
    ("lrs", "hrs"),
    [
        (("student-t", 0.06, 2.3), ("student-t", 0.4, 3.0)),  # series for the offset
        (("student-t", 0.4, 1.5), ("student-t", 0.008, 100.0)),  # double sum
        (("student-t", 0.05, 12.0), ("student-t", 0.05, 6.0)),
        (("logistic", 0.04, 1.0), ("logistic", 0.2, 1.0)),
        (("logistic", 0.01, 1.0), ("logistic", 0.02, 1.0)),
        (("normal", 0.05, 1.0), ("student-t", 0.3, 2.0)),
        (("normal", 0.3, 1.0), ("logistic", 0.006, 1.0)),
        (("logistic", 0.1, 1.0), ("student-t", 0.2, 5.0)),
    ],
)
def test_with_offset(lrs: Cell, hrs: Cell, offset: float) -> None:
    for ber in (1e-4, 1e-13):
        d = min(distance_for(lrs, hrs, offset, ber), 200.0)
        got = np.exp(ln_pair(lrs, hrs, d, offset))
        assert got == pytest.approx(reference(lrs, hrs, d, offset), rel=1e-6)


@settings(deadline=None)
@given(st.floats(0.01, 1), st.floats(0.01, 1), st.floats(0, 1e3), st.sampled_from([0.0, 1e-9]))
def test_sum_of_two_cauchy_variables(s1: float, s2: float, d: float, offset: float) -> None:
    """Student-t with one degree of freedom is stable: the scales add up.

    A gap of 1,000 in ln R is far beyond any memory; the families have 1.5 degrees or more.
    """
    got = np.exp(ln_pair(("student-t", s1, 1.0), ("student-t", s2, 1.0), d, offset))
    assert got == pytest.approx(np.arctan2(s1 + s2, d) / np.pi, rel=1e-6)


@settings(deadline=None)
@given(st.floats(0.5, 200), st.floats(0.01, 1))
def test_sum_of_two_logistic_variables(z: float, scale: float) -> None:
    """Closed form of equal scales: ((z - 1) e^z + 1) / (e^z - 1)^2."""
    expected = np.log(((z - 1) + np.exp(-z)) / np.expm1(-z) ** 2) - z
    cell = ("logistic", scale, 1.0)
    assert ln_pair(cell, cell, z * scale, 0.0) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("lrs", "hrs", "d"),
    [
        (("student-t", 0.1, 2.5), ("student-t", 0.5, 4.0), 3.0),
        (("student-t", 0.3, 30.0), ("logistic", 0.1, 1.0), 5.0),
        (("normal", 0.05, 1.0), ("student-t", 0.4, 60.0), 4.0),
    ],
)
def test_against_high_precision(lrs: Cell, hrs: Cell, d: float) -> None:
    def density(cell: Cell, y: mpmath.mpf) -> mpmath.mpf:
        kernel, s, v = cell[0], mpmath.mpf(cell[1]), mpmath.mpf(cell[2])
        z = y / s
        if kernel == "normal":
            return mpmath.npdf(z) / s
        if kernel == "logistic":
            return mpmath.sech(z / 2) ** 2 / 4 / s
        front = mpmath.gamma((v + 1) / 2) / mpmath.gamma(v / 2) / mpmath.sqrt(v * mpmath.pi)
        return front * (1 + z * z / v) ** (-(v + 1) / 2) / s

    def below(cell: Cell, y: mpmath.mpf) -> mpmath.mpf:
        kernel, z, v = cell[0], y / mpmath.mpf(cell[1]), mpmath.mpf(cell[2])
        if kernel == "normal":
            return mpmath.ncdf(z)
        if kernel == "logistic":
            return 1 / (1 + mpmath.exp(-z))
        tail = mpmath.betainc(v / 2, mpmath.mpf(1) / 2, 0, v / (v + z * z), regularized=True) / 2
        return tail if z < 0 else 1 - tail

    with mpmath.workdps(20):
        inner = [-10, -1, -0.1, 0, 0.3, 1, d / 2, d - 1, d - 0.1, d, d + 0.3, d + 2, d + 10]
        edges = [-mpmath.inf, *inner, mpmath.inf]
        expected = mpmath.quad(lambda y: density(lrs, y) * below(hrs, y - d), edges, maxdegree=5)
        expected = float(mpmath.log(expected))
    assert ln_pair(lrs, hrs, d, 0.0) == pytest.approx(expected, abs=3e-7)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(list(itertools.product(KINDS, repeat=2))),
    st.floats(-4, 4),
    st.floats(-4, 0),
    st.floats(1.1, 200),
    st.sampled_from([0.0, 0.05, 0.3]),
)
def test_symmetry_and_order(
    pair: tuple[str, str], ln_ratio: float, ln_d: float, dof: float, offset: float
) -> None:
    lrs, hrs = (pair[0], 0.1, dof), (pair[1], 0.1 * np.exp(ln_ratio), 3.0)
    d = 20 * np.exp(ln_d)
    here = ln_pair(lrs, hrs, d, offset)
    assert ln_pair(hrs, lrs, d, offset) == pytest.approx(here, abs=1e-6)
    assert ln_pair(lrs, hrs, 1.1 * d, offset) < here < np.log(0.5)
    assert np.exp(ln_pair(lrs, hrs, -d, offset)) + np.exp(here) == pytest.approx(1, abs=1e-12)
    assert ln_pair(lrs, hrs, 0.0, offset) == pytest.approx(np.log(0.5), abs=1e-6)


def test_many_degrees_of_freedom_are_a_normal_law() -> None:
    for d in (0.5, 2.0, 4.0):
        heavy = ln_pair(("student-t", 0.3, 1e6), ("student-t", 0.2, 1e6), d, 0.05)
        normal = ln_pair(("normal", 0.3, 1.0), ("normal", 0.2, 1.0), d, 0.05)
        z = d / np.sqrt(0.3**2 + 0.2**2 + 0.05**2)
        # first order in 1 / dof of the logarithm of the tail: about z^4 / (4 dof)
        assert heavy == pytest.approx(normal, abs=1e-6 + z**4 / 1e6)


def test_far_below_the_smallest_number() -> None:
    # both sums must go over to logarithms
    z = 30.0 / 0.05
    cell = ("logistic", 0.05, 1.0)
    assert ln_pair(cell, cell, 30.0, 0.0) == pytest.approx(np.log(z - 1) - z, abs=1e-6)
    normal = ln_pair(("normal", 0.03, 1.0), ("normal", 0.04, 1.0), 30.0, 0.0)
    assert normal == pytest.approx(stats.norm.logsf(600.0), rel=1e-12)


def test_mixtures_are_weighted_sums_and_threads_do_not_matter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pair_error, "_BLOCK", 30)  # many blocks
    rng = np.random.default_rng(4)
    shape = (2, 30, 7)
    kernels = {"LRS": ("student-t", "normal", "logistic"), "HRS": ("logistic", "student-t")}
    laws, parts = {}, {}
    for state, kinds in kernels.items():
        weight = rng.dirichlet(np.ones(len(kinds)), shape).transpose(3, 0, 1, 2)
        centre = 8.0 if state == "LRS" else 10.0
        location = centre + 0.3 * rng.standard_normal((len(kinds), *shape))
        scale = np.exp(-2 + 0.5 * rng.standard_normal((len(kinds), *shape)))
        # one dof for each draw, as models have it
        dof = 1.5 + rng.exponential(5, (len(kinds), *shape[:2], 1))
        laws[state] = Mixture(np.log(weight), location, scale, kinds, dof)
        parts[state] = [
            (
                weight[c],
                Mixture(
                    np.zeros((1, *shape)), location[[c]], scale[[c]], kinds[c : c + 1], dof[[c]]
                ),
            )
            for c in range(len(kinds))
        ]
    together = ln_pair_error(laws["LRS"], laws["HRS"], 0.05)
    assert together.shape == shape
    expected = sum(
        u * v * np.exp(ln_pair_error(a, b, 0.05)) for u, a in parts["LRS"] for v, b in parts["HRS"]
    )
    np.testing.assert_allclose(np.exp(together), expected, rtol=1e-9)
    # scratch kept from neighbours must not leak: alone, each element gives the same
    for index in [(0, 0, 0), (1, 29, 6), (1, 3, 4)]:
        alone = ln_pair_error(laws["LRS"].part(index), laws["HRS"].part(index), 0.05)
        assert alone == pytest.approx(together[index], abs=1e-7)
    with_one = ln_pair_error_with_threads(1, laws)
    np.testing.assert_array_equal(together, with_one)


def ln_pair_error_with_threads(threads: int, laws: dict[str, Mixture]) -> np.ndarray:
    before = numba.get_num_threads()
    numba.set_num_threads(threads)
    try:
        return ln_pair_error(laws["LRS"], laws["HRS"], 0.05)
    finally:
        numba.set_num_threads(before)
