"""Densities put together from terms, against sums written down by hand."""

import ctypes
import gc
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from devicefit.binned import LOGISTIC, NORMAL, binned_mixture
from devicefit.density import BINS, INTERVALS, LEVELS, ONCE, TOTAL, Density, Posterior, Term
from devicefit.interval import interval_mixture
from devicefit.level_density import density_and_gradient
from devicefit.native import Native
from devicefit.programming import FloatArray
from devicefit.tape import EXP, OPERATION, SYMBOLS, expressions

PLACES = 4
LAYOUT = {"a": 0, "t": slice(1, 4), "b": 4}
INDEX = np.array([2, 0, 0, 1])
VECTOR = np.array([0.3, -0.4, 0.9, 1.2, -0.7])
# error of the differences: fifth derivatives times 1e-12 / 30, and 1e-16 of the value over 1e-3
CLOSE = {"rtol": 1e-8, "atol": 1e-9}


def a_parts() -> tuple:
    """Expressions: one value, one for each place, and one that is a parameter."""
    p = expressions(LAYOUT)
    curve = SYMBOLS.exp(p["a"]) * p["t"][..., INDEX]
    return SYMBOLS.exp(p["a"]) + p["b"], curve, p["b"]


def numbers(vector: FloatArray) -> tuple[float, FloatArray, float]:
    """What :func:`a_parts` stands for."""
    return np.exp(vector[0]) + vector[4], np.exp(vector[0]) * vector[1:4][INDEX], vector[4]


def test_a_sum_of_terms_with_inputs_of_their_own(differences: Callable[..., FloatArray]) -> None:
    single, curve, b = a_parts()
    density = Density.of(
        [Term(TOTAL, [curve]), Term(TOTAL, [single * curve, 0.25]), Term(ONCE, [b, 2.0])], PLACES
    )

    def expected(vector: FloatArray) -> float:
        one, values, last = numbers(vector)
        # a number for all places counts at each in one sum and once in the other
        return float(values.sum() + one * values.sum() + 4 * 0.25 + last + 2.0)

    value, gradient = density(VECTOR)
    assert isinstance(value, float)
    assert value == pytest.approx(expected(VECTOR), rel=1e-14)
    np.testing.assert_allclose(gradient, differences(expected, VECTOR), **CLOSE)
    # what is common to terms is computed once
    assert (density.tape.steps[:, OPERATION] == EXP).sum() == 1
    assert density.tape.outputs.shape == (5,)


@pytest.mark.parametrize("places", [1, PLACES])
def test_total_takes_every_place_and_once_the_value(places: int) -> None:
    p = expressions(LAYOUT)
    inputs = [p["a"], p["b"] * 3.0, -2.0]
    summed = Density.of([Term(TOTAL, inputs)], places)(VECTOR)
    alone = Density.of([Term(ONCE, inputs)], places)(VECTOR)
    assert alone[0] == pytest.approx(0.3 - 2.1 - 2.0, rel=1e-15)
    assert summed[0] == pytest.approx(places * alone[0], rel=1e-15)
    np.testing.assert_array_equal(alone[1], [1, 0, 0, 0, 3])
    np.testing.assert_array_equal(summed[1], places * alone[1])


CONDITION = np.array([0, 0, 1, 3, 3, 3])
Y = np.array([0.5, -1.0, 2.0, 0.3, 4.0, -0.2])
COUNT = np.array([3.0, 1.0, 2.0, 5.0, 1.0, 4.0])
KERNELS = np.array([NORMAL, LOGISTIC])


def mixture_of(vector: FloatArray) -> tuple[FloatArray, ...]:
    """Ln weight, location, ln scale of two components, shape (place, component), and dof."""
    one, values, last = numbers(vector)
    zero = np.zeros(PLACES)
    return (
        np.stack([zero - 0.5, zero + last], axis=1),
        np.stack([values, zero + one], axis=1),
        np.stack([0.1 * values, zero + 0.3], axis=1),
        np.ones(2),
    )


def mixture_inputs() -> list:
    single, curve, b = a_parts()
    return [-0.5, b, curve, single, 0.1 * curve, 0.3, 1.0, 1.0]


