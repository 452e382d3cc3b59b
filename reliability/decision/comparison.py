"""Designs that are compared, what they are compared with, and on which draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property

import numpy as np

from bnn.calibration.treatments import FIXED
from devicefit.distributions.sensing import BerCurve, SensingOptions
from devicefit.inputs.programming import Programming
from devicefit.numerics.arrays import FloatArray, IntArray
from devicefit.numerics.short_repr import short_repr
from reliability.accuracy.propagation import AccuracyDraws, Pairing
from reliability.accuracy.surface import AccuracySurface
from reliability.chips.chip_yield import ChipYield, chip_yield, share_within
from reliability.chips.lots import Confirmation
from reliability.decision.limits import Condition, enough_chips
from reliability.decision.requirement import Requirement
from reliability.decision.safe_set import SafeSet
from reliability.energy.energy import Energy, energy_at
from reliability.plans.codes import NO_CODE
from reliability.plans.plan import Plan
from reliability.plans.seen_rates import SeenRates
from reliability.plans.storage import Storage

STANDARD = "standard_bnn"
"""Key of the reference that is the standard network."""


@short_repr
@dataclass(frozen=True)
class Design:
    """One way to store a network: which network, how bits are read and what corrects them.

    Parameters
    ----------
    network : str
        Name of the network with its thresholds.
    storage : Storage
        How bits are stored.
    accuracy : AccuracyDraws
        Over the grid.
    p_met : float array, shape (x,)
        P(loss <= max_loss).
    safe : SafeSet
        Where the requirement is met.
    chip_yield : ChipYield
        Share of chips that meet it, for each paired draw.
    condition : Condition
        Weakest programming at which enough of the chips of a draw meet it.
    confirmation : Confirmation or None
        What chips drawn from the posterior say; None where none were counted.
    """

    network: str
    storage: Storage
    accuracy: AccuracyDraws
    p_met: FloatArray
    safe: SafeSet
    chip_yield: ChipYield
    condition: Condition
    confirmation: Confirmation | None = None

    @property
    def scheme(self) -> str:
        """How the design is named beside its network: ``"1T1R + SECDED(72,64)"``."""
        return self.storage.name

    @property
    def cells(self) -> float:
        """Cells for each weight bit, parity included."""
        return self.storage.cells_per_bit

    @property
    def judged_by(self) -> str:
        """Where :meth:`stated` comes from: ``"chips"`` or ``"curve"``."""
        return "curve" if self.confirmation is None else "chips"

    def place(self, grid: FloatArray) -> int:
        """Place on the grid of the lowest safe programming, or of the likeliest where none is."""
        if self.safe.lowest is None:
            return int(self.p_met.argmax())
        return place_on(grid, self.safe.lowest)

    def stated(self, grid: FloatArray) -> tuple[float, float]:
        """Programming value at which the design is judged, and P(requirement met) there.

        That of fresh chips where chips confirmed it; the best that any value reached where they
        refused it; else what the surfaces promise at the lowest safe or the likeliest grid value.
        """
        if self.confirmation is not None:
            lot = self.confirmation.fresh or max(self.confirmation.tried, key=lambda t: t.share)
            return lot.programming, lot.share
        at = self.place(grid)
        return float(grid[at]), float(self.p_met[at])


@short_repr
@dataclass(frozen=True)
class Reference:
    """What a design's energy is compared with.

    Parameters
    ----------
    key, words : str
        Key in the JSON, and what the reference is.
    condition : Condition
        Weakest programming at which it holds, for each paired draw.
    cells_per_bit : float
        Cells for each bit, parity included.
    lowest_safe : float or None
        Lowest programming at which it holds with the probability that the requirement asks for;
        None when no measured one does.
    """

    key: str
    words: str
    condition: Condition
    cells_per_bit: float
    lowest_safe: float | None


@short_repr
@dataclass(frozen=True, kw_only=True)
class Setting:
    """What designs are compared on: the same draws and rules for all.

    Parameters
    ----------
    requirement : Requirement
        What must hold.
    sensing : SensingOptions
        How bits are read.
    programming : Programming
        The programming variable.
    ber : dict of str to dict of str to BerCurve
        By family, the one that answers first, and by sensing scheme.
    curves : dict of str to AccuracySurface
        By network and treatment of thresholds, the standard one first.
    pairing : Pairing
        Which draws go together.
    energy : Energy
        Of one cell, for the paired draws.
    family : int array, shape (draw of the device,), optional
        Model family of each draw of the device where several are stacked.
    one_is : {"LRS", "HRS"}
        State that stores a one.
    second : (Programming, float) or None
        Second programming variable and its value, SI; None where one variable was measured.
    thresholds : mapping of str to str
        Treatment of the thresholds of each network; fixed where it is not named.
    by_array : sequence of dict of str to BerCurve
        By measured array and by sensing scheme; empty where one array was measured.
    """

    requirement: Requirement
    sensing: SensingOptions
    programming: Programming
    ber: dict[str, dict[str, BerCurve]]
    curves: dict[str, AccuracySurface]
    pairing: Pairing
    energy: Energy
    family: IntArray | None = None
    one_is: str = "LRS"
    second: tuple[Programming, float] | None = None
    thresholds: Mapping[str, str] = field(default_factory=dict)
    by_array: Sequence[Mapping[str, BerCurve]] = ()

    @property
    def main_ber(self) -> dict[str, BerCurve]:
        """BER of the family that answers."""
        return next(iter(self.ber.values()))

    @property
    def grid(self) -> FloatArray:
        """Values of the programming variable, shape (x,)."""
        return self.main_ber["1T1R"].programming

    @property
    def standard(self) -> AccuracySurface:
        """Surface of the standard network."""
        return next(iter(self.curves.values()))

    @property
    def limits(self) -> dict[str, float]:
        """Loss each network may have against its own accuracy without errors, by its name.

        The requirement refers to the standard network without errors, so a network that starts
        lower may lose less; and to the network's own accuracy without errors, so one that starts
        higher may not lose more.
        """
        most, standard = self.requirement.max_loss, self.standard.error_free
        return {
            name: most - max(0.0, standard - curve.error_free)
            for name, curve in self.curves.items()
        }

    def enough(self, share: FloatArray, values: slice = slice(None)) -> Condition:
        """Weakest programming at which a share of chips suffices, for each draw.

        Parameters
        ----------
        share : float array, shape (draw, x)
            Share of good chips; not a number where it is not known.
        values : slice, optional
            Values of the grid that `share` is given at.
        """
        least = self.requirement.probability
        return enough_chips(self.grid[values], share, least, self.programming)


@short_repr
@dataclass(frozen=True, kw_only=True)
class Comparison(Setting):
    """All designs and references on the same draws and chips.

    Parameters
    ----------
    designs : tuple of Design
        Every network with every storage.
    references : tuple of Reference
        What they are compared with.
    tolerated_ln_ber : dict of str to float array, shape (draw of the curve,)
        ln of the BER that the mean chip of each network tolerates; -inf where even no error is too
        much.
    seen : dict of Storage to SeenRates
        Error rates that a network sees, for each way of storing, shape (draw, x), of
        :func:`reliability.decision.compare.seen_rates`.
    others
        As of :class:`Setting`.
    """

    designs: tuple[Design, ...]
    references: tuple[Reference, ...]
    tolerated_ln_ber: dict[str, FloatArray]
    seen: dict[Storage, SeenRates]

    @property
    def setting(self) -> Setting:
        """What the designs were compared on."""
        return Setting(**{f.name: getattr(self, f.name) for f in fields(Setting)})

    def plan(self, design: Design, x: float) -> Plan:
        """A design at a programming value."""
        treatment = self.thresholds.get(design.network, FIXED)
        second = None if self.second is None else self.second[1]
        return Plan(design.network, treatment, design.storage, x, second)

    def words(self, plan: Plan) -> str:
        """A plan with every knob in words."""
        return plan.words(self.programming, None if self.second is None else self.second[0])

    @cached_property
    def ranked(self) -> tuple[Design, ...]:
        """Designs by their median energy per bit at their lowest safe programming.

        Where no energy is known, by cells per bit and programming. Those that are nowhere safe
        come last, the likeliest to meet the requirement first.
        """
        return tuple(sorted(self.designs, key=self.rank))

    def rank(self, design: Design) -> tuple[float, float, float]:
        """What designs are ordered by in `ranked`; comparable between comparisons too."""
        lowest = design.safe.lowest
        if lowest is None:
            return np.inf, np.inf, -float(design.p_met.max())
        # what differs less than this keeps the order of the designs: the plain one first
        met = -round(float(design.p_met[design.place(self.grid)]), 3)
        if not self.energy.is_known:
            return design.cells, lowest, met
        return float(np.median(design_energy(design, self.energy))), 0.0, met

    @property
    def best(self) -> Design | None:
        """Design with the least median energy per bit at its lowest safe programming.

        Where no energy is known: with the fewest cells per bit, and the weakest programming.
        """
        first = self.ranked[0]
        return None if first.safe.lowest is None else first

    @property
    def focus(self) -> Design:
        """The best design, or, where none is safe, the last network in single cells."""
        last = list(self.curves)[-1]
        return self.best or next(
            d for d in self.designs if d.network == last and d.storage == self.plain
        )

    @property
    def plain(self) -> Storage:
        """Single cells without a code, in which the references are held."""
        return self.designs[0].storage

    def lowest_safe(self, reference: Reference) -> float | None:
        """Lowest safe programming of a reference; that of the standard network by its design."""
        if reference.key == STANDARD:
            return self.designs[0].safe.lowest
        return reference.lowest_safe

    def network_ln_ber(self, storage: Storage) -> FloatArray:
        """Ln of the BER that a network sees, shape (draw, x), draws as of `Pairing.rates`."""
        return self.seen[storage].ln_ber

    def read_ln_ber(self, scheme: str) -> FloatArray:
        """Ln of the BER of bits as they are read, for the pairs, shape (pair, x)."""
        bare = next(s for s in self.seen if s.scheme == scheme and s.code == NO_CODE)
        return self.seen[bare].ln_ber[self.pairing.rates]

    def p_within(self, design: Design, at: int, limit: float) -> float:
        """P(a chip loses at most `limit` against its own network without errors), by the surfaces.

        `at` is a place on the grid; at the design's own limit this is its ``p_met`` there.
        """
        seen = self.seen[design.storage].at(slice(at, at + 1))
        return float(chip_yield(self.curves[design.network], seen, self.pairing, limit).p_met[0])


def condition_of_draws(
    comparison: Comparison, network: str, surface: AccuracySurface, seen: SeenRates
) -> Condition:
    """Weakest programming that suffices on one device, for each draw of a surface.

    Parameters
    ----------
    comparison : Comparison
        With the requirement.
    network : str
        Network, whose limit of loss holds.
    surface : AccuracySurface
        Of the network.
    seen : SeenRates
        Error rates on the device, shape (1, x).
    """
    c, every = comparison, np.arange(surface.draws)
    pairing = replace(c.pairing, device=np.zeros_like(every), curve=every, array=None)
    return c.enough(share_within(surface, seen, pairing, c.limits[network]))


def place_on(grid: FloatArray, value: float) -> int:
    """Place of the value of a grid that is nearest."""
    return int(np.argmin(np.abs(grid - value)))


def tolerated_on_device(comparison: Comparison, design: Design) -> FloatArray:
    """Ln of the BER of read bits at which just enough chips of a design meet the requirement.

    That at the weakest programming which suffices, with the unequal rates that the device has
    there; -inf for draws in which none does. Shape (draw,).
    """
    found = at_condition(comparison, design, comparison.read_ln_ber(design.storage.scheme))
    return np.where(design.condition.not_reached, -np.inf, found)


def at_condition(comparison: Comparison, design: Design, values: FloatArray) -> FloatArray:
    """Values over the grid, shape (pair, x), where each pair's programming just suffices, (pair,).

    Linear between the values of the grid, in the programming coordinate.
    """
    c = comparison
    u = c.programming.coordinate(c.grid)
    place = np.interp(c.programming.coordinate(design.condition.x), u, np.arange(len(u)))
    left = np.minimum(place.astype(np.int64), len(u) - 2)
    below, above = (np.take_along_axis(values, (left + k)[:, None], 1)[:, 0] for k in (0, 1))
    return np.asarray(below + (place - left) * (above - below))


def design_energy(design: Design, energy: Energy) -> FloatArray:
    """Energy per bit at the lowest safe programming, shape (draw,).

    Raises
    ------
    ValueError
        No programming is safe.
    """
    if design.safe.lowest is None:
        raise ValueError(f"{design.network}, {design.scheme}: no programming is safe")
    return design.cells * energy_at(energy, design.safe.lowest)


def both(comparison: Comparison, design: Design) -> tuple[Design, ...]:
    """The standard network in single cells and a design, once where they are the same."""
    standard = comparison.designs[0]
    is_standard = (design.network, design.storage) == (standard.network, standard.storage)
    return (standard,) if is_standard else (standard, design)
