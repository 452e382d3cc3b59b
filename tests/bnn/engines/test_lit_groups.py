"""Sums of pixels by tables in registers, against integer products."""

import numpy as np
import pytest

from bnn.engines.pixels import group_sums, lit_groups
from bnn.machine.packing import pack_bits

pytestmark = pytest.mark.skipif(
    not lit_groups.AVAILABLE, reason="the processor has no AVX-512BW, which these tables take"
)


def centred(images: np.ndarray, signs: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """``4 A - 2 S`` of every image and neuron, and the segments of every image."""
    lit = lit_groups.lit_groups(images)
    codes = lit_groups.codes_of(pack_bits(signs), images.shape[1], lit.place, lit.groups)
    neurons = lit_groups.padded_neurons(len(signs))
    tables = np.empty(64 * lit.groups, np.int16)
    short, whole = np.empty(neurons, np.int16), np.empty(neurons, np.int32)
    rows, segments = [], []
    for image in range(len(images)):
        number, odd = group_sums.centred_sums(lit, image, codes, tables, short, whole)
        sums = short if number == 1 else whole
        rows.append(4 * sums[: len(signs)].astype(np.int64) - 2 * odd)
        segments.append(number)
    return np.array(rows), segments


@pytest.mark.parametrize(("columns", "neurons"), [(1, 1), (6, 64), (7, 65), (200, 256), (613, 333)])
def test_sums_are_those_of_a_product(columns: int, neurons: int) -> None:
    rng = np.random.default_rng(columns)
    images = rng.integers(0, 256, (9, columns)).astype(np.uint8)
    images[rng.random(images.shape) < 0.5] = 0
    images[0], images[1] = 0, 255
    signs = rng.random((neurons, columns)) < 0.5
    signs[0] = True
    found, _ = centred(images, signs)
    # 2 * sum of weight * pixel
    expected = 2 * images.astype(np.int64) @ np.where(signs, 1, -1).T
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("light", [65534, 65535, 65536, 2 * 65534 + 1])
def test_light_at_the_edge_of_a_segment(light: int) -> None:
    columns = 600
    image = np.zeros(columns, np.uint8)
    image[: light // 255] = 255
    image[light // 255] = light % 255
    signs = np.array([np.ones(columns), np.zeros(columns), np.arange(columns) % 2]) > 0
    found, segments = centred(image[None], signs)
    expected = 2 * image.astype(np.int64) @ np.where(signs, 1, -1).T
    np.testing.assert_array_equal(found[0], expected)
    # a group joins a segment as a whole
    assert segments[0] == (1 if light <= 65534 else 2 if light <= 65536 else 3)


def test_columns_that_are_lit_together_share_a_group() -> None:
    rng = np.random.default_rng(2)
    kind = rng.integers(0, 10, 60)
    images = np.zeros((200, 60), np.uint8)
    for row in images:
        row[kind == rng.integers(0, 10)] = 9
    lit = lit_groups.lit_groups(images)
    naive = (images.reshape(200, 10, 6) > 0).any(axis=2).sum()
    assert len(lit.group) < 0.5 * naive
    assert sorted(lit.place.tolist()) == list(range(60))


def grouped_by_matrix(images: np.ndarray) -> list[int]:
    """The same groups from the similarity of all pairs of columns, which takes a matrix of them."""
    lit = (images > 0).astype(np.int64)
    together, often = lit.T @ lit, lit.sum(axis=0)
    left = np.ones(len(often), np.bool_)
    order: list[int] = []
    while left.any():
        column = int(np.argmax(np.where(left, often, -1)))
        left[column] = False
        either = np.maximum(often + often[column] - together[column], 1)
        alike = np.where(left, together[column] / either, -1.0)
        others = np.argsort(-alike, kind="stable")[: min(5, int(left.sum()))]
        left[others] = False
        order += [column, *others.tolist()]
    return order


@pytest.mark.parametrize("images", [1, 3, 64, 200])
@pytest.mark.parametrize("columns", [1, 5, 6, 7, 90])
@pytest.mark.parametrize("kind", ["dark", "all lit", "uneven", "in threes"])
def test_groups_are_those_of_all_pairs(images: int, columns: int, kind: str) -> None:
    rng = np.random.default_rng(images * columns)
    share = {"dark": 0.0, "all lit": 1.0}.get(kind, rng.random(columns) ** 2)
    made = (rng.random((images, columns)) < share).astype(np.uint8) * np.uint8(7)
    if kind == "in threes":
        made = made[:, np.arange(columns) // 3]
    assert lit_groups._grouped_columns(made).tolist() == grouped_by_matrix(made)


def test_few_columns_looked_at_still_make_groups_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lit_groups, "_LOOKED_AT", 3)
    monkeypatch.setattr(lit_groups, "_PACKED_AT_ONCE", 7)
    rng = np.random.default_rng(4)
    images = rng.integers(0, 256, (9, 100)).astype(np.uint8)
    images[rng.random(images.shape) < 0.5] = 0
    assert sorted(lit_groups._grouped_columns(images).tolist()) == list(range(100))
    signs = rng.random((70, 100)) < 0.5
    found, _ = centred(images, signs)
    np.testing.assert_array_equal(found, 2 * images.astype(np.int64) @ np.where(signs, 1, -1).T)


def test_more_groups_than_16_bits_number() -> None:
    """The brightest pixels come first, so the last group is the one that is not counted in 16."""
    columns = 6 * (2**16 + 1)
    images = np.zeros((1, columns), np.uint8)
    images[0, [5, 77, columns - 1]] = 1, 2, 3
    lit = lit_groups.lit_groups(np.concatenate([images, 255 * np.ones_like(images)]))
    assert lit.first.tolist() == [0, len(set(lit.place[[5, 77, -1]] // 6)), 2**16 + 2]
    assert lit.group[-1] == 2**16


def test_flipped_codes_are_those_of_flipped_weights() -> None:
    rng = np.random.default_rng(3)
    rows, columns = 70, 50
    signs = rng.random((rows, columns)) < 0.5
    lit = lit_groups.lit_groups(rng.integers(0, 256, (5, columns)).astype(np.uint8))
    flips = np.sort(rng.choice(rows * columns, 400, replace=False))
    turned = signs.copy()
    turned.reshape(-1)[flips] ^= True
    codes = lit_groups.codes_of(pack_bits(signs), columns, lit.place, lit.groups)
    total = np.where(signs, 1, -1).sum(axis=1)
    for start, stop in ((0, 150), (150, 150), (150, 400)):
        neurons = lit_groups.padded_neurons(rows)
        lit_groups.flip_codes(codes, lit.place, columns, neurons, flips, total, start, stop)
    expected = lit_groups.codes_of(pack_bits(turned), columns, lit.place, lit.groups)
    np.testing.assert_array_equal(codes, expected)
    np.testing.assert_array_equal(total, np.where(turned, 1, -1).sum(axis=1))
