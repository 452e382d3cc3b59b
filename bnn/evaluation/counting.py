"""Counting answers: every case and chip, part after part of the images."""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Required, TypedDict

import numpy as np
import numpy.typing as npt
import xarray as xr

from bnn.engines.misread.reader import Reader, reader_bytes, start_reader
from bnn.errors.errors import Errors
from bnn.evaluation.cost import Workload
from bnn.evaluation.counts import COUNTS, OF_IMAGES, SECONDS
from bnn.evaluation.engine import available_threads
from bnn.evaluation.runner import memory_bytes, start_runner
from bnn.images.parts import ImagePart, ranges_text
from bnn.networks.network import FoldedNetwork, network_sha256

WrongBits = Mapping[str, npt.NDArray[np.int64]]
Progress = Callable[[int, int], None]

_BLOCK_IMAGES = 64


class HowToCount(TypedDict, total=False):
    """What `bnn.evaluate` and its sisters take besides network, images, labels and errors.

    Attributes
    ----------
    chips : int
        Number of chips; the only one that must be given.
    first_chip : int
        Number of the first chip: chips can be added later and joined with `combine`.
    engine : str
        One of `bnn.evaluation.runner.RUNNERS`, ``"auto"`` if not given; the integers are the same.
    threads : int, optional
        CPU threads; all that this process may use if not given.
    memory : int, optional
        Bytes that an engine may take for its state; with less than it needs for all images they
        are taken in parts, one after the other, and the counts added.
    part : ImagePart, optional
        Evaluate these images only; other parts can be added later with `combine`.
    by_image : bool
        Count also, for each image, the chips that lose and that gain it.
    timed : bool
        Say in the attribute ``seconds`` how long it took. The same data then differ in this.
    progress : callable, optional
        Called with (steps done, steps) after every chip; `chips` steps for each part of the images.
    """

    chips: Required[int]
    first_chip: int
    engine: str
    threads: int | None
    memory: int | None
    part: ImagePart | None
    by_image: bool
    timed: bool
    progress: Progress | None


@dataclass(frozen=True)
class Work:
    """What is evaluated and how (:class:`HowToCount`), apart from the errors."""

    network: FoldedNetwork
    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    chips: int
    first_chip: int = 0
    engine: str = "auto"
    threads: int | None = None
    memory: int | None = None
    part: ImagePart | None = None
    by_image: bool = False
    timed: bool = False
    progress: Progress | None = None

    @property
    def workers(self) -> int:
        """CPU threads."""
        return available_threads() if self.threads is None else self.threads


def count_answers(
    work: Work,
    flips_of: Callable[[int], Iterator[WrongBits]],
    cases: dict[str, xr.Variable],
    identity: dict[str, Any],
    read: Sequence[Errors | None] = (),
) -> xr.Dataset:
    """Counts of every case and chip.

    Parameters
    ----------
    work : Work
        What is evaluated and how.
    flips_of : callable
        From the number of a chip to its wrong bits in each case.
    cases : dict of str to xarray.Variable
        Coordinate of the cases by the name of its dim.
    identity : dict
        Attributes besides those that all counts have.
    read : sequence of Errors or None, optional
        For each case the errors whose transient part is drawn for each image; empty where no case
        has any. `identity` then holds the seed.
    """
    begin = time.perf_counter()
    _check(work)
    numbers, of_part = _images_of(work)
    images, labels = work.images, work.labels
    if work.part is not None:
        images, labels = images[numbers], labels[numbers]
    (dim, values), *_ = cases.items()
    tally = _Tally(len(values), work.chips, len(images))
    transient = any(case is not None for case in read)
    step = images_at_once(
        work.network, len(images), engine=work.engine, memory=work.memory, transient=transient
    )
    starts = range(0, len(images), step)
    workload = Workload.of_cases(work.chips, len(values))
    if dim == "ber":
        workload = Workload(work.chips, tuple(values.values.tolist()))
    for turn, start in enumerate(starts):
        here = slice(start, start + step)
        runner = start_runner(
            work.engine, work.network, images[here], threads=work.workers, workload=workload
        )
        reader: Reader | None = None
        if transient:
            reader = start_reader(
                work.network,
                images[here],
                reads=numbers[here],
                seed=int(identity["seed"]),
                threads=work.workers,
            )
        tally.begin(here, runner.error_free, labels[here])
        for k in range(work.chips):
            for j, flips in enumerate(flips_of(work.first_chip + k)):
                own = read[j] if transient else None
                if own is None or reader is None:
                    answers = runner.answers(flips)
                else:
                    answers = reader.answers(flips, own, chip=work.first_chip + k)
                tally.add(j, k, answers, flips)
            if work.progress is not None:
                work.progress(turn * work.chips + k + 1, work.chips * len(starts))
    attrs = {
        "images": len(images),
        "error_free_correct": tally.error_free_correct,
        "images_sha256": images_sha256(work.images, work.labels),
        **of_part,
        **identity,
        "network_sha256": network_sha256(work.network),
    }
    coords: dict[str, Any] = {
        **cases,
        "chip": ("chip", np.arange(work.first_chip, work.first_chip + work.chips)),
    }
    if work.by_image:
        coords["image"] = "image", numbers
    if work.timed:
        attrs[SECONDS] = time.perf_counter() - begin
    return xr.Dataset(tally.variables(dim, by_image=work.by_image), coords=coords, attrs=attrs)


