"""Networks of the zoo by name; each is a pair NAME.safetensors and NAME.json in this folder."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnn.networks.network import FoldedNetwork
from bnn.networks.storage import load_network, load_record

ZOO_PREFIX = "zoo:"
"""Marks the name of a network of the zoo where a file could be named too."""

ZOO_FOLDER = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class ZooNetwork:
    """What a network of the zoo is, without its weights.

    Attributes
    ----------
    name : str
        Name for `load_zoo`.
    description : str
        How it was trained and what it is for.
    image_set : str
        Image set that it was trained on, one of `bnn.IMAGE_SETS`.
    correct, images : int
        Right answers without errors, and test images.
    """

    name: str
    description: str
    image_set: str
    correct: int
    images: int


def zoo_networks() -> tuple[ZooNetwork, ...]:
    """Networks of the zoo, in the order of their names."""
    found = []
    for name in _names():
        record = load_record(_path(name))
        found.append(
            ZooNetwork(
                name=name,
                description=record["description"],
                image_set=record["image_set"]["name"],
                **record["test"],
            )
        )
    return tuple(found)


def load_zoo(name: str) -> tuple[FoldedNetwork, dict[str, Any]]:
    """Load a network of the zoo.

    Parameters
    ----------
    name : str
        One of the names of `zoo_networks`, such as ``"mnist-standard"``.

    Returns
    -------
    network : FoldedNetwork
        The network.
    record : dict
        How it came about: ``command``, ``description``, ``training`` (options and seed),
        ``image_set`` (name and hash), ``history``, ``versions`` and ``test`` (right answers without
        errors).

    Raises
    ------
    ValueError
        Unknown name; lists the known ones.
    """
    known = _names()
    if name not in known:
        raise ValueError(f"no network {name!r} in the zoo; known: {', '.join(known)}")
    return load_network(_path(name))


def open_network(source: str | os.PathLike[str]) -> tuple[FoldedNetwork, dict[str, Any]]:
    """Load a network from a file, or from the zoo where the source is ``zoo:NAME``.

    Parameters
    ----------
    source : path or str
        File written by `bnn.save_network`, or ``zoo:NAME``.

    Returns
    -------
    network, record
        As of `bnn.load_network`.

    Raises
    ------
    FileNotFoundError, ValueError
        As of `bnn.load_network` and `load_zoo`.
    """
    text = os.fspath(source)
    if text.startswith(ZOO_PREFIX):
        return load_zoo(text.removeprefix(ZOO_PREFIX))
    return load_network(source)


def _names() -> list[str]:
    return sorted(path.stem for path in ZOO_FOLDER.glob("*.safetensors"))


def _path(name: str) -> Path:
    return ZOO_FOLDER / f"{name}.safetensors"
