"""Folding of foreign networks: what lies between two layers with weights is found by trying it out.

A source computes ``magnitude * (spread * z + centre * sum(weights)) + bias`` in each row, with the
integer ``z`` that a folded network computes from the signs of the weights. What it does with that
up to the next layer (batch norm, scales, activations, pooling, sign) is repeated for chosen ``z``,
with the roundings of the source: the smallest ``z`` that fires is the threshold. Nothing has to be
known of the operations by name.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

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
from bnn.source_graph import SourceGraph, Step, Weighted

_CLOSE = 1e-5
_GRID = 65

Floats = npt.NDArray[np.float64]


class ImportRefusedError(ValueError):
    """A foreign network that a folded network cannot represent."""


@dataclass(frozen=True, eq=False)
class _Stage:
    """A step with weights and the steps after it, up to the next one with weights."""

    number: int
    step: Step
    weighted: Weighted
    after: tuple[Step, ...]
    end: int

    @property
    def name(self) -> str:
        return self.step.layer or f"layer {self.number}"

    @property
    def rows(self) -> int:
        return len(self.weighted.weights)


@dataclass(frozen=True, eq=False)
class _Inputs:
    """Inputs of a layer: ``spread * x + centre``, with the x of the folded network.

    The values of a map come with the channel as the last axis where `channels_last`.
    """

    spread: float
    centre: Floats
    channels_last: bool = False


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
    before, stages = _stages(graph)
    _check_weights(stages)
    for stage in stages:
        if stage.weighted.problem:
            raise ImportRefusedError(f"layer {stage.name!r}: {stage.weighted.problem}")
    inputs = _pixel_inputs(graph, before, stages[0], images, encoded)
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


def _stages(graph: SourceGraph) -> tuple[tuple[Step, ...], list[_Stage]]:
    """Cut the steps at those with weights; a value may only be used in its own part."""
    part: dict[int, int] = {graph.start: 0}
    groups: list[list[Step]] = [[]]
    heads: list[Step] = []
    for step in graph.steps:
        read = {part[key] for key in step.reads}
        if len(read) != 1 or (step.weighted and read != {len(heads)}):
            raise ImportRefusedError(
                f"{step.called} joins values from different places; only a chain of layers can be "
                "imported, without shortcuts and branches"
            )
        number = read.pop()
        if step.weighted:
            heads.append(step)
            groups.append([])
            number = len(heads)
        else:
            groups[number].append(step)
        part.update((key, number) for key in step.writes)
    if not heads:
        raise ImportRefusedError("no linear layer or convolution was found")
    if part[graph.end] != len(heads):
        raise ImportRefusedError(f"the scores do not depend on the last layer, {heads[-1].called}")
    ends = [head.reads[0] for head in heads[1:]] + [graph.end]
    stages = []
    for number, (step, after, end) in enumerate(zip(heads, groups[1:], ends, strict=True), 1):
        assert step.weighted is not None
        stages.append(_Stage(number, step, step.weighted, tuple(after), end))
    return tuple(groups[0]), stages


def _check_weights(stages: list[_Stage]) -> None:
    """Refuse weights other than plus or minus one magnitude in each row."""
    findings = []
    for stage in stages:
        sizes = np.abs(stage.weighted.weights).reshape(stage.rows, -1)
        middle = _magnitudes(sizes)[:, None]
        bad = (np.abs(sizes - middle) > _CLOSE * middle) | (sizes == 0)
        if bad.any():
            findings.append(f"{stage.name!r}: {bad.mean():.1%}")
    if findings:
        raise ImportRefusedError(
            "weights must be +a and -a, with one magnitude for each neuron; share of the weights "
            f"that are not, by layer: {'; '.join(findings)}. Latent weights have to be binarized "
            "where the network uses them"
        )


def _magnitudes(sizes: Floats) -> Floats:
    """Middle magnitude of each row, zeros left aside."""
    middle: Floats = np.ma.median(np.ma.masked_equal(sizes, 0.0), axis=1).filled(0.0)
    return middle


def _pixel_inputs(
    graph: SourceGraph,
    before: tuple[Step, ...],
    first: _Stage,
    images: npt.NDArray[np.uint8],
    encoded: Any,
) -> _Inputs:
    """How the first layer with weights sees the pixels; every grey value is tried."""
    count, pixels = images.shape
    key = first.step.reads[0]

    def seen(given: npt.NDArray[np.uint8]) -> Floats:
        found = graph.repeat(before, graph.start, encoded(given), key)
        if found[0].size != pixels:
            suspects = _suspects(before) or "the encoding"
            raise ImportRefusedError(
                f"layer {first.name!r} reads {found[0].size} values of an image of {pixels} "
                f"pixels; not understood: {suspects}"
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
    if np.abs(table - line).max() > _CLOSE * reach or (slope == 0).any():
        raise ImportRefusedError(
            f"layer {first.name!r} does not read the pixels but a function of them that is no "
            "straight line; a folded network reads pixels in its first layer"
        )
    if np.ptp(slope) > _CLOSE * np.abs(slope).max():
        raise ImportRefusedError(
            f"the input is scaled by {slope.min():.4g} to {slope.max():.4g}; a first layer with "
            "binary weights has one scale for all pixels and channels"
        )
    if np.abs(seen(images) - np.take_along_axis(table, images.astype(np.int64), 0)).max() > (
        _CLOSE * reach
    ):
        raise ImportRefusedError(
            f"layer {first.name!r} reads the pixels in another order, or several of them together"
        )
    spread = float(slope.mean()) / 2
    centre = table[0] + slope * PIXEL_LEVELS / 2
    centre[np.abs(centre) < _CLOSE * abs(spread) * PIXEL_LEVELS] = 0.0
    if first.weighted.weights.ndim == 4:
        if centre.any():
            raise ImportRefusedError(
                f"the convolution {first.name!r} pads with 0, which must be the middle of the "
                f"encoded pixels, but they lie between {line.min():.4g} and {line.max():.4g}; only "
                "encodings symmetric around 0, such as 2 * x / 255 - 1, can be folded exactly"
            )
        centre = np.zeros(())
    return _Inputs(spread, centre)


class _Rows:
    """Rows of a layer: the outputs of the source for chosen pre-activations."""

    def __init__(
        self, graph: SourceGraph, stage: _Stage, inputs: _Inputs, *, of_pixels: bool
    ) -> None:
        self.graph, self.stage = graph, stage
        self.channels_last = inputs.channels_last
        weights = stage.weighted.weights.astype(np.float64)
        self.signs = np.where(weights > 0, 1, -1).astype(np.int8)
        columns = weights[0].size
        self.bound = columns * (PIXEL_LEVELS if of_pixels else 1)
        magnitude = _magnitudes(np.abs(weights).reshape(len(weights), -1))
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
    rows: _Rows, name: str, following: _Stage, map_shape: tuple[int, int, int] | None
) -> tuple[Layer, _Inputs]:
    stage = rows.stage
    grid = np.linspace(-rows.bound, rows.bound, _GRID).round()
    tried = [rows.outputs(np.full(rows.rows, z)) for z in grid]
    inputs = _two_values(stage, following, [*tried, following.weighted.reads])
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
            f"threshold; not understood: {_suspects(stage.after) or 'its activation'}"
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
            f"understood: {_suspects(after) or 'what follows the last layer'}"
        )
    low, high = scores[-rows.bound][0], scores[rows.bound][0]
    scale, shift = (high - low) / (2 * rows.bound), (high + low) / 2
    reach = np.maximum(np.abs(low), np.abs(high)).max()
    for z, found in scores.items():
        if np.abs(found - (z * scale + shift)).max() > 10 * _CLOSE * reach:
            raise ImportRefusedError(
                f"the scores are no straight line of the sums of {stage.name!r}; not understood: "
                f"{_suspects(after) or 'what follows the last layer'}"
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


def _two_values(stage: _Stage, following: _Stage, found: list[npt.NDArray[Any]]) -> _Inputs:
    """The two values that the next layer reads, as spread and centre."""
    low = min(float(part.min()) for part in found)
    high = max(float(part.max()) for part in found)
    near = _CLOSE * max(abs(low), abs(high))
    share = max(
        float(np.mean(np.minimum(np.abs(part - low), np.abs(part - high)) > near)) for part in found
    )
    if share > 0 or low == high:
        raise ImportRefusedError(
            f"layer {following.name!r} must read two values, but after {stage.name!r} up to "
            f"{share:.1%} lie between {low:.4g} and {high:.4g}; not understood: "
            f"{_suspects(stage.after) or 'the activation'}"
        )
    centre = (low + high) / 2
    if abs(centre) <= near:
        centre = 0.0
    elif following.weighted.weights.ndim == 4:
        raise ImportRefusedError(
            f"the convolution {following.name!r} pads with 0 but reads {low:.4g} and {high:.4g}; "
            "its activations must be -a and +a"
        )
    return _Inputs((high - low) / 2, np.array(centre))


def _channels_last(rows: _Rows, following: _Stage, tried: list[npt.NDArray[np.bool_]]) -> bool:
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
            f"understood: {_suspects(stage.after) or 'what follows'}"
        )
    if channels_last:
        places = fired.reshape(len(fired), -1, rows.rows).transpose(0, 2, 1)
    else:
        places = fired.reshape(len(fired), rows.rows, -1)
    bits = places[0, :, 0]
    if (places != bits[:, None]).any():
        raise ImportRefusedError(
            f"what follows {stage.name!r} depends on the place, the image or other neurons; not "
            f"understood: {_suspects(stage.after) or 'what follows'}"
        )
    return bits


def _check_seen(
    rows: _Rows,
    layer: HiddenLayer | ConvLayer,
    following: _Stage,
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
            f"{_suspects(rows.stage.after) or 'what follows it'}"
        )


def _suspects(steps: tuple[Step, ...]) -> str:
    """Steps that binarized networks usually do not have; all, where there is none."""
    chosen = [step for step in steps if not step.usual] or list(steps)
    return ", ".join(dict.fromkeys(step.called for step in chosen))
