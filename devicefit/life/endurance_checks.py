"""Endurance replicated: failures that a fit predicts beside those counted."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri
from scipy.stats import betabinom

from devicefit.life.checks import CountCheck
from devicefit.life.endurance import EnduranceCounts, EnduranceState, fit_endurance
from devicefit.numerics.arrays import FloatArray, IntArray
from devicefit.sampling.options import SamplerOptions


def replicate(
    state: EnduranceState,
    counts: EnduranceCounts,
    *,
    draws: int = 400,
    seen: EnduranceCounts | None = None,
    rng: np.random.Generator,
) -> IntArray:
    """Counts that the posterior predicts for as many units.

    Parameters
    ----------
    state : EnduranceState
        Fitted.
    counts : EnduranceCounts
        Windows and trials to predict.
    draws : int, optional
        Replications, each with its own draw of the posterior.
    seen : EnduranceCounts, optional
        Earlier counts of the same units: what is known of their wear then counts. Otherwise the
        units are new ones.
    rng : numpy.random.Generator
        A unit's wear-out holds for all its windows, an error for one window.

    Returns
    -------
    int array, shape (draw, unit, window)
    """
    number = state.fitted.diagnostics.draws
    chosen = rng.permutation(number)[: min(draws, number)]
    shape = (len(chosen), counts.units)
    low, high = np.zeros(shape), np.ones(shape)  # quantiles between which a unit wears out
    if seen is not None:
        low, high = _wear_windows(state, seen, chosen, rng)
    quantile = np.clip(low + (high - low) * rng.random(shape), 1e-300, 1 - 1e-16)
    mu, sd = (state.fitted[n].reshape(-1)[chosen, None] for n in ("ln_cycles_worn", "ln_sd_worn"))
    worn_at = mu + np.exp(sd) * ndtri(quantile)
    sound, _, worn = (a.reshape(number, 1, -1)[chosen] for a in state.parts(counts.cycles))
    is_worn = worn_at[:, :, None] <= np.log(counts.cycles)
    mean = np.where(is_worn, worn, sound)
    kappa = np.where(is_worn, *reversed(state.kappas(counts.trials, chosen)))
    share = rng.beta(np.maximum(mean * kappa, 1e-12), np.maximum((1 - mean) * kappa, 1e-12))
    return np.asarray(rng.binomial(counts.trials[None], np.clip(share, 0.0, 1.0)))


def _wear_windows(
    state: EnduranceState, seen: EnduranceCounts, chosen: IntArray, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Draw for each unit, given its counts, the window in which it wore out, as quantiles."""
    number = state.fitted.diagnostics.draws
    sound, worn, error = (a.reshape(number, -1)[chosen] for a in state.parts(seen.cycles))
    zero, one = np.zeros((len(chosen), 1)), np.ones((len(chosen), 1))
    edges = np.concatenate([zero, worn, one], axis=1)
    low = np.empty((len(chosen), seen.units))
    high = np.empty_like(low)
    e, n = seen.errors, seen.trials
    none = np.zeros((seen.units, 1))
    for i in range(len(chosen)):
        kappa, kappa_worn = (k[0] for k in state.kappas(n, chosen[i : i + 1]))
        ok = betabinom.logpmf(e, n, sound[i] * kappa, (1 - sound[i]) * kappa)
        bad = betabinom.logpmf(e, n, error[i] * kappa_worn, (1 - error[i]) * kappa_worn)
        before = np.concatenate([none, np.cumsum(ok, axis=1)], axis=1)
        after = np.cumsum(bad[:, ::-1], axis=1)[:, ::-1]
        ln_k = before + np.concatenate([after, none], axis=1)
        ln_k += np.log(np.maximum(np.diff(edges[i]), 1e-300))
        # The largest of values with Gumbel noise is a draw from the law of the values.
        k = np.argmax(ln_k + rng.gumbel(size=ln_k.shape), axis=1)
        low[i], high[i] = edges[i][k], edges[i][k + 1]
    return low, high


def check_decades(
    state: EnduranceState, counts: EnduranceCounts, *, rng: np.random.Generator
) -> tuple[CountCheck, ...]:
    """Posterior predictive check of the errors of each decade, for the measured units.

    What is known of the wear of each unit counts: whether a further unit sticks would hide what the
    model says of those that were measured.
    """
    predicted = replicate(state, counts, draws=2000, seen=counts, rng=rng)
    return tuple(
        _check(low, high, counts.windows(inside), predicted[:, :, inside])
        for low, high, inside in counts.decades()
    )


def check_last_decade(
    counts: EnduranceCounts, *, options: SamplerOptions, rng: np.random.Generator
) -> CountCheck | None:
    """Predict the last decade of the same units from a fit to what came before.

    None where there are fewer than two windows before it.
    """
    until = float(counts.cycles[-1]) / 10
    late = counts.cycles > until
    if (~late).sum() < 2:
        return None
    seen = counts.windows(~late)
    rest = counts.windows(late)
    predicted = replicate(
        fit_endurance(seen, options=options), rest, draws=2000, seen=seen, rng=rng
    )
    return _check(until, float(counts.cycles[-1]), rest, predicted)


def _check(low: float, high: float, counts: EnduranceCounts, predicted: IntArray) -> CountCheck:
    at = {"low": low, "high": high}
    return CountCheck.of(at, counts.errors, counts.trials, predicted.sum(axis=(1, 2)))
