"""Bounds on the changes an image tolerates, against the worst that could happen to it."""

import numpy as np
import pytest

from bnn.engines.incremental.certainty import MOST_NEURONS, MOST_OUTPUT_FLIPS, MOST_STEPS, certainty
from bnn.machine.packing import pack_bits
from bnn.networks.network import OutputLayer, layer_signs

IMAGES, NEURONS, CLASSES = 40, 70, 5


def layer_and_inputs(seed: int) -> tuple[OutputLayer, np.ndarray, np.ndarray]:
    """Output layer, hidden signs and ``q`` of them; ties of scores occur."""
    rng = np.random.default_rng(seed)
    output = OutputLayer(
        name="output",
        columns=NEURONS,
        weights=pack_bits(rng.random((CLASSES, NEURONS)) < 0.5),
        scale=rng.choice(np.array([0.0, -0.5, 0.25, 1.0]), CLASSES),
        shift=rng.integers(-2, 3, CLASSES).astype(float),
    )
    q = np.round(rng.normal(0, 20, (IMAGES, NEURONS))).astype(np.int64)
    return output, np.where(q >= 0, 1, -1), q


@pytest.mark.parametrize("seed", range(6))
def test_what_is_called_certain_is_just_what_cannot_change(seed: int) -> None:
    output, hidden, q = layer_and_inputs(seed)
    contributions = layer_signs(output) * output.scale[:, None]
    scores = hidden @ contributions.T + output.shift
    answers = scores.argmax(axis=1)
    ceiling = np.zeros((IMAGES, 128), np.int8)
    ceiling[:, :NEURONS] = np.clip(~q, -128, 127)
    found = certainty(
        output, pack_bits(hidden > 0), ceiling.reshape(-1), answers, images=64, threads=2
    )
    assert (found.steps[:, IMAGES:] == 127).all()
    sharp = 0
    for image in range(IMAGES):
        answer = int(answers[image])
        level = np.where(q[image] >= 0, q[image] + 1, -q[image])
        rivals = [r for r in range(CLASSES) if r != answer]
        # what each neuron takes from the lead over a rival when it changes, if it does
        losses = {
            r: 2 * np.maximum(0, hidden[image] * (contributions[answer] - contributions[r]))
            for r in rivals
        }
        for flips in (0, 1, 2, MOST_OUTPUT_FLIPS):
            steps, neurons = (int(bound[flips, image]) for bound in found)
            assert -1 <= steps <= MOST_STEPS
            assert -1 <= neurons <= MOST_NEURONS
            # the lead that is left when as many weights of both classes are wrong as may be
            lead = {
                r: scores[image, answer]
                - scores[image, r]
                - 2 * flips * (abs(output.scale[answer]) + abs(output.scale[r]))
                for r in rivals
            }
            # no change at all is always tolerated
            if steps > 0 or flips > 0:
                for r in rivals:
                    assert steps < 0 or losses[r][level <= steps].sum() < lead[r]
                    assert neurons < 0 or np.sort(losses[r])[::-1][:neurons].sum() < lead[r]
            overtaken = any(losses[r][level <= steps + 1].sum() >= lead[r] - 1e-6 for r in rivals)
            sharp += steps == MOST_STEPS or overtaken
    assert sharp == 4 * IMAGES


def test_a_layer_whose_margins_are_unknown_has_no_steps() -> None:
    output, hidden, _ = layer_and_inputs(0)
    answers = np.zeros(IMAGES, np.int64)
    found = certainty(
        output, pack_bits(hidden > 0), np.empty(0, np.int8), answers, images=IMAGES, threads=1
    )
    # without any change there is nothing to tolerate
    assert (found.steps[0] == 0).all()
    assert (found.steps[1:] == -1).all()
