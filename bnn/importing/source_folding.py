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

from bnn.importing.source_graph import SourceGraph
from bnn.importing.source_inputs import LayerInputs, pixel_inputs, two_values
from bnn.importing.source_rows import (
    GRID,
    FoldedStage,
    LayerRows,
    by_row,
    is_channels_last,
    packed,
    wrong_outputs,
)
from bnn.importing.source_stages import (
    CLOSE,
    ImportRefusedError,
    Stage,
    check_weights,
    stages_of,
    suspects,
)
from bnn.machine.packing import pack_bits
from bnn.networks.network import (
    ALWAYS,
    NEVER,
    ConvLayer,
    FoldedNetwork,
    HiddenLayer,
    OutputLayer,
)


@dataclass(frozen=True, eq=False)
class FoldedSource:
    """A folded network and how far the roundings of its source reach.

    Attributes
    ----------
    stages : tuple of FoldedStage
        The layers.
    rounding : float64 array, shape (classes,)
        Largest distance of a score of the source from the exact one.
    unit : float
        Relative rounding of the numbers that the source computes with.
    probabilities : bool
        The source gives the exponentials of scores, up to a factor for each image.
    """

    stages: tuple[FoldedStage, ...]
    rounding: npt.NDArray[np.float64]
    unit: float
    probabilities: bool

    @property
    def network(self) -> FoldedNetwork:
        """The folded network."""
        return FoldedNetwork(tuple(stage.layer for stage in self.stages))


def fold_source(graph: SourceGraph, images: npt.NDArray[np.uint8], encoded: Any) -> FoldedSource:
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
    FoldedSource
        Its layers agree with those of the source on all images given, but for sums that lie at a
        threshold within rounding.

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
    found: list[FoldedStage] = []
    for stage, following in zip(stages[:-1], stages[1:], strict=True):
        rows = LayerRows(graph, stage, inputs)
        folded, reads = _hidden_layer(rows, following, _map_before(found))
        found.append(replace(folded, inputs=inputs))
        wrong = wrong_outputs(rows, found[-1], following)
        if wrong.any():
            raise ImportRefusedError(
                f"the folded layer {stage.name!r} differs from the source in {wrong.mean():.2%} of "
                f"its outputs on the images given; not understood: "
                f"{suspects(stage.after) or 'what follows it'}"
            )
        inputs = reads
    rows = LayerRows(graph, stages[-1], inputs)
    output, rounding, probabilities = _output_layer(rows, _map_before(found))
    found.append(FoldedStage(output, inputs))
    unit = float(np.finfo(stages[-1].weighted.gives.dtype).eps)
    return FoldedSource(tuple(found), rounding, unit, probabilities)


def unexplained(graph: SourceGraph, folded: FoldedSource) -> npt.NDArray[np.bool_]:
    """Images on which a layer of a source does not do what its folded layer does.

    Parameters
    ----------
    graph : SourceGraph
        The source, computed on other images than those it was folded with.
    folded : FoldedSource
        What was made of it.

    Returns
    -------
    bool array, shape (images,)
        False where every layer, given what the source itself gives it, agrees but for sums that
        lie at a threshold within rounding: there the answers can only differ because of those.
    """
    _, stages = stages_of(graph)
    parts: list[npt.NDArray[np.bool_]] = []
    for stage, following, kept in zip(stages, [*stages[1:], None], folded.stages, strict=True):
        rows = LayerRows(graph, stage, kept.inputs)
        if following is None:
            parts.append(rows.distance() > rows.rounding)
        else:
            parts.append(wrong_outputs(rows, kept, following))
    wrong = np.concatenate(parts, axis=1)
    found: npt.NDArray[np.bool_] = np.any(wrong, axis=1)
    return found


