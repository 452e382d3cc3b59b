"""Image sets: digits (from scikit-learn), MNIST, Fashion-MNIST, CIFAR-10."""

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits

from bnn.images.downloads import REMOTE_FILES, download_files
from bnn.images.files import read_cifar_batch, read_idx_images, read_idx_labels

DIRECTORY_VARIABLE = "RRAM_DATA_DIR"
"""Environment variable that names the directory of the image sets."""

IMAGE_SETS = ("digits", "mnist", "fashion-mnist", "cifar-10")

_DIGITS_TEST_IMAGES = 600

_IDX_FILES: tuple[str, ...] = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_CIFAR_FILES = (*(f"data_batch_{batch}.bin" for batch in range(1, 6)), "test_batch.bin")
_CIFAR_FOLDER = "cifar-10-batches-bin"

_CLASSES = {
    "mnist": tuple("0123456789"),
    "fashion-mnist": (
        "T-shirt/top",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    ),
    "cifar-10": (
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ),
}


class ImagesNotFoundError(FileNotFoundError):
    """The files of an image set are not where they were looked for."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageSet:
    """Labelled images, split into training and test.

    Attributes
    ----------
    name : str
        Name of the set.
    train_images, test_images : uint8 array, shape (images, pixels)
        Pixels 0..255.
    train_labels, test_labels : int64 array, shape (images,)
        Index into `classes`.
    classes : tuple of str
        Names of the classes.
    shape : tuple of int
        How the pixels of one image are laid out: (rows, columns) or (colours, rows, columns).
    source : str
        Where the images come from.
    sha256 : str
        Hash over shape, images and labels; set on creation.
    """

    name: str
    train_images: npt.NDArray[np.uint8]
    train_labels: npt.NDArray[np.int64]
    test_images: npt.NDArray[np.uint8]
    test_labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    shape: tuple[int, ...]
    source: str
    sha256: str = field(init=False)

    def __repr__(self) -> str:
        """What an interactive session prints: name and numbers."""
        numbers = f"{len(self.train_images):,} training and {len(self.test_images):,} test images"
        return f"ImageSet({self.name!r}: {numbers} of {self.shape}, {len(self.classes)} classes)"

    def __post_init__(self) -> None:
        """Check types, shapes and labels; make the arrays read-only; hash them."""
        digest = hashlib.sha256(f"{self.shape} {len(self.classes)}".encode())
        pixels = int(np.prod(self.shape))
        for part in ("train", "test"):
            images, labels = getattr(self, f"{part}_images"), getattr(self, f"{part}_labels")
            if images.dtype != np.uint8 or images.ndim != 2 or images.shape[1] != pixels:
                raise ValueError(
                    f"{self.name}: {part}_images must be uint8 with the shape (images, {pixels}), "
                    f"got {images.dtype} with the shape {images.shape}"
                )
            if labels.dtype != np.int64 or labels.shape != images.shape[:1]:
                raise ValueError(
                    f"{self.name}: {part}_labels must be int64 with the shape "
                    f"({len(images)},), got {labels.dtype} with the shape {labels.shape}"
                )
            bad = np.flatnonzero((labels < 0) | (labels >= len(self.classes)))
            if bad.size:
                raise ValueError(
                    f"{self.name}: {part}_labels must lie in 0..{len(self.classes) - 1}, got "
                    f"{labels[bad[0]]} at index {bad[0]}"
                )
            for name, values in ((f"{part}_images", images), (f"{part}_labels", labels)):
                little = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
                digest.update(f"{name} {values.shape}".encode())
                digest.update(little.data)
                view = values.view()
                view.flags.writeable = False
                object.__setattr__(self, name, view)
        object.__setattr__(self, "sha256", digest.hexdigest())


def load_images(
    name: str, *, images_dir: str | os.PathLike[str] | None = None, download: bool = False
) -> ImageSet:
    """Load an image set.

    Parameters
    ----------
    name : str
        One of `IMAGE_SETS`. ``digits`` comes with scikit-learn and needs no files.
    images_dir : path, optional
        Directory of the image files: one that holds ``mnist/``, ``fashion-mnist/`` or
        ``cifar-10/``, one whose subfolder ``images/`` does, or the folder of the set itself, under
        that name. Without it the environment variable RRAM_DATA_DIR counts.
    download : bool
        Fetch missing files from the public mirrors into the directory.

    Returns
    -------
    ImageSet
        Original pixels, order and split. ``digits`` has 1,197 training and 600 test images, split
        evenly over the classes and always in the same way; its pixels 0..16 are spread over 0..255.

    Raises
    ------
    ImagesNotFoundError
        Files are missing; says which, and where to put them.
    ValueError
        Unknown name, or a file is damaged; names the file and the reason.
    ImageDownloadError
        The download failed.
    """
    if name not in IMAGE_SETS:
        raise ValueError(f"unknown image set {name!r}; known: {', '.join(IMAGE_SETS)}")
    if name == "digits":
        return _digits()
    given = images_dir if images_dir is not None else os.environ.get(DIRECTORY_VARIABLE) or None
    if given is None:
        raise ImagesNotFoundError(
            f"no directory for the image set {name!r}: give --images-dir DIRECTORY (images_dir in "
            f"Python) or set the environment variable {DIRECTORY_VARIABLE}; with --download the "
            f"files are fetched into it. The set 'digits' needs no files"
        )
    base = Path(given)
    paths = _find(name, base)
    if paths is None and download:
        folder = base if _own_folder(name, base) else base / name
        if name == "cifar-10" and folder.name != _CIFAR_FOLDER:
            folder = folder / _CIFAR_FOLDER
        download_files(REMOTE_FILES[name], folder=folder)
        paths = _find(name, base)
    if paths is None:
        raise ImagesNotFoundError(_missing_message(name, base))
    return _cifar(paths) if name == "cifar-10" else _idx(name, paths)


def _own_folder(name: str, base: Path) -> bool:
    # only under its own name: MNIST and Fashion-MNIST have the same file names, and taking one for
    # the other would go unnoticed
    here = base.resolve().name
    return here == name or (name == "cifar-10" and here == _CIFAR_FOLDER)


def _find(name: str, base: Path) -> dict[str, Path] | None:
    folders = [base / name, base / "images" / name]
    if _own_folder(name, base):
        folders.append(base)
    stems, suffix = _IDX_FILES, ".gz"
    if name == "cifar-10":
        folders += [folder / _CIFAR_FOLDER for folder in (*folders, base, base / "images")]
        stems, suffix = _CIFAR_FILES, ".xz"
    for folder in folders:
        paths = {}
        for stem in stems:
            for path in (folder / (stem + suffix), folder / stem):
                if path.is_file():
                    paths[stem] = path
                    break
        if len(paths) == len(stems):
            return paths
    return None


def _missing_message(name: str, base: Path) -> str:
    if name == "cifar-10":
        where = f"{name}/{_CIFAR_FOLDER}"
        wanted = ", ".join(f"{stem}.xz or {stem}" for stem in _CIFAR_FILES)
    else:
        where = name
        wanted = ", ".join(f"{stem}.gz" for stem in _IDX_FILES) + " (or the same unpacked)"
    return (
        f"the image set {name!r} is not complete under {base}: put {wanted} into {base / where}, "
        f"or name another directory with --images-dir DIRECTORY (images_dir in Python) or the "
        f"environment variable {DIRECTORY_VARIABLE}, or fetch the files with --download"
    )


def _idx(name: str, paths: dict[str, Path]) -> ImageSet:
    shape, classes = (28, 28), _CLASSES[name]
    train_images, train_labels, test_images, test_labels = (paths[stem] for stem in _IDX_FILES)
    return ImageSet(
        name=name,
        train_images=read_idx_images(train_images, shape=shape),
        train_labels=read_idx_labels(train_labels, classes=len(classes)),
        test_images=read_idx_images(test_images, shape=shape),
        test_labels=read_idx_labels(test_labels, classes=len(classes)),
        classes=classes,
        shape=shape,
        source="published IDX files",
    )


def _cifar(paths: dict[str, Path]) -> ImageSet:
    *train, test = (read_cifar_batch(paths[stem]) for stem in _CIFAR_FILES)
    return ImageSet(
        name="cifar-10",
        train_images=np.concatenate([images for images, _ in train]),
        train_labels=np.concatenate([labels for _, labels in train]),
        test_images=np.ascontiguousarray(test[0]),
        test_labels=test[1],
        classes=_CLASSES["cifar-10"],
        shape=(3, 32, 32),
        source="published binary version",
    )


def _digits() -> ImageSet:
    pixels, labels = load_digits(return_X_y=True)
    images = np.rint(pixels * (255 / 16)).astype(np.uint8)
    labels = labels.astype(np.int64)
    # walk through the images class by class and take every third or so: even over the classes,
    # without a random number that a future version might draw differently
    order = np.argsort(labels, kind="stable")
    share = np.arange(len(order) + 1) * _DIGITS_TEST_IMAGES // len(order)
    in_test = np.zeros(len(order), np.bool_)
    in_test[order] = np.diff(share) == 1
    return ImageSet(
        name="digits",
        train_images=images[~in_test],
        train_labels=labels[~in_test],
        test_images=images[in_test],
        test_labels=labels[in_test],
        classes=tuple("0123456789"),
        shape=(8, 8),
        source="scikit-learn, load_digits",
    )
