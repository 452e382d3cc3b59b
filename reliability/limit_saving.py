"""Saving with both sides at the limit of what they tolerate, for posteriors that are reweighted.

New readings change the draws' weights and, with them, the threshold that 1T1R cells are read with.
The bit error rate is tabulated once over thresholds, so that each new posterior costs little.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from devicefit.fitted import Fitted
from devicefit.mixture import Mixture
from devicefit.preposterior import laws_at
from devicefit.programming import FloatArray, IntArray
from devicefit.sensing import SensingOptions, ln_ber_1t1r, ln_ber_2t2r
from devicefit.threshold import choose_threshold
from reliability.designs import Comparison, Design, Reference, limit_on_device
from reliability.ecc import NO_CODE, SECDED_72_64, raw_ber_for
from reliability.storage import PLAIN

REFERENCES = ("standard_bnn", "memory", "memory_with_ecc")
"""References whose limit is known here; keys of :func:`reliability.designs.compare_designs`."""

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
        steps, draws, values = self.ln_ber.shape
        if steps == 1:
            return np.zeros((len(weights), values))
        mean = weights @ np.exp(self.ln_ber).transpose(1, 0, 2).reshape(draws, -1)
        mean = mean.reshape(len(weights), steps, values)
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


@dataclass(frozen=True)
class Limits:
    """What design and reference tolerate, and their energies, for the paired draws.

    Parameters
    ----------
    scheme : str
        How the design's bits are read; references are read as 1T1R.
    design, reference : float array, shape (draw,)
        ln of the tolerated raw BER, with the unequal rates that the device has at its limit now.
    ln_energy : float array, shape (draw, x)
        ln of the energy per cell.
    ln_cells : float
        ln of the reference's cells per bit less that of the design's.
    u : float array, shape (x,)
        Coordinate of the programming values.
    """

    scheme: str
    design: FloatArray
    reference: FloatArray
    ln_energy: FloatArray
    ln_cells: float
    u: FloatArray


def limits_of(comparison: Comparison, design: Design, reference: Reference) -> Limits:
    """Limits of a design without a code and a reference of a comparison."""
    c = comparison
    return Limits(
        design.storage.scheme,
        limit_on_device(c, design.network, design.storage),
        reference_limit(c, reference.key),
        np.log(c.energy.e_cell_j),
        float(np.log(reference.cells_per_bit / design.cells)),
        c.programming.coordinate(c.grid),
    )


def reference_limit(comparison: Comparison, key: str) -> FloatArray:
    """Ln of the raw BER that a reference tolerates, shape (draw,).

    Raises
    ------
    ValueError
        Unknown reference; lists the known ones.
    """
    c = comparison
    if key == "standard_bnn":
        return limit_on_device(c, next(iter(c.curves)), PLAIN)
    codes = {"memory": NO_CODE, "memory_with_ecc": SECDED_72_64}
    if key not in codes:
        raise ValueError(f"reference {key!r} is not known; known: {', '.join(REFERENCES)}")
    return np.full(len(c.pairing.device), np.log(raw_ber_for(codes[key], c.requirement.memory_ber)))


@dataclass(frozen=True)
class LnSaving:
    """Draws of ln of the saving.

    Parameters
    ----------
    value : float array, shape (draw,)
        ln of reference energy over design energy.
    is_bound : bool array, shape (draw,)
        One side lies beyond the measured range, so that the draw is a bound.
    """

    value: FloatArray
    is_bound: np.ndarray


def ln_saving(
    limits: Limits,
    of_design: tuple[BerTable, FloatArray],
    of_reference: tuple[BerTable, FloatArray],
) -> LnSaving:
    """Ln saving of every draw; each table comes with the place of the threshold, shape (x,).

    The same as :func:`reliability.designs.saving_at_limit`.
    """
    ends = []
    for (table, place), limit in (
        (of_reference, limits.reference),
        (of_design, limits.design),
    ):
        out, bound = np.empty(len(limit)), np.zeros(len(limit), dtype=np.bool_)
        _energy_at_limit(table.ln_ber, place, limit, limits.u, limits.ln_energy, out, bound)
        ends.append((out, bound))
    (reference, a), (design, b) = ends
    return LnSaving(limits.ln_cells + reference - design, a | b)


@numba.njit(cache=True, nogil=True)
def _ln_ber_at(table, place, row, x):  # type: ignore[no-untyped-def]
    """Parabola through the three thresholds around a place."""
    steps = table.shape[0]
    if steps == 1:
        return table[0, row, x]
    k = min(max(int(round(place[x])), 1), steps - 2)
    t = place[x] - k
    a, b, c = table[k - 1, row, x], table[k, row, x], table[k + 1, row, x]
    return b + 0.5 * t * (c - a) + 0.5 * t * t * (a - 2.0 * b + c)


@numba.njit(cache=True, nogil=True)
def _energy_at_limit(table, place, limit, u, ln_energy, out, bound):  # type: ignore[no-untyped-def]
    """Ln energy where the BER first falls to the limit; ends of the range are bounds."""
    last = len(u) - 1
    for row in range(len(limit)):
        before = limit[row] - _ln_ber_at(table, place, row, 0)
        if before >= 0.0:
            out[row], bound[row] = ln_energy[row, 0], True
            continue
        out[row], bound[row] = ln_energy[row, last], True
        for x in range(1, last + 1):
            here = limit[row] - _ln_ber_at(table, place, row, x)
            if here >= 0.0:
                w = -before / (here - before)
                out[row] = (1.0 - w) * ln_energy[row, x - 1] + w * ln_energy[row, x]
                bound[row] = False
                break
            before = here


def weighted_quantile(values: FloatArray, weights: FloatArray, levels: FloatArray) -> FloatArray:
    """Quantiles of weighted draws: linear between the middles of the draws' weights."""
    order = np.argsort(values, kind="stable")
    w = weights[order]
    middle = (np.cumsum(w) - 0.5 * w) / w.sum()
    return np.interp(levels, middle, values[order])