def _hidden_layer(
    rows: LayerRows, following: Stage, map_shape: tuple[int, int, int] | None
) -> tuple[FoldedStage, LayerInputs]:
    stage = rows.stage
    grid = np.linspace(-rows.bound, rows.bound, GRID).round()
    tried = [rows.outputs(np.full(rows.rows, z)) for z in grid]
    inputs = two_values(stage, following, [*tried, following.weighted.reads])
    middle = float(inputs.centre)
    last = is_channels_last(rows, following, [found > middle for found in tried])
    inputs = replace(inputs, channels_last=last)

    def fires(z: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        return by_row(rows, rows.outputs(z) > middle, last)

    fired = np.stack([by_row(rows, found > middle, last) for found in tried])
    changes = (fired[1:] != fired[:-1]).sum(axis=0)
    if (changes > 1).any():
        raise ImportRefusedError(
            f"what follows {stage.name!r} changes its sign {changes.max()} times, so it is no "
            f"threshold; not understood: {suspects(stage.after) or 'its activation'}"
        )
    direction = np.where(fired[-1] | ~fired[0], 1, -1).astype(np.int8)
    threshold = _smallest(fires, direction, rows.bound)
    moved = rows.rounding / np.abs(rows.slope)
    doubtful = (
        _smallest(fires, direction, rows.bound, moved=moved),
        _smallest(fires, direction, rows.bound, moved=-moved),
    )
    layer = _with_place(rows, threshold, direction, map_shape, fires)
    # its own inputs are put in by the caller, who has them
    return FoldedStage(layer, inputs, middle, last, doubtful), inputs


def _smallest(
    fires: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.bool_]],
    direction: npt.NDArray[np.int8],
    bound: int,
    *,
    moved: npt.NDArray[np.float64] | float = 0.0,
) -> npt.NDArray[np.int32]:
    """Smallest ``direction * z`` within the bound that fires, by bisection.

    That is tried with ``direction * z + moved``, as where rounding moves the sum so far.
    """
    low = np.full(direction.shape, -bound, np.int64)
    high = np.full(direction.shape, bound + 1, np.int64)
    while np.any(low < high):
        middle = (low + high) // 2
        here = fires(direction * (middle + moved))
        high = np.where((low < high) & here, middle, high)
        low = np.where((low < high) & ~here, middle + 1, low)
    threshold = np.where(high == -bound, ALWAYS, np.where(high == bound + 1, NEVER, high))
    return threshold.astype(np.int32)


def _with_place(
    rows: LayerRows,
    threshold: npt.NDArray[np.int32],
    direction: npt.NDArray[np.int8],
    map_shape: tuple[int, int, int] | None,
    fires: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.bool_]],
) -> HiddenLayer | ConvLayer:
    stage = rows.stage
    if rows.signs.ndim == 2:
        return HiddenLayer(
            name=rows.name,
            columns=rows.signs.shape[1],
            weights=packed(rows, map_shape),
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
        name=rows.name,
        channels=channels,
        height=height,
        width=width,
        kernel=signs.shape[2],
        pool=pool,
        weights=pack_bits(signs.transpose(0, 2, 3, 1).reshape(len(signs), -1) > 0),
        threshold=threshold,
        direction=direction,
    )


def _output_layer(
    rows: LayerRows, map_shape: tuple[int, int, int] | None
) -> tuple[OutputLayer, npt.NDArray[np.float64], bool]:
    """The last layer, the rounding of its scores, and whether the source gives probabilities."""
    stage = rows.stage
    if rows.signs.ndim == 4:
        raise ImportRefusedError(
            f"the last layer {stage.name!r} is a convolution; it must be fully connected"
        )
    after = stage.after
    end = stage.end
    probabilities = False
    while after and "softmax" in after[-1].operation.lower() and after[-1].writes[0] == end:
        # keeps the order of the scores
        probabilities |= "log" not in after[-1].operation.lower()
        end, after = after[-1].reads[0], after[:-1]
    rows.stage = replace(stage, after=after, end=end)
    scores = {
        int(z): rows.outputs(np.full(rows.rows, float(z))).astype(np.float64)
        for z in np.linspace(-rows.bound, rows.bound, GRID).round()
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
    bent = max(np.abs(found - (z * scale + shift)).max() for z, found in scores.items())
    if bent > 10 * CLOSE * reach:
        raise ImportRefusedError(
            f"the scores are no straight line of the sums of {stage.name!r}; not understood: "
            f"{suspects(after) or 'what follows the last layer'}"
        )
    layer = OutputLayer(
        name="output",
        columns=rows.signs.shape[1],
        weights=packed(rows, map_shape),
        scale=scale,
        shift=shift,
    )
    # the sums, moved by what follows them, and what that and a softmax round themselves
    unit = np.finfo(stage.weighted.gives.dtype).eps
    further = reach + (1.0 if after != stage.after else 0.0)
    rounding = rows.rounding * np.abs(scale / rows.slope) + 2 * bent + 4 * unit * further
    return layer, rounding, probabilities


def _map_before(stages: list[FoldedStage]) -> tuple[int, int, int] | None:
    before = stages[-1].layer if stages else None
    return before.output_shape if isinstance(before, ConvLayer) else None
