"""Folding: batch norm and sign become one integer threshold per neuron, without any rounding."""

from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from bnn.machine.packing import Words, pack_bits
from bnn.networks.network import (
    ALWAYS,
    NEVER,
    PIXEL_LEVELS,
    ConvLayer,
    FoldedNetwork,
    HiddenLayer,
    Layer,
    OutputLayer,
)
from bnn.training.architectures import BinaryNetwork
from bnn.training.layers import BatchNorm


def fold(module: BinaryNetwork) -> FoldedNetwork:
    """Fold a trained network.

    Parameters
    ----------
    module : BinaryMLP or BinaryConvNet
        Network in evaluation mode.

    Returns
    -------
    FoldedNetwork
        Gives the same answer as the module for every image.

    Raises
    ------
    ValueError
        The module is in training mode, or a batch norm is not finite.
    """
    if module.training:
        raise ValueError("the module is in training mode; call module.eval() before folding")
    convolutions = len(module.convolutions)
    layers: list[Layer] = []
    for index, (latent, norm) in enumerate(zip(module.latents, module.norms, strict=True)):
        assert isinstance(norm, BatchNorm)
        signs = latent.detach().cpu() >= 0
        if index == convolutions:
            # reads the last map, which PyTorch flattens in another order
            signs = signs.unflatten(1, module.maps[-1])
        weights = _packed_rows(signs)
        columns = signs[0].numel()
        scale, shift = (part.cpu().numpy() for part in norm.scale_and_shift())
        if index == len(module.latents) - 1:
            layers.append(
                OutputLayer(
                    name="output", columns=columns, weights=weights, scale=scale, shift=shift
                )
            )
            continue
        name = f"hidden_{index + 1}"
        try:
            threshold, direction = fold_threshold(
                scale, shift, bound=columns * (PIXEL_LEVELS if index == 0 else 1)
            )
        except ValueError as error:
            raise ValueError(f"layer {name!r}: {error}") from None
        own: dict[str, Any] = {"name": name, "weights": weights}
        own |= {"threshold": threshold, "direction": direction}
        if index < convolutions:
            own |= zip(("channels", "height", "width"), module.maps[index], strict=True)
            layers.append(ConvLayer(kernel=signs.shape[2], pool=module.pools[index], **own))
        else:
            layers.append(HiddenLayer(columns=columns, **own))
    return FoldedNetwork(tuple(layers))


def fold_threshold(
    scale: npt.NDArray[np.float64], shift: npt.NDArray[np.float64], *, bound: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int8]]:
    """Integer thresholds that agree with ``z * scale + shift >= 0`` in float64.

    Parameters
    ----------
    scale, shift : float64 array, shape (neurons,)
        Affine map of the batch norm, finite.
    bound : int
        Largest magnitude of a pre-activation.

    Returns
    -------
    threshold : int32 array, shape (neurons,)
        The neuron fires where ``direction * z >= threshold``, for every integer z within `bound`.
        A neuron that always or never fires there has the threshold `ALWAYS` or `NEVER`.
    direction : int8 array, shape (neurons,)
        -1 where `scale` is negative, else +1.

    Raises
    ------
    ValueError
        `scale` or `shift` is not finite; gives the first bad index.

    Notes
    -----
    Rounding is monotone, so the rounded affine map crosses zero once. The crossing is found by
    bisection over the integers, evaluating that very map: a computed root could round to the wrong
    side of a tie, or overflow where the scale is tiny.

    A pooling before the batch norm changes nothing: the maximum of pre-activations is itself an
    integer within `bound`.
    """
    bad = np.flatnonzero(~(np.isfinite(scale) & np.isfinite(shift)))
    if bad.size:
        index = int(bad[0])
        raise ValueError(
            f"scale and shift must be finite, got {scale[index]} and {shift[index]} at index "
            f"{index}"
        )
    direction = np.where(scale < 0, -1, 1).astype(np.int8)
    # `fires` is the smallest u = direction * z that fires, between -bound and bound + 1 (never)
    low = np.full(scale.shape, -bound, np.int64)
    high = np.full(scale.shape, bound + 1, np.int64)
    # |z * scale| can exceed the largest float, and infinity has the right sign
    with np.errstate(over="ignore"):
        while np.any(low < high):
            middle = (low + high) // 2
            fires = (direction * middle).astype(np.float64) * scale + shift >= 0
            high = np.where(fires, middle, high)
            low = np.where(fires | (low >= high), low, middle + 1)
    threshold = np.where(high == -bound, ALWAYS, np.where(high == bound + 1, NEVER, high))
    return threshold.astype(np.int32), direction


def _packed_rows(signs: Tensor) -> Words:
    """Pack bits of shape (out, in), or (out, channel, row, column) as (row, column, channel)."""
    if signs.ndim == 4:
        signs = signs.permute(0, 2, 3, 1)
    return pack_bits(signs.flatten(1).numpy())