class _Tally:
    """Counts of cases, chips and images, added up over parts of the images."""

    def __init__(self, cases: int, chips: int, images: int) -> None:
        self.error_free_correct = 0
        self._of_chips = {name: np.zeros((cases, chips), np.int64) for name in COUNTS}
        self._of_images = {name: np.zeros((cases, images), np.int64) for name in OF_IMAGES}

    def begin(
        self, here: slice, error_free: npt.NDArray[np.int64], labels: npt.NDArray[np.int64]
    ) -> None:
        """Go to a part of the images."""
        self._here, self._error_free, self._labels = here, error_free, labels
        self._right = error_free == labels
        self.error_free_correct += int(self._right.sum())

    def add(self, case: int, chip: int, answers: npt.NDArray[np.int64], flips: WrongBits) -> None:
        """Count the answers of a chip on this part."""
        now_right = answers == self._labels
        lost, gained = self._right & ~now_right, ~self._right & now_right
        self._of_chips["correct"][case, chip] += now_right.sum()
        self._of_chips["changed"][case, chip] += (answers != self._error_free).sum()
        self._of_chips["lost"][case, chip] += lost.sum()
        self._of_chips["gained"][case, chip] += gained.sum()
        self._of_chips["flips"][case, chip] = sum(len(places) for places in flips.values())
        self._of_images["lost_of_image"][case, self._here] += lost
        self._of_images["gained_of_image"][case, self._here] += gained

    def variables(self, dim: str, *, by_image: bool) -> dict[str, Any]:
        """Variables of the counts."""
        found: dict[str, Any] = {
            name: ((dim, "chip"), values, {"units": "1", "long_name": COUNTS[name]})
            for name, values in self._of_chips.items()
        }
        if by_image:
            found |= {
                name: ((dim, "image"), values, {"units": "1", "long_name": OF_IMAGES[name]})
                for name, values in self._of_images.items()
            }
        return found


def _check(work: Work) -> None:
    _check_images(work.network, work.images, work.labels)
    for name, number, least in (
        ("chips", work.chips, 1),
        ("first_chip", work.first_chip, 0),
        ("threads", work.workers, 1),
    ):
        if number < least:
            raise ValueError(f"{name} must be at least {least}, got {number}")


def _images_of(work: Work) -> tuple[npt.NDArray[np.int64], dict[str, Any]]:
    """Numbers of the images that are evaluated, and attributes that say so of a part."""
    if work.part is None:
        return np.arange(len(work.images)), {}
    return work.part.numbers(len(work.images)), {
        "image_ranges": ranges_text(((work.part.start, work.part.stop),)),
        "image_order_seed": work.part.order_seed,
        "image_set": len(work.images),
    }


def images_at_once(
    network: FoldedNetwork,
    images: int,
    *,
    engine: str = "auto",
    memory: int | None = None,
    transient: bool = False,
) -> int:
    """Images that are taken at a time with so many bytes for the state of them.

    Raises
    ------
    ValueError
        The memory does not hold the state of 64 images; says how much does.
    """

    def need(number: int) -> int:
        return evaluation_bytes(network, number, engine=engine, transient=transient)

    if memory is None or need(images) <= memory:
        return max(1, images)
    least = need(_BLOCK_IMAGES)
    if least > memory:
        raise ValueError(
            f"memory = {memory} bytes is less than the {least} that {_BLOCK_IMAGES} images need; "
            "allow more or take the dense engine"
        )
    fit, too_many = 1, -(-images // _BLOCK_IMAGES)
    while too_many - fit > 1:
        middle = (fit + too_many) // 2
        if need(middle * _BLOCK_IMAGES) <= memory:
            fit = middle
        else:
            too_many = middle
    return fit * _BLOCK_IMAGES


def evaluation_bytes(
    network: FoldedNetwork, images: int, *, engine: str = "auto", transient: bool = False
) -> int:
    """Memory that evaluating so many images at a time takes, in bytes, images not counted."""
    total = memory_bytes(engine, network, images)
    return total + reader_bytes(network, images) if transient else total


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


def images_sha256(images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64]) -> str:
    """Hash over images and labels, which counts carry."""
    digest = hashlib.sha256(f"{images.shape}".encode())
    digest.update(np.ascontiguousarray(images).data)
    digest.update(np.ascontiguousarray(labels, dtype="<i8").data)
    return digest.hexdigest()
