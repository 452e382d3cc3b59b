"""Unequal error rates of stored ones and zeros in a decision: what they change, and in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from devicefit.fitted import Fitted
from devicefit.gates import Gate
from devicefit.intervals import equal_tailed
from devicefit.sensing import BerCurve, tilt_1t1r
from reliability.equivalent_ber import Equivalent, fit_equivalent
from reliability.network_study import NetworkStudy
from reliability.storage import PLAIN, Storage

if TYPE_CHECKING:
    from reliability.designs import Comparison, Design

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

UNEQUAL = "unequal errors"
"""Name of the gate that fails when unequal rates matter and nobody counted what they do."""

HARMLESS_TILT = 0.3
"""Up to here unequal rates do the harm of a few percent more bits (docs/errors.md)."""


@dataclass(frozen=True)
class StoredBits:
    """How bits are laid into cells.

    Parameters
    ----------
    one_is : {"LRS", "HRS"}
        State that stores the weight +1.
    scrambled : bool
        Whether about half of the weights are stored inverted, chosen by a known pseudo-random mask
        and put right when they are read. The rates of both states then meet ones and zeros alike.
    """

    one_is: str = "LRS"
    scrambled: bool = False

    def __post_init__(self) -> None:
        if self.one_is not in ("LRS", "HRS"):
            raise ValueError(f"one_is is {self.one_is!r}; a 1 is stored as one of LRS, HRS")

    def tilt(self, of_lrs: FloatArray) -> FloatArray:
        """Tilt of the rates of stored ones, from that of cells in LRS."""
        if self.scrambled:
            return np.zeros_like(of_lrs)
        return of_lrs if self.one_is == "LRS" else -of_lrs


@dataclass(frozen=True)
class UnequalErrors:
    """Unequal rates of the device, and what they do to each network.

    Parameters
    ----------
    of_lrs : float array, shape (draw, x)
        Tilt of single cells: (rate of LRS - rate of HRS) over their sum; draws of the device,
        chains one after the other. Pairs of cells have no tilt.
    stored : StoredBits
        How bits are laid into cells.
    equivalents : mapping of str to Equivalent
        By network; one that is not named was counted at equal rates only and is taken to be harmed
        by the mean rate alone.
    """

    of_lrs: FloatArray
    stored: StoredBits
    equivalents: Mapping[str, Equivalent]

    def ln_seen(self, network: str, storage: Storage, ln_ber: FloatArray) -> FloatArray:
        """Ln of the equal rate that harms a network as what it sees does.

        Parameters
        ----------
        network : str
            Name of the network.
        storage : Storage
            How bits are read. What a code leaves has the tilt of what it gets: most of it are bits
            that it could not correct.
        ln_ber : float array, shape (draw, x)
            ln of the mean rate that the network sees.
        """
        equivalent = self.equivalents.get(network)
        if equivalent is None or self.stored.scrambled or storage.scheme != "1T1R":
            return ln_ber
        return equivalent.ln_equivalent(ln_ber, self.stored.tilt(self.of_lrs))

    def of(self, device: IntArray, chips: IntArray) -> UnequalErrors:
        """Rates of some draws of the device, with the coefficients of others."""
        paired = {name: e.of(chips) for name, e in self.equivalents.items()}
        return UnequalErrors(self.of_lrs[device], self.stored, paired)

    def at_mean(self, of_lrs: FloatArray) -> UnequalErrors:
        """For a known tilt of cells, shape (1, x), with the mean coefficients of all networks."""
        means = {name: e.central() for name, e in self.equivalents.items()}
        return UnequalErrors(of_lrs, self.stored, means)


def unequal_errors(
    posterior: Fitted,
    curve: BerCurve,
    networks: Mapping[str, NetworkStudy],
    stored: StoredBits,
    *,
    seed: int,
) -> UnequalErrors:
    """Tilt of the device over the grid, and the equivalents of all networks that have counts.

    Parameters
    ----------
    posterior : Fitted
        What answers.
    curve : BerCurve
        Its 1T1R curve.
    networks : mapping of str to NetworkStudy
        Networks; of several trainings of a recipe the counts of the first.
    stored : StoredBits
        How bits are laid into cells.
    seed : int
        Seed of the decision.
    """
    assert curve.threshold_ohm is not None
    hrs = posterior.mixtures(curve.programming)["HRS"]
    tilt = tilt_1t1r(hrs, np.log(curve.threshold_ohm), curve.ln_ber)
    flat = tilt.reshape(-1, tilt.shape[-1])
    return UnequalErrors(
        flat,
        stored,
        {
            name: fit_equivalent(
                study.counts,
                study.unequal,
                draws=len(flat),
                rng=np.random.default_rng([seed, 41, index]),
            )
            for index, (name, study) in enumerate(networks.items())
            if study.unequal is not None
        },
    )


def unequal_record(comparison: Comparison) -> dict[str, Any]:
    """What unequal rates do to the design in focus, and what scrambled weights would change.

    Plain values: the tilt over the grid, whose interval is that of cells in one bit each, and at
    the lowest safe programming (the likeliest one where none is safe) the share of wrong bits that
    are stored ones, the BER and its equivalent.
    """
    # imported here: designs need this module
    from reliability.chip_yield import chip_yield
    from reliability.decision.safe_set import safe_set
    from reliability.designs import loss_limits

    c = comparison
    unequal, design = c.unequal, c.focus
    assert unequal is not None
    at = place_of(c, design)
    rows = c.pairing.device
    tilt = unequal.stored.tilt(unequal.of_lrs)
    here = tilt[:, at] if design.storage.scheme == "1T1R" else np.zeros(len(tilt))
    mean = c.network_ln_ber(design.storage)
    record: dict[str, Any] = {
        "one_is": unequal.stored.one_is,
        "scrambled": unequal.stored.scrambled,
        "counted": {name: name in unequal.equivalents for name in c.curves},
        "tilt_meaning": "(rate of stored ones - rate of stored zeros) / their sum, one cell a bit",
        "grid": c.grid.tolist(),
        "tilt": _band(tilt[rows]),
        "design": {"network": design.network, "scheme": design.scheme},
        "programming": float(c.grid[at]),
        "share_of_ones": _band((1 + here[rows]) / 2),
        "ber": _band(np.exp(mean[rows, at])),
        "equivalent_ber": _band(
            np.exp(c.equivalent_ln_ber(design.network, design.storage)[rows, at])
        ),
        "lowest_safe": design.safe.lowest,
        "lowest_safe_if_scrambled": design.safe.lowest,
    }
    if not unequal.stored.scrambled:
        limit = loss_limits(c.curves, c.requirement)[design.network]
        met = chip_yield(c.curves[design.network], mean, c.pairing, limit).p_met
        record["lowest_safe_if_scrambled"] = safe_set(
            c.grid, met, c.requirement, c.programming
        ).lowest
    return {**record, "sentence": _sentence(c, record)}


def place_of(comparison: Comparison, design: Design) -> int:
    """Index of the lowest safe programming of a design, or of its likeliest one."""
    lowest = design.safe.lowest
    if lowest is None:
        return int(design.p_met.argmax())
    return int(np.argmin(np.abs(comparison.grid - lowest)))


def unequal_gate(comparison: Comparison, record: Mapping[str, Any]) -> Gate:
    """Whether unequal rates are in the counts of the networks, or too small to matter."""
    unequal, standard = comparison.unequal, next(iter(comparison.curves))
    assert unequal is not None
    needed = {standard, *([comparison.focus.network] if "1T1R" in comparison.focus.scheme else [])}
    missing = sorted(needed - set(unequal.equivalents))
    tilt = 0.0
    if missing and not unequal.stored.scrambled:
        places = [
            place_of(comparison, d)
            for d in comparison.designs
            if d.storage == PLAIN and d.network in needed
        ]
        median = np.median(unequal.of_lrs, axis=0)
        tilt = float(np.abs(median[places]).max())
    finding = str(record["sentence"])
    if tilt > HARMLESS_TILT:
        finding = (
            f"the networks {', '.join(missing)} were counted with equal rates only, and the device "
            f"misreads one state {(1 + tilt) / (1 - min(tilt, 1 - 1e-9)):.3g} times as often as "
            "the other: the accuracy is overstated"
        )
    return Gate(
        UNEQUAL,
        "Do the counts know that stored ones and zeros go wrong at different rates?",
        tilt <= HARMLESS_TILT,
        tilt,
        HARMLESS_TILT,
        finding,
        "count the networks again with `evaluate`, which also counts at unequal rates, or store "
        "the weights scrambled (--scrambled)",
    )


def _band(draws: FloatArray) -> dict[str, Any]:
    return {"median": np.median(draws, axis=0).tolist(), **equal_tailed(draws, axis=0).record()}


def _sentence(comparison: Comparison, record: Mapping[str, Any]) -> str:
    form = comparison.programming.format
    ones = record["share_of_ones"]["median"]
    if record["scrambled"]:
        return (
            "Weights are stored scrambled: ones and zeros go wrong alike, whatever the rates of "
            "the two states."
        )
    if "2T2R" in record["design"]["scheme"]:
        return "Bits are stored in pairs of cells: ones and zeros go wrong alike."
    said = (
        f"At {form(record['programming'])}, {100 * ones:.0f} % of the wrong bits are stored ones "
        f"({record['one_is']}, stored 0 and 1 equally frequent)"
    )
    if not record["counted"][record["design"]["network"]]:
        return f"{said}; the network was counted with equal rates only."
    equal, own = record["equivalent_ber"]["median"], record["ber"]["median"]
    said += f"; the BER of {own:.3g} harms as an equal BER of {equal:.3g} does."
    now, scrambled = record["lowest_safe"], record["lowest_safe_if_scrambled"]
    if now == scrambled:
        return f"{said} Scrambled weights would not change the lowest safe value."
    if scrambled is None:
        return f"{said} With scrambled weights no measured value would be safe."
    instead = "" if now is None else f" instead of {form(now)}"
    return (
        f"{said} With scrambled weights the lowest safe value would be {form(scrambled)}{instead}."
    )
