"""What counts of answers can be: refuses tables that no evaluation gives."""

from __future__ import annotations

import re

import numpy as np
import xarray as xr

# bnn.evaluation.counts has them too, but importing the package of networks takes a decision seconds
COUNTS = ("correct", "changed", "lost", "gained", "flips")
OF_IMAGES = ("lost_of_image", "gained_of_image")

_SHA256 = re.compile("[0-9a-f]{64}")
_RATES = {"ber": (0.0, 1.0), "tilt": (-1.0, 1.0)}
"""Coordinates of the cases that are rates, and their ranges."""


def refuse_impossible(counts: xr.Dataset, *, weights: int | None = None) -> None:
    """Refuse counts that cannot be those of chips.

    Parameters
    ----------
    counts : xarray.Dataset
        As the functions of :mod:`bnn.evaluation.evaluation` give them.
    weights : int, optional
        Bits that can be wrong; the attribute ``weights`` of the counts when left out.

    Raises
    ------
    ValueError
        A variable or an attribute is missing or of another type, or a number is out of its range;
        says which, the value, and the first bad case and chip.
    """
    missing = [name for name in COUNTS if name not in counts.data_vars]
    if missing:
        raise ValueError(f"{', '.join(missing)} is missing")
    dims = (str(counts["correct"].dims[0]) if counts["correct"].ndim else "", "chip")
    for name in COUNTS:
        _check_array(counts, name, dims)
    images, right = whole(counts, "images", 1), whole(counts, "error_free_correct", 0)
    bits = whole(counts, "weights", 1) if weights is None else weights
    whole(counts, "seed", 0)
    for name in ("images_sha256", "network_sha256"):
        value = counts.attrs.get(name)
        if not isinstance(value, str) or not _SHA256.fullmatch(value):
            raise ValueError(f"{name} is {value!r}; it must be a SHA-256 of 64 hexadecimal digits")
    if not isinstance(counts.attrs.get("protected", ""), str):
        raise ValueError(f"protected is {counts.attrs['protected']!r}; it must be a text")
    if right > images:
        raise ValueError(f"error_free_correct is {right} of {images} images")
    most = {"lost": right, "gained": images - right, "flips": bits}
    for name in COUNTS:
        _check_range(counts, name, 0, most.get(name, images))
    found = right - counts["lost"].values + counts["gained"].values
    wrong = np.argwhere(counts["correct"].values != found)
    if len(wrong):
        raise ValueError(
            f"correct is not error_free_correct - lost + gained {_place(counts, 'correct', wrong)}"
        )
    for name in OF_IMAGES:
        if name in counts:
            _check_array(counts, name, (dims[0], "image"))
            _check_range(counts, name, 0, counts.sizes["chip"])
    _check_coordinates(counts, dims[0])


def whole(counts: xr.Dataset, name: str, least: int) -> int:
    """An attribute that must be a whole number, from `least` on.

    Raises
    ------
    ValueError
        It is missing or something else.
    """
    value = counts.attrs.get(name)
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} is {value!r}; it must be a whole number from {least} on")
    return int(value)


def _check_array(counts: xr.Dataset, name: str, dims: tuple[str, ...]) -> None:
    variable = counts[name].variable
    if variable.dims != dims or variable.dtype.kind != "i" or not variable.size:
        raise ValueError(
            f"{name} has values of the type {variable.dtype} over {variable.dims} of the shape "
            f"{variable.shape}; whole numbers over {dims} are wanted, at least one"
        )


def _check_range(counts: xr.Dataset, name: str, least: int, most: int) -> None:
    values = counts[name].values
    wrong = np.argwhere((values < least) | (values > most))
    if len(wrong):
        raise ValueError(
            f"{name} is {values[tuple(wrong[0])]} {_place(counts, name, wrong)}; it must lie "
            f"within {least}..{most}"
        )


def _check_coordinates(counts: xr.Dataset, dim: str) -> None:
    for name, (low, high) in _RATES.items():
        if name not in counts.coords:
            if name == dim:
                raise ValueError(f"the values of {dim} are missing")
            continue
        values = counts[name].values
        if values.dtype.kind != "f" or not ((values >= low) & (values <= high)).all():
            raise ValueError(f"{name} must be numbers within {low:g}..{high:g}")
        if name == dim and (np.diff(values) <= 0).any():
            raise ValueError(f"{name} must increase strictly")
    if "chip" in counts.coords:
        chips = counts["chip"].values
        if chips.dtype.kind != "i" or (chips < 0).any() or (np.diff(chips) <= 0).any():
            raise ValueError("the numbers of the chips must increase from 0 on")


def _place(counts: xr.Dataset, name: str, wrong: np.ndarray) -> str:
    """Where the first of some places is, and how many there are."""
    at = zip(counts[name].dims, wrong[0].tolist(), strict=True)
    more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    return "at " + ", ".join(f"{dim} number {i}" for dim, i in at) + more
