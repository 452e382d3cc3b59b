"""Draws of parameters at places: numbers, smooth functions of the position, effects of arrays.

The laws of a family are formulas of vectors over places alone. What makes these vectors from draws
stands here, and for variables of a PyMC model in :mod:`devicefit.likelihood.at_places`: commands
that evaluate draws do not import PyMC, which takes seconds.
"""

from __future__ import annotations

from collections.abc import Mapping

from devicefit.numerics.arrays import FloatArray, IntArray

NUMBER, TERM, ARRAY = "number", "term", "array"
"""Kinds of parameters: one number, terms of a smooth function, one value for each array."""


def draws_at_places(
    draws: Mapping[str, FloatArray], kinds: Mapping[str, str], basis: FloatArray, array: IntArray
) -> dict[str, FloatArray]:
    """Draws of parameters at places.

    Parameters
    ----------
    draws : mapping of str to float array, shape (chain, draw) or (chain, draw, term or array)
        Draws of each parameter.
    kinds : mapping of str to str
        `NUMBER`, `TERM` or `ARRAY` of each.
    basis : float array, shape (term, place)
        Basis of the smooth functions.
    array : int array, shape (place,)
        Array of each place.

    Returns
    -------
    dict of str to float array, shape (chain, draw, place) or (chain, draw, 1)
    """
    found = {}
    for name, values in draws.items():
        if kinds[name] == TERM:
            found[name] = values @ basis
        elif kinds[name] == ARRAY:
            found[name] = values[..., array]
        else:
            found[name] = values[..., None]
    return found
