"""Families of device models averaged by how well they predict devices they have not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from devicefit.distributions.mixture import Mixture
from devicefit.families.frame import Frame
from devicefit.fitting.filament import Filament
from devicefit.fitting.fit import DevicePosterior, Diagnostics
from devicefit.numerics.arrays import FloatArray, IntArray
from devicefit.numerics.short_repr import short_repr
from devicefit.prediction.loo import Loo

STACKED = "stacked"

LEAST_WEIGHT = 0.005
"""Families of a smaller weight are left out of the draws."""

_BARRIER = 1e-11
_GOLDEN = (np.sqrt(5.0) - 1) / 2


def stacking_weights(loos: Mapping[str, Loo]) -> dict[str, float]:
    """Weights with which the mixture of families predicts left-out devices best.

    Parameters
    ----------
    loos : mapping of str to Loo
        Leave-one-device-out prediction of each family, of the same devices.

    Returns
    -------
    dict of str to float
        In the order of `loos`; not negative, sum one.

    Raises
    ------
    ValueError
        No family, other devices, or a prediction that is not finite.

    Notes
    -----
    Maximises ``sum_i ln sum_k w_k f_ik`` over readings i, f the density predicted without the
    reading's device (Yao et al. 2018, Bayesian Analysis 13, equation 4): each reading has the
    mixture for its law, as predictions have. Were whole devices the units, families would be
    weighed by the devices that they suit best, and with hundreds of cycles of a few dozen devices
    the weights would be shares of devices. Where only sums over devices are known, those count.
    """
    if not loos:
        raise ValueError("there is no family to stack; give at least one")
    parts = list(loos.values())
    for name, part in loos.items():
        if part.devices != parts[0].devices:
            raise ValueError(
                f"{name} was scored on other devices; fit all families to one data set"
            )
        if not np.isfinite(part.lpd).all():
            first = part.devices[int(np.argmin(np.isfinite(part.lpd)))]
            raise ValueError(
                f"the prediction of {name} for device {first} is not finite; leave the family out"
            )
    by_reading = [part.reading_lpd for part in parts if part.reading_lpd is not None]
    if len(by_reading) == len(parts):
        weights = optimal_weights(np.stack(by_reading, axis=1), parts[0].reading_count)
    else:
        weights = optimal_weights(np.stack([part.lpd for part in parts], axis=1))
    return dict(zip(loos, weights.tolist(), strict=True))


def optimal_weights(lpd: FloatArray, count: FloatArray | None = None) -> FloatArray:
    """Weights that maximise the mean over rows of ``ln sum_k w_k exp(lpd_k)``.

    Parameters
    ----------
    lpd : float array, shape (row, family)
        Finite log predictive densities.
    count : float array, shape (row,), optional
        How often each row counts; once when left out.

    Returns
    -------
    float array, shape (family,)
        Within 1e-9 of the largest value of the mean.

    Notes
    -----
    Newton's method with a logarithmic barrier for ``-mean ln(P w) + sum w``, whose minimum over
    ``w >= 0`` has sum one (Kim et al. 2020, J. Comput. Graph. Stat. 29, proposition 3.2). At
    barrier strength b the value is within ``b * families`` of the best. Each step is undamped
    Newton with a line search: the same numbers give the same weights.
    """
    p = np.exp(lpd - lpd.max(axis=1, keepdims=True))
    rows, families = p.shape
    of_row = np.full(rows, 1.0 / rows) if count is None else count / count.sum()
    w = np.full(families, 1.0 / families)
    barrier = 0.1
    while True:
        for _ in range(50):
            share = p / (p @ w)[:, None]
            gradient = 1.0 - of_row @ share - barrier / w
            hessian = share.T @ (share * of_row[:, None]) + np.diag(barrier / w**2)
            step = -np.linalg.solve(hessian, gradient)
            decrease = -float(gradient @ step)
            if decrease < 1e-3 * barrier:
                break
            w = _line_search(p, of_row, w, step, barrier, decrease)
        if barrier <= _BARRIER:
            return np.asarray(w / w.sum())
        barrier *= 0.1


def _line_search(
    p: FloatArray,
    of_row: FloatArray,
    w: FloatArray,
    step: FloatArray,
    barrier: float,
    decrease: float,
) -> FloatArray:
    def value(at: FloatArray) -> float:
        return float(-(of_row @ np.log(p @ at)) + at.sum() - barrier * np.log(at).sum())

    length = min(1.0, 0.99 / max(float(np.max(-step / w)), 1e-300))
    now = value(w)
    while length > 1e-10 and value(w + length * step) > now - 1e-4 * length * decrease:
        length *= 0.5
    return w + length * step


@short_repr
@dataclass(frozen=True)
class StackedDevice:
    """Draws of several families, each family's share of the draws its stacking weight.

    Use it where a :class:`devicefit.fitting.DevicePosterior` is used to predict: intervals then
    show the spread between families too.

    Parameters
    ----------
    posteriors : dict of str to DevicePosterior
        Fits to one data set with equal numbers of chains and draws.
    weights : dict of str to float
        Stacking weights of the same families.

    Raises
    ------
    ValueError
        Families, frames or draws do not agree, or the weights are no weights.
    """

    posteriors: dict[str, DevicePosterior]
    weights: dict[str, float]

    def __post_init__(self) -> None:
        if not self.posteriors or set(self.posteriors) != set(self.weights):
            raise ValueError(
                f"families {sorted(self.posteriors)} with weights of {sorted(self.weights)}; "
                "give one weight for each family"
            )
        values = np.array(list(self.weights.values()))
        if not (np.all(values >= 0) and abs(values.sum() - 1) < 1e-6):
            raise ValueError(f"weights {self.weights} must not be negative and sum to one")
        first = next(iter(self.posteriors.values()))
        for name, posterior in self.posteriors.items():
            if posterior.frame != first.frame:
                raise ValueError(f"{name} was fitted over another range; fit all to one data set")
            sizes = [(p.draws.sizes["chain"], p.draws.sizes["draw"]) for p in (first, posterior)]
            if sizes[0] != sizes[1]:
                raise ValueError(
                    f"{name} has {sizes[1]} chains and draws, others {sizes[0]}; fit all families "
                    "with the same sampler options"
                )

    @property
    def family(self) -> str:
        """Name of the model."""
        return STACKED

    @property
    def used(self) -> dict[str, float]:
        """Weights of the families in the draws: those of at least `LEAST_WEIGHT`, sum one."""
        kept = {name: w for name, w in self.weights.items() if w >= LEAST_WEIGHT}
        total = sum(kept.values())
        return {name: w / total for name, w in kept.items()}

    @property
    def leading(self) -> DevicePosterior:
        """Posterior of the family with the largest weight."""
        return self.posteriors[max(self.weights, key=lambda name: self.weights[name])]

    @property
    def frame(self) -> Frame:
        """Programming variable and measured range."""
        return self.leading.frame

    @property
    def diagnostics(self) -> Diagnostics:
        """Convergence of the leading family."""
        return self.leading.diagnostics

    @property
    def record(self) -> dict[str, Any]:
        """Record of the leading family, with the weights and the families left out."""
        stacking = {
            "weights": dict(self.weights),
            "left_out": [name for name in self.weights if name not in self.used],
        }
        return {**self.leading.record, "stacking": stacking}

    def allotment(self) -> IntArray:
        """Which family each draw belongs to, shape (chain, draw); indices into `used`.

        Notes
        -----
        Draws are ordered by a golden-ratio sequence and cut at the cumulative weights: every
        family gets its share to within one draw, evenly spread over each chain.
        """
        sizes = self.leading.draws.sizes
        shape = (sizes["chain"], sizes["draw"])
        n = shape[0] * shape[1]
        order = np.argsort((_GOLDEN * np.arange(n)) % 1.0, kind="stable")
        level = np.empty(n)
        level[order] = (np.arange(n) + 0.5) / n
        edges = np.cumsum(list(self.used.values()))[:-1]
        return np.searchsorted(edges, level).reshape(shape)

    def at_second(self, value: float) -> StackedDevice:
        """The same fits, at this value of the second variable where none is asked for."""
        return replace(self, posteriors={f: p.at_second(value) for f, p in self.posteriors.items()})

    def with_new_arrays(self, count: int) -> StackedDevice:
        """The same fits with arrays that were not measured, the last ones of the frame."""
        fits = {f: p.with_new_arrays(count) for f, p in self.posteriors.items()}
        return replace(self, posteriors=fits)

    def mixtures(
        self,
        x: FloatArray,
        *,
        second: FloatArray | float | None = None,
        array: IntArray | int | None = None,
    ) -> dict[str, Mixture]:
        """Law of ln R of each state, trailing shape (chain, draw, programming).

        Each draw is the law of one family; components that the family does not have weigh
        nothing. Parameters as of :meth:`devicefit.fitting.DevicePosterior.mixtures`.
        """
        allotted = self.allotment()
        masks = [allotted == k for k in range(len(self.used))]
        parts = [
            _chosen(self.posteriors[name], mask).mixtures(x, second=second, array=array)
            for name, mask in zip(self.used, masks, strict=True)
            if mask.any()
        ]
        masks = [mask for mask in masks if mask.any()]
        return {state: _side_by_side([p[state] for p in parts], masks) for state in parts[0]}

    def filament(
        self,
        x: FloatArray,
        *,
        second: FloatArray | float | None = None,
        array: IntArray | int | None = None,
    ) -> Filament:
        """Resistance of the filament alone, shape (chain, draw, programming).

        Each draw is that of one family. Parameters as of
        :meth:`devicefit.fitting.DevicePosterior.filament`.
        """
        allotted = self.allotment()
        parts = [
            self.posteriors[name].filament(x, second=second, array=array) for name in self.used
        ]

        def chosen(values: Sequence[FloatArray]) -> FloatArray:
            return np.choose(allotted[..., None], values)

        shares = [part.series_share for part in parts if part.series_share is not None]
        return Filament(chosen([part.ln_r for part in parts]), chosen(shares) if shares else None)


def _chosen(posterior: DevicePosterior, mask: np.ndarray) -> DevicePosterior:
    """The posterior with the draws of `mask` (chain, draw), as one chain."""
    named = {
        str(name): (variable.dims, variable.values[mask][None])
        for name, variable in posterior.draws.data_vars.items()
    }
    return replace(posterior, draws=xr.Dataset(named))


def _side_by_side(laws: list[Mixture], masks: list[np.ndarray]) -> Mixture:
    """Laws (1, draw of its mask, place) put into one of (chain, draw, place)."""
    kernels = tuple(
        kernel
        for kernel in dict.fromkeys(k for law in laws for k in law.kernels)
        for _ in range(max(law.kernels.count(kernel) for law in laws))
    )
    shape = (len(kernels), *masks[0].shape, laws[0].trailing[-1])
    ln_weight = np.full(shape, -np.inf)
    location, scale = np.empty(shape), np.empty(shape)
    dof = np.ones(shape) if "student-t" in kernels else None
    for law, mask in zip(laws, masks, strict=True):
        # Any finite law will do where the weight is nothing.
        location[:, mask], scale[:, mask] = law.location[:1, 0], law.scale[:1, 0]
        free = list(range(len(kernels)))
        for c, kernel in enumerate(law.kernels):
            slot = next(s for s in free if kernels[s] == kernel)
            free.remove(slot)
            ln_weight[slot, mask] = law.ln_weight[c, 0]
            location[slot, mask], scale[slot, mask] = law.location[c, 0], law.scale[c, 0]
            if kernel == "student-t" and dof is not None:
                assert law.dof is not None
                dof[slot, mask] = np.broadcast_to(law.dof, law.location.shape)[c, 0]
    return Mixture(ln_weight, location, scale, kernels, dof)
