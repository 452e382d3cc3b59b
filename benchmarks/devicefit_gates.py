"""How often do the gates of a fit fail on good data, and which wrong shapes do they find?

Question
    (a) Devices of the fitted family, measured by varied plans: how often each gate fails, and how
    often any does, which withholds the verdict. (b) Devices outside the family, at sizes fixed
    here: how often a gate finds a second LRS mode, a Weibull HRS, a kink in R(I), and arrays that
    nobody named. A shape that a family can take is no misfit: beside the gates stands how often the
    true BER lies in the 90 % interval.

All devices are simulated. A device of the family is a draw of a posterior of the reference device
(``BASES``); repeated readings of a cell have a part of their normal score in common. Each device is
one line of a file, written as soon as it is done: a run that was stopped goes on where it was.

Run ``python -m benchmarks.devicefit_gates FILE.jsonl``, or as the part ``gates`` of
``python -m benchmarks.devicefit``. About six processor seconds for each device. With shorter chains
(``--draws``) R-hat and ESS cannot meet their limits, so they are counted apart from the others too.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtri

from devicefit.checks.fit_gates import gate_report
from devicefit.checks.predictive_tests import predictive_tests
from devicefit.compression.compression import compress
from devicefit.distributions.mixture import Mixture
from devicefit.distributions.sensing import BerCurve, SensingOptions, ln_ber_1t1r, ln_ber_2t2r
from devicefit.fitting.error_rates import ber_curves
from devicefit.fitting.fit import DevicePosterior, fit
from devicefit.measurements.measurements import STATES, Measurements, check_measurements
from devicefit.numerics.arrays import FloatArray
from devicefit.numerics.intervals import clopper_pearson
from devicefit.prediction.loo import loo
from devicefit.sampling.options import SamplerOptions
from devicefit.simulation.reference_device import (
    PROGRAMMING,
    ReferenceDevice,
    ReferencePlan,
    reference_measurements,
    true_mixtures,
)

SAMPLER = SamplerOptions(cores=1)
"""That of `rram-reliability fit`."""

SENSING = SensingOptions()
SAMPLING_GATES = ("R-hat", "effective draws", "divergences")
WELL_SPECIFIED = "device of the family"
UNLABELLED = "arrays without names"
CURRENTS, DEVICES, CYCLES = (5, 6, 8, 10), (20, 40, 80, 160), (1, 1, 2, 5, 10)
MOST_READINGS = 8000
FIXED_PLAN = ReferencePlan(currents=8, devices_per_current=200, cycles=2)
"""Of devices outside the family: 1,600 cells, each read twice in each state."""

BASES = (
    ReferenceDevice(),
    ReferenceDevice(set_floor=2e-3, reset_floor=5e-3, incomplete=0.01),
    ReferenceDevice(set_current_a=1e-5, reset_floor=1e-3, hrs_spread=0.7),
)
_BASE_PLAN = ReferencePlan(currents=8, devices_per_current=300, cycles=1)
_POINTS = 2001
_PLACES = 5

Laws = Callable[[FloatArray], dict[str, Mixture]]


@dataclass(frozen=True)
class Case:
    """One simulated device and how it is measured.

    Parameters
    ----------
    laws : callable
        True law of ln R of both states at currents, trailing shape (current,).
    plan : ReferencePlan
        What is measured.
    device_share : dict of str to float
        Part of the variance of the normal score that a device keeps over its cycles, by state.
    array_shift : tuple of float
        Shift of ln R in LRS of each array; devices are on one after the other, and no array is
        named.
    """

    laws: Laws
    plan: ReferencePlan
    device_share: dict[str, float]
    array_shift: tuple[float, ...] = (0.0,)


@cache
def _base(family: str, number: int) -> DevicePosterior:
    readings = reference_measurements(device=BASES[number], plan=_BASE_PLAN, seed=number)
    return fit(compress(readings), family=family, options=replace(SAMPLER, seed=number + 1))


def well_specified(family: str, number: int) -> Case:
    """Device `number` of the family, and a plan."""
    rng = np.random.default_rng([number, 71])
    posterior = _base(family, number % len(BASES))
    chains, draws = (posterior.draws.sizes[d] for d in ("chain", "draw"))
    chain, draw = int(rng.integers(chains)), int(rng.integers(draws))
    one = posterior.draws.isel(chain=[chain], draw=[draw])
    truth = replace(posterior, draws=one)

    def laws(x: FloatArray) -> dict[str, Mixture]:
        return {s: law.part((0, 0)) for s, law in truth.mixtures(np.atleast_1d(x)).items()}

    while True:
        plan = ReferencePlan(
            currents=int(rng.choice(CURRENTS)),
            devices_per_current=int(rng.choice(DEVICES)),
            cycles=int(rng.choice(CYCLES)),
        )
        if plan.currents * plan.devices_per_current * plan.cycles <= MOST_READINGS:
            break
    return Case(laws, plan, {"LRS": rng.uniform(0.1, 0.6), "HRS": rng.uniform(0.05, 0.4)})


def _reference(x: FloatArray) -> dict[str, Mixture]:
    return true_mixtures(ReferenceDevice(), np.atleast_1d(x))


def _second_mode(x: FloatArray) -> dict[str, Mixture]:
    """Of the writes 12 % end 3.5 times higher in LRS, as in ``shared/cases/22``."""
    laws = _reference(x)
    lrs = laws["LRS"]
    first = lrs.ln_weight[:1]
    mode = Mixture(
        np.concatenate([first + np.log(0.88), lrs.ln_weight[1:], first + np.log(0.12)]),
        np.concatenate([lrs.location, lrs.location[:1] + np.log(3.5)]),
        np.concatenate([lrs.scale, lrs.scale[:1]]),
    )
    return {**laws, "LRS": mode}


def _kink(x: FloatArray) -> dict[str, Mixture]:
    """Above 100 uA the filament's resistance falls with the root of the current only."""
    at = np.atleast_1d(x)
    slower = np.where(at > 1e-4, 1e-4 * np.sqrt(at / 1e-4), at)
    return {**_reference(at), "LRS": _reference(slower)["LRS"]}


