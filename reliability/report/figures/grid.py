"""Heat maps of accuracy: a line for each training, a column for each error rate of the chips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import seaborn as sns
import xarray as xr
from matplotlib.figure import Figure

LOWEST_SPAN = 50.0
"""Points of accuracy between the two ends of the colours: what lies below is lost anyhow."""


def heat_maps(
    panels: Mapping[str, Sequence[npt.NDArray[np.float64]]],
    *,
    trainings: Sequence[str],
    rates: Sequence[float],
    title: str,
    label: str = "training",
) -> Figure:
    """One heat map above the other, each cell with mean and standard deviation of its chips.

    Parameters
    ----------
    panels : mapping
        Title of a panel to the accuracy of its trainings in percent, each of shape (rates, chips).
    trainings : sequence of str
        Names of the lines.
    rates : sequence of float
        BER of the chips.
    title, label : str
        Title of the figure, label of the lines.
    """
    rows = len(panels) * (len(trainings) + 1.4)
    figure = Figure(figsize=(3.2 + 0.95 * len(rates), 1.1 + 0.29 * rows), layout="constrained")
    axes = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    highest = max(float(values.max()) for panel in panels.values() for values in panel)
    for axis, (name, panel) in zip(axes, panels.items(), strict=True):
        texts = [[f"{row.mean():.1f} ± {row.std(ddof=1):.1f}" for row in v] for v in panel]
        sns.heatmap(
            np.array([values.mean(axis=1) for values in panel]),
            ax=axis,
            annot=np.array(texts),
            fmt="",
            vmin=highest - LOWEST_SPAN,
            vmax=highest,
            cmap="viridis",
            xticklabels=[f"{rate:g}" for rate in rates],
            yticklabels=list(trainings),
            cbar_kws={"label": "accuracy (%)", "extend": "min"},
            annot_kws={"fontsize": 8},
        )
        axis.set_title(name, loc="left", fontsize=10)
        axis.set_ylabel(label)
        axis.tick_params(axis="y", rotation=0)
    axes[-1].set_xlabel("bit error rate of the chips, all layers exposed")
    figure.suptitle(title, fontsize=11)
    return figure


def draw_grid(grid: xr.Dataset) -> Figure:
    """Heat maps of what `reliability.networks.grid.count_grid` gave."""
    percent = 100.0 * grid["correct"] / grid.attrs["test_images"]
    ordered = percent.transpose("treatment", "training", "ber", "chip")
    chips = grid.sizes["chip"]
    return heat_maps(
        {
            f"thresholds {name}": list(values)
            for name, values in zip(grid["treatment"].values, ordered.values, strict=True)
        },
        trainings=[str(name) for name in grid["training"].values],
        rates=[float(rate) for rate in grid["ber"].values],
        title=(
            f"{grid.attrs['image_set']}, {grid.attrs['test_images']} test images: mean ± standard "
            f"deviation over {chips} chips"
        ),
        label="BER during training",
    )
