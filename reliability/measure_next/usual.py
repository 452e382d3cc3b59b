"""Candidates for the next measurement where the user names none."""

from __future__ import annotations

import numpy as np

from reliability.decision.comparison import Comparison, Design
from reliability.device.study import DeviceStudy
from reliability.measure_next.candidates import (
    Candidate,
    MeasuredEnergy,
    MoreChips,
    MoreCycles,
    MoreDevices,
    MoreImages,
)

_BESIDE = 0.1


def usual_candidates(comparison: Comparison, study: DeviceStudy, design: Design) -> list[Candidate]:
    """A list to begin with: as many devices as a condition has, at several places, and the rest.

    Devices at the limits of the design and of the standard network (ten times as many, too), at
    both ends of the measured range and a tenth of it beyond either end; more cycles; four times
    the chips and images; an energy measured at both limits.
    """
    c, data = comparison, study.record["data"]
    frame = study.main.frame
    devices = max(10, _two_digits(data["devices"] / max(data["conditions"], 1)))
    cycles = max(1, round(readings_per_device(study)))
    low, high = c.programming.coordinate([frame.low, frame.high])
    limits = [
        float(np.median(c.programming.coordinate(x)))
        for x in (design.condition.x, c.references[0].condition.x)
    ]
    if abs(limits[1] - limits[0]) < 0.05 * (high - low):
        limits = limits[:1]
    places: list[float] = []
    beyond = _BESIDE * (high - low)
    for u in (*limits, low, high, low - beyond, high + beyond):
        if all(abs(u - v) > 0.02 * (high - low) for v in places):
            places.append(u)
    ends = {low: frame.low, high: frame.high}
    values = [ends.get(u, float(f"{c.programming.from_coordinate(u):.3g}")) for u in places]
    found: list[Candidate] = [
        MoreDevices(x, n, cycles)
        for x, at_limit in zip(values, [u in limits for u in places], strict=True)
        for n in ((devices, 10 * devices) if at_limit else (devices,))
    ]
    if cycles > 1:
        found.append(MoreCycles(cycles))
    found += [MoreChips(3 * c.standard.chips), MoreImages(3 * c.standard.images)]
    return found + [MeasuredEnergy(x, 0.05) for x in values[: len(limits)]]


def readings_per_device(study: DeviceStudy) -> float:
    """Mean number of readings of a device in one state."""
    record = study.main.record
    return float(np.mean(list(record["readings"].values())) / max(record["devices"], 1))


def _two_digits(value: float) -> int:
    return int(float(f"{value:.2g}"))
