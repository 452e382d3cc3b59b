"""Transposing bits and bytes against NumPy."""

import numpy as np

from bnn.machine.bit_matrix import transpose_bits, transpose_bytes


def test_bits_are_transposed() -> None:
    rows = np.random.default_rng(11).integers(0, 2**64, 64, dtype=np.uint64)
    turned = rows.copy()
    transpose_bits(turned)
    before, after = (
        np.unpackbits(words.astype("<u8").view(np.uint8).reshape(64, 8), axis=1, bitorder="little")
        for words in (rows, turned)
    )
    np.testing.assert_array_equal(after, before.T)


def test_bytes_are_transposed_into_rows_that_lie_apart() -> None:
    matrix = np.random.default_rng(12).integers(-128, 128, (64, 64)).astype(np.int8)
    target = np.full((64, 100), 77, np.int8)
    transpose_bytes(matrix.reshape(-1), np.empty(4096, np.int8), target.reshape(-1), 20, 100)
    np.testing.assert_array_equal(target[:, 20:84], matrix.T)
    assert (target[:, :20] == 77).all()
    assert (target[:, 84:] == 77).all()
