"""Downloads from a web server on this machine: the same code path as from a mirror."""

import gzip
import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import bnn.images.sets
from bnn import load_images
from bnn.images.downloads import REMOTE_FILES, ImageDownloadError, RemoteFile, download_files
from bnn.images.files import read_cifar_batch
from bnn.images.sets import ImagesNotFoundError


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "site").mkdir()
    return tmp_path / "site"


@pytest.fixture
def mirror(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=site)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_arrives(site: Path, mirror: str, tmp_path: Path) -> None:
    (site / "a.gz").write_bytes(b"content")
    target = tmp_path / "new" / "folder"
    download_files([RemoteFile("a.gz", md5(b"content"), (mirror,))], folder=target)
    assert (target / "a.gz").read_bytes() == b"content"
    assert names(target) == ["a.gz"]


def test_a_wrong_checksum_leaves_no_file(site: Path, mirror: str, tmp_path: Path) -> None:
    (site / "a.gz").write_bytes(b"changed")
    file = RemoteFile("a.gz", md5(b"content"), (mirror,))
    with pytest.raises(ValueError, match=rf"a\.gz from {mirror} does not have the published MD5"):
        download_files([file], folder=tmp_path / "target")
    assert names(tmp_path / "target") == []


def test_the_second_mirror_is_tried(site: Path, mirror: str, tmp_path: Path) -> None:
    (site / "a.gz").write_bytes(b"content")
    file = RemoteFile("a.gz", md5(b"content"), (mirror + "missing/", mirror))
    download_files([file], folder=tmp_path / "target")
    assert names(tmp_path / "target") == ["a.gz"]


def test_no_mirror_answers(mirror: str, tmp_path: Path) -> None:
    # not found on the first; nobody listens on port 9 (discard) of this machine
    file = RemoteFile("a.gz", md5(b"content"), (mirror, "http://127.0.0.1:9/"))
    with pytest.raises(ImageDownloadError) as caught:
        download_files([file], folder=tmp_path / "target")
    for part in ("a.gz", mirror, "404", "127.0.0.1:9", "Check the network"):
        assert part in str(caught.value)
    assert names(tmp_path / "target") == []


def archive(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def test_an_archive_is_unpacked_and_not_kept(site: Path, mirror: str, tmp_path: Path) -> None:
    content = archive({"top/one.bin": b"1", "top/two.bin": b"2", "../evil.bin": b"3"})
    (site / "a.tar.gz").write_bytes(content)
    file = RemoteFile("a.tar.gz", md5(content), (mirror,), ("one.bin", "two.bin"))
    download_files([file], folder=tmp_path / "target")
    assert names(tmp_path / "target") == ["one.bin", "two.bin"]
    assert (tmp_path / "target" / "two.bin").read_bytes() == b"2"
    assert names(tmp_path) == ["site", "target"]


def test_an_archive_without_a_member_leaves_no_file(
    site: Path, mirror: str, tmp_path: Path
) -> None:
    content = archive({"one.bin": b"1"})
    (site / "a.tar.gz").write_bytes(content)
    file = RemoteFile("a.tar.gz", md5(content), (mirror,), ("one.bin", "two.bin"))
    with pytest.raises(ValueError, match=r"a\.tar\.gz does not contain two\.bin"):
        download_files([file], folder=tmp_path / "target")
    assert names(tmp_path / "target") == []


def test_load_images_downloads_what_is_missing(
    site: Path, mirror: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = []
    for part, count in (("train", 2), ("t10k", 1)):
        size = bytes([0, 0, 0, count])
        images = bytes.fromhex("00000803") + size + bytes([0, 0, 0, 28] * 2) + bytes(count * 784)
        labels = bytes.fromhex("00000801") + size + bytes(count)
        for name, content in (("images-idx3", images), ("labels-idx1", labels)):
            packed = gzip.compress(content)
            (site / f"{part}-{name}-ubyte.gz").write_bytes(packed)
            files.append(RemoteFile(f"{part}-{name}-ubyte.gz", md5(packed), (mirror,)))
    monkeypatch.setitem(REMOTE_FILES, "mnist", tuple(files))
    base = tmp_path / "data"
    with pytest.raises(ImagesNotFoundError):
        load_images("mnist", images_dir=base)
    images = load_images("mnist", images_dir=base, download=True)
    assert images.train_images.shape == (2, 784)
    assert names(base / "mnist") == sorted(file.name for file in files)
    # what is there is not fetched again
    for path in site.iterdir():
        path.unlink()
    assert load_images("mnist", images_dir=base, download=True).sha256 == images.sha256


def test_load_images_downloads_cifar(
    site: Path, mirror: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = REMOTE_FILES["cifar-10"][0]
    content = archive(
        {f"cifar-10-batches-bin/{name}": bytes([1]) + bytes(3072) for name in published.members}
    )
    (site / published.name).write_bytes(content)
    file = RemoteFile(published.name, md5(content), (mirror,), published.members)
    monkeypatch.setitem(REMOTE_FILES, "cifar-10", (file,))
    monkeypatch.setattr(bnn.images.sets, "read_cifar_batch", partial(read_cifar_batch, records=1))
    images = load_images("cifar-10", images_dir=tmp_path / "data", download=True)
    assert images.train_labels.tolist() == [1] * 5
    assert names(tmp_path / "data" / "cifar-10" / "cifar-10-batches-bin") == sorted(
        published.members
    )


def test_published_checksums_are_complete() -> None:
    assert {name: len(files) for name, files in REMOTE_FILES.items()} == {
        "mnist": 4,
        "fashion-mnist": 4,
        "cifar-10": 1,
    }
    sums = [file.md5 for files in REMOTE_FILES.values() for file in files]
    assert len(set(sums)) == 9
    assert all(len(bytes.fromhex(md5_sum)) == 16 for md5_sum in sums)
