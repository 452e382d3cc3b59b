"""What do the three sentences of the paper's abstract look like as posteriors?

Question
    Hirtzlin et al. (arXiv 1904.03652) say in their abstract: a standard binarized network has
    little effect on MNIST and CIFAR-10 from bit error rates (BER) up to 1e-4; one trained for
    errors up to 4e-2; programming energy falls by a factor of 30. Which BER do the networks of
    `bnn.zoo` tolerate at a loss of 0.1, 0.5 and 1 point, with all layers exposed and with the first
    and the last one protected, and which energy does that save against both references, on the
    simulated reference device and on a measured gate sweep?

Inputs
    The networks of `bnn.zoo`; MNIST and CIFAR-10 under ``--images-dir``; the measured sweep under
    ``--data`` as for ``measured_gate_sweep.py``. What is not there is listed, and left out.

Choices
    MNIST: all 10,000 test images, 50 chips over 26 BER, 20 chips over 16 BER where thresholds are
    calibrated. CIFAR-10: 20 chips over 13 BER, 10 chips over 12 BER where thresholds are
    calibrated, on 2,000 test images. Tolerated BER: of the mean chip, and such that 95 % of chips
    keep the loss. Losses are against the network's own error-free accuracy; the JSON also has those
    against the standard network. Savings: 1T1R, both sides exactly at the limit that the mean chip
    tolerates; networks with more weight bits program more cells.

Seed
    1 for chips, calibration images, fits and the pairing of draws.

Outputs
    ``analyses/results/abstract_sentences/results.json`` and ``tolerated.png``; the tables of
    ``docs/abstract.md`` between its marks. Counts and device posteriors are kept in
    ``build/abstract_sentences``, and a run that is stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

import bnn
from analyses.abstract_tables import EXPOSED, draw, write_tables
from analyses.fit_only import fit_only
from analyses.measured_gate_sweep import read_sweep
from bnn.images.parts import ImagePart
from bnn.networks.network import network_sha256
from devicefit.distributions.sensing import SensingOptions
from devicefit.fitting.error_rates import ber_curves
from devicefit.numerics.intervals import PROBABILITY, band
from devicefit.sampling.options import SamplerOptions
from devicefit.simulation.reference_device import reference_measurements
from reliability.accuracy.propagation import pair_draws
from reliability.accuracy.surface import (
    AccuracySurface,
    loss,
    mean_loss,
    mean_share,
    tolerated_ln_ber,
)
from reliability.accuracy.surface_fit import fit_accuracy_surfaces
from reliability.decision.limits import weakest_condition
from reliability.decision.requirement import Requirement
from reliability.decision.saving import Saving, gated
from reliability.decision.series_gate import series_gate
from reliability.device.files import load_study, save_study
from reliability.device.study import DeviceStudy
from reliability.energy.energy import EnergyOptions, energy_at, programming_energy
from reliability.networks.study import NetworkStudy, load_counts, save_counts
from reliability.networks.treatments import reference_from
from reliability.plans.codes import NO_CODE, SECDED_72_64, raw_ber_for
from reliability.plans.seen_rates import SeenRates

FloatArray = NDArray[np.float64]

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "analyses" / "results" / "abstract_sentences"
CACHE = ROOT / "build" / "abstract_sentences"
PAGE = ROOT / "docs" / "abstract.md"
SEED = 1
RATES = (
    1e-5, 1e-4, 3e-4, 1e-3, 2e-3, 3e-3, 5e-3, 7e-3, 1e-2, 1.5e-2, 2e-2, 2.5e-2, 3e-2, 3.5e-2, 4e-2,
    4.5e-2, 5e-2, 5.5e-2, 6e-2, 7e-2, 8e-2, 0.1, 0.12, 0.15, 0.2, 0.3,
)  # fmt: skip
FEWER_RATES = (1e-5, 1e-4, 1e-3, 2e-3, 5e-3, 1e-2, 1.5e-2, 2e-2, 3e-2, 4e-2, 5e-2, 7e-2, 0.1)
FEWER_HIGH_RATES = (1e-5, 1e-4, 1e-3, 5e-3, 1e-2, 2e-2, 3e-2, 4e-2, 5e-2, 7e-2, 0.1, 0.15)
HIGH_RATES = (
    1e-5, 1e-3, 5e-3, 1e-2, 2e-2, 3e-2, 4e-2, 5e-2, 6e-2, 8e-2, 0.1, 0.12, 0.15, 0.18, 0.22, 0.3,
)  # fmt: skip
LOSSES = (0.001, 0.005, 0.01)
SHARE = 0.95
PAPER = {"standard": 1e-4, "trained for errors": 4e-2}
"""BER with little effect according to the abstract."""
CALIBRATED = "calibrated per chip"
ARMS = {
    "mnist": (
        ("mnist-standard", "fixed"),
        ("mnist-4e-2", "fixed"),
        ("mnist-range-fixed", "fixed"),
        ("mnist-range", CALIBRATED),
        ("mnist-margin", "fixed"),
    ),
    "cifar-10": (
        ("cifar-standard", "fixed"),
        ("cifar-4e-2", "fixed"),
        ("cifar-high-range-x3", CALIBRATED),
        ("cifar-margin", "fixed"),
    ),
}
SCOPE: dict[tuple[str, str], tuple[int, int | None, tuple[float, ...]]] = {
    ("mnist", "fixed"): (50, None, RATES),
    ("mnist", CALIBRATED): (20, None, HIGH_RATES),
    ("cifar-10", "fixed"): (20, 2000, FEWER_RATES),
    ("cifar-10", CALIBRATED): (10, 2000, FEWER_HIGH_RATES),
}
"""Chips, test images (None: all) and BER."""
CALIBRATION_IMAGES = {"mnist": 4000, "cifar-10": 2000}
EXPOSURES = tuple(EXPOSED)
DRAWS = 2000
GOLDEN = 0.6180339887498949
SENSING = SensingOptions()
GATE_SWEEP_PULSES = EnergyOptions(
    set_voltage_v=2.0, reset_voltage_v=2.0, set_pulse_s=1e-6, reset_pulse_s=1e-6, voltage_sd=0.1
)
DEVICE_SAMPLER = SamplerOptions(draws=750, warmup=600, seed=SEED, cores=1)
FAMILIES_OF_DEVICES = {"simulated": "switching-failure", "gate sweep": "skewed-failure"}
"""The chains of the simpler family do not agree on the measured array."""


def counts_of(
    name: str, treatment: str, exposure: str, images: bnn.ImageSet, cache: Path
) -> NetworkStudy:
    """Counts of the chips of a network, from the cache if they are there."""
    network, record = bnn.load_zoo(name)
    chips, number, rates = SCOPE[images.name, treatment]
    digest = network_sha256(network)[:12]
    words = f"{treatment} {exposure}".replace(" ", "-")
    path = cache / f"{name}_{digest}_{words}_{chips}.nc"
    if path.exists():
        return load_counts(path)
    protected: frozenset[str] = frozenset()
    if exposure == EXPOSURES[1]:
        protected = frozenset({network.layer_names[0], network.layer_names[-1]})
    options: dict[str, Any] = {
        "ber": rates,
        "chips": chips,
        "seed": SEED,
        "protected": protected,
        "threads": 1,
    }
    if number is not None:
        options["part"] = ImagePart(0, number, SEED)
    data = (images.test_images, images.test_labels)
    if treatment == CALIBRATED:
        reference = reference_from(
            network, images, number=CALIBRATION_IMAGES[images.name], seed=SEED, threads=1
        )
        counts = bnn.evaluate_calibrated(reference, *data, **options)
    else:
        counts = bnn.evaluate(network, *data, **options)
    study = NetworkStudy(counts, {**record, "thresholds": treatment})
    cache.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    save_counts(study, unfinished)
    unfinished.replace(path)
    return study


def shares_of_chips(
    curve: AccuracySurface, kind: str, ln_ber: FloatArray, draw: NDArray[np.int64], at: FloatArray
) -> FloatArray:
    """Quantiles `at` of the share of images that chips lose or gain, shape (draw, quantile).

    A beta law with the mean and the variance that were fitted; each draw at its own `ln_ber`.
    """
    mean = mean_share(curve, kind, SeenRates.equal(ln_ber[:, None]), draw)
    # equal rates lie midway between the two innermost tilts
    middle = len(curve.tilt) // 2
    table = curve.ln_dispersion[kind][:, :, middle - 1 : middle + 1].mean(axis=2)
    dispersion = np.exp(
        [[np.interp(x, curve.ln_rate, table[d])] for x, d in zip(ln_ber, draw, strict=True)]
    )
    # A beta law holds less than the variance of a share that is 0 or 1.
    precision = np.maximum(max(curve.pool(kind), 1) / dispersion - 1.0, 1e-3)
    return np.asarray(betaincinv(mean * precision, (1 - mean) * precision, at[None, :]))


def tolerated_by_share(
    curve: AccuracySurface,
    limit: float,
    *,
    share: float = SHARE,
    chips: int = 128,
    draws: int = 100,
) -> FloatArray:
    """Largest BER at which a share of the chips loses at most a limit.

    Parameters
    ----------
    curve : AccuracySurface
        Fitted curve.
    limit : float
        Loss, a fraction, positive.
    share : float, optional
        Share of the chips.
    chips : int, optional
        Chips of each draw, evenly spread over their quantiles.
    draws : int, optional
        Draws of the curve, evenly spaced.

    Returns
    -------
    float array, shape (draw,)
        ln BER, found by bisection; the end of the evaluated range where the loss never is too much.
    """
    number = np.arange(chips)
    # A lattice: even in both quantiles.
    quantiles = np.stack([(number + 0.5) / chips, (number * GOLDEN + 0.5) % 1.0], axis=1)
    chosen = np.unique(np.linspace(0, curve.draws - 1, draws).astype(np.int64))
    low = np.full(len(chosen), curve.ln_rate[0] - 5.0)
    high = np.full(len(chosen), curve.ln_rate[-1])
    for _ in range(13):
        middle = (low + high) / 2
        lost, gained = (
            shares_of_chips(curve, kind, middle, chosen, quantiles[:, column])
            for column, kind in enumerate(("lost", "gained"))
        )
        kept = np.quantile(loss(curve, lost, gained), share, axis=1) <= limit
        low, high = np.where(kept, middle, low), np.where(kept, high, middle)
    return np.asarray((low + high) / 2)


def ber_record(ln_p: FloatArray, curve: AccuracySurface) -> dict[str, Any]:
    """Median and interval of draws of ln BER, as rates, and which of them are at the range's end.

    A rate at the upper end of the evaluated range is a lower bound; one that would lie below the
    lower end is given as this end, an upper bound.
    """
    found = band(ln_p, axis=0)
    names = ("median", "low", "high")
    begin, end = curve.ln_rate[0], curve.ln_rate[-1] - 0.01
    rates = {key: float(np.exp(max(found[key], begin))) for key in names}
    bounds = {f"{key}_is_lower_bound": bool(found[key] > end) for key in names}
    bounds |= {f"{key}_is_upper_bound": bool(found[key] < begin) for key in names}
    return {**rates, **bounds, "kind": found["kind"], "probability": found["probability"]}


def tolerance(curve: AccuracySurface, limit: float) -> dict[str, Any]:
    """Tolerated BER of the mean chip and of 95 % of chips."""
    return {
        "mean_chip": ber_record(tolerated_ln_ber(curve, limit), curve),
        "share_of_chips": {
            "share": SHARE,
            **ber_record(tolerated_by_share(curve, limit), curve),
        },
    }


def loss_at(curve: AccuracySurface, rate: float) -> dict[str, Any]:
    """Posterior of the mean chip's loss at a BER, in points."""
    at = SeenRates.equal(np.full((curve.draws, 1), np.log(rate)))
    return {"ber": rate, **band(100 * mean_loss(curve, at, np.arange(curve.draws))[:, 0], axis=0)}


