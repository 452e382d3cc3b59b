"""Saving and loading folded networks: tensors in safetensors, everything else in a JSON twin."""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from bnn.machine.stored import (
    document_text,
    read_document,
    reading,
    reason,
    shown,
    unsealed,
)
from bnn.networks.network import (
    ConvLayer,
    FoldedNetwork,
    HiddenLayer,
    Layer,
    OutputLayer,
    network_sha256,
)

FORMAT = "rram-reliability folded network"
FORMAT_VERSION = 3
"""Version that is written and read: the twin has a hash over all that it says."""

UNSEALED_VERSIONS = (1, 2)
"""Versions before it, whose twins have none; `seal_network` reads them."""

_AGAIN = "fetch or write the network again"

_KINDS: dict[str, type[Layer]] = {
    "hidden": HiddenLayer,
    "conv": ConvLayer,
    "output": OutputLayer,
}
# what the twin says of a layer beside name, kind and rows, and the tensors of the layer
_NUMBERS = {
    "hidden": ("columns",),
    "conv": ("channels", "height", "width", "kernel", "pool"),
    "output": ("columns",),
}
_PARTS = {
    "hidden": ("weights", "threshold", "direction"),
    "conv": ("weights", "threshold", "direction"),
    "output": ("weights", "scale", "shift"),
}


def save_network(
    network: FoldedNetwork, path: str | os.PathLike[str], *, record: Mapping[str, Any]
) -> None:
    """Write a network as ``NAME.safetensors`` and its twin ``NAME.json``.

    Each file is written under a temporary name in the same folder and then renamed, so a reader
    never sees half a file. The twin holds the hash of the tensors and one over itself, so a pair
    that does not belong together and a record that was changed are refused by `load_network`.

    Parameters
    ----------
    network : FoldedNetwork
        Network to save.
    path : path
        File of the tensors, with the suffix ``.safetensors``; its folder exists.
    record : mapping
        How the network came about, for instance from `training_record`; plain numbers, strings,
        lists and dicts. Tuples come back as lists.

    Raises
    ------
    ValueError
        The suffix is wrong, or `record` cannot be written as JSON.
    FileExistsError
        Another file than the twin of a network has the name ``NAME.json``.
    """
    tensor_path, twin_path = _pair(path)
    _refuse_foreign(twin_path)
    arrays = {
        f"{layer.name}.{part}": np.ascontiguousarray(getattr(layer, part))
        for layer in network.layers
        for part in _PARTS[_kind(layer)]
    }
    tensors = safetensors.numpy.save(arrays)
    twin = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "tensors_sha256": hashlib.sha256(tensors).hexdigest(),
        "network_sha256": network_sha256(network),
        "layers": [
            {
                "name": layer.name,
                "kind": _kind(layer),
                "rows": len(layer.weights),
                **{number: getattr(layer, number) for number in _NUMBERS[_kind(layer)]},
            }
            for layer in network.layers
        ],
        "record": dict(record),
    }
    try:
        text = document_text(twin, indent=2)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"record must hold plain finite numbers, strings, lists and dicts ({error})"
        ) from error
    # names of files that are no text become escapes of JSON
    # both are complete on disk before either takes its name
    with (
        replacing(tensor_path, tensors) as put_tensors,
        replacing(twin_path, text.encode(errors="backslashreplace")) as put_twin,
    ):
        os.replace(put_tensors, tensor_path)
        os.replace(put_twin, twin_path)


def load_network(path: str | os.PathLike[str]) -> tuple[FoldedNetwork, dict[str, Any]]:
    """Read a network that `save_network` wrote.

    Parameters
    ----------
    path : path
        File of the tensors, with the suffix ``.safetensors``; the twin lies beside it.

    Returns
    -------
    network : FoldedNetwork
        The network.
    record : dict
        How it came about.

    Raises
    ------
    FileNotFoundError
        One of the two files is missing.
    ValueError
        A file is damaged, of another format or version, the two do not belong together, or the
        shapes contradict each other; names the file and the reason.
    """
    tensor_path, twin_path = _pair(path)
    for wanted, other in ((tensor_path, twin_path), (twin_path, tensor_path)):
        if wanted.is_dir():
            raise ValueError(
                f"{wanted} is a folder; a network is a file and its twin, name the file"
            )
        if not wanted.is_file():
            raise FileNotFoundError(
                f"{wanted} is missing; a network is the pair {tensor_path.name} and "
                f"{twin_path.name} in one folder"
                + (f" ({other.name} is there)" if other.is_file() else "")
            )
    return _network_of(tensor_path, _read_twin(twin_path))


def seal_network(path: str | os.PathLike[str]) -> None:
    """Write the twin of a network of an earlier version again, with a hash over all that it says.

    The tensors, their hashes and the record stay as they are.

    Parameters
    ----------
    path : path
        File of the tensors, with the suffix ``.safetensors``; the twin lies beside it.

    Raises
    ------
    FileNotFoundError, ValueError
        As of `load_network`.
    """
    tensor_path, twin_path = _pair(path)
    network, record = _network_of(tensor_path, _read_twin(twin_path, sealed=False))
    save_network(network, tensor_path, record=record)


