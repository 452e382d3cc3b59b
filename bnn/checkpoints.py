"""Checkpoints of a training: everything that its next step depends on, in one safetensors file."""

import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import nn

from bnn.storage import replacing
from bnn.widening import widened

FORMAT = "rram-reliability training checkpoint 1"


@dataclass(kw_only=True)
class TrainingState:
    """A training between two steps; changed by every step.

    Attributes
    ----------
    module, optimizer, schedule
        What PyTorch keeps.
    rngs : dict of str to numpy.random.Generator
        Random numbers; those of the order stand at the begin of the epoch.
    epoch : int
        Epoch at work, from 1.
    batch : int
        Batches of it that are done.
    loss_sum : float
        Their losses times their images.
    correct : int
        Their right answers.
    history : list of dict
        Results of the epochs before.
    """

    module: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    rngs: dict[str, np.random.Generator]
    epoch: int = 1
    batch: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    history: list[dict[str, Any]] = dataclasses.field(default_factory=list)


_COUNTERS = ("epoch", "batch", "loss_sum", "correct", "history")


def identity_of(*parts: object) -> str:
    """Hash over the texts of what a training must not change on its way."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def save_checkpoint(state: TrainingState, path: Path, *, identity: str) -> None:
    """Write a state; the file appears whole or not at all.

    Parameters
    ----------
    state : TrainingState
        State between two steps.
    path : Path
        File; its folder exists.
    identity : str
        From `identity_of`.
    """
    kept = state.optimizer.state_dict()
    tensors = {
        f"module.{name}": value.contiguous() for name, value in state.module.state_dict().items()
    }
    for index, values in kept["state"].items():
        tensors.update({f"optimizer.{index}.{name}": value for name, value in values.items()})
    text = {
        "format": FORMAT,
        "identity": identity,
        "groups": kept["param_groups"],
        "schedule": state.schedule.state_dict(),
        "rngs": {name: rng.bit_generator.state for name, rng in state.rngs.items()},
        **{name: getattr(state, name) for name in _COUNTERS},
    }
    content = safetensors.torch.save(tensors, metadata={"state": json.dumps(text)})
    with replacing(path, content) as temporary:
        os.replace(temporary, path)


def load_checkpoint(state: TrainingState, path: Path, *, identity: str) -> None:
    """Bring a fresh state to where a checkpoint stands.

    Parameters
    ----------
    state : TrainingState
        State of the same training before its first step; changed.
    path : Path
        File written by `save_checkpoint`.
    identity : str
        From `identity_of`.

    Raises
    ------
    ValueError
        The file is damaged, no checkpoint, or that of another training.
    """
    text, tensors = _read(path)
    if text.get("format") != FORMAT or text["identity"] != identity:
        raise ValueError(
            f"{path} is the checkpoint of another training (options, images or version); name "
            "another file, or remove it to start anew"
        )
    state.module.load_state_dict(_of_module(tensors))
    kept: dict[int, dict[str, Any]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, part = name.split(".")
            kept.setdefault(int(index), {})[part] = value
    state.optimizer.load_state_dict({"state": kept, "param_groups": text["groups"]})
    state.schedule.load_state_dict(text["schedule"])
    for name, rng in state.rngs.items():
        rng.bit_generator.state = text["rngs"][name]
    for name in _COUNTERS:
        setattr(state, name, text[name])


def begin_with(module: nn.Module, path: str | os.PathLike[str]) -> None:
    """Give a fresh module the latent weights and batch norm of a checkpoint.

    Parameters
    ----------
    module : nn.Module
        Module of the architecture of that training, or of one whose layers are wider by whole
        factors (`bnn.widening.widened`); changed.
    path : path
        File written by `save_checkpoint`.

    Raises
    ------
    ValueError
        The file is damaged, no checkpoint, or that of another architecture.
    """
    text, tensors = _read(Path(path))
    if text.get("format") != FORMAT:
        raise ValueError(f"{path}: not a checkpoint of this version ({FORMAT!r})")
    shapes = {name: value.shape for name, value in module.state_dict().items()}
    try:
        module.load_state_dict(widened(_of_module(tensors), shapes))
    except ValueError as error:
        raise ValueError(f"{path}: the checkpoint of another architecture ({error})") from error


def sha256_of(path: str | os.PathLike[str]) -> str:
    """SHA-256 of the bytes of a file.

    Raises
    ------
    ValueError
        The file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error})") from error


def _read(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            text = json.loads((file.metadata() or {})["state"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{path}: not a checkpoint of a training ({error})") from error
    return text, tensors


def _of_module(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix("module."): value
        for name, value in tensors.items()
        if name.startswith("module.")
    }
