"""Drawing a chip: which weight bits of a network persistent errors make wrong.

A chip depends on the sizes and weights of the network, the errors, the seed and its number only.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bnn.errors.array_mapping import LineMap
from bnn.errors.errors import Errors, Flips, LineFaults, Persistent, StuckAt
from bnn.errors.flips import nested_levels
from bnn.machine.counter_random import Stream, StreamKey, uniforms_at
from bnn.machine.packing import WORD_BITS
from bnn.networks.network import FoldedNetwork, Layer, check_layer_names

Positions = npt.NDArray[np.int64]
Keys = Callable[[Stream], StreamKey]
"""Gives the random streams of one layer of one chip."""

_NO_CELLS: Positions = np.empty(0, np.int64)
_LINES = {"row": Stream.ROW, "column": Stream.COLUMN, "block": Stream.BLOCK}
_LINE_CELLS = {
    "row": Stream.ROW_CELLS,
    "column": Stream.COLUMN_CELLS,
    "block": Stream.BLOCK_CELLS,
}

# standard deviations beyond the expected need, so that a second draw is rare; no chip depends on it
_SPARE = 6.0


@dataclass(frozen=True)
class ClassTotal:
    """How many cells of one layer one class of errors has.

    Attributes
    ----------
    layer : str
        Name of the layer.
    kind : str
        ``flips``, ``stuck at 0``, ``stuck at 1``, ``faulty rows``, ``faulty columns`` or ``faulty
        blocks``.
    cells : int
        Cells of this class; a cell is in one class at most.
    wrong : int
        Those that hold the wrong bit.
    """

    layer: str
    kind: str
    cells: int
    wrong: int


@dataclass(frozen=True, eq=False)
class Chip:
    """One persistent error pattern over all weights.

    Attributes
    ----------
    seed, chip : int
        Seed of the family and number of the chip.
    positions : dict of layer name to int64 array, shape (wrong bits,)
        Wrong bits, ``row * columns + column``, strictly increasing; every layer has an entry.
    totals : tuple of ClassTotal
        Counts for each layer and class, in the order of the layers and of the errors.
    """

    seed: int
    chip: int
    positions: dict[str, Positions]
    totals: tuple[ClassTotal, ...]


@dataclass(frozen=True)
class _Hits:
    """Cells of one class, strictly increasing, and the bit that they read (None: the opposite)."""

    kind: str
    cells: Positions
    reads: int | None = None


def draw_chip(network: FoldedNetwork, errors: Errors, *, seed: int, chip: int) -> Chip:
    """Draw the wrong weight bits of one chip.

    Parameters
    ----------
    network : FoldedNetwork
        Network without errors.
    errors : Errors
        Its persistent part is drawn; transient errors are left to `draw_misread`.
    seed : int
        Seed of the family of chips, 0..2**128-1.
    chip : int
        Number of the chip, from 0.

    Returns
    -------
    Chip
        Wrong bits relative to the weights of `network`, and counts.

    Raises
    ------
    ValueError
        A layer named by `errors` does not exist, a number is out of range, or exact numbers of
        stuck cells do not fit beside the errors listed before.
    """
    check_layer_names(network, errors.layer_names(), argument="errors")
    positions = {}
    totals = []
    for index, layer in enumerate(network.layers):
        keys = functools.partial(StreamKey, seed, chip, index)
        taken = wrong = _NO_CELLS
        for error in errors.on_layer(layer.name):
            for hits in _hits(error, layer, taken, keys):
                cells = _without(hits.cells, taken)
                bad = cells
                if hits.reads is not None:
                    bad = cells[_stored_bits(layer, cells) != hits.reads]
                totals.append(ClassTotal(layer.name, hits.kind, len(cells), len(bad)))
                taken, wrong = _merged(taken, cells), _merged(wrong, bad)
        positions[layer.name] = wrong
    return Chip(seed, chip, positions, tuple(totals))


def draw_misread(
    network: FoldedNetwork, errors: Errors, *, seed: int, chip: int, read: int
) -> dict[str, Positions]:
    """Draw the weight bits that one read of a chip gets wrong.

    Parameters
    ----------
    network : FoldedNetwork
        Network; only the sizes of its layers matter.
    errors : Errors
        Its transient part is drawn.
    seed : int
        Seed of the family of chips, 0..2**128-1.
    chip : int
        Number of the chip, from 0.
    read : int
        Number of the read, 0..2**40-1: an image in evaluation.

    Returns
    -------
    dict of layer name to int64 array, shape (misread bits,)
        Bits read as the opposite of what the cell holds, strictly increasing: a bit that is wrong
        on the chip and misread comes out right. Nested in the rate, like a chip.

    Raises
    ------
    ValueError
        A layer named by `errors` does not exist, or a number is out of range.
    """
    check_layer_names(network, errors.layer_names(), argument="errors")
    misread = {}
    for index, (name, bits) in enumerate(network.weight_bits.items()):
        key = StreamKey(seed, chip, index, Stream.READ, read)
        misread[name] = nested_levels(bits=bits, ber=errors.misread_rate(name), key=key)[0]
    return misread


def _hits(error: Persistent, layer: Layer, taken: Positions, keys: Keys) -> tuple[_Hits, ...]:
    """Cells of each class of one error in one layer; some may be in `taken`."""
    if isinstance(error, Flips):
        return (_Hits("flips", _flipped(error, layer, keys)),)
    if isinstance(error, LineFaults):
        return (_Hits(f"faulty {error.along}s", _on_lines(error, layer, keys), error.stuck),)
    draw = _stuck_exactly if error.exact else _stuck_at_random
    zero, one = draw(error, _bits(layer), taken, keys)
    return _Hits("stuck at 0", zero, 0), _Hits("stuck at 1", one, 1)


def _flipped(error: Flips, layer: Layer, keys: Keys) -> Positions:
    rates = (error.zero_to_one, error.one_to_zero)
    cells, levels = nested_levels(bits=_bits(layer), ber=max(rates), key=keys(Stream.FLIPS))
    if rates[0] == rates[1]:
        return cells
    return cells[levels < np.array(rates)[_stored_bits(layer, cells)]]


def _on_lines(error: LineFaults, layer: Layer, keys: Keys) -> Positions:
    lines = LineMap(len(layer.weights), layer.columns, error.along, error.array, error.block)
    faulty, _ = nested_levels(bits=lines.lines, ber=error.rate, key=keys(_LINES[error.along]))
    cells = lines.cells(faulty)
    if error.density == 1.0:
        return cells
    return cells[uniforms_at(keys(_LINE_CELLS[error.along]), cells) < error.density]


def _stuck_at_random(
    error: StuckAt, bits: int, taken: Positions, keys: Keys
) -> tuple[Positions, Positions]:
    """Cells stuck at 0 and at 1, each cell by chance; `taken` does not matter."""
    cells, levels, upper = _two_sided(bits, 2.0 * max(error.zero, error.one), keys)
    zero = np.where(upper, levels >= 2.0 * (1.0 - error.zero), levels < 2.0 * error.zero)
    one = np.where(upper, levels < 2.0 * error.one, levels >= 2.0 * (1.0 - error.one))
    # shares that add up to 1 could meet in one cell by rounding
    return cells[zero], cells[one & ~zero]


def _stuck_exactly(
    error: StuckAt, bits: int, taken: Positions, keys: Keys
) -> tuple[Positions, Positions]:
    """Cells stuck at 0 and at 1, exact numbers of the cells that are not `taken`."""
    zeros = round(error.zero * bits)
    ones = min(round(error.one * bits), bits - zeros)
    free = bits - len(taken)
    if zeros + ones > free:
        raise ValueError(
            f"exactly {zeros} + {ones} stuck cells do not fit in the {free} of {bits} cells that "
            f"the errors listed before leave; list StuckAt first or lower a rate"
        )
    most = max(zeros, ones)
    if most == 0:
        return _NO_CELLS, _NO_CELLS
    rate = 2.0 * (most + _SPARE * (math.sqrt(most) + 1.0)) / free
    while True:
        cells, levels, upper = _two_sided(bits, rate, keys)
        left = ~_is_in(cells, taken)
        cells, levels, upper = cells[left], levels[left], upper[left]
        ups = int(upper.sum())
        if rate >= 1.0 or (len(cells) - ups >= zeros and ups >= ones):
            break
        rate *= 2.0
    order = np.argsort(np.where(upper, 1.0 - levels / 2.0, levels / 2.0), kind="stable")
    return np.sort(cells[order[:zeros]]), np.sort(cells[order[len(order) - ones :]])


def _two_sided(
    bits: int, rate: float, keys: Keys
) -> tuple[Positions, npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Cells whose uniform number `u` is near 0 or near 1, at a cost proportional to `rate`.

    The level ``2 * min(u, 1 - u)`` is drawn where it is below `rate`, and the side with a coin.
    Cells stuck at 0 are taken from below and cells stuck at 1 from above, so that either share can
    grow without touching the cells of the other.
    """
    cells, levels = nested_levels(bits=bits, ber=min(1.0, rate), key=keys(Stream.STUCK))
    return cells, levels, uniforms_at(keys(Stream.STUCK_SIDE), cells) >= 0.5


def _bits(layer: Layer) -> int:
    return len(layer.weights) * layer.columns


def _stored_bits(layer: Layer, positions: Positions) -> npt.NDArray[np.uint64]:
    """Stored bits, 0 or 1, at some positions."""
    rows, columns = np.divmod(positions, layer.columns)
    words = layer.weights[rows, columns // WORD_BITS]
    return (words >> (columns % WORD_BITS).astype(np.uint64)) & np.uint64(1)


def _is_in(cells: Positions, taken: Positions) -> npt.NDArray[np.bool_]:
    """Which of `cells` are in `taken`; both strictly increasing."""
    if not len(taken):
        return np.zeros(len(cells), np.bool_)
    nearest = np.minimum(np.searchsorted(taken, cells), len(taken) - 1)
    return taken[nearest] == cells


def _without(cells: Positions, taken: Positions) -> Positions:
    return cells[~_is_in(cells, taken)] if len(taken) else cells


def _merged(one: Positions, other: Positions) -> Positions:
    """Union of disjoint increasing positions."""
    if not len(one):
        return other
    # the stable sort merges increasing runs
    return np.sort(np.concatenate((one, other)), kind="stable")
