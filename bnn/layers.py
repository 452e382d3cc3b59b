"""Layers of a binarized network: sign, binary weights, batch norm.

Binarization in the sense of Courbariaux and Hubara (arXiv 1602.02830): the forward pass uses signs,
the backward pass a straight-through estimator.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bnn.errors import redrawn_flips


class _BinarizeWithFlips(torch.autograd.Function):
    """Sign, then flips at given places; the gradient passes where |latent| <= 1."""

    @staticmethod
    def forward(ctx: Any, latent: Tensor, positions: Tensor | None) -> Tensor:
        ctx.save_for_backward(latent)
        # not torch.sign: that gives 0 at 0
        signs = torch.where(latent >= 0, 1.0, -1.0).to(latent.dtype)
        if positions is not None:
            flat = signs.view(-1)
            flat[positions] = -flat[positions]
        return signs

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (latent,) = ctx.saved_tensors
        return gradient * (latent.abs() <= 1), None


def binarize(latent: Tensor) -> Tensor:
    """Sign with ``sign(0) = +1`` and a straight-through gradient.

    Parameters
    ----------
    latent : float tensor, any shape
        Values to binarize.

    Returns
    -------
    float tensor, same shape and type
        +1 where `latent` is at least 0 (also at -0.0), else -1. The gradient passes unchanged where
        ``|latent| <= 1`` and is zero elsewhere.
    """
    result: Tensor = _BinarizeWithFlips.apply(latent, None)
    return result


class BinaryLinear(nn.Module):
    """Fully connected layer with binary weights and no bias.

    Attributes
    ----------
    latent : float32 parameter, shape (out_features, in_features)
        Latent weights, kept in [-1, 1] by the trainer; their signs are the weights.

    Parameters
    ----------
    in_features, out_features : int
        Inputs and outputs.
    generator : torch.Generator
        Source of the initial latent weights, uniform with the limit ``sqrt(6 / (in + out))`` of
        Glorot and Bengio (2010), equation 16.
    """

    latent: nn.Parameter

    def __init__(self, in_features: int, out_features: int, *, generator: torch.Generator) -> None:
        super().__init__()
        limit = min(1.0, math.sqrt(6.0 / (in_features + out_features)))
        latent = torch.empty(out_features, in_features)
        self.latent = nn.Parameter(latent.uniform_(-limit, limit, generator=generator))

    def forward(
        self, inputs: Tensor, *, ber: float = 0.0, rng: np.random.Generator | None = None
    ) -> Tensor:
        """Multiply with the binary weights, some of them flipped.

        Parameters
        ----------
        inputs : float32 tensor, shape (batch, in_features)
            Integers, so that the result is exact.
        ber : float
            Probability that the sign of a weight is flipped, drawn anew in each call. The gradient
            is taken at the flipped weights and goes to the latent weights unchanged, as in
            Hirtzlin et al. (arXiv 1904.03652).
        rng : numpy.random.Generator, optional
            Source of the flips, needed where `ber` is positive.

        Returns
        -------
        float32 tensor, shape (batch, out_features)
            Pre-activations.

        Raises
        ------
        ValueError
            `ber` is outside 0..1, or positive without `rng`.
        """
        if ber == 0.0:
            return nn.functional.linear(inputs, binarize(self.latent))
        if rng is None:
            raise ValueError(f"ber = {ber} needs rng, a numpy.random.Generator")
        positions = torch.from_numpy(redrawn_flips(bits=self.latent.numel(), ber=ber, rng=rng))
        weights = _BinarizeWithFlips.apply(self.latent, positions.to(self.latent.device))
        return nn.functional.linear(inputs, weights)


class BatchNorm(nn.BatchNorm1d):
    """Batch norm whose evaluation is an explicit affine map in float64.

    Folding replaces this map by integer thresholds. Both evaluate the same two roundings,
    ``fl(fl(z * scale) + shift)``, so they agree on every input by construction.
    """

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """Scale and shift of the evaluation, float64 tensors of shape (features,).

        ``scale = gamma / sqrt(var + eps)`` and ``shift = beta - mean * scale``.
        """
        if self.running_mean is None or self.running_var is None:
            raise ValueError("batch norm without running statistics cannot be evaluated")
        scale = self.weight.detach().double() / torch.sqrt(self.running_var.double() + self.eps)
        shift = self.bias.detach().double() - self.running_mean.double() * scale
        return scale, shift

    def forward(self, input: Tensor) -> Tensor:
        """Normalise pre-activations.

        Parameters
        ----------
        input : float32 tensor, shape (batch, features)
            Pre-activations.

        Returns
        -------
        tensor, shape (batch, features)
            In training float32, normalised over the batch; in evaluation float64.
        """
        if self.training:
            return super().forward(input)
        scale, shift = self.scale_and_shift()
        return input.double() * scale + shift
