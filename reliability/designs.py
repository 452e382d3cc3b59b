"""Designs that are compared, references they are compared with, and their energies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numba
import numpy as np

from devicefit.compressed import IntArray
from devicefit.programming import FloatArray, Programming
from devicefit.sensing import BerCurve, SensingOptions
from reliability.accuracy_curve import AccuracyCurve, tolerated_ln_ber
from reliability.chip_yield import ChipYield, chip_yield
from reliability.confirmation.lots import Confirmation
from reliability.decision import (
    Condition,
    SafeSet,
    Saving,
    safe_set,
    weakest_condition,
)
from reliability.ecc import NO_CODE, SECDED_72_64, Code, raw_ber_for
from reliability.energy import Energy, energy_at
from reliability.propagation import AccuracyDraws, Pairing, propagate
from reliability.requirement import Requirement, StatedReference
from reliability.storage import PLAIN, STORAGES, Storage
from reliability.unequal_errors import UnequalErrors


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
        Share of chips that meet it, and how well that share is known.
    confirmation : Confirmation or None
        What chips drawn from the posterior say; None where none were counted.
    """

    network: str
    storage: Storage
    accuracy: AccuracyDraws
    p_met: FloatArray
    safe: SafeSet
    chip_yield: ChipYield
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
        refused it; else what the curves promise at the lowest safe or the likeliest grid value.
        """
        if self.confirmation is not None:
            lot = self.confirmation.fresh or max(self.confirmation.tried, key=lambda t: t.share)
            return lot.programming, lot.share
        at = int(self.p_met.argmax())
        if self.safe.lowest is not None:
            at = int(np.argmin(np.abs(grid - self.safe.lowest)))
        return float(grid[at]), float(self.p_met[at])


@dataclass(frozen=True)
class Reference:
    """What a design's energy is compared with.

    Parameters
    ----------
    key, words : str
        Key in the JSON, and what the reference is.
    condition : Condition
        Draws of the programming at which it just holds.
    cells_per_bit : float
        Cells for each bit, parity included.
    same_rule : float or None
        Lowest programming at which it holds with the probability the requirement asks for; None
        when no measured one does.
    """

    key: str
    words: str
    condition: Condition
    cells_per_bit: float
    same_rule: float | None


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
    curves : dict of str to AccuracyCurve
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
    seen : dict of Storage to float array, shape (draw of the device, x)
        ln of the mean BER that a network sees, for each way of storing.
    family : int array, shape (draw of the device,), optional
        Model family of each draw of the device where several are stacked.
    unequal : UnequalErrors or None
        Unequal rates of stored ones and zeros; None where they are taken as equal.
    """

    requirement: Requirement
    sensing: SensingOptions
    programming: Programming
    grid: FloatArray
    ber: dict[str, dict[str, BerCurve]]
    curves: dict[str, AccuracyCurve]
    pairing: Pairing
    energy: Energy
    designs: tuple[Design, ...]
    references: tuple[Reference, ...]
    tolerated_ln_ber: dict[str, FloatArray]
    seen: dict[Storage, FloatArray]
    family: IntArray | None = None
    unequal: UnequalErrors | None = None

    @property
    def main_ber(self) -> dict[str, BerCurve]:
        """BER of the family that answers."""
        return next(iter(self.ber.values()))

    @property
    def standard(self) -> AccuracyCurve:
        """Curve of the standard network."""
        return next(iter(self.curves.values()))

    @cached_property
    def ranked(self) -> tuple[Design, ...]:
        """Designs by their median energy per bit at their lowest safe programming.

        Where no energy is known, by cells per bit and programming. Those that are nowhere safe
        come last, the likeliest to meet the requirement first.
        """

        def rank(design: Design) -> tuple[float, float, float]:
            lowest = design.safe.lowest
            if lowest is None:
                return np.inf, np.inf, -float(design.p_met.max())
            at = int(np.argmin(np.abs(self.grid - lowest)))
            met = -float(design.p_met[at])
            if not self.energy.is_known:
                return design.cells, lowest, met
            return float(np.median(design_energy(design, self.energy))), 0.0, met

        return tuple(sorted(self.designs, key=rank))

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
            d for d in self.designs if d.network == last and d.storage == PLAIN
        )

    def network_ln_ber(self, storage: Storage) -> FloatArray:
        """Ln of the BER that a network sees, draws of the device flattened, shape (draw, x)."""
        found = self.seen.get(storage)
        return storage.network_ln_ber(self.main_ber) if found is None else found

    def equivalent_ln_ber(self, network: str, storage: Storage) -> FloatArray:
        """Ln of the BER with equal rates for ones and zeros that does a network the same harm.

        Draws of the device flattened, shape (draw, x).
        """
        ln_ber = self.network_ln_ber(storage)
        return ln_ber if self.unequal is None else self.unequal.ln_seen(network, storage, ln_ber)

    def p_within(self, design: Design, at: int, limit: float) -> float:
        """P(a chip loses at most `limit` against its own network without errors), by the curves.

        `at` is a place on the grid; at the design's own limit this is its ``p_met`` there.
        """
        ln_ber = self.equivalent_ln_ber(design.network, design.storage)[:, at : at + 1]
        curve = self.curves[design.network]
        return float(chip_yield(curve, ln_ber, self.pairing, limit).p_met[0])


