import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bnn.machine import packing
from bnn.machine.packing import (
    flip_bits,
    pack_bits,
    pack_pixel_planes,
    pack_signs,
    padding_is_zero,
    unpack_signs,
    word_count,
)

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=150)


@pytest.mark.parametrize(
    ("columns", "words"), [(1, 1), (63, 1), (64, 1), (65, 2), (128, 2), (784, 13)]
)
def test_word_count(columns: int, words: int) -> None:
    assert word_count(columns) == words


def test_bit_order_is_fixed() -> None:
    # columns 0, 3 and 64: 2**0 + 2**3 in the first word, 2**0 in the second
    bits = np.zeros((1, 65), np.bool_)
    bits[0, [0, 3, 64]] = True
    np.testing.assert_array_equal(pack_bits(bits), np.array([[9, 1]], np.uint64))


@given(hnp.arrays(np.bool_, SHAPES))
def test_signs_survive_packing_and_padding_is_zero(bits: np.ndarray) -> None:
    signs = np.where(bits, 1, -1).astype(np.int8)
    words = pack_signs(signs)
    assert words.dtype == np.uint64
    assert padding_is_zero(words, columns=bits.shape[1])
    np.testing.assert_array_equal(unpack_signs(words, columns=bits.shape[1]), signs)


def test_pack_signs_names_the_first_entry_that_is_no_sign() -> None:
    with pytest.raises(ValueError, match=r"got 0 at row 1, column 0"):
        pack_signs(np.array([[1, -1], [0, 1]], np.int8))


def test_padding_is_seen_when_set() -> None:
    words = np.array([[0], [1 << 5]], np.uint64)
    assert padding_is_zero(words, columns=6)
    assert not padding_is_zero(words, columns=5)


@given(hnp.arrays(np.bool_, SHAPES), st.data())
def test_flip_bits_flips_these_bits_and_no_other(bits: np.ndarray, data: st.DataObject) -> None:
    chosen = data.draw(st.sets(st.integers(0, bits.size - 1)))
    positions = np.array(sorted(chosen), np.int64)
    words = pack_bits(bits)
    before = words.copy()
    flipped = flip_bits(words, positions, columns=bits.shape[1])
    expected = bits.copy()
    expected.reshape(-1)[positions] ^= True
    np.testing.assert_array_equal(flipped, pack_bits(expected))
    np.testing.assert_array_equal(words, before)
    assert padding_is_zero(flipped, columns=bits.shape[1])


def test_flipping_every_bit_leaves_the_padding_zero() -> None:
    words = pack_bits(np.zeros((3, 70), np.bool_))
    flipped = flip_bits(words, np.arange(210), columns=70)
    np.testing.assert_array_equal(flipped, np.tile(np.array([2**64 - 1, 63], np.uint64), (3, 1)))


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        ([-1, 2], r"0\.\.139, got -1 at index 0"),
        ([2, 140], r"0\.\.139, got 140 at index 1"),
        ([1, 5, 5], r"strictly increasing, got 5 after 5 at index 2"),
        ([1, 7, 5, 9], r"strictly increasing, got 5 after 7 at index 2"),
    ],
)
@pytest.mark.parametrize("at_once", [1, 2, 100])
def test_flip_bits_refuses_bad_positions(
    positions: list[int], message: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "_AT_ONCE", at_once)
    with pytest.raises(ValueError, match=message):
        flip_bits(np.zeros((2, 2), np.uint64), np.array(positions), columns=70)


@pytest.mark.parametrize("at_once", [1, 7, 64])
def test_flips_are_taken_some_at_a_time(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(at_once)
    bits = rng.random((5, 130)) < 0.5
    positions = np.flatnonzero(rng.random(bits.size) < 0.3)
    monkeypatch.setattr(packing, "_AT_ONCE", at_once)
    flipped = flip_bits(pack_bits(bits), positions, columns=130)
    bits.reshape(-1)[positions] ^= True
    np.testing.assert_array_equal(flipped, pack_bits(bits))


def test_words_that_do_not_fit_the_columns_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(rows, 2\) for 65 columns, got \(2, 1\)"):
        unpack_signs(np.zeros((2, 1), np.uint64), columns=65)


@given(hnp.arrays(np.uint8, SHAPES))
def test_planes_add_up_to_the_encoded_pixel(pixels: np.ndarray) -> None:
    planes = pack_pixel_planes(pixels)
    columns = pixels.shape[1]
    total = sum(
        (1 << b) * unpack_signs(planes[:, b], columns=columns).astype(np.int64) for b in range(8)
    )
    np.testing.assert_array_equal(total, 2 * pixels.astype(np.int64) - 255)