def arm_name(name: str, treatment: str) -> str:
    """Name of a network with its thresholds unless they are fixed."""
    return name if treatment == "fixed" else f"{name}, {treatment}"


def networks_record(
    image_set: str, exposure: str, studies: Mapping[str, NetworkStudy]
) -> tuple[dict[str, Any], dict[str, AccuracySurface]]:
    """Tolerances of all networks of an image set, and their curves."""
    curves = {
        name: fit_accuracy_surfaces({name: study}, seed=SEED)[name]
        for name, study in studies.items()
    }
    standard = next(iter(curves.values()))
    record = {}
    for name, curve in curves.items():
        behind = standard.error_free - curve.error_free
        counts = studies[name].counts
        record[name] = {
            "images": curve.images,
            "chips": curve.chips,
            "error_free": curve.error_free,
            "bits_exposed": int(counts.attrs["weights"]),
            "protected": str(counts.attrs["protected"]),
            "diagnostics": curve.diagnostics,
            "ber": counts["ber"].values.tolist(),
            "mean_loss_points": (
                100 * (curve.error_free - counts["correct"].values.mean(axis=1) / curve.images)
            ).tolist(),
            "worst_loss_points": (
                100 * (curve.error_free - counts["correct"].values.min(axis=1) / curve.images)
            ).tolist(),
            "loss_at_the_papers_ber": {w: loss_at(curve, p) for w, p in PAPER.items()},
            "tolerated": {f"{d:g}": tolerance(curve, d) for d in LOSSES},
            "mean_chip_against_standard": {
                f"{d:g}": ber_record(tolerated_ln_ber(curve, d - behind), curve)
                if d > behind
                else None
                for d in LOSSES
            },
        }
    return {"image_set": image_set, "exposure": exposure, "networks": record}, curves


