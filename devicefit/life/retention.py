"""Bit errors after a bake or a storage: a margin that shrinks as a power of time, faster when hot.

    probit BER = probit_baked - relaxation - shift                                       (t = 0)
    probit BER = probit_baked - shift * (1 - severity)                                   (t > 0)
    severity = (t / t_ref)^n * exp(n E_a / k (1 / T_ref - 1 / T))

Cells relax soon after they were verified, whatever the temperature; what goes on is activated. Each
state is fitted by itself. The reference is the hardest bake: ``probit_baked`` is the probit after
it, and ``shift`` what it did to the margin, in standard deviations. So counted errors speak of one
parameter where bakes have many of them, and of a bound where they have none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr
from scipy.stats import rankdata

from devicefit.life.checks import CountCheck
from devicefit.life.fit import BOLTZMANN_EV, LifeDraws, sample_life
from devicefit.numerics.arrays import FloatArray, IntArray
from devicefit.sampling.options import SamplerOptions
from devicefit.sampling.prior import Prior

if TYPE_CHECKING:
    import pymc as pm

PRIORS = (
    Prior(
        "ln_relaxation",
        math.log(0.3),
        1.0,
        "ln of the margin lost soon after programming, standard deviations",
        "weak; 0.06 to 1.6",
    ),
    Prior(
        "ln_shift",
        math.log(0.5),
        1.5,
        "ln of the loss of margin in the hardest bake, standard deviations",
        "weak; 0.04 to 6",
    ),
    Prior(
        "ln_activation_ev",
        math.log(1.2),
        0.3,
        "ln of the activation energy E_a in eV",
        "recalled, not verified: 1.0 to 1.6 eV in HfO2; weak, 0.7 to 2.0",
    ),
    Prior("ln_exponent", math.log(0.3), 0.6, "ln of the power n of time", "weak; 0.11 to 0.8"),
    Prior("logit_icc", -6.0, 1.5, "logit of the correlation within one bake", "weak"),
    Prior(
        "probit_baked",
        -3.0,
        1.0,
        "probit of the error share after the hardest bake; mean and sd are those of what it was "
        "before, without relaxation and shift",
        "weak",
    ),
)
MAX_PROBIT = 8.0
MAX_LN_SEVERITY = 50.0
TYPICAL_EV = 1.2
"""Only to rank bakes by hardness."""


@dataclass(frozen=True)
class BakeCounts:
    """Errors of one state before and after bakes.

    Parameters
    ----------
    time_s, temperature_k : float array, shape (row,)
        Time since programming and temperature during it; time 0 is fresh.
    errors, trials : int array, shape (row,)
        Readings on the wrong side, and all.

    Raises
    ------
    ValueError
        Shapes or values contradict each other, or nothing was baked.
    """

    time_s: FloatArray
    temperature_k: FloatArray
    errors: IntArray
    trials: IntArray

    def __post_init__(self) -> None:
        if len({len(a) for a in vars(self).values()}) != 1:
            raise ValueError("time_s, temperature_k, errors and trials need one length")
        bad = ~(np.isfinite(self.time_s) & (self.time_s >= 0))
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise ValueError(
                f"time_s is {self.time_s[row]} in row {row}; give seconds since programming, 0 for "
                "fresh cells"
            )
        bad = ~((self.temperature_k >= 200) & (self.temperature_k <= 800))
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise ValueError(
                f"temperature_k is {self.temperature_k[row]} in row {row}; give kelvin between 200 "
                "and 800 (degrees Celsius plus 273.15)"
            )
        if not (self.time_s > 0).any():
            raise ValueError("no row has a time above 0; give cells that were stored or baked")
        if np.any(self.trials < 1) or np.any(self.errors < 0) or np.any(self.errors > self.trials):
            raise ValueError("errors must lie between 0 and trials, trials must be at least 1")

    @property
    def hardest(self) -> int:
        """Row of the hardest bake."""
        with np.errstate(divide="ignore"):
            return int(
                np.argmax(np.log(self.time_s) - TYPICAL_EV / BOLTZMANN_EV / self.temperature_k)
            )

    def rows(self, keep: np.ndarray) -> BakeCounts:
        """Some of the rows."""
        return BakeCounts(*(a[keep] for a in vars(self).values()))


@dataclass(frozen=True)
class RetentionState:
    """Posterior of the errors of one state over time and temperature.

    Parameters
    ----------
    fitted : LifeDraws
        Parameters of :data:`PRIORS`.
    reference_s, reference_k : float
        Time and temperature of the hardest bake.
    """

    fitted: LifeDraws
    reference_s: float
    reference_k: float

    def severity(self, time_s: ArrayLike, temperature_k: ArrayLike) -> FloatArray:
        """Drift relative to that of the hardest bake, shape (chain, draw, condition)."""
        ln_time, cold = _coordinates(time_s, temperature_k, self.reference_s, self.reference_k)
        exponent = np.exp(self.fitted["ln_exponent"])[..., None]
        ev = np.exp(self.fitted["ln_activation_ev"])[..., None]
        return np.asarray(np.exp(np.minimum(exponent * (ln_time + ev * cold), MAX_LN_SEVERITY)))

    def probit(self, time_s: ArrayLike, temperature_k: ArrayLike) -> FloatArray:
        """Probit of the error share, shape (chain, draw, condition)."""
        shift = np.exp(self.fitted["ln_shift"])[..., None]
        fresh = np.asarray(time_s) <= 0
        relaxed = np.exp(self.fitted["ln_relaxation"])[..., None] * fresh
        drift = np.minimum(shift * (self.severity(time_s, temperature_k) - 1), 1e3)
        probit = self.fitted["probit_baked"][..., None] - relaxed + drift
        # Beyond that all bits of the state are wrong: nothing is stored any more.
        return np.asarray(np.minimum(probit, MAX_PROBIT))

    def ber(self, time_s: ArrayLike, temperature_k: ArrayLike) -> FloatArray:
        """Error share, shape (chain, draw, condition)."""
        return np.asarray(ndtr(self.probit(time_s, temperature_k)))

    def equivalent_s(self, time_s: float, temperature_k: float) -> FloatArray:
        """Time at the temperature of the hardest bake that does as much, shape (chain, draw).

        Longer than the bake itself: extrapolated in severity. It rests on the activation energy.
        """
        ev = np.exp(self.fitted["ln_activation_ev"])
        cold = (1 / self.reference_k - 1 / temperature_k) / BOLTZMANN_EV
        return np.asarray(time_s * np.exp(ev * cold))

    def extrapolation(self, time_s: float, temperature_k: float) -> Extrapolation:
        """What an answer at a condition of use rests on."""
        z = self.probit(time_s, temperature_k).ravel()
        ev, n = self.fitted["ln_activation_ev"].ravel(), self.fitted["ln_exponent"].ravel()
        answer = rankdata(z)
        design = np.stack([np.ones(len(z)), rankdata(ev) / len(z), rankdata(n) / len(z)], axis=1)
        design = np.column_stack([design, design[:, 1:] ** 2])
        prior = next(p for p in PRIORS if p.name == "ln_activation_ev")
        equivalent = self.equivalent_s(time_s, temperature_k)
        return Extrapolation(
            probability_beyond=float((equivalent > self.reference_s).mean()),
            activation_share=_explained(answer, design[:, [0, 1, 3]]),
            acceleration_share=_explained(answer, design),
            activation_sd_ratio=float(ev.std() / prior.sd),
        )


@dataclass(frozen=True)
class Extrapolation:
    """What a retention answer rests on.

    Parameters
    ----------
    probability_beyond : float
        Probability that the use is harder than the hardest bake.
    activation_share, acceleration_share : float
        Share of the variance of the ranks of the answer's draws that the activation energy
        explains, alone and together with the power of time.
    activation_sd_ratio : float
        Standard deviation of the ln activation energy, posterior over prior: near one, the data
        say nothing about it.
    """

    probability_beyond: float
    activation_share: float
    acceleration_share: float
    activation_sd_ratio: float

    def sentence(self) -> str:
        """In words."""
        known = (
            "which the data hardly inform: it is the prior's"
            if self.activation_sd_ratio > 0.8
            else "which the data inform"
        )
        return (
            f"{100 * self.acceleration_share:.0f} % of the spread of the answer comes from the "
            "activation energy and the power of time, "
            f"{100 * self.activation_share:.0f} % from the activation energy alone, {known} "
            f"(sd {self.activation_sd_ratio:.2f} of the prior's). With probability "
            f"{self.probability_beyond:.2f} the use is harder than the hardest bake."
        )


def _explained(answer: FloatArray, design: FloatArray) -> float:
    """Share of the variance of an answer that a regression explains; 0 where nothing varies."""
    if np.ptp(answer) == 0:
        return 0.0
    rest = answer - design @ np.linalg.lstsq(design, answer, rcond=None)[0]
    return float(max(1 - rest.var() / answer.var(), 0.0))


def _coordinates(
    time_s: ArrayLike, temperature_k: ArrayLike, reference_s: float, reference_k: float
) -> tuple[FloatArray, FloatArray]:
    """Ln of the time over the reference, and (1 / T_ref - 1 / T) / k in 1/eV."""
    t, k = np.broadcast_arrays(
        np.atleast_1d(np.asarray(time_s, dtype=np.float64)),
        np.asarray(temperature_k, dtype=np.float64),
    )
    with np.errstate(divide="ignore"):
        ln_time = np.log(t / reference_s)
    return ln_time, (1 / reference_k - 1 / k) / BOLTZMANN_EV


def fit_retention(counts: BakeCounts, *, options: SamplerOptions) -> RetentionState:
    """Fit the errors of one state over time and temperature.

    Parameters
    ----------
    counts : BakeCounts
        What was counted; rows are beta-binomial, since cells of one bake share what it did.
    options : SamplerOptions
        Chains, draws and seed.

    Returns
    -------
    RetentionState

    Notes
    -----
    Bakes of one duration tell ``n E_a`` but neither alone; their priors then matter, and the
    posterior keeps the trade between them.
    """
    hardest = counts.hardest
    reference_s, reference_k = float(counts.time_s[hardest]), float(counts.temperature_k[hardest])
    record = {
        "rows": len(counts.errors),
        "errors": int(counts.errors.sum()),
        "trials": int(counts.trials.sum()),
        "reference_s": reference_s,
        "reference_k": reference_k,
        "time_low_s": float(counts.time_s[counts.time_s > 0].min()),
        "time_high_s": float(counts.time_s.max()),
        "temperature_low_k": float(counts.temperature_k.min()),
        "temperature_high_k": float(counts.temperature_k.max()),
    }
    fitted = sample_life(retention_model(counts), PRIORS, options, record)
    return RetentionState(fitted, reference_s, reference_k)


def retention_model(counts: BakeCounts) -> pm.Model:
    """Errors of one state over bakes as a PyMC model.

    Notes
    -----
    Named variables are those of :data:`PRIORS`; the dimension ``bake`` has fresh rows too. Data are
    ``pm.Data``.
    """
    # Imported where a model is built: commands that evaluate draws have no use for PyMC.
    import pymc as pm
    import pytensor.tensor as pt

    from devicefit.life.formulas import ln_beta_binomial, normals
    from devicefit.likelihood.special_ops import ln_normal_cdf

    hardest = counts.hardest
    ln_time, cold = _coordinates(
        counts.time_s, counts.temperature_k, counts.time_s[hardest], counts.temperature_k[hardest]
    )
    fresh = counts.time_s <= 0
    with pm.Model(check_bounds=False) as model:
        *others, last = PRIORS
        p = normals(others)
        relaxation, shift = pt.exp(p["ln_relaxation"]), pt.exp(p["ln_shift"])
        baked = pm.Normal(last.name, last.mean + relaxation + shift, last.sd)
        ln_time = pm.Data("ln_time", np.where(fresh, 0.0, ln_time), dims="bake")
        cold = pm.Data("cold_per_ev", cold, dims="bake")
        fresh = pm.Data("fresh", fresh.astype(float), dims="bake")
        errors = pm.Data("errors", counts.errors.astype(float), dims="bake")
        trials = pm.Data("trials", counts.trials.astype(float), dims="bake")

        power = pt.exp(p["ln_exponent"]) * (ln_time + pt.exp(p["ln_activation_ev"]) * cold)
        severity = (1 - fresh) * pt.exp(pt.minimum(power, MAX_LN_SEVERITY))
        z = pt.minimum(baked - fresh * relaxation - shift * (1 - severity), MAX_PROBIT)
        ln_p, ln_q = ln_normal_cdf(z), ln_normal_cdf(-z)
        ln_counts = ln_beta_binomial(errors, trials, ln_p, ln_q, p["logit_icc"])
        pm.Potential("bakes", pt.sum(ln_counts))
    return model


def replicate(
    state: RetentionState, counts: BakeCounts, *, draws: int = 1000, rng: np.random.Generator
) -> IntArray:
    """Counts that the posterior predicts, shape (draw, row); each row a new bake."""
    number = state.fitted.diagnostics.draws
    chosen = rng.permutation(number)[: min(draws, number)]
    z = state.probit(counts.time_s, counts.temperature_k).reshape(number, -1)[chosen]
    kappa = np.exp(np.minimum(-state.fitted["logit_icc"].reshape(-1)[chosen], 20.0))[:, None]
    share = rng.beta(np.maximum(ndtr(z) * kappa, 1e-12), np.maximum(ndtr(-z) * kappa, 1e-12))
    return np.asarray(rng.binomial(counts.trials[None], share))


def check_bakes(
    state: RetentionState, counts: BakeCounts, *, rng: np.random.Generator
) -> tuple[CountCheck, ...]:
    """Posterior predictive check of each row."""
    predicted = replicate(state, counts, rng=rng)
    return tuple(
        CountCheck.of(
            {"time_s": float(time_s), "temperature_k": float(kelvin)}, errors, trials, of_bake
        )
        for time_s, kelvin, errors, trials, of_bake in zip(
            *vars(counts).values(), predicted.T, strict=True
        )
    )


def check_hardest(
    counts: BakeCounts, *, options: SamplerOptions, rng: np.random.Generator
) -> CountCheck | None:
    """Predict the hardest bake from a fit to all others; None where no other bake is left."""
    at = counts.hardest
    last = (counts.time_s == counts.time_s[at]) & (counts.temperature_k == counts.temperature_k[at])
    if not (counts.time_s[~last] > 0).any():
        return None
    rest = fit_retention(counts.rows(~last), options=options)
    return check_bakes(rest, counts.rows(last), rng=rng)[0]