def _network_of(tensor_path: Path, twin: dict[str, Any]) -> tuple[FoldedNetwork, dict[str, Any]]:
    """Network and record of a twin and its tensors."""
    twin_path = tensor_path.with_suffix(".json")
    with reading(tensor_path, "file of the tensors of a network", _AGAIN):
        tensors = tensor_path.read_bytes()
        found = hashlib.sha256(tensors).hexdigest()
        if found != twin["tensors_sha256"]:
            raise ValueError(
                f"{tensor_path}: SHA-256 {found} differs from {twin['tensors_sha256']} in "
                f"{twin_path.name}; the file is damaged or belongs to another twin"
            )
        arrays = safetensors.numpy.load(tensors)
    try:
        network = _assemble(twin["layers"], arrays)
    except Exception as error:
        raise ValueError(
            f"{tensor_path} and {twin_path.name}: {reason(error)}; {_AGAIN}"
        ) from error
    if network_sha256(network) != twin["network_sha256"]:
        raise ValueError(
            f"{twin_path}: network_sha256 does not fit the tensors; the twin was changed"
        )
    return network, twin["record"]


def load_record(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read only the record of a network that `save_network` wrote.

    Parameters
    ----------
    path : path
        File of the tensors, with the suffix ``.safetensors``; only the twin beside it is read.

    Returns
    -------
    dict
        How the network came about.

    Raises
    ------
    FileNotFoundError
        There is no twin.
    ValueError
        The twin is damaged, or of another format or version.
    """
    record: dict[str, Any] = _read_twin(_pair(path)[1])["record"]
    return record


def stored_sha256(path: str | os.PathLike[str]) -> str:
    """Hash of the network that `save_network` wrote (`network_sha256`), from its twin alone.

    Raises
    ------
    FileNotFoundError, ValueError
        As of `load_record`.
    """
    return str(_read_twin(_pair(path)[1])["network_sha256"])


def _read_twin(path: Path, *, sealed: bool = True) -> dict[str, Any]:
    """The checked twin; with `sealed` false also one of an earlier version, which has no hash."""
    with reading(path, "twin of a folded network", _AGAIN):
        twin = read_document(path)
        if twin.get("format") != FORMAT:
            raise ValueError(f"format must be {FORMAT!r}, got {shown(twin.get('format'))}")
        version = twin.get("format_version")
        if version == FORMAT_VERSION and type(version) is int:
            twin = unsealed(twin)
        elif version not in UNSEALED_VERSIONS:
            raise ValueError(f"format version {version!r}, this release reads {FORMAT_VERSION}")
        elif sealed:
            raise ValueError(
                f"{path}: format version {version} has no hash of its record; read it once with "
                f"`rram-reliability inspect --seal {path.with_suffix('.safetensors')}`"
            )
        kinds = {"tensors_sha256": str, "network_sha256": str, "layers": list, "record": dict}
        for key, kind in kinds.items():
            if not isinstance(twin.get(key), kind):
                raise ValueError(f"{key!r} is missing or not a {kind.__name__}")
    return twin


def _refuse_foreign(twin_path: Path) -> None:
    """Refuse to overwrite a file that happens to have the name of a twin."""
    if not os.path.lexists(twin_path):
        return
    try:
        with twin_path.open("rb") as file:
            ours = f'"format": "{FORMAT}"'.encode() in file.read(200)
    except OSError:
        ours = False
    if not ours:
        raise FileExistsError(
            f"{twin_path} is there and not the twin of a network; a network is a pair of files: "
            "name another, or move it away"
        )


def _assemble(descriptions: list[dict[str, Any]], arrays: dict[str, np.ndarray]) -> FoldedNetwork:
    left = dict(arrays)
    layers: list[Layer] = []
    for description in descriptions:
        name, kind = description["name"], description["kind"]
        if kind not in _PARTS:
            raise ValueError(f"layer {name!r}: unknown kind {kind!r}; known: {', '.join(_PARTS)}")
        parts: dict[str, Any] = {}
        for part in _PARTS[kind]:
            if f"{name}.{part}" not in left:
                raise ValueError(f"the tensor '{name}.{part}' is missing")
            parts[part] = left.pop(f"{name}.{part}")
        if len(parts["weights"]) != description["rows"]:
            raise ValueError(
                f"layer {name!r}: {len(parts['weights'])} rows of weights, the twin says "
                f"{description['rows']}"
            )
        missing = [number for number in _NUMBERS[kind] if number not in description]
        if missing:
            raise ValueError(f"layer {name!r}: {missing[0]!r} is missing")
        numbers = {number: description[number] for number in _NUMBERS[kind]}
        layers.append(_KINDS[kind](name=name, **numbers, **parts))
    if left:
        raise ValueError(f"unknown tensors {', '.join(map(repr, sorted(left)))}")
    return FoldedNetwork(tuple(layers))


def _kind(layer: Layer) -> str:
    return next(kind for kind, layer_type in _KINDS.items() if isinstance(layer, layer_type))


def _pair(path: str | os.PathLike[str]) -> tuple[Path, Path]:
    tensor_path = Path(path)
    if tensor_path.suffix != ".safetensors":
        raise ValueError(f"path must end in .safetensors, got {tensor_path}")
    return tensor_path, tensor_path.with_suffix(".json")


@contextlib.contextmanager
def replacing(path: Path, content: bytes) -> Iterator[str]:
    """Write `content` beside `path`; give the temporary name and remove it if it is left over."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes the file private; give it the usual mode of a new file
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        yield temporary
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
