"""The weakest programming at which something holds, for each draw."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from devicefit.inputs.programming import Programming
from devicefit.numerics.arrays import FloatArray
from reliability.accuracy.surface import first_crossing

_SATURATED = 1e-9


@dataclass(frozen=True, eq=False)
class Condition:
    """Draws of the weakest programming at which something holds.

    Parameters
    ----------
    x : float array, shape (draw,)
        Programming value; the strongest measured where it holds nowhere.
    not_reached : bool array, shape (draw,)
        It holds at no measured programming.
    at_edge : bool array, shape (draw,)
        It holds at the weakest measured programming already: `x` is an upper bound.
    """

    x: FloatArray
    not_reached: NDArray[np.bool_]
    at_edge: NDArray[np.bool_]


def weakest_condition(x: FloatArray, excess: FloatArray, programming: Programming) -> Condition:
    """Weakest programming at which an excess is not negative, for each draw.

    Parameters
    ----------
    x : float array, shape (x,)
        Programming values, ascending.
    excess : float array, shape (draw, x)
        What is there less what is needed: a share of chips less the share that is asked for, ln of
        the tolerated rate less ln of the rate.
    programming : Programming
        In whose coordinate the crossing is interpolated, linear in the excess.

    Returns
    -------
    Condition
    """
    u = programming.coordinate(x)
    # first_crossing looks for the first positive value; touching the limit counts as reached.
    crossing = first_crossing(u, np.where(excess == 0, 1e-12, excess))
    reached = np.asarray((excess >= 0).any(axis=1))
    return Condition(programming.from_coordinate(crossing), ~reached, np.asarray(excess[:, 0] >= 0))


def enough_chips(
    x: FloatArray, share: FloatArray, least: float, programming: Programming
) -> Condition:
    """Weakest programming at which a share of at least `least` of the chips is good, for each draw.

    Parameters
    ----------
    x : float array, shape (x,)
        Programming values, ascending.
    share : float array, shape (draw, x)
        Share of good chips; not a number where it is not known.
    least : float
        Share that is enough.
    programming : Programming
        In whose coordinate the crossing is interpolated.

    Notes
    -----
    Linear in the normal score of the share, which bends less than the share itself; shares beyond
    `_SATURATED` count as that. What is not known counts as no chip, and makes the value an upper
    bound (``at_edge``) of draws in which something weaker is not known.
    """
    unknown = np.isnan(share)
    score = ndtri(np.clip(np.where(unknown, 0.0, share), _SATURATED, 1 - _SATURATED))
    found = weakest_condition(x, np.asarray(score - ndtri(least)), programming)
    if not unknown.any():
        return found
    weaker = x[None, :] < found.x[:, None]
    open_below = (unknown & (weaker | found.not_reached[:, None])).any(axis=1)
    return replace(found, at_edge=found.at_edge | open_below)
