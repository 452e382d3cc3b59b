"""Residual error rates of codes, against the project's table, real decoders and brute force."""

from itertools import combinations
from math import comb

import numpy as np
import pytest

from bnn import load_zoo
from devicefit.distributions.sensing import BerCurve
from reliability.plans.codes import (
    BCH_127_64,
    NO_CODE,
    SECDED_72_64,
    Code,
    hsiao_columns,
    ln_decoded_ber,
    ln_residual_ber,
    ln_residual_in_place,
    raw_ber_for,
)
from reliability.plans.decoders import after_decoding, after_secded, coded_chip
from reliability.plans.storage import STORAGES, Storage, storages_for

# Bounds of the residual BER as derived in the project's facts (e): from errors left in place to
# each failed decoding adding t more wrong bits, n-bit word, independent errors. The upper ones
# grant a SECDED code no detection.
RATES = (1e-4, 1e-3, 1e-2, 4e-2)
TABLE = [
    (SECDED_72_64, 0.125, ((7.1e-7, 1.1e-6), (6.9e-5, 1.0e-4), (5.1e-3, 7.4e-3), (3.8e-2, 4.9e-2))),
    (
        Code("SECDED(39,32)", 39, 32, 1, 2),
        0.219,
        ((3.8e-7, 5.7e-7), (3.7e-5, 5.6e-5), (3.2e-3, 4.7e-3), (3.2e-2, 4.4e-2)),
    ),
    (
        Code("DEC(78,64)", 78, 64, 2, 2),
        0.219,
        ((2.9e-9, 4.9e-9), (2.8e-6, 4.6e-6), (1.8e-3, 2.9e-3), (3.3e-2, 4.8e-2)),
    ),
    (
        Code("TEC(85,64)", 85, 64, 3, 3),
        0.328,
        ((9.5e-12, 1.7e-11), (9.0e-8, 1.6e-7), (5.3e-4, 9.0e-4), (2.6e-2, 4.2e-2)),
    ),
]


@pytest.mark.parametrize(("code", "overhead", "bounds"), TABLE)
def test_residual_ber_has_the_bounds_of_the_table(
    code: Code, overhead: float, bounds: tuple[tuple[float, float], ...]
) -> None:
    ln_p = np.log(RATES)
    no_detection = Code(code.name, code.n, code.k, code.corrects, code.corrects)
    low, high = np.array(bounds).T
    # Table values have two digits: half a unit of the second is at most 5 %.
    np.testing.assert_allclose(np.exp(ln_residual_in_place(code, ln_p)), low, rtol=0.05)
    np.testing.assert_allclose(np.exp(ln_residual_ber(no_detection, ln_p)), high, rtol=0.05)
    used = ln_residual_ber(code, ln_p)
    assert (used >= ln_residual_in_place(code, ln_p)).all()
    assert (used <= ln_residual_ber(no_detection, ln_p)).all()
    assert code.cells_per_bit - 1 == pytest.approx(overhead, abs=5e-4)


def test_secded_decoder_by_brute_force() -> None:
    """All words with up to four wrong bits through a real decoder."""
    assert len(set(hsiao_columns())) == 72
    left = {}
    for wrong in (0, 1, 2, 3, 4):
        # the last kind is a million words: every thirtieth of them
        chosen = np.array(list(combinations(range(72), wrong)), dtype=np.int64)[
            :: 30 if wrong == 4 else 1
        ]
        words = np.zeros((len(chosen), 72), np.bool_)
        words[np.arange(len(chosen))[:, None], chosen] = True
        after = after_secded(words)
        if wrong == 2:
            np.testing.assert_array_equal(after, words)
        left[wrong] = after[:, :64].mean()
    assert left[0] == left[1] == 0
    assert left[2] == pytest.approx(2 / 72, rel=1e-12)
    for wrong in (3, 4):
        assert wrong / 72 * 0.99 < left[wrong] < (wrong + 1) / 72
    # triples look like a single error in more than half of all cases
    assert left[3] > 3.5 / 72


