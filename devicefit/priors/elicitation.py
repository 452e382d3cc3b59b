"""From an interval that somebody states to the law that says no more than that."""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from types import ModuleType

LEAST_PROBABILITY, LARGEST_PROBABILITY = 0.01, 0.999999
"""Range of the probability of an interval in which PreliZ's answer has six right digits."""


def normal_between(low: float, high: float, probability: float) -> tuple[float, float]:
    """Mean and sd of the broadest normal law with a given probability between two bounds.

    Parameters
    ----------
    low, high : float
        Bounds, `low` below `high`.
    probability : float
        Between them.

    Returns
    -------
    mean, sd : float

    Notes
    -----
    Maximum entropy as PreliZ computes it. The broadest law is centred, and every interval is a
    stretched [-1, 1], where PreliZ is exact to six digits; on far or narrow bounds it is not.
    """
    preliz = _preliz()
    with warnings.catch_warnings():
        # PreliZ 0.24 calls PyTensor by an old keyword.
        warnings.filterwarnings("ignore", "The `broadcastable` keyword", DeprecationWarning)
        unit = preliz.maxent(preliz.Normal(mu=0.0), -1.0, 1.0, probability, plot=False)
    return (low + high) / 2, float(unit.sigma) * (high - low) / 2


def _preliz() -> ModuleType:
    """PreliZ, imported where it is needed and without its changes of Matplotlib's settings."""
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        # PreliZ up to 0.26 reaches for matplotlib.style.core without importing it. Matplotlib 3.11
        # no longer does so itself and announces the end of that module.
        warnings.simplefilter("ignore", matplotlib.MatplotlibDeprecationWarning)
        if importlib.util.find_spec("matplotlib.style.core") is not None:
            importlib.import_module("matplotlib.style.core")
        return importlib.import_module("preliz")
