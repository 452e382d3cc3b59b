"""What can be wrong with stored weights: a small vocabulary of frozen values that compose.

A stored bit 1 is the weight +1. Persistent errors last from programming on and make a *chip*, one
error pattern over all weights; transient errors are new at each read. Thresholds and the affine
output are always exact. `bnn.errors.chips` draws what is described here.
"""

import dataclasses
import numbers
from collections.abc import Iterable
from dataclasses import dataclass

from bnn.errors.array_mapping import Along, ArrayShape, check_along
from bnn.errors.flips import DRAWING, check_ber, chip_flips

__all__ = [
    "Errors",
    "Flips",
    "LineFaults",
    "StuckAt",
    "TransientFlips",
    "check_ber",
    "chip_flips",
]

Layers = frozenset[str] | None
"""Names of the layers that an error is restricted to, or None for all."""

ALWAYS_EXACT = ("thresholds", "output affine")
"""What never has errors, because it lies in reliable digital memory."""

DEFAULT_ARRAY = ArrayShape()


@dataclass(frozen=True)
class Flips:
    """Independent wrong bits, at rates that may depend on the stored bit.

    Attributes
    ----------
    zero_to_one : float
        Probability that a stored 0 is wrong, 0..1.
    one_to_zero : float
        Probability that a stored 1 is wrong, 0..1.
    layers : frozenset of str or None
        Layers that have these errors; None for all.
    """

    zero_to_one: float
    one_to_zero: float
    layers: Layers = None

    def __post_init__(self) -> None:
        """Check rates and layers."""
        _check_fractions(self, "zero_to_one", "one_to_zero")
        _check_layers(self)

    @classmethod
    def symmetric(cls, ber: float, layers: Layers = None) -> "Flips":
        """Flips with the same rate `ber` for stored zeros and ones."""
        return cls(ber, ber, layers)


@dataclass(frozen=True)
class StuckAt:
    """Cells that read 0, and other cells that read 1, whatever was stored.

    A stuck cell is wrong only where the stored bit differs.

    Attributes
    ----------
    zero, one : float
        Shares of the cells stuck at 0 and at 1; together at most 1.
    layers : frozenset of str or None
        Layers that have these errors; None for all.
    exact : bool
        Whether exactly ``round(share * bits)`` cells of a layer are stuck at each value, rather
        than each cell with that probability. Where halves round up to more cells than there are,
        one fewer is stuck at 1.
    """

    zero: float
    one: float
    layers: Layers = None
    exact: bool = False

    def __post_init__(self) -> None:
        """Check shares and layers."""
        _check_fractions(self, "zero", "one")
        if self.zero + self.one > 1.0:
            raise ValueError(
                f"zero and one are shares of disjoint cells and must add up to at most 1, got "
                f"{self.zero} + {self.one}"
            )
        _check_layers(self)


@dataclass(frozen=True)
class LineFaults:
    """Faults of whole word lines, bit lines or blocks of the arrays that hold a layer.

    `bnn.errors.array_mapping` says which weights share a line.

    Attributes
    ----------
    along : {"row", "column", "block"}
        Word lines, bit lines or blocks.
    rate : float
        Probability that a line is faulty, 0..1.
    density : float
        Probability that a cell on a faulty line is affected, 0..1.
    stuck : {None, 0, 1}
        What an affected cell reads: 0, 1, or (None) the opposite of what is stored. A line that
        reads at random is ``density=0.5, stuck=None``.
    array : ArrayShape
        Physical array.
    block : ArrayShape or None
        Size of a block, for ``along="block"`` only.
    layers : frozenset of str or None
        Layers that have these errors; None for all.
    """

    along: Along
    rate: float
    density: float = 1.0
    stuck: int | None = None
    array: ArrayShape = DEFAULT_ARRAY
    block: ArrayShape | None = None
    layers: Layers = None

    def __post_init__(self) -> None:
        """Check everything."""
        check_along(self.along, self.array, self.block)
        _check_fractions(self, "rate", "density")
        if self.stuck not in (None, 0, 1):
            raise ValueError(f"stuck must be None, 0 or 1, got {self.stuck!r}")
        _check_layers(self)


@dataclass(frozen=True)
class TransientFlips:
    """Read errors: each bit is misread independently, anew at each read.

    One inference of one image reads every weight once. A misread bit is the opposite of what the
    cell holds, so a read error in a wrong bit gives the right one.

    Attributes
    ----------
    ber : float
        Probability that a bit is misread, 0..1.
    layers : frozenset of str or None
        Layers that have these errors; None for all.
    """

    ber: float
    layers: Layers = None

    def __post_init__(self) -> None:
        """Check rate and layers."""
        _check_fractions(self, "ber")
        _check_layers(self)


Persistent = Flips | StuckAt | LineFaults