@pytest.mark.parametrize("code", [SECDED_72_64, BCH_127_64])
@pytest.mark.parametrize("ber", [1e-3, 1e-2, 4e-2, 0.1, 0.4])
def test_decoded_ber_is_what_the_decoder_leaves(code: Code, ber: float) -> None:
    rng = np.random.default_rng(1)
    words = 200_000 if ber < 0.01 else 40_000
    errors = after_decoding(code, rng.random((words, code.n)) < ber).sum(axis=1)
    # of a rare event the error is that of its own count
    error = max(float(errors.std()), np.sqrt(code.n / words)) / code.n / np.sqrt(words)
    expected = float(np.exp(ln_decoded_ber(code, np.log(ber))))
    assert abs(errors.mean() / code.n - expected) < 4 * error
    low, high = (
        float(np.exp(f(code, np.log(ber)))) for f in (ln_residual_in_place, ln_residual_ber)
    )
    assert low * (1 - 1e-12) <= expected < high


def test_decoded_ber_of_few_wrong_bits_is_exact() -> None:
    """All words of two and three wrong bits, which are all that matter at small rates."""
    left = []
    for wrong in (2, 3):
        chosen = np.array(list(combinations(range(72), wrong)))
        words = np.zeros((len(chosen), 72), np.bool_)
        words[np.arange(len(chosen))[:, None], chosen] = True
        left.append(len(chosen) * after_secded(words).mean())
    p = 1e-6
    expected = left[0] * p**2 * (1 - p) ** 70 + left[1] * p**3 * (1 - p) ** 69
    found = float(np.exp(ln_decoded_ber(SECDED_72_64, np.log(p))))
    assert found == pytest.approx(expected, rel=1e-11)


class Bch:
    """Decoder of a primitive binary BCH code: syndromes, Berlekamp-Massey, all roots tried."""

    def __init__(self, degree: int, polynomial: int, corrects: int) -> None:
        self.n, self.t = (1 << degree) - 1, corrects
        self.exp, value = [], 1
        for _ in range(self.n):
            self.exp.append(value)
            value <<= 1
            if value >> degree:
                value ^= polynomial
        self.log = {v: i for i, v in enumerate(self.exp)}

    @property
    def data_bits(self) -> int:
        """Length less the degree of the generator: cosets {i, 2i, 4i, ...} of the roots 1..2t."""
        roots = {r * 2**j % self.n for r in range(1, 2 * self.t + 1) for j in range(self.n)}
        return self.n - len(roots)

    def times(self, a: int, b: int) -> int:
        return 0 if 0 in (a, b) else self.exp[(self.log[a] + self.log[b]) % self.n]

    def value(self, powers: list[int], at: int) -> int:
        total = 0
        for i, c in enumerate(powers):
            total ^= self.times(c, self.exp[i * at % self.n])
        return total

    def flips(self, wrong: set[int]) -> set[int]:
        """Bits that the decoder flips; none where it gives up."""
        syndromes = []
        for j in range(1, 2 * self.t + 1):
            s = 0
            for bit in wrong:
                s ^= self.exp[bit * j % self.n]
            syndromes.append(s)
        locator, before, gap, length, last = [1], [1], 1, 0, 1
        for r, s in enumerate(syndromes):
            d = s
            for i in range(1, length + 1):
                d ^= self.times(locator[i] if i < len(locator) else 0, syndromes[r - i])
            if d == 0:
                gap += 1
                continue
            scale = self.exp[(self.log[d] - self.log[last]) % self.n]
            new = locator + [0] * max(0, len(before) + gap - len(locator))
            for i, c in enumerate(before):
                new[i + gap] ^= self.times(scale, c)
            if 2 * length <= r:
                before, last, length, gap = locator, d, r + 1 - length, 1
            else:
                gap += 1
            locator = new
        roots = {i for i in range(self.n) if self.value(locator, -i) == 0}
        return roots if len(roots) == length <= self.t else set()


def test_the_code_of_rate_one_half_is_what_it_says() -> None:
    bch = Bch(7, 0b10001001, 10)
    assert (bch.n, bch.data_bits) == (BCH_127_64.n, BCH_127_64.k) == (127, 64)
    assert BCH_127_64.corrects == BCH_127_64.detects == bch.t
    rng = np.random.default_rng(2)
    for wrong in (1, 7, 10, 10, 10):
        errors = set(rng.choice(127, wrong, replace=False).tolist())
        assert bch.flips(errors) == errors
    # one word in 40,000 lies within distance 10 of a codeword, so words beyond are left alone
    assert sum(comb(127, j) for j in range(11)) / 2**63 == pytest.approx(1 / 40_000, rel=0.05)
    for wrong in (11, 11, 12, 20):
        assert bch.flips(set(rng.choice(127, wrong, replace=False).tolist())) == set()


