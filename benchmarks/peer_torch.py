"""Peers that live in PyTorch, and what a skilled user of PyTorch would write without a peer.

All compute the same network: products of signs in float32, an integer threshold per neuron, and the
affine output of the project. Each takes the wrong bits of a chip and gives the answers.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bnn.networks.network import FoldedNetwork, HiddenLayer, OutputLayer, layer_signs

Flips = Mapping[str, npt.NDArray[np.int64]]
Answers = npt.NDArray[np.int64]
Chip = Callable[[Flips], Answers]

BLOCK = 2048


class Fire(nn.Module):
    """Sign of a neuron by its integer threshold, in the type of the pre-activations."""

    def __init__(self, layer: HiddenLayer) -> None:
        super().__init__()
        upward = layer.direction > 0
        value = np.where(upward, layer.threshold, 1 - layer.threshold.astype(np.int64))
        self.register_buffer("value", torch.from_numpy(value.astype(np.float32)))
        self.register_buffer("direction", torch.from_numpy(layer.direction.astype(np.float32)))

    def forward(self, z: Tensor) -> Tensor:
        """Turn pre-activations into +1 and -1."""
        return torch.where(z >= self.value, self.direction, -self.direction).to(z.dtype)


def build(network: FoldedNetwork, linear: Callable[[int, int], nn.Module]) -> nn.Sequential:
    """Layers of a fully connected network; `linear` makes one of (inputs, outputs)."""
    parts: list[nn.Module] = []
    for layer in network.layers:
        parts.append(linear(layer.columns, len(layer.weights)))
        if isinstance(layer, HiddenLayer):
            parts.append(Fire(layer))
    return nn.Sequential(*parts).eval()


def plain(network: FoldedNetwork) -> nn.Sequential:
    """The network of `torch.nn.Linear` layers with its error-free signs."""
    model = build(network, lambda inputs, outputs: nn.Linear(inputs, outputs, bias=False))
    linears = [part for part in model if isinstance(part, nn.Linear)]
    for part, layer in zip(linears, network.layers, strict=True):
        part.weight = nn.Parameter(
            torch.from_numpy(layer_signs(layer)).float(), requires_grad=False
        )
    return model


def classes(network: FoldedNetwork, z: npt.NDArray[np.float32]) -> Answers:
    """Classes of output pre-activations, by the affine map of the project in float64."""
    output = network.layers[-1]
    assert isinstance(output, OutputLayer)
    return np.argmax(z.astype(np.float64) * output.scale + output.shift, axis=1)


def run(
    network: FoldedNetwork, model: Callable[[Tensor], Tensor], values: Tensor, block: int = BLOCK
) -> Answers:
    """Answers of a model, block of images by block of images."""
    with torch.no_grad():
        sums = [model(values[start : start + block]) for start in range(0, len(values), block)]
    return classes(network, torch.cat(sums).float().numpy())


def in_place(network: FoldedNetwork, values: Tensor, *, compiled: bool, dtype: torch.dtype) -> Chip:
    """PyTorch without a peer: signs kept as floats, flipped in place and back after the pass."""
    model = plain(network).to(dtype)
    for part in model:
        if isinstance(part, Fire):
            part.float()  # bfloat16 holds integers up to 256 only
    linears = [part for part in model if isinstance(part, nn.Linear)]
    forward = torch.compile(model) if compiled else model
    values = values.to(dtype)

    def flip(flips: Flips) -> None:
        for part, layer in zip(linears, network.layers, strict=True):
            places = torch.from_numpy(flips[layer.name])
            flat = part.weight.view(-1)
            flat[places] = -flat[places]

    def chip(flips: Flips) -> Answers:
        flip(flips)
        try:
            return run(network, forward, values)
        finally:
            flip(flips)

    return chip


def pytorchfi(network: FoldedNetwork, values: Tensor) -> Chip:
    """PyTorchFI: one declaration of weight faults per chip, with a function that flips the sign."""
    from pytorchfi.core import fault_injection

    injector = fault_injection(
        plain(network), 1, input_shape=[network.sizes[0]], layer_types=[nn.Linear]
    )

    def chip(flips: Flips) -> Answers:
        layers: list[int] = []
        rows: list[int] = []
        columns: list[int] = []
        for index, layer in enumerate(network.layers):
            places = flips[layer.name]
            layers += [index] * len(places)
            rows += (places // layer.columns).tolist()
            columns += (places % layer.columns).tolist()
        nothing = [None] * len(layers)
        model = injector.declare_weight_fi(
            function=lambda weight, place: -weight[place],
            layer_num=layers,
            k=rows,
            dim1=columns,
            dim2=nothing,
            dim3=nothing,
        )
        return run(network, model, values)

    return chip


def mrfi(network: FoldedNetwork, values: Tensor) -> Chip:
    """MRFI: fixed positions of weights, sign bit of the float flipped; one batch is one chip."""
    from mrfi import MRFI, EasyConfig

    fault = {
        "type": "weight",
        "name": ["weight"],
        "enabled": True,
        "module_type": ["Linear"],
        "selector": {"method": "FixPositions", "positions": []},
        "error_mode": {"method": "FloatFixedBitFlip", "bit": 31, "floattype": "float32"},
    }
    model = MRFI(plain(network), EasyConfig({"faultinject": [fault]}))
    selectors = model.get_weights_configs("selector.args", module_type="Linear")

    def chip(flips: Flips) -> Answers:
        for selector, layer in zip(selectors, network.layers, strict=True):
            selector.positions = flips[layer.name].tolist()
        # weights are changed anew at each call, so all images are one batch
        return run(network, model, values, block=len(values))

    return chip


def aihwkit(network: FoldedNetwork, values: Tensor) -> Chip:
    """Tiles of aihwkit in PyTorch, without noise; the weights of a chip are written to them."""
    from aihwkit.nn import AnalogLinear
    from aihwkit.simulator.configs import TorchInferenceRPUConfig

    config = TorchInferenceRPUConfig()
    config.forward.is_perfect = True
    config.mapping.max_input_size = config.mapping.max_output_size = 0
    model = build(
        network,
        lambda inputs, outputs: AnalogLinear(inputs, outputs, bias=False, rpu_config=config),
    ).eval()
    analog = [part for part in model if isinstance(part, AnalogLinear)]
    signs = [torch.from_numpy(layer_signs(layer)).float() for layer in network.layers]

    def chip(flips: Flips) -> Answers:
        for part, clean, layer in zip(analog, signs, network.layers, strict=True):
            weight = clean.clone()
            places = torch.from_numpy(flips[layer.name])
            weight.view(-1)[places] *= -1.0
            part.set_weights(weight, None)
        return run(network, model, values)

    return chip


def version(package: str) -> str:
    """Installed version of a package.

    Raises
    ------
    ImportError
        It is not installed.
    """
    return importlib.metadata.version(package)
