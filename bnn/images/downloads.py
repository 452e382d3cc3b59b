"""Fetching the published image files, checked against their published checksums."""

import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pooch


class ImageDownloadError(OSError):
    """No mirror delivered a file."""


@dataclass(frozen=True)
class RemoteFile:
    """A published file.

    Attributes
    ----------
    name : str
        File name.
    md5 : str
        Published MD5 checksum, in hex.
    mirrors : tuple of str
        Folders on the web, each ending in a slash, tried in this order.
    members : tuple of str
        Empty for a plain file; for a tar archive the file names to unpack.
    """

    name: str
    md5: str
    mirrors: tuple[str, ...]
    members: tuple[str, ...] = ()


_MNIST_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
_FASHION_MIRRORS = ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",)

REMOTE_FILES: dict[str, tuple[RemoteFile, ...]] = {
    "mnist": tuple(
        RemoteFile(name, md5, _MNIST_MIRRORS)
        for name, md5 in (
            ("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
            ("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
            ("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
            ("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
        )
    ),
    "fashion-mnist": tuple(
        RemoteFile(name, md5, _FASHION_MIRRORS)
        for name, md5 in (
            ("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
            ("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
            ("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
            ("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
        )
    ),
    "cifar-10": (
        RemoteFile(
            "cifar-10-binary.tar.gz",
            "c32a1d4ab5d03f1284b67883e8d87530",
            ("https://www.cs.toronto.edu/~kriz/",),
            (*(f"data_batch_{batch}.bin" for batch in range(1, 6)), "test_batch.bin"),
        ),
    ),
}
"""Published files of each image set. Checksums: the data sets' own pages and loaders."""


def download_files(files: Sequence[RemoteFile], *, folder: Path) -> None:
    """Fetch files into a folder; whatever appears there is complete and checked.

    Parameters
    ----------
    files : sequence of RemoteFile
        What to fetch. Archives are unpacked and not kept.
    folder : Path
        Where to put the files; made if missing. A plain file that is already there with the right
        checksum is not fetched again.

    Raises
    ------
    ImageDownloadError
        No mirror delivered a file; gives the reason for each mirror.
    ValueError
        A file arrived, but its checksum is wrong; gives file and mirror.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        if not file.members:
            _retrieve(file, folder)
            continue
        # beside the target, so that the last step is a rename on one file system
        with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as scratch:
            archive = _retrieve(file, Path(scratch))
            for member in _unpack(archive, file.members, Path(scratch)):
                member.replace(folder / member.name)


def _retrieve(file: RemoteFile, folder: Path) -> Path:
    reasons = []
    for mirror in file.mirrors:
        try:
            path = pooch.retrieve(
                mirror + file.name, known_hash=f"md5:{file.md5}", fname=file.name, path=folder
            )
        except OSError as error:
            reasons.append(f"{mirror}: {error}")
        except ValueError as error:
            raise ValueError(
                f"{file.name} from {mirror} does not have the published MD5 {file.md5} and was "
                f"not kept; try again later or put the file there yourself ({error})"
            ) from error
        else:
            return Path(path)
    raise ImageDownloadError(
        f"could not download {file.name}; tried "
        + "; ".join(reasons)
        + ". Check the network, or put the file there yourself"
    )


def _unpack(archive: Path, members: Sequence[str], folder: Path) -> list[Path]:
    paths = []
    with tarfile.open(archive) as tar:
        inside = {Path(info.name).name: info for info in tar.getmembers() if info.isfile()}
        for name in members:
            source = tar.extractfile(inside[name]) if name in inside else None
            if source is None:
                raise ValueError(f"{archive.name} does not contain {name}")
            path = folder / name
            path.write_bytes(source.read())
            paths.append(path)
    return paths
