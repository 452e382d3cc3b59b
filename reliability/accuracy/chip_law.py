"""How many images single chips lose or gain: a law with closed-form quantiles.

The surface gives mean and variance of the count over chips. Chips get the law of ``floor(Y + U)``
with U uniform and Y continuous: counts are whole images, their mean is exact, and a network that
loses 0.1 image on average loses one on every tenth chip. Y has the mean, variance and skewness of a
beta law (at most all images that can be lost), as a cube of a normal variable after Wilson and
Hilferty (1931); where its standard deviation would exceed its mean, some chips have Y = 0 and the
others an exponential law, so that mean and variance stay. Nothing here is inverted numerically: a
decision propagates some ten million chips.
"""

from __future__ import annotations

import math

from devicefit.numerics.compiled import njit
from devicefit.numerics.vector_math import fast_exp, fast_tail, vector_exp, vector_log

ROUNDED = 1.0 / 12.0
"""Variance that the fit allows for rounding to whole images."""

CONSTANT, EXPONENTIAL, SKEWED = 0, 1, 2
"""Forms of the law of Y."""

_ROUNDED_AT_RANDOM = 1.0 / 6.0
_FEW = 0.2113248654051871  # m (1 - m) = 1/6


@njit(error_model="numpy")
def segment(knots, at):  # type: ignore[no-untyped-def]
    """Knot to the left and weight of the one to the right; constant beyond the ends."""
    low, high = 0, len(knots) - 1
    while high - low > 1:
        middle = (low + high) // 2
        if at >= knots[middle]:
            low = middle
        else:
            high = middle
    weight = (at - knots[low]) / (knots[low + 1] - knots[low])
    return low, min(1.0, max(0.0, weight))


@njit(error_model="numpy")
def value_at(table, k, w, m, v):  # type: ignore[no-untyped-def]
    """Bilinear value of a table over (rate, tilt) between neighbouring entries."""
    low = table[k, m] + v * (table[k, m + 1] - table[k, m])
    high = table[k + 1, m] + v * (table[k + 1, m + 1] - table[k + 1, m])
    return low + w * (high - low)


@njit(error_model="numpy")
def share_at(logit, k, w, m, v, below):  # type: ignore[no-untyped-def]
    """Mean share; `below` is ln BER under the first knot, where shares are proportional to it."""
    h = value_at(logit, k, w, m, v) + min(below, 0.0)
    return 1.0 / (1.0 + math.exp(-h))


@njit(error_model="numpy")
def count_variance(share, ln_dispersion, pool):  # type: ignore[no-untyped-def]
    """Variance of the count over chips, without rounding."""
    return math.exp(ln_dispersion) * pool * share * (1.0 - share)


@njit(error_model="numpy")
def continuous_variance(mean, variance):  # type: ignore[no-untyped-def]
    """Variance of Y, so that ``floor(Y + U)`` has the variance that was fitted."""
    by_rounding = mean * (1.0 - mean) if mean < _FEW else _ROUNDED_AT_RANDOM
    return max(0.0, variance + ROUNDED - max(by_rounding, ROUNDED))


@njit(error_model="numpy")
def law_of(mean, variance, pool):  # type: ignore[no-untyped-def]
    """What quantiles of Y need: its form, mean, standard deviation and shape.

    The shape is the share of chips above zero in the exponential form, else the skewness.
    """
    if not mean > 0.0 or not variance > 0.0:
        return CONSTANT, max(mean, 0.0), 0.0, 0.0
    sd = math.sqrt(variance)
    if sd >= mean:
        return EXPONENTIAL, mean, sd, 2.0 * mean * mean / (variance + mean * mean)
    return SKEWED, mean, sd, _beta_skewness(mean, variance, pool)


@njit(error_model="numpy")
def quantile_of(law, pool, z):  # type: ignore[no-untyped-def]
    """Quantile of Y at the standard normal score z, from :func:`law_of`."""
    form, mean, sd, shape = law
    if form == CONSTANT:
        return mean
    if form == EXPONENTIAL:
        above = 0.5 * math.erfc(z / math.sqrt(2.0))
        if above >= shape:
            return 0.0
        return min(pool, -math.log(above / shape) * mean / shape)
    return min(pool, max(0.0, mean + sd * standard_skewed(shape, z)))


@njit(error_model="numpy")
def below_in(law, pool, y):  # type: ignore[no-untyped-def]
    """P(Y <= y) to 1e-8, from :func:`law_of`; the inverse of :func:`quantile_of`."""
    if y >= pool:
        return 1.0
    if y < 0.0:
        return 0.0
    form, mean, sd, shape = law
    if form == CONSTANT:
        return 1.0 if mean <= y else 0.0
    if form == EXPONENTIAL:
        return 1.0 - shape * fast_exp(-y * shape / mean)
    sixth = shape / 6.0
    z = (y - mean) / sd
    if abs(sixth) >= 1e-6:
        base = 1.0 + 3.0 * sixth * z
        root = vector_exp(vector_log(max(abs(base), 1e-300)) / 3.0)
        z = (math.copysign(root, base) - 1.0) / sixth + sixth
    tail = fast_tail(abs(z))
    return tail if z < 0.0 else 1.0 - tail


@njit(error_model="numpy")
def continuous_count(mean, variance, pool, z):  # type: ignore[no-untyped-def]
    """Quantile of Y at the standard normal score z."""
    return quantile_of(law_of(mean, variance, pool), pool, z)


@njit(error_model="numpy")
def probability_below(y, mean, variance, pool):  # type: ignore[no-untyped-def]
    """P(Y <= y), the inverse of :func:`continuous_count`, to 1e-8."""
    return below_in(law_of(mean, variance, pool), pool, y)


@njit(error_model="numpy")
def _beta_skewness(mean, variance, pool):  # type: ignore[no-untyped-def]
    """Skewness of a beta law of this mean and variance, at most 2 either way."""
    left = max(1.0 - mean / pool, 1e-12)
    precision = mean * left * pool / variance - 1.0
    if precision <= 0.0:
        return 0.0
    skewness = (
        2.0
        * (2.0 * left - 1.0)
        * math.sqrt(precision + 1.0)
        / ((precision + 2.0) * math.sqrt(mean / pool * left))
    )
    return min(2.0, max(-2.0, skewness))


@njit(error_model="numpy")
def standard_skewed(skewness, z):  # type: ignore[no-untyped-def]
    """Quantile of a law of mean 0, variance 1 and given skewness, at most 2 either way."""
    sixth = skewness / 6.0
    if abs(sixth) < 1e-6:
        return z
    base = 1.0 + sixth * (z - sixth)
    return (base * base * base - 1.0) / (3.0 * sixth)


@njit(error_model="numpy")
def population_count(count, pool, z):  # type: ignore[no-untyped-def]
    """Expected count in a test set of the same population, given the one in this test set.

    Mean `count`, variance that of a binomial law; the standard deviation is at most the mean, which
    below one image understates how little is known of less than one image.
    """
    if not count > 0.0:
        return 0.0
    sd = min(math.sqrt(count * max(1.0 - count / pool, 0.0)), count)
    skewness = 2.0 * sd / count
    return min(pool, max(0.0, count + sd * standard_skewed(skewness, z)))
