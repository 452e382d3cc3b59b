"""Counting how often a network with wrong weights answers right."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from bnn.chips import draw_chip
from bnn.engines.engine import available_threads
from bnn.engines.runner import memory_bytes, start_runner
from bnn.errors import Errors, check_ber, chip_flips
from bnn.network import FoldedNetwork, check_layer_names, network_sha256

WrongBits = Mapping[str, npt.NDArray[np.int64]]

_BLOCK_IMAGES = 64
_COUNTS = {
    "correct": "right answers",
    "changed": "answers that differ from the error-free network",
    "lost": "answers right without errors, wrong with them",
    "gained": "answers wrong without errors, right with them",
    "flips": "wrong weight bits",
}


def evaluate(
    network: FoldedNetwork,
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int64],
    *,
    ber: Sequence[float],
    chips: int,
    seed: int,
    first_chip: int = 0,
    protected: frozenset[str] = frozenset(),
    engine: str = "auto",
    threads: int | None = None,
    memory: int | None = None,
    progress: Callable[[int, int], None] | None = None,
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
    chips : int
        Number of chips.
    seed : int
        Seed of the family of chips.
    first_chip : int
        Number of the first chip: chips can be added later and joined with `combine`.
    protected : frozenset of str
        Layers whose weights stay exact. Thresholds and the affine output are always exact.
    engine : str
        One of `bnn.engines.runner.RUNNERS`; the integers are the same.
    threads : int, optional
        CPU threads; all that this process may use if not given.
    memory : int, optional
        Bytes that an engine may take for its state; with less than it needs for all images they
        are taken in parts, one after the other, and the counts added.
    progress : callable, optional
        Called with (steps done, steps) after every chip; `chips` steps for each part of the images.

    Returns
    -------
    xarray.Dataset
        Dims ``ber, chip``; int64 variables ``correct``, ``changed``, ``lost``, ``gained`` (images)
        and ``flips`` (bits), so that ``correct = error_free_correct - lost + gained``. Attributes:
        ``images``, ``error_free_correct``, ``images_sha256`` (over images and labels), ``seed``,
        ``weights`` (bits exposed to errors), ``protected`` (names, joined by commas) and
        ``network_sha256``.

    Raises
    ------
    ValueError
        Rates not increasing or out of range, no chips, unknown layer or engine, or images, labels
        and network that do not fit together.
    """
    rates = _checked_rates(ber, protected)
    check_layer_names(network, protected, argument="protected")
    exposed = {
        name: (index, bits)
        for index, (name, bits) in enumerate(network.weight_bits.items())
        if name not in protected
    }

    workers = _workers(threads)

    def flips_of(chip: int) -> Iterator[WrongBits]:
        # one draw at the highest rate holds all lower ones
        drawn = {
            name: chip_flips(
                bits=bits, ber=rates[-1], seed=seed, chip=chip, layer=index, threads=workers
            )
            for name, (index, bits) in exposed.items()
        }
        for rate in rates:
            yield {name: places[levels < rate] for name, (places, levels) in drawn.items()}

    return _count(
        network,
        images,
        labels,
        flips_of,
        xr.Variable("ber", np.array(rates), {"units": "1", "long_name": "bit error rate"}),
        chips,
        first_chip,
        engine,
        workers,
        memory,
        progress,
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
    chips: int,
    seed: int,
    first_chip: int = 0,
    engine: str = "auto",
    threads: int | None = None,
    memory: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """Count right answers for any persistent errors and every chip.

    Parameters
    ----------
    network, images, labels, chips, seed, first_chip, engine, threads, memory, progress
        As of :func:`evaluate`.
    errors : sequence of Errors
        Cases. Chips are nested: where the rates of one case exceed those of another, its wrong
        cells are among the wrong cells of the other with the same chip number.

    Returns
    -------
    xarray.Dataset
        As of :func:`evaluate`, with the dim ``case`` in place of ``ber``; the attribute ``errors``
        is what the cases are, ``weights`` all weight bits.

    Raises
    ------
    ValueError
        No errors, transient ones, which last for one read only, or as of :func:`evaluate`.
    """
    if not errors:
        raise ValueError("errors must hold at least one case")
    for index, case in enumerate(errors):
        if case.transient:
            raise ValueError(
                f"errors[{index}] has transient errors, which differ from read to read; a chip has "
                "persistent errors only"
            )

    def flips_of(chip: int) -> Iterator[WrongBits]:
        for case in errors:
            yield draw_chip(network, case, seed=seed, chip=chip).positions

    return _count(
        network,
        images,
        labels,
        flips_of,
        xr.Variable("case", np.arange(len(errors))),
        chips,
        first_chip,
        engine,
        _workers(threads),
        memory,
        progress,
        {
            "seed": seed,
            "weights": sum(network.weight_bits.values()),
            "errors": repr(tuple(case.record() for case in errors)),
        },
    )


def _count(
    network: FoldedNetwork,
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int64],
    flips_of: Callable[[int], Iterator[WrongBits]],
    cases: xr.Variable,
    chips: int,
    first_chip: int,
    engine: str,
    threads: int,
    memory: int | None,
    progress: Callable[[int, int], None] | None,
    identity: dict[str, Any],
) -> xr.Dataset:
    """Counts of every case and chip; `identity` joins the attributes that all counts have."""
    _check_images(network, images, labels)
    for name, number, least in (("chips", chips, 1), ("first_chip", first_chip, 0)):
        if number < least:
            raise ValueError(f"{name} must be at least {least}, got {number}")
    if threads < 1:
        raise ValueError(f"threads must be at least 1, got {threads}")
    counts = {name: np.zeros((len(cases), chips), np.int64) for name in _COUNTS}
    error_free_correct = 0
    step = images_at_once(network, len(images), engine=engine, memory=memory)
    starts = range(0, len(images), step)
    for part, start in enumerate(starts):
        here = labels[start : start + step]
        runner = start_runner(engine, network, images[start : start + step], threads=threads)
        right = runner.error_free == here
        error_free_correct += int(right.sum())
        for k in range(chips):
            for j, flips in enumerate(flips_of(first_chip + k)):
                answers = runner.answers(flips)
                now_right = answers == here
                counts["correct"][j, k] += now_right.sum()
                counts["changed"][j, k] += (answers != runner.error_free).sum()
                counts["lost"][j, k] += (right & ~now_right).sum()
                counts["gained"][j, k] += (~right & now_right).sum()
                counts["flips"][j, k] = sum(len(places) for places in flips.values())
            if progress is not None:
                progress(part * chips + k + 1, chips * len(starts))
    dims = (*cases.dims, "chip")
    return xr.Dataset(
        {
            name: (dims, values, {"units": "1", "long_name": _COUNTS[name]})
            for name, values in counts.items()
        },
        coords={
            cases.dims[0]: cases,
            "chip": ("chip", np.arange(first_chip, first_chip + chips)),
        },
        attrs={
            "images": len(images),
            "error_free_correct": error_free_correct,
            "images_sha256": _images_sha256(images, labels),
            **identity,
            "network_sha256": network_sha256(network),
        },
    )


