"""Families of device models by name: those of this library, of other packages, and a user's own."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from devicefit.families import heavy_tailed, lognormal, skewed_failure, switching_failure
from devicefit.families.family import Family

ENTRY_POINTS = "rram_reliability.families"
"""Group of entry points in which an installed package names its families."""

_OWN = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


class Families(Mapping[str, Family]):
    """Families by name.

    ``FAMILIES["module:NAME"]`` is the family ``NAME`` of a module on the path or in the present
    folder. Iterating gives the names of this library and of the entry points of installed packages.
    """

    def __init__(self, *families: Family) -> None:
        self._own = {family.name: family for family in families}

    def __repr__(self) -> str:
        """What an interactive session prints: the names."""
        return f"Families({', '.join(self)})"

    def __getitem__(self, name: str) -> Family:
        """Family of a name.

        Raises
        ------
        KeyError
            There is none.
        ValueError
            The module of ``module:NAME`` cannot be imported, or has no such family; says why.
        """
        if name in self._own:
            return self._own[name]
        for point in importlib.metadata.entry_points(group=ENTRY_POINTS, name=name):
            return _checked(point.load(), name)
        if _OWN.fullmatch(name):
            return _imported(name)
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        """Whether there is a family of a name; errors as of getting it."""
        try:
            self[str(name)]
        except KeyError:
            return False
        return True

    def __iter__(self) -> Iterator[str]:
        """Names."""
        points = importlib.metadata.entry_points(group=ENTRY_POINTS)
        yield from dict.fromkeys((*self._own, *(point.name for point in points)))

    def __len__(self) -> int:
        """Number of names."""
        return len(tuple(iter(self)))


def _imported(name: str) -> Family:
    module, attribute = name.split(":")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        raise ValueError(
            f"family {name}: module {module} cannot be imported ({error}); run in the folder of "
            f"{module.replace('.', '/')}.py, or name its folder in PYTHONPATH"
        ) from error
    finally:
        sys.path.remove(here)
    return _checked(getattr(found, attribute, None), name)


def _checked(found: object, name: str) -> Family:
    if not isinstance(found, Family):
        raise ValueError(
            f"family {name} is {type(found).__name__}, not a devicefit.families.family.Family"
        )
    return found


FAMILIES = Families(
    lognormal.FAMILY,
    heavy_tailed.STUDENT_T,
    heavy_tailed.LOG_LOGISTIC,
    switching_failure.FAMILY,
    skewed_failure.FAMILY,
)

__all__ = ["FAMILIES", "Family"]
