"""Error-correcting codes: residual bit error rate after correction."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import gammaln, logsumexp

from devicefit.numerics.compiled import njit
from devicefit.threads import in_threads

FloatArray = NDArray[np.float64]


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
BCH_127_64 = Code("BCH(127,64)", 127, 64, 10, 10)
"""Rate 0.504: the primitive binary BCH code of length 127 that corrects 10 bits, distance 21 (the
table of primitive BCH codes in Lin and Costello, Error Control Coding, gives n, k and t)."""


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
    return ln_residual_ber(replace(code, detects=code.n), ln_ber)


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
    ln_p = np.asarray(ln_ber, dtype=np.float64)
    if np.any(ln_p > 0):
        raise ValueError("the raw BER must not exceed 1")
    flat = np.ascontiguousarray(ln_p).reshape(-1)
    out = np.empty_like(flat)

    def work(begin: int, end: int) -> None:
        _residual(flat[begin:end], code.n, code.corrects, code.detects, out[begin:end])

    in_threads(work, len(flat), block=20_000)
    many = flat > math.log(0.5)
    if np.any(many):
        out[many] = _ln_residual_sum(code, flat[many])
    return out.reshape(ln_p.shape)


@njit(error_model="numpy")
def _residual(ln_p, n, corrects, detects, out):  # type: ignore[no-untyped-def]
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
            wrong = i if i <= detects else min(i + corrects, n)
            total += term * wrong
            term *= odds * (n - i) / (i + 1.0)
            # the ratios fall with i: beyond the largest term, what is left is soon nothing
            if term * n < 1e-18 * total and odds * (n - i) < 0.5 * (i + 1.0):
                break
        front = ln_choose + first * ln_p[k] + (n - first) * math.log1p(-p)
        out[k] = min(front + math.log(total / n), 0.0)


def _ln_residual_sum(code: Code, ln_p: FloatArray) -> FloatArray:
    """The same sum in logarithms, for any p."""
    i = np.arange(code.corrects + 1, code.n + 1)
    wrong = np.where(i <= code.detects, i, np.minimum(i + code.corrects, code.n))
    ln_choose = gammaln(code.n + 1) - gammaln(i + 1) - gammaln(code.n - i + 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ln_q = np.log1p(-np.exp(ln_p))[..., None]
        rest = np.where(i == code.n, 0.0, (code.n - i) * ln_q)
        terms = ln_choose + i * ln_p[..., None] + rest + np.log(wrong / code.n)
    return np.asarray(np.minimum(logsumexp(terms, axis=-1), 0.0))


def raw_ber_for(code: Code, target: float) -> float:
    """Largest raw BER whose residual BER is at most `target`.

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
    root = brentq(lambda u: float(ln_residual_ber(code, u)) - ln_target, np.log(1e-30), np.log(0.2))
    return float(np.exp(root))