def cells() -> tuple[FloatArray, ...]:
    """Two devices with readings in both states; index and statistics of each cell."""
    index = np.array([[0, 0, 0], [0, 1, 3], [1, 0, 0], [1, 1, 2]])
    statistics = np.array(
        [[2, 0.1, 0.5, -0.25, 0.0, 0.5], [1, 0.4, 0.0, 0.0, 0.0, 0.0]]
        + [[1, -0.3, 0.0, 0.0, 0.0, 0.0], [3, 0.2, 0.6, 0.1, 0.2, 0.4]]
    )
    return index, statistics, np.array([0, 0])


def levels_of(vector: FloatArray) -> tuple[FloatArray, ...]:
    """Levels, means and standard deviations of both states."""
    one, values, _ = numbers(vector)
    zero = np.zeros(PLACES)
    level = np.array([0.4, 0.1 + 0.1 * vector[0], 0.2, 0.0, 0.1, 0.0, 0.0])
    return level, np.stack([values, zero + one]), np.stack([zero + 0.5, np.exp(0.2 * values)])


def level_inputs() -> list:
    single, curve, _ = a_parts()
    a = expressions(LAYOUT)["a"]
    laws = [curve, single, 0.5, SYMBOLS.exp(0.2 * curve)]
    return [*laws, 0.4, 0.1 + 0.1 * a, 0.2, 0.0, 0.1, 0.0, 0.0]


