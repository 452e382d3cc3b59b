"""Readers for the published image files: IDX (MNIST, Fashion-MNIST) and CIFAR-10 binary."""

import gzip
import lzma
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bnn.machine.stored import reading

IDX_IMAGES_MAGIC = 2051
IDX_LABELS_MAGIC = 2049
CIFAR_PIXELS = 3 * 32 * 32
CIFAR_BATCH_RECORDS = 10_000

MOST_BYTES = 2**27
"""Most bytes of one file, decompressed; the training images of MNIST are 47 million."""

Bytes = npt.NDArray[np.uint8]


def read_idx_images(path: Path, *, shape: tuple[int, int]) -> Bytes:
    """Read an IDX file of grey images.

    Parameters
    ----------
    path : Path
        File, plain or with the suffix ``.gz``.
    shape : (int, int)
        Rows and columns that the images must have.

    Returns
    -------
    uint8 array, shape (images, rows * columns)
        Pixels, row by row.

    Raises
    ------
    ValueError
        The file is damaged or holds something else; names the file and the reason.
    """
    content = _read(path)
    count, *size = _idx_header(path, content, magic=IDX_IMAGES_MAGIC, sizes=3)
    if tuple(size) != shape:
        raise ValueError(
            f"{path}: images of {size[0]} x {size[1]} pixels, expected {shape[0]} x {shape[1]}"
        )
    return _idx_body(path, content, header=16, expected=count * size[0] * size[1]).reshape(
        count, size[0] * size[1]
    )


def read_idx_labels(path: Path, *, classes: int) -> npt.NDArray[np.int64]:
    """Read an IDX file of labels.

    Parameters
    ----------
    path : Path
        File, plain or with the suffix ``.gz``.
    classes : int
        Labels must lie in 0..classes-1.

    Returns
    -------
    int64 array, shape (images,)
        The labels.

    Raises
    ------
    ValueError
        The file is damaged or holds something else; names the file and the reason.
    """
    content = _read(path)
    (count,) = _idx_header(path, content, magic=IDX_LABELS_MAGIC, sizes=1)
    return _labels(path, _idx_body(path, content, header=8, expected=count), classes)


def read_cifar_batch(
    path: Path, *, records: int = CIFAR_BATCH_RECORDS
) -> tuple[Bytes, npt.NDArray[np.int64]]:
    """Read one batch of CIFAR-10, binary version.

    Parameters
    ----------
    path : Path
        File, plain or with the suffix ``.xz``.
    records : int
        Images that the batch must hold; the format itself does not say.

    Returns
    -------
    images : uint8 array, shape (records, 3072)
        Red, green and blue plane of each image, each row by row.
    labels : int64 array, shape (records,)
        Labels 0..9.

    Raises
    ------
    ValueError
        The file is damaged or holds something else; names the file and the reason.
    """
    content = _read(path)
    expected = records * (1 + CIFAR_PIXELS)
    if len(content) != expected:
        raise ValueError(
            f"{path}: {len(content)} bytes, expected {expected} ({records} records of "
            f"{1 + CIFAR_PIXELS} bytes); the file is cut short or not a CIFAR-10 batch"
        )
    table = np.frombuffer(content, np.uint8).reshape(records, 1 + CIFAR_PIXELS)
    return table[:, 1:], _labels(path, table[:, 0], 10)


def _read(path: Path) -> bytes:
    """Content of a file, decompressed; never more than `MOST_BYTES` and one are expanded."""
    with reading(path, "file of images or labels", "fetch it again"):
        if path.suffix == ".xz":
            # a stream may ask for gigabytes of memory to be decompressed with
            decompressor = lzma.LZMADecompressor(memlimit=MOST_BYTES)
            content = decompressor.decompress(path.read_bytes(), MOST_BYTES + 1)
            if len(content) <= MOST_BYTES and not decompressor.eof:
                raise EOFError("the compressed stream ends too early")
        else:
            with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
                content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise ValueError(f"it holds more than {MOST_BYTES} bytes")
    return content


def _idx_header(path: Path, content: bytes, *, magic: int, sizes: int) -> list[int]:
    if len(content) < 4 * (1 + sizes):
        raise ValueError(f"{path}: {len(content)} bytes are too few for an IDX header")
    found, *header = np.frombuffer(content, ">i4", count=1 + sizes).tolist()
    if found != magic:
        raise ValueError(f"{path}: magic number {found}, expected {magic}")
    if min(header) < 1:
        raise ValueError(f"{path}: sizes in the header must be positive, got {header}")
    return header


def _idx_body(path: Path, content: bytes, *, header: int, expected: int) -> Bytes:
    body = np.frombuffer(content, np.uint8, offset=header)
    if len(body) != expected:
        raise ValueError(
            f"{path}: {len(body)} bytes after the header, which announces {expected}; the file is "
            f"cut short or damaged"
        )
    return body


def _labels(path: Path, labels: Bytes, classes: int) -> npt.NDArray[np.int64]:
    bad = np.flatnonzero(labels >= classes)
    if bad.size:
        raise ValueError(
            f"{path}: label {labels[bad[0]]} of image {bad[0]} is outside 0..{classes - 1}"
        )
    return labels.astype(np.int64)
