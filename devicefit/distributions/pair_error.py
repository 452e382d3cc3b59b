"""Error probability of complementary pairs of cells, for every kernel.

Each kernel is a scale mixture of normals: a Student-t variable is normal given its precision, which
is gamma distributed; a logistic variable is normal given a scale that is twice a Kolmogorov
variable (Andrews and Mallows, J. R. Stat. Soc. B 36, 1974; Stefanski, Stat. Probab. Lett. 11,
1991). With two such cells and a normal offset

    P(s1 X1 + offset - s2 X2 > d) = E[Q(d / sqrt(s1^2 M1 + s2^2 M2 + offset^2))],

Q the normal survival function, M1 and M2 the independent mixing variances. A quadrature rule for
each mixing law turns this into a double sum of positive terms: nothing cancels, whatever the scales
and the offset. Two normal components need no sum.

The rules are trapezoidal, which converges exponentially here: in ln(1 / M) for Student-t, with a
step that follows the width of the gamma law; in ln(exp(K) - 1) for the Kolmogorov variable K. Far
beyond the scale on which d is felt the Student-t integrand is a plain exponential, and the nodes
spread out there.
"""

from __future__ import annotations

import math

import numpy as np

from devicefit.distributions.kernels import LOGISTIC, NORMAL, STUDENT, normal_ln_cdf
from devicefit.distributions.mixture import Mixture
from devicefit.distributions.pair_integral import (
    DEGREE,
    TAIL_NODES,
    TERMS,
    ln_logistic_pair,
    ln_student_pair,
    logistic_series_holds,
    student_series_holds,
    student_tail,
)
from devicefit.numerics.arrays import FloatArray
from devicefit.numerics.compiled import njit
from devicefit.numerics.threads import in_threads
from devicefit.numerics.vector_math import weighted_tails

# Terms below exp(-_NEGLIGIBLE) of a large one are left out. There are under 1e3 of them, and the
# sum is asked to 1e-6.
_NEGLIGIBLE = 20.0
# Room for a rule. It is full only where a Student-t cell lies some 1e12 scales away.
_NODES = 192
# A sum of probabilities above it has no term of weight that is near underflow.
_PLAIN = 1e-280
# Elements that a thread takes at a time: some milliseconds of work.
_BLOCK = 2048


@njit(error_model="numpy")
def _largest_exponent(ln_w, m, a, c, square):  # type: ignore[no-untyped-def]
    """Nearly the largest exponent of the terms of a sum; a third of the nodes tells."""
    top = -np.inf
    for j in range(0, len(m), 3):
        top = max(top, ln_w[j] - 0.5 * square / (a * m[j] + c))
    return top


# --- rules ----------------------------------------------------------------------------------------


_STEP = 0.25
_LOGISTIC_FIRST = -1.75  # below it the density is under 1e-29


