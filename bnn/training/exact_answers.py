"""Answers of trained modules in exact integers."""

from __future__ import annotations

import numpy as np
import torch

from bnn.training.architectures import BinaryNetwork

# about 100 MB in the evaluation of a batch norm, which needs a few float64 copies
_BLOCK_VALUES = 2**22

_BLOCK_IMAGES = 2000


def module_answers(
    module: BinaryNetwork, images: np.ndarray, *, block: int | None = None
) -> np.ndarray:
    """Answers of a module in evaluation mode.

    Parameters
    ----------
    module : BinaryMLP or BinaryConvNet
        Network in evaluation mode.
    images : uint8 array, shape (images, pixels)
        Images.
    block : int, optional
        Images computed at a time; as many as memory allows if not given. Changes no answer.

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
    if block is None:
        block = min(_BLOCK_IMAGES, max(1, _BLOCK_VALUES // module.most_values))
    answers = np.empty(len(images), np.int64)
    device = module.latents[0].device
    with torch.inference_mode():
        for start in range(0, len(images), block):
            part = images[start : start + block]
            scores = module(torch.tensor(part, device=device)).cpu().numpy()
            # not torch.argmax: that leaves open which index it gives on a tie
            answers[start : start + block] = np.argmax(scores, axis=1)
    return answers
