"""Device studies as directories, and what they must be when they are read back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from devicefit.families.registry import FAMILIES
from devicefit.fitting.fit import DevicePosterior
from devicefit.fitting.gate import Gate
from devicefit.fitting.posterior_files import State, Strict, load_posterior, save_posterior
from devicefit.measurements.measurements import STATES
from devicefit.numerics.arrays import FloatArray
from devicefit.numerics.stored import (
    check_format,
    document_text,
    read_document,
    reading,
    unsealed,
)
from devicefit.persistence.persistence import Persistence
from devicefit.persistence.windows import WindowedPersistence
from reliability.device.study import DeviceStudy
from reliability.files.own_files import sha256_of
from reliability.files.whole_directory import whole

FORMAT = "rram-reliability device study 5"

Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]


class _Window(BaseModel):
    """Draws of one window, as :class:`devicefit.persistence.persistence.Persistence` has them."""

    model_config = ConfigDict(strict=True, extra="forbid")

    tau: list[Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(min_length=1)
    persistent_share: list[Share]
    persistent_shift: list[Finite]
    immune_share: list[Share]


class _Windows(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    start: list[Finite] = Field(min_length=1)
    threshold_ohm: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None
    windows: list[_Window]


class _Data(Strict):
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    source: str
    simulated: bool
    devices: Annotated[int, Field(ge=1)]
    conditions: Annotated[int, Field(ge=1)]
    readings: dict[State, Annotated[int, Field(ge=0)]]
    second_values: list[Finite] = []


class _Counts(Strict):
    programming_low: list[Finite]
    programming_high: list[Finite]
    devices: list[Annotated[int, Field(ge=0)]]


_Bin = Annotated[int, Field(ge=-(10**6), le=10**6)]
_Number = Annotated[int, Field(ge=1, le=10**15)]


class _Measured(Strict):
    """As :class:`devicefit.prediction.condition_readings.ConditionReadings` has them."""

    programming: Finite
    second: Finite | None
    array: str
    devices: Annotated[int, Field(ge=1)]
    threshold_ohm: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    bins: dict[State, list[_Bin]]
    count: dict[State, list[_Number]]

    @model_validator(mode="after")
    def _check(self) -> _Measured:
        bins = {state: len(found) for state, found in self.bins.items()}
        counts = {state: len(found) for state, found in self.count.items()}
        if len(bins) != len(STATES) or bins != counts:
            raise ValueError("readings need as many bins as counts, of both states")
        return self


class _Record(Strict):
    """What later steps need of the record."""

    data: _Data
    gates: list[Gate]
    threshold_ohm: Annotated[float, Field(gt=0, lt=1e26)] | None = None
    counts: _Counts | Annotated[dict[str, Any], Field(max_length=0)]
    quantiles: list[dict[str, Any]]
    families: dict[str, dict[str, Any]]
    levels: dict[str, Any]
    checks: dict[str, Any]
    left_out_conditions: list[dict[str, Any]]
    measured: list[_Measured]


class _Head(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    families: list[str] = Field(min_length=1)
    posteriors_sha256: dict[str, Annotated[str, Field(pattern="^[0-9a-f]{64}$")]]
    weights: dict[str, Share]
    persistence: dict[State, _Windows]
    grid: list[Finite] = Field(min_length=1)
    record: _Record


def posterior_file(family: str) -> str:
    """Name of the file of a family's posterior."""
    return f"{family.replace(':', '.')}.nc"


def study_file_names(families: Sequence[str]) -> list[str]:
    """Names of the files that :func:`save_study` writes for these families."""
    return [*(posterior_file(family) for family in families), "device.json"]


