"""Counting how often a network with wrong weights answers right."""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import xarray as xr

from bnn.engines.engine import available_threads, engine_named
from bnn.errors import IndependentFlips, chip_flips
from bnn.network import FoldedNetwork, check_layer_names, flip_weights, network_sha256

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
    engine: str = "packed",
    threads: int | None = None,
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
        ``packed`` or ``dense``; the integers are the same.
    threads : int, optional
        CPU threads; all that this process may use if not given.
    progress : callable, optional
        Called with (chips done, `chips`) after every chip.

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
    _check_images(network, images, labels)
    for name, number, least in (("chips", chips, 1), ("first_chip", first_chip, 0)):
        if number < least:
            raise ValueError(f"{name} must be at least {least}, got {number}")
    workers = available_threads() if threads is None else threads
    if workers < 1:
        raise ValueError(f"threads must be at least 1, got {threads}")
    runner = engine_named(engine)
    prepared = runner.prepare(images)
    reference = runner.predict(network, prepared, threads=workers)
    right = reference == labels
    exposed = {
        name: (index, bits)
        for index, (name, bits) in enumerate(network.weight_bits.items())
        if name not in protected
    }
    counts = {name: np.zeros((len(rates), chips), np.int64) for name in _COUNTS}
    for k in range(chips):
        # one draw at the highest rate holds all lower ones
        chip = {
            name: chip_flips(bits=bits, ber=rates[-1], seed=seed, chip=first_chip + k, layer=index)
            for name, (index, bits) in exposed.items()
        }
        for j, rate in enumerate(rates):
            wrong = {name: places[levels < rate] for name, (places, levels) in chip.items()}
            flips = sum(len(places) for places in wrong.values())
            answers = reference
            if flips:
                answers = runner.predict(flip_weights(network, wrong), prepared, threads=workers)
            now_right = answers == labels
            counts["correct"][j, k] = now_right.sum()
            counts["changed"][j, k] = (answers != reference).sum()
            counts["lost"][j, k] = (right & ~now_right).sum()
            counts["gained"][j, k] = (~right & now_right).sum()
            counts["flips"][j, k] = flips
        if progress is not None:
            progress(k + 1, chips)
    return xr.Dataset(
        {
            name: (("ber", "chip"), values, {"units": "1", "long_name": _COUNTS[name]})
            for name, values in counts.items()
        },
        coords={
            "ber": ("ber", np.array(rates), {"units": "1", "long_name": "bit error rate"}),
            "chip": ("chip", np.arange(first_chip, first_chip + chips)),
        },
        attrs={
            "images": len(images),
            "error_free_correct": int(right.sum()),
            "images_sha256": _images_sha256(images, labels),
            "seed": seed,
            "weights": sum(bits for _, bits in exposed.values()),
            "protected": ",".join(sorted(protected)),
            "network_sha256": network_sha256(network),
        },
    )


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
    rates = [IndependentFlips(float(rate), protected).ber for rate in ber]
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
