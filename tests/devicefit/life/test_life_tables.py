"""Files about life: what is read and what is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from devicefit.distributions.separation import best_threshold
from devicefit.inputs.columns import parse_columns
from devicefit.inputs.refusals import MeasurementError
from devicefit.life.counted_tables import bake_counts, endurance_counts, read_wear_out
from devicefit.life.tables import read_life_table
from devicefit.treatments.overrange import Overrange

CYCLES = parse_columns(["prior_cycles=n", "device_id=cell", "resistance_ohm=R:kohm"])


@pytest.fixture
def cycled() -> pd.DataFrame:
    """Two cells, read twice; the second one's LRS is lost after 5,000 cycles."""
    return pd.DataFrame(
        {
            "cell": ["a", "a", "b", "b"] * 2,
            "state": ["LRS", "HRS"] * 4,
            "n": [100.0] * 4 + [5000.0] * 4,
            "R": [8.0, 200.0, 9.0, 150.0, 8.5, 190.0, 120.0, 160.0],
        }
    )


def test_readings_are_counted_against_a_threshold_of_fresh_cells(
    cycled: pd.DataFrame, write: Callable[..., Path]
) -> None:
    table = read_life_table(write(cycled), "endurance", columns=CYCLES)
    counts, threshold = endurance_counts(table)
    assert threshold == pytest.approx((np.exp((np.log(9e3) + np.log(150e3)) / 2)), rel=1e-9)
    np.testing.assert_array_equal(counts["LRS"].errors, [[0, 0], [0, 1]])
    np.testing.assert_array_equal(counts["HRS"].errors, [[0, 0], [0, 0]])
    counts, threshold = endurance_counts(table, threshold_ohm=130e3)
    assert threshold == 130e3
    assert counts["LRS"].errors.sum() == 0


@pytest.mark.parametrize("value", [9.9e37, np.inf, "OVLD"])
def test_overflow_is_above_the_threshold(
    cycled: pd.DataFrame, write: Callable[..., Path], value: object
) -> None:
    cycled["R"] = cycled["R"].astype(object)
    cycled.loc[[2, 3], "R"] = value
    table = read_life_table(write(cycled), "endurance", columns=CYCLES)
    assert table.warnings[0].startswith("2 readings (1 LRS and 1 HRS) are overflow")
    counts, threshold = endurance_counts(table, threshold_ohm=20e3)
    # cell b: both LRS readings are errors now, no HRS reading
    np.testing.assert_array_equal(counts["LRS"].errors, [[0, 0], [1, 1]])
    np.testing.assert_array_equal(counts["HRS"].errors, [[0, 0], [0, 0]])
    about = table.about(threshold)
    assert [c["why"] for c in about["censored"]] == ["overflow", "overflow"]
    # the largest reading is 200 kohm: on which side of 300 kohm overflow is, nobody knows
    with pytest.raises(MeasurementError, match=r"3e\+05 ohm, is beyond the bound of row 3 "):
        endurance_counts(table, threshold_ohm=300e3)
    declared = read_life_table(write(cycled), "endurance", columns=CYCLES, overrange=Overrange(1e6))
    endurance_counts(declared, threshold_ohm=300e3)


def test_faults_of_a_life_table_are_told_at_once(
    cycled: pd.DataFrame, write: Callable[..., Path]
) -> None:
    cycled.loc[0, "R"], cycled.loc[5, "n"] = -1.0, np.inf
    with pytest.raises(MeasurementError) as error:
        read_life_table(
            write(cycled.assign(state=["set", *cycled["state"][1:]])), "endurance", columns=CYCLES
        )
    for text in ("3 faults", "'set'", "row 1 (values -1000.0)", "column n is no number", "row 6"):
        assert text in str(error.value)


def test_overflow_is_no_number_of_cycles(cycled: pd.DataFrame, write: Callable[..., Path]) -> None:
    cycled["n"] = cycled["n"].astype(float)
    cycled.loc[5, "n"] = 9.9e37
    with pytest.raises(MeasurementError, match="column n holds overflow .* row 6 "):
        read_life_table(write(cycled), "endurance", columns=CYCLES)


def test_counts_need_no_threshold(write: Callable[..., Path]) -> None:
    frame = pd.DataFrame(
        {
            "state": ["LRS", "HRS"] * 3,
            "time_after_program_s": [0.0, 0.0, 3600.0, 3600.0, 3600.0, 3600.0],
            "temperature_k": [300.0, 300.0, 358.15, 358.15, 358.15, 358.15],
            "errors": [0, 1, 2, 3, 4, 5],
            "trials": [10, 10, 20, 20, 30, 30],
        }
    )
    table = read_life_table(write(frame), "retention")
    counts, threshold = bake_counts(table)
    assert threshold is None
    # Rows of one state, time and temperature are added.
    np.testing.assert_array_equal(counts["LRS"].errors, [0, 6])
    np.testing.assert_array_equal(counts["HRS"].trials, [10, 50])
    with pytest.raises(MeasurementError, match="counted already"):
        bake_counts(table, threshold_ohm=1e4)


