"""Running a tape forward and backward."""

from __future__ import annotations

import math

import numpy as np

from devicefit.numerics.compiled import njit
from devicefit.tape import (
    ADD,
    CONSTANT,
    DIVIDE,
    EXP,
    FIRST,
    LENGTH,
    LINEAR,
    LOG,
    LOG1P,
    MAXIMUM,
    MULTIPLY,
    OFFSET,
    OPERATION,
    PARAMETER,
    SECOND,
    SQRT,
    SQUARE,
    SUBTRACT,
    TANH,
    TERMS,
)
from devicefit.vector_math import vector_exp, vector_log1p

# Loops over places become vector code.
_VECTOR = {"error_model": "numpy", "fastmath": {"reassoc", "contract", "arcp"}}


@njit(**_VECTOR)
def _binary(operation, x, y, out):  # type: ignore[no-untyped-def]
    """Operation on two operands of the same length."""
    if operation == ADD:
        for j in range(len(out)):
            out[j] = x[j] + y[j]
    elif operation == SUBTRACT:
        for j in range(len(out)):
            out[j] = x[j] - y[j]
    elif operation == MULTIPLY:
        for j in range(len(out)):
            out[j] = x[j] * y[j]
    elif operation == DIVIDE:
        for j in range(len(out)):
            out[j] = x[j] / y[j]
    elif operation == MAXIMUM:
        for j in range(len(out)):
            # The difference lets through what is not a number.
            out[j] = max(x[j], y[j]) + 0.0 * (x[j] - y[j])
    else:
        for j in range(len(out)):
            apart = x[j] - y[j]
            out[j] = max(x[j], y[j]) + vector_log1p(vector_exp(-abs(apart))) + 0.0 * apart


@njit(**_VECTOR)
def _unary(operation, x, out):  # type: ignore[no-untyped-def]
    if operation == EXP:
        for j in range(len(out)):
            out[j] = math.exp(x[j])
    elif operation == LOG:
        for j in range(len(out)):
            out[j] = math.log(x[j])
    elif operation == LOG1P:
        for j in range(len(out)):
            out[j] = math.log1p(x[j])
    elif operation == SQRT:
        for j in range(len(out)):
            out[j] = math.sqrt(x[j])
    elif operation == TANH:
        for j in range(len(out)):
            out[j] = math.tanh(x[j])
    elif operation == SQUARE:
        for j in range(len(out)):
            out[j] = x[j] * x[j]
    else:
        for j in range(len(out)):
            out[j] = -x[j]


@njit(**_VECTOR)
def _binary_back(operation, x, y, out, slope, by_x, by_y):  # type: ignore[no-untyped-def]
    """What the slope by `out` adds to those by both operands."""
    if operation == ADD:
        for j in range(len(out)):
            by_x[j] = slope[j]
            by_y[j] = slope[j]
    elif operation == SUBTRACT:
        for j in range(len(out)):
            by_x[j] = slope[j]
            by_y[j] = -slope[j]
    elif operation == MULTIPLY:
        for j in range(len(out)):
            by_x[j] = slope[j] * y[j]
            by_y[j] = slope[j] * x[j]
    elif operation == DIVIDE:
        for j in range(len(out)):
            by_x[j] = slope[j] / y[j]
            by_y[j] = -by_x[j] * out[j]
    elif operation == MAXIMUM:
        for j in range(len(out)):
            share = 1.0 if x[j] > y[j] else 0.0
            by_x[j] = slope[j] * share
            by_y[j] = slope[j] * (1.0 - share)
    else:
        # The share of each; finite however far apart the two are.
        for j in range(len(out)):
            by_x[j] = slope[j] * vector_exp(x[j] - out[j])
            by_y[j] = slope[j] * vector_exp(y[j] - out[j])


@njit(**_VECTOR)
def _unary_back(operation, x, out, slope, by_x):  # type: ignore[no-untyped-def]
    if operation == EXP:
        for j in range(len(out)):
            by_x[j] += slope[j] * out[j]
    elif operation == LOG:
        for j in range(len(out)):
            by_x[j] += slope[j] / x[j]
    elif operation == LOG1P:
        for j in range(len(out)):
            by_x[j] += slope[j] / (1.0 + x[j])
    elif operation == SQRT:
        for j in range(len(out)):
            by_x[j] += 0.5 * slope[j] / out[j]
    elif operation == TANH:
        for j in range(len(out)):
            by_x[j] += slope[j] * (1.0 - out[j] * out[j])
    elif operation == SQUARE:
        for j in range(len(out)):
            by_x[j] += 2.0 * slope[j] * x[j]
    else:
        for j in range(len(out)):
            by_x[j] -= slope[j]


