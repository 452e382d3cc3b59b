"""Formulas recorded once as a list of elementary steps, a tape.

The formulas of the device models are written against ``xp``. Given numpy they compute with draws;
given :data:`SYMBOLS` they leave a tape, which :mod:`devicefit.tape_kernel` runs forward and
backward. Nothing is compiled for a formula: compiling what a family of device models says about
each reading took between half a minute and three minutes, and running its tape costs no more than
the compiled formula did.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from devicefit.programming import FloatArray

CONSTANT, PARAMETER, LINEAR = 0, 1, 2
ADD, SUBTRACT, MULTIPLY, DIVIDE, MAXIMUM, LN_ADD = 3, 4, 5, 6, 7, 8
EXP, LOG, LOG1P, SQRT, TANH, SQUARE, NEGATIVE = 9, 10, 11, 12, 13, 14, 15

OPERATION, FIRST, SECOND, LENGTH, OFFSET, TERMS = range(6)
STEP_COLUMNS = 6
"""Columns of the steps of a tape, and their number."""

Layout = Mapping[str, "int | slice"]
"""Where each parameter is in the vector of all parameters: a number, or a slice of its terms."""


class Expression:
    """Value of a step, one for all places or one for each place.

    Parameters
    ----------
    operation : int
        What makes it.
    operands : tuple of Expression
        Of what.
    at : tuple of int
        First parameter and number of parameters, for `PARAMETER` and `LINEAR`.
    values : float array, shape (length,) or (parameter, length)
        Values of a `CONSTANT`, matrix of a `LINEAR` step.
    """

    # Otherwise an array on the left of an operator would take it apart.
    __array_ufunc__ = None

    def __init__(
        self,
        operation: int,
        operands: tuple[Expression, ...] = (),
        at: tuple[int, int] = (0, 0),
        values: FloatArray | None = None,
    ) -> None:
        self.operation, self.operands, self.at, self.values = operation, operands, at, values
        lengths = {o.length for o in operands} if values is None else {values.shape[-1]}
        self.length: int = max(lengths, default=1)
        if not lengths <= {1, self.length}:
            raise ValueError(f"places of {sorted(lengths)} do not go together")

    def __add__(self, other: Any) -> Any:
        return self if _is(other, 0.0) else _step(ADD, self, other)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        return self if _is(other, 0.0) else _step(SUBTRACT, self, other)

    def __rsub__(self, other: Any) -> Any:
        return _step(SUBTRACT, other, self)

    def __mul__(self, other: Any) -> Any:
        return self if _is(other, 1.0) else _step(MULTIPLY, self, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Any:
        return _step(DIVIDE, self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return _step(DIVIDE, other, self)

    def __neg__(self) -> Any:
        return _step(NEGATIVE, self)

    def __pow__(self, power: Any) -> Any:
        if not _is(power, 2.0):
            raise NotImplementedError(f"power {power!r}; a tape has squares only")
        return _step(SQUARE, self)

    def __getitem__(self, key: Any) -> Any:
        """A scalar parameter of draws has an axis for places, which is dropped by ``[..., 0]``."""
        if key != (..., 0) or self.length != 1:
            raise NotImplementedError(f"index {key!r} of {self.length} places")
        return self


@dataclass(frozen=True)
class Terms:
    """A parameter of several terms: a vector of which places see linear combinations.

    Parameters
    ----------
    start, size : int
        Its terms in the vector of all parameters.
    factor : float
        What they are multiplied by.
    """

    __array_ufunc__ = None

    start: int
    size: int
    factor: float = 1.0

    def __mul__(self, factor: float) -> Terms:
        return Terms(self.start, self.size, self.factor * factor)

    def __matmul__(self, matrix: FloatArray) -> Expression:
        return Expression(LINEAR, (), (self.start, self.size), self.factor * np.asarray(matrix))

    def __getitem__(self, key: tuple[Any, Any]) -> Expression:
        """The term of each place, ``terms[..., index]``."""
        index = np.asarray(key[1])
        if index.size and not (0 <= index.min() and index.max() < self.size):
            raise IndexError(f"term {index.min()} to {index.max()} of {self.size}")
        return self @ (np.arange(self.size)[:, None] == np.asarray(key[1]))


def _is(value: Any, number: float) -> bool:
    return not isinstance(value, Expression) and np.ndim(value) == 0 and float(value) == number


def _step(operation: int, *operands: Any) -> Expression:
    return Expression(operation, tuple(_expression(o) for o in operands))


def _expression(value: Any) -> Expression:
    if isinstance(value, Expression):
        return value
    values = np.atleast_1d(np.asarray(value, dtype=np.float64))
    if values.ndim > 1:
        raise ValueError(f"a constant of shape {values.shape}; a tape has one value for each place")
    return Expression(CONSTANT, values=values)


class _Symbols:
    """Functions of numpy that formulas use, of expressions; of anything else numpy's own."""

    def exp(self, x: Any) -> Any:
        return self._apply(np.exp, EXP, x)

    def log(self, x: Any) -> Any:
        return self._apply(np.log, LOG, x)

    def log1p(self, x: Any) -> Any:
        return self._apply(np.log1p, LOG1P, x)

    def sqrt(self, x: Any) -> Any:
        return self._apply(np.sqrt, SQRT, x)

    def tanh(self, x: Any) -> Any:
        return self._apply(np.tanh, TANH, x)

    def maximum(self, a: Any, b: Any) -> Any:
        return self._apply(np.maximum, MAXIMUM, a, b)

    def logaddexp(self, a: Any, b: Any) -> Any:
        return self._apply(np.logaddexp, LN_ADD, a, b)

    @staticmethod
    def _apply(function: Callable[..., Any], operation: int, *operands: Any) -> Any:
        if any(isinstance(o, Expression) for o in operands):
            return _step(operation, *operands)
        return function(*operands)


