"""Rows of a layer of a source network: exact sums, thresholds, order of columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bnn.importing.source_graph import SourceGraph
from bnn.importing.source_inputs import LayerInputs
from bnn.importing.source_rounding import sum_rounding
from bnn.importing.source_stages import ImportRefusedError, Stage, magnitudes, suspects
from bnn.machine.packing import pack_bits
from bnn.networks.network import PIXEL_LEVELS, ConvLayer, HiddenLayer, Layer

GRID = 65


@dataclass(frozen=True, eq=False)
class FoldedStage:
    """How a layer of a source was folded.

    Attributes
    ----------
    layer : Layer
        The folded layer.
    inputs : LayerInputs
        What the source reads there.
    middle : float
        Between the two values that a hidden layer gives.
    channels_last : bool
        Order in which it gives a map.
    doubtful : pair of int32 array, shape (rows,)
        Values of ``direction * z`` from the first up to below the second may fire or not: they
        lie at the threshold within the rounding of the source. None for the last layer.
    """

    layer: Layer
    inputs: LayerInputs
    middle: float = 0.0
    channels_last: bool = False
    doubtful: tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]] | None = None


class LayerRows:
    """Rows of a layer: the outputs of the source for chosen pre-activations."""

    def __init__(self, graph: SourceGraph, stage: Stage, inputs: LayerInputs) -> None:
        self.graph, self.stage = graph, stage
        self.name = f"hidden_{stage.number}"
        self.channels_last = inputs.channels_last
        of_pixels = stage.number == 1
        weights = stage.weighted.weights.astype(np.float64)
        self.signs = np.where(weights > 0, 1, -1).astype(np.int8)
        columns = weights[0].size
        self.bound = columns * (PIXEL_LEVELS if of_pixels else 1)
        magnitude = magnitudes(np.abs(weights).reshape(len(weights), -1))
        if weights.ndim == 4:
            centre = np.zeros(len(weights))
        else:
            centre = (self.signs * inputs.centre).sum(axis=1)
        self.slope = magnitude * inputs.spread
        self.offset = magnitude * centre + stage.weighted.bias
        self.rounding = sum_rounding(
            stage.weighted, magnitude, inputs.spread, inputs.centre, of_pixels=of_pixels
        )
        # with an inverted input the folded weights are the opposite ones
        if inputs.spread < 0:
            self.signs, self.slope = -self.signs, -self.slope

    @property
    def rows(self) -> int:
        """Rows of the layer."""
        return len(self.signs)

    def outputs(self, z: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
        """What the source gives for pre-activations, of shape (rows,) or of all outputs."""
        gives = self.stage.weighted.gives
        over = (-1, *[1] * (gives.ndim - 2))
        shaped = z.reshape(over) if z.ndim == 1 else z
        values = shaped * self.slope.reshape(over) + self.offset.reshape(over)
        value = np.broadcast_to(values, gives.shape).astype(gives.dtype)
        return self.graph.repeat(self.stage.after, self.stage.step.writes[0], value, self.stage.end)

    def seen(self) -> npt.NDArray[np.float64]:
        """Pre-activations on the images that the source was computed for."""
        gives = self.stage.weighted.gives.astype(np.float64)
        over = (-1, *[1] * (gives.ndim - 2))
        return np.rint((gives - self.offset.reshape(over)) / self.slope.reshape(over))

    def distance(self) -> npt.NDArray[np.float64]:
        """Distance of the outputs of a fully connected layer from those of :meth:`seen`."""
        return np.abs(self.stage.weighted.gives - (self.seen() * self.slope + self.offset))


def packed(rows: LayerRows, map_shape: tuple[int, int, int] | None) -> npt.NDArray[np.uint64]:
    """Pack the signs of a fully connected layer, columns in the order of a folded network."""
    signs = rows.signs
    if map_shape is not None and not rows.channels_last:
        height, width, channels = map_shape
        # from the order (channel, row, column)
        maps = signs.reshape(len(signs), channels, height, width)
        signs = maps.transpose(0, 2, 3, 1).reshape(len(signs), -1)
    return pack_bits(signs > 0)


def is_channels_last(rows: LayerRows, following: Stage, tried: list[npt.NDArray[np.bool_]]) -> bool:
    """Whether a map is laid out with the channel last before a fully connected layer."""
    if rows.signs.ndim == 2 or following.weighted.weights.ndim == 4:
        return False
    try:
        for fired in tried:
            by_row(rows, fired, False)
    except ImportRefusedError:
        return True
    return False


def by_row(
    rows: LayerRows, fired: npt.NDArray[np.bool_], channels_last: bool
) -> npt.NDArray[np.bool_]:
    """One bit for each row, which all places of a map share."""
    stage = rows.stage
    if fired.size % (len(fired) * rows.rows):
        raise ImportRefusedError(
            f"{fired[0].size} values follow the {rows.rows} neurons of {stage.name!r}; not "
            f"understood: {suspects(stage.after) or 'what follows'}"
        )
    if channels_last:
        places = fired.reshape(len(fired), -1, rows.rows).transpose(0, 2, 1)
    else:
        places = fired.reshape(len(fired), rows.rows, -1)
    bits = places[0, :, 0]
    if (places != bits[:, None]).any():
        raise ImportRefusedError(
            f"what follows {stage.name!r} depends on the place, the image or other neurons; not "
            f"understood: {suspects(stage.after) or 'what follows'}"
        )
    return bits


def wrong_outputs(rows: LayerRows, folded: FoldedStage, following: Stage) -> npt.NDArray[np.bool_]:
    """Outputs that the source gave on its images and the layer would not, shape (images, outputs).

    Those within rounding of a threshold are not among them.
    """
    layer = folded.layer
    assert isinstance(layer, HiddenLayer | ConvLayer)
    assert folded.doubtful is not None
    z = rows.seen()
    wanted = (following.weighted.reads > folded.middle).reshape(len(z), -1)
    if isinstance(layer, ConvLayer):
        # weights were turned where the pooling comes after a falling threshold
        columns = rows.signs.transpose(0, 2, 3, 1).reshape(rows.rows, -1) > 0
        flipped = np.where((pack_bits(columns) == layer.weights).all(axis=1), 1.0, -1.0)
        z = z * flipped[:, None, None]
        if layer.pool == 2:
            count, channels, height, width = z.shape
            z = z.reshape(count, channels, height // 2, 2, width // 2, 2).max(axis=(3, 5))
    over = (-1, *[1] * (z.ndim - 2))
    towards = layer.direction.reshape(over) * z
    least, below = (part.reshape(over).astype(np.float64) for part in folded.doubtful)
    fired = towards >= layer.threshold.reshape(over).astype(np.float64)
    doubt = (towards >= least) & (towards < below)
    if folded.channels_last:
        fired, doubt = (part.transpose(0, 2, 3, 1) for part in (fired, doubt))
    found, doubt = fired.reshape(len(z), -1), doubt.reshape(len(z), -1)
    if found.shape != wanted.shape:
        return np.ones_like(found)
    wrong: npt.NDArray[np.bool_] = (found != wanted) & ~doubt
    return wrong