def compare_designs(
    ber: dict[str, dict[str, BerCurve]],
    curves: dict[str, AccuracyCurve],
    pairing: Pairing,
    energy: Energy,
    *,
    requirement: Requirement,
    sensing: SensingOptions,
    programming: Programming,
    storages: Sequence[Storage] = STORAGES,
    family: IntArray | None = None,
    unequal: UnequalErrors | None = None,
) -> Comparison:
    """Propagate every design and find the references; arguments as in :class:`Comparison`.

    `storages` begin with single cells without a code, in which the references are held. `family` is
    the model family of each draw of the device where several are stacked.
    """
    if not storages or storages[0] != PLAIN:
        raise ValueError(f"storages must begin with {PLAIN.name}, got {storages}")
    main = next(iter(ber.values()))
    grid = main["1T1R"].programming
    flat = {storage: storage.network_ln_ber(main) for storage in storages}
    limits = loss_limits(curves, requirement)

    def bear(name: str) -> FloatArray:
        return tolerated(curves[name], limits[name])

    def harm(name: str, storage: Storage) -> FloatArray:
        return flat[storage] if unequal is None else unequal.ln_seen(name, storage, flat[storage])

    def design(name: str, storage: Storage) -> Design:
        ln_ber = harm(name, storage)
        draws = propagate(curves[name], ln_ber, pairing, family=family)
        met = chip_yield(curves[name], ln_ber, pairing, limits[name])
        safe = safe_set(grid, met.p_met, requirement, programming)
        return Design(name, storage, draws, met.p_met, safe, met)

    wanted = [(name, storage) for name in curves for storage in storages]
    with ThreadPoolExecutor(numba.get_num_threads()) as pool:
        designs = list(pool.map(lambda of: design(*of), wanted))
        borne = dict(zip(curves, pool.map(bear, curves), strict=True))
    standard = next(iter(curves))
    found = references(
        borne[standard][pairing.curve],
        flat[PLAIN][pairing.device],
        harm(standard, PLAIN)[pairing.device],
        grid,
        requirement,
        programming,
        standard_safe=designs[0].safe,
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
        borne,
        flat,
        family,
        unequal,
    )


def loss_limits(curves: Mapping[str, AccuracyCurve], requirement: Requirement) -> dict[str, float]:
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


def tolerated(curve: AccuracyCurve, limit: float) -> FloatArray:
    """Ln of the tolerated BER of each draw; -inf where even no error is too much."""
    if limit <= 0:
        return np.full(curve.draws, -np.inf)
    return tolerated_ln_ber(curve, limit)


