"""Importing PyTorch modules: what a module computes is recorded operation by operation.

The module runs on a few images while every operation that depends on them is noted. Class names
play no part, so plain PyTorch, parametrizations, custom autograd functions and Brevitas layers are
alike, and weights are those that the forward pass multiplies with.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode

from bnn.importing.imported import ImportedNetwork, imported
from bnn.importing.source_folding import fold_source
from bnn.importing.source_graph import (
    PixelEncoding,
    SourceGraph,
    Step,
    Values,
    Weighted,
    convolution_problem,
    pooling,
)
from bnn.importing.source_stages import ImportRefusedError

_RECORDED_IMAGES = 8
_ROUND_TRIP_BLOCK = 256

# what lies between the layers of binarized networks; others are named first when a part is refused
_USUAL = frozenset(
    "_native_batch_norm_legit_no_training _unsafe_view abs add add_ bitwise_and clamp clamp_ clone "
    "copy_ detach div empty_like eq expand full_like ge ge_ gt hardtanh hardtanh_ le logical_not "
    "lt masked_fill max_pool2d_with_indices mul mul_ native_batch_norm neg ones_like round rsub "
    "scalar_tensor select sign squeeze sub sub_ to _to_copy transpose t unsqueeze view where "
    "zeros_like".split()
)


def from_torch(
    module: nn.Module,
    images: npt.NDArray[np.uint8],
    *,
    encoding: PixelEncoding | Callable[[npt.NDArray[np.uint8]], Any],
) -> ImportedNetwork:
    """Import a module: a chain of binary linear layers and convolutions.

    Parameters
    ----------
    module : torch.nn.Module
        Module in evaluation mode, on the CPU. Its weights are +a and -a where the forward pass uses
        them (one magnitude a for each neuron), its hidden activations two values such as -1 and +1.
    images : uint8 array, shape (images, pixels)
        Images on which module and result are compared; real ones, some hundred.
    encoding : PixelEncoding or callable
        Gives images, as a float32 array or tensor, as the module takes them. Per pixel a straight
        line of the grey value with one slope for all pixels.

    Returns
    -------
    ImportedNetwork
        Gives the answers of the module on all `images`.

    Raises
    ------
    ImportRefusedError
        Weights that are not binary, layers that are not understood, or answers that differ.
    ValueError
        The module is in training mode, or the images are not uint8 rows.
    """
    if any(part.training for part in module.modules()):
        raise ValueError("the module is in training mode; call module.eval() before importing")
    source = {"format": "PyTorch", "class": type(module).__name__}
    return import_module(module, images, encoding, source=source)


def import_module(
    module: nn.Module,
    images: npt.NDArray[np.uint8],
    encoding: PixelEncoding | Callable[[npt.NDArray[np.uint8]], Any],
    *,
    source: dict[str, Any],
    answers: npt.NDArray[np.int64] | None = None,
) -> ImportedNetwork:
    """Import a module in evaluation mode, which stands for a source of any format.

    Parameters
    ----------
    module, images, encoding
        As of :func:`from_torch`.
    source : dict
        What the record says of the source.
    answers : int64 array, shape (first images,), optional
        Answers of the source itself, to be compared as well.

    Raises
    ------
    ImportRefusedError, ValueError
        As of :func:`from_torch`.
    """
    if images.dtype != np.uint8 or images.ndim != 2 or not len(images):
        raise ValueError(
            f"images must be uint8 with the shape (images, pixels), got {images.dtype} with the "
            f"shape {images.shape}"
        )

    def encoded(given: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        return np.asarray(encoding(given))

    few = images[:_RECORDED_IMAGES]
    folded = fold_source(record(module, encoded(few)), few, encoded)
    scores = []
    with torch.no_grad():
        for start in range(0, len(images), _ROUND_TRIP_BLOCK):
            part = images[start : start + _ROUND_TRIP_BLOCK]
            scores.append(_tensor_of(module(torch.from_numpy(encoded(part)))).numpy())
    return imported(
        folded,
        images,
        scores=np.concatenate(scores),
        answers=answers,
        source=source,
        again=lambda part: record(module, encoded(part)),
        batch=_RECORDED_IMAGES,
    )


def record(module: nn.Module, inputs: npt.NDArray[Any]) -> SourceGraph:
    """Run a module and keep what it computes from its inputs.

    Parameters
    ----------
    module : torch.nn.Module
        Module in evaluation mode.
    inputs : float array, shape (images, ...)
        What the module takes.

    Returns
    -------
    SourceGraph
        Every operation that depends on the inputs.

    Raises
    ------
    ImportRefusedError
        The module gives something else than scores of classes.
    """
    given = torch.from_numpy(np.ascontiguousarray(inputs))
    names = {id(part): name for name, part in module.named_modules()}
    origins = {id(value): name for name, value in module.named_parameters()}
    recorder = _Recorder(given, origins)
    with torch.no_grad(), _module_names(names, recorder.where), recorder:
        scores = _tensor_of(module(given))
    if id(scores) not in recorder.depends:
        raise ImportRefusedError("the result of the module does not depend on the images")
    return SourceGraph(
        steps=tuple(recorder.steps),
        start=id(given),
        end=id(scores),
        to_source=lambda array: torch.from_numpy(np.ascontiguousarray(array)),
        from_source=lambda tensor: tensor.detach().numpy(),
    )


class _Recorder(TorchDispatchMode):
    """Notes operations whose arguments depend on the inputs."""

    def __init__(self, inputs: Tensor, origins: dict[int, str]) -> None:
        super().__init__()
        self.depends = {id(inputs): inputs}
        self.origins = origins
        # names hold only as long as the tensors they belong to
        self.constants: list[Any] = []
        self.where: list[str] = []
        self.steps: list[Step] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        operands, form = _pytree.tree_flatten((args, kwargs))
        tensors = [operand for operand in operands if isinstance(operand, Tensor)]
        found = func(*args, **kwargs)
        results = [part for part in _pytree.tree_leaves(found) if isinstance(part, Tensor)]
        reads = tuple(dict.fromkeys(id(tensor) for tensor in tensors if id(tensor) in self.depends))
        if not reads:
            names = [self.origins[id(tensor)] for tensor in tensors if id(tensor) in self.origins]
            for result in results:
                self.constants.append(result)
                if names:
                    self.origins.setdefault(id(result), names[0])
            return found
        slots = [
            id(operand) if isinstance(operand, Tensor) and id(operand) in self.depends else None
            for operand in operands
        ]
        writes = tuple(id(result) for result in results)
        self.depends.update((id(result), result) for result in results)
        operation = func.overloadpacket.__name__
        again_func = func
        if func in (torch.ops.aten.view.default, torch.ops.aten._unsafe_view.default):
            # other values may lie in memory in another order
            again_func = torch.ops.aten.reshape.default

        def run(values: Values) -> None:
            filled = [
                operand if slot is None else values[slot]
                for operand, slot in zip(operands, slots, strict=True)
            ]
            again_args, again_kwargs = _pytree.tree_unflatten(filled, form)
            with torch.no_grad():
                again = again_func(*again_args, **again_kwargs)
            parts = [part for part in _pytree.tree_leaves(again) if isinstance(part, Tensor)]
            values.update(zip(writes, parts, strict=True))

        weighted = _weighted(operation, args, self.depends, results)
        layer = self.where[-1] if self.where else ""
        if weighted is not None and not layer:
            layer = next(
                (self.origins[id(t)] for t in tensors if id(t) in self.origins), operation
            ).removesuffix(".weight")
        self.steps.append(
            Step(
                layer=layer,
                operation=operation,
                usual=operation in _USUAL,
                reads=reads,
                writes=writes,
                run=run,
                weighted=weighted,
                pool=_pool(operation, args),
            )
        )
        return found


def _weighted(
    operation: str, args: tuple[Any, ...], depends: dict[int, Tensor], results: list[Tensor]
) -> Weighted | None:
    """The matrix product or convolution that an operation is, if it is one."""
    orders = {"mm": (0, 1, None), "addmm": (1, 2, 0), "linear": (0, 1, 2), "convolution": (0, 1, 2)}
    if operation not in orders:
        return None
    first, second, third = orders[operation]
    reads, weights = args[first], args[second]
    bias = args[third] if third is not None and third < len(args) else None
    if id(reads) not in depends or id(weights) in depends:
        return None
    values = weights.detach().double().numpy().copy()
    if operation in ("mm", "addmm"):
        values = values.T
    added = np.zeros(len(values)) if bias is None else bias.detach().double().numpy().copy()
    problem = _conv_problem(args) if operation == "convolution" else ""
    if operation == "linear" and reads.ndim != 2:
        problem = f"reads values of the shape {tuple(reads.shape)}, flatten them first"
    return Weighted(
        weights=values,
        bias=np.broadcast_to(added.reshape(-1), (len(values),)),
        reads=reads.detach().numpy().copy(),
        gives=results[0].detach().numpy().copy(),
        problem=problem,
    )


def _conv_problem(args: tuple[Any, ...]) -> str:
    weights, (strides, padding, dilations, transposed, _, groups) = args[1], args[3:9]
    return convolution_problem(
        weights.shape[2:],
        strides=strides,
        pads=[*padding, *padding],
        dilations=dilations,
        groups=groups,
        transposed=transposed,
    )


def _pool(operation: str, args: tuple[Any, ...]) -> tuple[int, int, int] | None:
    if operation not in ("max_pool2d_with_indices", "max_pool2d"):
        return None
    stride = args[2] if len(args) > 2 and args[2] else args[1]
    return pooling(args[1], stride, args[3] if len(args) > 3 else [0])


@contextmanager
def _module_names(names: dict[int, str], where: list[str]) -> Iterator[None]:
    """Keep the name of the module at work at the end of `where`."""

    def enter(part: nn.Module, _: Any) -> None:
        # a module that is not a part of the network, such as a helper, has the name around it
        where.append(names.get(id(part), where[-1] if where else ""))

    def leave(part: nn.Module, _: Any, __: Any) -> None:
        where.pop()

    hooks = [
        nn.modules.module.register_module_forward_pre_hook(enter),
        nn.modules.module.register_module_forward_hook(leave, always_call=True),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _tensor_of(result: Any) -> Tensor:
    """Scores that a module gives: a tensor, or the first one of a tuple such as a QuantTensor."""
    value = getattr(result, "value", result)
    if isinstance(value, tuple) and value:
        value = value[0]
    if not isinstance(value, Tensor) or value.ndim != 2:
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ImportRefusedError(
            f"the module must give scores of shape (images, classes), got {shape}"
        )
    return value
