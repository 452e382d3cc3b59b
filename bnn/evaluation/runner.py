"""Running chips: an engine, a network and images, ready to answer for one chip after the other."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from bnn.calibration.calibration import CalibrationReference, calibrate_chip
from bnn.engines.incremental import incremental
from bnn.engines.packed import packed
from bnn.evaluation.calibrated_engines import CalibratedEngine, FoldedEngine
from bnn.evaluation.cost import Workload, following_pays
from bnn.evaluation.engine import ENGINES, Engine
from bnn.networks.network import FoldedNetwork, Layer, OutputLayer, check_layer_names, flip_weights

Flips = Mapping[str, npt.NDArray[np.int64]]
Thresholds = Mapping[str, npt.NDArray[np.int32]]
Affine = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]
Answers = npt.NDArray[np.int64]

Choice = str | CalibratedEngine | FoldedEngine
"""An engine, by name or with a treatment of thresholds."""

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

    def answers(
        self, flips: Flips, *, thresholds: Thresholds | None = None, affine: Affine | None = None
    ) -> Answers:
        """Answers of a chip, shape (images,).

        Parameters
        ----------
        flips : mapping of layer name to int64 array
            Wrong bits, ``row * columns + column``, strictly increasing.
        thresholds : mapping of layer name to int32 array, optional
            Thresholds of hidden layers on this chip, in place of those of the network.
        affine : tuple of scale and shift, float64 arrays of shape (classes,), optional
            Affine map of the output layer on this chip; not with the engine ``incremental``, which
            keeps answers of the network.
        """


def start_runner(
    engine: Choice,
    network: FoldedNetwork,
    images: npt.NDArray[np.uint8],
    *,
    threads: int,
    workload: Workload | None = None,
) -> Runner:
    """Prepare an engine for the chips of a network.

    Parameters
    ----------
    engine : str, CalibratedEngine or FoldedEngine
        One of `RUNNERS`, or one of them with a calibration of each chip or with other thresholds
        for all chips; what is error-free is then the network as it was.
    network : FoldedNetwork
        Network without errors.
    images : uint8 array, shape (images, pixels)
        Images.
    threads : int
        CPU threads.
    workload : Workload, optional
        What is going to be evaluated, for the choice of ``auto``; very many chips without it.

    Returns
    -------
    Runner
        All engines give the same integers.

    Raises
    ------
    ValueError
        Unknown engine, or one that cannot compute this network; or a calibration of another one.
    """
    check_engine(engine)
    if isinstance(engine, CalibratedEngine):
        engine.check_network(network)
        inner = start_runner(engine.name, network, images, threads=threads)
        return _Calibrated(inner, engine.reference)
    if isinstance(engine, FoldedEngine):
        engine.check_network(network)
        plain = packed.predict(network, packed.prepare(images), threads=threads)
        inner = start_runner(
            engine.engine, engine.folded, images, threads=threads, workload=workload
        )
        return _Folded(inner, plain)
    name = cheapest_engine(network, workload) if engine == "auto" else engine
    if name == "incremental":
        state = incremental.prepare(network, images, threads=threads)
        return _Followed(network, state, threads)
    module = ENGINES[name]
    prepared = module.prepare(images)
    found = module.predict(network, prepared, threads=threads)
    return _FromScratch(name, module, network, prepared, threads, found)


def check_engine(engine: Choice) -> None:
    """Raise ValueError that lists the known engines unless `engine` is one of `RUNNERS`."""
    if not isinstance(engine, str):
        engine = engine.engine
    if engine not in RUNNERS:
        raise ValueError(f"unknown engine {engine!r}; known: {', '.join(RUNNERS)}")


def cheapest_engine(network: FoldedNetwork, workload: Workload | None = None) -> str:
    """The engine that evaluates a number of chips of a network fastest; None: very many.

    Following changes is never slower than counting anew by more than its bookkeeping, because it
    counts anew itself where that is cheaper; what it costs is its state, computed once. Without
    hidden layers there is nothing to follow.
    """
    if not incremental.supports(network):
        return "packed"
    if workload is not None and not following_pays(network, workload):
        return "packed"
    return "incremental"


def memory_bytes(engine: Choice, network: FoldedNetwork, images: int) -> int:
    """Memory that a runner takes for a number of images, in bytes, images not counted.

    Raises
    ------
    ValueError
        Unknown engine.
    """
    check_engine(engine)
    if isinstance(engine, CalibratedEngine):
        engine = engine.name
    if isinstance(engine, FoldedEngine):
        engine = engine.engine
    name = cheapest_engine(network) if engine == "auto" else engine
    if name == "incremental":
        return incremental.state_bytes(network, images)
    if name == "packed":
        return packed.state_bytes(network, images)
    # float32 images, and blocks of the widest layer whose size is bounded
    return images * 4 * network.sizes[0] + 2**26


@dataclass(frozen=True, eq=False)
class _Followed:
    network: FoldedNetwork
    state: incremental.State
    threads: int
    engine: str = "incremental"

    @property
    def error_free(self) -> Answers:
        return self.state.answers

    def answers(
        self, flips: Flips, *, thresholds: Thresholds | None = None, affine: Affine | None = None
    ) -> Answers:
        if affine is not None:
            raise ValueError(
                "the engine 'incremental' keeps the affine map of the output layer; use 'packed'"
            )
        check_layer_names(self.network, flips, argument="flips")
        if thresholds:
            with_thresholds(self.network, thresholds)  # checks them
        return incremental.chip_answers(
            self.state, flips, threads=self.threads, thresholds=thresholds
        )


@dataclass(frozen=True, eq=False)
class _FromScratch:
    engine: str
    module: Engine
    network: FoldedNetwork
    prepared: Any
    threads: int
    error_free: Answers

    def answers(
        self, flips: Flips, *, thresholds: Thresholds | None = None, affine: Affine | None = None
    ) -> Answers:
        exact = not any(len(places) for places in flips.values())
        if exact and not thresholds and affine is None:
            return self.error_free
        chip = with_thresholds(flip_weights(self.network, flips), thresholds or {}, affine)
        return self.module.predict(chip, self.prepared, threads=self.threads)


@dataclass(frozen=True, eq=False)
class _Calibrated:
    inner: Runner
    reference: CalibrationReference

    @property
    def engine(self) -> str:
        return self.inner.engine

    @property
    def error_free(self) -> Answers:
        return self.inner.error_free

    def answers(
        self, flips: Flips, *, thresholds: Thresholds | None = None, affine: Affine | None = None
    ) -> Answers:
        if thresholds is not None or affine is not None:
            raise ValueError("a calibrated chip has thresholds and an affine map of its own")
        if not any(len(places) for places in flips.values()):
            return self.inner.answers(flips)
        own = calibrate_chip(self.reference, flips)
        return self.inner.answers(flips, thresholds=own.thresholds, affine=(own.scale, own.shift))


@dataclass(frozen=True, eq=False)
class _Folded:
    inner: Runner
    error_free: Answers

    @property
    def engine(self) -> str:
        return self.inner.engine

    def answers(
        self, flips: Flips, *, thresholds: Thresholds | None = None, affine: Affine | None = None
    ) -> Answers:
        if thresholds is not None or affine is not None:
            raise ValueError("these chips have thresholds and an affine map folded for a rate")
        return self.inner.answers(flips)


def with_thresholds(
    network: FoldedNetwork, thresholds: Thresholds, affine: Affine | None = None
) -> FoldedNetwork:
    """Network with other thresholds in the named hidden layers, and another affine output if given.

    Raises
    ------
    ValueError
        A name is unknown or that of the output layer, or an array does not fit its layer.
    """
    check_layer_names(network, thresholds, argument="thresholds")
    layers: list[Layer] = []
    for layer in network.layers:
        if layer.name not in thresholds:
            if isinstance(layer, OutputLayer) and affine is not None:
                layer = replace(layer, scale=affine[0], shift=affine[1])
            layers.append(layer)
        elif isinstance(layer, OutputLayer):
            raise ValueError("thresholds names the output layer, which has an affine map instead")
        else:
            layers.append(replace(layer, threshold=thresholds[layer.name]))
    return FoldedNetwork(tuple(layers))
