"""Levels of variability for margins that are not normal: a Gaussian copula in a second stage.

First a device model gives the marginal law of every reading. Each reading then has a score,
``q = Phi^-1(F(y))``, standard normal if the margin is right, and the scores follow the levels of
:mod:`devicefit.likelihood.levels` with mean 0 and standard deviation 1.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy.special import ndtri_exp

from devicefit.inputs.refusals import STATES
from devicefit.likelihood.compressed import DeviceCells
from devicefit.likelihood.level_density import CellStatistics, ln_density
from devicefit.likelihood.levels import Levels, identifiable, level_priors, levels_of
from devicefit.numerics.arrays import FloatArray, IntArray
from devicefit.sampling.options import SamplerOptions
from devicefit.sampling.sampler import sample_model

LEVEL_NAMES = tuple(Levels.__dataclass_fields__)


def normal_scores(ln_cdf: FloatArray, ln_sf: FloatArray) -> FloatArray:
    """Scores of readings from both tails of their marginal law.

    Parameters
    ----------
    ln_cdf, ln_sf : float array, same shape
        Natural logarithm of the distribution and of the survival function at each reading.

    Returns
    -------
    float array, same shape
        Finite: ``-38`` and ``+38`` are beyond what a float's probability can hold, but not its
        logarithm.

    Raises
    ------
    ValueError
        A reading outside the support of its law, or not a number: a score would be infinite.
        Names the first.

    Notes
    -----
    The smaller tail decides, so that neither ``1 - 1e-20`` nor a cut of the probabilities occurs.
    """
    lower, upper = np.asarray(ln_cdf, dtype=np.float64), np.asarray(ln_sf, dtype=np.float64)
    smaller = np.minimum(lower, upper)
    bad = np.flatnonzero(~(np.isfinite(smaller) & (smaller <= 0)))
    if len(bad):
        i = bad[0]
        raise ValueError(
            f"reading {i} has ln_cdf = {lower.ravel()[i]}, ln_sf = {upper.ravel()[i]}; the smaller "
            "must be finite and at most 0: use a law whose support has all readings"
        )
    return np.where(lower < upper, 1.0, -1.0) * ndtri_exp(smaller)


def score_cells(scores: FloatArray, device: IntArray, condition: IntArray) -> DeviceCells:
    """Exact statistics of the scores of one state per (device, condition).

    Parameters
    ----------
    scores : float array, shape (reading,)
        Scores; those of one device and condition in order of cycle.
    device, condition : int array, shape (reading,)
        Device and condition of each.
    """
    if len(scores) == 0:
        none, empty = np.zeros(0, dtype=np.int64), np.zeros(0)
        return DeviceCells(none, none, none, empty, empty, empty, empty, empty)
    order = np.lexsort((condition, device))  # stable: cycles keep their order
    device, condition, q = device[order], condition[order], scores[order]
    new = (np.diff(device) != 0) | (np.diff(condition) != 0)
    start = np.concatenate([[0], np.flatnonzero(new) + 1])
    n = np.diff(np.append(start, len(q)))
    mean = np.add.reduceat(q, start) / n
    deviation = q - np.repeat(mean, n)
    products = np.append(np.where(new, 0.0, deviation[1:] * deviation[:-1]), 0.0)
    return DeviceCells(
        device=device[start],
        condition=condition[start],
        n=n,
        mean=mean,
        sum_of_squares=np.add.reduceat(deviation**2, start),
        lag_product=np.add.reduceat(products, start),
        first=deviation[start],
        last=deviation[start + n - 1],
    )


def fit_levels(
    cells_lrs: DeviceCells,
    cells_hrs: DeviceCells,
    device_array: IntArray,
    *,
    options: SamplerOptions,
) -> xr.Dataset:
    """Posterior of the levels for given scores.

    Parameters
    ----------
    cells_lrs, cells_hrs : DeviceCells
        Scores of each state, from :func:`score_cells`.
    device_array : int array, shape (device,)
        Array of each device.
    options : SamplerOptions
        Chains, draws, seed.

    Returns
    -------
    xarray.Dataset
        Dimensions ``chain, draw``; ``device_share_lrs, device_share_hrs, cycle_correlation_lrs,
        cycle_correlation_hrs, state_correlation, array_share_lrs, array_share_hrs``, of these what
        the design can tell (:func:`devicefit.likelihood.levels.identifiable`); the rest is zero.
        The attribute ``divergences`` counts divergent transitions.

    Raises
    ------
    ValueError
        No device has two readings of one state.

    Notes
    -----
    Inference functions for margins (Joe 2005): consistent, a little less efficient than the joint
    likelihood, and blind to the uncertainty of the margins. With many cycles of few devices this
    shows: the spread between cycles then fixes the share, since both add up to the variance of a
    margin that counts as known, and its posterior is narrower than the number of devices allows.
    """
    priors = level_priors(identifiable(cells_lrs, cells_hrs, device_array))
    if not priors:
        raise ValueError(
            "no device has two readings of one state, so levels cannot be told apart; leave them "
            "out or measure more cycles"
        )
    # Imported where a model is built: commands that evaluate draws have no use for PyMC.
    import pymc as pm
    import pytensor.tensor as pt

    arrays = int(device_array.max()) + 1
    with pm.Model(check_bounds=False) as model:
        p = {q.name: pm.Normal(q.name, q.mean, q.sd) for q in priors}
        array = pm.Data("device_array", device_array.astype(np.int32))
        cells = {
            s: CellStatistics.of(c).as_data(s)
            for s, c in zip(STATES, (cells_lrs, cells_hrs), strict=True)
        }
        # Scores have mean 0 and standard deviation 1 at the one condition that counts.
        conditions = 1 + max(int(c.condition.max(initial=0)) for c in (cells_lrs, cells_hrs))
        mean, sd = pm.Data("mean", np.zeros(conditions)), pm.Data("sd", np.ones(conditions))
        density = ln_density(
            pt,
            levels_of(pt, p),
            cells,
            dict.fromkeys(STATES, mean),
            dict.fromkeys(STATES, sd),
            array,
            arrays,
        )
        pm.Potential("scores", density)
    sampled = sample_model(model, priors, options)
    found = levels_of(np, {q.name: sampled.draws[q.name].values for q in priors})
    values = {name: getattr(found, name) for name in LEVEL_NAMES}
    return xr.Dataset(
        {k: (("chain", "draw"), v) for k, v in values.items() if isinstance(v, np.ndarray)},
        coords=sampled.draws.coords,
        attrs={"divergences": int(sampled.diverging.sum())},
    )
