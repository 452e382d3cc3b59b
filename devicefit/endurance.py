"""Bit errors over programming cycles: a slow drift, and units that wear out for good.

A unit is what wears out as one: a cell, or a group of cells whose readings move together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, ndtr, ndtri
from scipy.stats import betabinom

from devicefit.backend import SamplerOptions
from devicefit.density import ValueAndGradient
from devicefit.life_checks import CountCheck
from devicefit.life_fit import LifeDraws, beta_binomials, ln_expit, normal_tails, sample_life
from devicefit.numerics.compiled import njit
from devicefit.priors import Prior
from devicefit.programming import FloatArray, IntArray, beyond

PRIORS = (
    Prior("logit_rate", -6.5, 2.5, "logit of the error share of sound units, mid range", "weak"),
    Prior("slope", 0.0, 0.5, "power of the cycles in that share", "weak; drift either way"),
    Prior(
        "ln_cycles_worn",
        math.log(1e7),
        3.5,
        "ln of the cycles by which half of the units are worn out",
        "weak; 3e4 to 3e9. Published: above 1e8 (Garbin 2015), degraded at 1e7 (Dalgaty 2021)",
    ),
    Prior("ln_sd_worn", math.log(1.5), 0.5, "ln of the sd of ln cycles to wear-out", "weak"),
    Prior("logit_worn_error", 0.0, 1.5, "logit of the error share of worn-out units", "weak"),
    Prior("logit_icc", -4.0, 2.0, "logit of the correlation within a sound unit's window", "weak"),
    Prior("logit_icc_worn", -1.0, 1.5, "the same of a worn-out unit", "weak"),
)


@dataclass(frozen=True)
class EnduranceCounts:
    """Errors of one state, by unit and window of cycles.

    Parameters
    ----------
    cycles : float array, shape (window,)
        Cycles that stand for each window, ascending, positive.
    errors, trials : int array, shape (unit, window)
        Readings on the wrong side, and all; a unit may have no trials in a window.

    Raises
    ------
    ValueError
        Shapes or counts contradict each other.
    """

    cycles: FloatArray
    errors: IntArray
    trials: IntArray

    def __post_init__(self) -> None:
        if self.errors.ndim != 2 or self.errors.shape != self.trials.shape:
            raise ValueError("errors and trials must both have the shape (unit, window)")
        if self.errors.shape[1] != len(self.cycles):
            raise ValueError(
                f"{len(self.cycles)} windows of cycles for {self.errors.shape[1]} columns of counts"
            )
        if not len(self.cycles) or self.cycles[0] <= 0 or not np.all(np.diff(self.cycles) > 0):
            raise ValueError("cycles of windows must be positive and ascending")
        if np.any(self.errors < 0) or np.any(self.errors > self.trials):
            raise ValueError("errors must lie between 0 and trials")
        if not self.trials.sum(axis=0).all():
            window = int(np.flatnonzero(self.trials.sum(axis=0) == 0)[0])
            raise ValueError(f"window {window} ({self.cycles[window]:.3g} cycles) has no trial")

    @property
    def units(self) -> int:
        """Number of units."""
        return len(self.errors)

    def windows(self, keep: np.ndarray) -> EnduranceCounts:
        """Some of the windows."""
        return EnduranceCounts(self.cycles[keep], self.errors[:, keep], self.trials[:, keep])

    def decades(self) -> list[tuple[float, float, np.ndarray]]:
        """Decades that have windows: low, high, which windows."""
        place = np.floor(np.log10(self.cycles) + 1e-9).astype(int)
        return [(10.0 ** int(d), 10.0 ** int(d + 1), place == d) for d in np.unique(place)]


def count_windows(
    unit: ArrayLike,
    cycles: ArrayLike,
    wrong: ArrayLike,
    *,
    trials: ArrayLike | None = None,
    per_decade: int = 3,
) -> EnduranceCounts:
    """Count readings of one state by unit and window.

    Parameters
    ----------
    unit : array, shape (reading,)
        Names of units.
    cycles : array, shape (reading,)
        Cycles before each reading, positive.
    wrong : array, shape (reading,)
        Whether the reading is an error, or how many of `trials` are.
    trials : int array, shape (reading,), optional
        Readings of each row; one when left out.
    per_decade : int, optional
        Windows per decade; empty ones are left out.

    Returns
    -------
    EnduranceCounts
        The cycles of a window are the geometric mean of its readings.
    """
    _, rows = np.unique(np.asarray(unit), return_inverse=True)
    at = np.asarray(cycles, dtype=np.float64)
    if not len(at) or not (np.isfinite(at) & (at > 0)).all():
        raise ValueError("cycles must be positive and finite; count the first programming as 1")
    _, columns = np.unique(np.floor(np.log10(at) * per_decade + 1e-9), return_inverse=True)
    shape = (int(rows.max()) + 1, int(columns.max()) + 1)
    flat = np.ravel_multi_index((rows.ravel(), columns.ravel()), shape)
    size = shape[0] * shape[1]
    weight = np.ones(len(at)) if trials is None else np.asarray(trials, dtype=np.float64)
    totals = np.bincount(flat, weights=weight, minlength=size).reshape(shape)
    errors = np.bincount(flat, weights=np.asarray(wrong, dtype=float), minlength=size)
    ln_cycles = np.bincount(columns.ravel(), weights=weight * np.log(at)) / totals.sum(axis=0)
    return EnduranceCounts(
        np.exp(ln_cycles), errors.astype(np.int64).reshape(shape), totals.astype(np.int64)
    )


@dataclass(frozen=True)
class EnduranceState:
    """Posterior of the errors of one state over cycles.

    Parameters
    ----------
    fitted : LifeDraws
        Parameters of :data:`PRIORS`.
    cycles_low, cycles_high : float
        Measured range.
    """

    fitted: LifeDraws
    cycles_low: float
    cycles_high: float

    def parts(self, cycles: ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Error share of sound units, share of worn-out units and their error share.

        Each of shape (chain, draw, cycles).
        """
        ln_c = np.log(np.atleast_1d(np.asarray(cycles, dtype=np.float64)))
        p = {name: self.fitted[name][..., None] for name in self.fitted.names}
        middle = 0.5 * math.log(self.cycles_low * self.cycles_high)
        sound = expit(p["logit_rate"] + p["slope"] * (ln_c - middle))
        worn = ndtr((ln_c - p["ln_cycles_worn"]) / np.exp(p["ln_sd_worn"]))
        return sound, worn, np.broadcast_to(expit(p["logit_worn_error"]), worn.shape)

    def ber(self, cycles: ArrayLike) -> FloatArray:
        """Error share of a cell of any unit, shape (chain, draw, cycles)."""
        sound, worn, error = self.parts(cycles)
        return np.asarray(worn * error + (1 - worn) * sound)

    def extrapolated(self, cycles: ArrayLike) -> np.ndarray:
        """Where cycles lie outside the measured range."""
        return beyond(np.atleast_1d(cycles), self.cycles_low, self.cycles_high)