KINDS = {
    "bins": (
        Term(BINS, mixture_inputs(), (KERNELS, CONDITION, Y, COUNT)),
        lambda v: binned_mixture(KERNELS, *mixture_of(v), CONDITION, Y, COUNT)[0],
    ),
    "intervals": (
        Term(INTERVALS, mixture_inputs(), (KERNELS, CONDITION, Y, Y + 0.7, COUNT)),
        lambda v: interval_mixture(KERNELS, *mixture_of(v), CONDITION, Y, Y + 0.7, COUNT)[0],
    ),
    "levels": (
        Term(LEVELS, level_inputs(), cells()),
        lambda v: density_and_gradient(*levels_of(v), *cells())[0],
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_terms(differences: Callable[..., FloatArray], kind: str) -> None:
    """Each hands its inputs over in the right order, and its gradient back."""
    term, expected = KINDS[kind]
    value, gradient = Density.of([term], PLACES)(VECTOR)
    assert value == pytest.approx(expected(VECTOR), rel=1e-13)
    np.testing.assert_allclose(gradient, differences(expected, VECTOR), **CLOSE)


def test_terms_of_all_kinds_add_up() -> None:
    alone = [Density.of([term], PLACES)(VECTOR) for term, _ in KINDS.values()]
    together = Density.of([*(t for t, _ in KINDS.values())], PLACES)(VECTOR)
    assert together[0] == pytest.approx(sum(value for value, _ in alone), rel=1e-13)
    expected = np.sum([gradient for _, gradient in alone], axis=0)
    np.testing.assert_allclose(together[1], expected, rtol=1e-12, atol=1e-12)


def test_data_of_any_layout_and_integer_type() -> None:
    term, _ = KINDS["bins"]
    kernels, condition, y, count = term.data
    wide = np.stack([y, y + 1.0], axis=1)
    other = (kernels.astype(np.int32), condition.astype(np.int8), wide[:, 0], count.astype("f4"))
    same = Density.of([Term(BINS, term.inputs, other)], PLACES)(VECTOR)
    value, gradient = Density.of([term], PLACES)(VECTOR)
    assert same[0] == value
    np.testing.assert_array_equal(same[1], gradient)
    strided = np.repeat(VECTOR, 2)[::2]
    assert Density.of([term], PLACES)(strided)[0] == value


def test_what_a_density_reads_lives_as_long_as_it() -> None:
    def make() -> Density:
        y, count = Y + 0.0, COUNT + 0.0
        return Density.of([Term(BINS, mixture_inputs(), (KERNELS, CONDITION, y, count))], PLACES)

    density = make()
    value, gradient = density(VECTOR)
    gc.collect()
    rubbish = [np.full(len(Y), np.nan) for _ in range(100)]
    again = density(VECTOR)
    assert len(rubbish) == 100
    assert again[0] == value
    assert again[1].tobytes() == gradient.tobytes()


@pytest.mark.parametrize("bad", [np.nan, -np.inf, np.inf])
def test_a_term_without_a_finite_value_decides(bad: float) -> None:
    _, curve, _ = a_parts()
    value, _ = Density.of([Term(TOTAL, [curve]), Term(ONCE, [bad]), Term(TOTAL, [curve])], PLACES)(
        VECTOR
    )
    np.testing.assert_equal(value, bad)


# --- times a prior --------------------------------------------------------------------------------

MEAN = np.array([0.2, -0.1, 0.5, 1.0, -0.5])
SD = np.array([0.5, 1.0, 0.2, 0.7, 0.3])


def a_posterior() -> Posterior:
    return Posterior(Density.of([*(t for t, _ in KINDS.values())], PLACES), MEAN, SD)


def test_a_posterior_is_in_units_of_its_prior(differences: Callable[..., FloatArray]) -> None:
    posterior = a_posterior()
    z = np.array([0.3, -1.0, 0.4, 0.0, 1.5])

    def expected(z: FloatArray) -> float:
        prior = stats.norm.logpdf(z).sum() - stats.norm.logpdf(np.zeros(5)).sum()
        return float(prior + sum(value(MEAN + SD * z) for _, value in KINDS.values()))

    value, gradient = posterior(z)
    assert value == pytest.approx(expected(z), rel=1e-13)
    np.testing.assert_allclose(gradient, differences(expected, z), **CLOSE)


def call(native: Native, w: FloatArray) -> tuple[int, float, FloatArray]:
    """Status, value and gradient of the machine code."""
    pointer = ctypes.POINTER(ctypes.c_double)
    value, gradient = np.full(1, np.nan), np.full(len(w), np.nan)
    status = native.function.ctypes(
        len(w),
        *(a.ctypes.data_as(pointer) for a in (w, gradient, value)),
        native.table.ctypes.data_as(ctypes.c_void_p),
    )
    return status, float(value[0]), gradient


@pytest.mark.parametrize("seed", range(4))
def test_machine_code_is_the_posterior_in_the_given_scale(seed: int) -> None:
    rng = np.random.default_rng(seed)
    centre, root = rng.normal(size=5), np.triu(rng.normal(size=(5, 5)))
    if seed == 3:  # not in the order of rows
        root = np.asfortranarray(rng.normal(size=(5, 5)))
    posterior = a_posterior()
    native = posterior.native(centre, root)
    for w in 0.3 * rng.normal(size=(5, 5)):
        value, gradient = posterior(centre + root @ w)
        status, found, slope = call(native, w)
        assert status == 0
        assert found == pytest.approx(value, rel=1e-12)
        scale = np.abs(gradient).max() * np.abs(root).max()
        np.testing.assert_allclose(slope, root.T @ gradient, rtol=1e-10, atol=1e-12 * scale)


def test_machine_code_outlives_what_made_it() -> None:
    w, eye = np.linspace(-0.5, 0.5, 5), np.eye(5)
    value = a_posterior()(w + 0.0)[0]
    native = a_posterior().native(np.zeros(5), eye)
    del eye
    gc.collect()
    rubbish = [np.full(n, np.nan) for n in (5, 6, 25) for _ in range(100)]
    assert call(native, w)[:2] == (0, pytest.approx(value, rel=1e-13))
    assert len(rubbish) == 300


def test_machine_code_tells_places_without_a_density() -> None:
    a = expressions(LAYOUT)["a"]
    log = Posterior(Density.of([Term(ONCE, [SYMBOLS.log(a)])], 1), np.zeros(5), np.ones(5))
    native = log.native(np.zeros(5), np.eye(5))
    for first, fine in ((0.5, True), (0.0, False), (-0.5, False), (np.nan, False)):
        status, value, _ = call(native, np.array([first, 0.0, 0.0, 0.0, 0.0]))
        assert (status == 0) is fine
        if fine:
            assert value == pytest.approx(np.log(0.5) - 0.125, rel=1e-14)
    # a root has a value at its end, but no slope
    root = Posterior(Density.of([Term(ONCE, [SYMBOLS.sqrt(a)])], 1), np.zeros(5), np.ones(5))
    assert call(root.native(np.zeros(5), np.eye(5)), np.zeros(5))[0] != 0