@njit(**_VECTOR)
def _spread(values, n, room):  # type: ignore[no-untyped-def]
    """`values` at each of `n` places: itself, or one value repeated in `room`."""
    if len(values) == n:
        return values
    for j in range(n):
        room[j] = values[0]
    return room[:n]


@njit(**_VECTOR)
def _gather(added, into):  # type: ignore[no-untyped-def]
    """Add to the slope of an operand, the sum over places if it has one value."""
    if len(into) == len(added):
        for j in range(len(added)):
            into[j] += added[j]
    else:
        sum_of = 0.0
        for j in range(len(added)):
            sum_of += added[j]
        into[0] += sum_of


@njit(error_model="numpy")
def forward(parameters, steps, constants, outputs, places):  # type: ignore[no-untyped-def]
    """Values of a tape.

    Parameters
    ----------
    parameters : float array, shape (parameter,)
        Vector of all parameters.
    steps, constants, outputs, places
        Fields of :class:`devicefit.tape.Tape`.

    Returns
    -------
    found : float array, shape (output, place)
        What was asked for.
    memory : float array
        Values of all steps, for :func:`backward`.
    """
    last = steps[len(steps) - 1]
    memory = np.empty(last[OFFSET] + last[LENGTH])
    room = np.empty((2, steps[:, LENGTH].max()))
    for s in range(len(steps)):
        operation, first, second = steps[s, OPERATION], steps[s, FIRST], steps[s, SECOND]
        n, at = steps[s, LENGTH], steps[s, OFFSET]
        out = memory[at : at + n]
        if operation == CONSTANT:
            out[:] = constants[second : second + n]
        elif operation == PARAMETER:
            out[0] = parameters[first]
        elif operation == LINEAR:
            out[:] = 0.0
            for t in range(steps[s, TERMS]):
                row = constants[second + t * n : second + (t + 1) * n]
                for j in range(n):
                    out[j] += parameters[first + t] * row[j]
        else:
            a = steps[first, OFFSET]
            x = memory[a : a + steps[first, LENGTH]]
            if operation >= EXP:
                _unary(operation, x, out)
            else:
                b = steps[second, OFFSET]
                y = memory[b : b + steps[second, LENGTH]]
                _binary(operation, _spread(x, n, room[0]), _spread(y, n, room[1]), out)
    found = np.empty((len(outputs), places))
    for o in range(len(outputs)):
        at = steps[outputs[o], OFFSET]
        found[o] = _spread(memory[at : at + steps[outputs[o], LENGTH]], places, found[o])
    return found, memory


@njit(error_model="numpy")
def backward(parameters, steps, constants, outputs, memory, seed):  # type: ignore[no-untyped-def]
    """Gradient of a scalar by the parameters.

    Parameters
    ----------
    parameters, steps, constants, outputs
        As for :func:`forward`.
    memory : float array
        From :func:`forward`.
    seed : float array, shape (output, place)
        Gradient of the scalar by what the tape found.

    Returns
    -------
    float array, shape (parameter,)
    """
    found = np.zeros(len(parameters))
    slopes = np.zeros(len(memory))
    room = np.empty((4, max(seed.shape[1], steps[:, LENGTH].max())))
    for o in range(len(outputs)):
        at = steps[outputs[o], OFFSET]
        _gather(seed[o], slopes[at : at + steps[outputs[o], LENGTH]])
    for s in range(len(steps) - 1, -1, -1):
        operation, first, second = steps[s, OPERATION], steps[s, FIRST], steps[s, SECOND]
        n, at = steps[s, LENGTH], steps[s, OFFSET]
        out, slope = memory[at : at + n], slopes[at : at + n]
        if operation == CONSTANT:
            continue
        if operation == PARAMETER:
            found[first] += slope[0]
        elif operation == LINEAR:
            for t in range(steps[s, TERMS]):
                row = constants[second + t * n : second + (t + 1) * n]
                found[first + t] += _dot(slope, row)
        else:
            a, n_a = steps[first, OFFSET], steps[first, LENGTH]
            x, by_x = memory[a : a + n_a], slopes[a : a + n_a]
            if operation >= EXP:
                _unary_back(operation, x, out, slope, by_x)
            else:
                b, n_b = steps[second, OFFSET], steps[second, LENGTH]
                y, by_y = memory[b : b + n_b], slopes[b : b + n_b]
                _binary_back(
                    operation,
                    _spread(x, n, room[0]),
                    _spread(y, n, room[1]),
                    out,
                    slope,
                    room[2, :n],
                    room[3, :n],
                )
                _gather(room[2, :n], by_x)
                _gather(room[3, :n], by_y)
    return found


@njit(**_VECTOR)
def _dot(a, b):  # type: ignore[no-untyped-def]
    total = 0.0
    for j in range(len(a)):
        total += a[j] * b[j]
    return total