def test_best_threshold_has_the_fewest_errors() -> None:
    rng = np.random.default_rng(3)
    lrs, hrs = rng.normal(9, 0.4, 200), rng.normal(11, 0.8, 300)
    found = best_threshold(lrs, hrs)

    def error(t: float) -> float:
        return float((lrs > t).mean() + (hrs <= t).mean())

    assert error(found) == pytest.approx(min(error(t) for t in np.concatenate([lrs, hrs])))
    assert best_threshold(np.array([1.0, 2.0]), np.array([6.0, 9.0])) == 4.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"R": [8.0, -1.0, 9, 150, 8, 190, 120, 160]}, r"resistance_ohm .* row 2"),
        ({"n": [-1.0] + [100.0] * 7}, "column n is no number of cycles in row 1"),
        ({"n": [0.1] + [100.0] * 7}, "count cycles one by one, not in thousands"),
        ({"n": [np.inf] + [100.0] * 7}, "column n is no number of cycles in row 1"),
        ({"state": ["LRS"] * 8}, "no HRS"),
        ({"state": ["LRS", "RESET"] * 4}, "unknown values"),
        ({"cell": ["a", None] * 4}, "what wears out as one"),
        ({"n": ["100", "many"] * 4}, "text where a number is needed"),
    ],
)
def test_readings_that_cannot_be_used_are_refused(
    cycled: pd.DataFrame, write: Callable[..., Path], change: dict[str, list[object]], message: str
) -> None:
    with pytest.raises(MeasurementError, match=message):
        read_life_table(write(cycled.assign(**change)), "endurance", columns=CYCLES)


def test_missing_columns_are_named_with_the_remedy(
    cycled: pd.DataFrame, write: Callable[..., Path]
) -> None:
    path = write(cycled)
    with pytest.raises(MeasurementError, match="--column resistance_ohm=YOUR_COLUMN:ohm"):
        read_life_table(path, "endurance")
    with pytest.raises(MeasurementError, match=r"'volts' \(prior_cycles\) is missing"):
        read_life_table(path, "endurance", columns=parse_columns(["prior_cycles=volts"]))
    columns = parse_columns(["resistance_ohm=R:kohm", "time_after_program_s=n:s"])
    with pytest.raises(MeasurementError, match="--column temperature_k=YOUR_COLUMN:K"):
        read_life_table(path, "retention", columns=columns)


def test_bakes_in_celsius_are_refused(write: Callable[..., Path]) -> None:
    frame = pd.DataFrame(
        {
            "state": ["LRS", "HRS"],
            "time_after_program_s": 0.0,
            "temperature_k": 85.0,
            "errors": 0,
            "trials": 5,
        }
    )
    with pytest.raises(MeasurementError, match=r"plus 273\.15"):
        read_life_table(write(frame), "retention")
    fresh = read_life_table(write(frame.assign(temperature_k=358.0)), "retention")
    with pytest.raises(MeasurementError, match="LRS: no row has a time above 0"):
        bake_counts(fresh)
    wrong = frame.assign(temperature_k=358.0, errors=6)
    with pytest.raises(MeasurementError, match="contradicts trials"):
        read_life_table(write(wrong), "retention")


def test_inspections_follow_each_other(write: Callable[..., Path]) -> None:
    frame = pd.DataFrame(
        {
            "i_cc_a": [5e-5, 5e-5, 1e-4],
            "cycles": [1e6, 1e4, 1e5],
            "failed": [2, 1, 4],
            "survivors": [3, 0, 0],
        }
    )
    table, about = read_wear_out(write(frame))
    np.testing.assert_array_equal(table.previous_cycles, [1e4, 0, 0])
    assert table.cells == 10
    assert table.programming.unit == "A"
    assert not about["simulated"]
    mapped = parse_columns(["programming=I:uA"])
    other = frame.drop(columns="i_cc_a").assign(I=[50.0, 50.0, 100.0])
    np.testing.assert_allclose(read_wear_out(write(other), columns=mapped)[0].x, table.x)
    with pytest.raises(MeasurementError, match="no columns could be the programming variable"):
        read_wear_out(write(other))
    with pytest.raises(MeasurementError, match="unit of the programming variable is not stated"):
        read_wear_out(write(other), columns=parse_columns(["programming=I"]))
    with pytest.raises(MeasurementError, match="only programming can be mapped"):
        read_wear_out(write(other), columns=parse_columns(["cycle=cycles"]))
    with pytest.raises(MeasurementError, match="'failed' is missing"):
        read_wear_out(write(frame.drop(columns="failed")))
    with pytest.raises(MeasurementError, match="failed is no count in row 1"):
        read_wear_out(write(frame.assign(failed=[0.5, 1, 4])))
    with pytest.raises(MeasurementError, match="no cell failed"):
        read_wear_out(write(frame.assign(failed=0, survivors=1)))


