"""What the layers of a foreign network read: encoded pixels, or one of two values."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bnn.importing.source_graph import SourceGraph, Step
from bnn.importing.source_stages import CLOSE, ImportRefusedError, Stage, suspects
from bnn.networks.network import PIXEL_LEVELS

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LayerInputs:
    """Inputs of a layer: ``spread * x + centre``, with the x of the folded network.

    The values of a map come with the channel as the last axis where `channels_last`.
    """

    spread: float
    centre: Floats
    channels_last: bool = False


def pixel_inputs(
    graph: SourceGraph,
    before: tuple[Step, ...],
    first: Stage,
    images: npt.NDArray[np.uint8],
    encoded: Any,
) -> LayerInputs:
    """How the first layer with weights sees the pixels; every grey value is tried.

    Parameters
    ----------
    graph : SourceGraph
        The source.
    before : tuple of Step
        Steps before the first layer with weights.
    first : Stage
        That layer.
    images : uint8 array, shape (images, pixels)
        Images that the source was computed for.
    encoded : callable
        Gives images as the source takes them.

    Returns
    -------
    LayerInputs
        Line from the encoded pixels of a folded network to what the layer reads.

    Raises
    ------
    ImportRefusedError
        No straight line, several slopes, another order, or a padding that is no middle grey.
    """
    count, pixels = images.shape
    key = first.step.reads[0]

    def seen(given: npt.NDArray[np.uint8]) -> Floats:
        found = graph.repeat(before, graph.start, encoded(given), key)
        if found[0].size != pixels:
            blamed = suspects(before) or "the encoding"
            raise ImportRefusedError(
                f"layer {first.name!r} reads {found[0].size} values of an image of {pixels} "
                f"pixels; not understood: {blamed}"
            )
        return found.reshape(count, pixels).astype(np.float64)

    levels = np.arange(PIXEL_LEVELS + 1)
    table = np.empty((len(levels), pixels))
    for start in range(0, len(levels), count):
        grey = np.resize(levels[start : start + count], count).astype(np.uint8)
        part = seen(np.repeat(grey[:, None], pixels, axis=1))
        table[start : start + count] = part[: len(levels) - start]
    slope = (table[-1] - table[0]) / PIXEL_LEVELS
    reach = np.abs(table).max()
    line = table[0] + levels[:, None] * slope
    if np.abs(table - line).max() > CLOSE * reach or (slope == 0).any():
        raise ImportRefusedError(
            f"layer {first.name!r} does not read the pixels but a function of them that is no "
            "straight line; a folded network reads pixels in its first layer"
        )
    if np.ptp(slope) > CLOSE * np.abs(slope).max():
        raise ImportRefusedError(
            f"the input is scaled by {slope.min():.4g} to {slope.max():.4g}; a first layer with "
            "binary weights has one scale for all pixels and channels"
        )
    if np.abs(seen(images) - np.take_along_axis(table, images.astype(np.int64), 0)).max() > (
        CLOSE * reach
    ):
        raise ImportRefusedError(
            f"layer {first.name!r} reads the pixels in another order, or several of them together"
        )
    spread = float(slope.mean()) / 2
    centre = table[0] + slope * PIXEL_LEVELS / 2
    centre[np.abs(centre) < CLOSE * abs(spread) * PIXEL_LEVELS] = 0.0
    if first.weighted.weights.ndim == 4:
        if centre.any():
            raise ImportRefusedError(
                f"the convolution {first.name!r} pads with 0, which must be the middle of the "
                f"encoded pixels, but they lie between {line.min():.4g} and {line.max():.4g}; only "
                "encodings symmetric around 0, such as 2 * x / 255 - 1, can be folded exactly"
            )
        centre = np.zeros(())
    return LayerInputs(spread, centre)


def two_values(stage: Stage, following: Stage, found: list[npt.NDArray[Any]]) -> LayerInputs:
    """The two values that a layer reads, as spread and centre.

    Parameters
    ----------
    stage, following : Stage
        The layer that gives them, and the one that reads them.
    found : list of array
        What the second one reads, in trials and on the images.

    Returns
    -------
    LayerInputs
        Half the difference and the middle of the two values.

    Raises
    ------
    ImportRefusedError
        More or fewer than two values, or a padding of 0 that is not in the middle of them.
    """
    low = min(float(part.min()) for part in found)
    high = max(float(part.max()) for part in found)
    if low == high or not np.isfinite([low, high]).all():
        raise ImportRefusedError(
            f"layer {following.name!r} must read two values, but after {stage.name!r} there is "
            f"{f'only {low:.4g}' if low == high else 'a value that is no finite number'}; not "
            f"understood: {suspects(stage.after) or 'the activation'}"
        )
    near = CLOSE * max(abs(low), abs(high))
    share = max(
        float(np.mean(np.minimum(np.abs(part - low), np.abs(part - high)) > near)) for part in found
    )
    if share > 0:
        raise ImportRefusedError(
            f"layer {following.name!r} must read two values, but after {stage.name!r} up to "
            f"{share:.1%} lie between {low:.4g} and {high:.4g}; not understood: "
            f"{suspects(stage.after) or 'the activation'}"
        )
    centre = (low + high) / 2
    if abs(centre) <= near:
        centre = 0.0
    elif following.weighted.weights.ndim == 4:
        raise ImportRefusedError(
            f"the convolution {following.name!r} pads with 0 but reads {low:.4g} and {high:.4g}; "
            "its activations must be -a and +a"
        )
    return LayerInputs((high - low) / 2, np.array(centre))
