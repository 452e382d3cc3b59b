"""Chips drawn from the posterior of a device: which of their weight bits are wrong, decoded.

One draw of the device is the truth of a chip. Its cells lie on one array (or on a few), which sets
the rates at which stored zeros and stored ones are misread; given these, cells are independent.
Wrong bits are therefore drawn by their rates, at a cost that grows with how many there are, and a
code is then decoded word by word, because what it leaves comes in words.
:mod:`reliability.networks.direct_route` draws the resistance of every cell instead; it is the slow
reference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from bnn.errors.flips import nested_levels
from bnn.evaluation.evaluation import evaluate_positions
from bnn.machine.counter_random import Stream, StreamKey
from bnn.networks.network import FoldedNetwork, layer_signs
from devicefit.numerics.arrays import FloatArray
from reliability.chips.arrays import ChipArrays
from reliability.chips.rates import ChipRates
from reliability.networks.direct_route import posterior_draw, scrambling
from reliability.plans.codes import SECDED_72_64, Code, hsiao_columns
from reliability.plans.decoders import after_decoding
from reliability.plans.storage import Storage

Positions = NDArray[np.int64]
Bits = NDArray[np.bool_]

_ONE, _NO_CELL = 1, 2


@dataclass(frozen=True)
class StoredLayer:
    """The cells of one layer.

    Parameters
    ----------
    bits : int
        Weight bits.
    kind : uint8 array, shape (words * n,)
        What each place of the code words stores: 0, 1, or 2 for places that a shortened last word
        does not have.
    """

    bits: int
    kind: NDArray[np.uint8]


@dataclass(frozen=True)
class StoredNetwork:
    """A network as it is written into cells.

    Parameters
    ----------
    code : Code
        What corrects its bits; each layer begins with a word of its own, whose data bits are
        neighbours in a neuron.
    layers : dict of str to StoredLayer
        By name, in the order of the network; protected layers have no cells.
    """

    code: Code
    layers: dict[str, StoredLayer]

    @classmethod
    def of(
        cls,
        network: FoldedNetwork,
        storage: Storage,
        *,
        protected: frozenset[str] = frozenset(),
    ) -> StoredNetwork:
        """Lay the weights of a network into words.

        Parity bits of SECDED(72,64) are those of its data. Those of another code are taken as
        zeros and ones by an even coin, fixed for all chips: which state a parity bit is in depends
        on the data and is as good as random.
        """
        layers = {}
        for index, layer in enumerate(network.layers):
            if layer.name in protected:
                continue
            data = (layer_signs(layer) > 0).reshape(-1)
            if storage.scrambled:
                data = data ^ scrambling(index, len(data))
            layers[layer.name] = StoredLayer(len(data), _words_of(data, storage.code, index))
        return cls(storage.code, layers)

    def wrong_bits(
        self,
        rates: FloatArray,
        *,
        seed: int,
        chip: int,
        order: Mapping[str, int],
    ) -> list[dict[str, Positions]]:
        """Weight bits of one chip that are wrong after decoding, at several programming values.

        Parameters
        ----------
        rates : float array, shape (part, x, 2)
            Rates of stored zeros and ones of the arrays of the chip. The words of the network are
            shared out to them in equal runs.
        seed, chip : int
            Seed of the family of chips, and number of the chip.
        order : mapping of str to int
            Number of each layer in the network, whose random numbers it has.

        Returns
        -------
        list of dict of str to int64 array, shape (wrong bits,)
            For each programming value ``row * columns + column`` by layer, strictly increasing.
            Cells have one level each: at weaker programming the same cells fail and more.
        """
        found: list[dict[str, Positions]] = [{} for _ in range(rates.shape[1])]
        words = sum(len(layer.kind) for layer in self.layers.values()) // self.code.n
        before = 0
        for name, layer in self.layers.items():
            cells, levels = nested_levels(
                bits=len(layer.kind),
                ber=float(rates.max()),
                key=StreamKey(seed, chip, order[name], Stream.FLIPS),
            )
            word = cells // self.code.n
            part = ((before + word) * len(rates)) // words
            kind = layer.kind[cells]
            for x, wrong in enumerate(found):
                of_kind = np.column_stack([rates[:, x], np.zeros(len(rates))])
                misread = cells[levels < of_kind[part, kind]]
                wrong[name] = _decoded(misread, self.code, layer.bits)
            before += len(layer.kind) // self.code.n
        return found


def _words_of(data: Bits, code: Code, layer: int) -> NDArray[np.uint8]:
    """What every place of the words of a layer stores."""
    words = -(-len(data) // code.k)
    flat = np.full(words * code.k, _NO_CELL, dtype=np.uint8)
    flat[: len(data)] = data
    if code.n == code.k:
        return flat
    padded = flat.reshape(words, code.k)
    if code == SECDED_72_64:
        # parity bit j is the sum of the data bits whose column has bit j
        columns = hsiao_columns()
        checks = (columns[: code.k, None] >> np.arange(code.n - code.k)) & 1
        parity = ((padded == _ONE).astype(np.int64) @ checks) & 1
    else:
        coin = scrambling(layer, words * code.n)[: words * (code.n - code.k)]
        parity = coin.reshape(words, -1)
    return np.concatenate([padded, parity.astype(np.uint8)], axis=1).reshape(-1)


def _decoded(misread: Positions, code: Code, bits: int) -> Positions:
    """Data bits that are wrong after decoding, from the misread places of the words."""
    if code.n == code.k:
        return misread
    word, place = np.divmod(misread, code.n)
    touched, row, count = np.unique(word, return_inverse=True, return_counts=True)
    # up to `corrects` wrong bits leave nothing
    kept = count > code.corrects
    index = np.cumsum(kept) - 1
    here = kept[row]
    wrong = np.zeros((int(kept.sum()), code.n), dtype=bool)
    wrong[index[row[here]], place[here]] = True
    left = after_decoding(code, wrong)[:, : code.k]
    rows, columns = np.nonzero(left)
    at = touched[kept][rows] * code.k + columns
    return np.asarray(at[at < bits], dtype=np.int64)


def count_chips(
    network: FoldedNetwork,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    *,
    stored: StoredNetwork,
    rates: ChipRates,
    chips: int,
    seed: int,
    arrays: ChipArrays,
    **options: Any,
) -> xr.Dataset:
    """Count right answers of chips drawn from the posterior.

    Parameters
    ----------
    network, images, labels, chips, seed
        As of :func:`bnn.evaluate`.
    stored : StoredNetwork
        The network in its cells.
    rates : ChipRates
        Rates of the device at several programming values. A chip has the same draw of the device,
        the same arrays and matched cells at all of them.
    arrays : ChipArrays
        Which of the arrays of the rates a chip lies on.
    **options
        ``first_chip``, ``engine``, ``threads``, ``memory`` and ``progress`` of
        `bnn.evaluate_positions`.

    Returns
    -------
    xarray.Dataset
        As of :func:`bnn.evaluate_positions`, dims ``programming, chip``.

    Raises
    ------
    ValueError
        Rates of other arrays, or as of `bnn.evaluate_positions`.
    """
    draws, of_rates = rates.values.shape[:2]
    if of_rates != arrays.in_rates:
        on = f"{arrays.in_rates} new ones" if arrays.new else ", ".join(arrays.names)
        raise ValueError(f"rates of {of_rates} arrays for chips on {on}")
    order = {name: index for index, name in enumerate(network.layer_names)}

    def positions(chip: int) -> Iterator[Mapping[str, Positions]]:
        draw = posterior_draw(draws, seed=seed, chip=chip)
        here = rates.values[draw, arrays.of(seed, chip)]
        yield from stored.wrong_bits(here, seed=seed, chip=chip, order=order)

    return evaluate_positions(
        network,
        images,
        labels,
        positions=positions,
        cases=xr.Variable("programming", rates.programming),
        identity={"seed": seed, "route": "chips drawn from the posterior"},
        chips=chips,
        **options,
    )
