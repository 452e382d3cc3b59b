"""The images that a network belongs to: other ones give wrong thresholds and meaningless counts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bnn.images.sets import ImageSet
    from bnn.networks.network import FoldedNetwork


def image_set_of(record: dict[str, Any]) -> str | None:
    """Name of the image set that a network was trained on, or compared with its source on."""
    for found in (record.get("image_set"), (record.get("source") or {}).get("image_set")):
        name = found.get("name") if isinstance(found, dict) else found
        if isinstance(name, str):
            return name
    return None


def load_image_set(
    name: str,
    directory: Path | None,
    download: bool,
    networks: Iterable[tuple[Path, FoldedNetwork, dict[str, Any]]] = (),
) -> ImageSet:
    """The image set of a name, for networks that it is to be used with.

    Parameters
    ----------
    name : str
        Name of the set.
    directory : Path or None
        Where its files are.
    download : bool
        Whether missing files may be downloaded.
    networks : iterable of tuple
        File, network and record of each network.

    Returns
    -------
    ImageSet
        The images.

    Raises
    ------
    ValueError
        A network was trained on another set, or takes another number of pixels; or as of
        :func:`bnn.load_images`.
    """
    from bnn.images.sets import load_images

    networks = list(networks)
    for path, _, record in networks:
        own = image_set_of(record)
        if own is not None and own != name:
            again = (
                f"give --images {own}"
                if record.get("image_set")
                else f"give --images {own}, or import the network again with --images {name}"
            )
            raise ValueError(f"{path} belongs to images of {own}, not of {name}: {again}")
    images = load_images(name, images_dir=directory, download=download)
    for path, network, _ in networks:
        if network.sizes[0] != images.test_images.shape[1]:
            raise ValueError(
                f"{path} takes {network.sizes[0]} pixels, {name} has "
                f"{images.test_images.shape[1]}; choose the image set it was trained on"
            )
    return images
