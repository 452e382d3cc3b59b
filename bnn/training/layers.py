"""Layers of a binarized network: sign, binary weights, batch norm.

Binarization in the sense of Courbariaux and Hubara (arXiv 1602.02830): the forward pass uses signs,
the backward pass a straight-through estimator.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.grad import conv2d_input, conv2d_weight

from bnn.errors.flips import check_ber
from bnn.machine.exact_float import exact_conv2d
from bnn.training.redrawn_flips import negate_redrawn, redrawn_flips

# limits of batch renormalization, those of Ioffe (arXiv 1702.03275, section 4)
_MOST_RATIO, _MOST_MOVED = 3.0, 5.0


class _Binarize(torch.autograd.Function):
    """Sign; the gradient passes where |latent| <= 1."""

    @staticmethod
    def forward(ctx: Any, latent: Tensor) -> Tensor:
        ctx.save_for_backward(latent)
        # not torch.sign: that gives 0 at 0
        return torch.where(latent >= 0, 1.0, -1.0).to(latent.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (latent,) = ctx.saved_tensors
        return gradient * (latent.abs() <= 1)


class _Flip(torch.autograd.Function):
    """Flips of some signs, in place; the gradient passes unchanged."""

    @staticmethod
    def forward(ctx: Any, signs: Tensor, ber: float, rng: np.random.Generator) -> Tensor:
        ctx.mark_dirty(signs)
        _flip_in_place(signs, ber=ber, rng=rng)
        return signs

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient, None, None


class _ProductGradientAt(torch.autograd.Function):
    """Product with some weights whose gradient travels back through others."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, used: Tensor, right: Tensor, padding: int) -> Tensor:
        ctx.save_for_backward(inputs, right)
        ctx.padding = padding
        if used.ndim == 2:
            return nn.functional.linear(inputs, used)
        return nn.functional.conv2d(inputs, used, padding=padding)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, Tensor, None]:
        inputs, weights = ctx.saved_tensors
        back = None
        if weights.ndim == 2:
            if ctx.needs_input_grad[0]:
                back = gradient @ weights
            return back, None, gradient.T @ inputs, None
        if ctx.needs_input_grad[0]:
            back = conv2d_input(inputs.shape, weights, gradient, padding=ctx.padding)
        own = conv2d_weight(inputs, weights.shape, gradient, padding=ctx.padding)
        return back, None, own, None


@dataclass(frozen=True, eq=False)
class DrawnWeights:
    """Binary weights of one layer for one step.

    Attributes
    ----------
    used : float32 tensor
        Weights of the product, some of them flipped.
    right : float32 tensor or None
        Weights without flips, where gradients are to travel back through these.
    """

    used: Tensor
    right: Tensor | None = None

    def cast(self, values: torch.dtype) -> "DrawnWeights":
        """The same in another type of numbers, which holds +1 and -1 exactly."""
        right = None if self.right is None else self.right.to(values)
        return DrawnWeights(self.used.to(values), right)


def draw_weights(
    latent: Tensor,
    *,
    ber: float = 0.0,
    rng: np.random.Generator | None = None,
    clean_gradient: bool = False,
) -> DrawnWeights:
    """Signs of latent weights, some of them flipped.

    Parameters
    ----------
    latent : float32 tensor, any shape
        Latent weights of a layer.
    ber : float
        Probability that the sign of a weight is flipped, drawn anew in each call. The gradient is
        taken at the flipped weights and goes to the latent weights unchanged, as in Hirtzlin et al.
        (arXiv 1904.03652).
    rng : numpy.random.Generator, optional
        Source of the flips, needed where `ber` is positive.
    clean_gradient : bool
        The gradient of a layer's inputs is taken at the right weights instead.

    Returns
    -------
    DrawnWeights
        Of the shape of `latent`.

    Raises
    ------
    ValueError
        `ber` is outside 0..1, or positive without `rng`.
    """
    check_ber(ber)
    signs = binarize(latent)
    if ber == 0.0:
        return DrawnWeights(signs)
    if rng is None:
        raise ValueError(f"ber = {ber} needs rng, a numpy.random.Generator")
    if not clean_gradient:
        return DrawnWeights(_Flip.apply(signs, ber, rng))
    used = signs.detach().clone()
    _flip_in_place(used, ber=ber, rng=rng)
    return DrawnWeights(used, signs)


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
    result: Tensor = _Binarize.apply(latent)
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
        self.latent = _initial_latent(out_features, in_features, generator=generator)

    def forward(self, inputs: Tensor, weights: DrawnWeights | None = None) -> Tensor:
        """Multiply with the binary weights.

        Parameters
        ----------
        inputs : float tensor, shape (batch, in_features)
            Integers, so that the result is exact in float32.
        weights : DrawnWeights, optional
            From `draw_weights`; those without flips if not given.

        Returns
        -------
        tensor of the type of `inputs`, shape (batch, out_features)
            Pre-activations.
        """
        drawn = draw_weights(self.latent) if weights is None else weights
        if drawn.right is None:
            return nn.functional.linear(inputs, drawn.used)
        result: Tensor = _ProductGradientAt.apply(inputs, drawn.used, drawn.right, 0)
        return result


