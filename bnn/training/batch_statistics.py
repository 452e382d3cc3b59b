"""Statistics of batch norm, measured once more with the weights that a training ended with."""

import numpy as np
import torch

from bnn.training.architectures import BinaryNetwork
from bnn.training.layers import BatchNorm

BATCH_IMAGES = 500
"""Images that are normalised together."""

MOST_IMAGES = 20_000
"""Images that are enough: the statistics of `MOST_IMAGES` images are those of all."""


def measure_statistics(
    module: BinaryNetwork, images: np.ndarray, *, ber: float, rng: np.random.Generator
) -> None:
    """Replace the running statistics of every batch norm by means over images.

    Parameters
    ----------
    module : BinaryMLP or BinaryConvNet
        Network; its running statistics are changed, its weights and its mode are not.
    images : uint8 array, shape (images, pixels)
        At least 2 images; the first `MOST_IMAGES` are used.
    ber : float
        Bit error rate of the weights meanwhile, 0..1; flips are drawn anew for every batch.
    rng : numpy.random.Generator
        Source of the flips.
    """
    used = images[:MOST_IMAGES]
    mode = module.training
    kept = []
    for norm in module.norms:
        assert isinstance(norm, BatchNorm)
        kept.append((norm, norm.momentum, norm.by_running))
        norm.reset_running_stats()
        # plain means over the batches
        norm.momentum, norm.by_running = None, False
    module.train()
    with torch.no_grad():
        for batch in np.array_split(used, -(-len(used) // BATCH_IMAGES)):
            module(torch.tensor(batch, device=module.latents[0].device), ber=ber, rng=rng)
    for norm, momentum, by_running in kept:
        norm.momentum, norm.by_running = momentum, by_running
    module.train(mode)
