"""Wrong bits that real decoders leave in words with independent errors, word by word."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bnn.networks.network import FoldedNetwork
from reliability.plans.codes import NO_CODE, SECDED_72_64, SECDED_CHECKS, Code, hsiao_columns

Bits = NDArray[np.bool_]


def after_secded(wrong: Bits) -> Bits:
    """Errors that a SECDED(72,64) decoder leaves.

    Parameters
    ----------
    wrong : bool array, shape (words, 72)
        Wrong bits of each word, data bits first.

    Returns
    -------
    bool array, shape (words, 72)
        A syndrome that equals a column flips this bit, rightly or not; any other leaves the word.
    """
    columns = hsiao_columns()
    syndrome = np.bitwise_xor.reduce(np.where(wrong, columns, 0), axis=1)
    position = np.full(1 << SECDED_CHECKS, -1)
    position[columns] = np.arange(len(columns))
    flipped = position[syndrome]
    left = wrong.copy()
    rows = np.flatnonzero(flipped >= 0)
    left[rows, flipped[rows]] ^= True
    return left


def after_decoding(code: Code, wrong: Bits) -> Bits:
    """Errors that are left in words of a code.

    Parameters
    ----------
    code : Code
        ``NO_CODE``, ``SECDED_72_64``, or one whose decoder corrects up to `corrects` bits and, but
        for a share of the others that is neglected here, leaves all other words as they are.
    wrong : bool array, shape (words, n)
        Wrong bits, data bits first.

    Returns
    -------
    bool array, shape (words, n)
    """
    if code == NO_CODE:
        return wrong
    if code == SECDED_72_64:
        return after_secded(wrong)
    return wrong & (wrong.sum(axis=1, keepdims=True) > code.corrects)


def coded_chip(
    network: FoldedNetwork,
    code: Code,
    ber: float,
    *,
    interleaved: bool = False,
    rng: np.random.Generator,
) -> dict[str, NDArray[np.int64]]:
    """Wrong weight bits of one chip after decoding.

    Parameters
    ----------
    network : FoldedNetwork
        Network; each layer begins with a word of its own.
    code : Code
        As of :func:`after_decoding`.
    ber : float
        BER of the stored bits, parity included; independent.
    interleaved : bool
        Whether the bits of a word are spread over the layer instead of being neighbours in one
        neuron.
    rng : numpy.random.Generator
        For one chip.

    Returns
    -------
    dict of layer name to int64 array
        Positions as of `bnn.flip_weights`.
    """
    found = {}
    for name, bits in network.weight_bits.items():
        words = -(-bits // code.k)
        left = after_decoding(code, rng.random((words, code.n)) < ber)[:, : code.k]
        order = left.T if interleaved else left
        found[name] = np.flatnonzero(order.reshape(-1)[:bits])
    return found
