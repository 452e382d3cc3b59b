"""How to sample: chains, draws, warmup, seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class SamplerOptions:
    """How NUTS runs.

    Parameters
    ----------
    chains, draws, warmup : int
        Chains, kept draws per chain, discarded draws per chain.
    seed : int
        Seed of all chains.
    cores : int
        Chains that run at the same time; does not change the draws.
    target_accept : float
        Step-size target, between 0.5 and 1.
    """

    chains: int = 4
    draws: int = 1500
    warmup: int = 500
    seed: int = 1
    cores: int = 2
    target_accept: float = 0.98

    def __post_init__(self) -> None:
        for name in ("chains", "draws", "warmup", "cores"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not 0.5 <= self.target_accept < 1:
            raise ValueError(f"target_accept is {self.target_accept}; use 0.5 to below 1")

    def record(self) -> dict[str, Any]:
        """What the draws depend on, as plain values."""
        return {
            "name": "nutpie NUTS",
            "chains": self.chains,
            "draws": self.draws,
            "warmup": self.warmup,
            "seed": self.seed,
            "target_accept": self.target_accept,
        }
