"""Losses of training: cross-entropy and squared hinge, with a margin."""

import torch
from torch import Tensor, nn


def training_loss(scores: Tensor, targets: Tensor, *, loss: str, margin: float) -> Tensor:
    """Mean loss of a batch.

    Parameters
    ----------
    scores : float tensor, shape (images, classes)
        Scores of the classes.
    targets : int64 tensor, shape (images,)
        Right classes.
    loss : str
        One of `bnn.training.options.LOSSES`.
    margin : float
        Margin, in units of the scores.

    Returns
    -------
    float tensor, no dims
        Cross-entropy in nat, with the right score lowered by `margin`; or the mean over images and
        classes of ``max(0, margin - y * score)**2``, y = +1 for the right class and -1 for others.

    Notes
    -----
    A margin keeps answers right when wrong weights move the scores: the modified hinge loss of
    Buschjäger et al. (DATE 2021) does so without any injected error.
    """
    right = torch.zeros_like(scores).scatter_(1, targets[:, None], 1.0)
    if loss == "squared hinge":
        return (margin - (2.0 * right - 1.0) * scores).clamp(min=0.0).square().mean()
    if margin > 0.0:
        scores = scores - margin * right
    return nn.functional.cross_entropy(scores, targets)
