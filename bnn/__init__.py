"""Binarized neural networks: training, folding, storage and evaluation under weight errors."""

from bnn.calibration.calibration import (
    CalibrationReference,
    ChipThresholds,
    calibrate_chip,
    calibration_reference,
    fold_for_ber,
)
from bnn.engines.misread.reference import misreads_of, read_answers
from bnn.errors.array_mapping import ArrayShape
from bnn.errors.chips import Chip, ClassTotal, draw_chip, draw_misread
from bnn.errors.errors import Errors, Flips, LineFaults, StuckAt, TransientFlips, chip_flips
from bnn.evaluation.calibrated_evaluation import evaluate_calibrated, evaluate_folded
from bnn.evaluation.evaluation import combine, evaluate, evaluate_errors, evaluate_positions
from bnn.evaluation.loss_variance import LossVariance, loss_variance
from bnn.evaluation.precision import (
    Precision,
    count_to_precision,
    evaluate_to_precision,
    loss_standard_error,
)
from bnn.images.downloads import ImageDownloadError
from bnn.images.parts import ImagePart
from bnn.images.sets import IMAGE_SETS, ImageSet, ImagesNotFoundError, load_images
from bnn.importing.array_import import from_arrays, from_npz
from bnn.importing.imported import ImportedNetwork
from bnn.importing.keras_import import from_keras
from bnn.importing.onnx_import import from_onnx
from bnn.importing.source_graph import PixelEncoding
from bnn.importing.source_stages import ImportRefusedError
from bnn.importing.torch_import import from_torch
from bnn.networks.copies import copy_neurons
from bnn.networks.network import (
    ConvLayer,
    FoldedNetwork,
    HiddenLayer,
    OutputLayer,
    flip_weights,
    network_sha256,
)
from bnn.networks.storage import load_network, save_network, seal_network
from bnn.training.architectures import BinaryConvNet, BinaryMLP, module_answers
from bnn.training.folding import fold
from bnn.training.options import Augmentation, Convolutions, TrainingOptions
from bnn.training.training import EpochResult, TrainedNetwork, train, training_record
from bnn.zoo import ZooNetwork, load_zoo, open_network, zoo_networks

__all__ = [
    "IMAGE_SETS",
    "ArrayShape",
    "Augmentation",
    "BinaryConvNet",
    "BinaryMLP",
    "CalibrationReference",
    "Chip",
    "ChipThresholds",
    "ClassTotal",
    "ConvLayer",
    "Convolutions",
    "EpochResult",
    "Errors",
    "Flips",
    "FoldedNetwork",
    "HiddenLayer",
    "ImagePart",
    "ImageDownloadError",
    "ImageSet",
    "ImagesNotFoundError",
    "ImportRefusedError",
    "ImportedNetwork",
    "LineFaults",
    "LossVariance",
    "OutputLayer",
    "PixelEncoding",
    "Precision",
    "StuckAt",
    "TrainedNetwork",
    "TrainingOptions",
    "TransientFlips",
    "ZooNetwork",
    "calibrate_chip",
    "calibration_reference",
    "chip_flips",
    "combine",
    "copy_neurons",
    "count_to_precision",
    "draw_chip",
    "draw_misread",
    "evaluate",
    "evaluate_calibrated",
    "evaluate_errors",
    "evaluate_folded",
    "evaluate_positions",
    "evaluate_to_precision",
    "flip_weights",
    "fold",
    "fold_for_ber",
    "from_arrays",
    "from_keras",
    "from_npz",
    "from_onnx",
    "from_torch",
    "load_images",
    "load_network",
    "load_zoo",
    "loss_standard_error",
    "loss_variance",
    "misreads_of",
    "module_answers",
    "network_sha256",
    "open_network",
    "read_answers",
    "save_network",
    "seal_network",
    "train",
    "training_record",
    "zoo_networks",
]
