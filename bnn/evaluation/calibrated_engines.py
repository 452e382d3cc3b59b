"""Running chips whose thresholds are calibrated, one by one or all for one bit error rate."""

from dataclasses import dataclass

from bnn.calibration.calibration import CalibrationReference
from bnn.networks.network import FoldedNetwork, network_sha256


@dataclass(frozen=True, eq=False)
class CalibratedEngine:
    """Takes the place of the name of an engine: calibrate every chip, then compute it.

    Attributes
    ----------
    reference : CalibrationReference
        Images and error-free network of the calibration.
    engine : str
        Name of the engine that computes the answers, not ``incremental``: nearly every threshold
        changes, so there is nothing to follow.
    """

    reference: CalibrationReference
    engine: str = "auto"

    def __post_init__(self) -> None:
        """Check the engine."""
        if self.engine == "incremental":
            raise ValueError(
                "the engine 'incremental' cannot evaluate calibrated chips, because nearly every "
                "threshold changes; use 'packed', 'dense' or 'auto'"
            )

    @property
    def name(self) -> str:
        """Name of the engine that is used."""
        return "packed" if self.engine == "auto" else self.engine

    def check_network(self, network: FoldedNetwork) -> None:
        """Raise ValueError unless the reference is that of `network`."""
        _check_network(self.reference, network)


@dataclass(frozen=True, eq=False)
class FoldedEngine:
    """Takes the place of the name of an engine: compute chips with thresholds folded for a rate.

    Attributes
    ----------
    reference : CalibrationReference
        Images and error-free network of the folding.
    folded : FoldedNetwork
        That network with other thresholds, from `bnn.fold_for_ber`; the same weights.
    engine : str
        Name of the engine that computes the answers.
    """

    reference: CalibrationReference
    folded: FoldedNetwork
    engine: str = "auto"

    def check_network(self, network: FoldedNetwork) -> None:
        """Raise ValueError unless the reference is that of `network`."""
        _check_network(self.reference, network)


def _check_network(reference: CalibrationReference, network: FoldedNetwork) -> None:
    if network_sha256(reference.network) != network_sha256(network):
        raise ValueError(
            "calibration is the reference of another network; make it with "
            "calibration_reference(network, images)"
        )
