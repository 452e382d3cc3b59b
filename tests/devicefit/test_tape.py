"""Recorded formulas against NumPy, closed forms and PyTensor's automatic differentiation."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pytensor.scalar.basic import autocast_float_as

from devicefit import tape
from devicefit.programming import FloatArray
from devicefit.tape import SYMBOLS, Expression, Tape, Terms, expressions, record
from devicefit.tape_kernel import backward, forward

PLACES = 4
TERMS = 3
# two numbers and two vectors of terms
LAYOUT = {"a": 0, "s": slice(1, 4), "b": 4, "t": slice(5, 8)}
SIZE = 8
INDICES = [np.array([0, 1, 2, 1]), np.array([2, 2, 0, 0])]
MATRICES = [np.linspace(-1, 1, 12).reshape(TERMS, PLACES), np.eye(TERMS, PLACES)]
ARRAYS = [np.array([0.3, -1.2, 0.7, 2.0]), np.array([1.5, 0.1, -0.4, -2.0])]


def run(found: Tape, vector: FloatArray) -> FloatArray:
    """What the tape computes, shape (output, place)."""
    return forward(vector, found.steps, found.constants, found.outputs, found.places)[0]


def slopes(found: Tape, vector: FloatArray, seed: FloatArray) -> FloatArray:
    """Gradient of the sum of `seed` times what the tape computes."""
    steps = (found.steps, found.constants, found.outputs)
    memory = forward(vector, *steps, found.places)[1]
    return backward(vector, *steps, memory, np.asarray(seed, dtype=np.float64))


def operations(found: Tape) -> list[int]:
    return found.steps[:, tape.OPERATION].tolist()


# --- random formulas ------------------------------------------------------------------------------

# What keeps arguments inside the domains and values below 1e6 is part of the formulas.
UNARY: dict[str, Callable[[Any, Any], Any]] = {
    "exp": lambda xp, x: xp.exp(xp.tanh(x)),
    "log": lambda xp, x: xp.log(x**2 + 0.5),
    "log1p": lambda xp, x: xp.log1p(x**2),
    "sqrt": lambda xp, x: xp.sqrt(1.0 + x**2),
    "tanh": lambda xp, x: xp.tanh(x),
    "square": lambda xp, x: x**2,
    "negative": lambda xp, x: -x,
    "less": lambda xp, x: 2.0 - x,
    "inverse": lambda xp, x: 1.0 / (2.0 + xp.tanh(x)),
    "from the left": lambda xp, x: ARRAYS[0] * x + ARRAYS[1],
    "difference from the left": lambda xp, x: ARRAYS[1] - x,
}
BINARY: dict[str, Callable[[Any, Any, Any], Any]] = {
    "add": lambda xp, x, y: x + y,
    "subtract": lambda xp, x, y: x - y,
    "multiply": lambda xp, x, y: x * y,
    "divide": lambda xp, x, y: x / (1.5 + xp.tanh(y)),
    # not at a tie, where there is no gradient
    "maximum": lambda xp, x, y: xp.maximum(x, y + 0.0371),
    "logaddexp": lambda xp, x, y: xp.logaddexp(x, y),
}
LEAVES = st.one_of(
    st.sampled_from([("number", "a"), ("number", "b")]),
    st.tuples(st.just("gather"), st.sampled_from("st"), st.integers(0, 1)),
    st.tuples(st.just("linear"), st.sampled_from("st"), st.integers(0, 1)),
    st.tuples(st.just("constant"), st.sampled_from([-1.5, 0.25, 1.0, 0.0])),
    st.tuples(st.just("array"), st.integers(0, 1)),
)
FORMULAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(sorted(UNARY)), inner),
        st.tuples(st.sampled_from(sorted(BINARY)), inner, inner),
    ),
    max_leaves=8,
)


def evaluate(formula: tuple, xp: Any, p: dict[str, Any]) -> Any:
    """A formula of FORMULAS, of whatever the parameters are."""
    kind, *rest = formula
    if kind == "number":
        return p[rest[0]]
    if kind == "gather":
        return p[rest[0]][..., INDICES[rest[1]]]
    if kind == "linear":
        return p[rest[0]] @ MATRICES[rest[1]]
    if kind == "constant":
        return rest[0]
    if kind == "array":
        return ARRAYS[rest[0]]
    operands = [evaluate(f, xp, p) for f in rest]
    return UNARY[kind](xp, *operands) if kind in UNARY else BINARY[kind](xp, *operands)


class Reference:
    """PyTensor's functions; its own logaddexp is 0/0 where both exponentials underflow."""

    def __getattr__(self, name: str) -> Any:
        return getattr(pt, name)

    @staticmethod
    def logaddexp(x: Any, y: Any) -> Any:
        return x + pt.softplus(y - x)


