"""How far the roundings of a source may move its sums, and where they decide a sign or an answer.

A source adds floating-point numbers. Where all terms are +a and -a and a is no power of two, two
sums that are equal on paper come out different, and differently so with the number of images that
are computed together. A folded network has integer sums and no such doubt.
"""

import numpy as np
import numpy.typing as npt

from bnn.importing.source_graph import Weighted
from bnn.networks.network import PIXEL_LEVELS

Floats = npt.NDArray[np.float64]

_FURTHER = 8
"""Roundings of a term besides those of the sum: encoding, product, bias and conversions."""


def sum_rounding(
    weighted: Weighted, magnitude: Floats, spread: float, centre: Floats, *, of_pixels: bool
) -> Floats:
    """Bound of what rounding adds to the sums of a layer.

    Parameters
    ----------
    weighted : Weighted
        The layer, as its source computed it.
    magnitude : float64 array, shape (rows,)
        Magnitude that stands for all weights of a row.
    spread, centre : float, and float64 array of shape (columns,) or ()
        Inputs are ``spread * x + centre`` with the x of the folded network.
    of_pixels : bool
        Whether x goes up to 255 rather than 1.

    Returns
    -------
    float64 array, shape (rows,)
        Largest distance of a computed sum from the exact one.

    Notes
    -----
    An addition whose result is s is wrong by at most u |s|, with the unit roundoff u. No partial
    sum of n terms exceeds M, the sum of their magnitudes, so n additions are wrong by at most
    n u M in any order. Where the terms have one magnitude a, the k-th partial sum is at most k a,
    and the bound is (n + 1) u M / 2.
    """
    sizes = np.abs(weighted.weights).reshape(len(weighted.weights), -1)
    columns = sizes.shape[1]
    reach = np.abs(centre) + abs(spread) * (PIXEL_LEVELS if of_pixels else 1)
    reach = np.broadcast_to(reach.reshape(-1) if reach.ndim else reach, (columns,))
    total = magnitude * reach.sum()
    alike = weighted.weights.ndim == 2 and not of_pixels
    terms = (columns + 1) / 2 if alike else columns
    unit = np.finfo(weighted.gives.dtype).eps / 2
    # weights of one row may differ a little, and the folded network has one magnitude for them
    unlike = np.abs(sizes - magnitude[:, None]) @ reach
    bound: Floats = unit * ((terms + _FURTHER) * total + 2 * np.abs(weighted.bias)) + unlike
    return bound


def tied_best(scores: Floats, rounding: Floats) -> npt.NDArray[np.bool_]:
    """Classes that rounding can make the best.

    Parameters
    ----------
    scores : float64 array, shape (images, classes)
        Scores.
    rounding : float64 array, shape (classes,)
        How far each score may be moved.

    Returns
    -------
    bool array, shape (images, classes)
        True for the best class, and for others that are as good within rounding.
    """
    lowest = (scores - rounding).max(axis=1, keepdims=True)
    found: npt.NDArray[np.bool_] = scores + rounding >= lowest
    return found
