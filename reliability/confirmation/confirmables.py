"""The networks and images behind tables of counts, found by their hashes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from bnn.calibration.calibration import calibration_reference, calibration_sha256
from bnn.calibration.treatments import FOLDED_FOR_EACH, PER_CHIP
from bnn.evaluation.counting import images_sha256
from bnn.images.sets import ImageSet
from bnn.networks.network import FoldedNetwork
from bnn.networks.storage import load_network, stored_sha256
from bnn.zoo.networks import ZOO_FOLDER
from reliability.confirmation.confirming import Confirmable
from reliability.networks.images import image_set_of
from reliability.networks.study import NetworkStudy
from reliability.networks.treatments import calibration_images, treatment_of

Find = Callable[[str], FoldedNetwork | None]


def networks_in(folders: Iterable[Path]) -> Find:
    """Find networks by their hash in folders, then among those that come with the package."""
    everywhere = [*folders, ZOO_FOLDER]

    def find(sha256: str) -> FoldedNetwork | None:
        for folder in everywhere:
            for path in sorted(folder.glob("*.safetensors")):
                try:
                    if stored_sha256(path) == sha256:
                        return load_network(path)[0]
                except (OSError, ValueError):
                    # a file that is no network is not the one that is looked for
                    continue
        return None

    return find


def confirmables(
    studies: Mapping[str, NetworkStudy],
    find: Find,
    images_of: Callable[[str], ImageSet],
    *,
    threads: int,
) -> tuple[dict[str, Confirmable], str]:
    """What is needed to count chips of each network.

    Parameters
    ----------
    studies : mapping of str to NetworkStudy
        Counts by the names of their networks.
    find : callable
        From the hash of a network to it, or None.
    images_of : callable
        From the name of an image set to it; raises ValueError or OSError where it has none.
    threads : int
        CPU threads.

    Returns
    -------
    found : dict of str to Confirmable
        By name.
    missing : str
        What is missing, in a sentence; empty where nothing is.
    """
    found: dict[str, Confirmable] = {}
    missing: list[str] = []
    for name, study in studies.items():
        attrs = study.counts.attrs
        network = find(str(attrs["network_sha256"]))
        if network is None:
            missing.append(f"the network {name!r} is in none of the folders")
            continue
        try:
            images = images_of(image_set_of(study.record) or "")
        except (OSError, ValueError) as error:
            missing.append(str(error))
            continue
        if images_sha256(images.test_images, images.test_labels) != attrs["images_sha256"]:
            missing.append(f"the test images are others than those that {name!r} was counted on")
            continue
        treatment, calibration = treatment_of(study.record), None
        if treatment in (FOLDED_FOR_EACH, PER_CHIP):
            treated = study.record["thresholds"]
            chosen = calibration_images(images, number=treated["images"], seed=treated["seed"])
            if calibration_sha256(chosen) != treated["images_sha256"]:
                missing.append(f"the images that calibrated {name!r} are others")
                continue
            calibration = partial(calibration_reference, network, chosen, threads=threads)
        protected = frozenset(filter(None, str(attrs.get("protected", "")).split(",")))
        found[name] = Confirmable(network, images, treatment, calibration, protected)
    return found, "; ".join(dict.fromkeys(missing))
