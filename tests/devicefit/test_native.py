"""What densities in machine code are made of."""

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devicefit.native import NOT_FINITE, answer, floats, integers, out_of_scale, place


@numba.njit
def read_floats(address, n):  # type: ignore[no-untyped-def]
    return floats(address, n).copy()


@numba.njit
def read_integers(address, n):  # type: ignore[no-untyped-def]
    return integers(address, n).copy()


@given(st.lists(st.floats(allow_nan=False), max_size=20))
@settings(deadline=None)
def test_floats_are_read_where_they_are(values: list[float]) -> None:
    array = np.array(values, dtype=np.float64)
    np.testing.assert_array_equal(read_floats(*place(array)), array)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20))
@settings(deadline=None)
def test_integers_are_read_where_they_are(values: list[int]) -> None:
    array = np.array(values, dtype=np.int64)
    np.testing.assert_array_equal(read_integers(*place(array)), array)


def test_a_matrix_has_all_of_its_elements() -> None:
    matrix = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(read_floats(*place(matrix)), np.arange(6.0))


@pytest.mark.parametrize(
    "array",
    [np.zeros(4)[::2], np.zeros(3, np.float32), np.zeros(3, np.int32), np.zeros(3, bool)]
    + [np.asfortranarray(np.zeros((2, 3)))],
)
def test_other_arrays_have_no_place(array: np.ndarray) -> None:
    with pytest.raises(TypeError, match="give a contiguous one of float64 or int64"):
        place(array)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_out_of_scale_and_back(n: int) -> None:
    rng = np.random.default_rng(n)
    centre, root, w, gradient = (
        rng.normal(size=n), rng.normal(size=(n, n)), rng.normal(size=n), rng.normal(size=n),
    )  # fmt: skip
    found = out_of_scale(w, centre, root.ravel())
    np.testing.assert_allclose(found, centre + root @ w, rtol=1e-12, atol=1e-14)
    slot_value, slot_gradient = np.full(1, np.nan), np.full(n, np.nan)
    assert answer(2.5, gradient, root.ravel(), slot_value, slot_gradient) == 0
    assert slot_value[0] == 2.5
    np.testing.assert_allclose(slot_gradient, root.T @ gradient, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("value", "slope"),
    [(np.nan, 0.0), (np.inf, 0.0), (-np.inf, 0.0), (1.0, np.nan), (1.0, np.inf)],
)
def test_what_is_not_finite_has_a_status_of_its_own(value: float, slope: float) -> None:
    gradient = np.array([1.0, slope])
    assert answer(value, gradient, np.eye(2).ravel(), np.zeros(1), np.zeros(2)) == NOT_FINITE
