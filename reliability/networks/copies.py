"""Copies of neurons at the command line, and what the record says of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bnn.networks.network import FoldedNetwork


def numbers_of_copies(texts: list[str]) -> dict[str, int]:
    """``LAYER=NUMBER`` texts as a mapping.

    Raises
    ------
    ValueError
        Another form, or a layer that is named twice.
    """
    found: dict[str, int] = {}
    for text in texts:
        name, separator, number = text.partition("=")
        if not separator or not name or not number.isdecimal():
            raise ValueError(f"--copies {text!r} is not of the form LAYER=NUMBER, as hidden_1=3")
        if name in found:
            raise ValueError(f"--copies names {name} twice; name each layer once")
        found[name] = int(number)
    return found


def copied_record(
    record: dict[str, Any], copies: dict[str, int], network: FoldedNetwork
) -> dict[str, Any]:
    """Record of a network with the copies made of it; those made before are multiplied."""
    earlier: dict[str, int] = record.get("copies", {})
    made = {name: number * earlier.get(name, 1) for name, number in copies.items()}
    # in the order of the layers
    both = {**earlier, **made}
    ordered = {name: both[name] for name in network.layer_names if both.get(name, 1) > 1}
    found = {key: value for key, value in record.items() if key != "copies"}
    if "architecture" in found:
        found["architecture"] = {**found["architecture"], "sizes": list(network.sizes)}
    return {**found, "copies": ordered} if ordered else found
