"""Copies of neurons: a wider network with the same answers that tolerates more wrong bits."""

import dataclasses
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from bnn.machine.packing import pack_bits
from bnn.networks.network import (
    ALWAYS,
    NEVER,
    ConvLayer,
    FoldedNetwork,
    HiddenLayer,
    Layer,
    OutputLayer,
    check_layer_names,
    layer_signs,
)

MOST_COPIES = 64
"""More would be a mistake in nearly any case."""


def copy_neurons(network: FoldedNetwork, copies: Mapping[str, int]) -> FoldedNetwork:
    """Copy every neuron (or channel) of some hidden layers, without changing any answer.

    Each copy has weights of its own in its layer and in the next one, so on a chip each goes wrong
    in its own way, and the next layer sums over them: an average in place of one. Worth it where a
    layer has few weights and much hangs on each, as in a first convolution; it needs no training.

    Parameters
    ----------
    network : FoldedNetwork
        Network to start from; not changed. Its thresholds may be treated in any way.
    copies : mapping of layer name to int
        How many neurons there are for each one of before, from 1.

    Returns
    -------
    FoldedNetwork
        Copies stand one whole set behind the other. Thresholds of the next layer are multiplied by
        the number of copies, which is exact. After a copied last hidden layer scores are the same
        up to rounding (2**-53), so that answers may differ where two scores are as close as that.

    Raises
    ------
    ValueError
        An unknown layer, the output layer, a number of copies that is none, or sums beyond 32 bits.

    Notes
    -----
    Net2WiderNet of Chen, Goodfellow and Shlens (arXiv 1511.05641) widens real-valued networks
    before further training and shares a weight out among the copies; signs cannot be shared out.
    """
    check_layer_names(network, copies, argument="copies")
    for name, number in copies.items():
        if name == network.layers[-1].name:
            raise ValueError(f"copies[{name!r}]: the output layer has one row for each class")
        if isinstance(number, bool) or not isinstance(number, int):
            raise ValueError(f"copies[{name!r}] must be a whole number, got {number!r}")
        if not 1 <= number <= MOST_COPIES:
            raise ValueError(f"copies[{name!r}] must lie from 1 to {MOST_COPIES}, got {number}")
    layers: list[Layer] = []
    before: Layer | None = None
    for layer in network.layers:
        times_in = 1 if before is None else copies.get(before.name, 1)
        times_out = copies.get(layer.name, 1)
        layers.append(_copied(layer, _channels(layer, before), times_in, times_out))
        before = layer
    return FoldedNetwork(tuple(layers))


def _channels(layer: Layer, before: Layer | None) -> int:
    """Values that lie side by side in the columns and come from different neurons."""
    if isinstance(layer, ConvLayer):
        return layer.channels
    return before.output_shape[2] if isinstance(before, ConvLayer) else layer.columns


def _copied(layer: Layer, channels: int, times_in: int, times_out: int) -> Layer:
    if times_in == times_out == 1:
        return layer
    signs = layer_signs(layer).reshape(len(layer.weights), -1, channels)
    tiled = np.tile(signs, (times_out, 1, times_in)).reshape(times_out * len(layer.weights), -1)
    changes: dict[str, object] = {"weights": pack_bits(tiled > 0)}
    if isinstance(layer, ConvLayer):
        changes["channels"] = layer.channels * times_in
    else:
        changes["columns"] = layer.columns * times_in
    if isinstance(layer, OutputLayer):
        changes["scale"] = layer.scale / times_in
    else:
        changes["threshold"] = np.tile(_times(layer, times_in), times_out)
        changes["direction"] = np.tile(layer.direction, times_out)
    return dataclasses.replace(layer, **changes)  # type: ignore[arg-type]


def _times(layer: HiddenLayer | ConvLayer, factor: int) -> npt.NDArray[np.int32]:
    """Thresholds for sums that are `factor` times as large; constant neurons stay constant."""
    constant = (layer.threshold == ALWAYS) | (layer.threshold == NEVER)
    larger = layer.threshold.astype(np.int64) * factor
    if np.any(np.abs(larger[~constant]) >= NEVER):
        raise ValueError(f"layer {layer.name!r}: {factor} copies of its inputs need over 32 bits")
    return np.where(constant, layer.threshold, larger).astype(np.int32)
