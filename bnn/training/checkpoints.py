"""Checkpoints of a training: everything that its next step depends on, in one safetensors file."""

import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import nn

from bnn.machine.stored import check_format, plain_number, reading, shown
from bnn.networks.storage import replacing
from bnn.training.architectures import BinaryNetwork
from bnn.training.widening import widened

FORMAT = "rram-reliability training checkpoint 2"
HASH = "content_sha256"
"""Entry of the metadata: hash over the state and every tensor."""

_AGAIN = "name another file, or remove it to start anew"


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

    module: BinaryNetwork
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    rngs: dict[str, np.random.Generator]
    epoch: int = 1
    batch: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    history: list[dict[str, Any]] = dataclasses.field(default_factory=list)


_RESULT = {"epoch", "loss", "train_correct", "train_images", "test_correct", "test_images"}
"""Fields of `bnn.EpochResult`."""

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
    state_text = json.dumps(text)
    metadata = {"state": state_text, HASH: _content_sha256(state_text, tensors)}
    content = safetensors.torch.save(tensors, metadata=metadata)
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
    with reading(path, "checkpoint of this training", _AGAIN):
        text, tensors = _of_training(path, identity)
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


def check_checkpoint(path: Path, *, identity: str) -> None:
    """Refuse a file from which a training cannot go on, before anything is trained.

    Raises
    ------
    ValueError
        As :func:`load_checkpoint`.
    """
    with reading(path, "checkpoint of this training", _AGAIN):
        _of_training(path, identity)


def _of_training(path: Path, identity: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """State and tensors of a checkpoint, which must be that of a training."""
    text, tensors = _read(path)
    if text["identity"] != identity:
        raise ValueError(
            f"{path}: the checkpoint of another training (options, images or version); {_AGAIN}"
        )
    for name in ("epoch", "batch", "correct"):
        if type(text[name]) is not int or text[name] < 0:
            raise ValueError(f"{name} is {shown(text[name])}; it must be a whole number from 0 on")
    for result in text["history"]:
        if set(result) != _RESULT or any(plain_number(value) is None for value in result.values()):
            raise ValueError(f"the result of an epoch is {shown(result)}")
    if plain_number(text["loss_sum"]) is None:
        raise ValueError(f"loss_sum is {shown(text['loss_sum'])}; it must be a finite number")
    return text, tensors


def begin_with(module: nn.Module, path: str | os.PathLike[str]) -> None:
    """Give a fresh module the latent weights and batch norm of a checkpoint.

    Parameters
    ----------
    module : nn.Module
        Module of the architecture of that training, or of one whose layers are wider by whole
        factors (`bnn.training.widening.widened`); changed.
    path : path
        File written by `save_checkpoint`.

    Raises
    ------
    ValueError
        The file is damaged, no checkpoint, or that of another architecture.
    """
    shapes = {name: value.shape for name, value in module.state_dict().items()}
    with reading(path, "checkpoint of such a network", "name the checkpoint of another training"):
        _, tensors = _read(Path(path))
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
    """State and tensors of a file, its hash checked."""
    with safetensors.safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    text = json.loads(metadata["state"])
    check_format(text["format"], FORMAT)
    if metadata.get(HASH) != _content_sha256(metadata["state"], tensors):
        raise ValueError("the hash does not fit the contents: the file is damaged or was changed")
    return text, tensors


def _content_sha256(state: str, tensors: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256(state.encode())
    for name, value in sorted(tensors.items()):
        values = value.detach().cpu().contiguous()
        digest.update(f"\n{name} {values.dtype} {tuple(values.shape)}\n".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _of_module(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix("module."): value
        for name, value in tensors.items()
        if name.startswith("module.")
    }