def save_study(study: DeviceStudy, directory: Path) -> None:
    """Write posteriors and record into an existing directory."""
    for family, posterior in study.posteriors.items():
        save_posterior(posterior, directory / posterior_file(family))
    head = {
        "format": FORMAT,
        "families": list(study.posteriors),
        "posteriors_sha256": {f: sha256_of(directory / f"{f}.nc") for f in study.posteriors},
        "weights": study.weights,
        "persistence": {
            state: {
                "start": found.start.tolist(),
                "threshold_ohm": found.threshold_ohm,
                "windows": [
                    {name: values.tolist() for name, values in vars(window).items()}
                    for window in found.windows
                ],
            }
            for state, found in study.persistence.items()
        },
        "grid": study.grid.tolist(),
        "record": study.record,
    }
    (directory / "device.json").write_text(
        # a gate of a fit of very few draws has no number: NaN
        document_text(head, allow_nan=True),
        encoding="utf-8",
    )


@whole
def load_study(directory: Path) -> DeviceStudy:
    """Read what :func:`save_study` wrote.

    Raises
    ------
    ValueError
        The directory holds no device study, one of another version, a damaged one, or one that
        cannot be; says what is wrong and what to do.
    """
    path = directory / "device.json"
    remedy = "write one with `rram-reliability fit --out DIR`"
    if not path.is_file():
        raise ValueError(f"{directory}: no device study here (device.json is missing); {remedy}")
    with reading(path, "device study", remedy):
        document = read_document(path)
        check_format(document.pop("format", None), FORMAT)
        document = unsealed({"format": FORMAT, **document})
        del document["format"]
        head = _Head.model_validate_json(json.dumps(document))
        for family in head.families:
            if family not in FAMILIES or head.families.count(family) > 1:
                raise ValueError(
                    f"families {', '.join(head.families)}; known, each once: {', '.join(FAMILIES)}"
                )
        persistence: dict[str, WindowedPersistence] = {
            state: _persistence(state, w) for state, w in head.persistence.items()
        }
        for family in head.families:
            file = directory / posterior_file(family)
            if file.is_file() and sha256_of(file) != head.posteriors_sha256.get(family):
                raise ValueError(f"{posterior_file(family)} is of another fit than device.json")
    posteriors = {f: load_posterior(directory / f"{f}.nc") for f in head.families}
    with reading(path, "device study", remedy):
        _check_together(posteriors, np.array(head.grid))
        if next(iter(posteriors.values())).frame.second is not None:
            values = head.record.data.second_values
            if not values or (np.diff(values) <= 0).any():
                raise ValueError("the measured values of the second variable must increase")
        study = DeviceStudy(
            posteriors, head.weights, persistence, np.array(head.grid), document["record"]
        )
        _ = study.main  # refuses weights and draws that do not fit together
    return study


def _persistence(state: str, found: _Windows) -> WindowedPersistence:
    start = np.array(found.start)
    sizes = {len(values) for w in found.windows for values in w.model_dump().values()}
    if len(found.windows) != len(start) or len(sizes) != 1 or (np.diff(start) <= 0).any():
        raise ValueError(
            f"persistence of {state}: {len(start)} increasing starts need as many windows with "
            "equal numbers of draws"
        )
    windows = tuple(
        Persistence(**{name: np.array(values) for name, values in w.model_dump().items()})
        for w in found.windows
    )
    return WindowedPersistence(start, windows, found.threshold_ohm)


def _check_together(posteriors: dict[str, DevicePosterior], grid: FloatArray) -> None:
    """Refuse parts that are not of one study.

    Raises
    ------
    ValueError
        Says which do not fit together.
    """
    first, *others = posteriors.values()
    for family, posterior in posteriors.items():
        if posterior.family != family:
            raise ValueError(f"{posterior_file(family)} holds the family {posterior.family}")
    for other in others:
        if (other.frame, other.record["devices"]) != (first.frame, first.record["devices"]):
            raise ValueError(
                f"{first.family}.nc and {other.family}.nc were fitted to different readings"
            )
    low, high = first.frame.low, first.frame.high
    slack = 1e-9 * (abs(low) + abs(high))
    if (np.diff(grid) <= 0).any() or not low - slack <= grid[0] <= grid[-1] <= high + slack:
        raise ValueError(f"the grid must increase within the measured range, {low:g} to {high:g}")
