"""The generator against its published vectors, NumPy's Philox and exact logarithms."""

import mpmath
import numpy as np
import pytest
from scipy import stats

from bnn.machine.counter_random import (
    Stream,
    StreamKey,
    exponential,
    generator_of,
    philox4x64,
    uniforms_at,
)

REJECT = 1e-5
FULL = 2**64 - 1


def philox(counter: list[int], key: list[int]) -> list[int]:
    return [int(word) for word in philox4x64(*map(np.uint64, counter + key))]


# file kat_vectors of Random123, lines "philox4x64 10"; the third row holds digits of pi
@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        (
            [0, 0, 0, 0],
            [0, 0],
            [0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B],
        ),
        (
            [FULL, FULL, FULL, FULL],
            [FULL, FULL],
            [0x87B092C3013FE90B, 0x438C3C67BE8D0224, 0x9CC7D7C69CD777B6, 0xA09CAEBF594F0BA0],
        ),
        (
            [0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89],
            [0x452821E638D01377, 0xBE5466CF34E90C6C],
            [0xA528F45403E61D95, 0x38C72DBD566E9788, 0xA5A1610E72FD18B5, 0x57BD43B5E52B7FE6],
        ),
    ],
)
def test_published_vectors(counter: list[int], key: list[int], expected: list[int]) -> None:
    assert philox(counter, key) == expected


def numpy_philox(counter: list[int], key: list[int]) -> list[int]:
    # NumPy counts up before it draws
    whole = sum(word << 64 * place for place, word in enumerate(counter))
    generator = np.random.Philox(counter=(whole - 1) % 2**256, key=key[0] | key[1] << 64)
    return generator.random_raw(4).tolist()


def test_numpy_draws_the_same_words() -> None:
    for words in np.random.default_rng(0).integers(0, FULL, (200, 6), np.uint64, endpoint=True):
        counter, key = words[:4].tolist(), words[4:].tolist()
        assert philox(counter, key) == numpy_philox(counter, key)


def test_the_generator_of_a_stream_draws_its_words() -> None:
    key = StreamKey(seed=2**64 + 5, chip=7, layer=2, stream=Stream.RESISTANCES)
    k0, k1, c0, c2, c3 = key.words()
    # word 0 counts up; NumPy counts before it draws
    words = [int(w) for n in (1, 2) for w in philox4x64(c0 + np.uint64(n), c2 * 0, c2, c3, k0, k1)]
    assert generator_of(key).bit_generator.random_raw(8).tolist() == words


def test_exponential_is_minus_the_logarithm_of_a_uniform() -> None:
    rng = np.random.default_rng(1)
    powers = [1 << place for place in range(64)]
    words = [0, FULL, *powers, *(FULL - power for power in powers), *(p + p // 3 for p in powers)]
    words += rng.integers(0, FULL, 2000, np.uint64).tolist()
    words += rng.integers(FULL - 2**52, FULL, 1000, np.uint64).tolist()
    with mpmath.workdps(40):
        for word in words:
            expected = -mpmath.log(mpmath.mpf((word >> 11) + 1) / 2**53)
            # the bound of the docstring
            assert abs(exponential(np.uint64(word)) - expected) <= 4e-16 * max(1, expected)
            assert exponential(np.uint64(word)) >= 0.0


def test_uniforms_are_the_words_at_their_places() -> None:
    key = StreamKey(seed=2**64 + 5, chip=7, layer=2, stream=Stream.STUCK_SIDE, read=3)
    places = np.array([0, 9, 2**40], np.int64)
    expected = [
        # draw and read, place, chip, layer and stream and band
        numpy_philox([3 << 24, place, 7, 2 << 32 | 2 << 8], [5, 1])[0] / 2**64
        for place in places.tolist()
    ]
    np.testing.assert_allclose(uniforms_at(key, places), expected, rtol=0, atol=2.0**-53)
    np.testing.assert_array_equal(
        uniforms_at(key, places[[2, 0]]), uniforms_at(key, places)[[2, 0]]
    )


def test_uniforms_are_uniform() -> None:
    values = uniforms_at(StreamKey(0, 0, 0, Stream.STUCK), np.arange(100_000))
    assert stats.kstest(values, "uniform").pvalue > REJECT


def test_control_squares_of_uniforms_must_fail() -> None:
    values = uniforms_at(StreamKey(0, 0, 0, Stream.STUCK), np.arange(100_000))
    assert stats.kstest(values**1.02, "uniform").pvalue < REJECT


def test_no_two_keys_share_a_counter() -> None:
    keys = [
        StreamKey(seed, chip, layer, stream, read)
        for seed in (0, 1, 2**64, 2**128 - 1)
        for chip in (0, 1, 2**64 - 1)
        for layer in (0, 1, 2**32 - 1)
        for stream in Stream
        for read in (0, 1, 2**40 - 1)
    ]
    assert len({key.words() for key in keys}) == len(keys)


@pytest.mark.parametrize(
    ("name", "size"), [("seed", 128), ("chip", 64), ("layer", 32), ("read", 40)]
)
def test_numbers_that_do_not_fit_are_refused(name: str, size: int) -> None:
    numbers = {"seed": 0, "chip": 0, "layer": 0, "read": 0}
    with pytest.raises(ValueError, match=f"{name} must not be negative, got -1"):
        StreamKey(**numbers | {name: -1}, stream=Stream.FLIPS)
    with pytest.raises(ValueError, match=rf"{name} must be below 2\*\*{size}, got {2**size}"):
        StreamKey(**numbers | {name: 2**size}, stream=Stream.FLIPS)
