"""The equal bit error rate that does the harm of unequal ones.

Cells read against a threshold fail as a one and as a zero at different rates ``p1`` and ``p0``. An
expected weight is then ``w (1 - p0 - p1) + (p0 - p1)``: the offset is the same in every weight of a
neuron and shifts its pre-activation by ``(p0 - p1)`` times the sum of its inputs, which fixed
thresholds do not know of. Networks are counted at equal rates; this module finds, for each network,
the equal rate at which the mean chip loses as much.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.special import logit

from devicefit.numerics.compiled import njit

FloatArray = NDArray[np.float64]

REPLICATES = 200
_LENGTH = 1.5
_SD_ODD, _SD_EVEN = 6.0, 15.0
_LEAST_SD = 0.01
_SATURATED = 0.9


@dataclass(frozen=True)
class Equivalent:
    """Posterior of how unequal rates harm a network.

    With the mean rate ``p = (p1 + p0) / 2`` and the tilt ``u = (p1 - p0) / (p1 + p0)`` the equal
    rate ``q`` that does the same harm is

        ln q = ln p + ln(1 + (2 ones - 1) u) + p (odd(p) u + even(p) u**2),

    at most 1/2: what bits go wrong on average, then a harm that grows with the square of the
    offset, larger on one side where ones and zeros are not alike.

    Parameters
    ----------
    ln_rate : float array, shape (knot,)
        ln of mean rates, ascending.
    odd, even : float array, shape (draw, knot)
        Coefficients, linear in ln p between knots and constant beyond.
    ones : float
        Share of the bits that are stored ones.
    """

    ln_rate: FloatArray
    odd: FloatArray
    even: FloatArray
    ones: float

    def ln_equivalent(self, ln_ber: FloatArray, tilt: FloatArray) -> FloatArray:
        """Ln of the equivalent rate.

        Parameters
        ----------
        ln_ber, tilt : float array, shape (draw, x)
            ln of the mean rate and tilt of the rates. Row ``i`` has draw ``i`` of the coefficients;
            with more rows the draws are used again.
        """
        at = np.ascontiguousarray(ln_ber, dtype=np.float64)
        out = np.empty(at.shape)
        u = np.ascontiguousarray(np.broadcast_to(tilt, at.shape))
        _equivalent(self.ln_rate, self.odd, self.even, self.ones, at, u, out)
        return out

    def of(self, rows: NDArray[np.int64]) -> Equivalent:
        """With the coefficients of some draws; as in :meth:`ln_equivalent` they are used again."""
        draw = rows % len(self.odd)
        return replace(self, odd=self.odd[draw], even=self.even[draw])

    def central(self) -> Equivalent:
        """With the mean coefficients, as one draw."""
        mean = [values.mean(axis=0, keepdims=True) for values in (self.odd, self.even)]
        return replace(self, odd=mean[0], even=mean[1])


@njit(error_model="numpy")
def _equivalent(ln_rate, odd, even, ones, ln_ber, tilt, out):  # type: ignore[no-untyped-def]
    most = np.log(0.5)
    last = len(ln_rate) - 1
    for i in range(ln_ber.shape[0]):
        row = i % odd.shape[0]
        for j in range(ln_ber.shape[1]):
            at, u = ln_ber[i, j], tilt[i, j]
            if u == 0.0:
                out[i, j] = at
                continue
            k = 0
            while k < last - 1 and at >= ln_rate[k + 1]:
                k += 1
            w = min(1.0, max(0.0, (at - ln_rate[k]) / (ln_rate[k + 1] - ln_rate[k])))
            a = odd[row, k] + w * (odd[row, k + 1] - odd[row, k])
            b = even[row, k] + w * (even[row, k + 1] - even[row, k])
            found = at + np.log1p((2.0 * ones - 1.0) * u) + np.exp(at) * (a * u + b * u * u)
            # what is above 1/2 already stays
            out[i, j] = min(found, max(at, most))


def fit_equivalent(
    counts: xr.Dataset, unequal: xr.Dataset, *, draws: int, rng: np.random.Generator
) -> Equivalent:
    """Posterior of the coefficients from counts.

    Parameters
    ----------
    counts : xarray.Dataset
        Output of ``bnn.evaluate``, dims (ber, chip).
    unequal : xarray.Dataset
        Output of :func:`reliability.unequal_counts.unequal_counts`; best of the same chips.
    draws : int
        Draws to give.
    rng : numpy.random.Generator
        Resamples chips and draws.

    Raises
    ------
    ValueError
        The tables are of different networks or test sets, or a rate lacks its two extremes.

    Notes
    -----
    The mean loss in an extreme case, looked up in the mean losses at equal rates (made monotone,
    and linear in their logit over ln p, like the accuracy curve), gives its equivalent rate; half
    the difference and half the sum of the two extremes of a rate give the odd and the even part.
    Their covariance is that over `REPLICATES` resamples of chips, the same for both tables where
    they have the same chips. The coefficients ``odd`` and ``even`` have Gaussian-process priors
    over ln p with mean 0, standard deviations 6 and 15 and length 1.5: weak against the counts
    where networks lose anything, and the harm goes to zero faster than p where they do not. The
    posterior is normal. Rates at which an extreme costs nine tenths of what can be lost say nothing
    and are left out.
    """
    _check_alike(counts, unequal)
    ber = np.asarray(counts["ber"].values, dtype=np.float64)
    ln_ber = np.log(ber[ber > 0])
    equal, tilted = _losses(counts, "ber")[ber > 0], _losses(unequal, "case")
    mine, theirs = counts["chip"].values, unequal["chip"].values
    paired = counts.attrs.get("seed") == unequal.attrs.get("seed") and bool(
        np.isin(theirs, mine).all()
    )
    if paired:
        equal = equal[:, np.searchsorted(mine, theirs)]
    rate, tilt = unequal["ber"].values, unequal["tilt"].values
    rates = np.unique(rate)
    cases = {
        sign: np.array([_case(rate, tilt, p, sign) for p in rates], dtype=np.int64)
        for sign in (-1.0, 1.0)
    }
    ones = float(unequal.attrs["ones"])
    n, m = equal.shape[1], tilted.shape[1]
    # less than that one image in as many chips is no loss that could be told from none
    least = 1 / (int(counts.attrs["images"]) * max(n, m))

    def parts(of_equal: FloatArray, of_tilted: FloatArray) -> FloatArray:
        """Odd and even parts at each rate, shape (2 rates,)."""
        level = logit(np.clip(np.maximum.accumulate(equal @ of_equal), least, 1 - least))
        level = level + 1e-9 * np.arange(len(level))
        lost = logit(np.clip(tilted @ of_tilted, least, 1 - least))
        found = {
            sign: np.interp(lost[at], level, ln_ber)
            - np.log(rates)
            - np.log1p((2 * ones - 1) * sign)
            for sign, at in cases.items()
        }
        return np.concatenate([(found[1.0] - found[-1.0]) / 2, (found[1.0] + found[-1.0]) / 2])

    resampled = []
    for _ in range(REPLICATES):
        of_tilted = rng.multinomial(m, np.full(m, 1 / m)) / m
        of_equal = of_tilted if paired else rng.multinomial(n, np.full(n, 1 / n)) / n
        resampled.append(parts(of_equal, of_tilted))
    seen = parts(np.full(n, 1 / n), np.full(m, 1 / m))
    noise = np.cov(np.array(resampled).T) + _LEAST_SD**2 * np.eye(len(seen))
    most = _SATURATED * equal.mean(axis=1).max()
    clear = np.all([tilted.mean(axis=1)[at] < most for at in cases.values()], axis=0)
    mean, root = _posterior(np.log(rates), seen, noise, np.tile(clear, 2))
    drawn = mean + rng.standard_normal((draws, len(mean))) @ root.T
    k = len(rates)
    return Equivalent(
        np.log(rates),
        np.ascontiguousarray(drawn[:, :k]),
        np.ascontiguousarray(drawn[:, k:]),
        ones,
    )


def _posterior(
    ln_rate: FloatArray, seen: FloatArray, noise: FloatArray, use: NDArray[np.bool_]
) -> tuple[FloatArray, FloatArray]:
    """Mean and root of the covariance of (odd, even) at the knots, given parts p (odd, even)."""
    kernel = np.exp(-0.5 * ((ln_rate[:, None] - ln_rate[None, :]) / _LENGTH) ** 2)
    kernel += 1e-6 * np.eye(len(ln_rate))
    nothing = np.zeros_like(kernel)
    prior = np.block([[_SD_ODD**2 * kernel, nothing], [nothing, _SD_EVEN**2 * kernel]])
    design = np.diag(np.tile(np.exp(ln_rate), 2))[use]
    gain = np.linalg.solve(design @ prior @ design.T + noise[np.ix_(use, use)], design @ prior).T
    covariance = prior - gain @ design @ prior
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    return gain @ seen[use], vectors * np.sqrt(np.maximum(values, 0.0))


def _losses(counts: xr.Dataset, dim: str) -> FloatArray:
    """Share of the images that each chip loses less gains, shape (case, chip)."""
    net = counts["lost"] - counts["gained"]
    return np.asarray(net.transpose(dim, "chip").values / counts.attrs["images"], dtype=np.float64)


def _case(rate: FloatArray, tilt: FloatArray, wanted: float, sign: float) -> int:
    found = np.flatnonzero((rate == wanted) & (tilt == sign))
    if len(found) != 1:
        raise ValueError(
            f"counts at unequal rates have {len(found)} cases with the mean rate {wanted:g} and "
            f"the tilt {sign:g}; one is needed"
        )
    return int(found[0])


def _check_alike(counts: xr.Dataset, unequal: xr.Dataset) -> None:
    for key in ("network_sha256", "protected"):
        mine, theirs = (str(of.attrs.get(key, "")) for of in (counts, unequal))
        if mine != theirs:
            raise ValueError(
                f"counts at equal and at unequal rates differ in {key}: {mine!r} and {theirs!r}; "
                "evaluate them together"
            )
