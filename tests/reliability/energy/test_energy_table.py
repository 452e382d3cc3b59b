"""Tables of measured energies. All numbers are made up."""

from pathlib import Path

import numpy as np
import pytest

from devicefit.inputs.programming import Programming
from devicefit.inputs.refusals import MeasurementError
from reliability.energy.tables import read_energies

CURRENT = Programming("SET compliance current", "A")
GOOD = "i_cc_a,e_cell_j,e_cell_se_j\n1e-5,1e-12,1e-14\n1e-4,1e-11,1e-13\n1e-3,1e-10,1e-12\n"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "e.csv"
    path.write_text(text)
    return path


def test_a_good_table_is_read(tmp_path: Path) -> None:
    found = read_energies(written(tmp_path, "# simulated, not measured\n" + GOOD))
    assert found.simulated
    assert found.unit == "A"
    assert found.is_complete
    assert found.range == (1e-5, 1e-3)
    x = np.geomspace(1e-5, 1e-3, 5)
    ln_e = found.draws("e_cell_j", x, CURRENT, draws=500, rng=np.random.default_rng(1))
    np.testing.assert_allclose(np.exp(ln_e.mean(axis=0)), 1e-7 * x, rtol=0.02)
    found.check(CURRENT, 1e-5, 1e-3)
    found.check(CURRENT, 5e-6, 2e-3)


def test_empty_cells_are_left_out(tmp_path: Path) -> None:
    text = (
        "programming,e_set_j,e_set_se_j,e_reset_j,e_reset_se_j\n"
        "1,1e-12,1e-14,,\n2,2e-12,1e-14,3e-12,0\n3,,,4e-12,1e-14\n4,4e-12,0,,\n"
    )
    found = read_energies(written(tmp_path, text))
    np.testing.assert_array_equal(found.columns["e_set_j"][0], [1, 2, 4])
    np.testing.assert_array_equal(found.columns["e_reset_j"][0], [2, 3])
    assert found.range == (2, 3)
    assert not found.simulated


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a CSV table"),
        ("i_cc_a,e_cell_j\n1,1\n2,2\n", "needs its standard error e_cell_se_j"),
        ("i_cc_a,e_j,e_se_j\n1,1,0\n", "column 'e_j' is not known; known: programming, i_cc_a"),
        ("e_cell_j,e_cell_se_j\n1,0\n", "one column of programming values is needed, found none"),
        ("i_cc_a,programming,e_cell_j,e_cell_se_j\n1,1,1,0\n", "found i_cc_a and programming"),
        ("i_cc_a,e_cell_se_j\n1,0\n", "e_cell_se_j stands without e_cell_j"),
        ("i_cc_a\n1\n", "no energies; give e_cell_j"),
        ("i_cc_a,e_cell_j,e_cell_se_j,e_set_j,e_set_se_j\n1,1,0,1,0\n", "leave out e_set_j or"),
        (GOOD + "1e-2,-1,0\n", r"e_cell_j is not positive and finite in row 4 \(values -1.0\)"),
        (GOOD + "1e-2,1,-1\n", r"e_cell_se_j is negative in row 4"),
        (GOOD + "1e-2,1,\n", r"e_cell_se_j is missing in row 4"),
        (GOOD + ",1,0\n", r"i_cc_a is missing or not finite in row 4"),
        (GOOD + "1e-2,1,1\n", r"e_cell_se_j is as large as its e_cell_j"),
        (GOOD + "1e-2,3 pJ,0\n", r"e_cell_j has text where .* row 4 \(values '3 pJ'\)"),
        (GOOD + "1e-2,inf,0\n", "e_cell_j is not positive and finite in row 4"),
        ("i_cc_a,e_cell_j,e_cell_se_j\n1,1,0\n1,2,0\n", "given at 1 programming value; two or"),
        (GOOD + "1e-2,1,0\n" * 200, "has 203 rows; average"),
    ],
)
def test_bad_tables_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(MeasurementError, match=message):
        read_energies(written(tmp_path, text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match=r"none.csv: no such file"):
        read_energies(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("low", "high", "programming", "message"),
    [
        (1.0, 3.0, Programming("SET gate voltage", "V"), "values are in A"),
        (1e-7, 1e-3, CURRENT, None),
        (1e-8, 1e-3, CURRENT, "which is 40 % of the range"),
    ],
)
def test_table_and_device_must_belong_together(
    tmp_path: Path, low: float, high: float, programming: Programming, message: str | None
) -> None:
    found = read_energies(written(tmp_path, GOOD))
    if message is None:
        found.check(programming, low, high)
        return
    with pytest.raises(MeasurementError, match=message):
        found.check(programming, low, high)
