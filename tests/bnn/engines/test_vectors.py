"""Vectors as values of compiled code, against NumPy."""

import numba
import numpy as np
import pytest

from bnn.machine import vectors
from bnn.machine.vectors import load_words, majority, parity, store_words


@pytest.mark.parametrize("three_way", [False, True])
def test_bitwise_functions_of_three(three_way: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if three_way and not vectors._THREE_WAY:
        pytest.skip("the processor has no AVX-512F")
    monkeypatch.setattr(vectors, "_THREE_WAY", three_way)

    @numba.njit
    def combine(a, b, c, odd, most):  # type: ignore[no-untyped-def]
        x, y, z = load_words(a, 0), load_words(b, 0), load_words(c, 0)
        store_words(odd, 0, parity(x, y, z))
        store_words(most, 0, majority(x, y, z))

    a, b, c = np.random.default_rng(0).integers(0, 2**64, (3, 8), dtype=np.uint64)
    odd, most = np.empty(8, np.uint64), np.empty(8, np.uint64)
    combine(a, b, c, odd, most)
    np.testing.assert_array_equal(odd, a ^ b ^ c)
    np.testing.assert_array_equal(most, (a & b) | (a & c) | (b & c))
