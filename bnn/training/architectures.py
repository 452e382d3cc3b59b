"""Architectures of binarized networks."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from bnn.machine.exact_float import EXACT_FLOAT32
from bnn.networks.network import PIXEL_LEVELS
from bnn.training.layers import (
    BatchNorm,
    BinaryConv2d,
    BinaryLinear,
    DrawnWeights,
    binarize,
    draw_weights,
)


class BinaryNetwork(nn.Module):
    """Any binarized network that can be trained and folded: convolutions, if any, then full layers.

    Pixels are encoded as the odd integers ``2 * pixel - 255``. Every layer but the last is binary
    weights, batch norm and sign, with a maximum pooling before the batch norm of some convolutions;
    the last is binary weights and batch norm. All weights are binary, the first and the last layer
    included. Pre-activations are integers, exact in float32.

    Parameters
    ----------
    maps : tuple of (int, int, int)
        Channels, height and width of the map that each convolution reads, then of the map that the
        first fully connected layer reads, flattened.
    pools : tuple of int
        Pooling after each convolution, 1 or 2.
    dense : sequence of int
        Neurons of each fully connected layer, classes last.
    kernel : int
        Rows and columns of the kernels, odd.
    seed : int
        Seed of the initial weights.

    Attributes
    ----------
    convolutions, linears, norms : torch.nn.ModuleList
        Layers in order, the output last; batch norms of all of them in order.
    """

    maps: tuple[tuple[int, int, int], ...]
    pools: tuple[int, ...]
    convolutions: nn.ModuleList
    linears: nn.ModuleList
    norms: nn.ModuleList

    def __init__(
        self,
        maps: tuple[tuple[int, int, int], ...],
        pools: tuple[int, ...],
        dense: Sequence[int],
        *,
        kernel: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.maps, self.pools = maps, pools
        generator = torch.Generator().manual_seed(seed)
        self.convolutions = nn.ModuleList(
            BinaryConv2d(before[0], after[0], kernel=kernel, generator=generator)
            for before, after in pairwise(maps)
        )
        self.linears = nn.ModuleList(
            BinaryLinear(a, b, generator=generator)
            for a, b in pairwise((math.prod(maps[-1]), *dense))
        )
        channels = (channels for channels, _, _ in maps[1:])
        self.norms = nn.ModuleList(BatchNorm(size) for size in (*channels, *dense))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Pixels, and values that each layer gives per image (after the pooling)."""
        dense = (latent.shape[0] for latent in self.latents[len(self.convolutions) :])
        return (*(math.prod(shape) for shape in self.maps), *dense)

    @property
    def latents(self) -> tuple[nn.Parameter, ...]:
        """Latent weights in order: (out, in, row, column) of convolutions, then (out, in)."""
        layers = (*self.convolutions, *self.linears)
        return tuple(cast(BinaryLinear | BinaryConv2d, layer).latent for layer in layers)

    @property
    def most_values(self) -> int:
        """Most values that a layer holds for one image, before a pooling."""
        before = (
            after * height * columns for (_, height, columns), (after, _, _) in pairwise(self.maps)
        )
        return max(*before, *self.sizes)

    def forward(
        self,
        pixels: Tensor,
        *,
        ber: float = 0.0,
        rng: np.random.Generator | None = None,
        clean_gradient: bool = False,
    ) -> Tensor:
        """Scores of the classes.

        Parameters
        ----------
        pixels : uint8 tensor, shape (batch, pixels)
            Images, flattened in the order (channel, row, column).
        ber : float
            Probability that a weight of any layer is flipped, drawn anew in each call.
        rng : numpy.random.Generator, optional
            Source of the flips, needed where `ber` is positive.
        clean_gradient : bool
            Gradients travel back through the right weights, not through the flipped ones.

        Returns
        -------
        tensor, shape (batch, classes)
            Float32 in training, float64 in evaluation.

        Raises
        ------
        ValueError
            `pixels` is not uint8 or has another width.
        """
        return self.scores(pixels, drawn_weights(self, ber, rng, clean_gradient))

    def scores(
        self,
        pixels: Tensor,
        weights: Sequence[DrawnWeights],
        values: torch.dtype = torch.float32,
    ) -> Tensor:
        """Scores with given weights; draws nothing, so that PyTorch can compile it.

        Parameters
        ----------
        pixels : uint8 tensor, shape (batch, pixels)
            Images.
        weights : sequence of DrawnWeights
            From `drawn_weights`.
        values : torch.dtype
            Type of the products: float32, or in training bfloat16, which holds pixels, weights and
            signs exactly and rounds sums.
        """
        signs = _encode_checked(pixels, self.sizes[0]).unflatten(1, self.maps[0]).to(values)
        count = len(self.convolutions)
        layers = zip(self.convolutions, self.norms, self.pools, weights, strict=False)
        for convolution, norm, pool, drawn in layers:
            z = convolution(signs, drawn.cast(values))
            if pool > 1:
                z = nn.functional.max_pool2d(z, pool)
            signs = _hidden_signs(norm(z.float()), values)
        signs = signs.flatten(1)
        dense = zip(self.linears, self.norms[count:], weights[count:], strict=True)
        for index, (linear, norm, drawn) in enumerate(dense, start=1):
            normalised: Tensor = norm(linear(signs, drawn.cast(values)).float())
            if index < len(self.linears):
                signs = _hidden_signs(normalised, values)
        return normalised


