"""Arrays that were not measured, drawn from the law between arrays of a fit."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import xarray as xr

from devicefit.families.frame import Frame
from devicefit.families.prior_tables import spread_between_arrays
from devicefit.numerics.arrays import FloatArray
from devicefit.sampling.prior import Prior, sample_priors

ENOUGH_ARRAYS = 5
"""Measured arrays from which on they, and not the prior, tell how much arrays differ."""


def new_array_note(frame: Frame) -> str:
    """What predictions for a new array rest on where few arrays were measured; else empty."""
    measured = len(frame.measured_arrays)
    if measured >= ENOUGH_ARRAYS:
        return ""
    arrays = f"{measured} array{'s' if measured > 1 else ''}"
    return (
        f"a new array rests on the prior of the spread between arrays: {arrays} "
        f"{'were' if measured > 1 else 'was'} measured, fewer than {ENOUGH_ARRAYS}"
    )


def add_new_arrays(
    draws: xr.Dataset, frame: Frame, priors: Sequence[Prior], *, count: int, seed: int
) -> tuple[xr.Dataset, Frame]:
    """Draws and frame with further arrays, drawn once for each draw of the posterior.

    Parameters
    ----------
    draws : xarray.Dataset
        Parameters, dimensions ``chain, draw`` and their own.
    frame : Frame
        Of the fit.
    priors : sequence of Prior
        Of the family for several arrays.
    count : int
        Further arrays.
    seed : int
        Each kind of shift has random numbers of its own, the same in all families.

    Returns
    -------
    draws : xarray.Dataset
    frame : Frame
        Its last `count` arrays are ``new array 1`` and so on.

    Raises
    ------
    ValueError
        `count` is below one, or there are new arrays already.

    Notes
    -----
    Shifts are normal with the standard deviation between arrays of the draw. Of one measured array
    nothing is known but its own law: it is any array itself, so that a new one differs from it by
    the root of two times as much, and the standard deviation between arrays is drawn from its
    prior.
    """
    if count < 1:
        raise ValueError(f"count is {count}; at least one new array")
    if frame.new_arrays:
        raise ValueError(f"there are {frame.new_arrays} new arrays already; ask for all at once")
    shape = draws.sizes["chain"], draws.sizes["draw"]
    is_alone = len(frame.arrays) == 1
    found: dict[str, tuple[tuple[str, ...], FloatArray]] = {}
    for prior in priors:
        if prior.dim != "array":
            continue
        rng = np.random.default_rng([seed, zlib.crc32(prior.name.encode())])
        new = rng.standard_normal((*shape, count))
        of_spread = spread_between_arrays(prior.name)
        if is_alone:
            spread = next(p for p in priors if p.name == of_spread)
            drawn = sample_priors((spread,), draws=shape[0] * shape[1], rng=rng)[of_spread]
            found[of_spread] = (("chain", "draw"), drawn.reshape(shape))
            measured, new = np.zeros((*shape, 1)), np.sqrt(2.0) * new
        else:
            measured = draws[prior.name].values
        if prior.ln_sd:
            ln_sd = found[of_spread][1] if is_alone else draws[of_spread].values
            new = np.exp(ln_sd)[..., None] * new
        values = np.concatenate([measured, new], axis=2)
        found[prior.name] = (("chain", "draw", f"{prior.name}_array"), values)
    names = tuple(f"new array {k + 1}" for k in range(count))
    larger = replace(frame, arrays=(*frame.arrays, *names), new_arrays=count)
    return draws.drop_vars([n for n in found if n in draws]).assign(found), larger
