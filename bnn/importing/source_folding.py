"""Folding of foreign networks: what lies between two layers with weights is found by trying it out.

A source computes ``magnitude * (spread * z + centre * sum(weights)) + bias`` in each row, with the
integer ``z`` that a folded network computes from the signs of the weights. What it does with that
up to the next layer (batch norm, scales, activations, pooling, sign) is repeated for chosen ``z``,
with the roundings of the source: the smallest ``z`` that fires is the threshold. Nothing has to be
known of the operations by name.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from bnn.importing.source_graph import SourceGraph
from bnn.importing.source_inputs import LayerInputs, pixel_inputs, two_values
from bnn.importing.source_stages import (
    CLOSE,
    ImportRefusedError,
    Stage,
    check_weights,
    magnitudes,
    stages_of,
    suspects,
)
from bnn.network import (
    ALWAYS,
    NEVER,
    PIXEL_LEVELS,
    ConvLayer,
    FoldedNetwork,
    HiddenLayer,
    Layer,
    OutputLayer,
)
from bnn.packing import pack_bits

_GRID = 65


def fold_source(graph: SourceGraph, images: npt.NDArray[np.uint8], encoded: Any) -> FoldedNetwork:
    """Fold a foreign network.

    Parameters
    ----------
    graph : SourceGraph
        The source, computed on `encoded`.
    images : uint8 array, shape (images, pixels)
        The images that it was computed for.
    encoded : callable
        Gives images, uint8 array of the shape of `images`, as the source takes them.

    Returns
    -------
    FoldedNetwork
        Its layers agree with those of the source on all images given.

    Raises
    ------
    ImportRefusedError
        Weights that are not binary, with the layer and their share; layers that are not
        understood, by name; or what else a folded network cannot represent.
    """
    before, stages = stages_of(graph)
    check_weights(stages)
    for stage in stages:
        if stage.weighted.problem:
            raise ImportRefusedError(f"layer {stage.name!r}: {stage.weighted.problem}")
    inputs = pixel_inputs(graph, before, stages[0], images, encoded)
    layers: list[Layer] = []
    for stage, following in zip(stages, [*stages[1:], None], strict=True):
        name = "output" if following is None else f"hidden_{stage.number}"
        rows = _Rows(graph, stage, inputs, of_pixels=stage.number == 1)
        if following is None:
            layers.append(_output_layer(rows, name, _map_before(layers)))
            continue
        layer, inputs = _hidden_layer(rows, name, following, _map_before(layers))
        layers.append(layer)
    return FoldedNetwork(tuple(layers))


class _Rows:
    """Rows of a layer: the outputs of the source for chosen pre-activations."""

    def __init__(
        self, graph: SourceGraph, stage: Stage, inputs: LayerInputs, *, of_pixels: bool
    ) -> None:
        self.graph, self.stage = graph, stage
        self.channels_last = inputs.channels_last
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
        # with an inverted input the folded weights are the opposite ones
        if inputs.spread < 0:
            self.signs, self.slope = -self.signs, -self.slope

    @property
    def rows(self) -> int:
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


def _hidden_layer(
    rows: _Rows, name: str, following: Stage, map_shape: tuple[int, int, int] | None
) -> tuple[Layer, LayerInputs]:
    stage = rows.stage
    grid = np.linspace(-rows.bound, rows.bound, _GRID).round()
    tried = [rows.outputs(np.full(rows.rows, z)) for z in grid]
    inputs = two_values(stage, following, [*tried, following.weighted.reads])
    middle = float(inputs.centre)
    last = _channels_last(rows, following, [found > middle for found in tried])
    inputs = replace(inputs, channels_last=last)

    def fires(z: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        return _by_row(rows, rows.outputs(z) > middle, last)

    fired = np.stack([_by_row(rows, found > middle, last) for found in tried])
    changes = (fired[1:] != fired[:-1]).sum(axis=0)
    if (changes > 1).any():
        raise ImportRefusedError(
            f"what follows {stage.name!r} changes its sign {changes.max()} times, so it is no "
            f"threshold; not understood: {suspects(stage.after) or 'its activation'}"
        )
    direction = np.where(fired[-1] | ~fired[0], 1, -1).astype(np.int8)
    threshold = _smallest(fires, direction, rows.bound)
    layer = _with_place(rows, name, threshold, direction, map_shape, fires)
    _check_seen(rows, layer, following, middle, last)
    return layer, inputs


def _smallest(
    fires: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.bool_]],
    direction: npt.NDArray[np.int8],
    bound: int,
) -> npt.NDArray[np.int32]:
    """Smallest ``direction * z`` within the bound that fires, by bisection."""
    low = np.full(direction.shape, -bound, np.int64)
    high = np.full(direction.shape, bound + 1, np.int64)
    while np.any(low < high):
        middle = (low + high) // 2
        here = fires((direction * middle).astype(np.float64))
        high = np.where((low < high) & here, middle, high)
        low = np.where((low < high) & ~here, middle + 1, low)
    threshold = np.where(high == -bound, ALWAYS, np.where(high == bound + 1, NEVER, high))
    return threshold.astype(np.int32)


def _with_place(
    rows: _Rows,
    name: str,
    threshold: npt.NDArray[np.int32],
    direction: npt.NDArray[np.int8],
    map_shape: tuple[int, int, int] | None,
    fires: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.bool_]],
) -> HiddenLayer | ConvLayer:
    stage = rows.stage
    if rows.signs.ndim == 2:
        return HiddenLayer(
            name=name,
            columns=rows.signs.shape[1],
            weights=_packed(rows, map_shape),
            threshold=threshold,
            direction=direction,
        )
    pools = [step for step in stage.after if step.pool]
    pool = 1
    if pools:
        if len(pools) > 1 or pools[0].pool != (2, 2, 0):
            raise ImportRefusedError(
                f"{pools[0].called}: only one maximum pooling 2 x 2 with stride 2 and no padding "
                "can follow a convolution"
            )
        pool = 2
    _, channels, height, width = stage.weighted.reads.shape
    signs = rows.signs
    if pool == 2:
        if height % 2 or width % 2:
            raise ImportRefusedError(
                f"{pools[0].called} pools a map of {height} x {width}; both must be even"
            )
        # one place in four fires: does the pooling, or what comes after it, see it?
        corner = np.zeros((height, width), np.bool_)
        corner[::2, ::2] = True
        ends = rows.bound * direction[:, None, None].astype(np.float64)
        found = fires(np.where(corner, ends, -ends))
        constant = (threshold == ALWAYS) | (threshold == NEVER)
        late = (direction < 0) & found & ~constant
        if (~found & (direction > 0) & ~constant).any():
            raise ImportRefusedError(
                f"{pools[0].called} after {stage.name!r} does not take the maximum"
            )
        # pooling after a falling threshold is a minimum: the maximum of the opposite weights
        signs = np.where(late[:, None, None, None], -signs, signs)
        direction = np.where(late, 1, direction).astype(np.int8)
    return ConvLayer(
        name=name,
        channels=channels,
        height=height,
        width=width,
        kernel=signs.shape[2],
        pool=pool,
        weights=pack_bits(signs.transpose(0, 2, 3, 1).reshape(len(signs), -1) > 0),
        threshold=threshold,
        direction=direction,
    )


def _output_layer(rows: _Rows, name: str, map_shape: tuple[int, int, int] | None) -> OutputLayer:
    stage = rows.stage
    if rows.signs.ndim == 4:
        raise ImportRefusedError(
            f"the last layer {stage.name!r} is a convolution; it must be fully connected"
        )
    after = stage.after
    end = stage.end
    while after and "softmax" in after[-1].operation.lower() and after[-1].writes[0] == end:
        # keeps the order of the scores
        end, after = after[-1].reads[0], after[:-1]
    plain = replace(stage, after=after, end=end)
    rows.stage = plain
    scores = {
        z: rows.outputs(np.full(rows.rows, float(z))).astype(np.float64)
        for z in (-rows.bound, -(rows.bound // 2), 0, rows.bound)
    }
    shape = stage.weighted.gives.shape
    if any(found.shape != shape for found in scores.values()):
        raise ImportRefusedError(
            f"the source gives scores of the shape {scores[0].shape}, not {shape}; not "
            f"understood: {suspects(after) or 'what follows the last layer'}"
        )
    low, high = scores[-rows.bound][0], scores[rows.bound][0]
    scale, shift = (high - low) / (2 * rows.bound), (high + low) / 2
    reach = np.maximum(np.abs(low), np.abs(high)).max()
    for z, found in scores.items():
        if np.abs(found - (z * scale + shift)).max() > 10 * CLOSE * reach:
            raise ImportRefusedError(
                f"the scores are no straight line of the sums of {stage.name!r}; not understood: "
                f"{suspects(after) or 'what follows the last layer'}"
            )
    return OutputLayer(
        name=name,
        columns=rows.signs.shape[1],
        weights=_packed(rows, map_shape),
        scale=scale,
        shift=shift,
    )


def _packed(rows: _Rows, map_shape: tuple[int, int, int] | None) -> npt.NDArray[np.uint64]:
    """Pack the signs of a fully connected layer, columns in the order of a folded network."""
    signs = rows.signs
    if map_shape is not None and not rows.channels_last:
        height, width, channels = map_shape
        # from the order (channel, row, column)
        maps = signs.reshape(len(signs), channels, height, width)
        signs = maps.transpose(0, 2, 3, 1).reshape(len(signs), -1)
    return pack_bits(signs > 0)


def _map_before(layers: list[Layer]) -> tuple[int, int, int] | None:
    before = layers[-1] if layers else None
    return before.output_shape if isinstance(before, ConvLayer) else None


def _channels_last(rows: _Rows, following: Stage, tried: list[npt.NDArray[np.bool_]]) -> bool:
    """Whether a map is laid out with the channel last before a fully connected layer."""
    if rows.signs.ndim == 2 or following.weighted.weights.ndim == 4:
        return False
    try:
        for fired in tried:
            _by_row(rows, fired, False)
    except ImportRefusedError:
        return True
    return False


def _by_row(
    rows: _Rows, fired: npt.NDArray[np.bool_], channels_last: bool
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


def _check_seen(
    rows: _Rows,
    layer: HiddenLayer | ConvLayer,
    following: Stage,
    middle: float,
    channels_last: bool,
) -> None:
    """Compare the layer with what the source gave on the images."""
    z = rows.seen()
    wanted = (following.weighted.reads > middle).reshape(len(z), -1)
    if isinstance(layer, ConvLayer):
        # weights were turned where the pooling comes after a falling threshold
        columns = rows.signs.transpose(0, 2, 3, 1).reshape(rows.rows, -1) > 0
        flipped = np.where((pack_bits(columns) == layer.weights).all(axis=1), 1.0, -1.0)
        z = z * flipped[:, None, None]
        if layer.pool == 2:
            count, channels, height, width = z.shape
            z = z.reshape(count, channels, height // 2, 2, width // 2, 2).max(axis=(3, 5))
    over = (-1, *[1] * (z.ndim - 2))
    fired = layer.direction.reshape(over) * z >= layer.threshold.reshape(over).astype(np.float64)
    if channels_last:
        fired = fired.transpose(0, 2, 3, 1)
    found = fired.reshape(len(z), -1)
    if found.shape != wanted.shape or (found != wanted).any():
        share = float((found != wanted).mean()) if found.shape == wanted.shape else 1.0
        raise ImportRefusedError(
            f"the folded layer {rows.stage.name!r} differs from the source in {share:.2%} of its "
            f"outputs on the images given; not understood: "
            f"{suspects(rows.stage.after) or 'what follows it'}"
        )
