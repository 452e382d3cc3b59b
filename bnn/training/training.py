"""Training of binarized networks, with and without bit errors."""

import copy
import dataclasses
import os
import platform
import shutil
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bnn.images.sets import ImageSet
from bnn.machine.threads import torch_threads
from bnn.training.architectures import BinaryConvNet, BinaryMLP, BinaryNetwork, drawn_weights
from bnn.training.augmentation import augmented
from bnn.training.batch_statistics import measure_statistics
from bnn.training.checkpoints import (
    TrainingState,
    begin_with,
    check_checkpoint,
    identity_of,
    load_checkpoint,
    save_checkpoint,
    sha256_of,
)
from bnn.training.exact_answers import module_answers
from bnn.training.layers import BatchNorm, DrawnWeights
from bnn.training.losses import training_loss
from bnn.training.options import TrainingOptions

Scores = Callable[[Tensor, Sequence[DrawnWeights], torch.dtype], Tensor]

CHECKPOINT_SECONDS = 120.0
"""Time between two checkpoints."""


@dataclass(frozen=True, kw_only=True)
class EpochResult:
    """Counts of one epoch.

    Attributes
    ----------
    epoch : int
        Number of the epoch, from 1.
    loss : float
        Mean loss over the training images, as seen during the epoch; cross-entropy in nat.
    train_correct, train_images : int
        Right answers during the epoch, with the errors of training and moving weights.
    test_correct, test_images : int
        Right answers after the epoch, without errors.
    """

    epoch: int
    loss: float
    train_correct: int
    train_images: int
    test_correct: int
    test_images: int

    @property
    def train_accuracy(self) -> float:
        """Right fraction of the training images."""
        return self.train_correct / self.train_images

    @property
    def test_accuracy(self) -> float:
        """Right fraction of the test images."""
        return self.test_correct / self.test_images


@dataclass(frozen=True, eq=False, kw_only=True)
class TrainedNetwork:
    """A trained module and how it came about.

    Attributes
    ----------
    module : BinaryMLP or BinaryConvNet
        Network in evaluation mode.
    history : tuple of EpochResult
        One per epoch.
    options : TrainingOptions
        Options of the training.
    image_set : str
        Name of the image set.
    image_set_sha256 : str
        Hash of the image set.
    """

    module: BinaryNetwork
    history: tuple[EpochResult, ...]
    options: TrainingOptions
    image_set: str
    image_set_sha256: str


