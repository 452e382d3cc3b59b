"""Layers of a binarized network: sign, binary weights, batch norm.

Binarization in the sense of Courbariaux and Hubara (arXiv 1602.02830): the forward pass uses signs,
the backward pass a straight-through estimator.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.grad import conv2d_input, conv2d_weight

from bnn.flips import check_ber
from bnn.redrawn_flips import negate_redrawn, redrawn_flips

EXACT_FLOAT32 = 2**24
"""Integers of a smaller magnitude are exact in float32, and so are their sums."""

# limits of batch renormalization, those of Ioffe (arXiv 1702.03275, section 4)
_MOST_RATIO, _MOST_MOVED = 3.0, 5.0


class _BinarizeWithFlips(torch.autograd.Function):
    """Sign, then flips; the gradient passes where |latent| <= 1."""

    @staticmethod
    def forward(ctx: Any, latent: Tensor, ber: float, rng: np.random.Generator | None) -> Tensor:
        ctx.save_for_backward(latent)
        # not torch.sign: that gives 0 at 0
        signs = torch.where(latent >= 0, 1.0, -1.0).to(latent.dtype)
        if ber > 0.0:
            _flip_in_place(signs, ber=ber, rng=rng)
        return signs

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (latent,) = ctx.saved_tensors
        return gradient * (latent.abs() <= 1), None, None


class _ProductWithFlips(torch.autograd.Function):
    """Product with flipped weights whose gradient travels back through the right ones."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, weights: Tensor, ber: float, rng: Any, padding: int
    ) -> Tensor:
        ctx.save_for_backward(inputs, weights)
        ctx.padding = padding
        flipped = weights.clone()
        _flip_in_place(flipped, ber=ber, rng=rng)
        if weights.ndim == 2:
            return nn.functional.linear(inputs, flipped)
        return nn.functional.conv2d(inputs, flipped, padding=padding)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, None, None, None]:
        inputs, weights = ctx.saved_tensors
        back = None
        if weights.ndim == 2:
            if ctx.needs_input_grad[0]:
                back = gradient @ weights
            return back, gradient.T @ inputs, None, None, None
        if ctx.needs_input_grad[0]:
            back = conv2d_input(inputs.shape, weights, gradient, padding=ctx.padding)
        own = conv2d_weight(inputs, weights.shape, gradient, padding=ctx.padding)
        return back, own, None, None, None


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
    result: Tensor = _BinarizeWithFlips.apply(latent, 0.0, None)
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

    def forward(
        self,
        inputs: Tensor,
        *,
        ber: float = 0.0,
        rng: np.random.Generator | None = None,
        clean_gradient: bool = False,
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
        clean_gradient : bool
            The gradient of the inputs is taken at the right weights instead.

        Returns
        -------
        float32 tensor, shape (batch, out_features)
            Pre-activations.

        Raises
        ------
        ValueError
            `ber` is outside 0..1, or positive without `rng`.
        """
        if clean_gradient and ber > 0.0:
            return _product_with_flips(inputs, self.latent, ber=ber, rng=rng, padding=0)
        return nn.functional.linear(inputs, _binary_weights(self.latent, ber=ber, rng=rng))


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

    def forward(
        self,
        inputs: Tensor,
        *,
        ber: float = 0.0,
        rng: np.random.Generator | None = None,
        clean_gradient: bool = False,
    ) -> Tensor:
        """Convolve with the binary weights, some of them flipped.

        Parameters
        ----------
        inputs : float32 tensor, shape (batch, in_channels, height, width)
            Integers, so that the result is exact.
        ber : float
            Probability that the sign of a weight is flipped, drawn anew in each call, as in
            `BinaryLinear`.
        rng : numpy.random.Generator, optional
            Source of the flips, needed where `ber` is positive.
        clean_gradient : bool
            The gradient of the inputs is taken at the right weights instead.

        Returns
        -------
        float32 tensor, shape (batch, out_channels, height, width)
            Pre-activations. In training PyTorch may choose an algorithm that rounds; in evaluation
            they are exact.

        Raises
        ------
        ValueError
            `ber` is outside 0..1, or positive without `rng`.
        """
        if clean_gradient and ber > 0.0 and self.training:
            padding = self.kernel // 2
            return _product_with_flips(inputs, self.latent, ber=ber, rng=rng, padding=padding)
        weights = _binary_weights(self.latent, ber=ber, rng=rng)
        if self.training:
            return nn.functional.conv2d(inputs, weights, padding=self.kernel // 2)
        return exact_conv2d(inputs, weights)


def exact_conv2d(inputs: Tensor, weights: Tensor) -> Tensor:
    """Convolution of integers without any rounding, stride 1, zero padding ``kernel // 2``.

    Parameters
    ----------
    inputs : float32 tensor, shape (batch, in_channels, height, width)
        Integers.
    weights : float32 tensor, shape (out_channels, in_channels, kernel, kernel)
        +1 and -1.

    Returns
    -------
    float32 tensor, shape (batch, out_channels, height, width)
        Exact sums, where all partial sums stay below `EXACT_FLOAT32`.

    Notes
    -----
    NNPACK (large batches on a CPU without oneDNN) and cuDNN may choose Winograd's algorithm, whose
    transforms hold thirds: sums of 2304 signs then come out wrong by up to 0.003, and a tie with a
    threshold falls on either side. Both are switched off here, for the whole process as long as the
    call takes.
    """
    cudnn = torch.backends.cudnn.enabled
    torch.backends.cudnn.enabled = False
    try:
        with torch.backends.nnpack.flags(enabled=False):
            return nn.functional.conv2d(inputs, weights, padding=weights.shape[2] // 2)
    finally:
        torch.backends.cudnn.enabled = cudnn


def _initial_latent(
    outputs: int, inputs: int, *kernel: int, generator: torch.Generator
) -> nn.Parameter:
    limit = min(1.0, math.sqrt(6.0 / (math.prod(kernel) * (inputs + outputs))))
    latent = torch.empty(outputs, inputs, *kernel)
    return nn.Parameter(latent.uniform_(-limit, limit, generator=generator))


def _binary_weights(latent: Tensor, *, ber: float, rng: np.random.Generator | None) -> Tensor:
    """Signs of the latent weights, each flipped with the probability `ber`."""
    _check_flips(ber, rng)
    weights: Tensor = _BinarizeWithFlips.apply(latent, ber, rng)
    return weights


def _product_with_flips(
    inputs: Tensor, latent: Tensor, *, ber: float, rng: np.random.Generator | None, padding: int
) -> Tensor:
    _check_flips(ber, rng)
    result: Tensor = _ProductWithFlips.apply(inputs, binarize(latent), ber, rng, padding)
    return result


def _check_flips(ber: float, rng: np.random.Generator | None) -> None:
    check_ber(ber)
    if ber > 0.0 and rng is None:
        raise ValueError(f"ber = {ber} needs rng, a numpy.random.Generator")


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
