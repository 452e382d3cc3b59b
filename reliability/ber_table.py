"""Bit error rates of every draw over thresholds, for posteriors that are reweighted.

New readings change the draws' weights and, with them, the threshold that 1T1R cells are read with.
The bit error rate is tabulated once over thresholds, so that each new posterior costs little.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from devicefit.fitted import Fitted
from devicefit.mixture import Mixture
from devicefit.numerics.compiled import njit
from devicefit.preposterior import laws_at
from devicefit.programming import FloatArray, IntArray
from devicefit.sensing import SensingOptions, ln_ber_1t1r, ln_ber_2t2r
from devicefit.threshold import choose_threshold

_STEPS = np.linspace(-3.5, 3.5, 15)
_SPREAD_DRAWS = 16


@dataclass(frozen=True)
class BerTable:
    """Bit error rate of every draw over thresholds and programming values.

    Parameters
    ----------
    ln_ber : float array, shape (threshold, draw, x)
        Natural logarithm of the BER; thresholds evenly spaced, their distance may differ with x.
    threshold_ln_r : float array, shape (threshold, x), or None
        ln of the thresholds in ohm; None where cells are compared with each other.
    """

    ln_ber: FloatArray
    threshold_ln_r: FloatArray | None

    @cached_property
    def _by_draw(self) -> FloatArray:
        """BER of each draw, thresholds and programming values in one row."""
        rows = np.exp(self.ln_ber).transpose(1, 0, 2)
        return np.ascontiguousarray(rows.reshape(self.ln_ber.shape[1], -1))

    def best(self, weights: FloatArray) -> FloatArray:
        """Place of the threshold with the least expected BER, shape (posterior, x).

        Parameters
        ----------
        weights : float array, shape (posterior, draw)
            Weights of the draws, rows sum to one.

        Returns
        -------
        float array
            In steps from the first threshold; the vertex of the parabola through the best three.
        """
        steps, _, values = self.ln_ber.shape
        if steps == 1:
            return np.zeros((len(weights), values))
        mean = (weights @ self._by_draw).reshape(len(weights), steps, values)
        k = np.clip(mean.argmin(axis=1), 1, steps - 2)
        a, b, c = (np.take_along_axis(mean, (k + d)[:, None], 1)[:, 0] for d in (-1, 0, 1))
        bend = a - 2 * b + c
        vertex = np.where(bend > 0, 0.5 * (a - c) / np.where(bend > 0, bend, 1.0), 0.0)
        return np.asarray(k + np.clip(vertex, -1.0, 1.0))


def ber_table(
    posterior: Fitted, x: FloatArray, draw: IntArray, scheme: str, sensing: SensingOptions
) -> BerTable:
    """Tabulate chosen draws (chains flattened) over programming values.

    Notes
    -----
    Thresholds span 3.5 standard deviations, over draws, of each draw's own best threshold on both
    sides of the one that is best now: a posterior that the readings allow has its own inside.
    """
    laws = laws_at(posterior, x, draw)
    lrs, hrs = laws["LRS"], laws["HRS"]
    if scheme == "2T2R":
        return BerTable(ln_ber_2t2r(lrs, hrs, sensing.offset_ln_r)[None], None)
    if sensing.threshold_ohm is not None:
        fixed = np.full((1, len(x)), np.log(sensing.threshold_ohm))
        return BerTable(ln_ber_1t1r(lrs, hrs, fixed[0])[None], fixed)
    now = choose_threshold(_one_chain(lrs, slice(None)), _one_chain(hrs, slice(None)))
    some = np.linspace(0, len(draw) - 1, min(_SPREAD_DRAWS, len(draw))).astype(np.int64)
    own = [
        choose_threshold(_one_chain(lrs, slice(i, i + 1)), _one_chain(hrs, slice(i, i + 1)))
        for i in some
    ]
    spread = np.maximum(np.std(own, axis=0), 1e-3)
    thresholds = now + _STEPS[:, None] * spread
    return BerTable(np.stack([ln_ber_1t1r(lrs, hrs, t) for t in thresholds]), thresholds)


def ln_ber_of(
    posterior: Fitted, x: FloatArray, schemes: set[str], sensing: SensingOptions
) -> dict[str, FloatArray]:
    """Ln BER of all draws, shape (draw, x), for some schemes; thresholds as in a fresh study."""
    laws = posterior.mixtures(x)
    lrs, hrs = laws["LRS"], laws["HRS"]
    found = {}
    if "2T2R" in schemes:
        found["2T2R"] = ln_ber_2t2r(lrs, hrs, sensing.offset_ln_r)
    if "1T1R" in schemes:
        if sensing.threshold_ohm is None:
            threshold = choose_threshold(lrs, hrs)
        else:
            threshold = np.full(len(x), np.log(sensing.threshold_ohm))
        found["1T1R"] = ln_ber_1t1r(lrs, hrs, threshold)
    return {scheme: values.reshape(-1, len(x)) for scheme, values in found.items()}


def _one_chain(law: Mixture, draws: slice) -> Mixture:
    """Draws of a law (draw, x) as (chain, draw, x)."""
    part = law.part((draws,))
    index: tuple[slice | None, ...] = (slice(None), None)
    dof = None if part.dof is None else np.broadcast_to(part.dof, part.location.shape)[index]
    return Mixture(
        part.ln_weight[index], part.location[index], part.scale[index], part.kernels, dof
    )


@njit
def ln_ber_at(table, place, row, x):  # type: ignore[no-untyped-def]
    """Parabola through the three thresholds around a place."""
    steps = table.shape[0]
    if steps == 1:
        return table[0, row, x]
    k = min(max(int(round(place[x])), 1), steps - 2)
    t = place[x] - k
    a, b, c = table[k - 1, row, x], table[k, row, x], table[k + 1, row, x]
    return b + 0.5 * t * (c - a) + 0.5 * t * t * (a - 2.0 * b + c)
