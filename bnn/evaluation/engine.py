"""What every engine offers, and the engines by name."""

import os
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from bnn.engines.dense import dense
from bnn.engines.packed import packed
from bnn.networks.network import FoldedNetwork


class Engine(Protocol):
    """Computes the answers of a folded network."""

    def prepare(self, images: npt.NDArray[np.uint8]) -> Any:
        """Bring images, shape (images, pixels), into the form that the engine reads.

        Done once for all chips.
        """

    def pre_activations(
        self, network: FoldedNetwork, prepared: Any, *, threads: int
    ) -> tuple[npt.NDArray[np.int64], ...]:
        """Pre-activations of every layer, each of shape (images, rows)."""

    def predict(
        self, network: FoldedNetwork, prepared: Any, *, threads: int
    ) -> npt.NDArray[np.int64]:
        """Answer for every image, shape (images,): highest score, lowest class on a tie."""


ENGINES: dict[str, Engine] = {"packed": packed, "dense": dense}
"""Engines by name; all give the same integers."""


def available_threads() -> int:
    """CPU threads that this process may use."""
    # the affinity respects containers and batch systems, but not every system has it
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
