"""Which engine is the cheapest for the chips that are going to be evaluated.

Following changes is cheaper for every chip, at high error rates by little, but its error-free state
has to be computed first. Costs are counted in passes of the packed engine over all images, so that
they hold for networks of any size; measured with 784-1024-1024-10 and the CIFAR-10 convolutions,
see ``benchmarks/README.md``.
"""

from dataclasses import dataclass

import numpy as np

from bnn.networks.network import ConvLayer, FoldedNetwork

STATE_PASSES = {"connected": 7.0, "convolutions": 3.0}
"""Passes of the packed engine that the state costs beyond what that engine prepares."""

_UNKNOWN_RATE = 1e-2


@dataclass(frozen=True)
class Workload:
    """What an engine is going to evaluate.

    Attributes
    ----------
    chips : int
        Chips.
    rates : tuple of float
        Bit error rates of each chip; of cases whose rates are not known, any number between.
    """

    chips: int
    rates: tuple[float, ...]

    @classmethod
    def of_cases(cls, chips: int, cases: int) -> "Workload":
        """Chips of so many cases whose error rates are not known."""
        return cls(chips, (_UNKNOWN_RATE,) * cases)


def passes_saved(rate: float) -> float:
    """Share of a packed pass that following changes saves on a chip with this bit error rate.

    A straight line in the logarithm through what was measured: 0.95 at 1e-4, 0.65 at 1e-3, 0.35 at
    1e-2, 0.05 at 0.1.
    """
    with np.errstate(divide="ignore"):
        return float(np.clip(-0.25 - 0.3 * np.log10(rate), 0.0, 1.0))


def following_pays(network: FoldedNetwork, workload: Workload) -> bool:
    """Whether what following changes saves on all chips is more than its state costs."""
    kind = "convolutions" if isinstance(network.layers[0], ConvLayer) else "connected"
    saved = workload.chips * sum(map(passes_saved, workload.rates))
    return saved > STATE_PASSES[kind]