def study_of(name: str, data: Path | None, cache: Path) -> DeviceStudy:
    """Fitted device, from the cache if it is there."""
    directory = cache / name.replace(" ", "-")
    if (directory / "device.json").exists():
        return load_study(directory)
    if name == "simulated":
        measurements = reference_measurements()
    else:
        assert data is not None
        measurements = read_sweep(data)
    study = fit_only(measurements, FAMILIES_OF_DEVICES[name], DEVICE_SAMPLER, {})
    directory.mkdir(parents=True, exist_ok=True)
    save_study(study, directory)
    return study


class Device:
    """BER and energy draws of a device, paired with draws of curves.

    Parameters
    ----------
    study : DeviceStudy
        Fitted device.
    energy : EnergyOptions
        Pulses.
    curve_draws : int
        Draws of each curve.
    """

    def __init__(self, study: DeviceStudy, energy: EnergyOptions, curve_draws: int) -> None:
        rng = np.random.default_rng([SEED, 2])
        main, grid = study.main, study.grid
        self.programming = main.frame.programming
        self.grid = grid
        self.pairing = pair_draws(main.diagnostics.draws, curve_draws, draws=DRAWS, rng=rng)
        self.energy = programming_energy(main, grid, self.pairing.device, options=energy, rng=rng)
        ber = ber_curves(main, grid, options=SENSING)["1T1R"].ln_ber
        self.ln_ber = ber.reshape(-1, len(grid))[self.pairing.device]

    def saving(
        self, ln_reference: FloatArray, cells: float, ln_design: FloatArray
    ) -> dict[str, Any]:
        """Saving with both sides at the weakest programming that reaches a BER, 1T1R.

        `cells` are those of the reference for each cell of the design.
        """
        reference = weakest_condition(
            self.grid, ln_reference[:, None] - self.ln_ber, self.programming
        )
        design = weakest_condition(self.grid, ln_design[:, None] - self.ln_ber, self.programming)
        found = Saving(
            cells * energy_at(self.energy, reference.x) / energy_at(self.energy, design.x),
            reference.not_reached | design.at_edge,
            reference.at_edge | design.not_reached,
        ).record(probability=PROBABILITY)
        return gated(found, series_gate(self.energy, design, reference))

    def rate(self, ber: float) -> FloatArray:
        """Ln of a BER for every draw."""
        return np.full(DRAWS, np.log(ber))