def split(vector: Any) -> dict[str, Any]:
    return {name: vector[at] for name, at in LAYOUT.items()}


@given(
    st.lists(FORMULAS, min_size=1, max_size=3),
    st.lists(st.floats(-2, 2), min_size=SIZE, max_size=SIZE),
)
@settings(max_examples=200, deadline=None)
def test_values_are_those_of_numpy(formulas: list[tuple], values: list[float]) -> None:
    vector = np.array(values)
    found = run(
        record([evaluate(f, SYMBOLS, expressions(LAYOUT)) for f in formulas], PLACES), vector
    )
    assert found.shape == (len(formulas), PLACES)
    for row, formula in zip(found, formulas, strict=True):
        expected = np.broadcast_to(evaluate(formula, np, split(vector)), PLACES)
        # the same operations; parts that cancel are below 1e6
        np.testing.assert_allclose(row, expected, rtol=1e-12, atol=1e-9)


@given(st.lists(FORMULAS, min_size=1, max_size=3), st.integers(0, 10**6))
@settings(max_examples=100, deadline=None)
def test_gradients_are_those_of_pytensor(formulas: list[tuple], number: int) -> None:
    rng = np.random.default_rng(number)
    vector, seed = rng.normal(size=SIZE), rng.normal(size=(len(formulas), PLACES))
    found = record([evaluate(f, SYMBOLS, expressions(LAYOUT)) for f in formulas], PLACES)
    x = pt.dvector()
    # PyTensor would round Python's numbers to single precision.
    with autocast_float_as("float64"):
        rows = [evaluate(f, Reference(), split(x)) for f in formulas]
        # x is in every sum, so that a formula without parameters has a gradient too
        total = sum(pt.sum(w * r) for w, r in zip(seed, rows, strict=True)) + pt.sum(0.0 * x)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="PyTensor could not link to a BLAS")
        mode = pytensor.compile.mode.Mode(linker="py", optimizer=None)
        expected = pytensor.function([x], pt.grad(total, x), mode=mode)(vector)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(slopes(found, vector, seed), expected, rtol=1e-9, atol=1e-9 * scale)


# --- every operation by its closed form -----------------------------------------------------------


def logistic(z: FloatArray) -> FloatArray:
    return 1 / (1 + np.exp(-z))


# name: step, formula, and slope by the first and by the second operand
OPERATIONS: dict[str, tuple[int, Any, Any, Any]] = {
    "add": (tape.ADD, lambda xp, x, y: x + y, lambda x, y: 1, lambda x, y: 1),
    "subtract": (tape.SUBTRACT, lambda xp, x, y: x - y, lambda x, y: 1, lambda x, y: -1),
    "multiply": (tape.MULTIPLY, lambda xp, x, y: x * y, lambda x, y: y, lambda x, y: x),
    "divide": (
        tape.DIVIDE, lambda xp, x, y: x / y, lambda x, y: 1 / y, lambda x, y: -x / y**2,
    ),
    "maximum": (
        tape.MAXIMUM, lambda xp, x, y: xp.maximum(x, y), lambda x, y: x > y, lambda x, y: x < y,
    ),
    "logaddexp": (
        tape.LN_ADD,
        lambda xp, x, y: xp.logaddexp(x, y),
        lambda x, y: logistic(x - y),
        lambda x, y: logistic(y - x),
    ),
    "exp": (tape.EXP, lambda xp, x, y: xp.exp(x), lambda x, y: np.exp(x), None),
    "log": (tape.LOG, lambda xp, x, y: xp.log(x), lambda x, y: 1 / x, None),
    "log1p": (tape.LOG1P, lambda xp, x, y: xp.log1p(x), lambda x, y: 1 / (1 + x), None),
    "sqrt": (tape.SQRT, lambda xp, x, y: xp.sqrt(x), lambda x, y: 0.5 / np.sqrt(x), None),
    "tanh": (tape.TANH, lambda xp, x, y: xp.tanh(x), lambda x, y: 1 / np.cosh(x) ** 2, None),
    "square": (tape.SQUARE, lambda xp, x, y: x**2, lambda x, y: 2 * x, None),
    "negative": (tape.NEGATIVE, lambda xp, x, y: -x, lambda x, y: -1, None),
}  # fmt: skip


