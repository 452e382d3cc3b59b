"""Machine code of operations in PyTensor graphs, and of whole graphs.

PyTensor keeps the code of graphs on disk itself, under a name that it makes of the operations in
them; a number for each operation stands for the sources that its code comes from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numba
from pytensor.compile.mode import NUMBA, Mode
from pytensor.link.numba.linker import NumbaLinker

from devicefit.numerics.compiled import digest


def of_lines(name: str, lines: Sequence[str], known: Mapping[str, Any], file: str) -> Any:
    """Function from its lines, for operations with any number of inputs.

    Parameters
    ----------
    name : str
        Of the function.
    lines : sequence of str
        Its text.
    known : mapping of str to object
        What the text may name.
    file : str
        Module whose sources the function depends on.

    Returns
    -------
    function, int
        The function for numba, and the number by which PyTensor keeps it: other sources, another
        number.
    """
    names = dict(known)
    exec("\n".join(lines), names)
    return numba.njit(names[name]), int(digest(file), 16)


class _WithoutLock(NumbaLinker):
    """Machine code that does not hold Python's lock, so that chains run beside each other."""

    def jit_compile(self, fn_and_cache: Any) -> Any:
        function, key = fn_and_cache
        return numba.njit(function.py_func, nogil=True, cache=key is not None)


WITHOUT_LOCK = Mode(_WithoutLock(), NUMBA.provided_optimizer)
"""How PyTensor compiles graphs here: to machine code by numba."""