def _workers(threads: int | None) -> int:
    return available_threads() if threads is None else threads


def images_at_once(
    network: FoldedNetwork, images: int, *, engine: str = "auto", memory: int | None = None
) -> int:
    """Images that an engine takes at a time with so many bytes for its state.

    Raises
    ------
    ValueError
        The memory does not hold the state of 64 images; says how much does.
    """
    if memory is None or memory_bytes(engine, network, images) <= memory:
        return max(1, images)
    least = memory_bytes(engine, network, _BLOCK_IMAGES)
    if least > memory:
        raise ValueError(
            f"memory = {memory} bytes is less than the {least} that {_BLOCK_IMAGES} images need; "
            "allow more or take the dense engine"
        )
    fit, too_many = 1, -(-images // _BLOCK_IMAGES)
    while too_many - fit > 1:
        middle = (fit + too_many) // 2
        if memory_bytes(engine, network, middle * _BLOCK_IMAGES) <= memory:
            fit = middle
        else:
            too_many = middle
    return fit * _BLOCK_IMAGES


def combine(*counts: xr.Dataset) -> xr.Dataset:
    """Join counts of different chips of one evaluation.

    Parameters
    ----------
    *counts : xarray.Dataset
        Results of `evaluate` with the same network, images, rates, seed and protection.

    Returns
    -------
    xarray.Dataset
        All chips in increasing order: the same data as one evaluation of all these chips.

    Raises
    ------
    ValueError
        Nothing to join, records that differ (says in what), or a chip that occurs twice.
    """
    if not counts:
        raise ValueError("combine needs at least one dataset")
    first = counts[0]
    for index, other in enumerate(counts[1:], start=1):
        keys = set(first.attrs) | set(other.attrs)
        # causes before their consequence
        for key in sorted(keys, key=lambda k: (k == "error_free_correct", k)):
            if first.attrs.get(key) != other.attrs.get(key):
                raise ValueError(
                    f"dataset {index} cannot be joined with dataset 0: {key} is "
                    f"{other.attrs.get(key)!r} instead of {first.attrs.get(key)!r}"
                )
        if not np.array_equal(first["ber"], other["ber"]):
            raise ValueError(
                f"dataset {index} cannot be joined with dataset 0: ber is "
                f"{other['ber'].values.tolist()} instead of {first['ber'].values.tolist()}"
            )
    chips = np.concatenate([part["chip"].values for part in counts])
    numbers, times = np.unique(chips, return_counts=True)
    if (times > 1).any():
        raise ValueError(
            f"chips {numbers[times > 1].tolist()} occur more than once; evaluate further chips "
            f"with another first_chip"
        )
    order = np.argsort(chips)
    variables = {}
    for name in _COUNTS:
        values = np.concatenate([part[name].values for part in counts], axis=1)[:, order]
        variables[name] = (("ber", "chip"), values, dict(first[name].attrs))
    return xr.Dataset(
        variables,
        coords={"ber": first["ber"], "chip": ("chip", numbers, dict(first["chip"].attrs))},
        attrs=dict(first.attrs),
    )


def _checked_rates(ber: Sequence[float], protected: frozenset[str]) -> list[float]:
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


def _check_images(
    network: FoldedNetwork, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64]
) -> None:
    pixels, classes = network.sizes[0], network.sizes[-1]
    if images.dtype != np.uint8 or images.ndim != 2 or images.shape[1] != pixels or not len(images):
        raise ValueError(
            f"images must be uint8 with the shape (images, {pixels}) and at least one image, got "
            f"{images.dtype} with the shape {images.shape}"
        )
    if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"labels must be integers with the shape ({len(images)},), got {labels.dtype} with "
            f"the shape {labels.shape}"
        )
    bad = np.flatnonzero((labels < 0) | (labels >= classes))
    if bad.size:
        raise ValueError(
            f"labels must lie in 0..{classes - 1}, got {labels[bad[0]]} at index {bad[0]}"
        )


def _images_sha256(images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64]) -> str:
    digest = hashlib.sha256(f"{images.shape}".encode())
    digest.update(np.ascontiguousarray(images).data)
    digest.update(np.ascontiguousarray(labels, dtype="<i8").data)
    return digest.hexdigest()
