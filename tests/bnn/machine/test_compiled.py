"""Stored machine code of the networks follows its sources."""

from collections.abc import Callable
from pathlib import Path

import bnn.machine.compiled
import devicefit.numerics.compiled

MISREAD = """
import numpy as np
from bnn.errors.flips import MEAN_GAPS
from bnn.engines.misread.kernels import read_pixels
z = np.zeros((1, 4), np.int32)
weights, none, word = np.zeros((4, 1), np.uint64), np.empty(0, np.int64), np.uint64(7)
read_pixels(z, np.arange(1, 51, dtype=np.uint8)[None], 50, weights, none, 0.1, MEAN_GAPS,
    np.zeros(1, np.int64), word, word, word, word, word)
print((z[0] * [1, 100, 10**4, 10**6]).sum())
"""


def test_misread_pixels_follow_the_generator_of_random_numbers(
    edit_is_seen: Callable[..., tuple[float, float]],
) -> None:
    """From the reader over the drawing of wrong bits to the generator: two imports."""
    before, after = edit_is_seen(
        MISREAD,
        file="bnn/machine/counter_random.py",
        old="k0 += _WEYL_0\n",
        new="k0 += _WEYL_1\n",
        compiled={"kernels", "flips", "counter_random"},
    )
    assert after != before


def test_both_packages_compile_in_the_same_way() -> None:
    """The two know nothing of each other, so the file is there twice."""
    ours, theirs = bnn.machine.compiled.__file__, devicefit.numerics.compiled.__file__
    assert Path(ours).read_bytes() == Path(theirs).read_bytes()
