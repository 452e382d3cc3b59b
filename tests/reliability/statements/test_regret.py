"""Regret and Pareto fronts against brute force. All numbers are made up."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from devicefit.inputs.programming import Programming
from reliability.decision.requirement import Utility
from reliability.energy.energy import Energy
from reliability.plans.codes import SECDED_72_64
from reliability.plans.storage import Storage
from reliability.statements.choices import pareto_record
from reliability.statements.pareto import front_probability, pareto_front
from reliability.statements.regret import energy_regret, utility_regret

CURRENT = Programming("SET compliance current", "A")


def test_energy_regret_of_a_table_by_hand() -> None:
    e = np.array([[1.0, 2.0, 4.0], [1.0, 2.0, 4.0], [1.0, 2.0, 4.0]])
    met = np.array([[False, True, True], [True, True, False], [False, False, False]])
    found = energy_regret(e, met)
    # Least that would have done: 2, 1, nothing.
    np.testing.assert_allclose(found.expected_j, [0.0, (0 + 1) / 3, 2 / 3])
    np.testing.assert_allclose(found.factor, [1.0, np.sqrt(2.0), 2.0])
    assert found.never_met == pytest.approx(1 / 3)
    np.testing.assert_allclose(found.missed, [2 / 3, 1 / 3, 2 / 3])
    never = energy_regret(e, np.zeros_like(met))
    np.testing.assert_array_equal(never.expected_j, 0.0)
    assert np.isnan(never.factor).all()


@given(
    hnp.arrays(float, (6, 4), elements=st.floats(0.1, 10)),
    hnp.arrays(float, (6, 4), elements=st.floats(-0.02, 0.3)),
    st.floats(1.1, 3.0),
)
def test_utility_regret_is_the_difference_to_each_draws_best(e, loss, factor) -> None:
    utility = Utility(energy_factor_per_point=factor, energy_factor_of_violation=2.0)
    met = loss <= 0.1
    found = utility_regret(e, loss, 1.0 - met, utility)
    # In energies: each point multiplies by the factor, a violation by two.
    worth = e * factor ** (100 * loss) * np.where(met, 1.0, 2.0)
    expected = [np.mean([np.log(worth[d, i] / min(worth[d])) for d in range(6)]) for i in range(4)]
    np.testing.assert_allclose(found.opportunity_loss, expected, atol=1e-9)
    assert found.opportunity_loss[found.best] == pytest.approx(found.opportunity_loss.min())
    assert found.perfect_information >= -1e-12


@given(hnp.arrays(float, (12, 3), elements=st.integers(0, 4).map(float)))
def test_front_is_what_brute_force_finds(values) -> None:
    cost, first, second = values.T

    def dominated(i: int) -> bool:
        return any(
            cost[k] <= cost[i]
            and first[k] >= first[i]
            and second[k] >= second[i]
            and (cost[k], first[k], second[k]) != (cost[i], first[i], second[i])
            for k in range(12)
        )

    expected = [not dominated(i) for i in range(12)]
    np.testing.assert_array_equal(pareto_front(cost, first, second), expected)
    assert any(expected)


def test_front_probability_counts_draws() -> None:
    cost = np.array([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0], [1.0, 2.0]])
    accuracy = np.array([[0.9, 0.8], [0.9, 0.95], [0.9, 0.9], [0.9, 0.91]])
    np.testing.assert_allclose(front_probability(cost, accuracy), [1.0, 0.5])


@pytest.mark.parametrize(
    ("scheme", "bits", "per_bit", "cells"),
    [("1T1R", 100, 1.0, 100), ("2T2R", 100, 2.0, 200)],
)
def test_cells_without_code(scheme: str, bits: int, per_bit: float, cells: int) -> None:
    assert Storage(scheme).cells_per_bit == per_bit
    assert Storage(scheme).cells_for(bits) == cells


def test_parity_is_counted_by_whole_words() -> None:
    assert Storage("1T1R", SECDED_72_64).cells_per_bit == 72 / 64
    assert Storage("1T1R", SECDED_72_64).cells_for(128) == 144
    assert Storage("1T1R", SECDED_72_64).cells_for(129) == 153
    assert Storage("2T2R", SECDED_72_64).cells_for(1) == 18


def test_endurance_joins_the_front() -> None:
    """The strong programming is worse in energy and no better in accuracy, but lives longer."""
    x = np.array([1e-4, 2e-4])
    energy = Energy(x, np.array([[1.0, 2.0], [1.1, 2.2]]), CURRENT, "made up")
    accuracy = np.full((2, 2), 0.9)
    design = SimpleNamespace(
        network="standard",
        scheme="1T1R",
        cells=1,
        accuracy=SimpleNamespace(test_set=accuracy),
        p_met=np.ones(2),
        safe=SimpleNamespace(lowest=1e-4),
        place=lambda grid: 0,
    )
    comparison: Any = SimpleNamespace(
        energy=energy, designs=(design,), grid=x, standard=SimpleNamespace(images=100)
    )
    without = pareto_record(comparison)
    assert without is not None
    assert [row["on_front"] for row in without["candidates"]] == [True, False]
    cycles = np.array([[1e4, 1e6], [1e4, 1e6]])
    found = pareto_record(comparison, {("standard", "1T1R"): cycles})
    assert found is not None
    assert [row["on_front"] for row in found["candidates"]] == [True, True]
    assert [row["cycles"] for row in found["candidates"]] == [1e4, 1e6]
    assert found["objectives"][-1] == "median cycles to requirement"