def limit_on_device(comparison: Comparison, network: str, storage: Storage) -> FloatArray:
    """Ln of the mean BER that a network tolerates with the device's own unequal rates, (draw,).

    The tilt is that at the weakest programming which is tolerated, or at the end of the range. With
    equal rates this is the tolerated BER.
    """
    c = comparison
    ln_tolerated = c.tolerated_ln_ber[network][c.pairing.curve]
    if c.unequal is None:
        return ln_tolerated
    rows = c.pairing.device
    equivalent = c.equivalent_ln_ber(network, storage)[rows]
    shift = equivalent - c.network_ln_ber(storage)[rows]
    at = weakest_condition(c.grid, equivalent, ln_tolerated, c.programming).x
    u, grid = c.programming.coordinate(at), c.programming.coordinate(c.grid)
    k = np.clip(np.searchsorted(grid, u, side="right") - 1, 0, len(grid) - 2)
    w = np.clip((u - grid[k]) / (grid[k + 1] - grid[k]), 0.0, 1.0)
    every = np.arange(len(u))
    return np.asarray(ln_tolerated - (1 - w) * shift[every, k] - w * shift[every, k + 1])


def references(
    ln_tolerated: FloatArray,
    at: FloatArray,
    harm: FloatArray,
    grid: FloatArray,
    requirement: Requirement,
    programming: Programming,
    *,
    standard_safe: SafeSet,
) -> list[Reference]:
    """References in single cells, for draws that go together.

    Parameters
    ----------
    ln_tolerated : float array, shape (draw,)
        ln of the BER that the standard network tolerates.
    at : float array, shape (draw, x)
        ln of the BER of 1T1R: memory counts wrong bits whatever they store.
    harm : float array, shape (draw, x)
        ln of the BER with equal rates that does the standard network the same harm.
    grid : float array, shape (x,)
        Programming values.
    requirement : Requirement
        Target of plain memory, and a reference of the user's own.
    programming : Programming
        The programming variable.
    standard_safe : SafeSet
        Where the standard network in single cells is safe.
    """
    found = [
        Reference(
            "standard_bnn",
            "weakest programming that the standard network tolerates, 1T1R",
            weakest_condition(grid, harm, ln_tolerated, programming),
            1.0,
            standard_safe.lowest,
        )
    ]
    codes: tuple[tuple[str, Code], ...] = (
        ("memory", NO_CODE),
        ("memory_with_ecc", SECDED_72_64),
    )
    for key, code in codes:
        raw = raw_ber_for(code, requirement.memory_ber)
        p_reached = (at <= np.log(raw)).mean(axis=0)
        found.append(
            Reference(
                key,
                f"plain 1T1R memory at a residual BER of {_rate(requirement.memory_ber)}, "
                f"{code.name}",
                weakest_condition(grid, at, np.full(len(at), np.log(raw)), programming),
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


def limit_condition(comparison: Comparison, design: Design) -> Condition:
    """Draws of the weakest programming that the mean chip of a design tolerates."""
    c = comparison
    ln_ber = c.equivalent_ln_ber(design.network, design.storage)[c.pairing.device]
    ln_tolerated = c.tolerated_ln_ber[design.network][c.pairing.curve]
    return weakest_condition(c.grid, ln_ber, ln_tolerated, c.programming)


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


def reference_energy(reference: Reference, energy: Energy) -> FloatArray:
    """Energy per bit of a reference at its limit, shape (draw,)."""
    return reference.cells_per_bit * energy_at(energy, reference.condition.x)


def saving_at_safe(design: Design, reference: Reference, energy: Energy) -> Saving:
    """Saving of a design at its lowest safe programming against a reference at its limit."""
    return Saving(
        reference_energy(reference, energy) / design_energy(design, energy),
        reference.condition.not_reached | design.safe.at_edge,
        reference.condition.at_edge,
    )


def saving_at_limit(comparison: Comparison, design: Design, reference: Reference) -> Saving:
    """Saving with design and reference both exactly at the limit of what they tolerate."""
    limit = limit_condition(comparison, design)
    energy = comparison.energy
    return Saving(
        reference_energy(reference, energy) / (design.cells * energy_at(energy, limit.x)),
        reference.condition.not_reached | limit.at_edge,
        reference.condition.at_edge | limit.not_reached,
    )
