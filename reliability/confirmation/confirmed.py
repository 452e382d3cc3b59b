"""Designs of a comparison confirmed by chips, the cheapest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bnn.calibration.calibration import fold_for_ber
from bnn.calibration.treatments import FOLDED_FOR_EACH, PER_CHIP
from bnn.evaluation.calibrated_engines import FoldedEngine
from bnn.evaluation.calibrated_evaluation import evaluate_calibrated
from bnn.evaluation.cost import Workload
from bnn.evaluation.runner import cheapest_engine
from devicefit.distributions.sensing import SensingOptions
from reliability.chips.arrays import ChipArrays
from reliability.chips.lots import BLOCK, ROUNDING, Confirmation, Lot, confirm
from reliability.chips.rates import ChipRates, chip_rates
from reliability.chips.readings import checks_near, errors_near
from reliability.confirmation.chips import StoredNetwork, count_chips
from reliability.confirmation.confirming import Confirmable, Confirming
from reliability.decision.comparison import Comparison, Design, place_on
from reliability.decision.safe_set import SafeSet
from reliability.decision.second_variable import leading
from reliability.networks.study import Say
from reliability.plans.storage import Storage

if TYPE_CHECKING:
    from reliability.confirmation.aged import Ageing

_LEAST_PROMISE = 0.5
RATE_DRAWS = 4000
"""Draws of the error rates counted from readings."""


def confirm_designs(comparison: Comparison, confirming: Confirming, say: Say) -> Comparison:
    """Confirm the best design, then the one that is best after it, until the best is confirmed.

    Parameters
    ----------
    comparison : Comparison
        Designs with what the surfaces promise.
    confirming : Confirming
        Networks, device and time.
    say : callable
        Told what is being done.

    Returns
    -------
    Comparison
        Designs that were confirmed have the lowest programming at which enough chips meet the
        requirement as their lowest safe one, or none where that holds nowhere.
    """
    found = comparison
    while (best := found.best) is not None and best.confirmation is None:
        if best.network not in confirming.networks:
            break
        done = _confirmed(found, best, confirming, say)
        designs = tuple(done if design is best else design for design in found.designs)
        found = replace(found, designs=designs)
    return found


def confirm_each(
    comparisons: Sequence[Comparison],
    confirming: Confirming,
    say: Say,
    *,
    ageings: Sequence[Ageing] | None = None,
) -> list[Comparison]:
    """Confirm designs over values of a second variable until the best of all is confirmed.

    That one gets chips by readings alone beside it. Arguments as of :func:`confirm_designs`;
    `ageings` are what a required life does to the cells of each comparison.
    """
    found = list(comparisons)

    def at(k: int) -> Confirming:
        second, of = found[k].second, confirming
        if second is not None:
            of = replace(of, device=of.device.at_second(second[1]))
        return of if ageings is None else replace(of, ageing=ageings[k])

    while (best := found[k := leading(found)].best) is not None and best.confirmation is None:
        if best.network not in confirming.networks:
            return found
        found[k] = confirm_designs(found[k], at(k), say)
    # readings are those of fresh cells
    if ageings is None:
        found[k] = beside_readings(found[k], at(k), say)
    return found


def _confirmed(comparison: Comparison, design: Design, confirming: Confirming, say: Say) -> Design:
    """The design with what chips say of it."""
    c, subject = comparison, confirming.networks[design.network]
    sizes = confirming.sizes(subject, sum(d.confirmation is not None for d in c.designs))
    say(
        f"confirming {design.network!r}, {design.scheme}, with {sizes.choosing} chips at each "
        f"value and {sizes.fresh} fresh ones, each {subject.seconds_per_chip * 1e3:.2g} ms"
    )
    limit = c.limits[design.network]
    chips = DesignChips(subject, design.storage, c.sensing, c.one_is, confirming)
    # each design, and each run of its safe values, has chips of its own
    number = next(k for k, other in enumerate(c.designs) if other is design)
    tried: tuple[Lot, ...] = ()
    for run, _ in enumerate(design.safe.intervals):
        found = confirm(
            values_to_try(c.grid, design.p_met, design.safe, run=run),
            chips.losses,
            most_loss=limit,
            wanted=c.requirement.probability,
            sizes=sizes,
            seed=1_000_003 * (confirming.seed + 1) + 3 * (number + len(c.designs) * run),
            arrays=confirming.arrays,
        )
        tried += found.tried
        if found.programming is not None:
            break
    result = replace(found, tried=tried)
    beside, x = confirming.new_beside, found.programming
    if x is not None and beside is not None:
        new = DesignChips(subject, design.storage, c.sensing, c.one_is, beside)
        # thresholds are those of the design: set before an array is known
        rates, engine = new.at(x)[0], chips.at(x)[1]
        seed = 3_000_017 * (confirming.seed + 1) + number
        losses = new.count(rates, engine, sizes.fresh, seed, 0, beside.arrays)
        result = replace(result, on_new=_lot(x, losses, limit))
    return replace(design, confirmation=result, safe=_safe(design, result, c))


def beside_readings(comparison: Comparison, confirming: Confirming, say: Say) -> Comparison:
    """The comparison with chips by readings alone beside those of its best design.

    At the measured values near the confirmed programming, by readings and by the model. Arguments
    as of :func:`confirm_designs`; nothing is counted for a design that is not confirmed.
    """
    c, best, of = comparison, comparison.best, confirming
    if best is None or best.confirmation is None or not of.measured:
        return c
    say("counting chips by error rates from readings alone")
    subject = of.networks[best.network]
    limit = c.limits[best.network]
    chips = DesignChips(subject, best.storage, c.sensing, c.one_is, of)
    at = best.stated(c.grid)[0], of.measured, of.device, best.storage
    checks = []
    for side, check in enumerate(checks_near(*at, sensing=c.sensing, one_is=c.one_is)):
        rng = np.random.default_rng([of.seed, 6, side])
        arrays = ChipArrays(check.arrays, of.arrays_per_chip)
        number = max(BLOCK, of.sizes(subject).choosing // 2) * arrays.groups
        rates = check.rates(c.one_is, size=RATE_DRAWS, rng=rng)
        # thresholds that are folded for a rate are folded for the one that the model expects
        engine = chips.engine_for(rates["by_model"])
        lots = {}
        for key, of_key in rates.items():
            seed = 2_000_003 * (of.seed + 1) + side
            losses = chips.count(of_key, engine, number, seed, 0, arrays)
            lots[key] = _lot(check.low, losses, limit)
        checks.append(replace(check, by_readings=lots["by_readings"], by_model=lots["by_model"]))
    near = errors_near(*at, sensing=c.sensing, one_is=c.one_is)
    confirmation = replace(best.confirmation, readings=tuple(checks), near=near)
    done = replace(best, confirmation=confirmation)
    return replace(c, designs=tuple(done if d is best else d for d in c.designs))


def values_to_try(
    grid: NDArray[np.float64],
    p_met: NDArray[np.float64],
    safe: SafeSet,
    *,
    run: int = 0,
) -> list[float]:
    """Values of the grid from the end of a run of safe values to below it, from strong to weak.

    They end where less than `_LEAST_PROMISE` is promised. That is far below what is asked for: the
    surfaces promise too little where a code leaves whole words wrong, and the walk stops by itself
    before the first value that chips fail.
    """
    at, end = (place_on(grid, x) for x in safe.intervals[run])
    weaker = np.flatnonzero(p_met[: at + 1] < _LEAST_PROMISE)
    stop = int(weaker[-1]) + 1 if len(weaker) else 0
    chosen: list[float] = grid[stop : end + 1][::-1].tolist()
    return chosen


@dataclass(frozen=True, eq=False)
class DesignChips:
    """Chips of one design.

    Parameters
    ----------
    subject : Confirmable
        Network and images.
    storage : Storage
        How bits are stored.
    sensing : SensingOptions
        How bits are read.
    one_is : {"LRS", "HRS"}
        State that stores a one.
    confirming : Confirming
        Device and arrays.
    """

    subject: Confirmable
    storage: Storage
    sensing: SensingOptions
    one_is: str
    confirming: Confirming
    _prepared: dict[float, tuple[ChipRates, Any]] = field(default_factory=dict)

    @cached_property
    def cells(self) -> StoredNetwork:
        """The network as it is written."""
        of = self.subject
        return StoredNetwork.of(of.network, self.storage, protected=of.protected)

    def at(self, programming: float) -> tuple[ChipRates, Any]:
        """Rates at a programming value, and the engine that answers there."""
        arrays = self.confirming.arrays
        if programming not in self._prepared:
            rates = chip_rates(
                self.confirming.device,
                [programming],
                self.storage,
                sensing=self.sensing,
                one_is=self.one_is,
                new_arrays=arrays.per_chip if arrays.new else 0,
            )
            if self.confirming.ageing is not None:
                rates = self.confirming.ageing.rates(rates, self.storage.scheme)
            self._prepared[programming] = rates, self.engine_for(rates)
        return self._prepared[programming]

    def engine_for(self, rates: ChipRates) -> Any:
        """The engine that answers at rates, with thresholds folded for them where they are."""
        of = self.subject
        with np.errstate(divide="ignore"):
            seen = float(np.exp(self.storage.ln_ber_after(np.log(rates.mean)))[0])
        engine: Any = cheapest_engine(of.network, Workload(BLOCK, (seen,)))
        if of.treatment == FOLDED_FOR_EACH:
            folded = fold_for_ber(of.reference, seen, protected=of.protected)
            engine = FoldedEngine(of.reference, folded, engine)
        return engine

    def losses(self, programming: float, chips: int, seed: int, first: int) -> NDArray[np.float64]:
        """Accuracy that chips lose against the network without errors, as of `lots.Losses`."""
        return self.count(*self.at(programming), chips, seed, first, self.confirming.arrays)

    def count(
        self,
        rates: ChipRates,
        engine: Any,
        chips: int,
        seed: int,
        first: int,
        arrays: ChipArrays,
    ) -> NDArray[np.float64]:
        """The same at given rates, by an engine of :meth:`engine_for`."""
        of = self.subject
        options: dict[str, Any] = {
            "stored": self.cells,
            "rates": rates,
            "chips": chips,
            "seed": seed,
            "first_chip": first,
            "arrays": arrays,
            "threads": self.confirming.threads,
        }
        data = (of.images.test_images, of.images.test_labels)
        if of.treatment == PER_CHIP:
            counts = evaluate_calibrated(of.reference, *data, count=count_chips, **options)
        else:
            counts = count_chips(of.network, *data, engine=engine, **options)
        lost = counts.attrs["error_free_correct"] - counts["correct"].values[0]
        return np.asarray(lost / counts.attrs["images"], dtype=np.float64)


def _lot(programming: float, losses: NDArray[np.float64], limit: float) -> Lot:
    return Lot(programming, len(losses), int((losses <= limit + ROUNDING).sum()))


def _safe(design: Design, result: Confirmation, comparison: Comparison) -> SafeSet:
    """The safe set from the value that chips confirm on, or an empty one."""
    c, x = comparison, result.programming
    promised = design.safe.lowest
    assert promised is not None
    form, name = c.programming.format, c.programming.name
    if x is None:
        return SafeSet(
            None,
            (),
            f"The surfaces promise that {form(promised)} meets the requirement; chips drawn from "
            f"the posterior meet it often enough at no measured {name}.",
            False,
        )
    weakest = ", and the weakest that was measured" if x == c.grid[0] else ""
    moved = "" if x == promised else f" The surfaces promised {form(promised)}."
    return replace(
        design.safe,
        lowest=x,
        intervals=tuple((max(a, x), b) for a, b in design.safe.intervals if b >= x),
        at_edge=bool(x == c.grid[0]),
        sentence=f"{form(x)} is the lowest {name} at which enough chips drawn from the posterior "
        f"meet the requirement{weakest}.{moved}",
    )
