"""What a fit predicts, held against the readings it was fitted to: totals, shape and pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from devicefit.checks.counted_share import CountedShare
from devicefit.checks.pairs import pair_shares, pairs_gate
from devicefit.checks.ranks_of_readings import ranked_readings
from devicefit.checks.shape import ShapeTests, shape_gate, shape_tests
from devicefit.checks.totals import error_totals, totals_gate
from devicefit.distributions.sensing import SensingOptions
from devicefit.fitting.fitted import Fitted
from devicefit.fitting.gate import Gate
from devicefit.measurements.measurements import Measurements


@dataclass(frozen=True)
class PredictiveTests:
    """Counted beside predicted.

    Parameters
    ----------
    totals : tuple of CountedShare
        Readings on the wrong side of the threshold.
    shape : ShapeTests
        The law of ln R.
    pairs : tuple of CountedShare
        Wrong pairs of readings; none where conditions have too few devices.
    """

    totals: tuple[CountedShare, ...]
    shape: ShapeTests
    pairs: tuple[CountedShare, ...]

    @property
    def gates(self) -> tuple[Gate, ...]:
        """The three gates."""
        return totals_gate(self.totals), shape_gate(self.shape), pairs_gate(self.pairs)

    def record(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "totals": [share.record() for share in self.totals],
            "shape": self.shape.record(),
            "pairs": [share.record() for share in self.pairs],
        }


def predictive_tests(
    device: Fitted, measurements: Measurements, *, options: SensingOptions
) -> PredictiveTests:
    """Hold what a fit predicts against its readings.

    Parameters
    ----------
    device : Fitted
        What answers are based on, one family or a stack.
    measurements : Measurements
        The readings that were fitted.
    options : SensingOptions
        How bits are read.
    """
    return PredictiveTests(
        error_totals(device, measurements, options=options),
        shape_tests(ranked_readings(device, measurements), device.frame.programming.format),
        pair_shares(device, measurements, options=options),
    )