def _logistic_rule() -> tuple[FloatArray, FloatArray]:
    """Logarithm of the weights, and mixing variances, of the standard logistic law."""
    node = np.arange(_LOGISTIC_FIRST, 30.0, _STEP)
    k = np.log1p(np.exp(node))
    n = np.arange(1, 30)[:, None]
    # Density of the Kolmogorov variable: one theta series for large k, the other for small k.
    ratio = np.sum((-1.0) ** (n + 1) * n**2 * np.exp(-2 * (n**2 - 1) * k**2), axis=0)
    odd = (2 * n - 1) ** 2 * np.pi**2 / (4 * k**2)
    small = np.sum((odd - 1) * np.exp(-(odd - odd[0]) / 2), axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        ln_density = np.where(
            k > 0.8,
            np.log(8 * k * ratio) - 2 * k**2,
            0.5 * np.log(2 * np.pi) - 2 * np.log(k) + np.log(small) - odd[0] / 2,
        )
    ln_w = ln_density + np.log(_STEP) - np.log1p(np.exp(-node))
    return ln_w, 4 * k**2


_LOGISTIC_LN_W, _LOGISTIC_M = _logistic_rule()
_LOGISTIC_MODE = int(np.argmax(_LOGISTIC_LN_W))


@njit(error_model="numpy")
def _student_rule(dof, far, ln_w, m):  # type: ignore[no-untyped-def]
    """Fill the logarithms of the weights, and mixing variances, of a Student-t law.

    Dense down to where variances near `far` (in units of the squared scale) are felt. Returns the
    number of nodes, the index of the largest weight, and the least and largest `far` served.
    """
    half = 0.5 * dof
    # The error of the trapezoidal rule is |Gamma(half + 2 pi i / h) / Gamma(half)|; this step
    # makes it some 1e-8 from dof = 1 to 1e6.
    h = 1.0 / math.sqrt(3.3 + 0.43 * dof)
    body, tail = 16.0 / half, 18.0 / half
    right = math.log(1.0 + body + math.sqrt(2.0 * body))
    # in coarse steps, so that a rule serves neighbouring programming values
    block = 4.0 * h
    blocks = math.ceil(math.log1p(far / dof) / block)
    most = int(((_NODES - 60) * h - right) / block)
    least, largest = dof * math.expm1(block * (blocks - 1)), dof * math.expm1(block * blocks)
    if blocks >= most:
        blocks, least, largest = most, dof * math.expm1(block * (most - 1)), np.inf
    dense = -block * blocks - 2.0 * h
    left = -block * blocks - tail - math.sqrt(2.0 * tail)
    constant = half * math.log(half) - math.lgamma(half) + math.log(h)
    n, mode = 0, 0
    t = right
    while n < _NODES:
        stretch = math.exp((dense - t) / (2.0 * h))
        u = t - h * stretch
        if u < left:
            break
        ln_w[n] = constant + half * (u - math.exp(u)) + math.log1p(stretch / 2.0)
        m[n] = math.exp(-u)
        if ln_w[n] > ln_w[mode]:
            mode = n
        n += 1
        t -= h
    return n, mode, least, largest


@njit(error_model="numpy")
def _single_sum(square, a, ln_w, m, c):  # type: ignore[no-untyped-def]
    """Logarithm of the sum over one rule: the other cell is normal, its variance is in `c`."""
    top = _largest_exponent(ln_w, m, a, c, square)
    return top + math.log(weighted_tails(ln_w, m, a, c, square, top))


@njit(error_model="numpy")
def _double_sum(square, a1, ln_w1, m1, mode1, a2, ln_w2, m2, mode2, c):  # type: ignore[no-untyped-def]
    """Logarithm of the sum over both rules; `square` is d^2, `a` are squared scales, `c` offset^2.

    Terms that cannot matter are skipped: weights far in the tail of a mixing law, and variances
    too small to reach d.
    """
    # terms of the sum, hence lower bounds of it up to the factor Q(x) exp(x^2 / 2)
    top = max(
        ln_w1[mode1] + _largest_exponent(ln_w2, m2, a2, c + a1 * m1[mode1], square),
        ln_w2[mode2] + _largest_exponent(ln_w1, m1, a1, c + a2 * m2[mode2], square),
    )
    if top < -30.0:
        # Both cells may have to deviate: climb to the largest term, in turns.
        k, j = mode1, mode2
        for _ in range(8):
            best = -np.inf
            for i in range(len(m2)):
                value = ln_w2[i] - 0.5 * square / (a2 * m2[i] + a1 * m1[k] + c)
                if value > best:
                    best, j = value, i
            best = -np.inf
            for i in range(len(m1)):
                value = ln_w1[i] - 0.5 * square / (a1 * m1[i] + a2 * m2[j] + c)
                if value > best:
                    best, k = value, i
            if best + ln_w2[j] < top + 1.0:
                break
            top = best + ln_w2[j]
    total = 0.0
    low, high = 0, mode2 + 1
    for k in range(len(m1)):
        room = ln_w1[k] - top + _NEGLIGIBLE
        if room <= 0.0:
            continue
        variance = c + a1 * m1[k]
        least = (0.5 * square / room - variance) / a2
        while low < len(m2) and m2[low] < least:
            low += 1
        while low > 0 and m2[low - 1] >= least:
            low -= 1
        while high < len(m2) and ln_w2[high] >= -room:
            high += 1
        while high > mode2 + 1 and ln_w2[high - 1] < -room:
            high -= 1
        if high > low:
            total += weighted_tails(
                ln_w2[low:high], m2[low:high], a2, variance, square, top - ln_w1[k]
            )
    return top + math.log(total)


# --- pairs of components --------------------------------------------------------------------------


@njit(error_model="numpy")
def _rule(kernel, dof, far, slot, keys, ln_w, m, sizes):  # type: ignore[no-untyped-def]
    """Rule of one component in its slot of the scratch, made anew only where the last fails.

    ``keys[slot]`` holds (dof, least and largest `far`) of the last rule, ``sizes[slot]`` its number
    of nodes and the place of the largest weight.
    """
    if kernel == STUDENT:
        if keys[slot, 0] != dof or not keys[slot, 1] <= far <= keys[slot, 2]:
            n, mode, least, largest = _student_rule(dof, far, ln_w[slot], m[slot])
            keys[slot, 0], keys[slot, 1], keys[slot, 2] = dof, least, largest
            sizes[slot, 0], sizes[slot, 1] = n, mode
    elif kernel == LOGISTIC:
        if sizes[slot, 0] == 0:
            ln_w[slot, : len(_LOGISTIC_M)] = _LOGISTIC_LN_W
            m[slot, : len(_LOGISTIC_M)] = _LOGISTIC_M
        # A deviation by z scales is made by K near sqrt(z) / 2, give or take 1/4.
        largest = 3.0 + 0.5 * math.sqrt(math.sqrt(far))
        sizes[slot, 0] = min(len(_LOGISTIC_M), 1 + int((largest - _LOGISTIC_FIRST) / _STEP))
        sizes[slot, 1] = _LOGISTIC_MODE


@njit(error_model="numpy")
def _ln_mixed_pair(d, k1, s1, dof1, k2, s2, dof2, offset, slot, keys, ln_w, m, sizes):  # type: ignore[no-untyped-def]
    """Logarithm of P(s1 X1 + s2 X2 + offset > d), d >= 0, by the double sum; scratch last."""
    square, c = d * d, offset * offset
    a1, a2 = s1 * s1, s2 * s2
    i, j = slot, slot + 1
    if k1 != NORMAL:
        _rule(k1, dof1, (square + a2 + c) / a1, i, keys, ln_w, m, sizes)
    if k2 != NORMAL:
        _rule(k2, dof2, (square + a1 + c) / a2, j, keys, ln_w, m, sizes)
    if k2 == NORMAL:
        return _single_sum(square, a1, ln_w[i, : sizes[i, 0]], m[i, : sizes[i, 0]], a2 + c)
    if k1 == NORMAL:
        return _single_sum(square, a2, ln_w[j, : sizes[j, 0]], m[j, : sizes[j, 0]], a1 + c)
    # the longer rule inside
    if sizes[i, 0] > sizes[j, 0]:
        i, j, a1, a2 = j, i, a2, a1
    p, q = sizes[i, 0], sizes[j, 0]
    return _double_sum(
        square, a1, ln_w[i, :p], m[i, :p], sizes[i, 1], a2, ln_w[j, :q], m[j, :q], sizes[j, 1], c
    )


@njit(error_model="numpy")
def _ln_pair(d, k1, s1, dof1, k2, s2, dof2, offset, slot, rules, tails):  # type: ignore[no-untyped-def]
    """As :func:`_ln_mixed_pair`, by the fastest method that is accurate."""
    keys, ln_w, m, sizes = rules
    tail_dofs, tail, spread, combined = tails
    if k1 == NORMAL and k2 == NORMAL:
        return normal_ln_cdf(-d / math.sqrt(s1 * s1 + s2 * s2 + offset * offset))
    if k1 == LOGISTIC and k2 == LOGISTIC:
        narrow, wide = min(s1, s2), max(s1, s2)
        if logistic_series_holds(d, wide, offset):
            return ln_logistic_pair(d, narrow, wide, offset, combined)
    elif k1 == STUDENT and k2 == STUDENT:
        wide = slot + 1
        if s1 * s1 * dof1 > s2 * s2 * dof2:
            s1, dof1, s2, dof2, wide = s2, dof2, s1, dof1, slot
        if student_series_holds(d, s1, dof1, s2, dof2, offset):
            if tail_dofs[wide] != dof2:
                student_tail(dof2, tail[wide], spread[wide])
                tail_dofs[wide] = dof2
            return ln_student_pair(
                d, s1, dof1, s2, dof2, offset, tail[wide], spread[wide], combined
            )
    return _ln_mixed_pair(d, k1, s1, dof1, k2, s2, dof2, offset, slot, keys, ln_w, m, sizes)


@njit(error_model="numpy")
def _pair_rows(begin, end, lrs, hrs, offset, out):  # type: ignore[no-untyped-def]
    """Fill rows of `out`; `lrs` and `hrs` are :meth:`Mixture.flat`."""
    kernels_l, ln_w_l, loc_l, scale_l, dof_l = lrs
    kernels_h, ln_w_h, loc_h, scale_h, dof_h = hrs
    n_l, n_h = len(kernels_l), len(kernels_h)
    # Scratch with two slots for each pair of components: neighbouring columns share their rules.
    slots = 2 * n_l * n_h
    rules = (
        np.full((slots, 3), np.nan),
        np.empty((slots, _NODES)),
        np.empty((slots, _NODES)),
        np.zeros((slots, 2), np.int64),
    )
    tails = (
        np.full(slots, np.nan),
        np.empty((slots, TAIL_NODES)),
        np.empty((slots, TERMS, DEGREE + 1)),
        np.empty(2 * TERMS + 1),
    )
    weight_h, square_h = np.empty(n_h), np.empty(n_h)
    for row in range(begin, end):
        for column in range(out.shape[1]):
            for j in range(n_h):
                weight_h[j] = math.exp(ln_w_h[j, row, column])
                square_h[j] = scale_h[j, row, column] ** 2 + offset * offset
            # Plain sums are faster than sums of logarithms, and nearly always far from underflow.
            for in_logarithms in (False, True):
                total, top = 0.0, -np.inf
                for i in range(n_l):
                    ln_weight = ln_w_l[i, row, column]
                    if ln_weight == -np.inf:
                        continue
                    weight, s1 = math.exp(ln_weight), scale_l[i, row, column]
                    dof1 = dof_l[i, row, min(column, dof_l.shape[2] - 1)]
                    for j in range(n_h):
                        d = loc_h[j, row, column] - loc_l[i, row, column]
                        if not in_logarithms and kernels_l[i] == NORMAL and kernels_h[j] == NORMAL:
                            root = math.sqrt(2.0 * (s1 * s1 + square_h[j]))
                            total += weight * weight_h[j] * 0.5 * math.erfc(d / root)
                            continue
                        value = _ln_pair(
                            abs(d),
                            kernels_l[i],
                            s1,
                            dof1,
                            kernels_h[j],
                            scale_h[j, row, column],
                            dof_h[j, row, min(column, dof_h.shape[2] - 1)],
                            offset,
                            2 * (i * n_h + j),
                            rules,
                            tails,
                        )
                        if d < 0.0:  # the law of the difference is symmetric
                            value = math.log1p(-math.exp(min(value, -math.log(2.0))))
                        if not in_logarithms:
                            total += weight * weight_h[j] * math.exp(value)
                            continue
                        value += ln_weight + ln_w_h[j, row, column]
                        if value > top:
                            total = total * math.exp(top - value) + 1.0
                            top = value
                        elif value > -np.inf:
                            total += math.exp(value - top)
                if in_logarithms:
                    out[row, column] = min(top + math.log(total), 0.0)
                elif total > _PLAIN:
                    out[row, column] = min(math.log(total), 0.0)
                    break


def ln_pair_error(lrs: Mixture, hrs: Mixture, offset_ln_r: float) -> FloatArray:
    """Logarithm of ``P(y_LRS + offset > y_HRS)``.

    Parameters
    ----------
    lrs, hrs : Mixture
        Laws of ln R whose trailing shapes broadcast.
    offset_ln_r : float
        Standard deviation of the normal offset in ln R, not negative.

    Returns
    -------
    float array, the broadcast trailing shape

    Notes
    -----
    Exact for two normal components. Else a relative error of the probability below 1e-6, for 1 to
    1e6 degrees of freedom, any ratio of the scales and any offset.
    """
    shape = np.broadcast_shapes(lrs.trailing, hrs.trailing)
    flat = lrs.flat(shape), hrs.flat(shape)
    _, rows, columns = flat[0][1].shape
    out = np.empty((rows, columns))

    def work(begin: int, end: int) -> None:
        _pair_rows(begin, end, *flat, float(offset_ln_r), out)

    in_threads(work, rows, block=max(1, _BLOCK // max(columns, 1)))
    return out.reshape(shape)
