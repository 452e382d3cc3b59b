"""Resistances of single cells drawn from a fitted device, and the bits that they are read as."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from devicefit.distributions.mixture import Mixture
from devicefit.distributions.sensing import CELLS_PER_BIT, SCHEMES, SensingOptions
from devicefit.distributions.threshold import choose_threshold
from devicefit.fitting.fitted import Fitted
from devicefit.inputs.refusals import STATES
from devicefit.numerics.arrays import FloatArray

_BLOCK = 1 << 15
"""Cells drawn at a time, so that what is in between stays in the cache."""

DRAWING = "three uniforms for each cell, 1"
"""Name of the way cells are drawn: results under different names are of different cells."""

_UNIFORMS = 3


def draw_ln_resistance(law: Mixture, cells: int, *, rng: np.random.Generator) -> FloatArray:
    """Draw ln R of cells, each a device of its own.

    Parameters
    ----------
    law : Mixture
        Law of ln(R / ohm) with trailing shape ``()``: one posterior draw at one programming value.
    cells : int
        Number of cells, not negative.
    rng : numpy.random.Generator
        Source of randomness, advanced by three uniform numbers for each cell whatever the law, so
        that cells of several laws drawn from the same state are matched.

    Returns
    -------
    float array, shape (cell,)
        Independent draws.

    Raises
    ------
    ValueError
        The law has draws or places left, or `cells` is negative.

    Notes
    -----
    One number chooses the component. With U uniform in (0, 1) and V uniform, the other two give

        normal     sqrt(-2 ln U) cos(2 pi V)                       (Box and Muller 1958),
        student-t  sqrt(dof (U^(-2 / dof) - 1)) cos(2 pi V)        (Bailey 1994, Math. Comp. 62),
        logistic   ln(U / (1 - U)).
    """
    if law.trailing != ():
        raise ValueError(
            f"the law has the trailing shape {law.trailing}; choose one draw and one place with "
            "Mixture.part"
        )
    if cells < 0:
        raise ValueError(f"cells is {cells}; it must not be negative")
    y = np.empty(cells)
    edges = np.cumsum(np.exp(law.ln_weight))[:-1]
    for start in range(0, cells, _BLOCK):
        uniforms = rng.random((min(_BLOCK, cells - start), _UNIFORMS)).T
        component = np.searchsorted(edges, uniforms[0], side="right")
        # strictly inside (0, 1), so that every logarithm is finite
        u = (np.floor(uniforms[1] * 2.0**52) + 0.5) * 2.0**-52
        z = _standard(law, component, u, uniforms[2])
        y[start : start + _BLOCK] = law.location[component] + law.scale[component] * z
    return y


def _standard(law: Mixture, component: np.ndarray, u: FloatArray, v: FloatArray) -> FloatArray:
    """Standard variables of the kernel of each cell's component."""
    kinds = set(law.kernels)
    if kinds == {"logistic"}:
        return np.asarray(np.log(u) - np.log1p(-u))
    cosine = np.cos(2 * np.pi * v)
    if kinds == {"normal"}:
        return np.asarray(np.sqrt(-2.0 * np.log(u)) * cosine)
    z = np.empty(len(u))
    for c, kernel in enumerate(law.kernels):
        at = component == c
        if kernel == "logistic":
            z[at] = np.log(u[at]) - np.log1p(-u[at])
        elif kernel == "normal":
            z[at] = np.sqrt(-2.0 * np.log(u[at])) * cosine[at]
        else:
            assert law.dof is not None
            dof = np.broadcast_to(law.dof, law.location.shape)[c]
            z[at] = np.sqrt(dof * np.expm1(-2.0 / dof * np.log(u[at]))) * cosine[at]
    return z