def train(
    image_set: ImageSet,
    options: TrainingOptions,
    *,
    progress: Callable[[EpochResult], None] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    initial: str | os.PathLike[str] | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> TrainedNetwork:
    """Train a binarized network, fully connected or convolutional.

    Adam on the latent weights, which are clipped to [-1, 1] after every step, with the loss of the
    options on the batch-normalised outputs.

    Parameters
    ----------
    image_set : ImageSet
        Training images; the test images are only counted, never learnt from.
    options : TrainingOptions
        Architecture, schedule, errors, loss and seed.
    progress : callable, optional
        Called with the result of every epoch.
    checkpoint : path, optional
        File to go on from where it is there, and to write every `checkpoint_seconds` and at the
        end. A training that was interrupted ends with the same bytes as one that was not.
    initial : path, optional
        Checkpoint of another training of the same architecture: latent weights and batch norm begin
        as they are there, instead of at random.
    checkpoint_seconds : float
        Time between two checkpoints, s.

    Returns
    -------
    TrainedNetwork
        The network after the last epoch. Same set, options and machine: same bytes.

    Raises
    ------
    ValueError
        The set has fewer training images than two, the convolutions do not fit its images, the
        device or a compiler is not there, the checkpoint is that of another training, or `initial`
        is no checkpoint of such a network.
    """
    images = image_set.train_images
    if len(images) < 2:
        raise ValueError(f"{image_set.name}: training needs at least 2 images, got {len(images)}")
    _check_machine(options)
    seeds = np.random.SeedSequence(options.seed).spawn(4)
    names = ("order", "flips", "augmentation")
    rngs = {name: np.random.default_rng(seed) for name, seed in zip(names, seeds[1:], strict=True)}
    batches = max(1, len(images) // options.batch_size)
    identity = _identity(image_set, options, initial)
    with torch_threads(options.threads), warnings.catch_warnings():
        if options.compiled:
            # the compiler of PyTorch looks at .grad of every input, and uses old parts of PyTorch
            warnings.filterwarnings("ignore", ".*is not a leaf Tensor", UserWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
        module = _untrained(image_set, options, seed=int(seeds[0].generate_state(1)[0]))
        if initial is not None:
            begin_with(module, initial)
        state = _at_start(module, options, rngs, steps=options.epochs * batches)
        path = None if checkpoint is None else Path(checkpoint)
        if path is not None and path.exists():
            load_checkpoint(state, path, identity=identity)
        scores = _scores_of(module, options)
        save = _saving_now_and_then(state, path, identity, checkpoint_seconds)
        while state.epoch <= options.epochs:
            _epoch(state, scores, image_set, options, batches=batches, save=save)
            if options.statistics_ber is not None and state.epoch == options.epochs:
                measure_statistics(module, images, ber=options.statistics_ber, rng=rngs["flips"])
            result = _end_of_epoch(state, image_set)
            if progress is not None:
                progress(result)
        if path is not None:
            save_checkpoint(state, path, identity=identity)
        module.eval()
    return TrainedNetwork(
        module=module,
        history=tuple(EpochResult(**result) for result in state.history),
        options=options,
        image_set=image_set.name,
        image_set_sha256=image_set.sha256,
    )


def check_resumable(
    image_set: ImageSet,
    options: TrainingOptions,
    *,
    checkpoint: str | os.PathLike[str],
    initial: str | os.PathLike[str] | None = None,
) -> None:
    """Refuse a checkpoint that :func:`train` could not go on from; one that is not there may be.

    Raises
    ------
    ValueError
        The file is damaged, no checkpoint, or that of another training.
    """
    if Path(checkpoint).exists():
        check_checkpoint(Path(checkpoint), identity=_identity(image_set, options, initial))


def _identity(
    image_set: ImageSet, options: TrainingOptions, initial: str | os.PathLike[str] | None
) -> str:
    """What a training must not change on its way."""
    begun = () if initial is None else (sha256_of(initial),)
    return identity_of(options, image_set.name, image_set.sha256, torch.__version__, *begun)


def _untrained(image_set: ImageSet, options: TrainingOptions, *, seed: int) -> BinaryNetwork:
    pixels, classes = image_set.train_images.shape[1], len(image_set.classes)
    if options.convolutions is None:
        return BinaryMLP((pixels, *options.hidden, classes), seed=seed)
    rows, columns = image_set.shape[-2:]
    return BinaryConvNet(
        (pixels // (rows * columns), rows, columns),
        channels=options.convolutions.channels,
        pool_after=options.convolutions.pool_after,
        kernel=options.convolutions.kernel,
        dense=(*options.hidden, classes),
        seed=seed,
    )


def _at_start(
    module: BinaryNetwork,
    options: TrainingOptions,
    rngs: dict[str, np.random.Generator],
    *,
    steps: int,
) -> TrainingState:
    """A training before its first step, of so many."""
    module.to(options.device)
    adam = torch.optim.Adam(
        module.parameters(), lr=options.learning_rate, fused=options.compiled or None
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, T_max=steps)
    return TrainingState(module=module, optimizer=adam, schedule=schedule, rngs=rngs)


def _check_machine(options: TrainingOptions) -> None:
    if options.device != "cpu" and not torch.cuda.is_available():
        raise ValueError(f"device {options.device!r}: PyTorch finds no CUDA here; use cpu")
    compilers = (os.environ.get("CXX", "c++"), "g++", "clang++", "cl")
    if options.compiled and not any(shutil.which(compiler) for compiler in compilers):
        raise ValueError("compiled training needs a C++ compiler, and none is found; leave it out")


def _scores_of(module: BinaryNetwork, options: TrainingOptions) -> Scores:
    if not options.compiled:
        return module.scores
    compiled: Scores = torch.compile(module.scores, dynamic=False)
    return compiled


def _saving_now_and_then(
    state: TrainingState, path: Path | None, identity: str, seconds: float
) -> Callable[[], None]:
    """Writes the checkpoint if the last one is older than so many seconds."""
    last = time.monotonic()

    def save() -> None:
        nonlocal last
        if path is not None and time.monotonic() - last >= seconds:
            save_checkpoint(state, path, identity=identity)
            last = time.monotonic()

    return save


def _epoch(
    state: TrainingState,
    scores: Scores,
    image_set: ImageSet,
    options: TrainingOptions,
    *,
    batches: int,
    save: Callable[[], None],
) -> None:
    """The batches of an epoch that are not done yet; `save` is called after each."""
    # a copy draws the order, so that a checkpoint can draw it once more
    order = copy.deepcopy(state.rngs["order"])
    parts = np.array_split(order.permutation(len(image_set.train_images)), batches)
    state.module.train()
    for norm in state.module.norms:
        assert isinstance(norm, BatchNorm)
        # the running statistics need an epoch before they mean anything
        norm.by_running = options.normalise_by == "running" and state.epoch > 1
    while state.batch < batches:
        _step(state, scores, image_set, parts[state.batch], options)
        save()
    state.rngs["order"].bit_generator.state = order.bit_generator.state


def _step(
    state: TrainingState,
    scores: Scores,
    image_set: ImageSet,
    batch: np.ndarray,
    options: TrainingOptions,
) -> None:
    """One batch: scores, loss, gradient, clipped latent weights."""
    pixels = torch.from_numpy(image_set.train_images[batch])
    targets = torch.from_numpy(image_set.train_labels[batch])
    if options.augmentation is not None:
        rng = state.rngs["augmentation"]
        pixels = augmented(pixels, image_set.shape, options.augmentation, rng=rng)
    ber, flips = options.ber, state.rngs["flips"]
    if options.ber_from is not None:
        ber = float(flips.uniform(options.ber_from, options.ber))
    weights = drawn_weights(state.module, ber, flips, options.gradient == "clean")
    result = scores(pixels.to(options.device), weights, getattr(torch, options.arithmetic))
    targets = targets.to(options.device)
    loss = training_loss(result, targets, loss=options.loss, margin=options.margin)
    state.optimizer.zero_grad()
    loss.backward()
    state.optimizer.step()
    state.schedule.step()
    _clip_latent(state.module)
    state.batch += 1
    state.loss_sum += float(loss.detach()) * len(batch)
    state.correct += int((result.detach().argmax(dim=1) == targets).sum())


def _end_of_epoch(state: TrainingState, image_set: ImageSet) -> EpochResult:
    """Count the test images and turn to the next epoch."""
    state.module.eval()
    answers = module_answers(state.module, image_set.test_images)
    result = EpochResult(
        epoch=state.epoch,
        loss=state.loss_sum / len(image_set.train_images),
        train_correct=state.correct,
        train_images=len(image_set.train_images),
        test_correct=int((answers == image_set.test_labels).sum()),
        test_images=len(answers),
    )
    state.history.append(dataclasses.asdict(result))
    state.epoch += 1
    state.batch, state.loss_sum, state.correct = 0, 0.0, 0
    return result


def training_record(trained: TrainedNetwork) -> dict[str, Any]:
    """Everything needed to train a network again, as plain numbers and strings.

    Parameters
    ----------
    trained : TrainedNetwork
        Result of `train`.

    Returns
    -------
    dict
        Architecture, options (seed included), image set and its hash, counts of every epoch and
        versions; can be written as JSON, for instance by `save_network`.
    """
    packages = ("rram-reliability", "numpy", "torch", "scikit-learn")
    convolutional = trained.options.convolutions is not None
    kind = "convolutional" if convolutional else "fully connected"
    return {
        "architecture": {"kind": kind, "sizes": list(trained.module.sizes)},
        "training": _plain(dataclasses.asdict(trained.options)),
        "image_set": {"name": trained.image_set, "sha256": trained.image_set_sha256},
        "history": [dataclasses.asdict(result) for result in trained.history],
        "versions": {
            "python": platform.python_version(),
            **{package: metadata.version(package) for package in packages},
        },
    }


def _plain(value: Any) -> Any:
    """The same with lists for tuples, as JSON gives it back."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, tuple) else value


def _clip_latent(module: BinaryNetwork) -> None:
    # beyond 1 a latent weight gets no gradient and could never return
    with torch.no_grad():
        for latent in module.latents:
            latent.clamp_(-1.0, 1.0)
