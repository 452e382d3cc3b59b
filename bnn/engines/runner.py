"""Running chips: an engine, a network and images, ready to answer for one chip after the other."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from bnn.engines import conv_incremental, dense, incremental, packed
from bnn.network import (
    ConvLayer,
    FoldedNetwork,
    OutputLayer,
    check_layer_names,
    flip_weights,
)

Flips = Mapping[str, npt.NDArray[np.int64]]
Thresholds = Mapping[str, npt.NDArray[np.int32]]
Answers = npt.NDArray[np.int64]

RUNNERS = ("auto", "incremental", "packed", "dense")
"""Names of engines; ``auto`` takes the cheapest that can compute the network."""


class Runner(Protocol):
    """Answers of chips of one network on one set of images."""

    @property
    def engine(self) -> str:
        """Name of the engine at work."""

    @property
    def error_free(self) -> Answers:
        """Answers of the network without errors, shape (images,)."""

    def answers(self, flips: Flips, *, thresholds: Thresholds | None = None) -> Answers:
        """Answers of a chip, shape (images,).

        Parameters
        ----------
        flips : mapping of layer name to int64 array
            Wrong bits, ``row * columns + column``, strictly increasing.
        thresholds : mapping of layer name to int32 array, optional
            Thresholds of hidden layers on this chip, in place of those of the network.
        """


def start_runner(
    engine: str, network: FoldedNetwork, images: npt.NDArray[np.uint8], *, threads: int
) -> Runner:
    """Prepare an engine for the chips of a network.

    Parameters
    ----------
    engine : str
        One of `RUNNERS`.
    network : FoldedNetwork
        Network without errors.
    images : uint8 array, shape (images, pixels)
        Images.
    threads : int
        CPU threads.

    Returns
    -------
    Runner
        All engines give the same integers.

    Raises
    ------
    ValueError
        Unknown engine, or one that cannot compute this network.
    """
    check_engine(engine)
    name = cheapest_engine(network) if engine == "auto" else engine
    if name == "incremental":
        follower = _follower(network)
        return _Followed(
            follower, network, follower.prepare(network, images, threads=threads), threads
        )
    modules: dict[str, ModuleType] = {"packed": packed, "dense": dense}
    module = modules[name]
    prepared = module.prepare(images)
    found = module.predict(network, prepared, threads=threads)
    return _FromScratch(name, module, network, prepared, threads, found)


def check_engine(engine: str) -> None:
    """Raise ValueError that lists the known engines unless `engine` is one of `RUNNERS`."""
    if engine not in RUNNERS:
        raise ValueError(f"unknown engine {engine!r}; known: {', '.join(RUNNERS)}")


def cheapest_engine(network: FoldedNetwork) -> str:
    """The engine that evaluates many chips of a network fastest.

    Following changes is never slower than counting anew by more than its bookkeeping, because it
    counts anew itself where that is cheaper; without hidden layers there is nothing to follow.
    """
    return "incremental" if _follower(network).supports(network) else "packed"


def _follower(network: FoldedNetwork) -> Any:
    """The module that follows changes in networks of this kind."""
    return conv_incremental if isinstance(network.layers[0], ConvLayer) else incremental


def memory_bytes(engine: str, network: FoldedNetwork, images: int) -> int:
    """Memory that a runner takes for a number of images, in bytes, images not counted.

    Raises
    ------
    ValueError
        Unknown engine.
    """
    check_engine(engine)
    name = cheapest_engine(network) if engine == "auto" else engine
    pixels, widest = network.sizes[0], max(network.sizes[1:])
    if name == "incremental":
        return int(_follower(network).state_bytes(network, images))
    if name == "packed":
        # images in blocks, and the bits of two layers
        return images * (pixels + widest // 4)
    # float32 images, and blocks of the widest layer whose size is bounded
    return images * 4 * pixels + 2**26


@dataclass(frozen=True, eq=False)
class _Followed:
    module: Any
    network: FoldedNetwork
    state: Any
    threads: int
    engine: str = "incremental"

    @property
    def error_free(self) -> Answers:
        found: Answers = self.state.answers
        return found

    def answers(self, flips: Flips, *, thresholds: Thresholds | None = None) -> Answers:
        check_layer_names(self.network, flips, argument="flips")
        found: Answers = self.module.chip_answers(
            self.state, flips, threads=self.threads, thresholds=thresholds
        )
        return found


@dataclass(frozen=True, eq=False)
class _FromScratch:
    engine: str
    module: Any
    network: FoldedNetwork
    prepared: Any
    threads: int
    error_free: Answers

    def answers(self, flips: Flips, *, thresholds: Thresholds | None = None) -> Answers:
        if not thresholds and not any(len(places) for places in flips.values()):
            return self.error_free
        chip = with_thresholds(flip_weights(self.network, flips), thresholds or {})
        found: Answers = self.module.predict(chip, self.prepared, threads=self.threads)
        return found


def with_thresholds(network: FoldedNetwork, thresholds: Thresholds) -> FoldedNetwork:
    """Network with other thresholds in the named hidden layers.

    Raises
    ------
    ValueError
        A name is unknown or that of the output layer, or an array does not fit its layer.
    """
    check_layer_names(network, thresholds, argument="thresholds")
    layers = []
    for layer in network.layers:
        if layer.name not in thresholds:
            layers.append(layer)
        elif isinstance(layer, OutputLayer):
            raise ValueError("thresholds names the output layer, which has an affine map instead")
        else:
            layers.append(replace(layer, threshold=thresholds[layer.name]))
    return FoldedNetwork(tuple(layers))
