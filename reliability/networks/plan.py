"""What an evaluation of a network counts: bit error rates, cases of errors, or a fitted device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from bnn.errors.chips import draw_chip
from bnn.errors.errors import Errors, Flips
from bnn.errors.expected_errors import expected_wrong_share
from bnn.errors.files import ErrorCases
from bnn.evaluation.counts import case_dim
from bnn.evaluation.evaluation import evaluate, evaluate_errors, evaluation_bytes, images_at_once
from bnn.images.sets import ImageSet
from bnn.networks.network import ConvLayer, FoldedNetwork, check_layer_names
from bnn.study.rate_pairs import count_rate_pairs, tilted_rates
from devicefit.distributions.sensing import CELLS_PER_BIT, ln_ber_2t2r
from reliability.networks.direct_route import ProgrammedCells, evaluate_direct

_BYTES_PER_CELL = 64
"""Resistances, stored and read bits of the largest layer of a chip while it is drawn."""


@dataclass(frozen=True)
class EvaluationPlan:
    """Cases that are evaluated on the same chips.

    Parameters
    ----------
    words : str
        What the cases are, for people.
    labels : tuple of str
        Each case in a few characters.
    requested : tuple of float
        Expected share of the bits in the counts' attribute ``weights`` that is wrong on a chip, for
        each case.
    read_errors : tuple of str
        What is misread at each read, for each case; empty where nothing is.
    count : callable
        Evaluates chips: takes ``chips``, ``first_chip``, ``part``, ``by_image`` and the options of
        :func:`bnn.evaluate` for engines.
    drawing_bytes : int
        Memory that drawing one chip takes.
    unequal : callable or None
        Counts pairs of unequal rates of ones and zeros besides; takes ``chips``, ``tick`` and
        options for engines.
    """

    words: str
    labels: tuple[str, ...]
    requested: tuple[float, ...]
    read_errors: tuple[str, ...]
    count: Callable[..., xr.Dataset]
    drawing_bytes: int = 0
    unequal: Callable[..., xr.Dataset] | None = None

    @property
    def is_transient(self) -> bool:
        """Whether some case has read errors."""
        return any(self.read_errors)


def rates_plan(
    network: FoldedNetwork,
    images: ImageSet,
    rates: Sequence[float],
    *,
    seed: int,
    protected: frozenset[str] = frozenset(),
) -> EvaluationPlan:
    """Independent flips at several bit error rates.

    Raises
    ------
    ValueError
        A protected layer does not exist, or all are protected.
    """
    check_layer_names(network, protected, argument="protected")
    if protected >= set(network.layer_names):
        raise ValueError("every layer is protected; nothing is left that could be wrong")

    def count(**options: Any) -> xr.Dataset:
        data = (network, images.test_images, images.test_labels)
        return evaluate(*data, ber=rates, seed=seed, protected=protected, **options)

    return EvaluationPlan(
        f"{len(rates)} bit error rates",
        tuple(f"BER {rate:g}" for rate in rates),
        tuple(rates),
        ("",) * len(rates),
        count,
        unequal=partial(
            count_rate_pairs,
            network,
            images,
            rates=tilted_rates(rates),
            seed=seed,
            protected=protected,
        ),
    )


def errors_plan(
    network: FoldedNetwork, images: ImageSet, cases: ErrorCases, *, seed: int
) -> EvaluationPlan:
    """Cases of a file of errors.

    Raises
    ------
    ValueError
        A case names a layer that the network has not, or asks for more cells than there are; says
        which case.
    """
    for name, errors in zip(cases.names, cases.errors, strict=True):
        try:
            draw_chip(network, errors, seed=seed, chip=0)
        except ValueError as error:
            raise ValueError(f"{cases.path}: case {name!r}: {error}") from None

    def count(**options: Any) -> xr.Dataset:
        data = (network, images.test_images, images.test_labels)
        found = evaluate_errors(*data, errors=cases.errors, seed=seed, **options)
        return found.assign_coords(name=("case", np.array(cases.names, dtype=object)))

    slow = any(case.transient for case in cases.errors) and any(
        isinstance(layer, ConvLayer) for layer in network.layers
    )
    return EvaluationPlan(
        f"{len(cases.names)} cases of errors"
        f"{' (read errors of convolutions: image by image, slow)' if slow else ''}",
        cases.names,
        tuple(expected_wrong_share(network, errors) for errors in cases.errors),
        tuple(_misread_words(network, errors) for errors in cases.errors),
        count,
    )


def direct_plan(
    network: FoldedNetwork, images: ImageSet, cells: ProgrammedCells, *, seed: int
) -> EvaluationPlan:
    """Cells of a fitted device at several programming values.

    Raises
    ------
    ValueError
        As of :meth:`reliability.networks.direct_route.ProgrammedCells.readers`, or a protected
        layer does not exist.
    """
    check_layer_names(network, cells.protected, argument="protected")
    readers = cells.readers()
    frame = cells.device.frame
    requested, labels = [], []
    for reader in readers:
        if CELLS_PER_BIT[cells.scheme] == 2:
            offset = cells.sensing.offset_ln_r
            both = np.exp(ln_ber_2t2r(reader.lrs, reader.hrs, offset)).mean()
            flips = Flips.symmetric(float(both))
        else:
            of_state = {s: float(p.mean()) for s, p in reader.error_probability.items()}
            if cells.scrambled:
                of_state = dict.fromkeys(of_state, sum(of_state.values()) / 2)
            zero_is = "HRS" if cells.one_is == "LRS" else "LRS"
            flips = Flips(of_state[zero_is], of_state[cells.one_is])
        errors = Errors((flips,), protected=cells.protected)
        requested.append(expected_wrong_share(network, errors))
        outside = bool(frame.extrapolated(np.array(reader.programming)))
        labels.append(
            frame.programming.format(reader.programming) + (" (extrapolated)" if outside else "")
        )

    def count(**options: Any) -> xr.Dataset:
        data = (network, images.test_images, images.test_labels)
        return evaluate_direct(*data, cells=cells, seed=seed, **options)

    return EvaluationPlan(
        f"{frame.programming.name} at {len(readers)} values, {cells.scheme}"
        f"{', scrambled' if cells.scrambled else ''}, resistances drawn from the posterior of the "
        f"{cells.device.family} model",
        tuple(labels),
        tuple(requested),
        ("",) * len(readers),
        count,
        _BYTES_PER_CELL * max(network.weight_bits.values()),
    )


def _misread_words(network: FoldedNetwork, errors: Errors) -> str:
    rates = {name: errors.misread_rate(name) for name in network.layer_names}
    if not any(rates.values()):
        return ""
    if len(set(rates.values())) == 1:
        return f"{next(iter(rates.values())):g}"
    return ", ".join(f"{rate:g} in {name}" for name, rate in rates.items() if rate)


def memory_statement(
    plan: EvaluationPlan, network: FoldedNetwork, images: int, *, engine: str, memory: int
) -> tuple[int, int]:
    """Images that are taken at a time, and the bytes that this takes.

    Raises
    ------
    ValueError
        The memory does not suffice for a few images; says how much does.
    """
    transient = plan.is_transient
    step = images_at_once(network, images, engine=engine, memory=memory, transient=transient)
    taken = evaluation_bytes(network, step, engine=engine, transient=transient)
    # the images themselves, and a chip while it is drawn
    return step, taken + images * network.sizes[0] + plan.drawing_bytes


def outcome_lines(plan: EvaluationPlan, counts: xr.Dataset) -> list[str]:
    """A table of what was requested, what was injected and what came of it."""
    images, dim = counts.attrs["images"], case_dim(counts)
    share = counts["flips"].transpose(dim, "chip").values / counts.attrs["weights"]
    accuracy = counts["correct"].transpose(dim, "chip").values / images
    rows: list[tuple[str, ...]]
    rows = [("case", "wrong bits requested", "injected (least to most)", "misread at each read",
             "accuracy", "worst chip")]  # fmt: skip
    for j, label in enumerate(plan.labels):
        rows.append(
            (
                label,
                f"{plan.requested[j]:.4g}",
                f"{share[j].mean():.4g} ({share[j].min():.4g} to {share[j].max():.4g})",
                plan.read_errors[j] or "-",
                f"{accuracy[j].mean():.4f}",
                f"{accuracy[j].min():.4f}",
            )
        )
    if not plan.is_transient:
        rows = [row[:3] + row[4:] for row in rows]
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
             for row in rows]  # fmt: skip
    free = counts.attrs["error_free_correct"] / images
    return [
        f"{counts.sizes['chip']} chips, {images} images, accuracy without errors {free:.4f}",
        *lines,
    ]


def _limit_words(said: Mapping[str, Any]) -> str:
    """What kept an evaluation from the precision asked for, and what would reach it."""
    limit, chips = said["precision_limit"], said["precision_chips"]
    if not limit:
        return ""
    if limit == "chips":
        return (
            f"; limited by the chips: {chips} were counted, about {said['precision_chips_needed']} "
            "are needed (--chips)"
        )
    alone = f"{said['precision_images_alone']:.2g}"
    images = (
        f"the {said['precision_images']} images of this set leave {alone} whatever the chips, "
        f"about {said['precision_images_needed']} images are needed"
    )
    if limit == "images":
        return f"; limited by the images: {images}"
    return (
        f"; limited by the chips, {chips}, down to {alone} (--chips), then by the images: {images}"
    )


def precision_lines(counts: xr.Dataset) -> list[str]:
    """What was reached of the precision asked for; nothing where none was asked for."""
    said = counts.attrs
    if "precision_question" not in said:
        return []
    question = said["precision_question"]
    reached = said["precision_test_set" if question == "test set" else "precision_population"]
    return [
        f"standard error of the mean loss: {said['precision_test_set']:.2g} on this test set, "
        f"{said['precision_population']:.2g} of the population",
        f"asked: {said['precision_asked']:g} ({question}), reached: {reached:.2g}"
        + _limit_words(said),
        "largest variance of one image on one chip: "
        f"{np.max(said['precision_between_chips']):.3g} between chips, "
        f"{np.max(said['precision_between_images']):.3g} between images, "
        f"{np.max(said['precision_residual']):.3g} the rest",
    ]
