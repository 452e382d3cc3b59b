"""What a training is: architecture, schedule, errors, loss, augmentation and seed."""

import math
import re
from dataclasses import dataclass

from bnn.errors.errors import check_ber

LOSSES = ("cross-entropy", "squared hinge")
GRADIENTS = ("flipped", "clean")
NORMALISATIONS = ("batch", "running")
ARITHMETICS = ("float32", "bfloat16")


@dataclass(frozen=True, kw_only=True)
class Convolutions:
    """Convolutions before the fully connected layers, as of `bnn.BinaryConvNet`.

    Attributes
    ----------
    channels : tuple of int
        Output channels of each convolution.
    pool_after : int
        A pooling follows every `pool_after`-th convolution.
    kernel : int
        Rows and columns of the kernels, odd.
    """

    channels: tuple[int, ...] = (128, 128, 256, 256, 512, 512)
    pool_after: int = 2
    kernel: int = 3

    def __post_init__(self) -> None:
        """Check every range."""
        if (
            not isinstance(self.channels, tuple)
            or not self.channels
            or any(size < 1 for size in self.channels)
        ):
            raise ValueError(
                f"channels must be a tuple of positive integers, got {self.channels!r}"
            )
        if self.pool_after < 1:
            raise ValueError(f"pool_after must be at least 1, got {self.pool_after}")
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd and positive, got {self.kernel}")


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random changes of training images, drawn anew for each image and epoch.

    Attributes
    ----------
    shift : int
        Largest shift in pixels, up, down, left and right; black comes in from the edge.
    mirror : bool
        Mirror half of the images, left to right.
    """

    shift: int = 4
    mirror: bool = True

    def __post_init__(self) -> None:
        """Check the range."""
        if self.shift < 0:
            raise ValueError(f"shift must not be negative, got {self.shift}")


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How to train.

    Attributes
    ----------
    hidden : tuple of int
        Neurons of each hidden fully connected layer.
    convolutions : Convolutions or None
        Convolutions before them, or none.
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
    ber_from : float or None
        Where given, each step has a rate of its own, uniform between `ber_from` and `ber`: a
        network trained at one rate can lose accuracy at lower ones.
    gradient : {"flipped", "clean"}
        Weights through which the gradient travels back to earlier layers: those with flips that
        the forward pass used, or the right ones.
    loss : {"cross-entropy", "squared hinge"}
        Of the batch-normalised scores. The squared hinge asks the score of the right class to be
        at least `margin` and those of the others at most ``-margin``.
    margin : float
        With the cross-entropy the score of the right class is lowered by so much before it is
        judged; 0 is the plain one.
    normalise_by : {"batch", "running"}
        Statistics with which batch norm normalises during training: those of the batch, as usual,
        or from the second epoch on their running means. All images of a step see the same flips,
        so those of the batch undo what the flips do to all images alike, as `bnn.calibrate_chip`
        does on a chip; running ones leave it, as fixed thresholds do.
    statistics_ber : float or None
        Where given, the statistics that are folded are measured again after the last epoch, at
        this rate: 0 for a network whose thresholds are to be calibrated, since the running ones of
        a training with flips fit no rate exactly.
    augmentation : Augmentation or None
        Random changes of the training images, or none.
    seed : int
        Seed of initial weights, order of images, flips and augmentation.
    arithmetic : {"float32", "bfloat16"}
        Numbers of the products. bfloat16 holds pixels, weights and signs exactly; sums are
        gathered in float32 and rounded to 8 bits. Twice as fast for convolutions where the
        processor has instructions for it. Batch norm, loss and latent weights stay in float32, and
        evaluation is exact in either case.
    compiled : bool
        Let PyTorch compile the step, and Adam do its work in one pass. Needs a C++ compiler;
        the first step takes a while.
    device : str
        ``"cpu"``, ``"cuda"`` or ``"cuda:N"``. Flips and augmentation are drawn on the CPU, the same
        ones for any device.
    threads : int
        CPU threads. Another number may round sums differently and so give other bytes.
    """

    hidden: tuple[int, ...] = (1024, 1024)
    convolutions: Convolutions | None = None
    epochs: int = 15
    batch_size: int = 100
    learning_rate: float = 5e-3
    ber: float = 0.0
    ber_from: float | None = None
    gradient: str = "flipped"
    loss: str = "cross-entropy"
    margin: float = 0.0
    normalise_by: str = "batch"
    statistics_ber: float | None = None
    augmentation: Augmentation | None = None
    arithmetic: str = "float32"
    compiled: bool = False
    device: str = "cpu"
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
        if self.ber_from is not None and not 0.0 <= self.ber_from <= self.ber:
            raise ValueError(
                f"ber_from must lie between 0 and ber = {self.ber}, got {self.ber_from}"
            )
        if self.statistics_ber is not None:
            check_ber(self.statistics_ber)
        for name, known in (
            ("gradient", GRADIENTS),
            ("loss", LOSSES),
            ("normalise_by", NORMALISATIONS),
            ("arithmetic", ARITHMETICS),
        ):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"unknown {name} {getattr(self, name)!r}; known: {', '.join(known)}"
                )
        if not re.fullmatch(r"cpu|cuda(:\d+)?", self.device):
            raise ValueError(f"unknown device {self.device!r}; known: cpu, cuda, cuda:N")
        least_margin = "positive" if self.loss == "squared hinge" else "not negative"
        if not math.isfinite(self.margin) or self.margin < 0:
            raise ValueError(f"margin must be {least_margin}, got {self.margin}")
        if self.loss == "squared hinge" and self.margin == 0:
            raise ValueError("margin must be positive with the squared hinge, got 0.0")
