"""One design against one reference, both at their limit: what all candidates share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtri

from devicefit.fitted import Fitted
from devicefit.intervals import PROBABILITY
from devicefit.programming import FloatArray, IntArray
from reliability.ber_table import BerTable, ber_table, ln_ber_of
from reliability.designs import Comparison, Design, Reference, loss_limits
from reliability.device_study import DeviceStudy
from reliability.energy import EnergyOptions, programming_energy
from reliability.energy_table import EnergyTable
from reliability.image_shift import tolerance_spread
from reliability.limit_saving import Limits, LnSaving, limits_of, ln_saving, weighted_quantile
from reliability.storage import STORAGES, Storage

POPULATION = "population"
_ENDS = np.array([(1 - PROBABILITY) / 2, (1 + PROBABILITY) / 2])
Pair = tuple[FloatArray, FloatArray]


def check_design_names(
    networks: Sequence[str],
    network: str | None,
    stored_as: str | None,
    storages: Sequence[Storage] = STORAGES,
) -> None:
    """Refuse names of a design that there is not; lists the known ones."""
    for option, name, known in (
        ("network", network, list(networks)),
        ("stored-as", stored_as, [s.name for s in storages]),
    ):
        if name is not None and name not in known:
            raise ValueError(f"{option} {name!r} is not known; known: {'; '.join(known)}")


def chosen_design(comparison: Comparison, network: str | None, stored_as: str | None) -> Design:
    """The design that is named, or the best of those that the names leave.

    Parameters
    ----------
    comparison : Comparison
        All designs.
    network, stored_as : str, optional
        Network and storage of the design, ``"1T1R + SECDED(72,64)"``; None for the best.

    Raises
    ------
    ValueError
        No such network or storage; lists the known ones.
    """
    check_design_names(list(comparison.curves), network, stored_as)
    if network is None and stored_as is None:
        return comparison.focus
    return next(
        d
        for d in comparison.ranked
        if network in (None, d.network) and stored_as in (None, d.scheme)
    )


@dataclass(frozen=True)
class ReadDraws:
    """Draws of another posterior of the device, over every second programming value.

    Parameters
    ----------
    ln_ber : dict of str to float array, shape (draw, x)
        ln of the BER that is read, by scheme.
    ln_energy : float array, shape (draw, x)
        ln of the energy per cell.
    rows : int array, shape (draw,)
        Paired draws that they go with.
    """

    ln_ber: dict[str, FloatArray]
    ln_energy: FloatArray
    rows: IntArray


class LimitCase:
    """Tables and draws of a design and a reference, and the saving for other posteriors.

    Parameters
    ----------
    device : DeviceStudy
        Fitted device.
    comparison : Comparison
        All designs and references on the same draws.
    design : Design
        One of them.
    reference : Reference
        One of them.
    question : str
        Whether the test set counts as given or as a sample.
    energy_options, energy_table
        Those of the comparison.
    seed : int
        For energies that are drawn anew.
    """

    def __init__(
        self,
        device: DeviceStudy,
        comparison: Comparison,
        design: Design,
        reference: Reference,
        question: str,
        energy_options: EnergyOptions | None,
        energy_table: EnergyTable | None,
        seed: int,
    ) -> None:
        self.device, self.c = device, comparison
        self.design, self.reference = design, reference
        self.energy_options, self.energy_table, self.seed = energy_options, energy_table, seed
        self.limits = limits_of(comparison, design, reference)
        self.equal = self._equal()
        self.draws = len(comparison.pairing.device)
        self.even = np.full(self.draws, 1.0 / self.draws)
        self.test_set = self._test_set(question)
        self.tables = self._tables()
        self.places = self.places_of(self.even[None])
        found = self.saving(self.limits, self._row(0))
        self.now, self.is_bound = found.value, found.is_bound
        self.width_now = self.width(self.now, self.even)

    def _equal(self) -> Pair:
        """Limits of design and reference with equal rates of stored ones and zeros."""
        borne, at = self.c.tolerated_ln_ber, self.c.pairing.curve
        reference = self.limits.reference
        if self.reference.key == "standard_bnn":
            reference = borne[next(iter(borne))][at]
        return borne[self.design.network][at], reference

    def _tables(self) -> tuple[BerTable, BerTable]:
        """Of the design and of the reference."""
        c, draw = self.c, self.c.pairing.device
        single = ber_table(self.device.main, c.grid, draw, "1T1R", c.sensing)
        if self.design.storage.scheme == "1T1R":
            return single, single
        pairs = c.main_ber["2T2R"].ln_ber
        of_draw = np.ascontiguousarray(pairs.reshape(-1, pairs.shape[-1])[draw])
        return BerTable(of_draw[None], None), single

    def _test_set(self, question: str) -> Pair:
        """Shift of ln tolerated BER of design and reference by the finite test set, per draw.

        Zero where the test set counts as given. One score per draw serves both networks, which see
        the same images.
        """
        c = self.c
        nothing = np.zeros(self.draws)
        if question != POPULATION:
            return nothing, nothing
        score, at = ndtri(c.pairing.test_set[:, 1]), c.pairing.curve
        name, limits = self.design.network, loss_limits(c.curves, c.requirement)
        design = score * tolerance_spread(c.curves[name], limits[name], self.equal[0], at)
        if self.reference.key != "standard_bnn":
            return design, nothing
        limit = c.requirement.max_loss
        return design, score * tolerance_spread(c.standard, limit, self.equal[1], at)

    # --- savings ----------------------------------------------------------------------------------

    def places_of(self, weights: FloatArray) -> Pair:
        """Thresholds of design and reference for weighted draws."""
        design, reference = self.tables
        of_reference = reference.best(weights)
        return (of_reference if design is reference else design.best(weights)), of_reference

    def _row(self, number: int, places: Pair | None = None) -> Pair:
        design, reference = places or self.places
        return design[number], reference[number]

    def saving(
        self,
        limits: Limits,
        places: Pair | None = None,
        *,
        tables: tuple[BerTable, BerTable] | None = None,
        effects: Pair | None = None,
    ) -> LnSaving:
        """Ln saving of every draw, the effect of the test set included."""
        design, reference = tables or self.tables
        at = places or self._row(0)
        e = effects or self.test_set
        shifted = replace(limits, design=limits.design + e[0], reference=limits.reference + e[1])
        return ln_saving(shifted, (design, at[0]), (reference, at[1]))

    @staticmethod
    def width(values: FloatArray, weights: FloatArray) -> float:
        """Width of the interval of weighted draws."""
        low, high = weighted_quantile(values, weights, _ENDS)
        return float(high - low)

    def widths_of_weights(self, weights: FloatArray, places: Pair) -> FloatArray:
        """Width of the interval of ln saving for each row of weights."""
        return np.array(
            [
                self.width(self.saving(self.limits, self._row(i, places)).value, w)
                for i, w in enumerate(weights)
            ]
        )

    # --- another posterior of the device ----------------------------------------------------------

    def read(self, posterior: Fitted, schemes: set[str]) -> ReadDraws:
        """Draws of another posterior, paired with those of curve and energy in order."""
        grid = self.c.grid[::2]
        ln_ber = ln_ber_of(posterior, grid, {*schemes, "1T1R"}, self.c.sensing)
        rows = np.arange(len(ln_ber["1T1R"])) % self.draws
        if self.c.programming.is_current:
            ln_energy = self.limits.ln_energy[rows][:, ::2]
        else:
            ln_energy = self.ln_energy_of(posterior, np.arange(len(rows)), grid, 25)
        return ReadDraws(ln_ber, np.ascontiguousarray(ln_energy), rows)

    def width_of(self, read: ReadDraws) -> float:
        """Width of the interval of ln saving with another posterior of the device."""
        rows, u = read.rows, self.limits.u[::2]
        tables = [
            BerTable(read.ln_ber[s][None], None) for s in (self.design.storage.scheme, "1T1R")
        ]
        limits = replace(
            self.limits,
            design=self.limits.design[rows],
            reference=self.limits.reference[rows],
            ln_energy=read.ln_energy,
            u=u,
        )
        found = self.saving(
            limits,
            (np.zeros(len(u)), np.zeros(len(u))),
            tables=(tables[0], tables[1]),
            effects=(self.test_set[0][rows], self.test_set[1][rows]),
        )
        return self.width(found.value, np.full(len(rows), 1.0 / len(rows)))

    def ln_energy_of(
        self, posterior: Fitted, draw: IntArray, x: FloatArray, stream: int
    ) -> FloatArray:
        """Ln of the energy per cell, inputs drawn anew."""
        found = programming_energy(
            posterior,
            x,
            draw,
            options=self.energy_options,
            table=self.energy_table,
            rng=np.random.default_rng([self.seed, stream]),
        )
        return np.log(found.e_cell_j)
