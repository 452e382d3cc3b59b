"""An imported network with its record, and the proof that it answers like its source."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bnn.engines import packed
from bnn.importing.source_stages import ImportRefusedError
from bnn.machine.stored import reading
from bnn.network import FoldedNetwork, network_sha256


@dataclass(frozen=True, eq=False)
class ImportedNetwork:
    """A folded network that came from elsewhere.

    Attributes
    ----------
    network : FoldedNetwork
        The network.
    record : dict
        Where it came from and how it was checked, for `bnn.save_network`.
    """

    network: FoldedNetwork
    record: dict[str, Any]


def imported(
    network: FoldedNetwork,
    images: npt.NDArray[np.uint8],
    answers: npt.NDArray[np.int64] | None,
    *,
    source: dict[str, Any],
) -> ImportedNetwork:
    """Check a folded network against its source.

    Parameters
    ----------
    network : FoldedNetwork
        What was made of the source.
    images : uint8 array, shape (images, pixels)
        Images.
    answers : int64 array, shape (images,), or None
        Answers of the source; None where the source cannot be executed, as with bare weights.
    source : dict
        What the record says of the source.

    Returns
    -------
    ImportedNetwork
        The network with its record.

    Raises
    ------
    ImportRefusedError
        Answers differ; says how many, and at which image first.
    """
    record: dict[str, Any] = {"source": dict(source), "network_sha256": network_sha256(network)}
    if answers is not None:
        found = packed.predict(network, packed.prepare(images), threads=1)
        wrong = np.flatnonzero(found != answers)
        if wrong.size:
            first = int(wrong[0])
            raise ImportRefusedError(
                f"round trip: {wrong.size} of {len(images)} answers differ from the source, first "
                f"at image {first}: {found[first]} instead of {answers[first]}"
            )
        record["source"]["round_trip_images"] = len(images)
    return ImportedNetwork(network, record)


@contextmanager
def importing(path: str | os.PathLike[str], what: str) -> Iterator[None]:
    """Guard around the import of a file: whatever goes wrong names it.

    Raises
    ------
    ImportRefusedError
        Was raised inside; the text begins with the file.
    ValueError
        Anything else was raised inside, as of :func:`bnn.machine.stored.reading`.
    """
    with reading(path, what, "see docs/import.md"):
        try:
            yield
        except ImportRefusedError as error:
            raise ImportRefusedError(f"{os.fspath(path)}: {error}") from error
