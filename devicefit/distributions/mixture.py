"""Mixtures of laws of ln R: the form in which a device model hands over its draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp

from devicefit.distributions.kernels import KERNELS, ln_cdf, ln_pdf
from devicefit.numerics.arrays import FloatArray, IntArray
from devicefit.numerics.short_repr import short_repr

FlatLaw = tuple[np.ndarray, FloatArray, FloatArray, FloatArray, FloatArray]

# In units of a scale: below it a difference of distribution functions has lost more digits than
# Simpson's rule for the density leaves out.
_NARROW = 1e-4


@short_repr
@dataclass(frozen=True)
class Mixture:
    """Law of y = ln(R / ohm) for one state.

    Parameters
    ----------
    ln_weight, location, scale : float array, shape (component, ...)
        Logarithm of the weight, location and scale of each component; the trailing axes are
        shared, usually (chain, draw, programming). A normal kernel has the scale as standard
        deviation, a logistic one as ``sqrt(3) / pi`` of it.
    kernels : tuple of {"normal", "student-t", "logistic"}, optional
        Shape of each component; ``()`` means all normal.
    dof : float array, optional
        Degrees of freedom, broadcast against ``location``; read where the kernel is student-t.

    Raises
    ------
    ValueError
        Shapes differ, a scale or a dof is not positive, a kernel is not known, or weights do not
        sum to one.
    """

    ln_weight: FloatArray
    location: FloatArray
    scale: FloatArray
    kernels: tuple[str, ...] = ()
    dof: FloatArray | None = None

    def __post_init__(self) -> None:
        if not self.ln_weight.shape == self.location.shape == self.scale.shape:
            raise ValueError(
                f"ln_weight {self.ln_weight.shape}, location {self.location.shape} and scale "
                f"{self.scale.shape} must have one shape"
            )
        _check_positive("scale", self.scale)
        if not self.kernels:
            object.__setattr__(self, "kernels", ("normal",) * self.components)
        if len(self.kernels) != self.components or not set(self.kernels) <= set(KERNELS):
            raise ValueError(
                f"kernels is {self.kernels}; give one of {', '.join(KERNELS)} for each of the "
                f"{self.components} components"
            )
        self._check_dof()
        if self.ln_weight.size:
            total = np.exp(self.ln_weight).sum(axis=0)
            off = np.abs(total - 1.0)
            if not off.max() <= 1e-9:
                worst = np.ravel(total)[np.argmax(off)]
                raise ValueError(f"weights must sum to one; their sum reaches {worst:.9g}")

    def _check_dof(self) -> None:
        heavy = [c for c, kernel in enumerate(self.kernels) if kernel == "student-t"]
        if not heavy:
            return
        if self.dof is None:
            raise ValueError("a student-t component needs dof, its degrees of freedom")
        if self.dof.ndim != self.location.ndim or any(
            n not in (1, m) for n, m in zip(self.dof.shape, self.location.shape, strict=True)
        ):
            raise ValueError(
                f"dof {self.dof.shape} does not broadcast against location {self.location.shape}"
            )
        _check_positive("dof", self.dof if self.dof.shape[0] == 1 else self.dof[heavy])

    @property
    def components(self) -> int:
        """Number of components."""
        return int(self.location.shape[0])

    @property
    def trailing(self) -> tuple[int, ...]:
        """Shape of the axes after the component."""
        return self.location.shape[1:]

    def part(self, index: tuple[slice | int | IntArray, ...]) -> Mixture:
        """The law at `index` of the trailing axes; integers drop their axis."""
        full = (slice(None), *index)
        dof = self.dof
        if dof is not None:
            dof = np.broadcast_to(dof, self.location.shape)[full]
        return replace(
            self,
            ln_weight=self.ln_weight[full],
            location=self.location[full],
            scale=self.scale[full],
            dof=dof,
        )

    def thinned(self, draws: int) -> Mixture:
        """About `draws` evenly spaced draws of each chain; trailing shape (chain, draw, ...)."""
        every = max(1, self.location.shape[2] // draws)
        return self.part((slice(None), slice(None, None, every)))

    def ln_density(self, y: ArrayLike) -> FloatArray:
        """Logarithm of the density at `y`, broadcast against the trailing axes."""
        (values,), rows = self._rows(y)
        terms = [
            ln_weight + ln_pdf((values - location) / scale, kernel, dof) - np.log(scale)
            for kernel, ln_weight, location, scale, dof in rows
        ]
        return np.asarray(logsumexp(np.stack(terms), axis=0))

    def ln_distribution(self, y: ArrayLike) -> FloatArray:
        """Logarithm of P(Y <= y), exact in the far lower tail."""
        return self._ln_tail(y, 1.0)

    def ln_survival(self, y: ArrayLike) -> FloatArray:
        """Logarithm of P(Y > y), exact in the far upper tail."""
        return self._ln_tail(y, -1.0)

    def _ln_tail(self, y: ArrayLike, side: float) -> FloatArray:
        # Every kernel is symmetric: its survival function is the distribution function of -z.
        (values,), rows = self._rows(y)
        terms = [
            ln_weight + ln_cdf(side * ((values - location) / scale), kernel, dof)
            for kernel, ln_weight, location, scale, dof in rows
        ]
        return np.minimum(logsumexp(np.stack(terms), axis=0), 0.0)

    def ln_interval(self, low: ArrayLike, high: ArrayLike) -> FloatArray:
        """Logarithm of P(low < Y <= high), exact in both tails and for narrow intervals.

        Parameters
        ----------
        low, high : float array
            Ends, broadcast against each other and the trailing axes; may be infinite.

        Raises
        ------
        ValueError
            An end lies below its beginning; gives the first index.

        Notes
        -----
        A difference of distribution functions, taken on the side of the smaller tail; below 1e-4
        scales in width Simpson's rule for the density.
        """
        (begin, end), rows = self._rows(low, high)
        wrong = ~np.broadcast_to(begin <= end, np.broadcast_shapes(begin.shape, end.shape))
        if np.any(wrong):
            first = tuple(int(i) for i in np.argwhere(wrong)[0])
            raise ValueError(f"high is below low, or one is not a number, at index {first}")
        terms = [
            ln_weight
            + _ln_standard_interval((begin - location) / scale, (end - location) / scale, kernel, d)
            for kernel, ln_weight, location, scale, d in rows
        ]
        return np.minimum(logsumexp(np.stack(terms), axis=0), 0.0)

    def sample(self, n: int, *, rng: np.random.Generator) -> FloatArray:
        """Draw `n` values for each element of the trailing axes, shape (n, ...)."""
        edges = np.cumsum(np.exp(self.ln_weight), axis=0)[:-1]
        uniform = rng.random((n, *self.trailing))
        component = (uniform[None] > edges[:, None]).sum(axis=0)
        score = rng.standard_normal(component.shape)
        for c, kernel in enumerate(self.kernels):
            mine = component == c
            if kernel == "logistic":
                score[mine] = rng.logistic(size=mine.sum())
            elif kernel == "student-t":
                assert self.dof is not None
                dof = np.broadcast_to(self.dof, self.location.shape)[c]
                score[mine] = rng.standard_t(np.broadcast_to(dof, mine.shape)[mine])
        location = np.take_along_axis(self.location, component, axis=0)
        return location + np.take_along_axis(self.scale, component, axis=0) * score

    def flat(self, shape: tuple[int, ...]) -> FlatLaw:
        """Plain contiguous arrays for compiled code, broadcast to the trailing `shape`.

        Parameters
        ----------
        shape : tuple of int
            What the trailing shape broadcasts to; its last axis becomes the columns, the others
            the rows.

        Returns
        -------
        kernels : int array, shape (component,)
            Places in :data:`devicefit.distributions.kernels.KERNELS`.
        ln_weight, location, scale : float array, shape (component, row, column)
        dof : float array, shape (component, row, column) or (component, row, 1)
            Ones where it does not matter.
        """
        columns = shape[-1] if shape else 1
        rows = int(np.prod(shape[:-1], dtype=np.int64))
        full = (self.components, rows, columns)

        def spread(values: FloatArray, last: int) -> FloatArray:
            inner = values.reshape(
                (len(values), *(1,) * (len(shape) - values.ndim + 1), *values.shape[1:])
            )
            target = (self.components, *shape[:-1], last) if shape else (self.components,)
            wide = np.broadcast_to(inner, target)
            plain = np.ascontiguousarray(wide, dtype=np.float64).reshape((*full[:2], last))
            # Compiled code is made for one kind of array; some here are read-only views.
            plain = plain.view()
            plain.flags.writeable = False
            return plain

        if "student-t" in self.kernels and self.dof is not None:
            dof = spread(self.dof, self.dof.shape[-1] if self.dof.ndim > 1 else 1)
        else:
            dof = spread(np.ones((self.components, *(1,) * len(shape))), 1)
        return (
            np.array([KERNELS.index(kernel) for kernel in self.kernels]),
            spread(self.ln_weight, columns),
            spread(self.location, columns),
            spread(self.scale, columns),
            dof,
        )

    def _rows(self, *values: ArrayLike) -> tuple[list[FloatArray], list[tuple]]:
        """`values` as arrays; kernel, ln_weight, location, scale and dof of each component."""
        arrays = [np.asarray(v, dtype=np.float64) for v in values]
        rows = []
        for c, kernel in enumerate(self.kernels):
            dof = None
            if kernel == "student-t":
                assert self.dof is not None
                dof = self.dof[min(c, len(self.dof) - 1)]
            rows.append((kernel, self.ln_weight[c], self.location[c], self.scale[c], dof))
        return arrays, rows


def _check_positive(name: str, values: FloatArray) -> None:
    good = (values > 0) & np.isfinite(values)
    if not np.all(good):
        first = tuple(int(i) for i in np.argwhere(~good)[0])
        raise ValueError(
            f"{name} is {values[first]} at index {first}; it must be positive and finite"
        )


def _ln_standard_interval(
    low: FloatArray, high: FloatArray, kernel: str, dof: FloatArray | None
) -> FloatArray:
    """Logarithm of P(low < Z <= high) of a standard kernel, low <= high."""
    low, high = np.broadcast_arrays(low, high)
    # Turned so that the tail on the left of both ends is the smaller one.
    with np.errstate(invalid="ignore"):  # -inf + inf: either side will do
        turned = low + high > 0
    a, b = np.where(turned, -high, low), np.where(turned, -low, high)
    below, above = ln_cdf(a, kernel, dof), ln_cdf(b, kernel, dof)
    with np.errstate(invalid="ignore", divide="ignore"):
        # below is -inf where a is: nothing to take away
        wide = above + np.log1p(-np.exp(np.where(below == -np.inf, -np.inf, below - above)))
        width = b - a
        middle = ln_pdf(np.where(np.isfinite(width), (a + b) / 2, 0.0), kernel, dof)
        ends = [ln_pdf(np.where(np.isfinite(width), end, 0.0), kernel, dof) for end in (a, b)]
        simpson = (4.0 + sum(np.exp(end - middle) for end in ends)) / 6.0
        narrow = np.log(width) + middle + np.log(simpson)
    return np.where(width < _NARROW, narrow, wide)


def mix(laws: Sequence[Mixture], ln_weights: ArrayLike) -> Mixture:
    """Mixture of laws, as after stacking families: their components side by side.

    Parameters
    ----------
    laws : sequence of Mixture
        Laws with one trailing shape; the numbers of components may differ.
    ln_weights : float array, shape (law,) or (law, ...)
        Logarithm of each law's weight, broadcast against the trailing axes.

    Returns
    -------
    Mixture

    Raises
    ------
    ValueError
        No law, other trailing shapes, not one weight for each law, or weights that do not sum to
        one.
    """
    if not laws:
        raise ValueError("there is no law to mix; give at least one")
    shapes = [law.trailing for law in laws]
    if len(set(shapes)) > 1:
        raise ValueError(f"the laws have trailing shapes {shapes}; evaluate them on one grid")
    ln_w = np.asarray(ln_weights, dtype=np.float64)
    if ln_w.ndim == 0 or len(ln_w) != len(laws):
        raise ValueError(
            f"ln_weights has shape {ln_w.shape}; give one for each of {len(laws)} laws"
        )
    dof = None
    if any("student-t" in law.kernels for law in laws):
        dof = np.concatenate(
            [
                np.broadcast_to(1.0 if law.dof is None else law.dof, law.location.shape)
                for law in laws
            ]
        )
    return Mixture(
        np.concatenate([law.ln_weight + w for law, w in zip(laws, ln_w, strict=True)]),
        np.concatenate([law.location for law in laws]),
        np.concatenate([law.scale for law in laws]),
        tuple(kernel for law in laws for kernel in law.kernels),
        dof,
    )
