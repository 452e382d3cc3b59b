"""From a device study and counts of networks to the frozen results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from devicefit.backend import SamplerOptions, versions
from devicefit.checks import ESS_LIMIT, R_HAT_LIMIT, Gate
from devicefit.intervals import PROBABILITY, equal_tailed
from devicefit.programming import FloatArray, Programming
from devicefit.reference_device import ReferenceDevice, true_mixtures
from devicefit.sensing import (
    CELLS_PER_BIT,
    SCHEMES,
    BerCurve,
    SensingOptions,
    ber_curves,
    ln_ber_1t1r,
    ln_ber_2t2r,
)
from reliability.accuracy_curve import (
    AccuracyCurve,
    fit_accuracy_curves,
    mean_loss,
    tolerated_ln_ber,
)
from reliability.decision import (
    Condition,
    Requirement,
    SafeSet,
    Saving,
    energy_at,
    points,
    safe_set,
    saving_sentence,
    weakest_condition,
)
from reliability.device_study import DeviceStudy
from reliability.ecc import NO_CODE, SECDED_72_64, Code, raw_ber_for
from reliability.energy import Energy, EnergyOptions, programming_energy
from reliability.network_study import NetworkStudy
from reliability.propagation import AccuracyDraws, Pairing, pair_draws, propagate
from reliability.results import Results

PAIRED_DRAWS = 2000
CURVE_SAMPLER = SamplerOptions(draws=1000, warmup=600, target_accept=0.85)


@dataclass(frozen=True)
class Design:
    """One way to store a network: how bits are read and which network.

    Parameters
    ----------
    network, scheme : str
        Name of the network, and ``"1T1R"`` or ``"2T2R"``.
    accuracy : AccuracyDraws
        Over the grid.
    p_met : float array, shape (x,)
        P(loss <= max_loss).
    safe : SafeSet
        Where the requirement is met.
    """

    network: str
    scheme: str
    accuracy: AccuracyDraws
    p_met: FloatArray
    safe: SafeSet

    @property
    def cells(self) -> int:
        """Cells for each weight bit."""
        return CELLS_PER_BIT[self.scheme]


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


def answer(
    device: DeviceStudy,
    networks: Mapping[str, NetworkStudy],
    *,
    requirement: Requirement,
    sensing: SensingOptions,
    energy_options: EnergyOptions,
    seed: int,
    command: str,
    truth: ReferenceDevice | None = None,
) -> Results:
    """Propagate, decide, and collect everything a report shows.

    Parameters
    ----------
    device : DeviceStudy
        Fitted device.
    networks : mapping of str to NetworkStudy
        The standard network first; the requirement refers to its accuracy without errors.
    requirement, sensing, energy_options
        What must hold, how bits are read, pulses.
    seed : int
        Seed of the pairing of draws and of the curve's sampler.
    command : str
        Command line that reproduces the results.
    truth : ReferenceDevice, optional
        For the simulated device: the truth to compare with.

    Returns
    -------
    Results
    """
    posterior, grid = device.main, device.grid
    programming = posterior.frame.programming
    curves = fit_accuracy_curves(
        {name: study.counts for name, study in networks.items()},
        options=SamplerOptions(
            draws=CURVE_SAMPLER.draws,
            warmup=CURVE_SAMPLER.warmup,
            target_accept=CURVE_SAMPLER.target_accept,
            seed=seed,
        ),
    )
    ber = {name: ber_curves(p, grid, options=sensing) for name, p in device.posteriors.items()}
    main_ber = ber[posterior.family]
    flat = {s: main_ber[s].ln_ber.reshape(-1, len(grid)) for s in SCHEMES}
    standard = next(iter(curves))
    rng = np.random.default_rng([seed, 2])
    pairing = pair_draws(
        posterior.diagnostics.draws, curves[standard].draws, draws=PAIRED_DRAWS, rng=rng
    )
    energy = programming_energy(posterior, grid, pairing.device, options=energy_options, rng=rng)
    limits = {
        name: requirement.max_loss - (curves[standard].error_free - curve.error_free)
        for name, curve in curves.items()
    }
    designs = [
        _design(
            name, scheme, curve, flat[scheme], pairing, limits[name], grid, requirement, programming
        )
        for name, curve in curves.items()
        for scheme in SCHEMES
    ]
    references = _references(
        curves[standard], designs[0].safe, flat["1T1R"], pairing, grid, requirement, programming
    )
    best = _best_design(designs, energy, grid, programming)
    focus = best or next(d for d in designs if d.network == list(curves)[-1])
    tolerated = {name: _tolerated_record(curve, limits[name]) for name, curve in curves.items()}
    bits = int(networks[focus.network].counts.attrs["weights"])
    saving = {
        r.key: _saving_record(focus, r, curves, limits, flat, pairing, energy, grid, programming)
        for r in references
    }
    gates = [*device.record["gates"], *(g.record() for g in _curve_gates(curves[standard]))]
    values: dict[str, Any] = {
        "verdict": _verdict(best, saving, gates, requirement, grid, programming, device),
        "programming": {
            "name": programming.name,
            "unit": programming.unit,
            "measured_low": posterior.frame.low,
            "measured_high": posterior.frame.high,
            "logarithmic": programming.is_logarithmic,
        },
        "requirement": requirement.record(),
        "data": device.record["data"],
        "device": _device_record(device, sensing),
        "ber": _ber_record(grid, main_ber, ber, device),
        "networks": {
            name: _network_record(networks[name], curve) for name, curve in curves.items()
        },
        "accuracy": {
            name: {d.scheme: _accuracy_record(d, grid) for d in designs if d.network == name}
            for name in curves
        },
        "tolerated_ber": tolerated,
        "safe_programming": {
            name: {
                d.scheme: {
                    "lowest": d.safe.lowest,
                    "intervals": [list(run) for run in d.safe.intervals],
                    "at_weakest_measured": d.safe.at_edge,
                    "sentence": d.safe.sentence,
                }
                for d in designs
                if d.network == name
            }
            for name in curves
        },
        "energy_saving": {
            "design": {"network": focus.network, "scheme": focus.scheme},
            **saving,
        },
        "energy": {
            "basis": energy.basis,
            "options": energy_options.record(),
            "grid": grid.tolist(),
            "e_cell_j": _band(energy.e_cell_j, axis=0),
            "bits": bits,
            "scope": "programming only: SET plus RESET of every cell; reading and computing are "
            "outside",
        },
        "alternatives": [
            _alternative_record(d, references, energy, grid, programming, networks) for d in designs
        ],
        "gates": gates,
        "provenance": {
            "command": command,
            "seeds": {
                "device fit": posterior.record["sampler"]["seed"],
                "decision": seed,
                "chips": {n: int(s.counts.attrs["seed"]) for n, s in networks.items()},
            },
            "versions": versions(),
            "inputs": {
                "measurements_sha256": device.record["data"]["sha256"],
                **{
                    f"images_sha256 ({n})": str(s.counts.attrs["images_sha256"])
                    for n, s in networks.items()
                },
                **{
                    f"network_sha256 ({n})": str(s.counts.attrs["network_sha256"])
                    for n, s in networks.items()
                },
            },
        },
    }
    if truth is not None:
        values["simulated_truth"] = _truth_record(
            truth,
            main_ber,
            focus,
            curves,
            limits,
            sensing,
            grid,
            requirement,
            programming,
            values,
        )
    return Results(values)


def _design(
    name: str,
    scheme: str,
    curve: AccuracyCurve,
    ln_ber: FloatArray,
    pairing: Pairing,
    limit: float,
    grid: FloatArray,
    requirement: Requirement,
    programming: Programming,
) -> Design:
    draws = propagate(curve, ln_ber, pairing)
    p_met = (curve.error_free - draws.test_set <= limit + 1e-12).mean(axis=0)
    return Design(name, scheme, draws, p_met, safe_set(grid, p_met, requirement, programming))


def _tolerated(curve: AccuracyCurve, limit: float) -> FloatArray:
    """Ln of the tolerated BER of each draw; -inf where even no error is too much."""
    if limit <= 0:
        return np.full(curve.draws, -np.inf)
    return tolerated_ln_ber(curve, limit)


def _references(
    standard: AccuracyCurve,
    standard_safe: SafeSet,
    ln_ber: FloatArray,
    pairing: Pairing,
    grid: FloatArray,
    requirement: Requirement,
    programming: Programming,
) -> list[Reference]:
    at = ln_ber[pairing.device]
    tolerated = _tolerated(standard, requirement.max_loss)[pairing.curve]
    references = [
        Reference(
            "standard_bnn",
            "weakest programming that the standard network tolerates, 1T1R",
            weakest_condition(grid, at, tolerated, programming),
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
        references.append(
            Reference(
                key,
                f"plain 1T1R memory at a residual BER of {_rate(requirement.memory_ber)}, "
                f"{code.name}",
                weakest_condition(grid, at, np.full(len(at), np.log(raw)), programming),
                code.cells_per_bit,
                safe_set(grid, p_reached, requirement, programming).lowest,
            )
        )
    return references


def _rate(rate: float) -> str:
    """``"1e-5"`` for 0.00001."""
    mantissa, exponent = f"{rate:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def _best_design(
    designs: list[Design], energy: Energy, grid: FloatArray, programming: Programming
) -> Design | None:
    """Design with the least median energy per bit at its lowest safe programming."""
    with_answer = [d for d in designs if d.safe.lowest is not None]
    if not with_answer:
        return None
    return min(with_answer, key=lambda d: float(np.median(_energy(d, energy, grid, programming))))


def _energy(
    design: Design, energy: Energy, grid: FloatArray, programming: Programming
) -> FloatArray:
    assert design.safe.lowest is not None
    return design.cells * energy_at(grid, energy.e_cell_j, design.safe.lowest, programming)


def _reference_energy(
    reference: Reference, energy: Energy, grid: FloatArray, programming: Programming
) -> FloatArray:
    return reference.cells_per_bit * energy_at(
        grid, energy.e_cell_j, reference.condition.x, programming
    )


def _saving_record(
    design: Design,
    reference: Reference,
    curves: Mapping[str, AccuracyCurve],
    limits: Mapping[str, float],
    flat: Mapping[str, FloatArray],
    pairing: Pairing,
    energy: Energy,
    grid: FloatArray,
    programming: Programming,
) -> dict[str, Any]:
    against = _reference_energy(reference, energy, grid, programming)
    record: dict[str, Any] = {
        "reference": reference.words,
        "reference_programming": {
            **_band(reference.condition.x, axis=0),
            "share_not_reached": float(reference.condition.not_reached.mean()),
            "share_at_weakest_measured": float(reference.condition.at_edge.mean()),
        },
    }
    empty = {"median": None, "low": None, "high": None, "kind": "ETI", "probability": PROBABILITY}
    if design.safe.lowest is None:
        record |= {**empty, "sentence": "No saving: no measured programming is safe."}
    else:
        record |= _saving(design, reference, energy, grid, programming).record()
        record["sentence"] = saving_sentence(record)
        record["same_rule"] = _same_rule_record(design, reference, energy, grid, programming)
    # What the saving would be if the limits of device and network were known exactly.
    tolerated = _tolerated(curves[design.network], limits[design.network])[pairing.curve]
    limit = weakest_condition(grid, flat[design.scheme][pairing.device], tolerated, programming)
    at_limit = design.cells * energy_at(grid, energy.e_cell_j, limit.x, programming)
    at_tolerance = Saving(
        against / at_limit,
        reference.condition.not_reached | limit.at_edge,
        reference.condition.at_edge | limit.not_reached,
    ).record()
    record["at_tolerance"] = {
        "meaning": "both sides exactly at the limit of what they tolerate, mean chip",
        **at_tolerance,
        "sentence": saving_sentence(at_tolerance),
    }
    return record


def _saving(
    design: Design,
    reference: Reference,
    energy: Energy,
    grid: FloatArray,
    programming: Programming,
) -> Saving:
    """Saving of a design at its lowest safe programming against a reference at its limit."""
    condition = reference.condition
    return Saving(
        _reference_energy(reference, energy, grid, programming)
        / _energy(design, energy, grid, programming),
        condition.not_reached | design.safe.at_edge,
        condition.at_edge,
    )


def _same_rule_record(
    design: Design,
    reference: Reference,
    energy: Energy,
    grid: FloatArray,
    programming: Programming,
) -> dict[str, Any]:
    """Saving when the reference is held to the same probability as the design.

    Where no measured programming qualifies, the strongest one gives a lower bound.
    """
    reached = reference.same_rule is not None
    at = reference.same_rule if reference.same_rule is not None else float(grid[-1])
    against = reference.cells_per_bit * energy_at(grid, energy.e_cell_j, at, programming)
    factor = float(np.median(against / _energy(design, energy, grid, programming)))
    return {
        "meaning": "the reference is held to the same probability as the design; a reference that "
        "is harder to certify then looks worse",
        "programming": reference.same_rule,
        "median": factor,
        "is_lower_bound": not reached,
        "sentence": f"{'' if reached else 'at least '}{factor:.3g} times",
    }


def _band(draws: FloatArray, *, axis: int | tuple[int, ...]) -> dict[str, Any]:
    interval = equal_tailed(draws, axis=axis)
    return {
        "median": np.median(draws, axis=axis).tolist(),
        **interval.record(),
    }


def _ber_record(
    grid: FloatArray,
    main: Mapping[str, BerCurve],
    families: Mapping[str, Mapping[str, BerCurve]],
    device: DeviceStudy,
) -> dict[str, Any]:
    def scheme_record(curve: BerCurve) -> dict[str, Any]:
        interval = equal_tailed(curve.ln_ber)
        record: dict[str, Any] = {
            "mean": np.exp(curve.ln_ber).mean(axis=(0, 1)).tolist(),
            "median": np.exp(np.median(curve.ln_ber, axis=(0, 1))).tolist(),
            "interval": {
                "low": np.exp(interval.low).tolist(),
                "high": np.exp(interval.high).tolist(),
                "kind": interval.kind,
                "probability": interval.probability,
            },
        }
        if curve.threshold_ohm is not None:
            record["threshold_ohm"] = curve.threshold_ohm.tolist()
        return record

    first = main["1T1R"]
    return {
        "grid": grid.tolist(),
        "family": device.main.family,
        **{scheme: scheme_record(main[scheme]) for scheme in SCHEMES},
        "other_families": {
            name: {scheme: scheme_record(curves[scheme]) for scheme in SCHEMES}
            for name, curves in families.items()
            if name != device.main.family
        },
        "extrapolated": first.extrapolated.tolist(),
        "support": first.support,
        "support_meaning": "1 / devices: a smaller BER rests on the model's shape, not on data",
        "counts": device.record["counts"],
    }


def _device_record(device: DeviceStudy, sensing: SensingOptions) -> dict[str, Any]:
    def family_record(name: str) -> dict[str, Any]:
        posterior = device.posteriors[name]
        parameters = {}
        for prior in posterior.record["priors"]:
            draws = posterior.draws[prior["name"]].values
            parameters[prior["name"]] = {"prior": prior, "posterior": _band(draws, axis=(0, 1))}
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
    }


def _network_record(study: NetworkStudy, curve: AccuracyCurve) -> dict[str, Any]:
    counts = study.counts
    ber = np.asarray(counts["ber"].values, dtype=np.float64)
    fine = np.linspace(curve.ln_ber[0], curve.ln_ber[-1], 61)
    draw = np.arange(curve.draws)
    accuracy = curve.error_free - mean_loss(
        curve, np.broadcast_to(fine, (curve.draws, len(fine))), draw
    )
    accuracy_of_chips = counts["correct"].values / curve.images
    return {
        "training": study.record,
        "images": curve.images,
        "error_free_correct": curve.correct,
        "error_free_accuracy": curve.error_free,
        "weights": int(counts.attrs["weights"]),
        "protected": str(counts.attrs["protected"]),
        "chips": curve.chips,
        "ber": ber.tolist(),
        "accuracy_mean_of_chips": accuracy_of_chips.mean(axis=1).tolist(),
        "accuracy_worst_chip": accuracy_of_chips.min(axis=1).tolist(),
        "accuracy_sd_of_chips": accuracy_of_chips.std(axis=1, ddof=1).tolist(),
        "curve": {"ber": np.exp(fine).tolist(), "accuracy": _band(accuracy, axis=0)},
        "curve_diagnostics": curve.diagnostics,
    }


def _accuracy_record(design: Design, grid: FloatArray) -> dict[str, Any]:
    return {
        "grid": grid.tolist(),
        "test_set": {
            "mean": design.accuracy.test_set.mean(axis=0).tolist(),
            **_band(design.accuracy.test_set, axis=0),
        },
        "population": {
            "mean": design.accuracy.population.mean(axis=0).tolist(),
            **_band(design.accuracy.population, axis=0),
        },
        "error_free": design.accuracy.error_free,
        "p_met": design.p_met.tolist(),
        "variance_shares": {k: v.tolist() for k, v in design.accuracy.shares.items()},
        "not_in_the_shares": "model family and training seed (one of each)",
    }


def _tolerated_record(curve: AccuracyCurve, limit: float) -> dict[str, Any]:
    if limit <= 0:
        return {
            "median": None,
            "low": None,
            "high": None,
            "kind": "ETI",
            "probability": PROBABILITY,
            "sentence": "Already without errors the network is below the required accuracy.",
        }
    ln_p = _tolerated(curve, limit)
    band = _band(ln_p, axis=0)
    record = {key: float(np.exp(band[key])) for key in ("median", "low", "high")}
    return {
        **record,
        "kind": band["kind"],
        "probability": band["probability"],
        "max_loss_from_own_error_free": limit,
        "sentence": f"{record['median']:.2g} ({100 * band['probability']:.0f} % {band['kind']} "
        f"{record['low']:.2g} to {record['high']:.2g}), mean chip",
    }


def _alternative_record(
    design: Design,
    references: list[Reference],
    energy: Energy,
    grid: FloatArray,
    programming: Programming,
    networks: Mapping[str, NetworkStudy],
) -> dict[str, Any]:
    record: dict[str, Any] = {
        "network": design.network,
        "scheme": design.scheme,
        "cells_per_bit": design.cells,
        "lowest_safe_programming": design.safe.lowest,
        "sentence": design.safe.sentence,
    }
    if design.safe.lowest is None:
        return {**record, "e_bit_j": None, "e_network_j": None, "saving": None}
    e_bit = _energy(design, energy, grid, programming)
    bits = int(networks[design.network].counts.attrs["weights"])
    return {
        **record,
        "e_bit_j": _band(e_bit, axis=0),
        "e_network_j": _band(e_bit * bits, axis=0),
        "saving": {
            r.key: _saving(design, r, energy, grid, programming).record() for r in references
        },
    }


def _curve_gates(curve: AccuracyCurve) -> tuple[Gate, ...]:
    d = curve.diagnostics
    passed = d["r_hat"] < R_HAT_LIMIT and d["bulk_ess"] >= ESS_LIMIT and d["divergences"] == 0
    return (
        Gate(
            "accuracy curve",
            "Did the fit of accuracy over BER converge?",
            bool(passed),
            d["r_hat"],
            R_HAT_LIMIT,
            f"R-hat {d['r_hat']:.3f}, {d['bulk_ess']:.0f} effective draws, "
            f"{d['divergences']:.0f} divergences",
            "evaluate more chips (--chips)",
        ),
    )


def _verdict(
    best: Design | None,
    saving: Mapping[str, Any],
    gates: list[dict[str, Any]],
    requirement: Requirement,
    grid: FloatArray,
    programming: Programming,
    device: DeviceStudy,
) -> dict[str, Any]:
    failed = [gate["name"] for gate in gates if not gate["passed"]]
    simulated = bool(device.record["data"]["simulated"])
    record: dict[str, Any] = {
        "simulated": simulated,
        "failed_gates": failed,
        "gates_passed": not failed,
    }
    if best is None or best.safe.lowest is None:
        return {
            **record,
            "recommended_programming": None,
            "network": None,
            "scheme": None,
            "p_requirement_met": None,
            "sentence": f"No measured {programming.name} meets the requirement with any of the "
            "compared designs: a loss of at most "
            f"{points(requirement.max_loss)} with probability "
            f"{1 - requirement.risk:g}.",
        }
    at = int(np.argmin(np.abs(grid - best.safe.lowest)))
    return {
        **record,
        "recommended_programming": best.safe.lowest,
        "recommended_programming_words": programming.format(best.safe.lowest),
        "network": best.network,
        "scheme": best.scheme,
        "p_requirement_met": float(best.p_met[at]),
        "sentence": f"Program at {programming.format(best.safe.lowest)} "
        f"({programming.name}), read as {best.scheme}, network {best.network!r}: "
        f"P(loss <= {points(requirement.max_loss)}) = {best.p_met[at]:.3f}. "
        "Programming energy saved if both sides went to the limit of what they tolerate: "
        f"{saving['standard_bnn']['at_tolerance']['sentence']} against the standard network, "
        f"{saving['memory']['at_tolerance']['sentence']} against plain memory. At the recommended "
        "programming, which keeps a margin, against references that keep none: "
        f"{saving['standard_bnn']['sentence']} and {saving['memory']['sentence']}.",
        "safe_set": best.safe.sentence,
    }


def _truth_record(
    truth: ReferenceDevice,
    main_ber: Mapping[str, BerCurve],
    design: Design,
    curves: Mapping[str, AccuracyCurve],
    limits: Mapping[str, float],
    sensing: SensingOptions,
    grid: FloatArray,
    requirement: Requirement,
    programming: Programming,
    values: Mapping[str, Any],
) -> dict[str, Any]:
    """True BER at the chosen thresholds and true saving, beside the intervals."""
    laws = true_mixtures(truth, grid)
    threshold = main_ber["1T1R"].threshold_ohm
    assert threshold is not None
    ln_true = {
        "1T1R": ln_ber_1t1r(laws["LRS"], laws["HRS"], np.log(threshold)),
        "2T2R": ln_ber_2t2r(laws["LRS"], laws["HRS"], sensing.offset_ln_r),
    }
    record: dict[str, Any] = {
        "note": "The true law of the simulated device is known; the networks' tolerated BER is "
        "taken at its posterior median.",
        "ber": {},
        "energy_saving": {},
    }
    for scheme, ln_ber in ln_true.items():
        interval = values["ber"][scheme]["interval"]
        low, high = np.log(interval["low"]), np.log(interval["high"])
        inside = (low <= ln_ber) & (ln_ber <= high)
        record["ber"][scheme] = {
            "true": np.exp(ln_ber).tolist(),
            "share_of_grid_inside": float(inside.mean()),
        }
    if design.safe.lowest is None:
        return record
    standard = next(iter(curves.values()))
    targets = {
        "standard_bnn": (float(np.median(_tolerated(standard, requirement.max_loss))), 1.0),
        "memory": (np.log(requirement.memory_ber), 1.0),
        "memory_with_ecc": (
            np.log(raw_ber_for(SECDED_72_64, requirement.memory_ber)),
            SECDED_72_64.cells_per_bit,
        ),
    }
    own = _tolerated(curves[design.network], limits[design.network])
    limit = weakest_condition(
        grid, ln_true[design.scheme][None, :], np.array([float(np.median(own))]), programming
    )
    # Energy is proportional to the current in the simulated device: what is uncertain cancels.
    for key, (ln_target, cells) in targets.items():
        condition = weakest_condition(
            grid, ln_true["1T1R"][None, :], np.array([ln_target]), programming
        )
        found = values["energy_saving"][key]
        record["energy_saving"][key] = {
            "not_reached": bool(condition.not_reached[0]),
            **_true_factor(condition.x[0] / design.safe.lowest * cells / design.cells, found),
            "at_tolerance": _true_factor(
                condition.x[0] / limit.x[0] * cells / design.cells, found["at_tolerance"]
            ),
        }
    return record


def _true_factor(true: float, found: Mapping[str, Any]) -> dict[str, Any]:
    """A true saving and whether the interval holds it (an end that is a bound holds all beyond)."""
    low = -np.inf if found["low_is_upper_bound"] else found["low"] * (1 - 1e-9)
    high = np.inf if found["high_is_lower_bound"] else found["high"] * (1 + 1e-9)
    return {"true": float(true), "inside": bool(low <= true <= high)}