@dataclass(frozen=True)
class _Weibull(Mixture):
    """HRS with the median and spread of ln R of the reference device, and a Weibull law."""

    @property
    def _shape(self) -> FloatArray:
        return np.pi / np.sqrt(6) / self.scale[0]

    def ln_distribution(self, y: Any) -> FloatArray:
        t = self._shape * (np.asarray(y) - self.location[0]) + np.log(np.log(2))
        return np.asarray(np.log(-np.expm1(-np.exp(t))))

    def ln_survival(self, y: Any) -> FloatArray:
        return np.asarray(-np.exp(self._shape * (np.asarray(y) - self.location[0])) * np.log(2))


def _weibull(x: FloatArray) -> dict[str, Mixture]:
    laws = _reference(x)
    hrs = laws["HRS"].part((slice(None),))
    one = np.zeros_like(hrs.location[:1])
    return {**laws, "HRS": _Weibull(one, hrs.location[:1], hrs.scale[:1])}


_SHARE = {
    "LRS": ReferenceDevice().device_share_lrs,
    "HRS": ReferenceDevice().device_share_hrs,
}
SHAPES = {
    "second LRS mode": Case(_second_mode, FIXED_PLAN, _SHARE),
    "Weibull HRS": Case(_weibull, replace(FIXED_PLAN, devices_per_current=300), _SHARE),
    "kink in R(I)": Case(_kink, FIXED_PLAN, _SHARE),
    UNLABELLED: Case(_reference, FIXED_PLAN, _SHARE, tuple(np.log([0.6, 1.0, 1.0, 1.8]))),
}
"""Devices outside the families, and the sizes at which they are to be found."""


