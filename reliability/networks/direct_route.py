"""The direct route: chips whose wrong bits are read off resistances drawn from the device.

Elsewhere a chip has independent wrong bits at a rate. Here every cell gets a resistance from one
draw of the device posterior and is sensed, and the bits that come out are used: unequal errors of
zeros and ones, and the uncertainty of the device, are in the chips themselves.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from bnn.evaluation.evaluation import evaluate_positions
from bnn.machine.counter_random import Stream, StreamKey, generator_of, uniforms_at
from bnn.networks.network import FoldedNetwork, check_layer_names, layer_signs
from devicefit.distributions.sensing import SensingOptions
from devicefit.fitting.cells import CellReader, cell_reader
from devicefit.fitting.fitted import Fitted

Positions = NDArray[np.int64]


@dataclass(frozen=True)
class ProgrammedCells:
    """Cells of a device that store weights: how they are programmed and read.

    Parameters
    ----------
    device : Fitted
        Fitted family or stack.
    programming : sequence of float
        Programming values, SI. A chip has the same posterior draw and matched cells at all.
    scheme : {"1T1R", "2T2R"}
        How bits are read.
    sensing : SensingOptions
        Threshold and offset. A threshold that is not given is chosen as for the BER curves: before
        the chip is known, one for all draws.
    one_is : {"LRS", "HRS"}, optional
        State that stores the weight +1.
    scrambled : bool, optional
        Store about half of the weights inverted, by a known mask (:func:`scrambling`).
    protected : frozenset of str, optional
        Layers whose weights stay exact.
    """

    device: Fitted
    programming: Sequence[float]
    scheme: str
    sensing: SensingOptions
    one_is: str = "LRS"
    scrambled: bool = False
    protected: frozenset[str] = frozenset()

    def readers(self) -> list[CellReader]:
        """Readers at the programming values, in their order.

        Raises
        ------
        ValueError
            No value or one twice, or as of :func:`devicefit.fitting.cells.cell_reader`.
        """
        values = list(self.programming)
        if not values:
            raise ValueError("programming holds no value; give at least one")
        twice = sorted({x for x in values if values.count(x) > 1})
        if twice:
            raise ValueError(f"programming holds {twice[0]} more than once; drop duplicates")
        how = partial(cell_reader, scheme=self.scheme, options=self.sensing, one_is=self.one_is)
        return [how(self.device, float(x)) for x in values]


def posterior_draw(draws: int, *, seed: int, chip: int) -> int:
    """Posterior draw that is the truth for a chip: each of `draws` equally likely."""
    key = StreamKey(seed, chip, 0, Stream.POSTERIOR_DRAW)
    return int(uniforms_at(key, np.zeros(1, np.int64))[0] * draws)


def scrambling(layer: int, bits: int) -> NDArray[np.bool_]:
    """Which bits of a layer are stored inverted: one mask for all chips and networks."""
    key = StreamKey(0, 0, layer, Stream.SCRAMBLING)
    return np.asarray(uniforms_at(key, np.arange(bits)) < 0.5)


def wrong_positions(
    network: FoldedNetwork,
    reader: CellReader,
    *,
    seed: int,
    chip: int,
    draw: int | None = None,
    scrambled: bool = False,
    protected: Collection[str] = (),
) -> dict[str, Positions]:
    """Wrong bits of one chip.

    Parameters
    ----------
    network : FoldedNetwork
        Network without errors; its weights are the stored bits.
    reader : CellReader
        Device at one programming value.
    seed : int
        Seed of the family of chips, 0..2**128-1.
    chip : int
        Number of the chip, from 0.
    draw : int, optional
        Posterior draw; that of :func:`posterior_draw` when left out.
    scrambled : bool, optional
        Whether weights are stored as :func:`scrambling` says.
    protected : collection of str, optional
        Layers whose weights stay exact.

    Returns
    -------
    dict of str to int64 array, shape (wrong bits,)
        ``row * columns + column`` for each layer, strictly increasing.

    Notes
    -----
    Random numbers belong to (seed, chip, layer): the same chip in any order of work, and matched
    cells at several programming values.
    """
    if draw is None:
        draw = posterior_draw(reader.draws, seed=seed, chip=chip)
    found = {}
    for index, layer in enumerate(network.layers):
        if layer.name in protected:
            continue
        rng = generator_of(StreamKey(seed, chip, index, Stream.RESISTANCES))
        bits = (layer_signs(layer) > 0).reshape(-1)
        if scrambled:
            # what is inverted is put right after reading, so the same bits are wrong
            bits = bits ^ scrambling(index, len(bits))
        found[layer.name] = np.flatnonzero(reader.wrong(bits, draw=draw, rng=rng))
    return found


def evaluate_direct(
    network: FoldedNetwork,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    *,
    cells: ProgrammedCells,
    chips: int,
    seed: int,
    draw: int | None = None,
    **options: Any,
) -> xr.Dataset:
    """Count right answers of chips programmed with this device.

    Parameters
    ----------
    network, images, labels, chips, seed
        As of :func:`bnn.evaluate`.
    cells : ProgrammedCells
        What stores the weights.
    draw : int, optional
        Use this posterior draw for all chips.
    **options
        ``first_chip``, ``engine``, ``threads``, ``memory``, ``part``, ``by_image``, ``timed`` and
        ``progress`` of :func:`bnn.evaluate`.

    Returns
    -------
    xarray.Dataset
        As of :func:`bnn.evaluate`, with the dim ``programming`` in place of ``ber``, and the
        coordinates ``posterior_draw`` of the chips, ``extrapolated`` (outside the measured range)
        and ``threshold_ohm`` (1T1R) of the programming values. Attributes say what the chips
        depend on.

    Raises
    ------
    ValueError
        As of :meth:`ProgrammedCells.readers` and :func:`bnn.evaluate_positions`, or a draw or
        protected layer that is not there.
    """
    readers = cells.readers()
    first, draws = int(options.get("first_chip", 0)), readers[0].draws
    if draw is not None and not 0 <= draw < draws:
        raise ValueError(f"draw is {draw}; there are the posterior draws 0..{draws - 1}")
    check_layer_names(network, cells.protected, argument="protected")

    def positions(chip: int) -> Iterator[Mapping[str, Positions]]:
        how: dict[str, Any] = {"scrambled": cells.scrambled, "protected": cells.protected}
        for reader in readers:
            yield wrong_positions(network, reader, seed=seed, chip=chip, draw=draw, **how)

    frame = cells.device.frame
    values = [reader.programming for reader in readers]
    axis = {"units": frame.programming.unit, "long_name": frame.programming.name}
    counts = evaluate_positions(
        network,
        images,
        labels,
        positions=positions,
        cases=xr.Variable("programming", values, axis),
        identity={
            "seed": seed,
            "route": "direct: sensed resistances",
            "scheme": cells.scheme,
            "one_is": cells.one_is,
            "device_family": cells.device.family,
            "cells_sha256": ",".join(reader.sha256 for reader in readers),
            "draw": "of each chip" if draw is None else int(draw),
            **({"scrambled": "mask 1"} if cells.scrambled else {}),
            "protected": ",".join(sorted(cells.protected)),
        },
        chips=chips,
        **options,
    )
    numbers = range(first, first + chips)
    of_chip = [posterior_draw(draws, seed=seed, chip=k) if draw is None else draw for k in numbers]
    limits = [np.exp(r.threshold_ln_r) for r in readers if r.threshold_ln_r is not None]
    of_read: dict[str, Any] = {}
    if limits:
        of_read["threshold_ohm"] = ("programming", limits, {"units": "ohm"})
    return counts.assign_coords(
        posterior_draw=("chip", np.array(of_chip, dtype=np.int64)),
        extrapolated=("programming", frame.extrapolated(counts["programming"].values)),
        **of_read,
    )
