"""Bit error rates of a fitted device over its programming."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from scipy.special import logsumexp

from devicefit.distributions.sensing import (
    BerCurve,
    SensingOptions,
    curves_of_laws,
    ln_ber_1t1r,
    ln_ber_2t2r,
    tilt_1t1r,
)
from devicefit.fitting.fitted import Fitted
from devicefit.numerics.arrays import FloatArray


def ber_curves(posterior: Fitted, x: FloatArray, *, options: SensingOptions) -> dict[str, BerCurve]:
    """BER draws of every sensing scheme over values of the programming variable.

    Parameters
    ----------
    posterior : Fitted
        Fitted device.
    x : float array, shape (x,)
        Values of the programming variable, ascending, SI.
    options : SensingOptions
        Threshold and offset.

    Returns
    -------
    dict of str to BerCurve
        Keys ``"1T1R"`` and ``"2T2R"``; of a cell, or a pair of cells, of any of the measured
        arrays.

    Raises
    ------
    ValueError
        `x` is not ascending, or as of :meth:`devicefit.families.frame.Frame.check`.
    """
    x = np.atleast_1d(np.asarray(x, dtype=np.float64))
    frame = posterior.frame
    frame.check(x)
    curves = curves_of_laws(
        posterior.mixtures(x),
        x,
        extrapolated=frame.extrapolated(x),
        support=1.0 / posterior.record["devices"],
        options=options,
    )
    if len(frame.measured_arrays) == 1:
        return curves
    pairs = ln_ber_of_pairs(posterior, x, options.offset_ln_r)
    return curves | {"2T2R": replace(curves["2T2R"], ln_ber=pairs)}


def ln_ber_of_pairs(posterior: Fitted, x: FloatArray, offset_ln_r: float) -> FloatArray:
    """Ln of the 2T2R error rate of a pair on any of the measured arrays, each as likely.

    Both cells of a pair lie on one array, so what arrays differ by in both states cancels.

    Parameters
    ----------
    posterior : Fitted
        Fitted device.
    x : float array, shape (x,)
        Values of the programming variable, SI.
    offset_ln_r : float
        Standard deviation of the offset of the sense amplifier in ln R.

    Returns
    -------
    float array, shape (chain, draw, x)
    """
    arrays = len(posterior.frame.measured_arrays)
    each = []
    for array in range(arrays):
        laws = posterior.mixtures(x, array=array)
        each.append(ln_ber_2t2r(laws["LRS"], laws["HRS"], offset_ln_r))
    return np.asarray(logsumexp(each, axis=0) - np.log(arrays))


def array_curves(
    posterior: Fitted,
    curve: BerCurve,
    *,
    options: SensingOptions,
    arrays: Iterable[int] | None = None,
) -> list[dict[str, BerCurve]]:
    """BER draws of each array, read at the thresholds of all measured arrays together.

    Parameters
    ----------
    posterior : Fitted
        Fitted device.
    curve : BerCurve
        1T1R of :func:`ber_curves`: its values and thresholds.
    options : SensingOptions
        Offset.
    arrays : iterable of int, optional
        Indices into ``posterior.frame.arrays``; all of them when left out.

    Returns
    -------
    list of dict of str to BerCurve
        As of :func:`ber_curves`, for each array.
    """
    assert curve.threshold_ohm is not None
    threshold, found = np.log(curve.threshold_ohm), []
    for array in range(len(posterior.frame.arrays)) if arrays is None else arrays:
        laws = posterior.mixtures(curve.programming, array=array)
        one = ln_ber_1t1r(laws["LRS"], laws["HRS"], threshold)
        two = ln_ber_2t2r(laws["LRS"], laws["HRS"], options.offset_ln_r)
        tilt = tilt_1t1r(laws["HRS"], threshold, one)
        pairs = replace(curve, scheme="2T2R", ln_ber=two, threshold_ohm=None, tilt=None)
        found.append({"1T1R": replace(curve, ln_ber=one, tilt=tilt), "2T2R": pairs})
    return found
