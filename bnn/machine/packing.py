"""Bits of +-1 matrices and of images, 64 to a word.

Column ``c`` of a row is bit ``c % 64`` of word ``c // 64``; a set bit means +1. Bits beyond the
last column, the padding, are always zero.
"""

import numpy as np
import numpy.typing as npt

WORD_BITS = 64
PIXEL_PLANES = 8
_AT_ONCE = 2**20

Words = npt.NDArray[np.uint64]


def word_count(columns: int) -> int:
    """Words that hold one row of `columns` bits."""
    return -(-columns // WORD_BITS)


def pack_bits(bits: npt.NDArray[np.bool_] | npt.NDArray[np.uint8]) -> Words:
    """Pack a matrix of zeros and ones.

    Parameters
    ----------
    bits : bool or uint8 array, shape (rows, columns)
        Everything that is not zero counts as one.

    Returns
    -------
    uint64 array, shape (rows, words)
        The rows, padding zero.

    Raises
    ------
    ValueError
        `bits` is not a matrix.
    """
    if bits.ndim != 2:
        raise ValueError(f"bits must have the shape (rows, columns), got {bits.shape}")
    rows, columns = bits.shape
    octets = np.zeros((rows, word_count(columns) * WORD_BITS // 8), np.uint8)
    packed = np.packbits(bits, axis=1, bitorder="little")
    octets[:, : packed.shape[1]] = packed
    # the words are little-endian by definition, so that files and hashes do not depend on the host
    return octets.view("<u8").astype(np.uint64)


def pack_signs(signs: npt.NDArray[np.int8]) -> Words:
    """Pack a matrix of +1 and -1.

    Parameters
    ----------
    signs : int8 array, shape (rows, columns)
        Every entry is +1 or -1.

    Returns
    -------
    uint64 array, shape (rows, words)
        Bit 1 for +1, padding zero.

    Raises
    ------
    ValueError
        An entry is neither +1 nor -1; gives the first bad index.
    """
    bad = np.argwhere(np.abs(signs) != 1)
    if bad.size:
        row, column = (int(i) for i in bad[0])
        raise ValueError(
            f"signs must be +1 or -1, got {signs[row, column]} at row {row}, column {column}"
        )
    return pack_bits(signs > 0)


def unpack_signs(words: Words, *, columns: int) -> npt.NDArray[np.int8]:
    """Give back the matrix that `pack_signs` packed.

    Parameters
    ----------
    words : uint64 array, shape (rows, words)
        Packed rows.
    columns : int
        Bits of a row that are meant.

    Returns
    -------
    int8 array, shape (rows, columns)
        +1 where the bit is set, else -1.

    Raises
    ------
    ValueError
        The number of words does not fit `columns`.
    """
    _check_words(words, columns)
    octets = np.ascontiguousarray(words).astype("<u8").view(np.uint8)
    signs = np.unpackbits(octets, axis=1, count=columns, bitorder="little").view(np.int8)
    # in place: signs take eight times the memory of the words, and copies of them as much again
    signs *= 2
    signs -= 1
    return signs


def padding_is_zero(words: Words, *, columns: int) -> bool:
    """Whether no bit beyond `columns` is set in `words`, shape (rows, words)."""
    _check_words(words, columns)
    used = columns % WORD_BITS
    if used == 0 or words.size == 0:
        return True
    return not bool(np.any(words[:, -1] >> np.uint64(used)))


def flip_bits(words: Words, positions: npt.NDArray[np.int64], *, columns: int) -> Words:
    """Flip single bits of a packed matrix.

    Parameters
    ----------
    words : uint64 array, shape (rows, words)
        Packed rows; not changed.
    positions : int64 array, shape (flips,)
        Bits to flip, counted row by row without padding (``row * columns + column``), strictly
        increasing: a bit flipped twice would silently be no error at all.
    columns : int
        Bits of a row.

    Returns
    -------
    uint64 array, shape (rows, words)
        A copy with these bits flipped.

    Raises
    ------
    ValueError
        A position is out of range or not larger than the one before it; gives its index.
    """
    _check_words(words, columns)
    flipped = words.copy()
    if positions.size == 0:
        return flipped
    bits = words.shape[0] * columns
    # some at a time: what is computed of them takes several times their memory
    for start in range(0, positions.size, _AT_ONCE):
        part = positions[start : start + _AT_ONCE]
        for index in (start, start + part.size - 1):
            if not 0 <= positions[index] < bits:
                raise ValueError(
                    f"positions must lie in 0..{bits - 1}, got {positions[index]} at index {index}"
                )
        # the last of the positions before belongs to the comparison, not to the flips
        steps = np.diff(positions[max(0, start - 1) : start + _AT_ONCE])
        if steps.size and steps.min() < 1:
            index = max(1, start) + int(np.argmin(steps >= 1))
            raise ValueError(
                f"positions must be strictly increasing, got {positions[index]} after "
                f"{positions[index - 1]} at index {index}"
            )
        rows, column = np.divmod(part, columns)
        # increasing positions visit increasing words, so the bits of one word stand side by side
        word = rows * words.shape[1] + column // WORD_BITS
        bit = np.left_shift(np.uint64(1), (column % WORD_BITS).astype(np.uint64))
        first = np.flatnonzero(np.diff(word, prepend=-1))
        flipped.reshape(-1)[word[first]] ^= np.bitwise_or.reduceat(bit, first)
    return flipped


def pack_pixel_planes(pixels: npt.NDArray[np.uint8]) -> Words:
    """Split images into their eight bit planes and pack each.

    Parameters
    ----------
    pixels : uint8 array, shape (images, pixels)
        Grey values 0..255; ``2 * pixel - 255 = sum_b 2**b * (2 * bit_b - 1)``.

    Returns
    -------
    uint64 array, shape (images, 8, words)
        Plane ``b`` holds bit ``b`` of every pixel, padding zero.
    """
    planes = [pack_bits(pixels & np.uint8(1 << b)) for b in range(PIXEL_PLANES)]
    return np.stack(planes, axis=1)


def _check_words(words: Words, columns: int) -> None:
    if words.ndim != 2 or words.shape[1] != word_count(columns):
        raise ValueError(
            f"words must have the shape (rows, {word_count(columns)}) for {columns} columns, "
            f"got {words.shape}"
        )
