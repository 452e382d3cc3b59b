"""Lines against a weight-by-weight walk through the convention of the module."""

from collections import defaultdict

import numpy as np
import pytest

from bnn.errors.array_mapping import Along, ArrayShape, LineMap

# a matrix smaller than, as large as, and larger than the array, with cut tiles and cut blocks
SHAPES = [
    (10, 7, ArrayShape(16, 16), ArrayShape(4, 4)),
    (8, 8, ArrayShape(8, 8), ArrayShape(8, 8)),
    (10, 7, ArrayShape(4, 3), ArrayShape(2, 2)),
    (5, 23, ArrayShape(7, 2), ArrayShape(3, 1)),
    (1, 1, ArrayShape(1, 1), ArrayShape(1, 1)),
    (12, 30, ArrayShape(10, 10), ArrayShape(7, 3)),
]


def walk(
    neurons: int, inputs: int, along: Along, array: ArrayShape, block: ArrayShape
) -> dict[tuple[int, ...], list[int]]:
    """Bits of every line, found weight by weight; lines in the order of their numbers."""
    lines = defaultdict(list)
    for n in range(neurons):
        for i in range(inputs):
            array_row, word_line = divmod(i, array.rows)
            array_column, bit_line = divmod(n, array.columns)
            place: tuple[int, ...]
            if along == "row":
                place = (array_column, array_row, word_line)
            elif along == "column":
                place = (array_row, array_column, bit_line)
            else:
                place = (
                    array_row,
                    word_line // block.rows,
                    array_column,
                    bit_line // block.columns,
                )
            lines[place].append(n * inputs + i)
    return dict(sorted(lines.items()))


@pytest.mark.parametrize("along", ["row", "column", "block"])
@pytest.mark.parametrize(("neurons", "inputs", "array", "block"), SHAPES)
def test_every_line_holds_the_weights_of_the_convention(
    along: Along, neurons: int, inputs: int, array: ArrayShape, block: ArrayShape
) -> None:
    expected = list(walk(neurons, inputs, along, array, block).values())
    lines = LineMap(neurons, inputs, along, array, block if along == "block" else None)
    assert lines.lines == len(expected)
    for number, cells in enumerate(expected):
        assert lines.cells(np.array([number])).tolist() == cells
    some = np.arange(0, lines.lines, 2)
    assert lines.cells(some).tolist() == sorted(sum((expected[k] for k in some), []))
    assert lines.cells(some[::-1]).tolist() == lines.cells(some).tolist()
    everything = lines.cells(np.arange(lines.lines))
    assert everything.tolist() == list(range(neurons * inputs))


def test_no_line_holds_nothing() -> None:
    cells = LineMap(3, 4, "row", ArrayShape()).cells(np.empty(0, np.int64))
    assert cells.dtype == np.int64
    assert cells.shape == (0,)


@pytest.mark.parametrize("number", [-1, 4])
def test_lines_that_do_not_exist_are_refused(number: int) -> None:
    with pytest.raises(ValueError, match=rf"lines must lie in 0\.\.3, got {number} at index 1"):
        LineMap(3, 4, "row", ArrayShape()).cells(np.array([0, number]))


@pytest.mark.parametrize("size", [0, -1, 2.0])
def test_sizes_of_arrays_are_positive_integers(size: object) -> None:
    with pytest.raises(ValueError, match="rows of an array must be an integer of at least 1"):
        ArrayShape(size, 4)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="columns of an array must be an integer of at least 1"):
        ArrayShape(4, size)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("along", "block", "message"),
    [
        ("line", None, "along must be one of row, column, block, got 'line'"),
        ("block", None, "needs block"),
        ("block", (2, 2), "needs block"),
        ("block", ArrayShape(2, 9), "block must fit in the array"),
        ("row", ArrayShape(2, 2), "block goes with along='block' only"),
    ],
)
def test_contradictions_are_refused(along: Along, block: ArrayShape | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LineMap(3, 4, along, ArrayShape(8, 8), block)


def test_empty_layers_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one neuron and one input, got 0 and 4"):
        LineMap(0, 4, "row", ArrayShape())
