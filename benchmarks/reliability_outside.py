"""Are promises kept, or verdicts withheld, on devices that no family can describe?

Question
    A device whose true law is known and lies outside the families is measured, fitted and decided
    on as by `rram-reliability run`, with the digits networks of the zoo. Of a verdict that is
    given, do as many chips meet the requirement as it promises, when their bits are wrong at the
    *true* rates? Of one that is withheld, would it have been kept?

All devices are simulated. Each is one line of a file, written as soon as it is done: a run that was
stopped goes on where it was. Run ``python -m benchmarks.reliability_outside FILE.jsonl``; about a
minute for each device.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.devicefit_gates import FIXED_PLAN, SHAPES, Case, Laws, read_lines, simulate
from benchmarks.reliability_subjects import SEED, Subjects, all_subjects
from devicefit.distributions.mixture import Mixture
from devicefit.distributions.sensing import CELLS_PER_BIT, SensingOptions
from devicefit.fitting.cells import cell_reader
from devicefit.numerics.arrays import FloatArray
from devicefit.numerics.intervals import clopper_pearson
from devicefit.sampling.options import SamplerOptions
from devicefit.simulation.reference_device import ReferenceDevice, true_mixtures
from reliability.chips.lots import ROUNDING
from reliability.chips.rates import ChipRates
from reliability.confirmation.confirmed import DesignChips
from reliability.confirmation.confirming import Confirmable, Confirming
from reliability.decision.options import DecisionOptions
from reliability.device.study import DeviceStudy, study_device
from reliability.networks.study import NetworkStudy
from reliability.plans.storage import STORAGES
from reliability.results.answer import answer

CHIPS = 1000
MIDDLE_A, LOW_A = 6e-5, 2.5e-5
_CELLS = {"LRS": ReferenceDevice().device_share_lrs, "HRS": ReferenceDevice().device_share_hrs}
NORMAL = stats.norm()


def standard(law: Any) -> Any:
    """A frozen law of SciPy with mean 0 and standard deviation 1."""
    mean, sd = law.mean(), law.std()
    return law.dist(*law.args, **{**law.kwds, "loc": -mean / sd, "scale": 1 / sd})


@dataclass(frozen=True)
class Law(Mixture):
    """A mixture of any laws, each of mean 0 and standard deviation 1 before it is scaled."""

    shapes: tuple[Any, ...] = ()

    def _sum(self, y: Any, name: str) -> FloatArray:
        parts = [
            np.exp(w) * getattr(shape, name)((np.asarray(y) - m) / s)
            for shape, w, m, s in zip(
                self.shapes, self.ln_weight, self.location, self.scale, strict=True
            )
        ]
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(np.maximum(np.sum(parts, axis=0), 0.0)))

    def ln_distribution(self, y: Any) -> FloatArray:
        """As of a mixture."""
        return self._sum(y, "cdf")

    def ln_survival(self, y: Any) -> FloatArray:
        """As of a mixture."""
        return self._sum(y, "sf")


def _reference(x: FloatArray) -> dict[str, Mixture]:
    return true_mixtures(ReferenceDevice(), np.atleast_1d(x))


def _with_core(state: str, shape: Any, x: FloatArray) -> dict[str, Mixture]:
    """The reference device with another shape of the good cells of one state."""
    laws = _reference(x)
    old = laws[state]
    shapes = (shape, *[NORMAL] * (len(old.location) - 1))
    return {**laws, state: Law(old.ln_weight, old.location, old.scale, shapes=shapes)}


def _split(law: Mixture, share: FloatArray | float, moved: float, wider: float) -> Mixture:
    """A part of the good cells moved by `moved` in ln R, their spread multiplied by `wider`."""
    share = np.broadcast_to(share, law.location.shape[1:])
    first = law.ln_weight[:1]
    return Mixture(
        np.concatenate([first + np.log1p(-share), law.ln_weight[1:], first + np.log(share)]),
        np.concatenate([law.location, law.location[:1] + moved]),
        np.concatenate([law.scale, law.scale[:1] * wider]),
    )


def _half_reset(x: FloatArray) -> dict[str, Mixture]:
    """Of the RESETs 6 % end eight times lower, wherever they start."""
    laws = _reference(x)
    return {**laws, "HRS": _split(laws["HRS"], 0.06, -np.log(8), 1.0)}


def _uneven_cells(x: FloatArray) -> dict[str, Mixture]:
    """Of the cells 15 % have three times the spread in LRS."""
    laws = _reference(x)
    return {**laws, "LRS": _split(laws["LRS"], 0.15, 0.0, 3.0)}


def _failures_in_a_step(x: FloatArray) -> dict[str, Mixture]:
    """SETs fail in 20 % below a current, in one of 2,000 above it."""
    laws = _reference(x)
    lrs, hrs = laws["LRS"], laws["HRS"]
    failing = np.where(np.atleast_1d(x) < LOW_A, 0.2, 5e-4)[None]
    return {
        **laws,
        "LRS": Mixture(
            np.log(np.concatenate([1 - failing, failing])),
            np.concatenate([lrs.location[:1], hrs.location[:1]]),
            np.concatenate([lrs.scale[:1], hrs.scale[:1]]),
        ),
    }


def _hrs_spread(x: FloatArray) -> dict[str, Mixture]:
    """Below a current the spread of HRS is twice as large."""
    laws = _reference(x)
    scale = laws["HRS"].scale.copy()
    scale[0] *= np.where(np.atleast_1d(x) < MIDDLE_A, 2.0, 1.0)
    return {**laws, "HRS": replace(laws["HRS"], scale=scale)}


def _bump(x: FloatArray) -> dict[str, Mixture]:
    """LRS is one and a half times higher around one current, as from one bad wafer zone."""
    laws = _reference(x)
    location = laws["LRS"].location.copy()
    location[0] += 0.4 * np.exp(-0.5 * (np.log(np.atleast_1d(x) / MIDDLE_A) / 0.15) ** 2)
    return {**laws, "LRS": replace(laws["LRS"], location=location)}


def _case(laws: Laws) -> Case:
    return Case(laws, FIXED_PLAN, _CELLS)


OUTSIDE: dict[str, Case] = {
    **SHAPES,
    "gamma HRS": _case(partial(_with_core, "HRS", standard(stats.loggamma(4.0)))),
    "LRS with an exponential tail": _case(
        partial(_with_core, "LRS", standard(stats.exponnorm(3.0)))
    ),
    "LRS cut off by a verify": _case(partial(_with_core, "LRS", standard(stats.truncnorm(-9, 1)))),
    "half-RESET cells": _case(_half_reset),
    "uneven cells": _case(_uneven_cells),
    "SET failures in a step": _case(_failures_in_a_step),
    "HRS spread in a step": _case(_hrs_spread),
    "bump in R(I)": _case(_bump),
}
"""Devices outside the families: those whose gates have a stated power, and others."""


def pair_error(lrs: Mixture, hrs: Mixture, offset_ln_r: float, *, points: int = 8001) -> float:
    """Probability that a 2T2R pair of true laws, trailing shape (1,), is misread.

    The sum over a grid of the probability that the LRS cell lies in a step, times that the other
    cell lies below it by the offset of the amplifier, whose law is taken at 21 quantiles.
    """
    laws = (lrs, hrs)
    low = min((law.location - 9 * law.scale).min() for law in laws)
    high = max((law.location + 9 * law.scale).max() for law in laws)
    y = np.linspace(low, high, points)
    step = np.diff(np.exp(lrs.ln_distribution(y[:, None]))[:, 0])
    middle = (y[1:] + y[:-1]) / 2
    offsets = offset_ln_r * stats.norm.ppf((np.arange(21) + 0.5) / 21)
    below = np.mean([np.exp(hrs.ln_distribution((middle + o)[:, None]))[:, 0] for o in offsets], 0)
    return float(step @ below)


def true_rates(
    case: Case, study: DeviceStudy, x: float, scheme: str, sensing: SensingOptions
) -> FloatArray:
    """True rates of misread zeros and ones on each array, shape (1, array, 1, 2), LRS storing one.

    The threshold is the one that the fit chose.
    """
    laws, rates = case.laws(np.array([x])), []
    reader = cell_reader(study.main, x, scheme=scheme, options=sensing, one_is="LRS")
    for shift in case.array_shift:
        hrs, lrs = laws["HRS"], laws["LRS"]
        # a shift of LRS is a shift of everything that it is compared with
        if CELLS_PER_BIT[scheme] == 2:
            moved = replace(hrs, location=hrs.location - shift)
            rates.append([pair_error(lrs, moved, sensing.offset_ln_r)] * 2)
        else:
            assert reader.threshold_ln_r is not None
            t = float(np.ravel(reader.threshold_ln_r)[0])
            rates.append([float(np.exp(hrs.ln_distribution([t])).item()),
                          float(np.exp(lrs.ln_survival([t - shift])).item())])  # fmt: skip
    return np.array(rates)[None, :, None, :]


def judge(
    kind: str,
    number: int,
    *,
    subjects: Subjects,
    counts: dict[str, NetworkStudy],
    confirmables: dict[str, Confirmable],
) -> dict[str, Any]:
    """Measure, fit and decide on device `number` of a kind; ask chips at its true rates."""
    case, began = OUTSIDE[kind], time.process_time()
    readings = simulate(case, rng=np.random.default_rng([number, 73]))
    sensing = SensingOptions()
    study = study_device(
        readings, sampler=SamplerOptions(cores=1, seed=number + 1), sensing=sensing
    )
    confirming = Confirming(
        confirmables, device=study.main, measured=study.measured, threads=1, seed=SEED
    )
    options = DecisionOptions(requirement=subjects.requirement, sensing=sensing, seed=SEED)
    values = answer(study, counts, options, command="", confirming=confirming).values
    verdict = values["verdict"]
    figures = verdict["not_to_be_relied_on"] or verdict
    found = {
        "kind": kind,
        "number": number,
        "withheld": verdict["withheld"],
        "failed_gates": verdict["failed_gates"],
        "programming": figures["recommended_programming"],
        "seconds": time.process_time() - began,
    }
    if found["programming"] is None:
        return found
    storage = next(s for s in STORAGES if s.name == figures["scheme"])
    subject = confirmables[figures["network"]]
    chips = DesignChips(subject, storage, sensing, "LRS", confirming)
    _, engine = chips.at(found["programming"])
    true = true_rates(case, study, found["programming"], storage.scheme, sensing)
    own, reference = (
        n.counts.attrs["error_free_correct"] / n.counts.attrs["images"]
        for n in (counts[figures["network"]], next(iter(counts.values())))
    )
    limit = subjects.requirement.max_loss - max(0.0, reference - own)
    met = 0
    for array in range(true.shape[1]):
        rates = ChipRates(np.array([found["programming"]]), true[:, [array]])
        losses = chips.count(
            rates, engine, CHIPS // true.shape[1], SEED + array, 0, confirming.arrays
        )
        met += int((losses <= limit + ROUNDING).sum())
    interval = clopper_pearson(float(met), float(CHIPS), probability=0.95)
    return {
        **found,
        "network": figures["network"],
        "storage": storage.name,
        "promise": figures["p_requirement_met"],
        "wanted": subjects.requirement.probability,
        "true_rates": true[0, :, 0].tolist(),
        "chips": CHIPS,
        "met": met,
        "kept": bool(interval.high >= subjects.requirement.probability),
    }


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Verdicts given and kept, withheld, and nothing safe, of all devices and by kind."""

    def of(mine: list[dict[str, Any]]) -> dict[str, int]:
        given = [r for r in mine if not r["withheld"] and r["programming"] is not None]
        silent = [r for r in mine if r["withheld"] and r["programming"] is not None]
        return {
            "devices": len(mine),
            "given": len(given),
            "given_and_kept": sum(r["kept"] for r in given),
            "withheld": sum(r["withheld"] for r in mine),
            "withheld_that_would_be_broken": sum(not r["kept"] for r in silent),
            "nothing_safe": sum(r["programming"] is None and not r["withheld"] for r in mine),
        }

    kinds = dict.fromkeys(row["kind"] for row in rows)
    return {"all": of(rows), "kinds": {k: of([r for r in rows if r["kind"] == k]) for k in kinds}}


def measure(
    file: Path, *, devices: int, say: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """Judge what `file` lacks, `devices` of each kind, one line for each, and sum up."""
    subjects = replace(all_subjects(0, 1)[0], most_images=600)
    images = subjects.images(Path())
    counts = {name: subjects.counted(name, images, file.parent) for name in subjects.names}
    confirmables = {name: subjects.confirmable(name, images) for name in subjects.names}
    rows = read_lines(file)
    done = {(row["kind"], row["number"]) for row in rows}
    with file.open("a", encoding="utf-8") as out:
        for kind, number in [(k, n) for n in range(devices) for k in OUTSIDE]:
            if (kind, number) in done:
                continue
            row = judge(kind, number, subjects=subjects, counts=counts, confirmables=confirmables)
            rows.append(row)
            out.write(json.dumps(row) + "\n")
            out.flush()
            say(json.dumps(row))
    return summary(rows)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path, help="lines of JSON to write, and to go on from")
    parser.add_argument("--devices", type=int, default=3, help="of each kind")
    a = parser.parse_args()
    print(json.dumps(measure(a.file, devices=a.devices, say=print), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
