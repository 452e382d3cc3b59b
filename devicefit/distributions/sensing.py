"""From laws of resistance to bit error rates: 1T1R against a threshold, 2T2R pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from devicefit.distributions.mixture import Mixture
from devicefit.distributions.pair_error import ln_pair_error
from devicefit.distributions.threshold import choose_threshold, ln_read_error
from devicefit.numerics.arrays import FloatArray
from devicefit.numerics.short_repr import short_repr

SCHEMES = ("1T1R", "2T2R")
_LN_LARGEST = float(np.log(1e300))
CELLS_PER_BIT = {"1T1R": 1, "2T2R": 2}


@dataclass(frozen=True)
class SensingOptions:
    """How cells are read.

    Parameters
    ----------
    threshold_ohm : float or None
        Threshold of a 1T1R read; None chooses, for each value of the programming variable, the
        one with the least posterior expected BER.
    offset_ln_r : float
        Standard deviation of the sense amplifier's offset in ln R, for 2T2R. No measured value is
        published for this amplifier, so it is a parameter whose effect should be looked at.
    """

    threshold_ohm: float | None = None
    offset_ln_r: float = 0.05

    def __post_init__(self) -> None:
        if self.threshold_ohm is not None and not 0 < self.threshold_ohm < np.inf:
            raise ValueError(
                f"threshold_ohm is {self.threshold_ohm}; it must be positive and finite"
            )
        if not 0 <= self.offset_ln_r < np.inf:
            raise ValueError(
                f"offset_ln_r is {self.offset_ln_r}; it must not be negative nor infinite"
            )


@short_repr
@dataclass(frozen=True)
class BerCurve:
    """Draws of the bit error rate over the programming variable.

    Parameters
    ----------
    scheme : {"1T1R", "2T2R"}
        How the bit is read.
    programming : float array, shape (x,)
        Values of the programming variable, ascending, SI.
    ln_ber : float array, shape (chain, draw, x)
        Natural logarithm of the BER.
    threshold_ohm : float array, shape (x,), or None
        Threshold of 1T1R.
    extrapolated : bool array, shape (x,)
        Where the programming variable lies outside the measured range.
    support : float
        1 / (number of devices): a BER below it rests on the model's shape, not on data.
    tilt : float array, shape (chain, draw, x), or None
        How unequal the rates of the states are, of :func:`tilt_1t1r`; None where they are equal, as
        those of pairs.
    """

    scheme: str
    programming: FloatArray
    ln_ber: FloatArray
    threshold_ohm: FloatArray | None
    extrapolated: np.ndarray
    support: float
    tilt: FloatArray | None = None


def ln_ber_1t1r(lrs: Mixture, hrs: Mixture, threshold_ln_r: ArrayLike) -> FloatArray:
    """Natural logarithm of the BER of cells read against a threshold.

    ``BER = (P(y_LRS > t) + P(y_HRS < t)) / 2``: both bits are equally frequent.

    Parameters
    ----------
    lrs, hrs : Mixture
        Laws of ln R with the same trailing shape.
    threshold_ln_r : float array
        ln of the threshold in ohm, broadcast against the trailing shape.

    Returns
    -------
    float array, trailing shape of the laws
    """
    return ln_read_error(lrs, hrs, threshold_ln_r)


def tilt_1t1r(hrs: Mixture, threshold_ln_r: ArrayLike, ln_ber: FloatArray) -> FloatArray:
    """How unequal the error rates of the two states are: (LRS - HRS) / (LRS + HRS), -1 to 1.

    Parameters
    ----------
    hrs : Mixture
        Law of ln R in HRS.
    threshold_ln_r : float array
        ln of the threshold in ohm, broadcast against the trailing shape.
    ln_ber : float array, trailing shape of the law
        ln of the mean of the two rates, of :func:`ln_ber_1t1r`.

    Returns
    -------
    float array, trailing shape of the law
        1 where only cells in LRS are misread, -1 where only cells in HRS are.
    """
    of_hrs = np.exp(hrs.ln_distribution(threshold_ln_r) - ln_ber)
    return np.asarray(np.clip(1.0 - of_hrs, -1.0, 1.0))


def ln_ber_2t2r(lrs: Mixture, hrs: Mixture, offset_ln_r: float) -> FloatArray:
    """Natural logarithm of the BER of complementary pairs.

    ``BER = P(y_LRS + offset > y_HRS)`` with the two cells different devices and the offset normal
    with mean zero. Differences of normal components are normal, so their part is exact; the other
    kernels are integrated (:mod:`devicefit.distributions.pair_error`).

    Parameters
    ----------
    lrs, hrs : Mixture
        Laws of ln R with the same trailing shape.
    offset_ln_r : float
        Standard deviation of the offset in ln R, not negative.

    Returns
    -------
    float array, trailing shape of the laws

    Raises
    ------
    ValueError
        `offset_ln_r` is negative or not finite.
    """
    if not 0 <= offset_ln_r < np.inf:
        raise ValueError(f"offset_ln_r is {offset_ln_r}; it must not be negative nor infinite")
    return ln_pair_error(lrs, hrs, offset_ln_r)


def curves_of_laws(
    laws: Mapping[str, Mixture],
    x: FloatArray,
    *,
    extrapolated: np.ndarray,
    support: float,
    options: SensingOptions,
) -> dict[str, BerCurve]:
    """BER draws of every sensing scheme from the laws of ln R, whichever model they come from.

    Parameters
    ----------
    laws : mapping of str to Mixture
        Keys ``"LRS"`` and ``"HRS"``; trailing shape (chain, draw, x). Stacked families are joined
        by :func:`devicefit.distributions.mixture.mix`.
    x : float array, shape (x,)
        Values of the programming variable, ascending, SI.
    extrapolated : bool array, shape (x,)
        Where `x` lies outside the measured range.
    support : float
        1 / (number of devices).
    options : SensingOptions
        Threshold and offset.

    Returns
    -------
    dict of str to BerCurve
        Keys ``"1T1R"`` and ``"2T2R"``.

    Raises
    ------
    ValueError
        `x` is not ascending, or the laws have another number of values.
    """
    if np.any(np.diff(x) <= 0):
        raise ValueError("values of the programming variable must be ascending")
    lrs, hrs = laws["LRS"], laws["HRS"]
    for state, law in laws.items():
        if len(law.trailing) != 3 or law.trailing[-1] != len(x):
            raise ValueError(
                f"the law of {state} has the trailing shape {law.trailing}; expected "
                f"(chain, draw, {len(x)})"
            )
    if options.threshold_ohm is None:
        threshold = choose_threshold(lrs, hrs)
    else:
        threshold = np.full(len(x), np.log(options.threshold_ohm))
    one, two = ln_ber_1t1r(lrs, hrs, threshold), ln_ber_2t2r(lrs, hrs, options.offset_ln_r)
    # far outside the measured range a law may lie where no number in ohm reaches
    threshold_ohm = np.exp(np.clip(threshold, -_LN_LARGEST, _LN_LARGEST))
    return {
        "1T1R": BerCurve(
            "1T1R",
            x,
            one,
            threshold_ohm,
            extrapolated,
            support,
            tilt_1t1r(hrs, threshold, one),
        ),
        "2T2R": BerCurve("2T2R", x, two, None, extrapolated, support),
    }
