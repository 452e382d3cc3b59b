"""Binarized neural networks: training, folding, storage and evaluation under weight errors."""

from bnn.architectures import BinaryMLP, module_answers
from bnn.errors import IndependentFlips, chip_flips
from bnn.evaluation import combine, evaluate
from bnn.folding import fold
from bnn.image_downloads import ImageDownloadError
from bnn.images import IMAGE_SETS, ImageSet, ImagesNotFoundError, load_images
from bnn.network import FoldedNetwork, HiddenLayer, OutputLayer, flip_weights, network_sha256
from bnn.storage import load_network, save_network
from bnn.training import EpochResult, TrainedNetwork, TrainingOptions, train, training_record

__all__ = [
    "IMAGE_SETS",
    "BinaryMLP",
    "EpochResult",
    "FoldedNetwork",
    "HiddenLayer",
    "ImageDownloadError",
    "ImageSet",
    "ImagesNotFoundError",
    "IndependentFlips",
    "OutputLayer",
    "TrainedNetwork",
    "TrainingOptions",
    "chip_flips",
    "combine",
    "evaluate",
    "flip_weights",
    "fold",
    "load_images",
    "load_network",
    "module_answers",
    "network_sha256",
    "save_network",
    "train",
    "training_record",
]