class BinaryMLP(BinaryNetwork):
    """Fully connected binarized network, such as 784-1024-1024-10.

    Parameters
    ----------
    sizes : sequence of int
        Pixels, neurons of each hidden layer, classes.
    seed : int
        Seed of the initial weights.

    Raises
    ------
    ValueError
        Fewer than two sizes, a size below 1, or a layer so wide that float32 could round.
    """

    def __init__(self, sizes: Sequence[int], *, seed: int) -> None:
        if len(sizes) < 2 or min(sizes) < 1:
            raise ValueError(f"sizes must be at least two positive integers, got {tuple(sizes)}")
        for index, size in enumerate(sizes[:-1]):
            _check_exact(f"sizes[{index}] = {size}", size, of_pixels=index == 0)
        super().__init__(((sizes[0], 1, 1),), (), sizes[1:], kernel=1, seed=seed)


class BinaryConvNet(BinaryNetwork):
    """Convolutional binarized network; the defaults are those of BinaryNet for CIFAR-10.

    Convolutions with stride 1 and zero padding, some followed by a maximum pooling 2 x 2, then
    batch norm and sign; then fully connected layers as in `BinaryMLP`. The padding is 0 after the
    encoding of the pixels.

    Parameters
    ----------
    image_shape : tuple of int
        Channels, height and width of an image.
    channels : sequence of int
        Output channels of each convolution.
    pool_after : int
        A pooling follows every `pool_after`-th convolution.
    dense : sequence of int
        Neurons of each hidden fully connected layer, classes.
    kernel : int
        Rows and columns of the kernels, odd.
    width : float
        Factor on `channels` and on the hidden sizes of `dense`, which are rounded to integers of at
        least 1.
    seed : int
        Seed of the initial weights.

    Raises
    ------
    ValueError
        A size below 1, no convolution, no classes, a map that cannot be halved, or a layer so wide
        that float32 could round.

    Notes
    -----
    Defaults, padding and the order convolution, pooling, batch norm, sign as in Courbariaux et al.,
    github.com/MatthieuCourbariaux/BinaryNet, ``Train-time/cifar10.py``.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        *,
        channels: Sequence[int] = (128, 128, 256, 256, 512, 512),
        pool_after: int = 2,
        dense: Sequence[int] = (1024, 1024, 10),
        kernel: int = 3,
        width: float = 1.0,
        seed: int,
    ) -> None:
        if len(image_shape) != 3:
            raise ValueError(f"image_shape must be (channels, height, width), got {image_shape}")
        for name, sizes in (("image_shape", image_shape), ("channels", channels), ("dense", dense)):
            if len(sizes) < 1 or min(sizes) < 1:
                raise ValueError(f"{name} must hold positive integers, got {tuple(sizes)}")
        if pool_after < 1:
            raise ValueError(f"pool_after must be at least 1, got {pool_after}")
        if not (math.isfinite(width) and width > 0):
            raise ValueError(f"width must be positive, got {width}")
        channels = [max(1, round(width * size)) for size in channels]
        pools = tuple(1 if n % pool_after else 2 for n in range(1, len(channels) + 1))
        maps = _map_shapes(image_shape, channels, pools)
        for index, (inputs, _, _) in enumerate(maps[:-1]):
            what = f"convolution {index + 1} with {inputs} input channels"
            _check_exact(what, kernel * kernel * inputs, of_pixels=index == 0)
        hidden = [max(1, round(width * size)) for size in dense[:-1]]
        for index, size in enumerate([math.prod(maps[-1]), *hidden], start=1):
            _check_exact(f"fully connected layer {index} with {size} inputs", size)
        super().__init__(maps, pools, [*hidden, dense[-1]], kernel=kernel, seed=seed)


def drawn_weights(
    module: BinaryNetwork, ber: float, rng: np.random.Generator | None, clean_gradient: bool
) -> list[DrawnWeights]:
    """Weights of every layer in order, as of `bnn.training.layers.draw_weights`."""
    return [
        draw_weights(latent, ber=ber, rng=rng, clean_gradient=clean_gradient)
        for latent in module.latents
    ]


def encode_pixels(pixels: Tensor) -> Tensor:
    """Pixels 0..255 as the odd integers ``2 * pixel - 255``, float32 tensor of the same shape."""
    return pixels.float() * 2.0 - PIXEL_LEVELS


def _map_shapes(
    image_shape: tuple[int, int, int], channels: Sequence[int], pools: Sequence[int]
) -> tuple[tuple[int, int, int], ...]:
    """Channels, height and width of the image and of the map after each convolution."""
    inputs, height, width = image_shape
    shapes = [(inputs, height, width)]
    for number, (outputs, pool) in enumerate(zip(channels, pools, strict=True), start=1):
        if height % pool or width % pool:
            raise ValueError(
                f"convolution {number} gives a map of {height} x {width}, which cannot be halved; "
                f"choose another pool_after or pad the images"
            )
        height, width = height // pool, width // pool
        shapes.append((outputs, height, width))
    return tuple(shapes)


def _check_exact(what: str, columns: int, *, of_pixels: bool = False) -> None:
    bound = columns * (PIXEL_LEVELS if of_pixels else 1)
    if bound >= EXACT_FLOAT32:
        raise ValueError(
            f"{what} gives pre-activations up to {bound}, but float32 is exact only below "
            f"{EXACT_FLOAT32}"
        )


def _encode_checked(pixels: Tensor, size: int) -> Tensor:
    if pixels.dtype != torch.uint8 or pixels.ndim != 2 or pixels.shape[1] != size:
        raise ValueError(
            f"pixels must be uint8 with the shape (batch, {size}), got {pixels.dtype} with the "
            f"shape {tuple(pixels.shape)}"
        )
    return encode_pixels(pixels)


def _hidden_signs(normalised: Tensor, values: torch.dtype) -> Tensor:
    # gradient of hardtanh: passes where the normalised value is within [-1, 1]
    return binarize(normalised).to(values)
