"""Mixtures of normal laws of ln R: the form in which a device model hands over its draws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_ndtr, logsumexp

from devicefit.programming import FloatArray


@dataclass(frozen=True)
class NormalMixture:
    """Law of y = ln(R / ohm) for one state.

    Parameters
    ----------
    ln_weight, mean, sd : float array, shape (component, ...)
        Logarithm of the weight, mean and standard deviation of each component; the trailing axes
        are shared, usually (chain, draw, programming).

    Raises
    ------
    ValueError
        Shapes differ, a standard deviation is not positive, or weights do not sum to one.
    """

    ln_weight: FloatArray
    mean: FloatArray
    sd: FloatArray

    def __post_init__(self) -> None:
        if not self.ln_weight.shape == self.mean.shape == self.sd.shape:
            raise ValueError(
                f"ln_weight {self.ln_weight.shape}, mean {self.mean.shape} and sd {self.sd.shape} "
                "must have one shape"
            )
        if not np.all(self.sd > 0):
            first = tuple(int(i) for i in np.argwhere(~(self.sd > 0))[0])
            raise ValueError(f"sd is {self.sd[first]} at index {first}; it must be positive")
        if self.ln_weight.size:
            total = logsumexp(self.ln_weight, axis=0)
            if not np.allclose(total, 0.0, atol=1e-9):
                worst = np.ravel(total)[np.argmax(np.abs(total))]
                raise ValueError(f"weights must sum to one; their sum reaches {np.exp(worst):.9g}")

    @property
    def components(self) -> int:
        """Number of components."""
        return int(self.mean.shape[0])

    def _standard_score(self, y: ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Standard score of `y` in each component, ln_weight and sd; components stay in front."""
        values = np.asarray(y, dtype=np.float64)
        # Axes that only y has come after the component axis, never in its place.
        new = tuple(range(1, 1 + values.ndim - (self.mean.ndim - 1)))
        ln_weight, mean, sd = (np.expand_dims(a, new) for a in (self.ln_weight, self.mean, self.sd))
        return (values - mean) / sd, ln_weight, sd

    def thinned(self, draws: int) -> NormalMixture:
        """About `draws` evenly spaced draws of each chain; trailing shape (chain, draw, ...)."""
        every = max(1, self.mean.shape[2] // draws)
        return NormalMixture(
            self.ln_weight[:, :, ::every], self.mean[:, :, ::every], self.sd[:, :, ::every]
        )

    def ln_density(self, y: ArrayLike) -> FloatArray:
        """Logarithm of the density at `y`, broadcast against the trailing axes."""
        z, ln_weight, sd = self._standard_score(y)
        terms = ln_weight - 0.5 * z**2 - np.log(sd) - 0.5 * np.log(2 * np.pi)
        return np.asarray(logsumexp(terms, axis=0))

    def ln_distribution(self, y: ArrayLike) -> FloatArray:
        """Logarithm of P(Y <= y), exact in the far lower tail."""
        z, ln_weight, _ = self._standard_score(y)
        return np.minimum(logsumexp(ln_weight + log_ndtr(z), axis=0), 0.0)

    def ln_survival(self, y: ArrayLike) -> FloatArray:
        """Logarithm of P(Y > y), exact in the far upper tail."""
        z, ln_weight, _ = self._standard_score(y)
        return np.minimum(logsumexp(ln_weight + log_ndtr(-z), axis=0), 0.0)

    def sample(self, n: int, *, rng: np.random.Generator) -> FloatArray:
        """Draw `n` values for each element of the trailing axes, shape (n, ...)."""
        edges = np.cumsum(np.exp(self.ln_weight), axis=0)[:-1]
        uniform = rng.random((n, *self.mean.shape[1:]))
        component = (uniform[None] > edges[:, None]).sum(axis=0)
        mean = np.take_along_axis(self.mean, component, axis=0)
        sd = np.take_along_axis(self.sd, component, axis=0)
        return mean + sd * rng.standard_normal(component.shape)
