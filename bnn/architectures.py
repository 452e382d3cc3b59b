"""Architectures of binarized networks."""

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from bnn.layers import BatchNorm, BinaryLinear, binarize
from bnn.network import PIXEL_LEVELS

_EXACT_FLOAT32 = 2**24


class BinaryMLP(nn.Module):
    """Fully connected binarized network, such as 784-1024-1024-10.

    Pixels are encoded as the odd integers ``2 * pixel - 255``. Hidden layers are binary weights,
    batch norm and sign; the output layer is binary weights and batch norm. All weights are binary,
    the first and the last layer included. Pre-activations are integers, exact in float32.

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

    linears: nn.ModuleList
    norms: nn.ModuleList

    def __init__(self, sizes: Sequence[int], *, seed: int) -> None:
        super().__init__()
        if len(sizes) < 2 or min(sizes) < 1:
            raise ValueError(f"sizes must be at least two positive integers, got {tuple(sizes)}")
        bounds = [PIXEL_LEVELS * sizes[0], *sizes[1:-1]]
        for index, bound in enumerate(bounds):
            if bound >= _EXACT_FLOAT32:
                raise ValueError(
                    f"sizes[{index}] = {sizes[index]} gives pre-activations up to {bound}, but "
                    f"float32 is exact only below {_EXACT_FLOAT32}"
                )
        generator = torch.Generator().manual_seed(seed)
        pairs = list(zip(sizes[:-1], sizes[1:], strict=True))
        self.linears = nn.ModuleList(BinaryLinear(a, b, generator=generator) for a, b in pairs)
        self.norms = nn.ModuleList(BatchNorm(b) for _, b in pairs)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Pixels, neurons of each hidden layer, classes."""
        shapes = [latent.shape for latent in self.latents]
        return (shapes[0][1], *(shape[0] for shape in shapes))

    @property
    def latents(self) -> tuple[nn.Parameter, ...]:
        """Latent weights of the layers in order, each of shape (out, in)."""
        return tuple(cast(BinaryLinear, linear).latent for linear in self.linears)

    def forward(
        self, pixels: Tensor, *, ber: float = 0.0, rng: np.random.Generator | None = None
    ) -> Tensor:
        """Scores of the classes.

        Parameters
        ----------
        pixels : uint8 tensor, shape (batch, pixels)
            Images.
        ber : float
            Probability that a weight of any layer is flipped, drawn anew in each call.
        rng : numpy.random.Generator, optional
            Source of the flips, needed where `ber` is positive.

        Returns
        -------
        tensor, shape (batch, classes)
            Float32 in training, float64 in evaluation.

        Raises
        ------
        ValueError
            `pixels` is not uint8 or has another width.
        """
        if pixels.dtype != torch.uint8 or pixels.ndim != 2 or pixels.shape[1] != self.sizes[0]:
            raise ValueError(
                f"pixels must be uint8 with the shape (batch, {self.sizes[0]}), got "
                f"{pixels.dtype} with the shape {tuple(pixels.shape)}"
            )
        values = encode_pixels(pixels)
        last = len(self.linears) - 1
        for index, (linear, norm) in enumerate(zip(self.linears, self.norms, strict=True)):
            values = norm(linear(values, ber=ber, rng=rng))
            if index < last:
                # gradient of hardtanh: passes where the normalised value is within [-1, 1]
                values = binarize(values).float()
        return values


def encode_pixels(pixels: Tensor) -> Tensor:
    """Pixels 0..255 as the odd integers ``2 * pixel - 255``, float32 tensor of the same shape."""
    return pixels.float() * 2.0 - PIXEL_LEVELS


def module_answers(module: BinaryMLP, images: np.ndarray, *, block: int = 2000) -> np.ndarray:
    """Answers of a module in evaluation mode.

    Parameters
    ----------
    module : BinaryMLP
        Network in evaluation mode.
    images : uint8 array, shape (images, pixels)
        Images.
    block : int
        Images computed at a time.

    Returns
    -------
    int64 array, shape (images,)
        Class with the highest score, the lowest one on a tie.

    Raises
    ------
    ValueError
        The module is in training mode.
    """
    if module.training:
        raise ValueError("the module is in training mode; call module.eval() first")
    answers = np.empty(len(images), np.int64)
    device = module.latents[0].device
    with torch.inference_mode():
        for start in range(0, len(images), block):
            part = images[start : start + block]
            scores = module(torch.tensor(part, device=device)).cpu().numpy()
            # not torch.argmax: that leaves open which index it gives on a tie
            answers[start : start + block] = np.argmax(scores, axis=1)
    return answers