def simulate(case: Case, *, rng: np.random.Generator) -> Measurements:
    """Readings of a case: normal scores with a part of the device, then quantiles of the law."""
    plan, frames = case.plan, []
    shape = (plan.devices_per_current, plan.cycles)
    device, cycle = (index.ravel() for index in np.indices(shape))
    shift = np.array(case.array_shift)[device % len(case.array_shift)]
    for number, current in enumerate(plan.currents_a):
        laws = case.laws(np.array([current]))
        for state in STATES:
            share = case.device_share[state]
            score = np.sqrt(share) * rng.standard_normal((shape[0], 1)) + np.sqrt(
                1 - share
            ) * rng.standard_normal(shape)
            y = quantiles(laws[state], score.ravel()) + (shift if state == "LRS" else 0.0)
            names = [f"sim-{number}-{d}" for d in device]
            frames.append(
                pd.DataFrame({"device_id": names, "cycle": cycle, "resistance_ohm": np.exp(y)})
                .assign(state=state, programming=current)
            )  # fmt: skip
    return check_measurements(
        pd.concat(frames, ignore_index=True), PROGRAMMING, simulated=True, source="simulated"
    )


def quantiles(law: Mixture, score: FloatArray) -> FloatArray:
    """Ln R at normal scores, by interpolation, shape of `score`; law with trailing shape (1,)."""
    reach = 9 * law.scale.max()
    y = np.linspace(law.location.min() - reach, law.location.max() + reach, _POINTS)
    below, above = (np.exp(f(y[:, None]))[:, 0] for f in (law.ln_distribution, law.ln_survival))
    level = np.where(below < 0.5, ndtri(below), -ndtri(above))
    good = np.isfinite(level)
    rising = np.concatenate([[True], np.diff(level[good]) > 0])
    return np.interp(score, level[good][rising], y[good][rising])


def covered(case: Case, curves: dict[str, BerCurve]) -> dict[str, float]:
    """Share of places at which the 90 % interval of ln BER holds the truth, by scheme.

    The pair error of a law that is no mixture of kernels is not known exactly; it is left out.
    """
    found = {}
    for scheme, curve in curves.items():
        at = np.unique(np.linspace(0, len(curve.programming) - 1, _PLACES).round().astype(int))
        laws = case.laws(curve.programming[at])
        if scheme == "1T1R":
            assert curve.threshold_ohm is not None
            t = np.log(curve.threshold_ohm[at])
            if isinstance(laws["HRS"], _Weibull):
                parts = laws["LRS"].ln_survival(t), laws["HRS"].ln_distribution(t)
                truth = np.logaddexp(*parts) - np.log(2)
            else:
                truth = ln_ber_1t1r(laws["LRS"], laws["HRS"], t)
        elif isinstance(laws["HRS"], _Weibull):
            continue
        else:
            truth = ln_ber_2t2r(laws["LRS"], laws["HRS"], SENSING.offset_ln_r)
        low, high = np.quantile(curve.ln_ber[..., at], [0.05, 0.95], axis=(0, 1))
        found[scheme] = float(np.mean((low <= truth) & (truth <= high)))
    return found


def judge(
    kind: str, number: int, *, family: str, options: SamplerOptions = SAMPLER
) -> dict[str, Any]:
    """Simulate device `number` of a kind, fit it, and give the record of its gates."""
    case = well_specified(family, number) if kind == WELL_SPECIFIED else SHAPES[kind]
    readings = simulate(case, rng=np.random.default_rng([number, 72]))
    began = time.process_time()
    compressed = compress(readings)
    posterior = fit(compressed, family=family, options=replace(options, seed=number))
    frame = posterior.frame
    grid = PROGRAMMING.grid(frame.low, frame.high, 41)
    curves = ber_curves(posterior, grid, options=SENSING)
    report = gate_report(
        posterior,
        compressed,
        curves=curves,
        left_out=loo(posterior, compressed, readings),
        tests=predictive_tests(posterior, readings, options=SENSING),
    )
    return {
        "kind": kind,
        "number": number,
        "family": family,
        "plan": asdict(case.plan),
        "draws": posterior.diagnostics.draws,
        "gates": {g.name: {"passed": g.passed, "value": g.value} for g in report.gates},
        "found": {g.name: g.finding for g in report.failed},
        "covered": covered(case, curves) if kind != UNLABELLED else {},
        "seconds": time.process_time() - began,
    }


