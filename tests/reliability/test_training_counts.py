"""Which tables of counts belong to one recipe. Records here are made up."""

from typing import Any

import numpy as np
import xarray as xr

from bnn import calibration
from reliability import threshold_treatment
from reliability.network_study import NetworkStudy
from reliability.training_counts import join_trainings


def _study(seed: int, *, ber: float = 0.0, **record: Any) -> NetworkStudy:
    counts = xr.Dataset({"lost": (("ber", "chip"), np.full((2, 2), seed))})
    training = {"epochs": 20, "ber": ber, "seed": seed, "threads": 1 + seed}
    return NetworkStudy(counts, {"training": training, **record})


def test_trainings_that_differ_in_their_seed_alone_are_joined() -> None:
    studies = [_study(1), _study(1, ber=0.04), _study(2), _study(3)]
    standard, errors = join_trainings(studies)
    assert standard.counts is studies[0].counts
    assert [t.counts["lost"].values[0, 0] for t in standard.further_trainings] == [2, 3]
    assert errors.further_trainings == ()


def test_other_thresholds_and_imported_networks_stay_apart() -> None:
    calibrated = _study(2, thresholds={"treatment": "calibrated per chip"})
    imported = [NetworkStudy(_study(k).counts, {"source": "net.onnx"}) for k in (4, 5)]
    assert len(join_trainings([_study(1), calibrated, *imported])) == 4


def test_the_names_of_treatments_are_those_of_the_networks() -> None:
    for name in ("FIXED", "PER_CHIP", "FOLDED_FOR_EACH"):
        assert getattr(threshold_treatment, name) == getattr(calibration, name)
