"""Designs on common draws and the table of alternatives, on made-up curves."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from bnn.calibration.treatments import PER_CHIP
from devicefit.distributions.sensing import BerCurve, SensingOptions
from devicefit.inputs.programming import Programming
from reliability.accuracy.propagation import pair_draws
from reliability.accuracy.surface import AccuracySurface
from reliability.decision.compare import compare_designs
from reliability.decision.comparison import Comparison, Setting, design_energy
from reliability.decision.requirement import Requirement
from reliability.energy.energy import Energy
from reliability.networks.study import NetworkStudy
from reliability.plans.codes import SECDED_72_64, ln_decoded_ber
from reliability.plans.storage import PLAIN, STORAGES, Storage
from reliability.report.alternatives import below_evaluated
from reliability.results.alternatives import SHOWN, alternative_lines, alternative_records
from tests.reliability.made_up import flat_in_tilt

DRAWS, BITS = 200, 1000
CURRENT = Programming("SET compliance current", "A")
CALIBRATED = f"standard, thresholds {PER_CHIP}"


def curve(middle: float) -> AccuracySurface:
    """Half of the images lost at the BER `middle`, known to a few percent."""
    rng = np.random.default_rng(0)
    ln_ber = np.log([1e-4, 1e-3, 1e-2, 0.1, 0.5])
    lost = ln_ber[None, :] - np.log(middle) + 0.02 * rng.standard_normal((DRAWS, 1))
    return flat_in_tilt(
        ln_ber,
        {"lost": 1.5 * lost, "gained": np.full((DRAWS, 5), -9.0)},
        {kind: np.zeros((DRAWS, 5)) for kind in ("lost", "gained")},
        images=10_000,
        correct=9_800,
    )


CURVES = {"standard": curve(0.1), CALIBRATED: curve(0.3)}
NETWORKS = {
    name: NetworkStudy(
        xr.Dataset(attrs={"weights": BITS}),
        {"training": {"ber": 0.0}}
        | ({"thresholds": {"treatment": PER_CHIP}} if name == CALIBRATED else {}),
    )
    for name in CURVES
}


def compared(requirement: Requirement, *, first: float = 0.06, step: float = 0.9) -> Comparison:
    """Eight programming values, the BER falling from `first` by the factor exp(step) each."""
    rng = np.random.default_rng(1)
    ln_one = np.log(first) - step * np.arange(8) + 0.05 * rng.standard_normal((1, DRAWS, 1))
    x = np.geomspace(1e-5, 1e-3, 8)
    edge = np.zeros(8, bool)
    ber = {
        "made up": {
            "1T1R": BerCurve("1T1R", x, ln_one, np.ones(8), edge, 1e-3),
            "2T2R": BerCurve("2T2R", x, ln_one - 1.0, None, edge, 1e-3),
        }
    }
    pairing = pair_draws(DRAWS, DRAWS, draws=DRAWS, rng=rng)
    energy = Energy(x, 1e-7 * x * np.exp(0.1 * rng.standard_normal((DRAWS, 1))), CURRENT, "known")
    return compare_designs(
        Setting(
            ber=ber,
            curves=CURVES,
            pairing=pairing,
            energy=energy,
            requirement=requirement,
            sensing=SensingOptions(),
            programming=CURRENT,
        )
    )


@pytest.fixture(scope="module")
def found() -> Comparison:
    return compared(Requirement())


def test_every_network_meets_every_storage_on_the_same_chips(found: Comparison) -> None:
    assert [(d.network, d.storage) for d in found.designs] == [
        (name, storage) for name in CURVES for storage in STORAGES
    ]
    coded = Storage("1T1R", SECDED_72_64)
    ln_one = found.network_ln_ber(PLAIN)
    shifted = replace(found.main_ber["1T1R"], ln_ber=ln_decoded_ber(SECDED_72_64, ln_one)[None])
    # a network sees nothing of a code but its residual rate: the same chips, draw by draw
    same = compare_designs(
        Setting(
            ber={"made up": {**found.main_ber, "1T1R": shifted}},
            curves=CURVES,
            pairing=found.pairing,
            energy=found.energy,
            requirement=found.requirement,
            sensing=found.sensing,
            programming=CURRENT,
        ),
        [PLAIN],
    )
    for design in same.designs:
        (other,) = (d for d in found.designs if (d.network, d.storage) == (design.network, coded))
        np.testing.assert_array_equal(design.accuracy.test_set, other.accuracy.test_set)
        np.testing.assert_array_equal(design.p_met, other.p_met)


def test_the_table_is_sorted_by_energy_and_the_first_is_chosen(found: Comparison) -> None:
    table = alternative_records([found], NETWORKS)
    assert len(table) == len(NETWORKS) * len(STORAGES)
    energies = [row["e_bit_j"]["median"] for row in table]
    assert energies == sorted(energies)
    assert found.best is found.ranked[0]
    assert (table[0]["network"], table[0]["scheme"]) == (found.best.network, found.best.scheme)
    least = min(float(np.median(design_energy(d, found.energy))) for d in found.designs)
    assert energies[0] == pytest.approx(least, rel=1e-12)
    for row in table:
        e_cell = 1e-7 * row["lowest_safe_programming"]
        # the median over draws of the factor is about 1; cells are counted exactly
        assert row["e_bit_j"]["median"] / e_cell == pytest.approx(row["cells_per_bit"], rel=0.03)
        ratio = row["e_network_j"]["median"] / row["e_bit_j"]["median"]
        assert ratio == pytest.approx(row["cells"] / row["cells_per_bit"], rel=1e-9)
        assert row["p_requirement_met"] >= 0.95
        assert set(row["saving"]) == {"standard_bnn", "memory", "memory_with_ecc"}
        low, high = row["tolerated_ber"]["low"], row["tolerated_ber"]["high"]
        assert low < row["tolerated_ber"]["median"] < high
        if row["code"] is None:
            assert row["tolerated_read_ber"] == row["tolerated_ber"]
        else:
            assert row["tolerated_read_ber"]["median"] > row["tolerated_ber"]["median"]
    cells = {row["scheme"]: row["cells"] for row in table if "scrambled" not in row["scheme"]}
    assert cells == {
        "1T1R": 1000,
        # 16 words, the last shortened: 8 and 63 bits of parity each
        "1T1R + SECDED(72,64)": 1000 + 16 * 8,
        "1T1R + BCH(127,64)": 1000 + 16 * 63,
        "2T2R": 2000,
    }
    assert {row["thresholds"] for row in table} == {"fixed", PER_CHIP}
    assert {row["training"] for row in table} == {"standard"}


def test_the_extrapolated_end_of_a_curve_is_marked(found: Comparison) -> None:
    table = alternative_records([found], NETWORKS)
    for row in table:
        below = row["network_ber"]["median"] < 1e-4
        assert (row["share_below_evaluated_ber"] > 0.5) == below
    marked = below_evaluated({"alternatives": table})
    assert 0 < len(marked) < len(table)
    assert "1T1R, standard" not in marked


def test_the_short_table_says_what_is_safe_and_what_is_not(found: Comparison) -> None:
    programming = {"name": CURRENT.name, "unit": CURRENT.unit, "second": None}
    lines = alternative_lines(
        {"alternatives": alternative_records([found], NETWORKS), "programming": programming}
    )
    shown = min(len(NETWORKS) * len(STORAGES), SHOWN)
    assert len(lines) == 1 + shown + 1
    assert lines[-1].endswith("more that are safe, with more energy")
    assert lines[0].split()[:4] == ["stored", "as", "network", "thresholds"]
    strict = compared(Requirement(), first=0.4, step=0.35)
    table = alternative_records([strict], NETWORKS)
    unsafe = [row for row in table if row["lowest_safe_programming"] is None]
    assert 0 < len(unsafe) < len(table)
    # what is nowhere safe comes last, with its reason and the likeliest value
    assert table[-len(unsafe) :] == unsafe
    chances = [row["p_requirement_met"] for row in unsafe]
    assert chances == sorted(chances, reverse=True)
    for row in unsafe:
        assert row["e_bit_j"] is row["saving"] is row["network_ber"] is None
        assert "No measured SET compliance current meets" in row["sentence"]
    lines = alternative_lines({"alternatives": table, "programming": programming})
    assert lines[-1].startswith(f"{len(unsafe)} of 14 designs are safe at no measured SET compl")


def test_nothing_is_chosen_where_nothing_is_safe() -> None:
    found = compared(Requirement(max_loss=1e-6, risk=0.01), first=0.45, step=0.05)
    assert found.best is None
    assert found.focus.storage == PLAIN
    table = alternative_records([found], NETWORKS)
    assert all(row["lowest_safe_programming"] is None for row in table)
    lines = alternative_lines(
        {
            "alternatives": table,
            "programming": {"name": CURRENT.name, "unit": CURRENT.unit, "second": None},
        }
    )
    assert len(lines) == 1


def test_references_are_held_in_plain_cells(found: Comparison) -> None:
    with pytest.raises(ValueError, match="storages must begin with single cells without a code"):
        compare_designs(
            Setting(
                ber=found.ber,
                curves=found.curves,
                pairing=found.pairing,
                energy=found.energy,
                requirement=found.requirement,
                sensing=found.sensing,
                programming=CURRENT,
            ),
            STORAGES[1:],
        )
