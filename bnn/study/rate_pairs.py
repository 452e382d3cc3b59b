"""Counts of a network at pairs of error rates of stored ones and stored zeros.

Unequal rates move every pre-activation the same way, which fixed thresholds do not know of. Beside
the equal rates a network is therefore counted at several tilts of each mean rate, the ends included
where only ones or only zeros go wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Unpack

import numpy as np
import xarray as xr

from bnn.calibration.calibration import CalibrationReference, fold_for_ber
from bnn.calibration.treatments import FIXED, FOLDED_FOR_EACH, PER_CHIP
from bnn.errors.errors import Errors, Flips
from bnn.evaluation.calibrated_engines import FoldedEngine
from bnn.evaluation.calibrated_evaluation import evaluate_calibrated
from bnn.evaluation.counting import HowToCount
from bnn.evaluation.evaluation import evaluate_errors
from bnn.images.sets import ImageSet
from bnn.networks.network import FoldedNetwork, layer_signs

TILTED_RATES = (5e-3, 1e-2, 2e-2, 3e-2, 5e-2, 0.1, 0.2, 0.5)
"""Mean rates of ones and zeros at which tilts are counted; below, tilts change little."""

TILTS = (-1.0, -0.6, -0.2, 0.2, 0.6, 1.0)
"""Difference of the rates of ones and zeros over their sum; at 1 only ones go wrong."""


def tilted_rates(rates: Sequence[float]) -> tuple[float, ...]:
    """Mean rates at which tilts are counted beside equal `rates`: up to the highest of these."""
    highest = max(rates)
    within = [rate for rate in TILTED_RATES if rate < highest]
    return (*within, highest) if highest <= TILTED_RATES[-1] else TILTED_RATES


def tilted_flips(ber: float, tilt: float) -> Flips:
    """Flips with the mean rate `ber`; a `tilt` of 1 has all of it on stored ones, -1 on zeros.

    Raises
    ------
    ValueError
        `tilt` is not within -1..1, or a rate would exceed 1.
    """
    if not -1 <= tilt <= 1:
        raise ValueError(f"tilt is {tilt}; it must lie within -1..1")
    return Flips(zero_to_one=ber * (1 - tilt), one_to_zero=ber * (1 + tilt))


def count_rate_pairs(
    network: FoldedNetwork,
    images: ImageSet,
    *,
    treatment: str = FIXED,
    reference: CalibrationReference | None = None,
    rates: Sequence[float] = TILTED_RATES,
    tilts: Sequence[float] = TILTS,
    seed: int,
    protected: frozenset[str] = frozenset(),
    **how: Unpack[HowToCount],
) -> xr.Dataset:
    """Count right answers at unequal rates, on the chips that equal rates are counted on.

    Parameters
    ----------
    network : FoldedNetwork
        Network without errors.
    images : ImageSet
        Its test images are counted.
    treatment : str
        Of thresholds, of `bnn.calibration.treatments`. Folded ones are folded for the mean rate:
        they do not know of the imbalance.
    reference : CalibrationReference, optional
        For treatments other than fixed.
    rates, tilts : sequence of float
        Each rate is counted at each tilt.
    seed, protected, **how
        As of :func:`bnn.evaluate`.

    Returns
    -------
    xarray.Dataset
        As of :func:`bnn.evaluate_errors`, with the coordinates ``ber`` and ``tilt`` of the cases
        and the attribute ``ones``, the share of the exposed bits that are stored ones.

    Raises
    ------
    ValueError
        Unknown treatment, or as of :func:`bnn.evaluate_errors`.
    """
    run = _counter(network, treatment, reference)
    tick = how.pop("progress", None)
    parts = []
    for turn, rate in enumerate(rates):

        def of_rate(done: int, total: int, turn: int = turn) -> None:
            if tick is not None:
                tick(turn * total + done, len(rates) * total)

        errors = [Errors((tilted_flips(rate, tilt),), protected=protected) for tilt in tilts]
        data = (images.test_images, images.test_labels)
        parts.append(run(rate, *data, errors=errors, seed=seed, progress=of_rate, **how))
    counts = xr.concat([part.drop_attrs(deep=False) for part in parts], dim="case")
    attrs = {k: v for k, v in parts[0].attrs.items() if k not in ("errors", "weights")}
    return counts.assign_coords(
        case=np.arange(len(rates) * len(tilts)),
        ber=("case", np.repeat(rates, len(tilts))),
        tilt=("case", np.tile(tilts, len(rates))),
    ).assign_attrs(
        **attrs, ones=stored_ones(network, protected), protected=",".join(sorted(protected))
    )


def stored_ones(network: FoldedNetwork, protected: frozenset[str] = frozenset()) -> float:
    """Share of the exposed weight bits that are +1."""
    exposed = [layer_signs(layer) > 0 for layer in network.layers if layer.name not in protected]
    return float(np.concatenate([signs.ravel() for signs in exposed]).mean())


def _counter(
    network: FoldedNetwork, treatment: str, reference: CalibrationReference | None
) -> Callable[..., xr.Dataset]:
    """Counts cases at one mean rate, with the thresholds that the network has there."""
    if treatment == FIXED:
        return lambda rate, *data, **options: evaluate_errors(network, *data, **options)
    if treatment not in (FOLDED_FOR_EACH, PER_CHIP):
        known = ", ".join((FIXED, FOLDED_FOR_EACH, PER_CHIP))
        raise ValueError(f"treatment {treatment!r} is not known; known: {known}")
    if reference is None:
        raise ValueError(f"thresholds {treatment} need a reference; make one of images")
    if treatment == PER_CHIP:
        return lambda rate, *data, **options: evaluate_calibrated(
            reference, *data, count=evaluate_errors, **options
        )

    def folded(rate: float, *data: Any, engine: str = "auto", **options: Any) -> xr.Dataset:
        protected = options["errors"][0].protected
        with_rate = fold_for_ber(reference, rate, protected=protected)
        runner = FoldedEngine(reference, with_rate, engine)
        return evaluate_errors(network, *data, engine=runner, **options)  # type: ignore[arg-type]

    return folded