def fit_endurance(counts: EnduranceCounts, *, options: SamplerOptions) -> EnduranceState:
    """Fit the errors of one state over cycles.

    Parameters
    ----------
    counts : EnduranceCounts
        What was counted.
    options : SamplerOptions
        Chains, draws and seed.

    Returns
    -------
    EnduranceState

    Raises
    ------
    ValueError
        Only one window of cycles.

    Notes
    -----
    A sound unit errs with a share that goes as a power of the cycles. At a number of cycles of its
    own, lognormal over units, it wears out and errs with another share from then on. Counts of a
    unit in a window are beta-binomial. The window in which a unit wore out is summed over, which is
    exact. Units with the same counts are computed once.
    """
    if len(counts.cycles) < 2:
        raise ValueError(
            f"all readings are near {counts.cycles[0]:.3g} cycles, which tells no trend; measure "
            "after more cycles, spread over decades"
        )
    record = {
        "units": counts.units,
        "errors": int(counts.errors.sum()),
        "trials": int(counts.trials.sum()),
        "cycles_low": float(counts.cycles[0]),
        "cycles_high": float(counts.cycles[-1]),
    }
    fitted = sample_life(endurance_likelihood(counts), PRIORS, options, record)
    return EnduranceState(fitted, float(counts.cycles[0]), float(counts.cycles[-1]))