SYMBOLS: Final = _Symbols()


@dataclass(frozen=True, eq=False)
class Tape:
    """Steps of a formula, in an order in which they can be run.

    Parameters
    ----------
    steps : int array, shape (step, 6)
        Operation, first and second operand, number of values, place of the values in the memory,
        number of parameters. Operands are steps; of a `PARAMETER` the first is its place in the
        vector; of a `LINEAR` step they are the first of its parameters and the place of its matrix
        in the constants; of a `CONSTANT` the second is its place there.
    constants : float array
        Values of constants and matrices.
    outputs : int array, shape (output,)
        Steps whose values are asked for.
    places : int
        Values of each output.
    """

    steps: np.ndarray
    constants: FloatArray
    outputs: np.ndarray
    places: int


def expressions(layout: Layout) -> dict[str, Any]:
    """Parameters as expressions, for formulas to be recorded."""
    return {
        name: Terms(at.start, at.stop - at.start)
        if isinstance(at, slice)
        else Expression(PARAMETER, at=(at, 1))
        for name, at in layout.items()
    }


def record(outputs: Sequence[Any], places: int) -> Tape:
    """Tape that computes `outputs`, expressions or numbers, at a number of places.

    Steps that are the same are taken once, steps that no output needs are left out.

    Raises
    ------
    ValueError
        An output has neither one value nor one for each place.
    """
    recorder = _Recorder()
    # Kept to the end: a number's expression that is gone would leave its identity to the next.
    wanted = [_expression(o) for o in outputs]
    asked = [recorder.add(e) for e in wanted]
    for at in asked:
        if recorder.rows[at][LENGTH] not in (1, places):
            raise ValueError(f"an output of {recorder.rows[at][LENGTH]} places, asked for {places}")
    return Tape(
        np.array(recorder.rows, dtype=np.int64).reshape(-1, STEP_COLUMNS),
        np.concatenate([*recorder.constants, np.zeros(1)]),
        np.array(asked, dtype=np.int64),
        places,
    )


class _Recorder:
    """Steps so far, and which expressions they stand for."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, ...]] = []
        self.constants: list[FloatArray] = []
        self._constants_end = self._memory_end = 0
        self._by_content: dict[Any, int] = {}
        self._by_identity: dict[int, int] = {}

    def add(self, expression: Expression) -> int:
        """Step that computes an expression."""
        if id(expression) in self._by_identity:
            return self._by_identity[id(expression)]
        operands = tuple(self.add(o) for o in expression.operands)
        values = expression.values
        content = (
            expression.operation,
            operands,
            expression.at,
            None if values is None else (values.shape, values.tobytes()),
        )
        if content not in self._by_content:
            self._by_content[content] = len(self.rows)
            first, second = (*operands, 0, 0)[:2]
            if expression.operation in (PARAMETER, LINEAR):
                first = expression.at[0]
            if values is not None:
                second = self._constants_end
                self.constants.append(np.ravel(values).astype(np.float64))
                self._constants_end += values.size
            length, terms = expression.length, expression.at[1]
            self.rows.append((expression.operation, first, second, length, self._memory_end, terms))
            self._memory_end += expression.length
        at = self._by_content[content]
        # Recording outlives no expression: their identities stay theirs.
        self._by_identity[id(expression)] = at
        return at
