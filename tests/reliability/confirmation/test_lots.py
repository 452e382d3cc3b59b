"""Exact bounds against SciPy's, and a walk over shares that are known."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from reliability.chips import lots
from reliability.chips.arrays import ChipArrays
from reliability.chips.lots import Confirmation, Lot, LotSizes, most_misses

SIZES = LotSizes(choosing=1000, fresh=2000)


@pytest.mark.parametrize(("met", "chips"), [(0, 10), (10, 10), (1, 10), (957, 1000), (1921, 2000)])
def test_intervals_are_those_of_clopper_and_pearson(met: int, chips: int) -> None:
    lot = Lot(1.0, chips, met)
    exact = stats.binomtest(met, chips).proportion_ci(0.95, method="exact")
    assert lot.interval == pytest.approx((exact.low, exact.high), abs=1e-12)
    bound = stats.binomtest(met, chips, alternative="greater").proportion_ci(0.95, method="exact")
    assert lot.least == pytest.approx(bound.low, abs=1e-12)


def test_most_misses_is_the_last_number_whose_bound_holds() -> None:
    most = most_misses(1000, 0.95)
    assert Lot(0, 1000, 1000 - most).least >= 0.95 > Lot(0, 1000, 999 - most).least
    # zero misses among n vouch for 0.05 ** (1 / n): 59 chips are the fewest for 0.95
    assert most_misses(58, 0.95) == -1
    assert most_misses(59, 0.95) == 0


def counter(share: Callable[[float], float]) -> Callable[[float, int, int, int], np.ndarray]:
    """Chips with matched levels: a chip loses 0.01 where its level is below the share, else 0.1."""

    def losses(x: float, chips: int, seed: int, first: int) -> np.ndarray:
        levels = np.random.default_rng([seed, 7]).random(first + chips)[first:]
        return np.where(levels < share(x), 0.01, 0.1)

    return losses


def confirm(*arguments: Any, **options: Any) -> Confirmation:
    return lots.confirm(*arguments, most_loss=0.01, **options)


def test_the_walk_stops_before_the_first_value_that_is_not_vouched_for() -> None:
    share = {5.0: 1.0, 4.0: 0.99, 3.0: 0.98, 2.0: 0.90, 1.0: 0.0}
    found = confirm((5, 4, 3, 2, 1), counter(share.__getitem__), wanted=0.95, sizes=SIZES,
                    seed=1)  # fmt: skip
    assert [lot.programming for lot in found.tried] == [4, 3, 2]
    assert found.programming == 3
    assert found.fresh is not None
    assert found.fresh.chips == 2000
    # given up as soon as the bound is out of reach, not after all chips
    assert found.tried[-1].chips < 1000
    assert found.tried[-2].chips == 1000


def test_stronger_values_are_tried_where_the_first_fail() -> None:
    # the probe finds 0.955 good enough, the lot does not
    share = {5.0: 0.999, 4.0: 0.999, 3.0: 0.955, 2.0: 0.955, 1.0: 0.955, 0.5: 0.1}
    found = confirm((5, 4, 3, 2, 1, 0.5), counter(share.__getitem__), wanted=0.95, sizes=SIZES,
                    seed=4)  # fmt: skip
    assert [lot.programming for lot in found.tried] == [2, 5, 4, 3]
    assert found.programming == 4


def test_probes_save_lots_at_values_far_from_the_limit() -> None:
    values = np.linspace(5, 1, 40)
    found = confirm(values, counter(lambda x: 1.0 if x > 2 else 0.5), wanted=0.95, sizes=SIZES,
                    seed=1)  # fmt: skip
    assert found.programming == values[values > 2].min()
    assert len(found.tried) == 3


def test_nothing_is_confirmed_where_no_value_holds() -> None:
    found = confirm((3, 2, 1), counter(lambda x: 0.1), wanted=0.95, sizes=SIZES, seed=1)
    assert found.programming is None
    assert found.fresh is None
    assert not found.is_contradicted
    assert found.record()["fresh"] is None


def test_the_second_lot_has_chips_of_its_own_and_may_contradict() -> None:
    seeds = []

    def losses(x: float, chips: int, seed: int, first: int) -> np.ndarray:
        seeds.append(seed)
        return np.where(np.arange(chips) < (1.0 if seed == 3 else 0.9) * chips, 0.01, 0.5)

    found = confirm((1.0,), losses, wanted=0.95, sizes=SIZES, seed=3)
    assert seeds[-1] == 4
    assert set(seeds[1:-1]) == {3}
    assert seeds[0] == 5
    assert found.is_contradicted
    assert found.fresh == Lot(1.0, 2000, 1800)
    assert found.losses.mean() == pytest.approx(0.9 * 0.01 + 0.1 * 0.5)


def test_a_value_that_holds_too_seldom_is_seldom_chosen() -> None:
    # the bound is wrong in at most one of twenty: a share of exactly 0.95 is not chosen oftener
    wrong = sum(
        confirm((1.0,), counter(lambda x: 0.95), wanted=0.95, sizes=LotSizes(1000, 100),
                seed=10 * k).programming is not None
        for k in range(400)
    )  # fmt: skip
    assert stats.binomtest(wrong, 400, 0.05, alternative="greater").pvalue > 1e-4
    assert wrong > 0


@pytest.mark.parametrize("sizes", [(99, 1000), (1000, 0)])
def test_lots_too_small_are_refused(sizes: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="at least 100 chips"):
        LotSizes(*sizes)


def test_what_no_lot_can_vouch_for_is_refused() -> None:
    with pytest.raises(ValueError, match="even if none misses"):
        confirm((1.0,), counter(lambda x: 1.0), wanted=0.99, sizes=LotSizes(100, 100), seed=1)
    with pytest.raises(ValueError, match="no programming value"):
        confirm((), counter(lambda x: 1.0), wanted=0.9, sizes=SIZES, seed=1)


def test_a_record_holds_plain_values() -> None:
    record = Confirmation((Lot(1.0, 100, 99),), Lot(1.0, 2000, 1921), 0.95).record()
    assert record["fresh"]["met"] == 1921
    assert record["fresh"]["low"] == pytest.approx(0.9510, abs=2e-4)
    assert record["tried"][0]["share"] == 0.99


def of_arrays(shares: dict[str, float]) -> tuple[ChipArrays, Callable[..., np.ndarray]]:
    """Chips whose share that holds is that of their array."""
    arrays, share = ChipArrays(tuple(shares)), np.array(list(shares.values()))

    def losses(x: float, chips: int, seed: int, first: int) -> np.ndarray:
        at = np.array([arrays.of(seed, chip)[0] for chip in range(first, first + chips)])
        levels = np.random.default_rng([seed, 7]).random(first + chips)[first:]
        return np.where(levels < share[at] - 0.1 * (x < 2), 0.01, 0.1)

    return arrays, losses


def test_each_of_few_arrays_has_to_qualify() -> None:
    arrays, losses = of_arrays({"a": 1.0, "b": 0.98, "c": 0.99})
    found = confirm((2.0, 1.0), losses, wanted=0.95, sizes=SIZES, seed=1, arrays=arrays)
    assert found.programming == 2.0
    assert found.fresh is not None
    of_array = found.fresh.arrays
    assert list(of_array) == ["a", "b", "c"]
    assert [lot.chips for lot in of_array.values()] == [2000] * 3
    # brute force: the same chips one by one
    level = np.random.default_rng([2, 7]).random(6000)
    met = [int((level[k::3] < share).sum()) for k, share in enumerate((1.0, 0.98, 0.99))]
    assert [lot.met for lot in of_array.values()] == met
    assert (found.fresh.chips, found.fresh.met) == (2000, met[1])
    assert len(found.losses) == 2000
    assert int((found.losses <= 0.01).sum()) == met[1]
    record = found.record()
    assert record["each_array_qualifies"]
    assert record["fresh"]["arrays"]["b"]["met"] == met[1]
    # one bad array of four is enough, though nine of ten chips hold over all
    arrays, losses = of_arrays({"a": 1.0, "b": 1.0, "c": 1.0, "d": 0.9})
    bad = confirm((2.0,), losses, wanted=0.95, sizes=SIZES, seed=1, arrays=arrays)
    assert bad.programming is None


def test_many_arrays_are_drawn_and_told_beside() -> None:
    arrays, losses = of_arrays({name: 1.0 for name in "abcd"} | {"e": 0.9})
    found = confirm((2.0,), losses, wanted=0.95, sizes=SIZES, seed=1, arrays=arrays)
    assert found.fresh is not None
    assert found.fresh.chips == 2000 == sum(lot.chips for lot in found.fresh.arrays.values())
    assert found.fresh.met == sum(lot.met for lot in found.fresh.arrays.values())
    assert stats.binomtest(found.fresh.met, 2000, 0.98).pvalue > 1e-4
    last = found.fresh.arrays["e"]
    assert stats.binomtest(last.met, last.chips, 0.9).pvalue > 1e-4


def test_a_chip_on_several_arrays_tells_of_none_of_them() -> None:
    for arrays in (ChipArrays(("a", "b"), per_chip=2), ChipArrays(tuple("abcde"), new=True)):
        found = confirm(
            (1.0,), counter(lambda x: 1.0), wanted=0.95, sizes=SIZES, seed=1, arrays=arrays
        )
        assert found.fresh == Lot(1.0, 2000, 2000)
