"""Is a confirmation by chips over-cautious, and how long does it take?"""

from __future__ import annotations

import os
import resource
import time
from typing import Any

import numpy as np

from devicefit.distributions.sensing import SensingOptions
from reliability.chips.lots import BLOCK, Confirmation, LotSizes, confirm
from reliability.confirmation.confirmed import DesignChips, values_to_try
from reliability.confirmation.confirming import Confirmable, Confirming
from reliability.decision.comparison import Comparison, Design
from reliability.device.study import DeviceStudy
from reliability.energy.energy import energy_at

MORE = 10
MOST_RATIO = 1.1
SEED = 77


def energy_ratio(
    comparison: Comparison, design: Design, subject: Confirmable, study: DeviceStudy, threads: int
) -> dict[str, Any]:
    """Energy at what lots of usual size recommend, over that of lots `MORE` times as large.

    Both have the first lot alone: the fresh one has no part in what is recommended.
    """
    confirming = Confirming({}, study.main, threads=threads)
    usual = confirming.sizes(subject).choosing
    found = [
        _confirmed(comparison, design, subject, confirming, chips)
        for chips in (usual, MORE * usual)
    ]
    x = [of.programming for of in found]
    record: dict[str, Any] = {
        "network": design.network,
        "storage": design.scheme,
        "promised": design.safe.lowest,
        "chips": [usual, MORE * usual],
        "programming": x,
        "ratio_of_energies": None,
        "within": None,
    }
    if None not in x:
        energies = [float(np.median(energy_at(comparison.energy, v))) for v in x if v is not None]
        ratio = energies[0] / energies[1]
        record |= {"ratio_of_energies": ratio, "within": bool(ratio <= MOST_RATIO)}
    return record


def _confirmed(
    comparison: Comparison,
    design: Design,
    subject: Confirmable,
    confirming: Confirming,
    chips: int,
) -> Confirmation:
    c = comparison
    of = DesignChips(subject, design.storage, c.sensing, c.one_is, confirming)
    return confirm(
        values_to_try(c.grid, design.p_met, design.safe),
        of.losses,
        most_loss=design.chip_yield.limit,
        wanted=c.requirement.probability,
        sizes=LotSizes(chips, BLOCK),
        seed=SEED,
        arrays=confirming.arrays,
    )


def time_chips(
    comparison: Comparison,
    design: Design,
    subject: Confirmable,
    study: DeviceStudy,
    *,
    chips: int,
    threads: int,
) -> dict[str, Any]:
    """Seconds of counting chips of a design at its lowest safe value, in one call.

    Processor seconds and load stand beside the wall clock: others may use the machine.
    """
    x = design.safe.lowest
    if x is None:
        raise ValueError(f"{design.network}, {design.scheme}: no programming is safe")
    confirming = Confirming({}, study.main, threads=threads)
    of = DesignChips(subject, design.storage, SensingOptions(), comparison.one_is, confirming)
    of.losses(x, BLOCK, SEED, 0)  # compiles, and works out the rates
    load, used, start = os.getloadavg()[0], _processor(), time.perf_counter()
    losses = of.losses(x, chips, SEED + 1, 0)
    wall, used = time.perf_counter() - start, _processor() - used
    return {
        "network": design.network,
        "storage": design.scheme,
        "thresholds": subject.treatment,
        "programming": x,
        "chips": chips,
        "images": len(subject.images.test_images),
        "threads": threads,
        "wall_seconds": wall,
        "processor_seconds": used,
        "load_before": load,
        "mean_loss": float(losses.mean()),
    }


def _processor() -> float:
    of = resource.getrusage(resource.RUSAGE_SELF)
    return of.ru_utime + of.ru_stime