def read_lines(file: Path) -> list[dict[str, Any]]:
    """What is done already; a last line that was cut off is left out."""
    found = []
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found


def summary(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Failures of each gate, by kind, with exact 90 % intervals of the share for any of them."""
    rows, kinds = list(rows), {}
    for kind in dict.fromkeys(row["kind"] for row in rows):
        mine = [row for row in rows if row["kind"] == kind]
        names = dict.fromkeys(name for row in mine for name in row["gates"])
        failed = {n: sum(not row["gates"][n]["passed"] for row in mine) for n in names}
        others = sum(
            any(not g["passed"] for n, g in row["gates"].items() if n not in SAMPLING_GATES)
            for row in mine
        )
        of_any = sum(any(not g["passed"] for g in row["gates"].values()) for row in mine)
        interval = clopper_pearson(float(others), float(len(mine)), probability=0.9)
        inside = [v for row in mine for v in row["covered"].values()]
        kinds[kind] = {
            "devices": len(mine),
            "failed": failed,
            "any": of_any,
            "any_but_sampling": others,
            "share_but_sampling": interval.record(),
            "true_ber_in_interval": float(np.mean(inside)) if inside else None,
            "seconds": float(np.sum([row["seconds"] for row in mine])),
        }
    return kinds


def measure(
    file: Path,
    *,
    family: str = "switching-failure",
    devices: int = 200,
    power: int = 20,
    options: SamplerOptions = SAMPLER,
) -> dict[str, Any]:
    """Judge what `file` lacks, one line for each device, and sum up.

    Parameters
    ----------
    file : Path
        Lines of JSON; added to.
    family : str, optional
        Family that is fitted.
    devices, power : int, optional
        Devices of the family, and of each shape outside it.
    options : SamplerOptions, optional
        Chains; a seed for each device.
    """
    rows = read_lines(file)
    done = {(row["kind"], row["number"]) for row in rows if row["family"] == family}
    wanted = [(kind, n) for n in range(power) for kind in SHAPES]
    good = [(WELL_SPECIFIED, n) for n in range(devices)]
    # One of each in turn, so that a run that is stopped has told something of both.
    order = [job for pair in zip(wanted, good, strict=False) for job in pair]
    order += wanted[len(good) :] + good[len(wanted) :]
    cut_off = file.exists() and not file.read_text(encoding="utf-8").endswith("\n")
    with file.open("a", encoding="utf-8") as out:
        out.write("\n" if cut_off else "")
        for kind, number in order:
            if (kind, number) in done:
                continue
            row = judge(kind, number, family=family, options=options)
            rows.append(row)
            out.write(json.dumps(row) + "\n")
            out.flush()
    return summary(row for row in rows if row["family"] == family)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path, help="lines of JSON to write, and to go on from")
    parser.add_argument("--model", default="switching-failure")
    parser.add_argument("--devices", type=int, default=200)
    parser.add_argument("--power", type=int, default=20)
    parser.add_argument("--draws", type=int, default=SAMPLER.draws)
    parser.add_argument("--warmup", type=int, default=SAMPLER.warmup)
    a = parser.parse_args()
    options = replace(SAMPLER, draws=a.draws, warmup=a.warmup)
    found = measure(a.file, family=a.model, devices=a.devices, power=a.power, options=options)
    print(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
