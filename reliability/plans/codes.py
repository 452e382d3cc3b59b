"""Error-correcting codes: residual bit error rate after correction."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import gammaln, logsumexp

from devicefit.numerics.arrays import FloatArray
from devicefit.numerics.compiled import njit
from devicefit.numerics.threads import in_threads


@dataclass(frozen=True)
class Code:
    """Block code that corrects up to `corrects` wrong bits of a word.

    Parameters
    ----------
    name : str
        For tables.
    n, k : int
        Bits of a stored word, and data bits among them.
    corrects : int
        Wrong bits that are always corrected.
    detects : int
        Wrong bits that are always at least detected (then left as they are).
    """

    name: str
    n: int
    k: int
    corrects: int
    detects: int

    def __post_init__(self) -> None:
        if not 0 < self.k <= self.n or not 0 <= self.corrects <= self.detects <= self.n:
            raise ValueError(f"code {self.name!r}: need 0 < k <= n and corrects <= detects <= n")

    @property
    def cells_per_bit(self) -> float:
        """Stored cells for each bit of data, in full words."""
        return self.n / self.k

    def cells_for(self, bits: int) -> int:
        """Stored cells for a number of bits of data; the last word is shortened."""
        return bits + -(-bits // self.k) * (self.n - self.k)


NO_CODE = Code("no ECC", 1, 1, 0, 0)
SECDED_72_64 = Code("SECDED(72,64)", 72, 64, 1, 2)
SECDED_CHECKS = 8
"""Parity bits of SECDED(72,64)."""

BCH_127_64 = Code("BCH(127,64)", 127, 64, 10, 10)
"""Rate 0.504: the primitive binary BCH code of length 127 that corrects 10 bits, distance 21 (the
table of primitive BCH codes in Lin and Costello, Error Control Coding, gives n, k and t)."""


def hsiao_columns() -> NDArray[np.int64]:
    """Columns of the parity-check matrix of a SECDED(72,64) code, data bits first.

    Returns
    -------
    int64 array, shape (72,)
        Eight-bit words of odd weight, all different (Hsiao, IBM J. Res. Dev. 14, 395, 1970): the
        56 of weight 3, the 8 rotations of 00011111, and the 8 of weight 1 for the parity bits.
    """
    three = [sum(1 << b for b in bits) for bits in combinations(range(SECDED_CHECKS), 3)]
    five = [(0b11111 << r | 0b11111 >> (SECDED_CHECKS - r)) & 0xFF for r in range(SECDED_CHECKS)]
    one = [1 << b for b in range(SECDED_CHECKS)]
    return np.array(three + five + one, dtype=np.int64)


def ln_residual_in_place(code: Code, ln_ber: ArrayLike) -> FloatArray:
    """Natural logarithm of the residual BER when every word that is not corrected is left alone.

    The same sum as in :func:`ln_residual_ber` with ``i/n`` in every term: no decoding makes things
    worse. Real decoders lie between the two, near this end where few wrong words look like
    correctable ones: for BCH(127,64) one in 40,000 (the share of all words within distance 10 of
    a codeword).

    Parameters
    ----------
    code, ln_ber
        As of :func:`ln_residual_ber`.

    Returns
    -------
    float array, shape of `ln_ber`
    """
    return _ln_mean_share(code, np.arange(code.n + 1.0), ln_ber)


def ln_decoded_ber(code: Code, ln_ber: ArrayLike) -> FloatArray:
    """Natural logarithm of the BER that the decoder leaves on average, as chips have it.

    SECDED(72,64): the decoder of :func:`reliability.plans.decoders.after_secded`, which turns a
    word at distance 1 of a codeword into it, rightly or not. Of the words with i wrong bits (i odd)
    ``(i + 1) A[i + 1]`` gain one and ``(n - i + 1) A[i - 1]`` lose one, with A the number of
    codewords of each weight. Other codes: :func:`ln_residual_in_place`.

    Parameters
    ----------
    code, ln_ber
        As of :func:`ln_residual_ber`.

    Returns
    -------
    float array, shape of `ln_ber`
    """
    return _ln_mean_share(code, np.array(_left_by_decoder(code)), ln_ber)


@lru_cache(maxsize=16)
def _left_by_decoder(code: Code) -> tuple[float, ...]:
    """Mean number of wrong bits that the decoder leaves of 0 to n."""
    n = code.n
    if code != SECDED_72_64:
        return tuple(float(i) for i in range(n + 1))
    weights = [*_codewords_of_weight(hsiao_columns().tolist(), n - code.k), 0]
    return tuple(
        i + (((i + 1) * weights[i + 1] - (n - i + 1) * weights[i - 1]) / math.comb(n, i))
        if i % 2
        else float(i)
        for i in range(n + 1)
    )


def _codewords_of_weight(columns: Sequence[int], checks: int) -> list[int]:
    """Number of codewords of each weight, by the identity of MacWilliams (1963), exact.

    `columns` are those of the parity-check matrix, as whole numbers of `checks` bits.
    """
    n = len(columns)
    of_dual = [sum((word & c).bit_count() & 1 for c in columns) for word in range(1 << checks)]

    def krawtchouk(w: int, j: int) -> int:
        return sum((-1) ** s * math.comb(j, s) * math.comb(n - j, w - s) for s in range(w + 1))

    counted = Counter(of_dual)
    return [sum(m * krawtchouk(w, j) for j, m in counted.items()) >> checks for w in range(n + 1)]


def ln_residual_ber(code: Code, ln_ber: ArrayLike) -> FloatArray:
    """Natural logarithm of the residual BER, miscorrection included, an upper bound.

    Words with more wrong bits than are detected count `corrects` further wrong bits each, as if
    every such decoding failed towards the wrong codeword:

        sum_{t < i <= d} (i/n) P(i) + sum_{i > d} (min(i + t, n)/n) P(i),

    with P(i) binomial, t bits corrected, d bits detected.

    Parameters
    ----------
    code : Code
        The code.
    ln_ber : float array
        ln of the raw BER, at most 0; -inf gives -inf.

    Returns
    -------
    float array, shape of `ln_ber`

    Raises
    ------
    ValueError
        A raw BER above 1.
    """
    i = np.arange(code.n + 1.0)
    wrong = np.where(i <= code.detects, i, np.minimum(i + code.corrects, code.n))
    return _ln_mean_share(code, wrong, ln_ber)


def _ln_mean_share(code: Code, wrong: FloatArray, ln_ber: ArrayLike) -> FloatArray:
    """Ln of the mean share of wrong bits where ``wrong[i]`` of i are left, i > corrects."""
    ln_p = np.asarray(ln_ber, dtype=np.float64)
    if np.any(ln_p > 0):
        raise ValueError("the raw BER must not exceed 1")
    flat = np.ascontiguousarray(ln_p).reshape(-1)
    out = np.empty_like(flat)

    def work(begin: int, end: int) -> None:
        _residual(flat[begin:end], code.n, code.corrects, wrong, out[begin:end])

    in_threads(work, len(flat), block=20_000)
    many = flat > math.log(0.5)
    if np.any(many):
        out[many] = _ln_residual_sum(code, wrong, flat[many])
    return out.reshape(ln_p.shape)


@njit(error_model="numpy")
def _residual(ln_p, n, corrects, wrong, out):  # type: ignore[no-untyped-def]
    """Fill `out`: the first term of the sum times a sum of ratios, for p up to 1/2."""
    first = corrects + 1
    ln_choose = math.lgamma(n + 1.0) - math.lgamma(first + 1.0) - math.lgamma(n - first + 1.0)
    for k in range(len(ln_p)):
        p = math.exp(ln_p[k])
        if first > n or ln_p[k] == -np.inf:
            out[k] = -np.inf
            continue
        odds = p / (1.0 - p)
        term, total = 1.0, 0.0
        for i in range(first, n + 1):
            total += term * wrong[i]
            term *= odds * (n - i) / (i + 1.0)
            # the ratios fall with i: beyond the largest term, what is left is soon nothing
            if term * n < 1e-18 * total and odds * (n - i) < 0.5 * (i + 1.0):
                break
        front = ln_choose + first * ln_p[k] + (n - first) * math.log1p(-p)
        out[k] = min(front + math.log(total / n), 0.0)


def _ln_residual_sum(code: Code, wrong: FloatArray, ln_p: FloatArray) -> FloatArray:
    """The same sum in logarithms, for any p."""
    i = np.arange(code.corrects + 1, code.n + 1)
    ln_choose = gammaln(code.n + 1) - gammaln(i + 1) - gammaln(code.n - i + 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ln_q = np.log1p(-np.exp(ln_p))[..., None]
        rest = np.where(i == code.n, 0.0, (code.n - i) * ln_q)
        terms = ln_choose + i * ln_p[..., None] + rest + np.log(wrong[i] / code.n)
    return np.asarray(np.minimum(logsumexp(terms, axis=-1), 0.0))


def raw_ber_for(code: Code, target: float) -> float:
    """Largest raw BER of which the decoder leaves at most `target` on average.

    Raises
    ------
    ValueError
        `target` is not between 0 and 0.1.
    """
    if not 0 < target < 0.1:
        raise ValueError(f"target BER is {target}; give a value between 0 and 0.1")
    if code.corrects == 0:
        return target
    ln_target = np.log(target)
    root = brentq(lambda u: float(ln_decoded_ber(code, u)) - ln_target, np.log(1e-30), np.log(0.2))
    return float(np.exp(root))
