import gzip
import lzma
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnn.images.sets
from bnn import ImageSet, load_images
from bnn.images.files import read_cifar_batch
from bnn.images.sets import ImagesNotFoundError


@pytest.fixture(autouse=True)
def _no_directory_from_outside(monkeypatch: pytest.MonkeyPatch, request: Any) -> None:
    # `images_dir` reads the variable, so it comes first where a test uses it
    if "images_dir" in request.fixturenames:
        request.getfixturevalue("images_dir")
    monkeypatch.delenv("RRAM_DATA_DIR", raising=False)


def write_idx(folder: Path, *, first_pixel: int = 0, compress: bool = True) -> None:
    """Write a set of three training images and one test image."""
    folder.mkdir(parents=True)
    for part, count in (("train", 3), ("t10k", 1)):
        size = count.to_bytes(4, "big")
        images = bytes.fromhex("00000803") + size + bytes([0, 0, 0, 28] * 2)
        images += bytes([first_pixel]) + bytes(count * 784 - 1)
        labels = bytes.fromhex("00000801") + size + bytes(range(count))
        for name, content in (("images-idx3", images), ("labels-idx1", labels)):
            path = folder / f"{part}-{name}-ubyte"
            if compress:
                path = path.with_name(path.name + ".gz")
                content = gzip.compress(content)
            path.write_bytes(content)


def test_digits() -> None:
    digits = load_images("digits")
    assert digits.train_images.shape == (1197, 64)
    assert digits.test_images.shape == (600, 64)
    assert digits.classes == tuple("0123456789")
    assert digits.shape == (8, 8)
    # p * 255 / 16, rounded: 0, 16 (15.94), ..., 128 (127.5, to even), ..., 255
    expected = {round(p * 255 / 16) for p in range(17)}
    assert set(np.unique(digits.train_images).tolist()) == expected
    assert {0, 16, 128, 255} < expected


def test_digits_are_split_evenly_and_completely() -> None:
    from sklearn.datasets import load_digits

    digits = load_images("digits")
    _, labels = load_digits(return_X_y=True)
    shares = np.bincount(digits.test_labels) / np.bincount(labels)
    # one image of about 180 more or less in a class
    assert np.abs(shares - 600 / 1797).max() < 1 / 170
    train, test = np.bincount(digits.train_labels), np.bincount(digits.test_labels)
    np.testing.assert_array_equal(train + test, np.bincount(labels))


def test_digits_are_always_the_same() -> None:
    first, second = load_images("digits"), load_images("digits")
    assert first.sha256 == second.sha256
    # written down from the first release: another split would change every stored result
    assert first.sha256 == "548a1b5a316e966f9bfbe0f67d005f055b06e49bb43eb6cc08cc1a8720f63c63"


def made(**changes: Any) -> ImageSet:
    parts: dict[str, Any] = {
        "name": "made",
        "train_images": np.zeros((3, 4), np.uint8),
        "train_labels": np.zeros(3, np.int64),
        "test_images": np.zeros((2, 4), np.uint8),
        "test_labels": np.array([0, 1]),
        "classes": ("a", "b"),
        "shape": (2, 2),
        "source": "made here",
    }
    return ImageSet(**{**parts, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_images": np.zeros((3, 5), np.uint8)}, r"train_images .* \(images, 4\)"),
        ({"test_images": np.zeros((2, 4))}, "test_images must be uint8"),
        ({"train_labels": np.zeros(4, np.int64)}, r"train_labels .* \(3,\)"),
        ({"train_labels": np.zeros(3)}, "train_labels must be int64"),
        ({"test_labels": np.array([0, 2])}, r"test_labels must lie in 0\.\.1, got 2 at index 1"),
        ({"test_labels": np.array([-1, 0])}, "got -1 at index 0"),
    ],
)
def test_image_sets_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"made: {message}|made: .*{message}"):
        made(**changes)


def test_hash_sees_every_array() -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"train_images": np.ones((3, 4), np.uint8)},
        {"train_labels": np.ones(3, np.int64)},
        {"test_images": np.ones((2, 4), np.uint8)},
        {"test_labels": np.array([1, 1])},
        {"shape": (4,)},
    ]
    assert len({made(**change).sha256 for change in changes}) == len(changes)
    assert made(name="other").sha256 == made().sha256


def test_arrays_are_read_only() -> None:
    with pytest.raises(ValueError, match="read-only"):
        made().train_images[0, 0] = 1


def test_unknown_set_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'emnist'; known: digits, mnist, fashion-mnist, cifar-10"):
        load_images("emnist")


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("given", ["", "..", "images-parent"])
def test_directories_that_are_understood(given: str, compress: bool, tmp_path: Path) -> None:
    base = tmp_path / "images"
    write_idx(base / "mnist", compress=compress)
    directory = {"": base, "..": base / "mnist", "images-parent": tmp_path}[given]
    images = load_images("mnist", images_dir=directory)
    assert images.train_images.shape == (3, 784)
    assert images.train_labels.tolist() == [0, 1, 2]
    assert images.test_labels.tolist() == [0]
    assert (images.name, images.shape) == ("mnist", (28, 28))


