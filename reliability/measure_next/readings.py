"""From a candidate to the readings that it would add, in numbers of independent ones."""

from __future__ import annotations

import numpy as np

from devicefit.measurements.measurements import STATES
from devicefit.numerics.arrays import FloatArray
from devicefit.simulation.new_readings import NewReadings, correlation, independent_readings
from reliability.device.study import DeviceStudy
from reliability.measure_next.candidates import MoreCycles, MoreDevices


def planned_readings(candidate: MoreDevices | MoreCycles, study: DeviceStudy) -> list[NewReadings]:
    """New readings of a candidate, in numbers of independent ones.

    Raises
    ------
    ValueError
        Repeated cycles, and no device was read twice.
    """
    record = study.main.record
    before = {s: record["readings"][s] / max(record["devices"], 1) for s in STATES}
    effect = record["design_effect"]
    if isinstance(candidate, MoreDevices):
        return [
            NewReadings(
                candidate.programming,
                {
                    s: independent_readings(
                        candidate.devices,
                        candidate.cycles,
                        design_effect=effect[s],
                        readings_per_device=before[s],
                    )
                    for s in STATES
                },
            )
        ]
    if candidate.more_cycles and any(correlation(effect[s], before[s]) is None for s in STATES):
        raise ValueError(
            f"more_cycles={candidate.more_cycles}: no device was read twice in one state, so what "
            "repeated cycles tell is not known; measure more devices"
        )
    per_device = {}
    for s in STATES:
        counts = (before[s] + candidate.more_cycles, before[s])
        worth = [
            independent_readings(1, c, design_effect=effect[s], readings_per_device=before[s])
            for c in counts
        ]
        per_device[s] = worth[0] - worth[1]
    places, devices = _measured_places(study)
    return [
        NewReadings(float(x), {s: per_device[s] * d for s in STATES})
        for x, d in zip(places, devices, strict=True)
    ]


def _measured_places(study: DeviceStudy) -> tuple[FloatArray, FloatArray]:
    """Programming values that stand for the measured conditions, and their devices."""
    frame, counts = study.main.frame, study.record["counts"]
    if not counts:
        places = frame.programming.grid(frame.low, frame.high, 5)
        return places, np.full(5, study.main.record["devices"] / 5)
    ends = [frame.programming.coordinate(counts[f"programming_{end}"]) for end in ("low", "high")]
    middle = frame.programming.from_coordinate((ends[0] + ends[1]) / 2)
    devices = np.array(counts["devices"], dtype=np.float64)
    # A device may be read at several conditions: its cycles are shared out.
    return middle, devices * study.main.record["devices"] / devices.sum()
