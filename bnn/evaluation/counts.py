"""Records of counted answers, and adding them: more chips, more images of one evaluation."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import xarray as xr

from bnn.images.parts import joined_ranges, ranges_of, ranges_text

COUNTS = {
    "correct": "right answers",
    "changed": "answers that differ from the error-free network",
    "lost": "answers right without errors, wrong with them",
    "gained": "answers wrong without errors, right with them",
    "flips": "wrong weight bits",
}
"""Counts of each case and chip. All but the flips are numbers of images."""

OF_IMAGES = {
    "lost_of_image": "chips that lose the image",
    "gained_of_image": "chips that gain the image",
}
"""Counts of each case and image, where they were asked for."""

SECONDS = "seconds"
"""Attribute: wall time of counting. Not part of what a record is, and never written to files."""

PRECISION = "precision"
"""How attributes about the precision reached begin; they hold for one record, not for a sum."""

_LONG = 300

_PARTS = ("image_ranges", "image_order_seed", "image_set")
_OF_PART = ("images", "error_free_correct", "image_ranges")


def case_dim(counts: xr.Dataset) -> str:
    """Dim of the cases: ``ber``, ``case`` or what the evaluation named."""
    return str(counts["correct"].dims[0])


def combine(*counts: xr.Dataset) -> xr.Dataset:
    """Add records of one evaluation: other chips, other images, or both.

    Parameters
    ----------
    *counts : xarray.Dataset
        Results of the functions of `bnn.evaluation.evaluation` with the same network, image set,
        cases and seed. Together they must hold every chip on every part of the images, once.

    Returns
    -------
    xarray.Dataset
        All chips in increasing order, images added: the same data as one evaluation of them all.
        The attribute ``seconds`` is their sum where all have it; what was said about precision is
        left out.

    Raises
    ------
    ValueError
        Nothing to join, records that differ (says in what), a chip or an image that occurs twice,
        or chips that were not evaluated on all parts of the images.
    """
    if not counts:
        raise ValueError("combine needs at least one dataset")
    for index, other in enumerate(counts[1:], start=1):
        _check_alike(counts[0], other, index)
    groups: dict[str, list[xr.Dataset]] = {}
    for part in counts:
        groups.setdefault(str(part.attrs.get("image_ranges", "")), []).append(part)
    whole = [_join_chips(group) for group in groups.values()]
    joined = whole[0] if len(whole) == 1 else _join_images(whole)
    if all(SECONDS in part.attrs for part in counts):
        joined.attrs[SECONDS] = float(sum(part.attrs[SECONDS] for part in counts))
    return joined


def _identity(counts: xr.Dataset) -> dict[str, object]:
    """Attributes that records must share to be added."""
    left_out = (SECONDS, *_OF_PART)
    return {
        str(key): value
        for key, value in counts.attrs.items()
        if key not in left_out and not str(key).startswith(PRECISION)
    }


def _check_alike(first: xr.Dataset, other: xr.Dataset, index: int) -> None:
    dims = case_dim(first), case_dim(other)
    if dims[0] != dims[1]:
        raise _unlike(index, "the dim of the cases", dims[1], dims[0])
    mine, theirs = _identity(first), _identity(other)
    for key in sorted(set(mine) | set(theirs)):
        if mine.get(key) != theirs.get(key):
            raise _unlike(index, key, theirs.get(key), mine.get(key))
    for name in _case_coords(first) | _case_coords(other):
        values = [part.coords[name].values.tolist() if name in part.coords else None
                  for part in (first, other)]  # fmt: skip
        if values[0] != values[1]:
            raise _unlike(index, name, values[1], values[0])
    kinds = [sorted(map(str, part.data_vars)) for part in (first, other)]
    if kinds[0] != kinds[1]:
        raise _unlike(index, "what is counted", kinds[1], kinds[0])


def _unlike(index: int, what: str, found: object, wanted: object) -> ValueError:
    return ValueError(
        f"dataset {index} cannot be joined with dataset 0: {what} is {_words(found)} instead of "
        f"{_words(wanted)}"
    )


def _words(value: object) -> str:
    # numbers from a file are those of NumPy
    text = repr(value.item() if isinstance(value, np.generic) else value)
    return text if len(text) <= _LONG else f"{text[:_LONG]}..."


def _case_coords(counts: xr.Dataset) -> set[str]:
    return {str(n) for n, c in counts.coords.items() if c.dims == (case_dim(counts),)}


def _attrs(counts: xr.Dataset) -> dict[str, object]:
    """Attributes of a sum: without what holds for one record only."""
    return {
        str(key): value
        for key, value in counts.attrs.items()
        if key != SECONDS and not str(key).startswith(PRECISION)
    }


def _join_chips(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """Records on the same images, of different chips."""
    first = parts[0]
    for index, other in enumerate(parts[1:], start=1):
        for key in ("images", "error_free_correct"):
            if first.attrs[key] != other.attrs[key]:
                raise _unlike(index, key, other.attrs[key], first.attrs[key])
    chips = np.concatenate([part["chip"].values for part in parts])
    numbers, times = np.unique(chips, return_counts=True)
    if (times > 1).any():
        raise ValueError(
            f"chips {numbers[times > 1].tolist()} occur more than once; evaluate further chips "
            f"with another first_chip"
        )
    order = np.argsort(chips)

    def join(name: str) -> xr.Variable:
        variable = first[name].variable
        if "chip" not in variable.dims:
            # of the cases, or counts of images, which add over chips
            values = variable.values
            if name in OF_IMAGES:
                values = np.stack([part[name].values for part in parts]).sum(axis=0)
            return xr.Variable(variable.dims, values, variable.attrs)
        values = np.concatenate([part[name].values for part in parts], axis=-1)[..., order]
        return xr.Variable(variable.dims, values, variable.attrs)

    return _rebuilt(first, join, _attrs(first))


def _join_images(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """Records of the same chips, on different images."""
    first = parts[0]
    chips = first["chip"].values.tolist()
    for other in parts[1:]:
        missing = sorted(set(chips) ^ set(other["chip"].values.tolist()))
        if missing:
            raise ValueError(
                f"chips {missing} were evaluated on images {first.attrs['image_ranges']} or "
                f"{other.attrs['image_ranges']} only; evaluate them on both"
            )
        if not np.array_equal(first["flips"], other["flips"]):
            raise ValueError("the chips differ between the parts of the images: flips differ")
    ranges = joined_ranges(ranges_of(part.attrs["image_ranges"]) for part in parts)
    attrs = _attrs(first) | {
        key: int(sum(part.attrs[key] for part in parts)) for key in ("images", "error_free_correct")
    }
    if ranges == ((0, int(first.attrs["image_set"])),):
        attrs = {key: value for key, value in attrs.items() if key not in _PARTS}
    else:
        attrs["image_ranges"] = ranges_text(ranges)
    if "image" in first.coords:
        order = np.argsort(np.concatenate([part["image"].values for part in parts]))

    def join(name: str) -> xr.Variable:
        variable = first[name].variable
        values: npt.NDArray[np.generic] = variable.values
        if "image" in variable.dims:
            values = np.concatenate([part[name].values for part in parts], axis=-1)[..., order]
        elif name in COUNTS and name != "flips":
            values = np.stack([part[name].values for part in parts]).sum(axis=0)
        return xr.Variable(variable.dims, values, variable.attrs)

    return _rebuilt(first, join, attrs)


def _rebuilt(
    first: xr.Dataset, join: Callable[[str], xr.Variable], attrs: dict[str, object]
) -> xr.Dataset:
    """Join every variable.

    In memory they lie as in one evaluation: else sums over them would round in another order.
    """

    def plain(name: str) -> xr.Variable:
        variable = join(name)
        return xr.Variable(variable.dims, np.ascontiguousarray(variable.values), variable.attrs)

    return xr.Dataset(
        {str(name): plain(str(name)) for name in first.data_vars},
        coords={str(name): plain(str(name)) for name in first.coords},
        attrs=attrs,
    )
