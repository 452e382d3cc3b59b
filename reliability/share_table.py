"""Share of chips that meet the requirement, tabulated over the BER that a network sees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from devicefit.programming import FloatArray
from reliability.accuracy_curve import AccuracyCurve
from reliability.chip_yield import chip_yield
from reliability.designs import tolerated
from reliability.propagation import Pairing

KNOTS = 120
_LEAST, _MOST = np.log(1e-9), np.log(0.5)
_BELOW, _ABOVE = 6.0, 4.0


@dataclass(frozen=True)
class ShareTable:
    """Share of chips within a limit of loss, for every draw of a network's curve.

    Parameters
    ----------
    first, step : float
        ln of the first BER, and the distance to the next.
    share : float array, shape (curve draw, knot)
        Shares; beyond the ends they stay.
    """

    first: float
    step: float
    share: FloatArray


def share_table(curve: AccuracyCurve, limit: float) -> ShareTable:
    """Tabulate a network.

    Parameters
    ----------
    curve : AccuracyCurve
        Of the network.
    limit : float
        As of :func:`reliability.chip_yield.chip_yield`.

    Notes
    -----
    Knots lie around what the mean chip tolerates, e^6 below and e^4 above, or from 1e-9 where even
    no error is too much; linear between them.
    """
    ln_limit = tolerated(curve, limit)
    low, high = ln_limit.min() - _BELOW, ln_limit.max() + _ABOVE
    if not np.isfinite([low, high]).all():
        low, high = _LEAST, _MOST
    ln_p = np.linspace(max(low, _LEAST), min(high, _MOST), KNOTS)
    parts = []
    for begin in range(0, curve.draws, 1000):
        of_curve = np.arange(begin, min(begin + 1000, curve.draws))
        none = np.empty((len(of_curve), 0))
        alone = Pairing(np.zeros_like(of_curve), of_curve, none, none, none)
        parts.append(chip_yield(curve, ln_p[None], alone, limit).share)
    return ShareTable(float(ln_p[0]), float(ln_p[1] - ln_p[0]), np.concatenate(parts))
