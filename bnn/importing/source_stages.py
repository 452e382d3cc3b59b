"""A foreign network cut into its layers with weights, and the check that these are binary."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bnn.importing.source_graph import SourceGraph, Step, Weighted

CLOSE = 1e-5
"""Relative difference below which two numbers of a source count as equal."""

Floats = npt.NDArray[np.float64]


class ImportRefusedError(ValueError):
    """A foreign network that a folded network cannot represent."""


@dataclass(frozen=True, eq=False)
class Stage:
    """A step with weights and the steps after it, up to the next one with weights.

    Attributes
    ----------
    number : int
        Number of the layer, from 1.
    step : Step
        The step with weights.
    weighted : Weighted
        Its weights.
    after : tuple of Step
        Steps that follow.
    end : int
        Value that they give to the next layer, or the scores.
    """

    number: int
    step: Step
    weighted: Weighted
    after: tuple[Step, ...]
    end: int

    @property
    def name(self) -> str:
        """Name of the layer, for people."""
        return self.step.layer or f"layer {self.number}"

    @property
    def rows(self) -> int:
        """Neurons or output channels."""
        return len(self.weighted.weights)


def stages_of(graph: SourceGraph) -> tuple[tuple[Step, ...], list[Stage]]:
    """Cut the steps at those with weights; a value may only be used in its own part.

    Returns
    -------
    tuple of Step
        Steps before the first layer with weights.
    list of Stage
        Layers with weights, in order.

    Raises
    ------
    ImportRefusedError
        No such layer, or one that joins values of different parts; names it.
    """
    part: dict[int, int] = {graph.start: 0}
    groups: list[list[Step]] = [[]]
    heads: list[Step] = []
    for step in graph.steps:
        read = {part[key] for key in step.reads}
        if len(read) != 1 or (step.weighted and read != {len(heads)}):
            raise ImportRefusedError(
                f"{step.called} joins values from different places; only a chain of layers can be "
                "imported, without shortcuts and branches"
            )
        number = read.pop()
        if step.weighted:
            heads.append(step)
            groups.append([])
            number = len(heads)
        else:
            groups[number].append(step)
        part.update((key, number) for key in step.writes)
    if not heads:
        raise ImportRefusedError("no linear layer or convolution was found")
    if part[graph.end] != len(heads):
        raise ImportRefusedError(f"the scores do not depend on the last layer, {heads[-1].called}")
    ends = [head.reads[0] for head in heads[1:]] + [graph.end]
    stages = []
    for number, (step, after, end) in enumerate(zip(heads, groups[1:], ends, strict=True), 1):
        assert step.weighted is not None
        stages.append(Stage(number, step, step.weighted, tuple(after), end))
    return tuple(groups[0]), stages


def check_weights(stages: list[Stage]) -> None:
    """Raise ImportRefusedError unless weights are plus or minus one magnitude in each row."""
    findings = []
    for stage in stages:
        sizes = np.abs(stage.weighted.weights).reshape(stage.rows, -1)
        middle = magnitudes(sizes)[:, None]
        # written so that a weight that is no number is bad too
        bad = ~(np.abs(sizes - middle) <= CLOSE * middle) | (sizes == 0) | ~np.isfinite(sizes)
        if bad.any():
            findings.append(f"{stage.name!r}: {bad.mean():.1%}")
    if findings:
        raise ImportRefusedError(
            "weights must be +a and -a, with one magnitude for each neuron; share of the weights "
            f"that are not, by layer: {'; '.join(findings)}. Latent weights have to be binarized "
            "where the network uses them"
        )


def magnitudes(sizes: Floats) -> Floats:
    """Middle magnitude of each row, zeros left aside."""
    middle: Floats = np.ma.median(np.ma.masked_equal(sizes, 0.0), axis=1).filled(0.0)
    return middle


def suspects(steps: tuple[Step, ...]) -> str:
    """Steps that binarized networks usually do not have; all, where there is none."""
    chosen = [step for step in steps if not step.usual] or list(steps)
    return ", ".join(dict.fromkeys(step.called for step in chosen))
