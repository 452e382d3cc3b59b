"""Designs that are compared, references they are compared with, and their energies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property

import numba
import numpy as np

from devicefit.distributions.sensing import BerCurve, SensingOptions
from devicefit.fitting.error_rates import array_curves
from devicefit.fitting.fitted import Fitted
from devicefit.fitting.new_arrays import ENOUGH_ARRAYS
from devicefit.inputs.programming import Programming
from devicefit.numerics.arrays import FloatArray, IntArray
from devicefit.numerics.short_repr import short_repr
from reliability.accuracy.propagation import AccuracyDraws, Pairing, propagate
from reliability.accuracy.surface import AccuracySurface, tolerated_ln_ber
from reliability.chips.chip_yield import ChipYield, chip_yield
from reliability.chips.lots import Confirmation
from reliability.decision.limits import Condition, enough_chips, weakest_condition
from reliability.decision.requirement import Requirement, StatedReference
from reliability.decision.safe_set import SafeSet, safe_set
from reliability.energy.energy import Energy, energy_at
from reliability.networks.treatments import FIXED
from reliability.plans.codes import NO_CODE, SECDED_72_64, Code, raw_ber_for
from reliability.plans.plan import Plan
from reliability.plans.seen_rates import SeenRates
from reliability.plans.storage import STORAGES, Storage

STANDARD = "standard_bnn"
"""Key of the reference that is the standard network."""

MEMORY_CODES: dict[str, Code] = {"memory": NO_CODE, "memory_with_ecc": SECDED_72_64}
"""Codes of plain memory, by the keys of these references."""


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

    def stated(self, grid: FloatArray) -> tuple[float, float]:
        """Programming value at which the design is judged, and P(requirement met) there.

        That of fresh chips where chips confirmed it; the best that any value reached where they
        refused it; else what the surfaces promise at the lowest safe or the likeliest grid value.
        """
        if self.confirmation is not None:
            lot = self.confirmation.fresh or max(self.confirmation.tried, key=lambda t: t.share)
            return lot.programming, lot.share
        at = int(self.p_met.argmax())
        if self.safe.lowest is not None:
            at = int(np.argmin(np.abs(grid - self.safe.lowest)))
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
@dataclass(frozen=True)
class Comparison:
    """All designs and references on the same draws and chips.

    Parameters
    ----------
    requirement : Requirement
        What must hold.
    sensing : SensingOptions
        How bits are read.
    programming : Programming
        The programming variable.
    grid : float array, shape (x,)
        Its values.
    ber : dict of str to dict of str to BerCurve
        By family, the one that answers first, and by sensing scheme.
    curves : dict of str to AccuracySurface
        By network and treatment of thresholds, the standard one first.
    pairing : Pairing
        Which draws go together.
    energy : Energy
        Of one cell, for the paired draws.
    designs : tuple of Design
        Every network with every storage.
    references : tuple of Reference
        What they are compared with.
    tolerated_ln_ber : dict of str to float array, shape (draw of the curve,)
        ln of the BER that the mean chip of each network tolerates; -inf where even no error is too
        much.
    seen : dict of Storage to SeenRates
        Error rates that a network sees, for each way of storing, shape (draw, x), of
        :func:`seen_rates`.
    family : int array, shape (draw of the device,), optional
        Model family of each draw of the device where several are stacked.
    one_is : {"LRS", "HRS"}
        State that stores a one.
    second : (Programming, float) or None
        Second programming variable and its value, SI; None where one variable was measured.
    thresholds : mapping of str to str
        Treatment of the thresholds of each network; fixed where it is not named.
    by_array : tuple of dict of str to BerCurve
        By measured array and by sensing scheme; empty where one array was measured.
    """

    requirement: Requirement
    sensing: SensingOptions
    programming: Programming
    grid: FloatArray
    ber: dict[str, dict[str, BerCurve]]
    curves: dict[str, AccuracySurface]
    pairing: Pairing
    energy: Energy
    designs: tuple[Design, ...]
    references: tuple[Reference, ...]
    tolerated_ln_ber: dict[str, FloatArray]
    seen: dict[Storage, SeenRates]
    family: IntArray | None = None
    one_is: str = "LRS"
    second: tuple[Programming, float] | None = None
    thresholds: Mapping[str, str] = field(default_factory=dict)
    by_array: tuple[Mapping[str, BerCurve], ...] = ()

    def plan(self, design: Design, x: float) -> Plan:
        """A design at a programming value."""
        treatment = self.thresholds.get(design.network, FIXED)
        second = None if self.second is None else self.second[1]
        return Plan(design.network, treatment, design.storage, x, second)

    def words(self, plan: Plan) -> str:
        """A plan with every knob in words."""
        return plan.words(self.programming, None if self.second is None else self.second[0])

    @property
    def main_ber(self) -> dict[str, BerCurve]:
        """BER of the family that answers."""
        return next(iter(self.ber.values()))

    @property
    def standard(self) -> AccuracySurface:
        """Surface of the standard network."""
        return next(iter(self.curves.values()))

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
        at = int(np.argmin(np.abs(self.grid - lowest)))
        # what differs less than this keeps the order of the designs: the plain one first
        met = -round(float(design.p_met[at]), 3)
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


def compare_designs(
    ber: dict[str, dict[str, BerCurve]],
    curves: dict[str, AccuracySurface],
    pairing: Pairing,
    energy: Energy,
    *,
    requirement: Requirement,
    sensing: SensingOptions,
    programming: Programming,
    storages: Sequence[Storage] = STORAGES,
    family: IntArray | None = None,
    one_is: str = "LRS",
    by_array: Sequence[Mapping[str, BerCurve]] = (),
) -> Comparison:
    """Propagate every design and find the references; arguments as in :class:`Comparison`.

    `storages` begin with single cells without a code, in which the references are held. `family` is
    the model family of each draw of the device where several are stacked.
    """
    if not storages or (storages[0].scheme, storages[0].code) != ("1T1R", NO_CODE):
        raise ValueError(f"storages must begin with single cells without a code, got {storages}")
    plain = storages[0]
    main = next(iter(ber.values()))
    grid = main["1T1R"].programming
    seen = {storage: seen_rates(storage, main, by_array, one_is) for storage in storages}
    of_rates = None if family is None else np.repeat(family, max(1, len(by_array)))
    limits = loss_limits(curves, requirement)

    def of_network(name: str) -> FloatArray:
        return tolerated_ln_ber(curves[name], limits[name])

    def design(name: str, storage: Storage) -> Design:
        draws = propagate(curves[name], seen[storage], pairing, family=of_rates)
        met = chip_yield(curves[name], seen[storage], pairing, limits[name])
        safe = safe_set(grid, met.p_met, requirement, programming)
        enough = enough_chips(grid, met.share_or_nan, 1 - requirement.risk, programming)
        return Design(name, storage, draws, met.p_met, safe, met, enough)

    wanted = [(name, storage) for name in curves for storage in storages]
    with ThreadPoolExecutor(numba.get_num_threads()) as pool:
        designs = list(pool.map(lambda of: design(*of), wanted))
        ln_tolerated = dict(zip(curves, pool.map(of_network, curves), strict=True))
    found = references(
        designs[0], seen[plain].ln_ber[pairing.rates], grid, requirement, programming
    )
    return Comparison(
        requirement,
        sensing,
        programming,
        grid,
        ber,
        curves,
        pairing,
        energy,
        tuple(designs),
        tuple(found),
        ln_tolerated,
        seen,
        family,
        one_is,
        by_array=tuple(by_array),
    )


def curves_by_array(
    posterior: Fitted, curve: BerCurve, *, options: SensingOptions
) -> list[dict[str, BerCurve]]:
    """BER of the arrays that a chip may lie on; none where one was measured.

    Of each of a few measured ones, or, where they are enough to tell how arrays differ, of a new
    one, drawn for each draw of the device. Arguments as of
    :func:`devicefit.fitting.error_rates.array_curves`.
    """
    measured = len(posterior.frame.arrays)
    if measured == 1:
        return []
    if measured < ENOUGH_ARRAYS:
        return array_curves(posterior, curve, options=options)
    return array_curves(posterior.with_new_arrays(1), curve, options=options, arrays=[measured])


def seen_rates(
    storage: Storage,
    curves: Mapping[str, BerCurve],
    by_array: Sequence[Mapping[str, BerCurve]],
    one_is: str,
) -> SeenRates:
    """Rates that a network sees; rows are draws times arrays of :func:`curves_by_array`.

    All cells of a chip lie on one array, so its rates are those of an array, not of a cell of any.
    """
    if not by_array:
        return storage.seen(curves, one_is)
    each = [storage.seen(one, one_is) for one in by_array]
    values = each[0].ln_ber.shape[1]
    ln_ber, tilt = (
        np.stack([getattr(one, name) for one in each], axis=1).reshape(-1, values)
        for name in ("ln_ber", "tilt")
    )
    return SeenRates(ln_ber, tilt)


def loss_limits(
    curves: Mapping[str, AccuracySurface], requirement: Requirement
) -> dict[str, float]:
    """Loss each network may have against its own error-free accuracy.

    The requirement refers to the standard network without errors (the first one), so a network
    that starts lower may lose less; and to the network's own accuracy without errors, so one that
    starts higher may not lose more.
    """
    standard = next(iter(curves.values()))
    return {
        name: requirement.max_loss - max(0.0, standard.error_free - curve.error_free)
        for name, curve in curves.items()
    }


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


def references(
    standard: Design,
    at: FloatArray,
    grid: FloatArray,
    requirement: Requirement,
    programming: Programming,
) -> list[Reference]:
    """References in single cells, for draws that go together.

    Parameters
    ----------
    standard : Design
        The standard network in single cells, without a code.
    at : float array, shape (draw, x)
        ln of the BER of 1T1R: memory counts wrong bits whatever they store.
    grid : float array, shape (x,)
        Programming values.
    requirement : Requirement
        Target of plain memory, and a reference of the user's own.
    programming : Programming
        The programming variable.
    """
    found = [
        Reference(
            STANDARD,
            "the standard network, 1T1R, held to the same rule",
            standard.condition,
            standard.cells,
            standard.safe.lowest,
        )
    ]
    for key, code in MEMORY_CODES.items():
        raw = raw_ber_for(code, requirement.memory_ber)
        p_reached = (at <= np.log(raw)).mean(axis=0)
        found.append(
            Reference(
                key,
                f"plain 1T1R memory at a residual BER of {_rate(requirement.memory_ber)}, "
                f"{code.name}",
                weakest_condition(grid, np.log(raw) - at, programming),
                code.cells_per_bit,
                safe_set(grid, p_reached, requirement, programming).lowest,
            )
        )
    if requirement.reference is not None:
        found.append(_stated_reference(requirement.reference, grid, len(at), programming))
    return found


def _stated_reference(
    stated: StatedReference, grid: FloatArray, draws: int, programming: Programming
) -> Reference:
    """The programming value that the user compares with, the same in every draw."""
    stated.check(programming, float(grid[0]), float(grid[-1]))
    never = np.zeros(draws, dtype=bool)
    return Reference(
        "stated",
        f"programming at {programming.format(stated.programming)}, as stated, "
        f"{stated.cells_per_bit:g} cells per bit",
        Condition(np.full(draws, stated.programming), never, never),
        stated.cells_per_bit,
        stated.programming,
    )


def _rate(rate: float) -> str:
    """``"1e-5"`` for 0.00001."""
    mantissa, exponent = f"{rate:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


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
