import gzip
import lzma
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from bnn.images.files import read_cifar_batch, read_idx_images, read_idx_labels

# two images of 2 x 3 pixels, written out by hand after the published description of the format
IMAGES = bytes.fromhex("00000803 00000002 00000002 00000003") + bytes(range(250, 256)) * 2
LABELS = bytes.fromhex("00000801 00000003") + bytes([0, 9, 4])
CIFAR = bytes([7]) + bytes(range(256)) * 12 + bytes([0]) + bytes(3072)


def write(path: Path, content: bytes) -> Path:
    if path.suffix == ".gz":
        content = gzip.compress(content)
    elif path.suffix == ".xz":
        content = lzma.compress(content)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", ["images", "images.gz"])
def test_idx_images(name: str, tmp_path: Path) -> None:
    images = read_idx_images(write(tmp_path / name, IMAGES), shape=(2, 3))
    assert images.dtype == np.uint8
    assert images.tolist() == [[250, 251, 252, 253, 254, 255]] * 2


@pytest.mark.parametrize("name", ["labels", "labels.gz"])
def test_idx_labels(name: str, tmp_path: Path) -> None:
    labels = read_idx_labels(write(tmp_path / name, LABELS), classes=10)
    assert labels.dtype == np.int64
    assert labels.tolist() == [0, 9, 4]


@pytest.mark.parametrize("name", ["batch.bin", "batch.bin.xz"])
def test_cifar_batch(name: str, tmp_path: Path) -> None:
    images, labels = read_cifar_batch(write(tmp_path / name, CIFAR), records=2)
    assert labels.tolist() == [7, 0]
    assert images.shape == (2, 3072)
    assert images[0, :3].tolist() == [0, 1, 2]
    assert images[1].sum() == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (IMAGES[:10], "10 bytes are too few for an IDX header"),
        (LABELS + bytes(9), "magic number 2049, expected 2051"),
        (IMAGES[:-1], "11 bytes after the header, which announces 12"),
        (IMAGES + b"x", "13 bytes after the header, which announces 12"),
        (IMAGES[:4] + bytes(4) + IMAGES[8:], "sizes in the header must be positive"),
        (IMAGES[:4] + b"\xff" * 4 + IMAGES[8:], "sizes in the header must be positive"),
        (IMAGES[:11] + b"\x03" + IMAGES[12:], "images of 3 x 3 pixels, expected 2 x 3"),
    ],
)
def test_damaged_images_are_named(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"images.gz: .*{message}"):
        read_idx_images(write(tmp_path / "images.gz", content), shape=(2, 3))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (LABELS[:-1], "2 bytes after the header, which announces 3"),
        (IMAGES, "magic number 2051, expected 2049"),
        (LABELS[:-2] + bytes([10, 4]), r"label 10 of image 1 is outside 0\.\.9"),
    ],
)
def test_damaged_labels_are_named(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"labels: {message}"):
        read_idx_labels(write(tmp_path / "labels", content), classes=10)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (CIFAR[:-1], r"6145 bytes, expected 6146 \(2 records of 3073 bytes\)"),
        (CIFAR[:3073], "3073 bytes, expected 6146"),
        (bytes([10]) + CIFAR[1:], r"label 10 of image 0 is outside 0\.\.9"),
    ],
)
def test_damaged_batches_are_named(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"batch.bin.xz: {message}"):
        read_cifar_batch(write(tmp_path / "batch.bin.xz", content), records=2)


@pytest.mark.parametrize("name", ["file.gz", "file.xz"])
@pytest.mark.parametrize("damage", ["cut", "other", "changed"])
def test_files_that_do_not_decompress_are_named(name: str, damage: str, tmp_path: Path) -> None:
    path = write(tmp_path / name, CIFAR)
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "other":
        content = bytearray(b"not compressed at all")
    else:
        content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=f"{name}: not a file of images or labels .*fetch it again"
    ):
        read_cifar_batch(path, records=2)


@pytest.mark.parametrize("name", ["file.gz", "file.xz"])
def test_files_are_expanded_within_a_bound(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few kilobytes that hold 100 MB; the bound of 1 MB stands for that of real files."""
    path = tmp_path / name
    block = bytes(10**6)
    if name == "file.gz":
        path.write_bytes(100 * gzip.compress(block))
    else:
        packer = lzma.LZMACompressor(preset=0)
        path.write_bytes(b"".join(packer.compress(block) for _ in range(100)) + packer.flush())
    assert path.stat().st_size < 2e5
    monkeypatch.setattr("bnn.images.files.MOST_BYTES", 10**6)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=f"{name}: .* holds more than 1000000 bytes"):
            read_cifar_batch(path, records=2)
        assert tracemalloc.get_traced_memory()[1] < 10e6
    finally:
        tracemalloc.stop()


def test_an_xz_file_that_asks_for_much_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Preset 9 asks for 65 MB, whatever it holds."""
    path = tmp_path / "file.xz"
    path.write_bytes(lzma.compress(CIFAR, preset=9))
    read_cifar_batch(path, records=2)
    monkeypatch.setattr("bnn.images.files.MOST_BYTES", 2**25)
    with pytest.raises(ValueError, match=r"file\.xz: .*[Mm]emory"):
        read_cifar_batch(path, records=2)