def savings_record(
    device: Device, curves: Mapping[str, AccuracySurface], bits: Mapping[str, int]
) -> dict[str, Any]:
    """Savings of every network against every reference, for every loss.

    References hold the standard network; `bits` are the exposed weights of each network.
    """
    first, standard = next(iter(curves.items()))
    memory = Requirement().memory_ber
    found: dict[str, Any] = {}
    for loss_limit in LOSSES:
        at_standard = tolerated_ln_ber(standard, loss_limit)[device.pairing.curve]
        references = {
            "standard network": (at_standard, 1.0),
            "memory": (device.rate(raw_ber_for(NO_CODE, memory)), NO_CODE.cells_per_bit),
            "memory with ECC": (
                device.rate(raw_ber_for(SECDED_72_64, memory)),
                SECDED_72_64.cells_per_bit,
            ),
        }
        found[f"{loss_limit:g}"] = {}
        for name, curve in curves.items():
            own = tolerated_ln_ber(curve, loss_limit)[device.pairing.curve]
            found[f"{loss_limit:g}"][name] = {
                key: device.saving(ln_p, cells * bits[first] / bits[name], own)
                for key, (ln_p, cells) in references.items()
            }
    return found


def papers_rates_record(device: Device) -> dict[str, Any]:
    """Saving from the BER of the abstract alone, whatever the network."""
    weak = device.rate(PAPER["trained for errors"])
    memory = Requirement().memory_ber
    return {
        "from BER 1e-4 to 4e-2": device.saving(device.rate(PAPER["standard"]), 1.0, weak),
        f"from memory at {memory:g} to 4e-2": device.saving(device.rate(memory), 1.0, weak),
        f"from memory at {memory:g} with ECC to 4e-2": device.saving(
            device.rate(raw_ber_for(SECDED_72_64, memory)), SECDED_72_64.cells_per_bit, weak
        ),
    }


