"""An imported network with its record, and the proof that it answers like its source."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bnn.engines.packed import packed
from bnn.importing.source_folding import FoldedSource, unexplained
from bnn.importing.source_graph import SourceGraph
from bnn.importing.source_rounding import tied_best
from bnn.importing.source_stages import ImportRefusedError
from bnn.machine.stored import reading
from bnn.networks.network import FoldedNetwork, OutputLayer, network_sha256

HIDDEN_SHARE = 0.01
"""Share of the images that rounding may answer otherwise by hidden sums at their thresholds.

A source with more of them does not compute the network that its weights describe.
"""

_BLOCK = 64

_FLOAT32 = float(np.finfo(np.float32).eps)


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
    folded: FoldedSource,
    images: npt.NDArray[np.uint8],
    *,
    scores: npt.NDArray[Any],
    source: dict[str, Any],
    again: Callable[[npt.NDArray[np.uint8]], SourceGraph],
    batch: int,
    answers: npt.NDArray[np.int64] | None = None,
) -> ImportedNetwork:
    """Check a folded network against its source.

    An image with one best score must be answered alike. Where scores are as good as the best within
    the rounding of the source, its own answer depends on that rounding, and the answer may be any
    of those classes; the folded network has exact sums and answers the lowest class on a tie. Where
    a hidden sum lies at its threshold within rounding, every layer is compared with what the source
    itself gives it; up to ``HIDDEN_SHARE`` of the images may be answered otherwise for that.

    Parameters
    ----------
    folded : FoldedSource
        What was made of the source.
    images : uint8 array, shape (images, pixels)
        Images.
    scores : float array, shape (images, classes)
        Scores of the source.
    source : dict
        What the record says of the source.
    again : callable
        Computes the source on some images.
    batch : int
        Images that it takes at a time.
    answers : int64 array, shape (first images,), optional
        Answers that come with the source, computed by others; taken as those of float32.

    Returns
    -------
    ImportedNetwork
        The network with its record. ``tied_images`` counts the images with tied best scores,
        ``differ_at_ties`` those of them that the source answered otherwise, and
        ``differ_by_hidden_rounding`` those answered otherwise for hidden sums at thresholds.

    Raises
    ------
    ImportRefusedError
        Answers differ; says how many, at which image first, and whether rounding is part of it.
    """
    network = folded.network
    ours = _scores(network, images)
    chosen = np.argmax(ours, axis=1)
    theirs = np.argmax(scores, axis=1)
    exact = np.asarray(scores, np.float64)
    if folded.probabilities:
        with np.errstate(divide="ignore"):
            exact = np.log(exact)
    everywhere = np.arange(len(images))
    tied = tied_best(ours, folded.rounding)
    allowed = tied[everywhere, theirs] & tied_best(exact, folded.rounding)[everywhere, chosen]
    wrong = np.flatnonzero((chosen != theirs) & ~allowed)
    explained = _explained(folded, images[wrong], again, batch)
    if not explained.all() or wrong.size > HIDDEN_SHARE * len(images):
        raise ImportRefusedError(_difference(wrong, explained, chosen, theirs, len(images)))
    record: dict[str, Any] = {
        "source": {
            **source,
            "round_trip_images": len(images),
            "tied_images": int((tied.sum(axis=1) > 1).sum()),
            "differ_at_ties": int((chosen != theirs).sum()) - wrong.size,
            "differ_by_hidden_rounding": int(wrong.size),
        },
        "network_sha256": network_sha256(network),
    }
    if answers is not None:
        first = len(answers)
        loose = tied_best(ours[:first], folded.rounding * max(1.0, _FLOAT32 / folded.unit))
        inside = (answers >= 0) & (answers < ours.shape[1])
        alike = inside & loose[everywhere[:first], np.where(inside, answers, 0)]
        wrong = np.flatnonzero((chosen[:first] != answers) & ~alike)
        if wrong.size:
            none = np.zeros(wrong.size, np.bool_)
            raise ImportRefusedError(_difference(wrong, none, chosen, answers, first))
    return ImportedNetwork(network, record)


def _scores(network: FoldedNetwork, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    output = network.layers[-1]
    assert isinstance(output, OutputLayer)
    sums = [
        packed.pre_activations(network, packed.prepare(images[start : start + _BLOCK]), threads=1)
        for start in range(0, len(images), _BLOCK)
    ]
    found: npt.NDArray[np.float64] = (
        np.concatenate([part[-1] for part in sums]) * output.scale + output.shift
    )
    return found


def _explained(
    folded: FoldedSource,
    images: npt.NDArray[np.uint8],
    again: Callable[[npt.NDArray[np.uint8]], SourceGraph],
    batch: int,
) -> npt.NDArray[np.bool_]:
    """Images on which all layers of the source agree but for sums at a threshold."""
    found = np.zeros(len(images), np.bool_)
    for start in range(0, len(images), batch):
        part = images[start : start + batch]
        wrong = unexplained(again(part), folded)[: len(part)]
        found[start : start + batch] = ~wrong
    return found


def _difference(
    wrong: npt.NDArray[np.int64],
    explained: npt.NDArray[np.bool_],
    chosen: npt.NDArray[np.int64],
    theirs: npt.NDArray[np.int64],
    images: int,
) -> str:
    first = int(wrong[explained.argmin()])
    text = (
        f"round trip: {wrong.size} of {images} answers differ from the source, first at image "
        f"{first}: {chosen[first]} instead of {theirs[first]}"
    )
    if not explained.any():
        return text
    return (
        f"{text}; {'all' if explained.all() else explained.sum()} of them because hidden sums lie "
        "at their thresholds within the rounding of the source, whose own answers depend there on "
        "how many images it computes at a time. Integer inputs and weights of +1 and -1, with "
        "their factors after the sum, are added without rounding"
    )


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
