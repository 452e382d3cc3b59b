"""Which tables of counts belong to one recipe. Records here are made up."""

from typing import Any

import numpy as np
import pytest
import xarray as xr

from reliability.accuracy.training_counts import check_counts, join_trainings
from reliability.networks.study import NetworkStudy


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


def test_tables_that_decide_nothing_are_refused_with_the_reason() -> None:
    table = xr.Dataset({"correct": (("case", "chip"), np.zeros((2, 3), dtype=np.int64))})
    for dim, reason in (
        ("case", "stuck cells, lines, read errors"),
        ("programming", "hold for that device"),
    ):
        studies = {"a": NetworkStudy(table.rename(case=dim) if dim != "case" else table, {})}
        with pytest.raises(ValueError, match=reason) as caught:
            check_counts(studies)
        assert "evaluate` without --errors and --device" in str(caught.value)
