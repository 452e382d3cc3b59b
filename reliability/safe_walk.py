"""P(requirement met) for reweighted draws, and the lowest programming at which it suffices."""

from __future__ import annotations

import numpy as np

from devicefit.numerics.compiled import njit
from devicefit.programming import FloatArray
from reliability.ber_table import ln_ber_at
from reliability.code_table import ln_ber_after

NOWHERE = -1.0
REACH = 8
"""Grid values that are tried above a start that does not suffice."""


@njit
def share_of(ln_p, row, first, step, share):  # type: ignore[no-untyped-def]
    """Share of chips at a BER, linear between the knots."""
    last = share.shape[1] - 1
    at = (ln_p - first) / step
    if not at > 0.0:
        return share[row, 0]
    if at >= last:
        return share[row, last]
    k = int(at)
    return share[row, k] + (at - k) * (share[row, k + 1] - share[row, k])


@njit
def _met(table, place, row, x, of_curve, code, chips, shift):  # type: ignore[no-untyped-def]
    seen = ln_ber_at(table, place, row, x)
    after = ln_ber_after(seen, code[0], code[1], code[2], code[3])
    return share_of(after - shift, of_curve, chips[0], chips[1], chips[2])


@njit
def shares_met(table, place, curve, code, chips, harm):  # type: ignore[no-untyped-def]
    """Share of chips that meet the requirement, shape (draw, x).

    `table` and `place` are those of a :class:`BerTable`, `curve` the curve draw of each row,
    `code` and `chips` the fields of a :class:`CodeTable` and a :class:`ShareTable`, `harm`, shape
    (draw, x), what ln of the equal rate of the same harm is above that of the mean rate.
    """
    out = np.empty((len(curve), table.shape[2]))
    for row in range(len(curve)):
        for x in range(table.shape[2]):
            out[row, x] = _met(table, place, row, x, curve[row], code, chips, -harm[row, x])
    return out


@njit
def _p_met(  # type: ignore[no-untyped-def]
    table, place, x, weights, curve, code, chips, harm, pull, push
):
    total = 0.0
    for row in range(len(curve)):
        if weights[row] > 0.0:
            shift = pull[row] + push - harm[row, x]
            total += weights[row] * _met(table, place, row, x, curve[row], code, chips, shift)
    return total


@njit
def lowest_safe(  # type: ignore[no-untyped-def]
    table, places, weights, start, offset, needed, curve, code, chips, harm, pull, push
):
    """Lowest place on the grid that suffices, near a start, shape (posterior,).

    Interpolated between grid values, as steps of the grid would hide what little changes;
    `NOWHERE` where none is found.

    Parameters
    ----------
    table, places
        Of a :class:`BerTable`; places of shape (posterior, x), or one row for all.
    weights : float array, shape (posterior, draw)
        Weights of draws, or one row for all.
    start : int array, shape (posterior,)
        Where to begin: downwards while it suffices, or upwards at most `REACH` values until it
        does.
    offset : float array, shape (x,)
        Added to P(requirement met).
    needed : float
        What suffices.
    curve, code, chips, harm
        As of :func:`shares_met`.
    pull : float array, shape (draw,)
    push : float array, shape (posterior,)
        ln of what networks tolerate moves by their sum.
    """
    found = np.empty(len(start))
    last = table.shape[2] - 1
    for s in range(len(start)):
        place = places[min(s, len(places) - 1)]
        w = weights[min(s, len(weights) - 1)]
        x = start[s]
        p = offset[x] + _p_met(table, place, x, w, curve, code, chips, harm, pull, push[s])
        under = -np.inf
        if p >= needed:
            while x > 0:
                under = offset[x - 1]
                under += _p_met(table, place, x - 1, w, curve, code, chips, harm, pull, push[s])
                if under < needed:
                    break
                x, p = x - 1, under
        else:
            end = min(last, x + REACH)
            while p < needed and x < end:
                x, under = x + 1, p
                p = offset[x] + _p_met(table, place, x, w, curve, code, chips, harm, pull, push[s])
        if p < needed:
            found[s] = NOWHERE
        elif x == 0 or not p > under:
            found[s] = x
        else:
            found[s] = x - (p - needed) / (p - under)
    return found


def first_safe(p_met: FloatArray, needed: float) -> FloatArray:
    """Place of the lowest safe grid value, interpolated, for each row of P(met), (row, x)."""
    safe = p_met >= needed
    rows, x = np.arange(len(p_met)), safe.argmax(axis=1)
    p, under = p_met[rows, x], p_met[rows, np.maximum(x - 1, 0)]
    rises = np.where(p > under, p - under, 1.0)
    place = np.where((x > 0) & (p > under), x - (p - needed) / rises, x)
    return np.asarray(np.where(safe.any(axis=1), place, NOWHERE), dtype=np.float64)