def _devices(data: Path | None) -> tuple[dict[str, EnergyOptions], list[str]]:
    """Pulses of the devices that are there, and what is not."""
    if data is None:
        return {"simulated": EnergyOptions()}, ["measured gate sweep (--data)"]
    return {"simulated": EnergyOptions(), "gate sweep": GATE_SWEEP_PULSES}, []


def measure(
    images_dir: Path | None, data: Path | None, cache: Path, image_sets: list[str]
) -> dict[str, Any]:
    """Everything that is there."""
    known = {network.name for network in bnn.zoo_networks()}
    record: dict[str, Any] = {
        "seed": SEED,
        "paper": PAPER,
        "losses": LOSSES,
        "absent": [],
        "tolerance": [],
        "savings": {},
    }
    record["absent"] += [f"{name}: not asked for" for name in ARMS if name not in image_sets]
    all_curves: dict[tuple[str, str], dict[str, AccuracySurface]] = {}
    all_bits: dict[tuple[str, str], dict[str, int]] = {}
    for image_set in image_sets:
        arms = ARMS[image_set]
        record["absent"] += [f"network {name}" for name, _ in arms if name not in known]
        here = [(name, treatment) for name, treatment in arms if name in known]
        if not here or here[0] != arms[0]:
            record["absent"].append(f"{image_set}: without its standard network nothing is counted")
            continue
        images = bnn.load_images(image_set, images_dir=images_dir)
        for exposure in EXPOSURES:
            studies = {}
            for name, treatment in here:
                print(f"{name}, {treatment}, {exposure}", flush=True)
                studies[arm_name(name, treatment)] = counts_of(
                    name, treatment, exposure, images, cache
                )
            found, curves = networks_record(image_set, exposure, studies)
            record["tolerance"].append(found)
            all_curves[image_set, exposure] = curves
            all_bits[image_set, exposure] = {
                name: line["bits_exposed"] for name, line in found["networks"].items()
            }
    devices, missing = _devices(data)
    record["absent"] += missing
    for name, energy in devices.items():
        print(f"device: {name}", flush=True)
        study = study_of(name, data, cache)
        draws = {c.draws for curves in all_curves.values() for c in curves.values()} or {DRAWS}
        device = Device(study, energy, min(draws))
        record["savings"][name] = {
            "energy": device.energy.basis,
            "family": study.main.family,
            "failed_gates": [g["name"] for g in study.record["gates"] if not g["passed"]],
            "the_papers_rates": papers_rates_record(device),
            "networks": [
                {
                    "image_set": s,
                    "exposure": e,
                    "by_loss": savings_record(device, curves, all_bits[s, e]),
                }
                for (s, e), curves in all_curves.items()
            ],
        }
    return record


def main() -> int:
    """Count, fit, and write the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images-dir", type=Path, help="has mnist/ and cifar-10/")
    parser.add_argument("--data", type=Path, help="has devices/ with the measured gate sweep")
    parser.add_argument("--image-set", action="append", choices=tuple(ARMS), help="default: all")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    arguments = parser.parse_args()
    record = measure(arguments.images_dir, arguments.data, CACHE, arguments.image_set or list(ARMS))
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "results.json").write_text(
        json.dumps(record, indent=1) + "\n", encoding="utf-8"
    )
    if record["tolerance"]:
        draw(record, arguments.out / "tolerated.png")
        write_tables(record, arguments.page)
    for line in record["absent"]:
        print(f"absent: {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
