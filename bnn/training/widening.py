"""Weights of a wider network that answers as a narrower one does: neurons are copied."""

from collections.abc import Mapping

import torch
from torch import Tensor

_STATISTICS = {"running_mean": 1, "running_var": 2}
"""Power of the factor by which copied inputs change them."""


def widened(narrow: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """State of a wider module from that of a narrower one, with the same answers.

    Where a layer has k times as many neurons (or channels) as before, each is there k times, and
    the weights of the next layer with it; pre-activations there are k times what they were, and so
    are the mean and the standard deviation of its batch norm. Copies differ only once each has
    errors of its own: on a chip, or in a training with flips.

    Parameters
    ----------
    narrow : mapping of str to tensor
        ``state_dict`` of the narrower module.
    shapes : mapping of str to torch.Size
        Shapes of the ``state_dict`` of the wider one, in its order.

    Returns
    -------
    dict of str to tensor
        State for the wider one.

    Raises
    ------
    ValueError
        Other layers, other kernels, or sizes that are no multiples of the narrower ones.

    Notes
    -----
    Net2WiderNet of Chen, Goodfellow and Shlens (arXiv 1511.05641) shares a weight out among the
    copies; signs cannot be shared out, so here the sums grow and batch norm takes the factor back.
    """
    if narrow.keys() != shapes.keys():
        odd = sorted(narrow.keys() ^ shapes.keys())
        raise ValueError(f"other layers: {', '.join(odd[:4])} is not in both networks")
    for name, old in narrow.items():
        new = shapes[name]
        if old.ndim != len(new) or old.shape[2:] != new[2:]:
            raise ValueError(f"{name} has shape {tuple(old.shape)} there and {tuple(new)} here")
        if any(b % a for a, b in zip(old.shape[:2], new[:2], strict=True)):
            raise ValueError(
                f"{name} has shape {tuple(old.shape)} there, and {tuple(new)} is no multiple"
            )
    # layers in order: the inputs of each are the copies of the outputs of the one before
    latents = [name for name in shapes if name.endswith(".latent")]
    copies_in = [shapes[name][1] // narrow[name].shape[1] for name in latents]
    found = {}
    for name, old in narrow.items():
        kind = name.rsplit(".", 1)[-1]
        repeats = [b // a for a, b in zip(old.shape[:2], shapes[name][:2], strict=True)]
        value = old.repeat(*repeats, *[1] * (old.ndim - len(repeats))) if repeats else old.clone()
        if kind in _STATISTICS:
            layer = int(name.split(".")[1])
            value *= float(copies_in[layer]) ** _STATISTICS[kind]
        found[name] = value
    return found