def endurance_likelihood(counts: EnduranceCounts) -> ValueAndGradient:
    """Ln likelihood of the parameters of :data:`PRIORS`, in their order, with its gradient."""
    rows, number = np.unique(
        np.concatenate([counts.errors, counts.trials], axis=1), axis=0, return_counts=True
    )
    windows = len(counts.cycles)
    errors, trials = rows[:, :windows], rows[:, windows:]
    ln_c = np.log(counts.cycles)
    at = np.broadcast_to(np.arange(windows), errors.shape)
    table, place = _different(trials, errors, at)
    table_worn, place_worn = _different(trials, errors)
    data = (
        ln_c,
        ln_c - 0.5 * (ln_c[0] + ln_c[-1]),
        table.astype(np.float64),
        place,
        table_worn.astype(np.float64),
        place_worn,
        number.astype(np.float64),
    )

    def ln_likelihood(theta: FloatArray) -> tuple[float, FloatArray]:
        value, gradient = _change_points(theta, *data)
        return float(value), np.asarray(gradient)

    return ln_likelihood


def _different(*columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Different rows of columns, shape (column, row), and which of them each place is."""
    stacked = np.stack([c.ravel() for c in columns])
    table, place = np.unique(stacked, axis=1, return_inverse=True)
    return np.ascontiguousarray(table), place.reshape(columns[0].shape)


@njit(error_model="numpy")
def _change_points(theta, ln_c, centred, table, place, table_worn, place_worn, weight):  # type: ignore[no-untyped-def]
    """Ln likelihood and gradient, summed over the window in which each unit wore out."""
    units, windows = place.shape
    sd = math.exp(theta[3])
    ln_first = np.empty(windows + 1)  # of the first worn window; the last entry: none
    by_mu, by_ln_sd = np.zeros(windows + 1), np.zeros(windows + 1)
    before = (0.0, 1.0, 0.0, 0.0)
    for k in range(windows + 1):
        now = (1.0, 0.0, 0.0, 0.0)
        if k < windows:
            z = (ln_c[k] - theta[2]) / sd
            low, high, density = normal_tails(z)
            now = (low, high, density, z * density)
        # From the smaller tail, so that small probabilities stay exact.
        share = now[0] - before[0] if now[0] < 0.5 else before[1] - now[1]
        share = max(share, 1e-300)
        ln_first[k] = math.log(share)
        by_mu[k] = -(now[2] - before[2]) / (sd * share)
        by_ln_sd[k] = -(now[3] - before[3]) / share
        before = now
    ln_p, ln_q = np.empty(windows), np.empty(windows)
    for w in range(windows):
        logit = theta[0] + theta[1] * centred[w]
        ln_p[w], ln_q[w] = ln_expit(logit), ln_expit(-logit)
    at = table[2].astype(np.int64)
    sound = beta_binomials(table[1], table[0], ln_p[at], ln_q[at], -theta[5])
    even = np.ones(table_worn.shape[1])
    worn = beta_binomials(
        table_worn[1],
        table_worn[0],
        ln_expit(theta[4]) * even,
        ln_expit(-theta[4]) * even,
        -theta[6],
    )
    gradient = np.zeros(7)
    total = 0.0
    ends = np.empty(windows + 1)
    for u in range(units):
        rest = 0.0
        for w in range(windows):
            rest += worn[place_worn[u, w], 0]
        for k in range(windows + 1):
            ends[k] = ln_first[k] + rest
            if k < windows:
                rest += sound[place[u, k], 0] - worn[place_worn[u, k], 0]
        largest = ends.max()
        share_k = np.exp(ends - largest)
        total += weight[u] * (largest + math.log(share_k.sum()))
        share_k *= weight[u] / share_k.sum()
        is_worn = 0.0
        for k in range(windows + 1):
            gradient[2] += share_k[k] * by_mu[k]
            gradient[3] += share_k[k] * by_ln_sd[k]
            is_worn += share_k[k]
            if k < windows:
                is_sound = weight[u] - is_worn
                gradient[0] += is_sound * sound[place[u, k], 1]
                gradient[1] += is_sound * sound[place[u, k], 1] * centred[k]
                gradient[5] -= is_sound * sound[place[u, k], 2]
                gradient[4] += is_worn * worn[place_worn[u, k], 1]
                gradient[6] -= is_worn * worn[place_worn[u, k], 2]
    return total, gradient


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
    p = {n: state.fitted[n].reshape(-1)[chosen] for n in state.fitted.names}
    mu, sd = p["ln_cycles_worn"], np.exp(p["ln_sd_worn"])
    shape = (len(chosen), counts.units)
    low, high = np.zeros(shape), np.ones(shape)  # quantiles between which a unit wears out
    if seen is not None:
        low, high = _wear_windows(state, seen, chosen, rng)
    quantile = np.clip(low + (high - low) * rng.random(shape), 1e-300, 1 - 1e-16)
    worn_at = mu[:, None] + sd[:, None] * ndtri(quantile)
    sound = state.parts(counts.cycles)[0].reshape(number, -1)[chosen]
    is_worn = worn_at[:, :, None] <= np.log(counts.cycles)
    error = expit(p["logit_worn_error"])[:, None, None]
    mean = np.where(is_worn, error, sound[:, None, :])
    ln_kappa = np.where(
        is_worn, -p["logit_icc_worn"][:, None, None], -p["logit_icc"][:, None, None]
    )
    kappa = np.exp(np.minimum(ln_kappa, 20.0))
    share = rng.beta(np.maximum(mean * kappa, 1e-12), np.maximum((1 - mean) * kappa, 1e-12))
    return np.asarray(rng.binomial(counts.trials[None], np.clip(share, 0.0, 1.0)))


def _wear_windows(
    state: EnduranceState, seen: EnduranceCounts, chosen: IntArray, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Draw for each unit, given its counts, the window in which it wore out, as quantiles."""
    number = state.fitted.diagnostics.draws
    sound, worn, error = (a.reshape(number, -1)[chosen] for a in state.parts(seen.cycles))
    kappa = np.exp(-state.fitted["logit_icc"].reshape(-1)[chosen])
    kappa_worn = np.exp(-state.fitted["logit_icc_worn"].reshape(-1)[chosen])
    edges = np.concatenate([np.zeros((len(chosen), 1)), worn, np.ones((len(chosen), 1))], axis=1)
    low = np.empty((len(chosen), seen.units))
    high = np.empty_like(low)
    for i in range(len(chosen)):
        e, n = seen.errors, seen.trials
        a, b = sound[i] * kappa[i], (1 - sound[i]) * kappa[i]
        ok = betabinom.logpmf(e, n, a, b)
        bad = betabinom.logpmf(e, n, error[i] * kappa_worn[i], (1 - error[i]) * kappa_worn[i])
        zero = np.zeros((seen.units, 1))
        before = np.concatenate([zero, np.cumsum(ok, axis=1)], axis=1)
        after = np.cumsum(bad[:, ::-1], axis=1)[:, ::-1]
        ln_k = before + np.concatenate([after, zero], axis=1)
        ln_k += np.log(np.maximum(np.diff(edges[i]), 1e-300))
        # The largest of values with Gumbel noise is a draw from the law of the values.
        k = np.argmax(ln_k + rng.gumbel(size=ln_k.shape), axis=1)
        low[i], high[i] = edges[i][k], edges[i][k + 1]
    return low, high


def check_decades(
    state: EnduranceState, counts: EnduranceCounts, *, rng: np.random.Generator
) -> tuple[CountCheck, ...]:
    """Posterior predictive check of the errors of each decade, for new units."""
    predicted = replicate(state, counts, rng=rng)
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
    predicted = replicate(fit_endurance(seen, options=options), rest, seen=seen, rng=rng)
    return _check(until, float(counts.cycles[-1]), rest, predicted)


def _check(low: float, high: float, counts: EnduranceCounts, predicted: IntArray) -> CountCheck:
    at = {"low": low, "high": high}
    return CountCheck.of(at, counts.errors, counts.trials, predicted.sum(axis=(1, 2)))