def test_directory_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_idx(tmp_path / "a" / "mnist", first_pixel=1)
    write_idx(tmp_path / "b" / "mnist", first_pixel=2)
    monkeypatch.setenv("RRAM_DATA_DIR", str(tmp_path / "a"))
    assert load_images("mnist").train_images[0, 0] == 1
    # the argument counts more than the environment
    assert load_images("mnist", images_dir=tmp_path / "b").train_images[0, 0] == 2


def test_mnist_is_never_taken_for_fashion_mnist(tmp_path: Path) -> None:
    # both sets have the same file names
    write_idx(tmp_path / "mnist")
    with pytest.raises(ImagesNotFoundError, match="'fashion-mnist' is not complete"):
        load_images("fashion-mnist", images_dir=tmp_path / "mnist")


def test_without_a_directory_the_message_says_what_to_do() -> None:
    with pytest.raises(ImagesNotFoundError) as caught:
        load_images("mnist")
    for remedy in ("--images-dir", "RRAM_DATA_DIR", "--download", "digits"):
        assert remedy in str(caught.value)


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("mnist", ["train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz", "mnist"]),
        ("cifar-10", ["data_batch_1.bin.xz", "test_batch.bin", "cifar-10-batches-bin"]),
    ],
)
def test_missing_files_are_listed(name: str, files: list[str], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        load_images(name, images_dir=tmp_path)
    for part in (*files, str(tmp_path), "--images-dir", "RRAM_DATA_DIR", "--download"):
        assert part in str(caught.value)


def test_one_missing_file_is_enough(tmp_path: Path) -> None:
    write_idx(tmp_path / "mnist")
    (tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(ImagesNotFoundError):
        load_images("mnist", images_dir=tmp_path)


def test_images_and_labels_of_unequal_number_are_refused(tmp_path: Path) -> None:
    write_idx(tmp_path / "mnist")
    folder = tmp_path / "mnist"
    shutil.copy(folder / "t10k-labels-idx1-ubyte.gz", folder / "train-labels-idx1-ubyte.gz")
    with pytest.raises(
        ValueError, match=r"train_labels .* \(3,\), got int64 with the shape \(1,\)"
    ):
        load_images("mnist", images_dir=tmp_path)


@pytest.mark.parametrize("folder", ["cifar-10/cifar-10-batches-bin", "cifar-10-batches-bin"])
@pytest.mark.parametrize("compress", [True, False])
def test_cifar(
    folder: str, compress: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bnn.images.sets, "read_cifar_batch", partial(read_cifar_batch, records=1))
    (tmp_path / folder).mkdir(parents=True)
    for number, name in enumerate([*(f"data_batch_{b}" for b in range(1, 6)), "test_batch"]):
        content = bytes([number]) + bytes([10 + number]) * 3072
        path = tmp_path / folder / f"{name}.bin"
        if compress:
            path, content = path.with_name(path.name + ".xz"), lzma.compress(content)
        path.write_bytes(content)
    for directory in (tmp_path, tmp_path / folder):
        images = load_images("cifar-10", images_dir=directory)
        assert images.train_labels.tolist() == [0, 1, 2, 3, 4]
        assert images.train_images[:, -1].tolist() == [10, 11, 12, 13, 14]
        assert images.test_labels.tolist() == [5]
        assert images.shape == (3, 32, 32)
        assert images.classes[6] == "frog"


# class counts of the published sets
MNIST_TRAIN = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
MNIST_TEST = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@pytest.mark.parametrize(
    ("name", "train", "test", "pixels"),
    [
        ("mnist", MNIST_TRAIN, MNIST_TEST, 784),
        ("fashion-mnist", [6000] * 10, [1000] * 10, 784),
        ("cifar-10", [5000] * 10, [1000] * 10, 3072),
    ],
)
def test_published_files(
    name: str, train: list[int], test: list[int], pixels: int, images_dir: Path
) -> None:
    images = load_images(name, images_dir=images_dir)
    assert images.train_images.shape == (sum(train), pixels)
    assert images.test_images.shape == (sum(test), pixels)
    assert np.bincount(images.train_labels).tolist() == train
    assert np.bincount(images.test_labels).tolist() == test


def test_first_published_labels_of_mnist(images_dir: Path) -> None:
    # the first digits of MNIST are 5 0 4 1 9 and 7 2 1 0 4, as in many tutorials
    mnist = load_images("mnist", images_dir=images_dir)
    assert mnist.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert mnist.test_labels[:5].tolist() == [7, 2, 1, 0, 4]
    # mean pixel over 255 is 0.1307 (the usual normalisation constant)
    assert abs(mnist.train_images.mean() / 255 - 0.1307) < 5e-5
