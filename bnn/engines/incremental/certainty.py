"""Answers that cannot change, whatever the exact changes are.

The answer of an image stays while no other class can overtake it. With ``s_a`` and ``s_b`` the
scores of its class and of another, a changed neuron of the last hidden layer lowers ``s_a - s_b``
by twice its contribution if that is positive, and a flipped output weight by at most twice its
scale. A neuron whose ``q`` would have to move by more than its changed inputs and flipped weights
cannot change. So few changes leave the answers of most images, and these need not be followed.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bnn.machine.aligned import aligned_empty
from bnn.machine.arrays import Longs, Small
from bnn.machine.compiled import njit
from bnn.machine.packing import Words
from bnn.machine.workers import in_threads
from bnn.networks.network import OutputLayer, layer_signs

MOST_STEPS = 63
"""Largest change of ``q`` that is looked at."""

MOST_NEURONS = 126
"""Largest number of changed neurons that is looked at; bytes count up to 127."""

MOST_OUTPUT_FLIPS = 15
"""Largest number of flipped weights of a class that is looked at."""

# Scores are rounded twice, relative to their size 1e-16; this is far above and costs nothing.
_ROUNDING = 1e-9

Floats = npt.NDArray[np.float64]


class Certainty(NamedTuple):
    """Up to where the answer of an image stays, for 0 to 15 flipped weights of each class.

    Attributes
    ----------
    steps : int8 array, shape (16, images)
        Largest number by which every ``q`` of the last hidden layer may move, -1 for none.
    neurons : int8 array, shape (16, images)
        Largest number of neurons of that layer that may change, -1 for none.
    """

    steps: Small
    neurons: Small


def certainty(
    output: OutputLayer, fired: Words, ceiling: Small, answers: Longs, *, images: int, threads: int
) -> Certainty:
    """Find out how many changes the images tolerate.

    Parameters
    ----------
    output : OutputLayer
        Output layer without errors.
    fired : uint64 array, shape (images, words)
        Its inputs.
    ceiling : int8 array, flat from (images, 64 * words)
        ``~q`` of the last hidden layer, cut to 8 bits; empty if it is not known, as where that
        layer reads pixels: `steps` are then -1.
    answers : int64 array, shape (images,)
        Error-free answers.
    images : int
        Images to make room for; those beyond the last tolerate everything.
    threads : int
        CPU threads.
    """
    shape = (MOST_OUTPUT_FLIPS + 1, images)
    found = Certainty(aligned_empty(shape, np.int8), aligned_empty(shape, np.int8))
    for bound in found:
        bound[:] = 127
    signs = np.ascontiguousarray(layer_signs(output).T)

    def work(start: int, stop: int) -> None:
        _bounds(
            fired, ceiling, signs, output.scale, output.shift, answers, found.steps, found.neurons,
            start, stop,
        )  # fmt: skip

    in_threads(work, len(answers), threads)
    return found


@njit
def _bounds(
    fired: Words,
    ceiling: Small,
    signs: Small,
    scale: Floats,
    shift: Floats,
    answers: Longs,
    steps: Small,
    neurons: Small,
    start: int,
    stop: int,
) -> None:  # pragma: no cover
    inputs, classes = signs.shape
    size = 64 * fired.shape[1]
    loss = np.empty((MOST_STEPS + 1, classes))
    scores, z = np.empty(classes), np.empty(classes, np.int64)
    for image in range(start, stop):
        loss[:] = 0.0
        z[:] = 0
        answer = answers[image]
        for j in range(inputs):
            sign = 1 if (fired[image, j // 64] >> np.uint64(j % 64)) & np.uint64(1) else -1
            for c in range(classes):
                z[c] += sign * signs[j, c]
            if ceiling.size == 0:
                continue
            q = ~np.int64(ceiling[image * size + j])
            level = int(max(q + 1, -q))
            if level > MOST_STEPS:
                continue
            own = sign * signs[j, answer] * scale[answer]
            for c in range(classes):
                loss[level, c] += 2.0 * max(0.0, own - sign * signs[j, c] * scale[c])
        largest = 0.0
        for c in range(classes):
            scores[c] = np.float64(z[c]) * scale[c] + shift[c]
            largest = max(largest, inputs * abs(scale[c]) + abs(shift[c]))
        for level in range(1, MOST_STEPS + 1):
            for c in range(classes):
                loss[level, c] += loss[level - 1, c]
        for flips in range(MOST_OUTPUT_FLIPS + 1):
            level, number = MOST_STEPS, MOST_NEURONS
            for c in range(classes):
                if c == answer:
                    continue
                most = 2.0 * (abs(scale[answer]) + abs(scale[c]))
                # strictly below: on a tie the lowest class answers
                spare = scores[answer] - scores[c] - flips * most - _ROUNDING * largest
                while level >= 0 and loss[level, c] >= spare:
                    level -= 1
                if most > 0.0:
                    number = min(number, int(np.ceil(max(spare, -most) / most)) - 1)
                elif spare <= 0.0:
                    number = -1
            # without any change there is nothing to tolerate
            least = 0 if flips == 0 else -1
            steps[flips, image] = max(level if ceiling.size > 0 else -1, least)
            neurons[flips, image] = max(number, least)
