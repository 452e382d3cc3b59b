"""Training of binarized networks, with and without bit errors."""

import dataclasses
import math
import platform
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import numpy as np
import torch
from torch import nn

from bnn.architectures import BinaryMLP, module_answers
from bnn.errors import check_ber
from bnn.images import ImageSet
from bnn.threads import torch_threads


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How to train.

    Attributes
    ----------
    hidden : tuple of int
        Neurons of each hidden layer.
    epochs : int
        Passes over the training images.
    batch_size : int
        Images per step, at least 2. The rest that does not fill a batch is shared out among the
        others, so that batch norm never sees a tiny one.
    learning_rate : float
        First step size of Adam; it falls to zero along half a cosine.
    ber : float
        Probability that a weight is flipped, drawn anew at every step, in every layer. 0 is
        standard training.
    seed : int
        Seed of initial weights, order of images and flips.
    threads : int
        CPU threads. Another number may round sums differently and so give other bytes.
    """

    hidden: tuple[int, ...] = (1024, 1024)
    epochs: int = 15
    batch_size: int = 100
    learning_rate: float = 5e-3
    ber: float = 0.0
    seed: int
    threads: int = 1

    def __post_init__(self) -> None:
        """Check every range."""
        if not isinstance(self.hidden, tuple) or any(size < 1 for size in self.hidden):
            raise ValueError(f"hidden must be a tuple of positive integers, got {self.hidden!r}")
        for name, least in (("epochs", 1), ("batch_size", 2), ("seed", 0), ("threads", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}")
        check_ber(self.ber)


@dataclass(frozen=True, kw_only=True)
class EpochResult:
    """Counts of one epoch.

    Attributes
    ----------
    epoch : int
        Number of the epoch, from 1.
    loss : float
        Mean cross-entropy over the training images, in nat, as seen during the epoch.
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
    module : BinaryMLP
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

    module: BinaryMLP
    history: tuple[EpochResult, ...]
    options: TrainingOptions
    image_set: str
    image_set_sha256: str


def train(
    image_set: ImageSet,
    options: TrainingOptions,
    *,
    progress: Callable[[EpochResult], None] | None = None,
) -> TrainedNetwork:
    """Train a fully connected binarized network.

    Adam on the latent weights, which are clipped to [-1, 1] after every step, with cross-entropy
    on the batch-normalised outputs.

    Parameters
    ----------
    image_set : ImageSet
        Training images; the test images are only counted, never learnt from.
    options : TrainingOptions
        Sizes, schedule, errors and seed.
    progress : callable, optional
        Called with the result of every epoch.

    Returns
    -------
    TrainedNetwork
        The network after the last epoch. Same set, options and machine: same bytes.

    Raises
    ------
    ValueError
        The set has fewer training images than two.
    """
    images, labels = image_set.train_images, image_set.train_labels
    if len(images) < 2:
        raise ValueError(f"{image_set.name}: training needs at least 2 images, got {len(images)}")
    init_seed, order_seed, flip_seed = np.random.SeedSequence(options.seed).spawn(3)
    order_rng, flip_rng = np.random.default_rng(order_seed), np.random.default_rng(flip_seed)
    sizes = (images.shape[1], *options.hidden, len(image_set.classes))
    history = []
    with torch_threads(options.threads):
        module = BinaryMLP(sizes, seed=int(init_seed.generate_state(1)[0]))
        pixels, targets = torch.tensor(images), torch.tensor(labels)
        batches = max(1, len(images) // options.batch_size)
        optimizer = torch.optim.Adam(module.parameters(), lr=options.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            optimizer, T_max=options.epochs * batches
        )
        for epoch in range(1, options.epochs + 1):
            module.train()
            loss_sum, correct = 0.0, 0
            for batch in np.array_split(order_rng.permutation(len(images)), batches):
                chosen = torch.from_numpy(batch)
                scores = module(pixels[chosen], ber=options.ber, rng=flip_rng)
                loss = nn.functional.cross_entropy(scores, targets[chosen])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                _clip_latent(module)
                loss_sum += float(loss.detach()) * len(batch)
                correct += int((scores.detach().argmax(dim=1) == targets[chosen]).sum())
            module.eval()
            answers = module_answers(module, image_set.test_images)
            result = EpochResult(
                epoch=epoch,
                loss=loss_sum / len(images),
                train_correct=correct,
                train_images=len(images),
                test_correct=int((answers == image_set.test_labels).sum()),
                test_images=len(answers),
            )
            history.append(result)
            if progress is not None:
                progress(result)
    return TrainedNetwork(
        module=module,
        history=tuple(history),
        options=options,
        image_set=image_set.name,
        image_set_sha256=image_set.sha256,
    )


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
    options = dataclasses.asdict(trained.options)
    return {
        "architecture": {"kind": "fully connected", "sizes": list(trained.module.sizes)},
        "training": {**options, "hidden": list(options["hidden"])},
        "image_set": {"name": trained.image_set, "sha256": trained.image_set_sha256},
        "history": [dataclasses.asdict(result) for result in trained.history],
        "versions": {
            "python": platform.python_version(),
            **{package: metadata.version(package) for package in packages},
        },
    }


def _clip_latent(module: BinaryMLP) -> None:
    # beyond 1 a latent weight gets no gradient and could never return
    with torch.no_grad():
        for latent in module.latents:
            latent.clamp_(-1.0, 1.0)