def test_a_reading_before_cycling_is_of_the_first_cycle(
    cycled: pd.DataFrame, write: Callable[..., Path]
) -> None:
    """Cycles act through their logarithm; a cell that holds a state was programmed once."""
    for name in ("prior_cycles", "cycle"):
        columns = parse_columns([f"{name}=n", "device_id=cell", "resistance_ohm=R:kohm"])
        found = []
        for first in (0.0, 1.0):
            table = cycled.assign(n=[first] * 4 + [5000.0] * 4)
            read = read_life_table(write(table), "endurance", columns=columns)
            found.append(endurance_counts(read))
        (counts, threshold), (expected, same) = found
        assert threshold == same
        for state in ("LRS", "HRS"):
            np.testing.assert_allclose(counts[state].cycles, [1.0, 5000.0], rtol=1e-12)
            for field in ("cycles", "errors", "trials"):
                np.testing.assert_array_equal(
                    getattr(counts[state], field), getattr(expected[state], field)
                )


def test_mappings_are_used_or_refused(cycled: pd.DataFrame, write: Callable[..., Path]) -> None:
    both = write(cycled.assign(prior_cycles=7.0))
    read = read_life_table(
        both,
        "endurance",
        columns=parse_columns(["cycle=n", "device_id=cell", "resistance_ohm=R:kohm"]),
    )
    # what is mapped is meant, whatever else the file has
    assert sorted(set(read.rows["cycles"])) == [100.0, 5000.0]
    with pytest.raises(MeasurementError, match="--column programming=none: not used here"):
        read_life_table(both, "endurance", columns=parse_columns(["programming=none"]))


def test_devices_are_counted_where_they_are_named(write: Callable[..., Path]) -> None:
    frame = pd.DataFrame(
        {
            "device_id": ["a", "a", "b", "a"],
            "state": ["LRS", "HRS"] * 2,
            "time_after_program_s": [0.0, 0.0, 3600.0, 3600.0],
            "temperature_k": 358.15,
            "resistance_ohm": [8e3, 2e5, 9e3, 1e5],
        }
    )
    assert read_life_table(write(frame), "retention").devices == 1
    assert read_life_table(write(frame.drop(columns="device_id")), "retention").devices is None


def test_a_directory_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match="a directory; give a CSV or Parquet table"):
        read_life_table(tmp_path, "retention")


def test_a_threshold_that_follows_ageing_forgives_a_shift_of_both_states(
    cycled: pd.DataFrame, write: Callable[..., Path]
) -> None:
    """All resistances grow by a factor of 20: no error with the threshold of the later decade."""
    late = cycled["n"] == 5000.0
    cycled["R"] = [8.0, 200.0, 9.0, 150.0] * 2
    cycled.loc[late, "R"] *= 20.0
    table = read_life_table(write(cycled), "endurance", columns=CYCLES)
    once, _ = endurance_counts(table)
    assert once["LRS"].errors.sum() == 2
    again, threshold = endurance_counts(table, again=True)
    assert threshold is None
    assert again["LRS"].errors.sum() == again["HRS"].errors.sum() == 0
    np.testing.assert_array_equal(again["LRS"].trials, once["LRS"].trials)
    assert table.about(threshold, again=True)["threshold_again"]
    with pytest.raises(MeasurementError, match="exclude each other"):
        endurance_counts(table, threshold_ohm=2e4, again=True)


def test_devices_are_left_out_by_name(cycled: pd.DataFrame, write: Callable[..., Path]) -> None:
    path = write(cycled)
    table = read_life_table(path, "endurance", columns=CYCLES, exclude=["b"])
    assert set(table.rows["device_id"]) == {"a"}
    assert table.warnings == ("left out by --exclude: b (4 of 8 rows)",)
    with pytest.raises(MeasurementError, match="--exclude c: no such device; the file has a, b"):
        read_life_table(path, "endurance", columns=CYCLES, exclude=["c"])
    with pytest.raises(MeasurementError, match="leaves no reading of one of the states"):
        read_life_table(path, "endurance", columns=CYCLES, exclude=["a", "b"])