@pytest.mark.parametrize(("one", "other"), [(1, 1), (1, 3), (3, 1), (3, 3)])
@pytest.mark.parametrize("name", OPERATIONS)
def test_operation(name: str, one: int, other: int) -> None:
    """Operands of one value are spread over the places; their slope is a sum."""
    step, formula, by_x, by_y = OPERATIONS[name]
    rng = np.random.default_rng(12)
    x, y = rng.uniform(0.2, 3.0, one), rng.uniform(0.2, 3.0, other)
    layout = {"x": slice(0, one), "y": slice(one, one + other)}
    p = {k: v[..., np.arange(v.size)] for k, v in expressions(layout).items()}
    found = record([formula(SYMBOLS, p["x"], p["y"])], 3)
    vector = np.concatenate([x, y])
    assert operations(found).count(step) == 1
    expected = np.broadcast_to(formula(np, x, y), 3)
    np.testing.assert_allclose(run(found, vector)[0], expected, rtol=1e-14)
    seed = rng.normal(size=(1, 3))

    def summed(slope: Any, length: int) -> FloatArray:
        if slope is None:
            return np.zeros(length)
        each = seed[0] * np.broadcast_to(slope(x, y), 3)
        return each.sum(keepdims=True) if length == 1 else each

    gradient = np.concatenate([summed(by_x, one), summed(by_y, other)])
    np.testing.assert_allclose(slopes(found, vector, seed), gradient, rtol=1e-12, atol=1e-14)


def test_there_is_a_test_of_each_operation() -> None:
    names = {n for n in vars(tape) if n.isupper() and type(getattr(tape, n)) is int}
    columns = {"OPERATION", "FIRST", "SECOND", "LENGTH", "OFFSET", "TERMS"}
    leaves = {"CONSTANT", "PARAMETER", "LINEAR"}
    covered = {step for step, *_ in OPERATIONS.values()}
    assert {getattr(tape, n) for n in names - columns - leaves} == covered


@pytest.mark.parametrize(
    ("a", "b"),
    [(0.0, 0.0), (-1e4, -1e4), (-1e4, -1.00001e4), (1e4, -1e4), (-800.0, -2000.0), (900.0, 899.0)]
    + [(0.0, 1e3), (1e3, 0.0), (-1e3, -2e3), (0.0, -40.0), (1e300, -1e300)],
)
def test_logaddexp_is_finite_and_its_gradient_the_share(a: float, b: float) -> None:
    p = expressions({"a": 0, "b": 1})
    found = record([SYMBOLS.logaddexp(p["a"], p["b"])], 1)
    vector = np.array([a, b])
    assert run(found, vector)[0, 0] == pytest.approx(np.logaddexp(a, b), rel=1e-15, abs=1e-15)
    share = 1 / (1 + np.exp(np.clip(b - a, -700, 700)))
    gradient = slopes(found, vector, np.ones((1, 1)))
    np.testing.assert_allclose(gradient, [share, 1 - share], atol=1e-12)


# --- parameters -----------------------------------------------------------------------------------


