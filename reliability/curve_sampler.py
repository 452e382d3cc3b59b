"""Draws of a curve's posterior, and whether its chains agree.

One decision fits a curve for every network and treatment of thresholds, so the sampler has to take
a tenth of a second. In the scale of its Laplace approximation the posterior is close to a standard
normal law: a Hamiltonian trajectory of a quarter turn gives nearly independent draws.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from devicefit.backend import SamplerOptions
from devicefit.laplace import find_modes
from devicefit.numerics.compiled import njit
from reliability.curve_density import CurveDensity, FloatArray, curve_density

QUARTER_TURN = math.pi / 2
MOST_STEPS = 40
DIVERGENCE = 1000.0
"""Energy error above which a trajectory has left the posterior."""


@dataclass(frozen=True)
class CurveDraws:
    """Draws of the vector of a :class:`CurveDensity`.

    Parameters
    ----------
    draws : float array, shape (chain, draw, parameter)
        Vectors.
    divergences : int
        Trajectories whose energy was not kept.
    accepted : float
        Mean acceptance probability after the warmup.
    """

    draws: FloatArray
    divergences: int
    accepted: float


def sample_curve(density: CurveDensity, options: SamplerOptions) -> CurveDraws:
    """Sample a curve by Hamiltonian Monte Carlo around its mode.

    Parameters
    ----------
    density : CurveDensity
        What to sample.
    options : SamplerOptions
        Chains, draws, warmup (in which the step size is found), target acceptance and seed.

    Notes
    -----
    Leapfrog steps in the coordinates ``z = mode + root @ w``, momenta standard normal (Neal 2011,
    section 5.2). The length of a trajectory is a quarter turn, a tenth of it jittered so that no
    direction comes back to where it was. Chains start at independent draws of the Laplace law.
    """
    rng = np.random.default_rng([options.seed, 5])
    modes = find_modes(density, 0.1 * rng.standard_normal((1, density.size)))
    n = options.warmup + options.draws
    draws = np.empty((options.chains, options.draws, density.size))
    divergences, accepted = 0, 0.0
    root = np.ascontiguousarray(modes.root)
    for chain in range(options.chains):
        own = np.random.default_rng([options.seed, 6, chain])
        draws[chain], diverging, mean = _chain(
            own.standard_normal(density.size),
            own.standard_normal((n, density.size)),
            own.random((n, 2)),
            options.warmup,
            options.target_accept,
            modes.places[0],
            root,
            *density.data,
        )
        divergences += int(diverging)
        accepted += float(mean) / options.chains
    return CurveDraws(draws, divergences, accepted)


@njit(error_model="numpy")
def _chain(start, momenta, uniforms, warmup, target, at, scale, *data):  # type: ignore[no-untyped-def]
    """One chain; returns its draws, the divergences and the mean acceptance after the warmup."""
    n, size = momenta.shape
    kept = np.empty((n - warmup, size))
    w = start
    value, by_z = curve_density(at + scale @ w, *data)
    gradient = scale.T @ by_z
    ln_step = math.log(0.5)
    divergences, accepted = 0, 0.0
    for i in range(n):
        step = math.exp(ln_step) * (0.9 + 0.2 * uniforms[i, 0])
        steps = min(MOST_STEPS, max(1, int(round(QUARTER_TURN / math.exp(ln_step)))))
        p = momenta[i].copy()
        energy = value - 0.5 * (p @ p)
        to, to_value, to_gradient = w.copy(), value, gradient
        for _ in range(steps):
            p = p + 0.5 * step * to_gradient
            to = to + step * p
            to_value, by_z = curve_density(at + scale @ to, *data)
            to_gradient = scale.T @ by_z
            p = p + 0.5 * step * to_gradient
            if not math.isfinite(to_value):
                break
        error = to_value - 0.5 * (p @ p) - energy
        if not error > -DIVERGENCE:  # also where it is not a number
            accept = 0.0
            if i >= warmup:
                divergences += 1
        else:
            accept = min(1.0, math.exp(min(0.0, error)))
        if uniforms[i, 1] < accept:
            w, value, gradient = to, to_value, to_gradient
        if i < warmup:
            ln_step = min(0.6, ln_step + (accept - target) / (1.0 + i) ** 0.6)
        else:
            kept[i - warmup] = at + scale @ w
            accepted += accept
    return kept, divergences, accepted / max(n - warmup, 1)


def split_r_hat(draws: FloatArray) -> FloatArray:
    """Rank-normalised split R-hat, the larger of location and spread.

    Parameters
    ----------
    draws : float array, shape (chain, draw, parameter)
        Draws.

    Returns
    -------
    float array, shape (parameter,)

    Notes
    -----
    Vehtari et al. 2021 (Bayesian Analysis 16), equations 4 and 14 and section 4.
    """
    halves = _split(draws)
    folded = np.abs(halves - np.median(halves, axis=(0, 1)))
    return np.maximum(_ratio(_normal_scores(halves)), _ratio(_normal_scores(folded)))


def bulk_ess(draws: FloatArray) -> FloatArray:
    """Bulk effective sample size, shape (parameter,); `draws` as of :func:`split_r_hat`.

    Notes
    -----
    Vehtari et al. 2021, equation 11, with Geyer's initial monotone sequence.
    """
    z = _normal_scores(_split(draws))
    chains, n, _ = z.shape
    centred = z - z.mean(axis=1, keepdims=True)
    padded = 2 ** math.ceil(math.log2(2 * n))
    spectrum = np.fft.rfft(centred, n=padded, axis=1)
    covariance = np.fft.irfft(np.abs(spectrum) ** 2, n=padded, axis=1)[:, :n] / n
    within = covariance[:, 0].mean(axis=0) * n / (n - 1)
    total = within * (n - 1) / n + z.mean(axis=1).var(axis=0, ddof=1)
    rho = 1 - (within - covariance.mean(axis=0) * n / (n - 1)) / total
    rho[0] = 1.0
    pairs = rho[: n // 2 * 2].reshape(n // 2, 2, -1).sum(axis=1)
    pairs = np.where(np.logical_and.accumulate(pairs > 0, axis=0), pairs, 0.0)
    time = 2 * np.minimum.accumulate(pairs, axis=0).sum(axis=0) - 1
    size = chains * n
    return np.asarray(size / np.maximum(time, 1 / math.log10(size)))


def _split(draws: FloatArray) -> FloatArray:
    half = draws.shape[1] // 2
    return np.concatenate([draws[:, :half], draws[:, -half:]])


def _normal_scores(draws: FloatArray) -> FloatArray:
    flat = draws.reshape(-1, draws.shape[-1])
    ranks = np.empty(flat.shape)
    np.put_along_axis(
        ranks, flat.argsort(axis=0, kind="stable"), np.arange(1.0, len(flat) + 1)[:, None], axis=0
    )
    return np.asarray(ndtri((ranks - 0.375) / (len(flat) + 0.25)).reshape(draws.shape))


def _ratio(z: FloatArray) -> FloatArray:
    n = z.shape[1]
    within = z.var(axis=1, ddof=1).mean(axis=0)
    between = z.mean(axis=1).var(axis=0, ddof=1)
    return np.asarray(np.sqrt(((n - 1) / n * within + between) / within))