@dataclass(frozen=True)
class Errors:
    """All errors of a network.

    Attributes
    ----------
    persistent : tuple of Flips, StuckAt or LineFaults
        Errors that last. Classes of cells are disjoint and the first listed wins: a cell that an
        error affects is out of reach of those after it, whose rates hold for the cells that are
        left. List faults of lines first, then stuck cells, then flips, unless there is a reason.
        A layer takes at most one value of each kind; rows, columns and blocks are three kinds.
    transient : tuple of TransientFlips
        Read errors, at most one for each layer.
    protected : frozenset of str
        Layers whose weights stay exact. Thresholds and the affine output are always exact.

    Notes
    -----
    Nested chips: with the same seed and chip number, the cells affected at lower rates, shares or
    densities are among those at higher ones. This holds for each class (with ``exact`` too) and,
    in compositions, for all classes together. Sweeps are therefore lists of such values.
    """

    persistent: tuple[Persistent, ...] = ()
    transient: tuple[TransientFlips, ...] = ()
    protected: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Check types, and that no layer is named twice for one thing."""
        _check_types(self.persistent, "persistent", (Flips, StuckAt, LineFaults))
        _check_types(self.transient, "transient", (TransientFlips,))
        _check_names("protected", self.protected)
        values = (*self.persistent, *self.transient)
        for index, value in enumerate(values):
            named = value.layers or frozenset()
            if both := sorted(named & self.protected):
                raise ValueError(
                    f"layer {both[0]!r} is protected but named by {value}; take it out of one"
                )
            for other in values[:index]:
                if _kind(other) == _kind(value) and _overlap(other.layers, value.layers):
                    raise ValueError(
                        f"a layer takes one value of each kind, but {other} and {value} share "
                        f"layers; restrict each to its own with layers=frozenset({{...}})"
                    )

    def on_layer(self, name: str) -> tuple[Persistent, ...]:
        """Persistent errors that the layer `name` has, in order; none if it is protected."""
        if name in self.protected:
            return ()
        return tuple(e for e in self.persistent if e.layers is None or name in e.layers)

    def misread_rate(self, name: str) -> float:
        """Probability that a bit of the layer `name` is misread."""
        if name in self.protected:
            return 0.0
        rates = (e.ber for e in self.transient if e.layers is None or name in e.layers)
        return next(rates, 0.0)

    def layer_names(self) -> frozenset[str]:
        """Every layer that is named somewhere, to be checked against a network."""
        values = (*self.persistent, *self.transient)
        return self.protected.union(*(value.layers or () for value in values))

    def record(self) -> tuple[tuple[str, object], ...]:
        """Identity of these errors and of how they are drawn.

        Returns
        -------
        tuple
            Nested tuples of strings, numbers, bools and None: hashable, and stable between
            sessions, so that a result can be found again by what it is a result of.
        """
        return (
            ("persistent", tuple(_plain(value) for value in self.persistent)),
            ("transient", tuple(_plain(value) for value in self.transient)),
            ("protected", _plain(self.protected)),
            ("always exact", ALWAYS_EXACT),
            ("drawing", DRAWING),
        )


def _check_fractions(value: Persistent | TransientFlips, *names: str) -> None:
    """Check fields and make them plain floats, so that equal errors have equal records."""
    for name in names:
        number = getattr(value, name)
        if not isinstance(number, numbers.Real) or not 0.0 <= float(number) <= 1.0:
            raise ValueError(
                f"{name} of {type(value).__name__} must be a fraction between 0 and 1, got "
                f"{number!r}"
            )
        object.__setattr__(value, name, float(number))


def _check_layers(value: Persistent | TransientFlips) -> None:
    if value.layers is not None:
        _check_names("layers", value.layers)
        if not value.layers:
            raise ValueError(
                f"layers of {type(value).__name__} must name at least one layer, or be None for all"
            )


def _check_names(argument: str, names: object) -> None:
    # a bare string is a set of letters to Python and would protect nothing
    if not isinstance(names, frozenset) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{argument} must be a frozenset of layer names, got {names!r}")


def _check_types(values: object, argument: str, allowed: tuple[type, ...]) -> None:
    known = ", ".join(kind.__name__ for kind in allowed)
    if not isinstance(values, tuple):
        raise ValueError(f"{argument} must be a tuple of {known}, got {values!r}")
    for index, value in enumerate(values):
        if not isinstance(value, allowed):
            other = "transient" if argument == "persistent" else "persistent"
            belongs = isinstance(value, Flips | StuckAt | LineFaults | TransientFlips)
            remedy = f"; it belongs in {other}" if belongs else ""
            raise ValueError(
                f"{argument} errors are {known}, got {value!r} at index {index}{remedy}"
            )


def _kind(value: Persistent | TransientFlips) -> tuple[str, ...]:
    name = type(value).__name__
    return (name, value.along) if isinstance(value, LineFaults) else (name,)


def _overlap(one: Layers, other: Layers) -> bool:
    return one is None or other is None or bool(one & other)


def _plain(value: object) -> object:
    """Turn an error into nested tuples of plain values."""
    if dataclasses.is_dataclass(value):
        fields = ((f.name, _plain(getattr(value, f.name))) for f in dataclasses.fields(value))
        return (type(value).__name__, *fields)
    if isinstance(value, Iterable) and not isinstance(value, str):
        return tuple(sorted(value))
    return value
