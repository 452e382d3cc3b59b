"""How many bits errors should make wrong: what was asked for, to compare with what was drawn."""

from bnn.errors.errors import Errors, Flips, LineFaults, Persistent, StuckAt
from bnn.networks.network import FoldedNetwork, Layer, layer_signs


def expected_wrong_share(network: FoldedNetwork, errors: Errors) -> float:
    """Expected share of all weight bits that persistent errors make wrong on a chip.

    Parameters
    ----------
    network : FoldedNetwork
        Network without errors; its stored zeros and ones count.
    errors : Errors
        Their transient part is left out.

    Returns
    -------
    float
        0..1. An error that comes later acts on the cells that those before leave.
    """
    wrong = sum(_expected(layer, errors.on_layer(layer.name)) for layer in network.layers)
    return wrong / sum(network.weight_bits.values())


def _expected(layer: Layer, errors: tuple[Persistent, ...]) -> float:
    """Expected wrong bits of one layer."""
    bits = len(layer.weights) * layer.columns
    ones = int((layer_signs(layer) > 0).sum())
    total = 0.0
    for stored, cells in ((0, bits - ones), (1, ones)):
        left = 1.0
        for error in errors:
            affected, share = _shares(error, stored, left)
            total += cells * share
            left -= affected
    return total


def _shares(error: Persistent, stored: int, left: float) -> tuple[float, float]:
    """Probabilities that a cell is affected, and that it is wrong; `left` of them are in reach."""
    if isinstance(error, Flips):
        rate = left * (error.one_to_zero if stored else error.zero_to_one)
        return rate, rate
    if isinstance(error, LineFaults):
        rate = left * error.rate * error.density
        return rate, rate if error.stuck in (None, 1 - stored) else 0.0
    assert isinstance(error, StuckAt)
    # an exact number of cells is meant of all cells, and found among those that are left
    reach = 1.0 if error.exact else left
    return reach * (error.zero + error.one), reach * (error.zero if stored else error.one)
