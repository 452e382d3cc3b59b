"""Chips of every class of errors against laws, brute force and each other.

Every statistical check has a fixed seed and rejects at a p-value of 1e-5; with fewer than 60 checks
in this file, a correct library fails one of them with a probability below 6e-4, once, at the
choice of the seed.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

import bnn.errors.chips
from bnn import FoldedNetwork
from bnn.errors.array_mapping import ArrayShape
from bnn.errors.chips import Chip, ClassTotal, draw_chip, draw_misread
from bnn.errors.errors import Errors, Flips, LineFaults, Persistent, StuckAt, TransientFlips
from bnn.errors.flips import chip_flips, nested_levels
from bnn.machine.counter_random import Stream, StreamKey
from bnn.networks.network import flip_weights, layer_signs

REJECT = 1e-5
SEED = 12
SIZES = (130, 70, 90, 10)
NAMES = ("hidden_1", "hidden_2", "output")
BITS = {"hidden_1": 9100, "hidden_2": 6300, "output": 900}
ARRAY = ArrayShape(64, 32)


@pytest.fixture(scope="module")
def network(random_network: Callable[..., FoldedNetwork]) -> FoldedNetwork:
    made = random_network(SIZES, seed=5)
    assert made.weight_bits == BITS
    return made


@pytest.fixture(scope="module")
def zeros(network: FoldedNetwork) -> FoldedNetwork:
    """Make the same network with every stored bit 0."""
    layers = (dataclasses.replace(x, weights=np.zeros_like(x.weights)) for x in network.layers)
    return FoldedNetwork(tuple(layers))


def stored(network: FoldedNetwork, name: str) -> np.ndarray:
    """Stored bits of a layer by position, through the function that unpacks for the engines."""
    layer = network.layers[NAMES.index(name)]
    return layer_signs(layer).ravel() > 0


def drawn(network: FoldedNetwork, *errors: Persistent, chip: int = 0) -> Chip:
    return draw_chip(network, Errors(errors), seed=SEED, chip=chip)


def cells(chip: Chip, kind: str) -> int:
    return sum(total.cells for total in chip.totals if total.kind == kind)


def same(one: Chip, other: Chip) -> bool:
    return one.totals == other.totals and all(
        np.array_equal(one.positions[name], other.positions[name]) for name in NAMES
    )


def row_faults(rate: float, **options: object) -> LineFaults:
    return LineFaults("row", rate, array=ARRAY, **options)  # type: ignore[arg-type]


def block_faults(rate: float, **options: object) -> LineFaults:
    block = ArrayShape(8, 8)
    return LineFaults("block", rate, array=ARRAY, block=block, **options)  # type: ignore[arg-type]


ALL_KINDS = (
    row_faults(0.05, density=0.6, stuck=0),
    LineFaults("column", 0.05, stuck=1, array=ARRAY),
    block_faults(0.05, density=0.5),
    StuckAt(0.05, 0.1, exact=True),
    Flips(0.1, 0.2),
)


# --- plain flips


@pytest.mark.parametrize("ber", [0.0, 1e-3, 0.05, 0.7, 1.0])
def test_symmetric_flips_are_those_of_chip_flips(network: FoldedNetwork, ber: float) -> None:
    chip = drawn(network, Flips.symmetric(ber), chip=3)
    for index, name in enumerate(NAMES):
        expected = chip_flips(bits=BITS[name], ber=ber, seed=SEED, chip=3, layer=index)[0]
        np.testing.assert_array_equal(chip.positions[name], expected)
        assert chip.totals[index] == ClassTotal(name, "flips", len(expected), len(expected))
    assert (chip.seed, chip.chip) == (SEED, 3)


def test_layers_are_hit_in_proportion_to_their_size(network: FoldedNetwork) -> None:
    counts = np.zeros(3)
    for k in range(500):
        chip = drawn(network, Flips.symmetric(2e-3), chip=k)
        counts += [len(chip.positions[name]) for name in NAMES]
    # given the total, independent flips fall on the layers like a multinomial
    expected = counts.sum() * np.array(list(BITS.values())) / sum(BITS.values())
    assert stats.chisquare(counts, expected).pvalue > REJECT
    assert stats.binomtest(int(counts.sum()), 500 * sum(BITS.values()), 2e-3).pvalue > REJECT


def test_control_layers_hit_alike_must_fail() -> None:
    shares = np.array(list(BITS.values())) / sum(BITS.values())
    assert stats.chisquare([5400, 5400, 5400], 16200 * shares).pvalue < REJECT


def test_rates_of_stored_zeros_and_ones_are_their_own(network: FoldedNetwork) -> None:
    flips = {0: 0, 1: 0}
    held = {0: 0, 1: 0}
    for k in range(60):
        chip = drawn(network, Flips(0.02, 0.005), chip=k)
        for name in NAMES:
            bits = stored(network, name)
            for bit in (0, 1):
                flips[bit] += int((bits[chip.positions[name]] == bit).sum())
                held[bit] += int((bits == bit).sum())
    assert stats.binomtest(flips[0], held[0], 0.02).pvalue > REJECT
    assert stats.binomtest(flips[1], held[1], 0.005).pvalue > REJECT
    # a control: the rates the other way round must fail
    assert stats.binomtest(flips[0], held[0], 0.005).pvalue < REJECT


@pytest.mark.parametrize(("zero_to_one", "one_to_zero"), [(1.0, 0.0), (0.0, 1.0)])
def test_one_sided_flips_are_exact(
    network: FoldedNetwork, zero_to_one: float, one_to_zero: float
) -> None:
    chip = drawn(network, Flips(zero_to_one, one_to_zero))
    for name in NAMES:
        expected = np.flatnonzero(stored(network, name) == (one_to_zero == 1.0))
        np.testing.assert_array_equal(chip.positions[name], expected)


def test_rates_of_layers_compose(network: FoldedNetwork) -> None:
    first, rest = frozenset({"hidden_1"}), frozenset({"hidden_2", "output"})
    chip = drawn(network, Flips.symmetric(0.1, rest), Flips.symmetric(0.01, first))
    low, high = drawn(network, Flips.symmetric(0.01)), drawn(network, Flips.symmetric(0.1))
    for name in NAMES:
        of = low if name in first else high
        np.testing.assert_array_equal(chip.positions[name], of.positions[name])


# --- stuck cells


@pytest.mark.parametrize(("zero", "one"), [(0.01, 0.03), (0.0, 0.2), (0.6, 0.1), (0.2, 0.8)])
def test_numbers_of_stuck_cells_are_binomial(
    network: FoldedNetwork, zero: float, one: float
) -> None:
    chips = [drawn(network, StuckAt(zero, one), chip=k) for k in range(30)]
    trials = 30 * sum(BITS.values())
    for kind, share in (("stuck at 0", zero), ("stuck at 1", one)):
        total = sum(cells(chip, kind) for chip in chips)
        assert stats.binomtest(total, trials, share).pvalue > REJECT
    wrong = {0: 0, 1: 0}
    for chip in chips:
        for name in NAMES:
            bits = stored(network, name)[chip.positions[name]]
            # a cell stuck at 0 is wrong where a 1 is stored
            wrong[0] += int(bits.sum())
            wrong[1] += int((~bits).sum())
    ones = 30 * sum(int(stored(network, name).sum()) for name in NAMES)
    assert stats.binomtest(wrong[0], ones, zero).pvalue > REJECT
    assert stats.binomtest(wrong[1], trials - ones, one).pvalue > REJECT


@pytest.mark.parametrize("exact", [False, True])
def test_all_cells_stuck_at_a_value_are_wrong_where_the_other_is_stored(
    network: FoldedNetwork, exact: bool
) -> None:
    for value, error in enumerate((StuckAt(1, 0, exact=exact), StuckAt(0, 1, exact=exact))):
        chip = drawn(network, error)
        for name in NAMES:
            expected = np.flatnonzero(stored(network, name) != value)
            np.testing.assert_array_equal(chip.positions[name], expected)


@pytest.mark.parametrize(
    ("zero", "one"), [(0.001, 0.0), (0.013, 0.2), (0.5, 0.5), (0.7, 0.1), (0.1, 0.9), (0.0, 0.0)]
)
def test_exact_totals(network: FoldedNetwork, zero: float, one: float) -> None:
    for k in range(5):
        chip = drawn(network, StuckAt(zero, one, exact=True), chip=k)
        found = {(total.layer, total.kind): total.cells for total in chip.totals}
        for name in NAMES:
            assert found[name, "stuck at 0"] == round(zero * BITS[name])
            assert found[name, "stuck at 1"] == round(one * BITS[name])


@pytest.mark.parametrize("spare", [0.0, -0.5])
def test_exact_cells_do_not_depend_on_how_many_were_drawn(
    network: FoldedNetwork, monkeypatch: pytest.MonkeyPatch, spare: float
) -> None:
    errors = (row_faults(0.1), StuckAt(0.01, 0.02, exact=True))
    chips = [drawn(network, *errors, chip=k) for k in range(5)]
    # too few at the first try for about half of the chips, or for all
    monkeypatch.setattr(bnn.errors.chips, "_SPARE", spare)
    for k, chip in enumerate(chips):
        assert same(drawn(network, *errors, chip=k), chip)


def test_exact_halves_never_exceed_the_cells(random_network: Callable[..., FoldedNetwork]) -> None:
    # 3 bits: half of them is 1.5, rounded to 2
    chip = drawn(random_network((3, 1), seed=0), StuckAt(0.5, 0.5, exact=True))
    assert [total.cells for total in chip.totals] == [2, 1]


@pytest.mark.parametrize("share", [0.02, 0.4, 0.9])
def test_every_cell_is_stuck_equally_often(zeros: FoldedNetwork, share: float) -> None:
    bits, chips = BITS["output"], 400
    hits = np.zeros(bits)
    for k in range(chips):
        hits[drawn(zeros, StuckAt(0.0, share, exact=True), chip=k).positions["output"]] += 1
    # choosing exactly k of n cells correlates them by -1 / (n - 1)
    z = (hits - chips * share) / np.sqrt(chips * share * (1 - share))
    assert stats.chi2.sf((z**2).sum() * (bits - 1) / bits, bits - 1) > REJECT


def test_exact_numbers_fit_beside_what_is_listed_before(network: FoldedNetwork) -> None:
    lines = row_faults(0.3)
    chip = drawn(network, lines, StuckAt(0.1, 0.05, exact=True))
    for total in chip.totals:
        if total.kind.startswith("stuck"):
            share = 0.1 if total.kind == "stuck at 0" else 0.05
            assert total.cells == round(share * BITS[total.layer])
    with pytest.raises(ValueError, match="list StuckAt first or lower a rate"):
        drawn(network, lines, StuckAt(0.5, 0.5, exact=True))


# --- faulty lines


def line_of(error: LineFaults, neuron: int, column: int, *, neurons: int, inputs: int) -> int:
    """Number of the line of one weight, from the convention in words."""
    rows, columns = error.array.rows, error.array.columns
    if error.along == "row":
        return neuron // columns * inputs + column
    if error.along == "column":
        return column // rows * neurons + neuron
    # 64 and 32 are multiples of 8, so blocks run through
    return column // 8 * -(-neurons // 8) + neuron // 8


@pytest.mark.parametrize("stuck", [None, 0, 1])
@pytest.mark.parametrize("make", ["row", "column", "block"])
def test_faulty_lines_against_brute_force(
    network: FoldedNetwork, make: str, stuck: int | None
) -> None:
    block = ArrayShape(8, 8) if make == "block" else None
    error = LineFaults(make, 0.1, stuck=stuck, array=ARRAY, block=block)  # type: ignore[arg-type]
    chip = drawn(network, error, chip=6)
    stream = {"row": Stream.ROW, "column": Stream.COLUMN, "block": Stream.BLOCK}[make]
    for index, name in enumerate(NAMES):
        layer = network.layers[index]
        neurons, inputs = len(layer.weights), layer.columns
        numbers = [
            line_of(error, n, i, neurons=neurons, inputs=inputs)
            for n in range(neurons)
            for i in range(inputs)
        ]
        key = StreamKey(SEED, 6, index, stream)
        faulty = nested_levels(bits=max(numbers) + 1, ber=0.1, key=key)[0]
        affected = np.isin(numbers, faulty)
        wrong = affected if stuck is None else affected & (stored(network, name) != stuck)
        np.testing.assert_array_equal(chip.positions[name], np.flatnonzero(wrong))
        total = chip.totals[index]
        assert total == ClassTotal(name, f"faulty {make}s", affected.sum(), wrong.sum())


def test_number_of_faulty_lines_and_of_cells_on_them(zeros: FoldedNetwork) -> None:
    # hidden_1: 130 inputs on 3 arrays across, so 390 word lines of 32, 32 and 6 cells
    lines = found = on_lines = 0
    for k in range(100):
        whole = drawn(zeros, row_faults(0.05, stuck=1), chip=k)
        part = drawn(zeros, row_faults(0.05, density=0.3, stuck=1), chip=k)
        positions = whole.positions["hidden_1"]
        lines += len(np.unique(positions // 130 // 32 * 130 + positions % 130))
        on_lines += len(positions)
        found += len(part.positions["hidden_1"])
        assert np.isin(part.positions["hidden_1"], positions).all()
    assert stats.binomtest(lines, 100 * 390, 0.05).pvalue > REJECT
    assert stats.binomtest(found, on_lines, 0.3).pvalue > REJECT


def test_rows_and_columns_are_independent(zeros: FoldedNetwork) -> None:
    both = {"row": 0, "column": 0, "common": 0}
    for k in range(200):
        row = drawn(zeros, row_faults(1.0, density=0.1), chip=k).positions["output"]
        column = drawn(zeros, LineFaults("column", 1.0, 0.1), chip=k).positions["output"]
        both["common"] += len(np.intersect1d(row, column))
    assert stats.binomtest(both["common"], 200 * BITS["output"], 0.01).pvalue > REJECT


# --- nested, disjoint, deterministic

NESTED = [
    (Flips.symmetric(0.01), Flips.symmetric(0.2)),
    (Flips(0.01, 0.2), Flips(0.05, 0.2)),
    (Flips(0.01, 0.2), Flips(0.3, 0.4)),
    (StuckAt(0.01, 0.02), StuckAt(0.01, 0.3)),
    (StuckAt(0.01, 0.02), StuckAt(0.4, 0.02)),
    (StuckAt(0.1, 0.3), StuckAt(0.6, 0.4)),
    (StuckAt(0.01, 0.02, exact=True), StuckAt(0.01, 0.3, exact=True)),
    (StuckAt(0.001, 0.02, exact=True), StuckAt(0.4, 0.02, exact=True)),
    (StuckAt(0.1, 0.3, exact=True), StuckAt(0.6, 0.4, exact=True)),
    (row_faults(0.02, stuck=1), row_faults(0.3, stuck=1)),
    (row_faults(0.2, density=0.1), row_faults(0.2, density=0.9)),
    (LineFaults("column", 0.02), LineFaults("column", 0.3)),
    (block_faults(0.02, density=0.5), block_faults(0.3, density=0.6)),
]


@pytest.mark.parametrize(("low", "high"), NESTED)
def test_every_class_is_nested(network: FoldedNetwork, low: Persistent, high: Persistent) -> None:
    more = 0
    for k in range(3):
        few, many = drawn(network, low, chip=k), drawn(network, high, chip=k)
        for name in NAMES:
            assert np.isin(few.positions[name], many.positions[name]).all()
            more += len(many.positions[name]) - len(few.positions[name])
        for one, other in zip(few.totals, many.totals, strict=True):
            assert one.cells <= other.cells
    assert more > 0


def test_compositions_are_nested_in_the_cells_they_affect(zeros: FoldedNetwork) -> None:
    def affected(scale: float) -> dict[str, np.ndarray]:
        # stored zeros: all these errors make every affected cell wrong
        return drawn(
            zeros,
            row_faults(0.02 * scale, density=0.7),
            block_faults(0.01 * scale, stuck=1),
            StuckAt(0.0, 0.02 * scale, exact=True),
            Flips(0.03 * scale, 0.0),
        ).positions

    for name in NAMES:
        few, some, many = (affected(scale)[name] for scale in (1, 3, 8))
        assert np.isin(few, some).all()
        assert np.isin(some, many).all()
        assert 0 < len(few) < len(some) < len(many)


def test_classes_are_disjoint(zeros: FoldedNetwork) -> None:
    # every affected cell is wrong here but those stuck at 0: one counted twice would be missing
    errors = (
        row_faults(0.1, density=0.6),
        LineFaults("column", 0.1, array=ARRAY),
        block_faults(0.1, density=0.5, stuck=1),
        StuckAt(0.1, 0.2),
        Flips.symmetric(0.3),
    )
    for order in (errors, errors[::-1]):
        chip = drawn(zeros, *order)
        for name in NAMES:
            totals = [total for total in chip.totals if total.layer == name]
            assert len(totals) == 6
            assert all(total.cells > 0 for total in totals)
            assert all(t.wrong == (0 if t.kind == "stuck at 0" else t.cells) for t in totals)
            assert np.all(np.diff(chip.positions[name]) > 0)
            assert len(chip.positions[name]) == sum(total.wrong for total in totals)


def test_the_first_listed_wins(network: FoldedNetwork) -> None:
    everything = LineFaults("row", 1.0, stuck=0)
    first = drawn(network, everything, Flips.symmetric(1.0))
    last = drawn(network, Flips.symmetric(1.0), everything)
    assert cells(first, "flips") == cells(last, "faulty rows") == 0
    for name in NAMES:
        np.testing.assert_array_equal(first.positions[name], np.flatnonzero(stored(network, name)))
        assert len(last.positions[name]) == BITS[name]
    assert [total.kind for total in first.totals[:2]] == ["faulty rows", "flips"]


def test_flips_keep_their_rate_on_the_cells_that_are_left(network: FoldedNetwork) -> None:
    left = hit = 0
    for k in range(60):
        chip = drawn(network, StuckAt(0.2, 0.1), Flips.symmetric(0.05), chip=k)
        left += sum(BITS.values()) - cells(chip, "stuck at 0") - cells(chip, "stuck at 1")
        hit += cells(chip, "flips")
    assert stats.binomtest(hit, left, 0.05).pvalue > REJECT


def test_chips_do_not_depend_on_the_order_of_drawing(network: FoldedNetwork) -> None:
    errors = Errors(ALL_KINDS)
    forth = [draw_chip(network, errors, seed=SEED, chip=k) for k in (0, 1, 2**40)]
    back = [draw_chip(network, errors, seed=SEED, chip=k) for k in (2**40, 1, 0)][::-1]
    assert all(same(one, other) for one, other in zip(forth, back, strict=True))
    assert not same(forth[0], forth[1])
    assert not same(forth[0], draw_chip(network, errors, seed=SEED + 1, chip=0))


def test_protected_layers_stay_exact_and_change_no_other(network: FoldedNetwork) -> None:
    whole = drawn(network, *ALL_KINDS)
    errors = Errors(ALL_KINDS, protected=frozenset({"hidden_1", "output"}))
    chip = draw_chip(network, errors, seed=SEED, chip=0)
    assert list(chip.positions) == list(NAMES)
    assert len(chip.positions["hidden_1"]) == len(chip.positions["output"]) == 0
    np.testing.assert_array_equal(chip.positions["hidden_2"], whole.positions["hidden_2"])
    assert chip.totals == tuple(t for t in whole.totals if t.layer == "hidden_2")


def test_unknown_layers_are_refused(network: FoldedNetwork) -> None:
    missing = frozenset({"hidden_9"})
    for errors in (
        Errors(protected=missing),
        Errors((Flips.symmetric(0.1, missing),)),
        Errors(transient=(TransientFlips(0.1, missing),)),
    ):
        with pytest.raises(ValueError, match="errors names unknown layers 'hidden_9'"):
            draw_chip(network, errors, seed=0, chip=0)
        with pytest.raises(ValueError, match="errors names unknown layers 'hidden_9'"):
            draw_misread(network, errors, seed=0, chip=0, read=0)


def test_no_errors_give_a_perfect_chip(network: FoldedNetwork) -> None:
    chip = draw_chip(network, Errors(transient=(TransientFlips(1.0),)), seed=0, chip=0)
    assert chip.totals == ()
    assert [positions.tolist() for positions in chip.positions.values()] == [[], [], []]


def test_positions_flip_the_weights_they_name(network: FoldedNetwork) -> None:
    chip = drawn(network, *ALL_KINDS)
    flipped = flip_weights(network, chip.positions)
    for name in NAMES:
        changed = np.flatnonzero(stored(network, name) != stored(flipped, name))
        np.testing.assert_array_equal(changed, chip.positions[name])


# --- read errors


def misread(network: FoldedNetwork, ber: float, **changes: int) -> dict[str, np.ndarray]:
    numbers = {"seed": SEED, "chip": 0, "read": 0} | changes
    return draw_misread(network, Errors(transient=(TransientFlips(ber),)), **numbers)


def test_read_errors_are_binomial_and_new_at_each_read(network: FoldedNetwork) -> None:
    trials = sum(BITS.values())
    reads = [
        np.concatenate([index * 10**6 + p for index, p in enumerate(parts.values())])
        for parts in (misread(network, 0.05, read=read) for read in range(40))
    ]
    assert stats.binomtest(sum(map(len, reads)), 40 * trials, 0.05).pvalue > REJECT
    common = sum(
        len(np.intersect1d(one, other)) for one, other in zip(reads, reads[1:], strict=False)
    )
    assert stats.binomtest(common, 39 * trials, 0.05**2).pvalue > REJECT
    again = misread(network, 0.05, read=7)
    np.testing.assert_array_equal(again["hidden_1"], reads[7][reads[7] < 10**6])


def test_read_errors_do_not_follow_the_chip(network: FoldedNetwork) -> None:
    common = 0
    for k in range(40):
        chip = drawn(network, Flips.symmetric(0.1), chip=k).positions
        read = misread(network, 0.1, chip=k)
        common += sum(len(np.intersect1d(chip[name], read[name])) for name in NAMES)
    assert stats.binomtest(common, 40 * sum(BITS.values()), 0.01).pvalue > REJECT


def test_read_errors_are_nested_and_exact_at_the_edges(network: FoldedNetwork) -> None:
    few, many = misread(network, 0.01), misread(network, 0.3)
    assert all(np.isin(few[name], many[name]).all() for name in NAMES)
    assert sum(map(len, few.values())) > 0
    assert [len(p) for p in misread(network, 0.0).values()] == [0, 0, 0]
    assert [len(p) for p in misread(network, 1.0).values()] == list(BITS.values())


def test_read_errors_keep_to_their_layers(network: FoldedNetwork) -> None:
    low, high = TransientFlips(0.01, frozenset({"hidden_1"})), frozenset({"hidden_2"})
    errors = Errors(transient=(low, TransientFlips(0.3, high)), protected=frozenset({"output"}))
    found = draw_misread(network, errors, seed=SEED, chip=0, read=0)
    np.testing.assert_array_equal(found["hidden_1"], misread(network, 0.01)["hidden_1"])
    np.testing.assert_array_equal(found["hidden_2"], misread(network, 0.3)["hidden_2"])
    assert len(found["output"]) == 0
