"""Objects print short: arrays by their shape, tables by their size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import xarray as xr

_LONGEST = 60
_Class = TypeVar("_Class")


def short_repr(of: type[_Class]) -> type[_Class]:
    """Class decorator: a dataclass prints what its fields are instead of all that they hold."""

    def text(self: Any) -> str:
        shown = (f"{f.name}={_short(getattr(self, f.name))}" for f in fields(self) if f.repr)
        return f"{type(self).__name__}({', '.join(shown)})"

    of.__repr__ = text  # type: ignore[method-assign]
    return of


def _short(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} array of shape {value.shape}"
    if isinstance(value, pd.DataFrame):
        return f"table of {len(value)} rows"
    if isinstance(value, xr.Dataset | xr.DataArray):
        return f"{type(value).__name__} of {dict(value.sizes)}"
    if isinstance(value, str | bytes) or value is None or np.isscalar(value):
        return _cut(repr(value))
    if isinstance(value, Mapping):
        return f"{{{_cut(', '.join(str(key) for key in value))}}}"
    if isinstance(value, Sequence | frozenset | set):
        return _cut(repr(value)) if len(value) < 4 and _plain(value) else f"{len(value)} items"
    if is_dataclass(value) or callable(value):
        return f"{getattr(value, '__name__', type(value).__name__)}(...)"
    return _cut(repr(value))


def _plain(values: Any) -> bool:
    return all(isinstance(v, str | int | float | None) for v in values)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
