"""How the weights of a layer lie on physical arrays: word lines, bit lines and blocks.

A layer with the weight matrix (rows = neurons, columns = inputs) begins with arrays of its own and
is cut in tiles, one to an array. Inputs drive word lines, which are array rows; neurons are read on
bit lines, which are array columns::

    weight (neuron n, input i)  ->  array (i // R, n // C), word line i % R, bit line n % C

for arrays of R rows and C columns. A word line thus holds one input of up to C neurons, a bit line
up to R inputs of one neuron. Tiles at the edge leave the rest of their array empty; lines that hold
no weight of the layer do not exist here and are not counted.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

Along = Literal["row", "column", "block"]
ALONG: tuple[str, ...] = get_args(Along)


@dataclass(frozen=True)
class ArrayShape:
    """Size of a physical array, or of a block in it.

    Attributes
    ----------
    rows : int
        Word lines.
    columns : int
        Bit lines.
    """

    rows: int = 1024
    columns: int = 1024

    def __post_init__(self) -> None:
        """Check that both sizes are positive integers."""
        for name in ("rows", "columns"):
            size = getattr(self, name)
            if not isinstance(size, int) or size < 1:
                raise ValueError(f"{name} of an array must be an integer of at least 1, got {size}")


@dataclass(frozen=True)
class LineMap:
    """Lines of one kind that hold weights of one layer.

    Word lines are numbered ``(n // C) * inputs + i``, bit lines ``(i // R) * neurons + n``, blocks
    row by row over all arrays of the layer. A block at the edge of an array or of the layer is cut.

    Attributes
    ----------
    neurons, inputs : int
        Rows and columns of the weight matrix.
    along : {"row", "column", "block"}
        Word lines, bit lines or blocks.
    array : ArrayShape
        Physical array.
    block : ArrayShape or None
        Size of a block, where lines are blocks.
    """

    neurons: int
    inputs: int
    along: Along
    array: ArrayShape
    block: ArrayShape | None = None

    def __post_init__(self) -> None:
        """Check the matrix and that a block size goes with blocks only."""
        if self.neurons < 1 or self.inputs < 1:
            raise ValueError(
                f"a layer needs at least one neuron and one input, got {self.neurons} and "
                f"{self.inputs}"
            )
        check_along(self.along, self.array, self.block)

    @property
    def lines(self) -> int:
        """Number of lines."""
        return len(self._edges(False)) * len(self._edges(True))

    def cells(self, lines: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Weight bits on some lines.

        Parameters
        ----------
        lines : int64 array, shape (lines,)
            Numbers of different lines.

        Returns
        -------
        int64 array, shape (cells,)
            Bits ``neuron * inputs + input`` on these lines, strictly increasing.

        Raises
        ------
        ValueError
            A line does not exist; gives its index.
        """
        bad = np.flatnonzero((lines < 0) | (lines >= self.lines))
        if bad.size:
            raise ValueError(
                f"lines must lie in 0..{self.lines - 1}, got {lines[bad[0]]} at index {bad[0]}"
            )
        along_inputs, along_neurons = self._edges(False), self._edges(True)
        if self.along == "row":
            at_neurons, at_inputs = np.divmod(lines, len(along_inputs))
        else:
            at_inputs, at_neurons = np.divmod(lines, len(along_neurons))
        # every line is a rectangle of the weight matrix
        first_input, width = _parts(along_inputs, at_inputs, end=self.inputs)
        first_neuron, height = _parts(along_neurons, at_neurons, end=self.neurons)
        within = _count_up(width * height)
        width_of_cell = np.repeat(width, width * height)
        corner = np.repeat(first_neuron * self.inputs + first_input, width * height)
        return np.sort(corner + within // width_of_cell * self.inputs + within % width_of_cell)

    def _edges(self, of_neurons: bool) -> npt.NDArray[np.int64]:
        """First neuron, or first input, of the parts in which lines cut the matrix."""
        size = self.neurons if of_neurons else self.inputs
        array = self.array.columns if of_neurons else self.array.rows
        whole_array = self.along == ("row" if of_neurons else "column")
        if whole_array:
            step = array
        elif self.block is None:
            step = 1
        else:
            step = self.block.columns if of_neurons else self.block.rows
        starts = np.arange(0, size, array, dtype=np.int64)[:, None]
        edges = (starts + np.arange(0, array, step, dtype=np.int64)).ravel()
        return edges[edges < size]


def check_along(along: str, array: ArrayShape, block: ArrayShape | None) -> None:
    """Raise ValueError unless these describe one kind of line."""
    if along not in ALONG:
        raise ValueError(f"along must be one of {', '.join(ALONG)}, got {along!r}")
    if not isinstance(array, ArrayShape):
        raise ValueError(f"array must be an ArrayShape, got {array!r}")
    if along == "block":
        if not isinstance(block, ArrayShape):
            raise ValueError(
                f"along='block' needs block, the ArrayShape of one block, got {block!r}"
            )
        if block.rows > array.rows or block.columns > array.columns:
            raise ValueError(f"block must fit in the array {array}, got {block}")
    elif block is not None:
        raise ValueError(f"block goes with along='block' only, got {block!r} for {along!r}")


def _parts(
    edges: npt.NDArray[np.int64], at: npt.NDArray[np.int64], *, end: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """First element and length of the parts `at` of a range cut at `edges`."""
    return edges[at], np.diff(edges, append=end)[at]


def _count_up(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Give 0, 1, ... below each length, one range after the other."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths)
