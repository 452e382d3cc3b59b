"""About how long a chip takes, from sizes alone."""

from __future__ import annotations

from bnn.calibration.treatments import PER_CHIP
from bnn.networks.network import FoldedNetwork

_EACH = {PER_CHIP: 4e-3, "others": 1e-3}
_OF_WEIGHT_AND_IMAGE = {PER_CHIP: 4.7e-12, "others": 1.4e-12}
"""Measured with two threads on digits networks and on 784-1024-1024-10, where nothing else ran."""


def seconds_per_chip(network: FoldedNetwork, images: int, treatment: str) -> float:
    """Seconds that one chip takes at one case of errors.

    Parameters
    ----------
    network : FoldedNetwork
        What is counted.
    images : int
        Test images.
    treatment : str
        Treatment of thresholds, of :mod:`bnn.calibration.calibration`.
    """
    kind = PER_CHIP if treatment == PER_CHIP else "others"
    work = sum(network.weight_bits.values()) * images
    return _EACH[kind] + work * _OF_WEIGHT_AND_IMAGE[kind]
