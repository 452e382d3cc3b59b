"""Networks as others write them, in plain PyTorch and in the idiom of Brevitas."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from bnn import ImageSet, from_torch
from bnn.engines.dense import dense
from bnn.engines.packed import packed
from bnn.importing import source_folding
from bnn.importing.source_graph import PixelEncoding
from bnn.importing.source_stages import ImportRefusedError
from bnn.machine.threads import torch_threads
from bnn.networks.network import ConvLayer, HiddenLayer, layer_signs

SYMMETRIC = PixelEncoding((64,), 2 / 255, -1.0)
UNIT = PixelEncoding((1, 8, 8))
NORMALIZED = PixelEncoding((1, 8, 8), 1 / (255 * 0.31), -0.13 / 0.31)
INVERTED = PixelEncoding((8, 8), -1 / 255, 1.0)


class SignSTE(torch.autograd.Function):
    """Sign with the straight-through gradient of hard tanh."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        ctx.save_for_backward(values)
        return torch.where(values >= 0, 1.0, -1.0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (values,) = ctx.saved_tensors
        return gradient * (values.abs() <= 1)


class Sign(nn.Module):
    """Activation."""

    def forward(self, values: Tensor) -> Tensor:
        result: Tensor = SignSTE.apply(values)
        return result


class BinaryQuantizer(nn.Module):
    """Binary quantizer of Brevitas in its behaviour: a scale that is kept beside the sign."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(scale))

    def forward(self, values: Tensor) -> Tensor:
        result: Tensor = SignSTE.apply(values) * self.scale
        return result


class QuantLinear(nn.Linear):
    """Linear layer that quantizes its latent weights in the forward pass."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)
        self.weight_quant = BinaryQuantizer(0.1)

    def forward(self, values: Tensor) -> Tensor:
        return nn.functional.linear(values, self.weight_quant(self.weight))


class BinaryLinear(nn.Linear):
    """Linear layer with the mean magnitude of each neuron as its scale, and a bias."""

    def forward(self, values: Tensor) -> Tensor:
        scale = self.weight.abs().mean(dim=1, keepdim=True)
        return nn.functional.linear(values, SignSTE.apply(self.weight) * scale, self.bias)


class BinaryConv(nn.Conv2d):
    """Convolution of signs."""

    def forward(self, values: Tensor) -> Tensor:
        return nn.functional.conv2d(values, SignSTE.apply(self.weight), None, 1, self.padding)


def plain() -> nn.Sequential:
    """Plain PyTorch."""
    return nn.Sequential(
        nn.Flatten(),
        BinaryLinear(64, 80),
        nn.BatchNorm1d(80),
        nn.Hardtanh(),
        Sign(),
        nn.Dropout(0.1),
        BinaryLinear(80, 40),
        nn.BatchNorm1d(40),
        Sign(),
        BinaryLinear(40, 10),
    )


def like_brevitas() -> nn.Sequential:
    """Weight and activation quantizers with scales."""
    layers: list[nn.Module] = []
    for inputs, outputs in ((64, 70), (70, 50)):
        layers += [QuantLinear(inputs, outputs), nn.BatchNorm1d(outputs), BinaryQuantizer(0.37)]
    return nn.Sequential(*layers, QuantLinear(50, 10), nn.BatchNorm1d(10))


def trained(module: nn.Module, images: ImageSet, encoding: PixelEncoding) -> nn.Module:
    """Train on the whole training set at a time."""
    pixels = torch.from_numpy(encoding(images.train_images))
    labels = torch.from_numpy(images.train_labels.copy())
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    with torch_threads(1):
        for _ in range(40):
            loss = nn.functional.cross_entropy(module(pixels), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return module.eval()


def with_random_norms(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give batch norms statistics of their own, with factors of both signs."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
                part.running_mean.normal_(generator=generator)  # type: ignore[union-attr]
                part.running_var.uniform_(0.5, 2.0, generator=generator)  # type: ignore[union-attr]
                part.weight.normal_(generator=generator)
                part.bias.normal_(generator=generator)
    return module.eval()


@pytest.mark.parametrize("encoding", [SYMMETRIC, UNIT, NORMALIZED, INVERTED])
@pytest.mark.parametrize("make", [plain, like_brevitas])
def test_trained_networks_answer_like_their_source(
    make: Any, encoding: PixelEncoding, digits: ImageSet
) -> None:
    if make is like_brevitas:
        encoding = PixelEncoding((64,), encoding.scale, encoding.offset)
    torch.manual_seed(1)
    module = trained(make(), digits, encoding)
    images = np.concatenate([digits.test_images, digits.train_images])
    found = from_torch(module, images, encoding=encoding)
    answers = packed.predict(found.network, packed.prepare(images), threads=1)
    with torch.no_grad():
        expected = module(torch.from_numpy(encoding(images))).argmax(dim=1).numpy()
    np.testing.assert_array_equal(answers, expected)
    # it has learnt something (0.79 and more seen), so the answers are no accident
    assert (answers[:600] == digits.test_labels).mean() > 0.7
    assert found.record["source"]["round_trip_images"] == 1797
    last = [value for value in module.parameters() if value.ndim == 2][-1]
    signs = layer_signs(found.network.layers[-1])
    np.testing.assert_array_equal(signs, np.where(last.detach() >= 0, 1, -1))


def convolutional(order: str) -> nn.Sequential:
    tail = {"p": nn.MaxPool2d(2), "n": nn.BatchNorm2d(9), "s": Sign()}
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        BinaryConv(1, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        Sign(),
        BinaryConv(6, 9, 3, padding=1),
        *(tail[letter] for letter in order),
        nn.Flatten(),
        BinaryLinear(144, 20),
        nn.BatchNorm1d(20),
        Sign(),
        BinaryLinear(20, 10),
        nn.LogSoftmax(1),
    )


@pytest.mark.parametrize("order", ["pns", "nps", "nsp"])
def test_pooling_anywhere_between_convolution_and_sign(order: str, digits: ImageSet) -> None:
    module = with_random_norms(convolutional(order))
    found = from_torch(module, digits.test_images, encoding=SYMMETRIC)
    _, second, *_ = found.network.layers
    assert isinstance(second, ConvLayer)
    assert second.pool == 2
    # a falling threshold before the pooling is a rising one of the opposite weights
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    falling = (norms[1].weight < 0).numpy()
    assert falling.any()
    np.testing.assert_array_equal(second.direction == -1, falling & (order == "pns"))
    values = torch.from_numpy(SYMMETRIC(digits.test_images))
    for part in list(module.children())[:8]:
        values = part(values)
    z = dense.pre_activations(found.network, dense.prepare(digits.test_images), threads=1)[1]
    fired = np.tile(second.direction, 16) * z >= np.tile(second.threshold, 16)
    np.testing.assert_array_equal(fired, values.permute(0, 2, 3, 1).flatten(1).detach().numpy() > 0)
    assert 0.1 < fired.mean() < 0.9


def test_a_forward_pass_without_layers_of_its_own_is_read(digits: ImageSet) -> None:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Parameter(torch.randn(30, 64))
            self.second = nn.Parameter(torch.randn(10, 30))

        def forward(self, values: Tensor) -> Tensor:
            one, two = (torch.where(part >= 0, 0.5, -0.5) for part in (self.first, self.second))
            hidden = torch.where(values @ one.T + 0.3 > 0, 1.0, 0.0)
            return 3 * torch.addmm(torch.arange(10.0), hidden, two.T)

    torch.manual_seed(3)
    found = from_torch(Functional().eval(), digits.test_images, encoding=SYMMETRIC)
    assert found.network.sizes == (64, 30, 10)


def test_parametrized_weights_are_read_as_they_are_used(digits: ImageSet) -> None:
    torch.manual_seed(4)
    module = nn.Sequential(nn.Linear(64, 30), nn.BatchNorm1d(30), Sign(), nn.Linear(30, 10))
    with pytest.raises(ImportRefusedError, match=r"by layer: '0': 100\.0%; '3': 100\.0%\. Latent"):
        from_torch(module.eval(), digits.test_images, encoding=SYMMETRIC)
    for layer in (module[0], module[3]):
        parametrize.register_parametrization(layer, "weight", Sign())
    assert from_torch(module.eval(), digits.test_images, encoding=SYMMETRIC).network.sizes == (
        64,
        30,
        10,
    )


def test_constant_neurons_and_ties(digits: ImageSet) -> None:
    module = nn.Sequential(BinaryLinear(64, 4, bias=False), nn.BatchNorm1d(4, eps=0.0), Sign())
    module.append(BinaryLinear(4, 10))
    with torch.no_grad():
        module[0].weight.copy_(torch.ones(4, 64))
        module[1].weight[:] = torch.tensor([1.0, -1.0, 0.0, 0.0])
        module[1].bias[2:] = torch.tensor([0.0, -1e-9])
    # pixels 127 and 128 are -1 and +1: sums of 64 of them, with ties at 0
    images = np.random.default_rng(0).integers(127, 129, (200, 64), dtype=np.uint8)
    encoding = PixelEncoding((64,), 2.0, -255.0)
    first = from_torch(module.eval(), images, encoding=encoding).network.layers[0]
    assert isinstance(first, HiddenLayer)
    lowest, highest = np.iinfo(np.int32).min, np.iinfo(np.int32).max
    assert first.threshold.tolist() == [0, 0, lowest, highest]
    assert first.direction.tolist() == [1, -1, 1, 1]


def partly_binary() -> nn.Sequential:
    module = nn.Sequential(nn.Linear(64, 10), nn.BatchNorm1d(10), Sign(), nn.Linear(10, 10))
    with torch.no_grad():
        for layer in (module[0], module[3]):
            layer.weight.copy_(layer.weight.sign() * 0.3)
        module[3].weight.view(-1)[:7] = 0.0
    return module


class Shortcut(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = BinaryLinear(64, 64), BinaryLinear(64, 10)

    def forward(self, values: Tensor) -> Tensor:
        result: Tensor = self.second(SignSTE.apply(self.first(values)) + values)
        return result


def chain(*between: nn.Module, first: nn.Module | None = None) -> nn.Sequential:
    return nn.Sequential(first or BinaryLinear(64, 12), *between, BinaryLinear(12, 10))


def maps(*between: nn.Module, **options: Any) -> nn.Sequential:
    convolution = BinaryConv(1, 4, 3, **{"padding": 1, **options})
    return nn.Sequential(nn.Unflatten(1, (1, 8, 8)), convolution, *between)


@pytest.mark.parametrize(
    ("module", "encoding", "message"),
    [
        (partly_binary(), SYMMETRIC, r"by layer: '3': 7\.0%"),
        (Shortcut(), SYMMETRIC, "add joins values from different places"),
        (chain(nn.Sigmoid()), SYMMETRIC, r"'2' must read two values.* '1' \(sigmoid\)"),
        (chain(), SYMMETRIC, "'1' must read two values, but after '0'"),
        (chain(nn.LayerNorm(12), Sign()), SYMMETRIC, r"not understood: '1' \(native_layer_norm\)"),
        (maps(Sign(), nn.AvgPool2d(8), nn.Flatten(), BinaryLinear(4, 10)), SYMMETRIC, "avg_pool2d"),
        (maps(Sign(), nn.MaxPool2d(4), nn.Flatten(), BinaryLinear(16, 10)), SYMMETRIC, "2 x 2"),
        (maps(Sign(), nn.Flatten(), BinaryLinear(256, 10)), UNIT, "pads with 0"),
        (
            maps(Sign(), nn.Flatten(), BinaryLinear(144, 10), padding=0),
            SYMMETRIC,
            "padding of half",
        ),
        (
            chain(Sign(), first=nn.Sequential(Sign(), BinaryLinear(64, 12))),
            SYMMETRIC,
            "no straight",
        ),
        (nn.Sequential(BinaryLinear(64, 10), nn.ReLU()), SYMMETRIC, r"straight line.*'1' \(relu\)"),
        (maps(Sign()), SYMMETRIC, "must give scores of shape"),
        (nn.Sequential(nn.Flatten()), SYMMETRIC, "no linear layer or convolution"),
    ],
)
def test_what_cannot_be_imported_is_named(
    module: nn.Module, encoding: PixelEncoding, message: str, digits: ImageSet
) -> None:
    if encoding is UNIT:
        encoding = PixelEncoding((64,))
    with pytest.raises(ImportRefusedError, match=message):
        from_torch(module.eval(), digits.test_images[:50], encoding=encoding)


def test_channels_of_different_scale_are_refused() -> None:
    module = nn.Sequential(nn.Flatten(), BinaryLinear(48, 10)).eval()
    images = np.random.default_rng(0).integers(0, 256, (20, 48), dtype=np.uint8)
    shifted = PixelEncoding((3, 4, 4), 1 / 255, (-0.1, 0.0, 0.4))
    assert from_torch(module, images, encoding=shifted).network.sizes == (48, 10)
    scaled = PixelEncoding((3, 4, 4), (0.01, 0.02, 0.01))
    with pytest.raises(ImportRefusedError, match=r"scaled by 0\.01 to 0\.02; a first layer"):
        from_torch(module, images, encoding=scaled)
    with pytest.raises(ValueError, match=r"shape \(3, 4, 5\) does not hold the 48 pixels"):
        from_torch(module, images, encoding=PixelEncoding((3, 4, 5)))


def test_training_mode_is_refused(digits: ImageSet) -> None:
    with pytest.raises(ValueError, match=r"call module\.eval\(\)"):
        from_torch(plain(), digits.test_images, encoding=SYMMETRIC)


def test_different_answers_are_refused(digits: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: a folded network with other thresholds than its source, with many tied scores."""
    module = with_ties(0.1)
    assert from_torch(module, digits.test_images, encoding=SYMMETRIC).network.sizes[-1] == 10
    folded = source_folding.fold_source

    def wrong(*arguments: Any) -> Any:
        found = folded(*arguments)
        stage = found.stages[0]
        layer = dataclasses.replace(stage.layer, threshold=stage.layer.threshold + 500)
        return dataclasses.replace(
            found, stages=(dataclasses.replace(stage, layer=layer), *found.stages[1:])
        )

    monkeypatch.setattr("bnn.importing.torch_import.fold_source", wrong)
    with pytest.raises(ImportRefusedError, match="answers differ from the source, first at image"):
        from_torch(module, digits.test_images, encoding=SYMMETRIC)


class ScaledWeights(nn.Module):
    """Products with weights +a and -a, a sign between each two; a batch norm before the first."""

    def __init__(self, *sizes: int, magnitude: float, norm: bool) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weights = nn.ParameterList(
            torch.where(torch.rand(rows, columns, generator=generator) < 0.5, -magnitude, magnitude)
            for columns, rows in zip(sizes, sizes[1:], strict=False)
        )
        self.norm = nn.BatchNorm1d(sizes[1]) if norm else nn.Identity()

    def forward(self, values: Tensor) -> Tensor:
        first, *further = self.weights
        values = self.norm(values @ first.T)
        for weight in further:
            values = SignSTE.apply(values) @ weight.T
        return values


def with_ties(magnitude: float) -> nn.Module:
    return with_random_norms(ScaledWeights(64, 32, 10, magnitude=magnitude, norm=True))


@pytest.mark.parametrize(("magnitude", "differ"), [(0.1, True), (0.3, True), (0.125, False)])
def test_tied_scores_may_be_answered_either_way(
    magnitude: float, differ: bool, digits: ImageSet
) -> None:
    """Scores are multiples of 2 a: equal ones are rounded apart unless a is a power of two."""
    module = with_ties(magnitude)
    found = from_torch(module, digits.test_images, encoding=SYMMETRIC)
    source = found.record["source"]
    assert (source["differ_at_ties"] > 0) == differ
    assert source["differ_by_hidden_rounding"] == 0
    with torch.no_grad():
        scores = module(torch.from_numpy(SYMMETRIC(digits.test_images))).numpy()
    steps = np.rint(scores / (2 * magnitude))
    best = steps == steps.max(axis=1, keepdims=True)
    assert source["tied_images"] == (best.sum(axis=1) > 1).sum() > 60
    # the first of the best classes, with exact sums
    answers = packed.predict(found.network, packed.prepare(digits.test_images), threads=1)
    np.testing.assert_array_equal(answers, best.argmax(axis=1))
    assert source["differ_at_ties"] == (answers != scores.argmax(axis=1)).sum()


@pytest.mark.parametrize("last", [nn.Softmax(1), nn.LogSoftmax(1)])
def test_tied_scores_behind_a_softmax(last: nn.Module, digits: ImageSet) -> None:
    module = nn.Sequential(with_ties(0.1), last).eval()
    source = from_torch(module, digits.test_images, encoding=SYMMETRIC).record["source"]
    plain = from_torch(with_ties(0.1), digits.test_images, encoding=SYMMETRIC).record["source"]
    assert source["tied_images"] == plain["tied_images"]


def test_hidden_sums_that_rounding_moves_over_their_threshold(digits: ImageSet) -> None:
    """Sums of +0.1 and -0.1 that are 0 on paper: the sign of the source is that of its rounding."""
    module = ScaledWeights(64, 64, 64, 10, magnitude=0.1, norm=False).eval()
    message = r"\d+ of 600 answers differ.*; all of them because hidden sums lie at their thresh"
    with pytest.raises(ImportRefusedError, match=message):
        from_torch(module, digits.test_images, encoding=SYMMETRIC)
    # few of them are counted; what the layers do is compared one by one
    module = ScaledWeights(64, 64, 64, 10, magnitude=0.125, norm=False).eval()
    source = from_torch(module, digits.test_images, encoding=SYMMETRIC).record["source"]
    assert source["differ_at_ties"] == 0
    assert 0 < source["differ_by_hidden_rounding"] <= 6