def test_a_vector_of_terms_gathers_and_combines() -> None:
    vector = np.arange(10.0, 18.0)
    t = expressions(LAYOUT)["t"]
    index = np.array([2, 0, 2, 2])
    matrix = np.arange(12.0).reshape(TERMS, PLACES)
    found = record(
        [t[..., index], t @ matrix, (t * 2.0 * -0.25) @ matrix, (t * 2.0)[..., index]], PLACES
    )
    own = vector[5:]
    expected = [own[index], own @ matrix, -0.5 * own @ matrix, 2 * own[index]]
    np.testing.assert_array_equal(run(found, vector), expected)
    # three terms, seen once from the first output, four times from the last, and by the matrices
    seed = np.ones((4, PLACES))
    counts = np.bincount(index, minlength=TERMS)
    gradient = np.zeros(SIZE)
    gradient[5:] = 3 * counts + 0.5 * matrix.sum(axis=1)
    np.testing.assert_allclose(slopes(found, vector, seed), gradient, rtol=1e-14)


def test_terms_may_be_of_any_number_and_places_as_well() -> None:
    for size, places in ((1, 1), (1, 5), (6, 1), (40, 300)):
        rng = np.random.default_rng(3)
        vector, matrix = rng.normal(size=size), rng.normal(size=(size, places))
        found = record([expressions({"t": slice(0, size)})["t"] @ matrix], places)
        np.testing.assert_allclose(run(found, vector)[0], vector @ matrix, rtol=1e-12, atol=1e-13)
        seed = rng.normal(size=(1, places))
        expected = matrix @ seed[0]
        np.testing.assert_allclose(slopes(found, vector, seed), expected, rtol=1e-12, atol=1e-13)


def test_a_parameter_without_a_place_axis_drops_none() -> None:
    a = expressions({"a": 0})["a"]
    assert a[..., 0] is a


# --- constants ------------------------------------------------------------------------------------

LEFT: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda c, x: c + x,
    "-": lambda c, x: c - x,
    "*": lambda c, x: c * x,
    "/": lambda c, x: c / x,
}


@pytest.mark.parametrize("sign", LEFT)
@pytest.mark.parametrize(
    "constant", [2, 2.5, np.float64(-1.5), np.int64(3), np.array(0.7), np.array([1.0, -2.0, 0.5])]
)
def test_constants_may_stand_on_either_side(sign: str, constant: Any) -> None:
    x = expressions({"x": 0})["x"]
    left, right = LEFT[sign](constant, x), LEFT[sign](x, constant)
    assert isinstance(left, Expression)
    assert isinstance(right, Expression)
    vector = np.array([1.7])
    expected = [LEFT[sign](constant, 1.7), LEFT[sign](1.7, constant)]
    found = run(record([left, right], 3), vector)
    np.testing.assert_allclose(found, [np.broadcast_to(e, 3) for e in expected], rtol=1e-15)


def test_what_changes_nothing_leaves_no_step() -> None:
    for x in (expressions({"x": 0})["x"], expressions(LAYOUT)["s"][..., INDICES[0]]):
        for same in (0.0 + x, x + 0.0, x - 0.0, 1.0 * x, x * 1.0, 0 + x, x * np.float64(1)):
            assert same is x
        for other in (0.0 - x, x * 0.0, x + 1.0, x * -1.0, 1.0 / x, x + np.zeros(PLACES)):
            assert other is not x


def test_numbers_are_outputs_too() -> None:
    x = expressions({"x": 0})["x"]
    found = record([1.0, 2.0, x, 3.0, ARRAYS[0], 2.0], PLACES)
    expected = [[1.0] * 4, [2.0] * 4, [7.0] * 4, [3.0] * 4, ARRAYS[0], [2.0] * 4]
    np.testing.assert_array_equal(run(found, np.array([7.0])), expected)
    np.testing.assert_array_equal(slopes(found, np.array([7.0]), np.ones((6, PLACES))), [PLACES])


def test_functions_of_numbers_are_numbers() -> None:
    found = [SYMBOLS.exp(1.0), SYMBOLS.logaddexp(0.0, 2.0), SYMBOLS.maximum(ARRAYS[0], 0.0)]
    expected = [np.exp(1.0), np.logaddexp(0.0, 2.0), np.maximum(ARRAYS[0], 0.0)]
    for one, other in zip(found, expected, strict=True):
        assert not isinstance(one, Expression)
        np.testing.assert_array_equal(one, other)


# --- steps ----------------------------------------------------------------------------------------