def test_bounded_distance_decoding_lies_between_the_bounds() -> None:
    """All 32,768 error patterns of BCH(15,7), which corrects 2, through the same decoder."""
    bch = Bch(4, 0b10011, 2)
    code = Code("BCH(15,7)", 15, 7, 2, 2)
    assert bch.data_bits == 7
    syndromes = [bch.exp[bit] | bch.exp[3 * bit % 15] << 4 for bit in range(15)]
    flips: dict[int, int] = {}
    left = np.zeros(16)
    for word in range(1 << 15):
        bits = [b for b in range(15) if word >> b & 1]
        syndrome = int(np.bitwise_xor.reduce([syndromes[b] for b in bits])) if bits else 0
        if syndrome not in flips:
            flips[syndrome] = sum(1 << b for b in bch.flips(set(bits)))
        left[len(bits)] += (word ^ flips[syndrome]).bit_count()
    assert left[:3].tolist() == [0, 0, 0]
    for p in (1e-4, 1e-2, 0.05):
        rate = sum(n * p**i * (1 - p) ** (15 - i) for i, n in enumerate(left)) / 15
        low, high = (np.exp(f(code, np.log(p))) for f in (ln_residual_in_place, ln_residual_ber))
        assert low < rate < high


def test_secded_leaves_detected_doubles_in_place() -> None:
    """Brute force over all words of a (7,4) code with 1 corrected and 2 detected bits."""
    code, p = Code("small", 7, 4, 1, 2), 0.03
    expected = 0.0
    for word in range(2**7):
        wrong = word.bit_count()
        if wrong < 2:
            continue
        left = wrong if wrong == 2 else min(wrong + 1, 7)
        expected += left / 7 * p**wrong * (1 - p) ** (7 - wrong)
    assert np.exp(ln_residual_ber(code, np.log(p))) == pytest.approx(expected, rel=1e-12)


def test_edges() -> None:
    for code in (SECDED_72_64, BCH_127_64):
        assert ln_residual_ber(code, -np.inf) == -np.inf
        assert ln_residual_in_place(code, -np.inf) == -np.inf
        assert np.exp(ln_residual_ber(code, 0.0)) == pytest.approx(1.0)
    assert np.exp(ln_residual_ber(NO_CODE, np.log(0.2))) == pytest.approx(0.2)
    with pytest.raises(ValueError, match="must not exceed 1"):
        ln_residual_ber(SECDED_72_64, 0.1)


@pytest.mark.parametrize(
    ("code", "first"), [(SECDED_72_64, 71.0), (BCH_127_64, comb(127, 11) * 21 / 127)]
)
def test_small_raw_ber_stays_exact(code: Code, first: float) -> None:
    # At small p the fewest uncorrected bits dominate: C(n, t+1) p^(t+1) times the share left wrong.
    wrong, ln_p = code.corrects + 1, np.log(1e-12)
    found = float(ln_residual_ber(code, ln_p))
    assert found == pytest.approx(np.log(first) + wrong * ln_p, abs=1e-8)


@pytest.mark.parametrize("code", [SECDED_72_64, BCH_127_64])
@pytest.mark.parametrize("target", [1e-15, 1e-9, 1e-5, 1e-3])
def test_raw_ber_inverts_the_residual(target: float, code: Code) -> None:
    raw = raw_ber_for(code, target)
    assert np.exp(ln_decoded_ber(code, np.log(raw))) == pytest.approx(target, rel=1e-6)
    assert raw_ber_for(NO_CODE, target) == target
    read = Storage("1T1R", code).ln_ber_read(np.array([np.log(target), -np.inf]))
    assert np.exp(read[0]) == pytest.approx(raw, rel=1e-3)
    assert read[1] == -np.inf


def test_target_outside_range_is_refused() -> None:
    with pytest.raises(ValueError, match="target BER is 0.5"):
        raw_ber_for(SECDED_72_64, 0.5)


def test_impossible_code_is_refused() -> None:
    with pytest.raises(ValueError, match="need 0 < k <= n"):
        Code("bad", 8, 9, 1, 2)
    with pytest.raises(ValueError, match=r"scheme '3T3R' is not known; known: \['1T1R', '2T2R'\]"):
        Storage("3T3R")