class BinaryConv2d(nn.Module):
    """Convolution with binary weights, stride 1, zero padding ``kernel // 2`` and no bias.

    Attributes
    ----------
    latent : float32 parameter, shape (out_channels, in_channels, kernel, kernel)
        Latent weights, kept in [-1, 1] by the trainer; their signs are the weights.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the input and of the output map.
    kernel : int
        Rows and columns of the kernel, odd.
    generator : torch.Generator
        Source of the initial latent weights, uniform with the limit
        ``sqrt(6 / (kernel**2 * (in + out)))`` of Glorot and Bengio (2010), equation 16.

    Raises
    ------
    ValueError
        `kernel` is not an odd positive integer.
    """

    latent: nn.Parameter

    def __init__(
        self, in_channels: int, out_channels: int, *, kernel: int = 3, generator: torch.Generator
    ) -> None:
        super().__init__()
        if kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"kernel must be odd and positive, got {kernel}")
        self.latent = _initial_latent(
            out_channels, in_channels, kernel, kernel, generator=generator
        )

    @property
    def kernel(self) -> int:
        """Rows and columns of the kernel."""
        return self.latent.shape[2]

    def forward(self, inputs: Tensor, weights: DrawnWeights | None = None) -> Tensor:
        """Convolve with the binary weights.

        Parameters
        ----------
        inputs : float tensor, shape (batch, in_channels, height, width)
            Integers, so that the result is exact in float32.
        weights : DrawnWeights, optional
            From `draw_weights`; those without flips if not given.

        Returns
        -------
        tensor of the type of `inputs`, shape (batch, out_channels, height, width)
            Pre-activations. In training PyTorch may choose an algorithm that rounds; in evaluation
            they are exact.
        """
        drawn = draw_weights(self.latent) if weights is None else weights
        if not self.training:
            return exact_conv2d(inputs, drawn.used)
        padding = self.kernel // 2
        if drawn.right is None:
            return nn.functional.conv2d(inputs, drawn.used, padding=padding)
        result: Tensor = _ProductGradientAt.apply(inputs, drawn.used, drawn.right, padding)
        return result


def _initial_latent(
    outputs: int, inputs: int, *kernel: int, generator: torch.Generator
) -> nn.Parameter:
    limit = min(1.0, math.sqrt(6.0 / (math.prod(kernel) * (inputs + outputs))))
    latent = torch.empty(outputs, inputs, *kernel)
    return nn.Parameter(latent.uniform_(-limit, limit, generator=generator))


def _flip_in_place(signs: Tensor, *, ber: float, rng: Any) -> None:
    if signs.device.type == "cpu" and signs.dtype == torch.float32:
        negate_redrawn(signs.view(-1).numpy(), ber=ber, rng=rng)
        return
    # the same places, as a list that travels to the device
    positions = redrawn_flips(bits=signs.numel(), ber=ber, rng=rng)
    flat, places = signs.view(-1), torch.from_numpy(positions).to(signs.device)
    flat[places] = -flat[places]


class BatchNorm(nn.BatchNorm1d):
    """Batch norm of vectors and of maps, whose evaluation is an explicit affine map in float64.

    Folding replaces this map by integer thresholds. Both evaluate the same two roundings,
    ``fl(fl(z * scale) + shift)``, so they agree on every input by construction.

    Attributes
    ----------
    by_running : bool
        In training, normalise with the running statistics, as in evaluation, while the gradient is
        that of a normalisation with those of the batch: batch renormalization, Ioffe (arXiv
        1702.03275), with its limits on how far the two may differ.
    """

    by_running = False

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
        input : float32 tensor, shape (batch, features) or (batch, features, height, width)
            Pre-activations.

        Returns
        -------
        tensor, same shape
            In training float32, normalised over the batch and the places of a map; in evaluation
            float64.
        """
        if self.training:
            # a map is a row of places here: the statistics do not know where a value lies
            flat = input if input.ndim == 2 else input.flatten(2)
            normalised = self._renormalised(flat) if self.by_running else super().forward(flat)
            return normalised.view_as(input)
        scale, shift = self.scale_and_shift()
        if input.ndim == 4:
            scale, shift = scale[:, None, None], shift[:, None, None]
        return input.double() * scale + shift

    def _renormalised(self, flat: Tensor) -> Tensor:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        with torch.no_grad():
            dims = (0,) if flat.ndim == 2 else (0, 2)
            variance, mean = torch.var_mean(flat, dims, correction=0)
            spread = torch.sqrt(self.running_var + self.eps)
            ratio = (torch.sqrt(variance + self.eps) / spread).clamp(1 / _MOST_RATIO, _MOST_RATIO)
            moved = ((mean - self.running_mean) / spread).clamp(-_MOST_MOVED, _MOST_MOVED)
            self.num_batches_tracked += 1
        normalised = nn.functional.batch_norm(
            flat, self.running_mean, self.running_var, None, None, True, self.momentum, self.eps
        )
        shape = (1, -1) if flat.ndim == 2 else (1, -1, 1)
        scale = (ratio * self.weight).view(shape)
        return normalised * scale + (moved * self.weight + self.bias).view(shape)