@dataclass(frozen=True)
class CellReader:
    """How stored bits of a fitted device are read at one programming value.

    A bit is stored in one cell, or in two complementary ones; each cell is a device of its own,
    programmed once and read once. In that case what a family says of one cell is its marginal law:
    the levels of the lognormal family divide the variance of a reading into what lasts in a device
    and what is new in a cycle, and cells of different devices share neither. Failed operations are
    components of the law.

    Parameters
    ----------
    scheme : {"1T1R", "2T2R"}
        One cell against a threshold, or which of two cells conducts better.
    programming : float
        Programming value, SI.
    lrs, hrs : Mixture
        Laws of ln R, trailing shape (draw,), all chains one after the other.
    threshold_ln_r : float or None
        ln of the 1T1R threshold in ohm, one for all draws.
    offset_ln_r : float or None
        Standard deviation of the offset of the sense amplifier of a 2T2R pair; each pair has its
        own, as in :func:`devicefit.distributions.sensing.ln_ber_2t2r`.
    one_is : {"LRS", "HRS"}
        State that stores a 1; with 2T2R that of the first cell.
    """

    scheme: str
    programming: float
    lrs: Mixture
    hrs: Mixture
    threshold_ln_r: float | None
    offset_ln_r: float | None
    one_is: str = "LRS"

    @property
    def draws(self) -> int:
        """Number of posterior draws."""
        return int(self.lrs.trailing[0])

    @cached_property
    def error_probability(self) -> dict[str, FloatArray]:
        """Closed form of the probability that a bit stored as LRS, as HRS is misread, (draw,).

        Raises
        ------
        ValueError
            The scheme is 2T2R, whose probability has no side; see
            :func:`devicefit.distributions.sensing.ln_ber_2t2r`.
        """
        if self.threshold_ln_r is None:
            raise ValueError(
                f"{self.scheme} has no threshold; use devicefit.distributions.sensing.ln_ber_2t2r"
            )
        return {
            "LRS": np.exp(self.lrs.ln_survival(self.threshold_ln_r)),
            "HRS": np.exp(self.hrs.ln_distribution(self.threshold_ln_r)),
        }

    @cached_property
    def sha256(self) -> str:
        """Hash of everything that the cells depend on, randomness apart."""
        digest = hashlib.sha256(
            f"{DRAWING} {self.scheme} {self.programming!r} {self.threshold_ln_r!r} "
            f"{self.offset_ln_r!r} {self.one_is}".encode()
        )
        for law in (self.lrs, self.hrs):
            digest.update(f"{law.kernels} {law.location.shape}".encode())
            for values in (law.ln_weight, law.location, law.scale, law.dof):
                if values is not None:
                    digest.update(np.ascontiguousarray(values, dtype="<f8").tobytes())
        return digest.hexdigest()

    def wrong(self, bits: np.ndarray, *, draw: int, rng: np.random.Generator) -> np.ndarray:
        """Draw the resistance of every cell, sense it, and compare with the stored bit.

        Parameters
        ----------
        bits : bool array, shape (bit,)
            Stored bits.
        draw : int
            Posterior draw that is taken for the truth.
        rng : numpy.random.Generator
            Source of randomness, advanced; one generator for each chip and layer.

        Returns
        -------
        bool array, shape (bit,)
            Which bits are read as the opposite.

        Raises
        ------
        ValueError
            `draw` does not exist.
        """
        if not 0 <= draw < self.draws:
            raise ValueError(f"draw is {draw}; there are the posterior draws 0..{self.draws - 1}")
        lrs, hrs = self.lrs.part((draw,)), self.hrs.part((draw,))
        low = np.asarray(bits, dtype=bool) == (self.one_is == "LRS")
        n = len(low)
        if self.threshold_ln_r is not None:
            reads_low = np.empty(n, dtype=bool)
            for state, here in ((lrs, low), (hrs, ~low)):
                y = draw_ln_resistance(state, int(here.sum()), rng=rng)
                reads_low[here] = y <= self.threshold_ln_r
            return np.asarray(reads_low != low)
        assert self.offset_ln_r is not None
        # The cell in LRS against the cell in HRS, whichever of the two comes first.
        y_lrs = draw_ln_resistance(lrs, n, rng=rng)
        y_hrs = draw_ln_resistance(hrs, n, rng=rng)
        return np.asarray(y_lrs + self.offset_ln_r * rng.standard_normal(n) > y_hrs)


def cell_reader(
    device: Fitted,
    programming: float,
    *,
    scheme: str,
    options: SensingOptions,
    one_is: str = "LRS",
    array: int | None = None,
) -> CellReader:
    """Prepare the reading of single cells at one programming value.

    Parameters
    ----------
    device : Fitted
        Fitted family or stack.
    programming : float
        Programming value, SI.
    scheme : {"1T1R", "2T2R"}
        How bits are read.
    options : SensingOptions
        Threshold, chosen as for the BER curves where none is given, and offset.
    one_is : {"LRS", "HRS"}, optional
        State that stores a 1.
    array : int, optional
        Index of a measured array; when left out each cell lies on any of them, which is the law of
        the BER curves.

    Returns
    -------
    CellReader

    Raises
    ------
    ValueError
        Unknown scheme or state, a value that the programming variable cannot have, or an array
        that was not measured.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"scheme {scheme!r} is not known; known: {', '.join(SCHEMES)}")
    if one_is not in STATES:
        raise ValueError(f"one_is is {one_is!r}; a 1 is stored as one of {', '.join(STATES)}")
    frame = device.frame
    frame.check(np.array([programming]))
    if array is not None and not 0 <= array < len(frame.arrays):
        raise ValueError(f"array is {array}; measured were the arrays 0..{len(frame.arrays) - 1}")
    laws = device.mixtures(np.array([programming]), array=array)
    threshold = offset = None
    if CELLS_PER_BIT[scheme] == 2:
        offset = options.offset_ln_r
    elif options.threshold_ohm is None:
        threshold = float(choose_threshold(laws["LRS"], laws["HRS"])[0])
    else:
        threshold = float(np.log(options.threshold_ohm))
    flat = {state: _one_axis(law) for state, law in laws.items()}
    return CellReader(
        scheme, float(programming), flat["LRS"], flat["HRS"], threshold, offset, one_is
    )


def _one_axis(law: Mixture) -> Mixture:
    """The law with trailing shape (chain, draw, 1) as one of (draw,)."""
    shape = (law.components, -1)
    dof = None if law.dof is None else np.broadcast_to(law.dof, law.location.shape).reshape(shape)
    return Mixture(
        law.ln_weight.reshape(shape),
        law.location.reshape(shape),
        law.scale.reshape(shape),
        law.kernels,
        dof,
    )
