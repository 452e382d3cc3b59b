"""Stopping by precision: chips are added until the accuracy loss is known well enough."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from bnn.evaluation import combine, evaluate
from bnn.network import FoldedNetwork

_LEAST_CHIPS = 8  # below that the spread between chips is not known either


def loss_standard_error(counts: xr.Dataset) -> xr.DataArray:
    """Standard error of the mean accuracy loss over chips, on the images that were evaluated.

    Parameters
    ----------
    counts : xarray.Dataset
        From :func:`bnn.evaluation.evaluate`, two chips or more.

    Returns
    -------
    xarray.DataArray
        Fraction of the images, dim ``ber``: standard deviation between chips over the square root
        of their number.

    Raises
    ------
    ValueError
        One chip only.
    """
    chips = counts.sizes["chip"]
    if chips < 2:
        raise ValueError("counts holds one chip; the spread between chips needs two or more")
    loss = (counts["lost"] - counts["gained"]) / counts.attrs["images"]
    error = loss.std("chip", ddof=1) / np.sqrt(chips)
    error.attrs = {"units": "1", "long_name": "standard error of the mean accuracy loss"}
    return error


def check_precision(standard_error: float, most_chips: int) -> None:
    """Raise ValueError unless the error is positive and there are enough chips to know it."""
    if not standard_error > 0:
        raise ValueError(f"standard_error is {standard_error}; it must be positive")
    if most_chips < _LEAST_CHIPS:
        raise ValueError(f"most_chips is {most_chips}; give at least {_LEAST_CHIPS}")


def evaluate_to_precision(
    network: FoldedNetwork,
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int64],
    *,
    ber: Sequence[float],
    standard_error: float,
    most_chips: int,
    seed: int,
    progress: Callable[[int, float], None] | None = None,
    **options: Any,
) -> xr.Dataset:
    """Evaluate chips until the mean accuracy loss has a standard error at every rate.

    Parameters
    ----------
    network, images, labels, ber, seed
        As of :func:`bnn.evaluation.evaluate`.
    standard_error : float
        Largest standard error of the mean loss over chips, a fraction of the images.
    most_chips : int
        Chips at which to stop anyway, at least 8.
    progress : callable, optional
        Called with (chips done, largest standard error) after each round.
    **options
        ``protected``, ``engine``, ``threads`` and ``memory`` of `evaluate`.

    Returns
    -------
    xarray.Dataset
        As of `evaluate`, chips from 0. The same chips as of one evaluation of as many.

    Raises
    ------
    ValueError
        `standard_error` is not positive or `most_chips` below 8, or as of `evaluate`.

    Notes
    -----
    A look at the error after every round stops a little too early on average; rounds that go as
    far as the error asks for, at most to four times the chips, keep the looks few.
    """
    check_precision(standard_error, most_chips)
    counts = evaluate(network, images, labels, ber=ber, chips=_LEAST_CHIPS, seed=seed, **options)
    while True:
        done = counts.sizes["chip"]
        reached = float(loss_standard_error(counts).max())
        if progress is not None:
            progress(done, reached)
        if reached <= standard_error or done >= most_chips:
            return counts
        asked = int(np.ceil(done * min(4.0, (reached / standard_error) ** 2)))
        more = min(max(asked, done + _LEAST_CHIPS), most_chips) - done
        further = evaluate(
            network, images, labels, ber=ber, chips=more, seed=seed, first_chip=done, **options
        )
        counts = combine(counts, further)
