"""Compiling a graph in a process of its own: ``python -m devicefit.sampling.compile_graph``.

Machine code that numba has just compiled may round in another way than the same code found stored,
since parts of it are still there in their first form. Were it used at once, the same seed would
give other draws in the process that compiles than in all later ones.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytensor

from devicefit.sampling.graph_code import WITHOUT_LOCK
from devicefit.sampling.machine_density import density_of


def kinds_of(inputs: Sequence[Any]) -> list[tuple[np.dtype[Any], int]]:
    """Types and numbers of dimensions of the data, which come after the vector."""
    return [(np.dtype(i.type.dtype), i.type.ndim) for i in inputs[1:]]


def compiled_graph(inputs: list[Any], ln_density: Any, key: str | None) -> Any:
    """C function of a log density and its gradient, compiled here.

    Parameters
    ----------
    inputs : list of PyTensor variables
        The vector, then the data.
    ln_density : PyTensor scalar
        Of them.
    key : str or None
        Name under which to store it.
    """
    gradient: Any = pytensor.grad(ln_density, inputs[0])
    with warnings.catch_warnings():
        # PyTensor looks for a BLAS library that its C code would link to; there is no C code here.
        warnings.filterwarnings("ignore", message="PyTensor could not link to a BLAS")
        function = pytensor.function(
            inputs, [ln_density, gradient], mode=WITHOUT_LOCK, on_unused_input="ignore"
        )
    return density_of(function.vm.jit_fn, kinds_of(inputs), key)


def compile_apart(inputs: list[Any], ln_density: Any, key: str) -> Any:
    """The same from the store, after a process of its own has put it there; None if it did not."""
    try:
        graph = pickle.dumps((inputs, ln_density, key))
    except (pickle.PicklingError, RecursionError, TypeError, AttributeError):
        return None
    arguments = [sys.executable, "-m", __spec__.name]
    subprocess.run(arguments, input=graph, capture_output=True, check=False)
    return density_of(None, kinds_of(inputs), key)


if __name__ == "__main__":
    compiled_graph(*pickle.load(sys.stdin.buffer))  # from the process that asked for it
