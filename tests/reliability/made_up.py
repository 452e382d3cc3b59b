"""Surfaces made by hand, for tests."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from reliability.accuracy.surface import AccuracySurface


def flat_in_tilt(
    ln_rate: np.ndarray,
    logit_share: Mapping[str, np.ndarray],
    ln_dispersion: Mapping[str, np.ndarray],
    **more: Any,
) -> AccuracySurface:
    """Surface on which only the mean rate matters; tables have the shape (draw, rate)."""

    def both(table: np.ndarray) -> np.ndarray:
        return np.repeat(np.asarray(table)[..., None], 2, axis=-1)

    return AccuracySurface(
        ln_rate=np.asarray(ln_rate),
        tilt=np.array([-1.0, 1.0]),
        logit_share={kind: both(table) for kind, table in logit_share.items()},
        ln_dispersion={kind: both(table) for kind, table in ln_dispersion.items()},
        **{"chips": 20, "diagnostics": {"converged": 1.0, "misfit": 1.0, "points": 6.0}} | more,
    )
