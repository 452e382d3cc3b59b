"""Saving with both sides at the limit of what they tolerate, for posteriors that are reweighted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from devicefit.numerics.compiled import njit
from devicefit.programming import FloatArray
from reliability import code_table
from reliability.ber_table import BerTable, ln_ber_at
from reliability.code_table import CodeTable, ln_ber_after
from reliability.designs import Comparison, Design, Reference, limit_on_device
from reliability.ecc import NO_CODE, SECDED_72_64, raw_ber_for
from reliability.storage import PLAIN

REFERENCES = ("standard_bnn", "memory", "memory_with_ecc")
"""References whose limit is known here; keys of :func:`reliability.designs.compare_designs`."""


@dataclass(frozen=True)
class Limits:
    """What design and reference tolerate, and their energies, for the paired draws.

    Parameters
    ----------
    design : float array, shape (draw,)
        ln of the BER that the design's network tolerates, after its code, with the unequal rates
        that the device has at this limit now.
    reference : float array, shape (draw,)
        ln of the BER that the reference tolerates of the bits that are read; likewise.
    code : CodeTable
        Code of the design.
    ln_energy : float array, shape (draw, x)
        ln of the energy per cell.
    ln_cells : float
        ln of the reference's cells per bit less that of the design's.
    u : float array, shape (x,)
        Coordinate of the programming values.
    """

    design: FloatArray
    reference: FloatArray
    code: CodeTable
    ln_energy: FloatArray
    ln_cells: float
    u: FloatArray


def limits_of(comparison: Comparison, design: Design, reference: Reference) -> Limits:
    """Limits of a design and a reference of a comparison."""
    c = comparison
    return Limits(
        limit_on_device(c, design.network, design.storage),
        reference_limit(c, reference.key),
        code_table.code_table(design.storage.code),
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
    for (table, place), code, limit in (
        (of_reference, code_table.code_table(NO_CODE), limits.reference),
        (of_design, limits.code, limits.design),
    ):
        out, bound = np.empty(len(limit)), np.zeros(len(limit), dtype=np.bool_)
        _energy_at_limit(
            table.ln_ber,
            place,
            code.ln_ber_read(limit),
            limit,
            (code.first, code.step, code.after, code.below),
            limits.u,
            limits.ln_energy,
            out,
            bound,
        )
        ends.append((out, bound))
    (reference, a), (design, b) = ends
    return LnSaving(limits.ln_cells + reference - design, a | b)


@njit
def _energy_at_limit(  # type: ignore[no-untyped-def]
    table, place, read_limit, limit, code, u, ln_energy, out, bound
):
    """Ln energy where the BER first falls to the limit; ends of the range are bounds.

    The crossing is looked for before the code and interpolated after it, as the designs do.
    """
    first, step, after, below = code
    last = len(u) - 1
    for row in range(len(limit)):
        seen = ln_ber_at(table, place, row, 0)
        if seen <= read_limit[row]:
            out[row], bound[row] = ln_energy[row, 0], True
            continue
        out[row], bound[row] = ln_energy[row, last], True
        for x in range(1, last + 1):
            here = ln_ber_at(table, place, row, x)
            if here <= read_limit[row]:
                a = ln_ber_after(seen, first, step, after, below) - limit[row]
                b = limit[row] - ln_ber_after(here, first, step, after, below)
                w = min(1.0, max(0.0, a / (a + b))) if a + b > 0.0 else 1.0
                out[row] = (1.0 - w) * ln_energy[row, x - 1] + w * ln_energy[row, x]
                bound[row] = False
                break
            seen = here


def weighted_quantile(values: FloatArray, weights: FloatArray, levels: FloatArray) -> FloatArray:
    """Quantiles of weighted draws: linear between the middles of the draws' weights."""
    order = np.argsort(values, kind="stable")
    w = weights[order]
    middle = (np.cumsum(w) - 0.5 * w) / w.sum()
    return np.interp(levels, middle, values[order])
