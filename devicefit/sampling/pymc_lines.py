"""What differs between the two lines of PyMC that the project runs with.

Python 3.11 brings PyMC 5.28, PyTensor 2.38 and ArviZ 0.23; newer Python brings PyMC 6, PyTensor 3
and ArviZ 1. All other code is written once: what stands elsewhere exists in both lines.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import xarray as xr

Operation = TypeVar("Operation", bound=type)


def differentiable(operation: Operation) -> Operation:
    """Decorate a PyTensor operation whose slopes are in ``pullback``.

    PyTensor 2 knows that method as ``L_op``; PyTensor 3 warns of this name.
    """
    defined: Any = operation
    if not hasattr(operation.__mro__[1], "pullback"):
        defined.L_op = defined.pullback
    return operation


def numbers_of(trace: Any, group: str) -> xr.Dataset:
    """Numbers of one group of what nutpie hands over.

    That is ``InferenceData`` of datasets with ArviZ 0.23, and a ``DataTree`` with ArviZ 1.
    """
    found = trace[group]
    if not isinstance(found, xr.Dataset):
        found = found.to_dataset()
    names = [n for n in found.data_vars if found[n].dtype.kind in "fiub" and found[n].ndim >= 2]
    return xr.Dataset(
        {n: (found[n].dims, np.asarray(found[n].values)) for n in names},
        coords={d: np.arange(found.sizes[d]) for d in ("chain", "draw")},
    )
