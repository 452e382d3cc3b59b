"""Binarized neural networks: training, folding, storage and evaluation under weight errors."""

from bnn.architectures import BinaryConvNet, BinaryMLP, module_answers
from bnn.array_mapping import ArrayShape
from bnn.chips import Chip, ClassTotal, draw_chip, draw_misread
from bnn.errors import (
    Errors,
    Flips,
    LineFaults,
    StuckAt,
    TransientFlips,
    chip_flips,
)
from bnn.evaluation import combine, evaluate, evaluate_errors, evaluate_positions
from bnn.folding import fold
from bnn.image_downloads import ImageDownloadError
from bnn.image_parts import ImagePart
from bnn.images import IMAGE_SETS, ImageSet, ImagesNotFoundError, load_images
from bnn.loss_variance import LossVariance, loss_variance
from bnn.network import (
    ConvLayer,
    FoldedNetwork,
    HiddenLayer,
    OutputLayer,
    flip_weights,
    network_sha256,
)
from bnn.precision import (
    Precision,
    count_to_precision,
    evaluate_to_precision,
    loss_standard_error,
)
from bnn.storage import load_network, save_network
from bnn.training import EpochResult, TrainedNetwork, TrainingOptions, train, training_record

__all__ = [
    "IMAGE_SETS",
    "ArrayShape",
    "BinaryConvNet",
    "BinaryMLP",
    "Chip",
    "ClassTotal",
    "ConvLayer",
    "EpochResult",
    "Errors",
    "Flips",
    "FoldedNetwork",
    "HiddenLayer",
    "ImagePart",
    "ImageDownloadError",
    "ImageSet",
    "ImagesNotFoundError",
    "LineFaults",
    "LossVariance",
    "OutputLayer",
    "Precision",
    "StuckAt",
    "TrainedNetwork",
    "TrainingOptions",
    "TransientFlips",
    "chip_flips",
    "combine",
    "count_to_precision",
    "draw_chip",
    "draw_misread",
    "evaluate",
    "evaluate_errors",
    "evaluate_positions",
    "evaluate_to_precision",
    "flip_weights",
    "fold",
    "load_images",
    "load_network",
    "loss_standard_error",
    "loss_variance",
    "module_answers",
    "network_sha256",
    "save_network",
    "train",
    "training_record",
]
