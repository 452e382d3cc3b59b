"""What is read out of the record of a network, and of which type it must be.

To :mod:`bnn` a record is anything that JSON can hold; names, reports and recipes rest on parts of
it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from devicefit.numerics.stored import reading

if TYPE_CHECKING:
    from bnn.networks.network import FoldedNetwork

Whole = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(ge=0, le=1)]


class _Part(BaseModel):
    """A part of a record: what is named has its type, the rest is anything."""

    model_config = ConfigDict(strict=True, extra="allow")


class _Training(_Part):
    ber: Rate = 0.0
    ber_from: Rate | None = None
    loss: str = ""
    margin: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    normalise_by: str | None = None
    seed: Whole | None = None


class _Architecture(_Part):
    kind: str = ""
    sizes: list[Whole] = []


class _ImageSet(_Part):
    name: str = ""
    sha256: str = ""


class _Epoch(_Part):
    test_correct: Whole
    test_images: Whole


class _Source(_Part):
    format: str = ""
    file: str = ""
    round_trip_images: Whole = 0


class _Thresholds(_Part):
    treatment: str = ""
    images: Whole | None = None


class _Record(_Part):
    description: str = ""
    training: _Training = _Training()
    architecture: _Architecture = _Architecture()
    image_set: _ImageSet = _ImageSet()
    history: list[_Epoch] = []
    source: _Source = _Source()
    thresholds: _Thresholds = _Thresholds()
    copies: dict[str, Annotated[int, Field(ge=1)]] = {}


def check_record(record: Any) -> None:
    """Refuse a record in which something that is read has another type or cannot be.

    Raises
    ------
    ValueError
        Names every such key; pydantic's ValidationError is one.
    """
    _Record.model_validate(record)


def open_network(path: Path) -> tuple[FoldedNetwork, dict[str, Any]]:
    """Network and record of a file, or of the zoo where the path is ``zoo:NAME``.

    Raises
    ------
    FileNotFoundError, ValueError
        As of :func:`bnn.open_network`, or the record is not one that can be read.
    """
    import bnn

    network, record = bnn.open_network(path)
    with reading(path, "network with a record", "write it again with the command that made it"):
        check_record(record)
    return network, record
