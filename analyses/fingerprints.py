"""Do the results in this folder belong to the present models?

Question
    A result is out of date when what it was computed with gives other numbers. So numbers are
    compared, not texts of modules: laws of devices at draws from their priors, the accuracy surface
    through a table of counts, hashes of the networks that come with the package.

Inputs
    ``analyses/results/made_with.json``: for each result what it depends on, with fingerprints.

Outputs
    ``python -m analyses.fingerprints`` lists results that are out of date.
    ``python -m analyses.fingerprints RESULT ...`` notes the present fingerprints for results that
    were just made.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from bnn import load_zoo, zoo_networks
from bnn.networks.network import network_sha256
from devicefit.families.registry import FAMILIES
from devicefit.life.endurance import PRIORS as ENDURANCE_PRIORS
from devicefit.life.retention import PRIORS as RETENTION_PRIORS
from devicefit.life.wear_out import PRIORS as WEAR_OUT_PRIORS
from devicefit.numerics.arrays import FloatArray
from devicefit.sampling.prior import Prior, sample_priors
from devicefit.simulation.calibration import CURRENT_DESIGN, GATE_DESIGN
from reliability.accuracy.surface_draws import draw_shares
from reliability.accuracy.surface_model import Pairs, linearise

RESULTS = Path(__file__).resolve().parent / "results"
LEDGER = RESULTS / "made_with.json"
DIGITS = 6
"""Significant digits that are compared; machines differ in rounding, models by more."""


def _digest(numbers: Iterable[object]) -> str:
    texts = [f"{n:.{DIGITS}g}" if isinstance(n, float) else str(n) for n in numbers]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]


def _floats(values: FloatArray) -> list[float]:
    return [float(v) for v in np.ravel(values)]


def _priors(priors: Iterable[Prior]) -> list[object]:
    return [item for p in priors for item in (p.name, float(p.mean), float(p.sd), p.size)]


def device_models() -> str:
    """Priors and laws of all families, over currents and over gate voltages."""
    found: list[object] = []
    for design in (CURRENT_DESIGN, GATE_DESIGN):
        frame, at = design.frame, np.array(design.values)
        for name, family in FAMILIES.items():
            priors = family.priors(frame)
            draws = sample_priors(priors, draws=3, rng=np.random.default_rng(1))
            found += [name, *_priors(priors)]
            for state, law in family.mixtures(draws, frame, frame.places(at)).items():
                found += [state, *law.kernels]
                found += [v for a in (law.ln_weight, law.location, law.scale) for v in _floats(a)]
    return _digest(found)


def life_models() -> str:
    """Priors of endurance, retention and wear-out."""
    return _digest(_priors((*ENDURANCE_PRIORS, *RETENTION_PRIORS, *WEAR_OUT_PRIORS)))


def accuracy_surface() -> str:
    """Shares of lost images that a table of counts leads to."""
    rate = np.repeat(np.log([1e-3, 1e-2, 0.1]), 3)
    pairs = Pairs(rate, np.tile([-0.8, 0.0, 0.8], 3))
    mean = 400.0 * np.exp(rate)
    alike = 0.5 + 0.5 * np.eye(len(rate))
    fit = linearise(pairs, np.full(len(rate), 50), mean, 2.0 * mean, alike, 950)
    drawn = draw_shares([fit], pairs, draws=5, rng=np.random.default_rng(1))
    return _digest([*_floats(fit.logit_share), *_floats(fit.ln_dispersion), *_floats(drawn.values)])


def networks() -> str:
    """Networks that come with the package."""
    return _digest(f"{net.name} {network_sha256(load_zoo(net.name)[0])}" for net in zoo_networks())


PARTS: dict[str, Callable[[], str]] = {
    "device models": device_models,
    "life models": life_models,
    "accuracy surface": accuracy_surface,
    "networks": networks,
}
DEPENDS = {
    "copied_neurons.json": ("networks",),
    "device_calibration": ("device models",),
    "ecc_clusters.json": ("networks",),
    "endurance_retention.json": ("life models",),
    "engine_scaling": (),
    "surface_coverage.json": ("accuracy surface", "networks"),
    "threshold_calibration.json": ("networks",),
    "training_grid_digits": (),
    "training_seeds.json": ("networks",),
    "zoo_tolerance.json": ("networks",),
    "zoo_training.json": (),
    "abstract_sentences": ("device models", "accuracy surface", "networks"),
    "alternatives": ("device models", "accuracy surface", "networks"),
    "decision_coverage": ("device models", "accuracy surface", "networks"),
    "measure_next": ("device models", "accuracy surface", "networks"),
    "measured_gate_sweep": ("device models", "accuracy surface", "networks"),
}
"""What each result rests on; those of training and of timings rest on none of the models here."""


@functools.cache
def present() -> dict[str, str]:
    """Fingerprints of the present models."""
    return {part: of() for part, of in PARTS.items()}


def ledger() -> dict[str, dict[str, str]]:
    """Fingerprints with which results were made, by name of the result."""
    found: dict[str, dict[str, str]] = json.loads(LEDGER.read_text(encoding="utf-8"))
    return found


def out_of_date(made_with: dict[str, dict[str, str]]) -> list[str]:
    """What is wrong with results, a line for each; none if all are of the present models."""
    wrong = []
    for path in sorted(RESULTS.iterdir()):
        if path == LEDGER or path.suffix == ".png":
            continue
        if path.name not in made_with:
            wrong.append(f"{path.name}: made_with.json does not say what it was made with")
            continue
        changed = [k for k in DEPENDS[path.name] if made_with[path.name].get(k) != present()[k]]
        if changed:
            wrong.append(
                f"{path.name}: made with other {' and '.join(changed)}; run its script again, or "
                "remove it and the figures that documents quote from it"
            )
    missing = sorted(name for name in made_with if not (RESULTS / name).exists())
    return [*wrong, *(f"{name}: made_with.json names it, but it is gone" for name in missing)]


def main() -> None:
    """List results that are out of date, or note what results were just made with."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("results", nargs="*", choices=[[], *DEPENDS], help="that were just made")
    arguments = parser.parse_args()
    noted = ledger() if LEDGER.exists() else {}
    for name in arguments.results:
        noted[name] = {part: present()[part] for part in DEPENDS[name]}
    if arguments.results:
        LEDGER.write_text(json.dumps(noted, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print("\n".join(out_of_date(noted)) or "all results are of the present models")


if __name__ == "__main__":
    main()
