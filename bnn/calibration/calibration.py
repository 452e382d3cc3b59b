"""Threshold calibration: thresholds that fit a chip whose wrong weights moved its pre-activations.

A wrong weight adds to a pre-activation what it should subtract. The mean over images of a neuron
moves and its spread changes, so the threshold, folded for right weights, cuts at another place. The
remedy keeps the place of the threshold relative to the distribution over images::

    threshold' = mean' + sd' / sd * (threshold - mean)

``mean`` and ``sd`` are those of the error-free network on some unlabelled images, ``mean'`` and
``sd'`` either expected at a bit error rate (`fold_for_ber`: one set for all chips) or measured on
the chip with the same images (`calibrate_chip`). The batch norm of the training is not needed, so
this works for every folded network; and because both sides see the same images, a biased choice of
images moves both alike. The affine map of the output layer follows in the same way. Thresholds and
affine map lie in reliable digital memory.
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bnn.calibration.layer_runs import (
    DenseRun,
    LayerRun,
    Moments,
    PackedRun,
    PixelProducts,
    counts_packed,
)
from bnn.engines.dense import dense
from bnn.engines.misread.reference import Misreads
from bnn.engines.packed import packed
from bnn.engines.packed.packed import PackedImages
from bnn.errors.errors import check_ber
from bnn.machine.exact_float import EXACT_FLOAT32
from bnn.machine.threads import torch_threads
from bnn.networks.network import (
    ALWAYS,
    NEVER,
    PIXEL_LEVELS,
    ConvLayer,
    FoldedNetwork,
    HiddenLayer,
    Layer,
    OutputLayer,
    check_layer_names,
    flip_weights,
)

_EXACT_FLOAT64 = 2**53

Flips = Mapping[str, npt.NDArray[np.int64]]
Floats = npt.NDArray[np.float64]


def folded_for(ber: float) -> str:
    """What a record says of thresholds folded for a bit error rate."""
    return f"folded for p = {ber:g}"


@dataclass(frozen=True, eq=False)
class CalibrationReference:
    """The error-free network on the images of a calibration; made by `calibration_reference`.

    Attributes
    ----------
    network : FoldedNetwork
        The error-free network.
    images : DenseImages
        The images.
    packed : PackedImages or None
        The images for chips that are read without transient errors; None where the packed engine
        does not count them, as on a GPU.
    products : PixelProducts or None
        What the moments of a first convolution without pooling follow from.
    sha256 : str
        Hash of the images.
    pooled : dict of layer name to Moments
        Of the pre-activations that are compared with thresholds.
    unpooled : dict of layer name to Moments
        The same before the pooling.
    input_variance : dict of layer name to float
        Variances of the inputs of a pre-activation, added up.
    threads : int
        CPU threads.
    """

    network: FoldedNetwork
    images: dense.DenseImages
    packed: PackedImages | None
    products: PixelProducts | None
    sha256: str
    pooled: dict[str, Moments]
    unpooled: dict[str, Moments]
    input_variance: dict[str, float]
    threads: int


@dataclass(frozen=True, eq=False)
class ChipThresholds:
    """What calibration stores for a chip.

    Attributes
    ----------
    thresholds : dict of layer name to int32 array, shape (rows,)
        Of every hidden layer.
    scale, shift : float64 array, shape (classes,)
        Affine map of the output layer.
    """

    thresholds: dict[str, npt.NDArray[np.int32]]
    scale: Floats
    shift: Floats

    def on(self, network: FoldedNetwork) -> FoldedNetwork:
        """Network with these thresholds and this affine map, weights as they are."""
        layers: list[Layer] = []
        for layer in network.layers:
            if isinstance(layer, OutputLayer):
                layers.append(dataclasses.replace(layer, scale=self.scale, shift=self.shift))
            else:
                layers.append(dataclasses.replace(layer, threshold=self.thresholds[layer.name]))
        return FoldedNetwork(tuple(layers))


def calibration_sha256(images: npt.NDArray[np.uint8]) -> str:
    """Hash of the images of a calibration and their shape."""
    digest = hashlib.sha256(f"{images.shape}".encode())
    digest.update(np.ascontiguousarray(images).data)
    return digest.hexdigest()


def calibration_reference(
    network: FoldedNetwork, images: npt.NDArray[np.uint8], *, threads: int = 1, device: str = "cpu"
) -> CalibrationReference:
    """Run the error-free network on the images of a calibration.

    Parameters
    ----------
    network : FoldedNetwork
        Network without errors.
    images : uint8 array, shape (images, pixels)
        Images like those of later use, at least 2; labels are not needed.
    threads : int
        CPU threads of this and of the calibrations that follow.
    device : str
        As of `bnn.engines.dense.dense.prepare`.

    Returns
    -------
    CalibrationReference
        Serves any number of chips.

    Raises
    ------
    ValueError
        The images do not fit the network, are fewer than 2, or so many that sums could round.
    """
    if images.dtype != np.uint8 or images.ndim != 2 or images.shape[1] != network.sizes[0]:
        raise ValueError(
            f"calibration images must be uint8 with the shape (images, {network.sizes[0]}), got "
            f"{images.dtype} with the shape {images.shape}"
        )
    if len(images) < 2:
        raise ValueError(f"calibration needs at least 2 images, got {len(images)}")
    _check_exact(network, len(images))
    prepared = dense.prepare(images, device=device)
    pooled, unpooled, variance = {}, {}, {}
    with torch_threads(threads), torch.inference_mode():
        values = prepared.values
        for layer in network.layers:
            variance[layer.name] = _input_variance(layer, values)
            if isinstance(layer, ConvLayer) and layer.pool > 1:
                plain = dataclasses.replace(layer, pool=1)
                unpooled[layer.name] = DenseRun(plain, values).moments()
            run = DenseRun(layer, values)
            pooled[layer.name] = run.moments()
            unpooled.setdefault(layer.name, pooled[layer.name])
            if not isinstance(layer, OutputLayer):
                values = run.fired(layer.threshold)
    inputs = products = None
    if device == "cpu" and counts_packed(network, len(images)):
        inputs = packed.prepare(images)
        first = network.layers[0]
        if isinstance(first, ConvLayer) and first.pool == 1:
            products = PixelProducts.of(first, images)
    return CalibrationReference(
        network,
        prepared,
        inputs,
        products,
        calibration_sha256(images),
        pooled,
        unpooled,
        variance,
        threads,
    )


def fold_for_ber(
    reference: CalibrationReference, ber: float, *, protected: frozenset[str] = frozenset()
) -> FoldedNetwork:
    """Network with thresholds folded for a bit error rate, one set for all chips.

    Parameters
    ----------
    reference : CalibrationReference
        From `calibration_reference`.
    ber : float
        Bit error rate for which to fold, 0..1.
    protected : frozenset of str
        Layers whose weights stay exact, and whose thresholds therefore stay too.

    Returns
    -------
    FoldedNetwork
        The right weights; `fold_for_ber` with 0 gives the network itself.

    Raises
    ------
    ValueError
        `ber` is no fraction, or a layer is unknown.

    Notes
    -----
    Own derivation. With independent flips of probability p every weight is multiplied with a sign
    of mean ``k = 1 - 2 p``. For fixed statistics of the inputs the expectation over chips of the
    mean over images is ``k * mean``, that of the variance ``k**2 * var + (1 - k**2) * sum_i
    Var(x_i)``. Inputs are taken as in the error-free network. Before a maximum pooling the law
    holds exactly; the threshold behind it moves as if the pooling kept the shape of the
    distribution.
    """
    check_ber(ber)
    check_layer_names(reference.network, protected, argument="protected")
    keep = 1.0 - 2.0 * ber
    thresholds = {}
    for layer in reference.network.layers:
        before = reference.unpooled[layer.name]
        after = before
        if layer.name not in protected and ber > 0.0:
            added = (1.0 - keep**2) * reference.input_variance[layer.name]
            after = Moments(keep * before.mean, np.sqrt(keep**2 * before.sd**2 + added))
        if isinstance(layer, OutputLayer):
            scale, shift = _moved_affine(layer, before, after)
        else:
            thresholds[layer.name] = _moved_thresholds(layer, before, after)
    return ChipThresholds(thresholds, scale, shift).on(reference.network)


def calibrate_chip(
    reference: CalibrationReference, flips: Flips, *, misreads: Misreads | None = None
) -> ChipThresholds:
    """Calibrate one chip, layer by layer, with the images of the reference.

    Parameters
    ----------
    reference : CalibrationReference
        From `calibration_reference`.
    flips : mapping of layer name to int64 array
        Wrong bits of the chip, as of `bnn.flip_weights`.
    misreads : Misreads, optional
        Transient errors while the images are read, one read for each image; without them the chip
        is read without further errors.

    Returns
    -------
    ChipThresholds
        Without any error exactly those of the network.

    Raises
    ------
    ValueError
        Unknown layer, or bits out of range or order.
    """
    chip = flip_weights(reference.network, flips)
    thresholds = {}
    with torch_threads(reference.threads), torch.inference_mode():
        run = _first_run(reference, chip.layers[0], misreads)
        for layer, following in zip(chip.layers, (*chip.layers[1:], None), strict=True):
            before = reference.pooled[layer.name]
            if isinstance(layer, OutputLayer):
                scale, shift = _moved_affine(layer, before, run.moments())
            else:
                moved = _moved_thresholds(layer, before, run.moments())
                thresholds[layer.name] = moved
                assert following is not None
                run = run.next(moved, following)
    return ChipThresholds(thresholds, scale, shift)


def _first_run(
    reference: CalibrationReference, layer: Layer, misreads: Misreads | None
) -> LayerRun:
    """Run of the first layer of a chip: exact sums both, so the results are the same."""
    if misreads is None and reference.packed is not None:
        return PackedRun(layer, reference.packed, reference.products, threads=reference.threads)
    return DenseRun(layer, reference.images.values, misreads)


def _moved_thresholds(
    layer: HiddenLayer | ConvLayer, before: Moments, after: Moments
) -> npt.NDArray[np.int32]:
    """Thresholds at the same place of the distribution `after` as they have in `before`."""
    direction = layer.direction.astype(np.float64)
    # the batch norm crosses zero somewhere in (threshold - 1, threshold]
    crossing = layer.threshold - 0.5
    moved = direction * after.mean + _ratio(before.sd, after.sd) * (
        crossing - direction * before.mean
    )
    limits = np.ceil(np.clip(moved, ALWAYS + 1, NEVER - 1)).astype(np.int32)
    constant = (layer.threshold == ALWAYS) | (layer.threshold == NEVER)
    same = (before.mean == after.mean) & (before.sd == after.sd)
    return np.where(constant | same, layer.threshold, limits)


def _moved_affine(layer: OutputLayer, before: Moments, after: Moments) -> tuple[Floats, Floats]:
    """Affine map that gives the distribution `after` the scores that `before` had."""
    ratio = _ratio(after.sd, before.sd)
    scale = layer.scale * ratio
    shift = layer.shift + layer.scale * before.mean - scale * after.mean
    same = (before.mean == after.mean) & (before.sd == after.sd)
    return np.where(same, layer.scale, scale), np.where(same, layer.shift, shift)


def _ratio(below: Floats, above: Floats) -> Floats:
    """``above / below``; 1 where one is 0: a constant neuron says nothing about a spread."""
    known = (below > 0) & (above > 0)
    return np.where(known, above, 1.0) / np.where(known, below, 1.0)


def _input_variance(layer: Layer, values: Tensor) -> float:
    """Variance of every input of a pre-activation, over images and places, added up."""
    mean = sum(block.double().sum(0) for block in values.split(64)) / len(values)
    square = sum(block.double().square().sum(0) for block in values.split(64)) / len(values)
    if isinstance(layer, ConvLayer):
        # a tap meets the values of the whole map, and the padding
        shape = (1, layer.channels, layer.height, layer.width)
        mean, square = (
            torch.nn.functional.unfold(
                part.reshape(shape), layer.kernel, padding=layer.kernel // 2
            ).mean(2)
            for part in (mean, square)
        )
    return float((square - mean**2).sum())


def _check_exact(network: FoldedNetwork, images: int) -> None:
    for index, layer in enumerate(network.layers):
        bound = layer.columns * (PIXEL_LEVELS if index == 0 else 1)
        places = layer.height * layer.width if isinstance(layer, ConvLayer) else 1
        if bound >= EXACT_FLOAT32 or images * places * bound**2 >= _EXACT_FLOAT64:
            most = _EXACT_FLOAT64 // (places * bound**2)
            raise ValueError(
                f"layer {layer.name!r}: sums over {images} images are not exact; calibrate with "
                f"fewer than {most}"
                if bound < EXACT_FLOAT32
                else f"layer {layer.name!r}: pre-activations up to {bound} are not exact in float32"
            )
