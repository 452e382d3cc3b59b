"""Counting how often a network with wrong weights answers right: rates, errors, positions."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Unpack

import numpy as np
import numpy.typing as npt
import xarray as xr

from bnn.engines.misread.reader import READING
from bnn.errors.chips import draw_chip
from bnn.errors.errors import Errors, check_ber, chip_flips
from bnn.evaluation.counting import (
    HowToCount,
    Work,
    WrongBits,
    count_answers,
    evaluation_bytes,
    images_at_once,
)
from bnn.evaluation.counts import combine
from bnn.networks.network import FoldedNetwork, check_layer_names, check_positions

__all__ = [
    "combine",
    "evaluate",
    "evaluate_errors",
    "evaluate_positions",
    "evaluation_bytes",
    "images_at_once",
]


def evaluate(
    network: FoldedNetwork,
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int64],
    *,
    ber: Sequence[float],
    seed: int,
    protected: frozenset[str] = frozenset(),
    **how: Unpack[HowToCount],
) -> xr.Dataset:
    """Count right answers for every bit error rate and chip.

    A chip is one persistent error pattern, used for all images. The chips are nested: the wrong
    bits at one rate are also wrong at every higher rate, and chip number `k` is the same whatever
    the other rates, the number of chips, the engine or the threads.

    Parameters
    ----------
    network : FoldedNetwork
        Network without errors.
    images : uint8 array, shape (images, pixels)
        Images.
    labels : int64 array, shape (images,)
        Right answers.
    ber : sequence of float
        Bit error rates 0..1, strictly increasing.
    seed : int
        Seed of the family of chips.
    protected : frozenset of str
        Layers whose weights stay exact. Thresholds and the affine output are always exact.
    **how
        Chips, engine, threads, memory, part of the images, progress: those of
        :class:`bnn.evaluation.counting.HowToCount`.

    Returns
    -------
    xarray.Dataset
        Dims ``ber, chip``; int64 variables ``correct``, ``changed``, ``lost``, ``gained`` (images)
        and ``flips`` (bits), so that ``correct = error_free_correct - lost + gained``. Attributes:
        ``images``, ``error_free_correct``, ``images_sha256`` (over images and labels), ``seed``,
        ``weights`` (bits exposed to errors), ``protected`` (names, joined by commas) and
        ``network_sha256``. Of a part of the images also ``image_ranges``, ``image_order_seed`` and
        ``image_set`` (images of the whole set, over which the hash goes). With `by_image` the
        variables ``lost_of_image`` and ``gained_of_image``, dims ``ber, image``.

    Raises
    ------
    ValueError
        Rates not increasing or out of range, no chips, unknown layer or engine, or images, labels
        and network that do not fit together.
    """
    rates = checked_rates(ber, protected)
    check_layer_names(network, protected, argument="protected")
    exposed = {
        name: (index, bits)
        for index, (name, bits) in enumerate(network.weight_bits.items())
        if name not in protected
    }
    work = Work(network, images, labels, **how)

    def flips_of(chip: int) -> Iterator[WrongBits]:
        # one draw at the highest rate holds all lower ones
        drawn = {
            name: chip_flips(
                bits=bits, ber=rates[-1], seed=seed, chip=chip, layer=index, threads=work.workers
            )
            for name, (index, bits) in exposed.items()
        }
        for rate in rates:
            yield {name: places[levels < rate] for name, (places, levels) in drawn.items()}

    return count_answers(
        work,
        flips_of,
        {"ber": xr.Variable("ber", np.array(rates), {"units": "1", "long_name": "bit error rate"})},
        {
            "seed": seed,
            "weights": sum(bits for _, bits in exposed.values()),
            "protected": ",".join(sorted(protected)),
        },
    )


def evaluate_errors(
    network: FoldedNetwork,
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int64],
    *,
    errors: Sequence[Errors],
    seed: int,
    **how: Unpack[HowToCount],
) -> xr.Dataset:
    """Count right answers for any errors and every chip.

    Read errors (`bnn.TransientFlips`) are new for each image: one image is one read of every
    weight, and its errors depend on the seed, the chip and the number of the image in the set.

    Parameters
    ----------
    network, images, labels, seed, **how
        As of :func:`evaluate`.
    errors : sequence of Errors
        Cases. Chips are nested: where the rates of one case exceed those of another, its wrong
        cells are among the wrong cells of the other with the same chip number.

    Returns
    -------
    xarray.Dataset
        As of :func:`evaluate`, with the dim ``case`` in place of ``ber``; the attribute ``errors``
        is what the cases are, ``weights`` all weight bits, and ``reading`` how read errors were
        drawn where there are any. ``flips`` are the bits that persistent errors make wrong.

    Raises
    ------
    ValueError
        No errors, an unknown layer, or as of :func:`evaluate`.

    Notes
    -----
    Cases with read errors are computed by :mod:`bnn.engines.misread.reader` whichever engine is
    chosen.
    """
    if not errors:
        raise ValueError("errors must hold at least one case")
    for index, case in enumerate(errors):
        check_layer_names(network, case.layer_names(), argument=f"errors[{index}]")
    read = {"reading": READING} if any(case.transient for case in errors) else {}

    def flips_of(chip: int) -> Iterator[WrongBits]:
        for case in errors:
            yield draw_chip(network, case, seed=seed, chip=chip).positions

    return count_answers(
        Work(network, images, labels, **how),
        flips_of,
        {"case": xr.Variable("case", np.arange(len(errors)))},
        {
            "seed": seed,
            "weights": sum(network.weight_bits.values()),
            "errors": repr(tuple(case.record() for case in errors)),
            **read,
        },
        [case if case.transient else None for case in errors],
    )


def evaluate_positions(
    network: FoldedNetwork,
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int64],
    *,
    positions: Callable[[int], Iterable[WrongBits]],
    cases: xr.Variable,
    identity: Mapping[str, str | int | float],
    **how: Unpack[HowToCount],
) -> xr.Dataset:
    """Count right answers of chips whose wrong bits come from elsewhere.

    Parameters
    ----------
    network, images, labels, **how
        As of :func:`evaluate`.
    positions : callable
        From the number of a chip to its wrong bits in each of the `cases`, in order: mappings of
        layer name to int64 positions ``row * columns + column``, strictly increasing. A layer that
        is not named is exact. Must give the same chip whenever it is asked: with little `memory` it
        is asked again for each part of the images.
    cases : xarray.Variable
        Values of the cases, one dim whose name is that of the cases.
    identity : mapping of str to str, int or float
        What determines the chips, so that unlike records are not added.

    Returns
    -------
    xarray.Dataset
        As of :func:`evaluate`, with the dim of the cases in place of ``ber``; `identity` among the
        attributes, ``weights`` all weight bits.

    Raises
    ------
    ValueError
        Positions that are no bits of the network, another number of cases, an identity that is
        empty or takes a name that is used, or as of :func:`evaluate`.
    """
    if len(cases.dims) != 1 or cases.dims[0] in ("chip", "image") or not len(cases):
        raise ValueError(
            f"cases must have one dim, not called 'chip' or 'image', and a value; got {cases.dims} "
            f"with the shape {cases.shape}"
        )
    used = {"images", "error_free_correct", "images_sha256", "weights", "network_sha256"}
    if not identity or used & set(identity):
        raise ValueError(
            f"identity must say what determines the chips, in other words than "
            f"{', '.join(sorted(used))}; got {dict(identity)}"
        )

    def flips_of(chip: int) -> Iterator[WrongBits]:
        found = list(positions(chip))
        if len(found) != len(cases):
            raise ValueError(
                f"positions gave {len(found)} cases for chip {chip}, there are {len(cases)}"
            )
        for wrong in found:
            check_positions(network, wrong, argument="positions")
            yield wrong

    return count_answers(
        Work(network, images, labels, **how),
        flips_of,
        {str(cases.dims[0]): cases},
        {"weights": sum(network.weight_bits.values()), **identity},
    )


def checked_rates(ber: Sequence[float], protected: frozenset[str]) -> list[float]:
    """Rates as floats; ValueError unless they increase strictly within 0..1."""
    Errors(protected=protected)  # checks the names
    rates = [float(rate) for rate in ber]
    for rate in rates:
        check_ber(rate)
    if not rates:
        raise ValueError("ber must hold at least one bit error rate")
    for index in range(1, len(rates)):
        if rates[index] <= rates[index - 1]:
            raise ValueError(
                f"ber must be strictly increasing, got {rates[index]} after {rates[index - 1]} at "
                f"index {index}; sort the rates and drop duplicates"
            )
    return rates