def test_the_same_step_is_taken_once() -> None:
    def part() -> Any:
        p = expressions(LAYOUT)
        return SYMBOLS.exp(p["a"] * p["s"][..., INDICES[0]]) + 2.5

    found = record([part() * part(), part(), 2.5], PLACES)
    one = record([part()], PLACES)
    # the product beside what a single one takes
    assert len(found.steps) == len(one.steps) + 1
    assert operations(found).count(tape.EXP) == 1
    assert operations(found).count(tape.CONSTANT) == 1
    vector = np.linspace(-1, 1, SIZE)
    single = run(one, vector)[0]
    np.testing.assert_array_equal(run(found, vector)[1], single)
    np.testing.assert_allclose(run(found, vector)[0], single**2, rtol=1e-15)


def test_the_same_matrix_of_other_terms_is_another_step() -> None:
    p = expressions(LAYOUT)
    found = record([p["s"] @ MATRICES[0], p["t"] @ MATRICES[0], p["s"] @ MATRICES[0]], PLACES)
    assert operations(found) == [tape.LINEAR, tape.LINEAR]
    vector = np.linspace(-1, 1, SIZE)
    expected = [vector[at] @ MATRICES[0] for at in (LAYOUT["s"], LAYOUT["t"], LAYOUT["s"])]
    np.testing.assert_allclose(run(found, vector), expected, rtol=1e-15)


def test_a_step_that_no_output_needs_is_left_out() -> None:
    p = expressions(LAYOUT)
    unused = SYMBOLS.tanh(p["b"] / 3.0)
    assert isinstance(unused, Expression)
    found = record([SYMBOLS.exp(p["a"])], PLACES)
    assert operations(found) == [tape.PARAMETER, tape.EXP]
    gradient = slopes(found, np.ones(SIZE), np.ones((1, PLACES)))
    np.testing.assert_allclose(gradient, [PLACES * np.e, *np.zeros(SIZE - 1)], rtol=1e-15)


def test_vectors_are_left_alone() -> None:
    p = expressions(LAYOUT)
    found = record([p["a"] * p["t"][..., INDICES[0]], p["b"] ** 2], PLACES)
    vector, seed = np.arange(8.0), np.arange(8.0).reshape(2, PLACES)
    before = vector.copy(), seed.copy()
    slopes(found, vector, seed)
    np.testing.assert_array_equal(vector, before[0])
    np.testing.assert_array_equal(seed, before[1])


# --- what cannot be recorded ----------------------------------------------------------------------


def test_places_that_do_not_go_together() -> None:
    s = expressions(LAYOUT)["s"]
    with pytest.raises(ValueError, match=r"places of \[3, 4\] do not go together"):
        s[..., INDICES[0]] + np.zeros(3)
    with pytest.raises(ValueError, match="an output of 4 places, asked for 3"):
        record([s[..., INDICES[0]]], 3)
    with pytest.raises(ValueError, match="an output of 4 places, asked for 1"):
        record([1.0, s[..., INDICES[0]]], 1)


def test_constants_have_one_axis() -> None:
    with pytest.raises(ValueError, match=r"a constant of shape \(2, 2\)"):
        expressions({"x": 0})["x"] * np.ones((2, 2))


@pytest.mark.parametrize("power", [3, 0.5, -1.0, 0, np.ones(2)])
def test_powers_other_than_squares(power: Any) -> None:
    with pytest.raises(NotImplementedError, match="a tape has squares only"):
        expressions({"x": 0})["x"] ** power


@pytest.mark.parametrize("key", [0, (..., 1), (0, 0), slice(None), ...])
def test_indices_of_a_parameter(key: Any) -> None:
    with pytest.raises(NotImplementedError, match="index .* of 1 places"):
        expressions({"x": 0})["x"][key]


def test_places_cannot_be_picked() -> None:
    with pytest.raises(NotImplementedError, match="of 4 places"):
        expressions(LAYOUT)["s"][..., INDICES[0]][..., 0]


def test_terms_are_seen_by_places_only() -> None:
    s = expressions(LAYOUT)["s"]
    assert isinstance(s, Terms)
    with pytest.raises(TypeError):
        s + 1.0
