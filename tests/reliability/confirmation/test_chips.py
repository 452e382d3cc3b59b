"""Chips by their rates against chips by their resistances, and decoding against dense words."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from bnn import FoldedNetwork
from bnn.engines.dense import dense
from bnn.machine.packing import pack_bits
from bnn.networks.network import HiddenLayer, OutputLayer, layer_signs
from devicefit.distributions.sensing import SensingOptions
from devicefit.fitting.error_rates import array_curves, ber_curves
from devicefit.fitting.fit import DevicePosterior
from reliability.chips.arrays import ChipArrays
from reliability.chips.rates import ChipRates, chip_rates
from reliability.confirmation.chips import StoredNetwork, count_chips
from reliability.networks.direct_route import ProgrammedCells, evaluate_direct
from reliability.plans.codes import BCH_127_64, NO_CODE, SECDED_72_64, hsiao_columns
from reliability.plans.decoders import after_decoding
from reliability.plans.storage import PLAIN, STORAGES, Storage

Make = Callable[..., DevicePosterior]
X = (5e-5, 1e-4)
SENSING = SensingOptions(threshold_ohm=1.8e4)
REJECT = 1e-4 / 10
ORDER = {"hidden_1": 0, "output": 1}


@pytest.fixture(scope="module")
def network() -> FoldedNetwork:
    rng = np.random.default_rng(3)
    hidden = HiddenLayer(
        name="hidden_1",
        columns=16,
        weights=pack_bits(rng.random((70, 16)) < 0.3),
        threshold=rng.integers(-500, 500, 70).astype(np.int32),
        direction=rng.choice(np.array([-1, 1], np.int8), size=70),
    )
    output = OutputLayer(
        name="output",
        columns=70,
        weights=pack_bits(rng.random((4, 70)) < 0.3),
        scale=np.ones(4),
        shift=rng.normal(size=4),
    )
    return FoldedNetwork((hidden, output))


@pytest.fixture(scope="module")
def data(network: FoldedNetwork) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(8)
    images = rng.integers(0, 256, (150, 16), dtype=np.uint8)
    return images, dense.predict(network, dense.prepare(images), threads=1)


def known_rates(*pairs: tuple[float, float]) -> ChipRates:
    """One draw, one array; (rate of zeros, rate of ones) at each programming value."""
    return ChipRates(np.arange(1.0, len(pairs) + 1), np.array(pairs)[None, None])


def test_rates_are_those_of_the_readers(posterior: Make) -> None:
    device = posterior()
    rates = chip_rates(device, X, PLAIN, sensing=SENSING)
    readers = ProgrammedCells(device, X, "1T1R", SENSING).readers()
    assert rates.values.shape == (40, 1, 2, 2)
    for k, reader in enumerate(readers):
        assert rates.values[:, 0, k, 1] == pytest.approx(reader.error_probability["LRS"], rel=1e-14)
        assert rates.values[:, 0, k, 0] == pytest.approx(reader.error_probability["HRS"], rel=1e-14)
    turned = chip_rates(device, X, PLAIN, sensing=SENSING, one_is="HRS")
    assert (turned.values == rates.values[..., ::-1]).all()


@pytest.mark.parametrize("scheme", ["1T1R", "2T2R"])
def test_chips_lose_as_chips_of_drawn_resistances_do(
    network: FoldedNetwork, data: Any, scheme: str, posterior: Make
) -> None:
    device, chips = posterior(), 300
    rates = chip_rates(device, X[:1], Storage(scheme), sensing=SENSING)
    stored = StoredNetwork.of(network, PLAIN)
    common: dict[str, Any] = {
        "stored": stored, "chips": chips, "seed": 2, "arrays": ChipArrays(), "threads": 1
    }  # fmt: skip
    fast = count_chips(network, *data, rates=rates, **common)
    slow = evaluate_direct(
        network, *data, cells=ProgrammedCells(device, X[:1], scheme, SENSING),
        chips=chips, seed=2, threads=1,
    )  # fmt: skip
    for name in ("flips", "correct"):
        one, other = fast[name].values[0], slow[name].values[0]
        # the same draws of the device, other cells: differences of pairs are about zero
        found = stats.ttest_1samp((one - other).astype(float), 0.0)
        assert found.pvalue > REJECT, name
    # a control that must fail: the mean rate of all draws for every chip misses their spread
    flat = ChipRates(rates.programming, np.broadcast_to(rates.values.mean(axis=0), (1, 1, 1, 2)))
    even = count_chips(network, *data, rates=flat, **common)
    assert np.var(even["flips"].values) < 0.5 * np.var(slow["flips"].values)


def test_cells_of_a_chip_lie_on_one_array(posterior: Make) -> None:
    device = posterior(("a", "b", "c"))
    device.draws["lrs_location_array"].values[:] = np.array([-1.0, 0.0, 1.0])
    rates = chip_rates(device, X[:1], PLAIN, sensing=SENSING)
    assert rates.values.shape == (40, 3, 1, 2)
    ones = rates.values[:, :, 0, 1]
    assert (np.diff(ones, axis=1) > 0).all()
    # the law of the curves is that of a cell on any of them, read at the same threshold
    (mixed,) = ProgrammedCells(device, X[:1], "1T1R", SENSING).readers()
    assert ones.mean(axis=1) == pytest.approx(mixed.error_probability["LRS"], rel=1e-12)


def test_chips_on_new_arrays_have_the_arrays_of_their_draw(posterior: Make) -> None:
    device = posterior(("a", "b", "c"))
    for scheme in ("1T1R", "2T2R"):
        measured = chip_rates(device, X[:2], Storage(scheme), sensing=SENSING)
        new = chip_rates(device, X[:2], Storage(scheme), sensing=SENSING, new_arrays=2)
        assert new.values.shape == (40, 2, 2, 2)
        curves = ber_curves(device, X[:2], options=SENSING)
        larger = device.with_new_arrays(2)
        for k in (0, 1):
            (curve,) = array_curves(larger, curves["1T1R"], options=SENSING, arrays=[3 + k])
            ln_ber = curve[scheme].ln_ber.reshape(40, 2)
            np.testing.assert_allclose(new.values[:, k].mean(axis=-1), np.exp(ln_ber), rtol=1e-9)
        assert (new.values[:, :1] != measured.values).all()
    arrays = ChipArrays(("a", "b", "c"), per_chip=2, new=True)
    assert arrays.in_rates == 2
    assert arrays.of(1, 7).tolist() == [0, 1]
    assert not arrays.in_turn


@pytest.mark.parametrize("storage", STORAGES, ids=lambda s: s.name)
def test_wrong_bits_are_those_of_dense_words(network: FoldedNetwork, storage: Storage) -> None:
    code = storage.code
    stored = StoredNetwork.of(network, storage)
    rates = np.array([[0.02, 0.11]])
    many = stored.wrong_bits(np.array([[[0.02, 0.11], [0.0, 0.0], [1.0, 1.0]]]), seed=5, chip=3,
                             order=ORDER)  # fmt: skip
    raw = StoredNetwork(NO_CODE, stored.layers).wrong_bits(rates[None], seed=5, chip=3, order=ORDER)
    for name, layer in stored.layers.items():
        dense_words = np.zeros(len(layer.kind), dtype=bool)
        dense_words[raw[0][name]] = True
        left = after_decoding(code, dense_words.reshape(-1, code.n))[:, : code.k].reshape(-1)
        assert (np.flatnonzero(left[: layer.bits]) == many[0][name]).all()
        assert not len(many[1][name])
    assert sum(len(v) for v in many[0].values()) > 10


def test_stored_words_of_secded_have_no_syndrome(network: FoldedNetwork) -> None:
    stored = StoredNetwork.of(network, Storage("1T1R", SECDED_72_64))
    for layer in stored.layers.values():
        ones = layer.kind.reshape(-1, 72) == 1
        assert not np.bitwise_xor.reduce(np.where(ones, hsiao_columns(), 0), axis=1).any()
    weights = layer_signs(network.layers[0]) > 0
    kind = stored.layers["hidden_1"].kind.reshape(-1, 72)[:, :64].reshape(-1)
    assert (kind[: weights.size] == weights.reshape(-1)).all()
    assert (kind[weights.size :] == 2).all()


def test_rates_of_stored_ones_and_zeros_are_met(network: FoldedNetwork) -> None:
    stored = StoredNetwork.of(network, PLAIN)
    ones = (layer_signs(network.layers[0]) > 0).reshape(-1)
    total = {True: 0, False: 0}
    for chip in range(200):
        (wrong,) = stored.wrong_bits(np.array([[[0.03, 0.2]]]), seed=1, chip=chip, order=ORDER)
        at = ones[wrong["hidden_1"]]
        total[True] += int(at.sum())
        total[False] += int((~at).sum())
    for bit, rate in ((True, 0.2), (False, 0.03)):
        trials = 200 * int((ones == bit).sum())
        assert stats.binomtest(total[bit], trials, rate).pvalue > REJECT
    scrambled = StoredNetwork.of(network, Storage("1T1R", scrambled=True))
    both = 0
    for chip in range(200):
        (wrong,) = scrambled.wrong_bits(np.array([[[0.03, 0.2]]]), seed=1, chip=chip, order=ORDER)
        both += int(ones[wrong["hidden_1"]].sum())
    inverted = (scrambled.layers["hidden_1"].kind == 1)[ones].mean()
    rate = 0.2 * inverted + 0.03 * (1 - inverted)
    assert stats.binomtest(both, 200 * int(ones.sum()), rate).pvalue > REJECT


def test_weaker_programming_keeps_the_wrong_cells(network: FoldedNetwork) -> None:
    stored = StoredNetwork.of(network, PLAIN)
    weak, strong = stored.wrong_bits(
        np.array([[[0.2, 0.3], [0.1, 0.3]]]), seed=1, chip=0, order=ORDER
    )
    assert set(strong["hidden_1"]) < set(weak["hidden_1"])


def test_parts_of_a_chip_have_the_rates_of_their_arrays(network: FoldedNetwork) -> None:
    stored = StoredNetwork.of(network, Storage("1T1R", BCH_127_64))
    (wrong,) = stored.wrong_bits(
        np.array([[[0.0, 0.0]], [[1.0, 1.0]]]), seed=1, chip=0, order=ORDER
    )
    # 18 and 5 words: the second half of all begins in the word 12 of the first layer
    assert wrong["hidden_1"][0] == 12 * 64
    assert len(wrong["hidden_1"]) == 1120 - 12 * 64
    assert len(wrong["output"]) == 280


def test_the_same_chips_in_any_order_of_work(network: FoldedNetwork, data: Any) -> None:
    rates = known_rates((0.02, 0.05), (0.1, 0.05))
    stored = StoredNetwork.of(network, Storage("1T1R", SECDED_72_64))
    common: dict[str, Any] = {"stored": stored, "rates": rates, "seed": 4, "threads": 1,
                              "arrays": ChipArrays()}  # fmt: skip
    whole = count_chips(network, *data, chips=6, **common)
    for engine in ("packed", "dense"):
        part = count_chips(network, *data, chips=2, first_chip=4, engine=engine, **common)
        assert (part["correct"].values == whole["correct"].values[:, 4:]).all()


def test_arrays_that_cannot_be_are_refused(network: FoldedNetwork, data: Any) -> None:
    with pytest.raises(ValueError, match="arrays_per_chip is 0"):
        ChipArrays(per_chip=0)
    stored = StoredNetwork.of(network, PLAIN)
    with pytest.raises(ValueError, match="rates of 1 arrays for chips on a, b"):
        count_chips(
            network, *data, stored=stored, rates=known_rates((0.1, 0.1)), chips=2, seed=1,
            arrays=ChipArrays(("a", "b")),
        )  # fmt: skip


@pytest.mark.parametrize(("number", "in_turn"), [(1, False), (2, True), (4, True), (5, False)])
def test_few_arrays_take_turns_and_many_are_drawn(number: int, in_turn: bool) -> None:
    arrays = ChipArrays(tuple("abcde"[:number]))
    assert arrays.in_turn == in_turn
    at = np.concatenate([arrays.of(3, chip) for chip in range(2000)])
    counts = np.bincount(at, minlength=number)
    assert len(counts) == number
    if in_turn:
        assert (at == np.arange(2000) % number).all()
    else:
        assert stats.chisquare(counts).pvalue > REJECT or number == 1
    # a chip on several arrays lies on none of them alone
    assert not ChipArrays(arrays.names, 2).in_turn
    assert ChipArrays(arrays.names, 2).of(1, 0).shape == (2,)


def test_chips_on_an_array_have_its_rates(network: FoldedNetwork, data: Any) -> None:
    """Array a never errs, b always does: what each chip loses says where it lies."""
    rates = ChipRates(np.array([1.0]), np.array([0.0, 1.0])[None, :, None, None] * np.ones(2))
    stored = StoredNetwork.of(network, PLAIN)
    arrays = ChipArrays(("a", "b"))
    found = count_chips(
        network, *data, stored=stored, rates=rates, chips=8, seed=1, arrays=arrays, threads=1
    )
    weights = int(found.attrs["weights"])
    assert (found["flips"].values[0] == weights * (np.arange(8) % 2)).all()
