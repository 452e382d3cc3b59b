"""Random shifts and mirror images of training images."""

import numpy as np
import torch
from torch import Tensor

from bnn.training.options import Augmentation


def augmented(
    pixels: Tensor, shape: tuple[int, ...], options: Augmentation, *, rng: np.random.Generator
) -> Tensor:
    """Shift and mirror images.

    Parameters
    ----------
    pixels : uint8 tensor, shape (images, pixels)
        Images; not changed.
    shape : tuple of int
        How the pixels of one image lie: (rows, columns) or (colours, rows, columns).
    options : Augmentation
        What may happen.
    rng : numpy.random.Generator
        Source of the changes: for each image two shifts, then whether it is mirrored.

    Returns
    -------
    uint8 tensor, shape (images, pixels)
        Changed images; what comes in from an edge is black, 0.
    """
    rows, columns = shape[-2:]
    count, reach = len(pixels), options.shift
    maps = pixels.reshape(count, -1, rows, columns)
    down, right = rng.integers(0, 2 * reach + 1, (2, count))
    turned = rng.integers(0, 2, count).astype(np.bool_) & options.mirror
    padded = torch.nn.functional.pad(maps, (reach, reach, reach, reach))
    at_row = down[:, None] + np.arange(rows)
    at_column = right[:, None] + np.arange(columns)
    at_column = np.where(turned[:, None], at_column[:, ::-1], at_column)
    image = np.arange(count)[:, None, None]
    # indices around a slice put the colours last
    moved = padded[image, :, at_row[:, :, None], at_column[:, None, :]]
    return moved.permute(0, 3, 1, 2).reshape(count, -1)
