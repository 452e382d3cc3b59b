"""Plain records of what was found, for the JSON twin and the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from devicefit.distributions.sensing import SCHEMES, BerCurve, SensingOptions
from devicefit.fitting.gate import Gate
from devicefit.numerics.arrays import FloatArray
from devicefit.numerics.intervals import PROBABILITY, band, equal_tailed
from reliability.accuracy.surface import AccuracySurface, mean_loss
from reliability.accuracy.variance_shares import not_in_the_shares
from reliability.decision.comparison import Comparison, Design
from reliability.device.study import DeviceStudy
from reliability.networks.study import NetworkStudy
from reliability.plans.seen_rates import SeenRates
from reliability.results.withheld import COUNTS


def ber_record(comparison: Comparison, device: DeviceStudy) -> dict[str, Any]:
    """BER over the programming variable, every scheme and family, with counts beside it."""

    def scheme_record(curve: BerCurve) -> dict[str, Any]:
        interval = equal_tailed(curve.ln_ber).record()
        record: dict[str, Any] = {
            "mean": np.exp(curve.ln_ber).mean(axis=(0, 1)).tolist(),
            "median": np.exp(np.median(curve.ln_ber, axis=(0, 1))).tolist(),
            "interval": interval | {k: np.exp(interval[k]).tolist() for k in ("low", "high")},
        }
        if curve.threshold_ohm is not None:
            record["threshold_ohm"] = curve.threshold_ohm.tolist()
        return record

    main = comparison.main_ber
    first = main["1T1R"]
    return {
        "grid": comparison.grid.tolist(),
        "family": device.main.family,
        **{scheme: scheme_record(main[scheme]) for scheme in SCHEMES},
        "other_families": {
            name: {scheme: scheme_record(curves[scheme]) for scheme in SCHEMES}
            for name, curves in comparison.ber.items()
            if name != device.main.family
        },
        "extrapolated": first.extrapolated.tolist(),
        "support": first.support,
        "support_meaning": "1 / devices: a smaller BER rests on the model's shape, not on data",
        "counts": device.record["counts"],
    }


def device_record(device: DeviceStudy, sensing: SensingOptions) -> dict[str, Any]:
    """Families, diagnostics, priors beside posteriors, quantiles."""

    def family_record(name: str) -> dict[str, Any]:
        posterior = device.posteriors[name]
        parameters = {}
        for prior in posterior.record["priors"]:
            if prior["size"]:
                # Terms of smooth deviations and shifts of arrays mean little one by one.
                continue
            draws = posterior.draws[prior["name"]].values
            parameters[prior["name"]] = {"prior": prior, "posterior": band(draws, axis=(0, 1))}
        return {
            "diagnostics": vars(posterior.diagnostics),
            "sampler": posterior.record["sampler"],
            "design_effect": posterior.record["design_effect"],
            "parameters": parameters,
        }

    return {
        "family": device.main.family,
        "families": {name: family_record(name) for name in device.posteriors},
        "sensing": {
            "threshold_ohm": sensing.threshold_ohm,
            "threshold_rule": "given"
            if sensing.threshold_ohm
            else "least posterior expected BER at each programming value",
            "offset_ln_r": sensing.offset_ln_r,
        },
        "quantiles": device.record["quantiles"],
        "checks": {**device.record["checks"], "families": device.record["families"]},
        "levels": device.record["levels"],
    }


def network_record(study: NetworkStudy, surface: AccuracySurface) -> dict[str, Any]:
    """Training, counts of chips and the fitted surface of a network."""
    counts = study.counts
    ber = np.asarray(counts["ber"].values, dtype=np.float64)
    fine = np.linspace(surface.ln_rate[0], surface.ln_rate[-1], 61)
    draw = np.arange(surface.draws)
    equal = SeenRates.equal(np.tile(fine, (surface.draws, 1)))
    accuracy = surface.error_free - mean_loss(surface, equal, draw)
    accuracy_of_chips = counts["correct"].values / surface.images
    return {
        "training": study.record,
        "images": surface.images,
        "error_free_correct": surface.correct,
        "error_free_accuracy": surface.error_free,
        "weights": int(counts.attrs["weights"]),
        "protected": str(counts.attrs["protected"]),
        "chips": surface.chips,
        "ber": ber.tolist(),
        "accuracy_mean_of_chips": accuracy_of_chips.mean(axis=1).tolist(),
        "accuracy_worst_chip": accuracy_of_chips.min(axis=1).tolist(),
        "accuracy_sd_of_chips": accuracy_of_chips.std(axis=1, ddof=1).tolist(),
        "curve": {"ber": np.exp(fine).tolist(), "accuracy": band(accuracy, axis=0)},
        "unequal": _unequal_record(study, surface),
        "condition": surface.condition,
        "further_training": None if surface.further is None else surface.further.record(),
        "surface": surface.diagnostics,
    }


def _unequal_record(study: NetworkStudy, surface: AccuracySurface) -> dict[str, Any] | None:
    """Counts at unequal rates and the surface between them; None where there are none."""
    if study.unequal is None:
        return None
    correct = study.unequal["correct"].transpose("case", "chip").values / surface.images
    return {
        "ber": study.unequal["ber"].values.tolist(),
        "tilt": study.unequal["tilt"].values.tolist(),
        "tilt_meaning": "(rate of stored ones - rate of stored zeros) / their sum",
        "chips": int(study.unequal.sizes["chip"]),
        "accuracy_mean_of_chips": correct.mean(axis=1).tolist(),
        "surface": _surface_record(study.unequal, surface),
    }


def _surface_record(unequal: xr.Dataset, surface: AccuracySurface) -> dict[str, Any]:
    """Posterior median of the mean accuracy over chips, by tilt and mean rate."""
    tilts = np.unique(np.append(unequal["tilt"].values, 0.0))
    counted = np.unique(np.log(unequal["ber"].values))
    fine = np.union1d(np.linspace(counted[0], surface.ln_rate[-1], 50), counted)
    rows = (surface.draws, 1)
    median = [
        np.median(
            surface.error_free
            - mean_loss(
                surface,
                SeenRates(np.tile(fine, rows), np.full((surface.draws, len(fine)), tilt)),
                np.arange(surface.draws),
            ),
            axis=0,
        ).tolist()
        for tilt in tilts
    ]
    return {"ber": np.exp(fine).tolist(), "tilt": tilts.tolist(), "accuracy_median": median}


def of_designs(
    comparison: Comparison, record: Callable[[Design], dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """A record of each design, by network and scheme."""
    return {
        name: {d.scheme: record(d) for d in comparison.designs if d.network == name}
        for name in comparison.curves
    }


def accuracy_record(design: Design, grid: FloatArray, least: float) -> dict[str, Any]:
    """Accuracy of a design over the programming variable; `least` share of chips that must do."""
    return {
        "grid": grid.tolist(),
        **{
            of: {"mean": values.mean(axis=0).tolist(), **band(values, axis=0)}
            for of, values in (
                ("test_set", design.accuracy.test_set),
                ("population", design.accuracy.population),
            )
        },
        "error_free": design.accuracy.error_free,
        "p_met": design.p_met.tolist(),
        "yield": design.chip_yield.record(least=least),
        "variance_shares": {k: v.tolist() for k, v in design.accuracy.shares.items()},
        "not_in_the_shares": not_in_the_shares(design.accuracy.shares),
    }


def tolerated_record(ln_tolerated: FloatArray, limit: float) -> dict[str, Any]:
    """Tolerated BER of a network, mean chip."""
    if limit <= 0:
        return {
            **dict.fromkeys(("median", "low", "high")),
            "kind": "ETI",
            "probability": PROBABILITY,
            "sentence": "Already without errors the network is below the required accuracy.",
        }
    found = band(ln_tolerated, axis=0)
    found |= {key: float(np.exp(found[key])) for key in ("median", "low", "high")}
    return {
        **found,
        "max_loss_from_own_error_free": limit,
        "sentence": f"{found['median']:.2g} ({100 * found['probability']:.0f} % {found['kind']} "
        f"{found['low']:.2g} to {found['high']:.2g}), mean chip",
    }


def safe_record(design: Design) -> dict[str, Any]:
    """Where a design meets the requirement."""
    return {
        "lowest": design.safe.lowest,
        "intervals": [list(run) for run in design.safe.intervals],
        "at_weakest_measured": design.safe.at_edge,
        "sentence": design.safe.sentence,
    }


MISFIT_LIMIT = 2.0
"""Most that counts may lie off what the others predict, root mean square in standard deviations."""


def surface_gate(surfaces: Mapping[str, AccuracySurface]) -> Gate:
    """Whether the accuracy surfaces were found, and agree with the counts they are fitted to."""
    name, worst = max(
        surfaces.items(),
        key=lambda s: (1 - s[1].diagnostics["converged"], s[1].diagnostics["misfit"]),
    )
    d = worst.diagnostics
    found = "" if d["converged"] else f"the fit did not converge in {d['steps']:.0f} steps; "
    return Gate(
        COUNTS,
        "Do the counts at each pair of rates agree with what all others predict?",
        bool(d["converged"]) and d["misfit"] <= MISFIT_LIMIT,
        d["misfit"],
        MISFIT_LIMIT,
        f"{found}{d['points']:.0f} pairs of rates, off by {d['misfit']:.2f} standard deviations "
        f"(root mean square, {name})",
        "evaluate more chips (--chips)",
    )