def test_cells_are_counted() -> None:
    plain = [s for s in STORAGES if not s.scrambled]
    names = ["1T1R", "1T1R + SECDED(72,64)", "1T1R + BCH(127,64)", "2T2R"]
    assert [s.name for s in plain] == names
    assert [s.cells_per_bit for s in plain] == [1.0, 1.125, 127 / 64, 2.0]
    assert [s.cells_for(128) for s in plain] == [128, 144, 254, 256]
    # one bit more begins a word, which needs all its parity
    assert [s.cells_for(129) for s in plain] == [129, 129 + 24, 129 + 189, 258]
    # scrambling costs no cell
    scrambled = [s for s in STORAGES if s.scrambled]
    assert [s.name for s in scrambled] == [f"{name}, scrambled" for name in names[:3]]
    assert [s.cells_for(129) for s in scrambled] == [s.cells_for(129) for s in plain[:3]]
    with pytest.raises(ValueError, match="stores a bit and its inverse"):
        Storage("2T2R", scrambled=True)


def test_scrambled_storage_is_one_way_of_several_the_only_one_or_none() -> None:
    assert storages_for("compare") == STORAGES
    assert all(s.scrambled or s.scheme == "2T2R" for s in storages_for("always"))
    assert not any(s.scrambled for s in storages_for("never"))
    assert len(storages_for("never")) == len(storages_for("always")) == 4
    with pytest.raises(ValueError, match="known: compare, always, never"):
        storages_for("sometimes")


def test_the_network_sees_what_the_code_leaves() -> None:
    x = np.array([1.0, 2.0])
    ln_one, ln_two = np.log([[[0.04, 1e-3]]]), np.log([[[0.01, 1e-9]]])
    curves = {
        name: BerCurve(name, x, ln, None, np.zeros(2, bool), 0.01, tilt)
        for name, ln, tilt in (
            ("1T1R", ln_one, np.full((1, 1, 2), 0.4)),
            ("2T2R", ln_two, None),
        )
    }
    every = [s.seen(curves) for s in STORAGES]
    seen = [s.ln_ber for s in every]
    np.testing.assert_array_equal(seen[0], ln_one[0])
    np.testing.assert_array_equal(seen[-1], ln_two[0])
    # a code keeps the tilt; scrambled bits and pairs have none
    for storage, found in zip(STORAGES, every, strict=True):
        plain = storage.scheme == "1T1R" and not storage.scrambled
        np.testing.assert_array_equal(found.tilt, 0.4 if plain else 0.0)
    np.testing.assert_array_equal(STORAGES[0].seen(curves, "HRS").tilt, -0.4)
    with pytest.raises(ValueError, match="one of LRS, HRS"):
        STORAGES[0].seen(curves, "lrs")
    np.testing.assert_array_equal(seen[1], ln_decoded_ber(SECDED_72_64, ln_one[0]))
    # a code of rate 1/2 does what a light one cannot at 4e-2, and both leave nothing at 1e-3
    assert seen[1][0, 0] > np.log(0.04) > np.log(0.01) > seen[2][0, 0]


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("code", [NO_CODE, SECDED_72_64, BCH_127_64])
def test_chips_of_words_have_the_residual_rate(code: Code, interleaved: bool) -> None:
    network, _ = load_zoo("digits-standard")
    bits, chips = sum(network.weight_bits.values()), 6
    rng, ber = np.random.default_rng(5), 0.06
    counts = []
    for _ in range(chips):
        wrong = coded_chip(network, code, ber, interleaved=interleaved, rng=rng)
        assert list(wrong) == list(network.weight_bits)
        for name, places in wrong.items():
            assert (np.diff(places) > 0).all()
            assert places.max() < network.weight_bits[name]
        counts.append(sum(map(len, wrong.values())))
    words = chips * bits / code.k
    left = after_decoding(code, np.random.default_rng(6).random((20_000, code.n)) < ber)
    spread = left[:, : code.k].sum(axis=1)
    # z = 4; both sides are counted
    error = spread.std() * np.sqrt(1 / words + 1 / 20_000)
    assert sum(counts) / words == pytest.approx(spread.mean(), abs=4 * error)
    low, high = (np.exp(f(code, np.log(ber))) for f in (ln_residual_in_place, ln_residual_ber))
    assert low * 0.9 < sum(counts) / chips / bits < high * 1.1
