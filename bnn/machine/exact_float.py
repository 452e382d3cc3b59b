"""Products of integers in floating point without any rounding."""

from __future__ import annotations

import torch
from torch import Tensor, nn

EXACT_FLOAT32 = 2**24
"""Integers of a smaller magnitude are exact in float32, and so are their sums."""


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
