"""Reference nets and losses: parameter counts and laws of the weights by hand, second derivatives by two routes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.func import functional_call, grad, hessian, jvp, vmap

from sgdmodels.errors import InvalidArgument
from sgdmodels.networks.losses import cross_entropy, logistic, squared_error, squared_error_without_half
from sgdmodels.networks.nets import cnn, mlp, resnet, transformer
from sgdmodels.networks.nets.blocks import ACTIVATIONS, LayerNorm, Patches

DOUBLE: dict[str, Any] = {"seed": 1, "dtype": torch.float64}
NETS: dict[str, Callable[..., nn.Sequential]] = {
    "mlp": lambda **kw: mlp([4, 3, 2], **kw),
    "cnn": lambda **kw: cnn((1, 4, 4), 2, widths=[2], **kw),
    "resnet": lambda **kw: resnet((1, 4, 4), 2, widths=[2, 3], **kw),
    "patches": lambda **kw: transformer((1, 4, 4), 2, width=4, patch=2, **kw),
    "sequence": lambda **kw: transformer((3, 2), 2, width=4, **kw),
    "tokens": lambda **kw: transformer((3,), 2, width=4, vocabulary=5, **kw),
}


@pytest.fixture(autouse=True)
def random_state_untouched() -> Iterator[None]:
    before = torch.get_rng_state()
    yield
    assert torch.equal(torch.get_rng_state(), before)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def inputs_for(name: str, n: int = 3) -> Tensor:
    if name == "tokens":
        return torch.randint(5, (n, 3), generator=generator())
    shape = {"mlp": (4,), "sequence": (3, 2)}.get(name, (1, 4, 4))
    return torch.randn(n, *shape, generator=generator(), dtype=torch.float64)


def count(net: nn.Module) -> int:
    return sum(value.numel() for value in net.parameters())


def flat_loss(net: nn.Module, inputs: Tensor, targets: Tensor) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """Mean squared_error as a function of one vector of parameters, and that vector."""
    names, values = zip(*net.named_parameters(), strict=True)
    sizes = [value.numel() for value in values]

    def loss(theta: Tensor) -> Tensor:
        parts = [p.reshape(v.shape) for p, v in zip(theta.split(sizes), values, strict=True)]
        return squared_error(functional_call(net, dict(zip(names, parts, strict=True)), (inputs,)), targets).mean()

    return loss, torch.cat([value.detach().reshape(-1) for value in values])


# Shapes and counts, by hand


@pytest.mark.parametrize(
    ("net", "parameters"),
    [
        (mlp([64, 32, 32, 10]), 65 * 32 + 33 * 32 + 33 * 10),
        (mlp([64, 32, 10], bias=False), 64 * 32 + 32 * 10),
        (cnn((3, 8, 8), 10, widths=[4, 6]), 4 * (27 + 1) + 6 * (36 + 1) + 10 * (6 * 4 + 1)),
        (resnet((3, 8, 8), 10, widths=[4, 6], blocks=2), 112 + 4 * 4 * 37 + 6 * 5 + 4 * 6 * 55 + 10 * 7),
        # patch embedding, positions, norms, attention, perceptron, head
        (transformer((1, 8, 8), 10, width=6), 6 * 17 + 4 * 6 + 3 * 12 + 3 * 36 + 42 + 24 * 7 + 6 * 25 + 10 * 7),
        (transformer((7,), 5, width=4, vocabulary=11, blocks=1), 44 + 28 + 24 + 48 + 20 + 80 + 68 + 25),
    ],
)
def test_parameter_counts(net: nn.Module, parameters: int) -> None:
    assert count(net) == parameters


def test_recipe_net_has_3466_parameters() -> None:
    net = mlp([64, 32, 32, 10])
    assert count(net) == 3466
    assert [type(layer) for layer in net] == [nn.Linear, nn.GELU, nn.Linear, nn.GELU, nn.Linear]


def test_patches_keep_every_pixel_in_place() -> None:
    image = torch.arange(32.0).reshape(1, 2, 4, 4)
    assert Patches(2)(image)[0, 1].tolist() == [2, 3, 6, 7, 18, 19, 22, 23]  # top right square, both channels


def test_layer_norm_is_that_of_torch() -> None:
    ours, theirs = LayerNorm(6).double(), nn.LayerNorm(6, dtype=torch.float64)
    with torch.no_grad():
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            other.copy_(torch.randn(6, generator=generator(), dtype=torch.float64))
            mine.copy_(other)
    tokens = torch.randn(4, 3, 6, generator=generator(1), dtype=torch.float64)
    torch.testing.assert_close(ours(tokens), theirs(tokens))


def test_residual_scale_zero_leaves_the_stem_and_the_head() -> None:
    net = resnet((1, 4, 4), 2, widths=[3], residual_scale=0.0, **DOUBLE)
    images = inputs_for("resnet")
    direct = net[-1](nn.functional.gelu(net[0](images)).mean((2, 3)))
    torch.testing.assert_close(net(images), direct)


def test_attention_is_that_of_torch() -> None:
    net = transformer((3, 2), 2, width=6, heads=3, **DOUBLE)
    attention = net[2].attention[1]
    theirs = nn.MultiheadAttention(6, 3, dtype=torch.float64, device="meta", batch_first=True).to_empty(device="cpu")
    with torch.no_grad():
        theirs.in_proj_weight.copy_(attention.triple.weight)
        theirs.in_proj_bias.zero_()
        theirs.out_proj.weight.copy_(attention.mix.weight)
        theirs.out_proj.bias.copy_(attention.mix.bias)
    tokens = torch.randn(4, 3, 6, generator=generator(), dtype=torch.float64)
    torch.testing.assert_close(attention(tokens), theirs(tokens, tokens, tokens)[0])


@pytest.mark.parametrize(
    "call",
    [
        lambda: mlp([64]),
        lambda: mlp([64, 0]),
        lambda: mlp("64"),  # type: ignore[arg-type]
        lambda: mlp([2, 2], "gelo"),
        lambda: mlp([2, 2], init="he"),
        lambda: mlp([2, 2], init_scale=-1.0),
        lambda: mlp([2, 2], seed=-1),
        lambda: mlp([2, 2], dtype=torch.float16),
        lambda: cnn((1, 6, 6), 2),
        lambda: cnn((6, 6), 2),
        lambda: resnet((1, 3, 3), 2),
        lambda: resnet((1, 4, 4), 2, residual_scale=-1.0),
        lambda: transformer((1, 8, 8), 2, patch=3),
        lambda: transformer((1, 8, 8), 2, width=5),
        lambda: transformer((8,), 2),
        lambda: transformer((8, 2), 2, vocabulary=3),
        lambda: transformer((1, 1, 8, 8), 2),
    ],
)
def test_nets_refuse(call: Callable[[], nn.Module]) -> None:
    with pytest.raises(InvalidArgument):
        call()


# Initial weights


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("init", ["default", "normal", "kaiming"])
def test_one_seed_is_one_net_for_every_dtype(name: str, init: str) -> None:
    twice = [
        NETS[name](seed=5, init=init, init_scale=0.7, dtype=d) for d in (torch.float64, torch.float64, torch.float32)
    ]
    other = NETS[name](seed=6, init=init, init_scale=0.7, dtype=torch.float64)
    for a, b, c in zip(*(net.parameters() for net in twice), strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a.float(), c)
        assert a.isfinite().all()
    assert any(not torch.equal(a, b) for a, b in zip(twice[0].parameters(), other.parameters(), strict=True))


def test_default_is_torch_s_own() -> None:
    """The same draws in the same order as torch's layers make from a global state of that seed."""
    ours = mlp([5, 4, 3], **DOUBLE)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        theirs = nn.Sequential(nn.Linear(5, 4, dtype=torch.float64), nn.GELU(), nn.Linear(4, 3, dtype=torch.float64))
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_default_scale_multiplies() -> None:
    whole, half = mlp([5, 4], **DOUBLE), mlp([5, 4], init_scale=0.5, **DOUBLE)
    for a, b in zip(whole.parameters(), half.parameters(), strict=True):
        torch.testing.assert_close(a / 2, b)


@pytest.mark.parametrize(("init", "variance"), [("normal", 0.36), ("kaiming", 0.72)])
def test_normal_weights_have_the_stated_variance(init: str, variance: float) -> None:
    """Every layer of two nets against chi-square; 1e-4 for each of the 6 two-sided tests."""
    layers = [*mlp([64, 32, 32, 10], init=init, init_scale=0.6, **DOUBLE)]
    layers += [*cnn((3, 8, 8), 10, init=init, init_scale=0.6, **DOUBLE)]
    layers = [layer for layer in layers if isinstance(layer, nn.Linear | nn.Conv2d)]
    assert len(layers) == 6
    for layer in layers:
        weights = layer.weight.detach()
        scaled = float(weights.square().sum()) * weights[0].numel() / variance
        assert stats.chi2.ppf(5e-5, weights.numel()) < scaled < stats.chi2.ppf(1 - 5e-5, weights.numel())
        assert not layer.bias.any()
    assert stats.kstest(layers[0].weight.detach().numpy().ravel() * 8 / math.sqrt(variance), "norm").pvalue > 1e-4


# Second derivatives


@pytest.mark.parametrize("name", NETS)
def test_hessians_are_symmetric_and_match_differences(name: str) -> None:
    inputs, targets = inputs_for(name), torch.randn(3, 2, generator=generator(1), dtype=torch.float64)
    loss, theta = flat_loss(NETS[name](activation="tanh", **DOUBLE), inputs, targets)
    matrix = hessian(loss)(theta)
    torch.testing.assert_close(matrix, matrix.T, rtol=0, atol=1e-12 * float(matrix.abs().max()))
    direction = torch.randn(len(theta), generator=generator(2), dtype=torch.float64)
    h = 1e-5  # central differences of gradients: h^2 f'''' and eps/h, each about 1e-10 of the Hessian's size
    differences = (grad(loss)(theta + h * direction) - grad(loss)(theta - h * direction)) / (2 * h)
    torch.testing.assert_close(matrix @ direction, differences, rtol=1e-6, atol=1e-6 * float(differences.abs().max()))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_has_second_derivatives(activation: str) -> None:
    loss, theta = flat_loss(mlp([4, 3, 2], activation, **DOUBLE), inputs_for("mlp"), torch.zeros(3, 2).double())
    v = torch.randn(len(theta), generator=generator(2), dtype=torch.float64)
    h = 1e-6
    slope = (loss(theta + h * v) - loss(theta - h * v)) / (2 * h)
    torch.testing.assert_close(grad(loss)(theta) @ v, slope, rtol=1e-6, atol=1e-9)
    second = jvp(lambda t: jvp(loss, (t,), (v,))[1], (theta,), (v,))[1]
    torch.testing.assert_close(v @ hessian(loss)(theta) @ v, second, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", NETS)
def test_per_sample_gradients_by_vmap_are_those_one_by_one(name: str) -> None:
    net, inputs = NETS[name](**DOUBLE), inputs_for(name)
    parameters = {key: value.detach() for key, value in net.named_parameters()}

    def loss(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        return squared_error(functional_call(net, parameters, (x[None],)), torch.ones(1, 2).double())[0]

    together = vmap(grad(loss), in_dims=(None, 0))(parameters, inputs)
    for i, x in enumerate(inputs):
        for key, value in grad(loss)(parameters, x).items():
            torch.testing.assert_close(together[key][i], value)


# Losses


def test_losses_by_hand() -> None:
    outputs, targets = torch.tensor([[1.0, 2.0], [0.0, -1.0]]), torch.tensor([[0.0, 0.0], [1.0, -1.0]])
    assert squared_error(outputs, targets).tolist() == [2.5, 0.5]
    assert squared_error(outputs[:, 0], targets[:, 0]).tolist() == [0.5, 0.5]
    assert squared_error_without_half(outputs, targets).tolist() == [5.0, 1.0]
    theirs = nn.functional.cross_entropy(outputs, torch.tensor([1, 0]), reduction="none")
    torch.testing.assert_close(cross_entropy(outputs, torch.tensor([1, 0])), theirs)
    torch.testing.assert_close(cross_entropy(outputs, torch.tensor([[0.0, 1.0], [1.0, 0.0]])), theirs)
    # two classes with scores +-f/2 are the logistic loss
    scores, labels = torch.tensor([3.0, -0.5, 60.0]), torch.tensor([1.0, -1.0, -1.0])
    pair = torch.stack([-scores / 2, scores / 2], 1)
    torch.testing.assert_close(logistic(scores, labels), cross_entropy(pair, ((labels + 1) / 2).long()))
    assert logistic(scores[:, None], labels[:, None]).shape == (3,)


def second_derivative(loss: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    return hessian(lambda outputs: loss(outputs[None])[0])(at)


def test_curvatures_in_the_outputs_by_hand() -> None:
    f = torch.tensor([0.3, -1.2, 0.5], dtype=torch.float64)
    p = f.softmax(0)
    softmax = torch.diag(p) - torch.outer(p, p)
    eye, zeros = torch.eye(3, dtype=torch.float64), torch.zeros(1, 3, dtype=torch.float64)
    torch.testing.assert_close(second_derivative(lambda o: squared_error(o, zeros), f), eye)
    torch.testing.assert_close(second_derivative(lambda o: squared_error_without_half(o, zeros), f), 2 * eye)
    torch.testing.assert_close(second_derivative(lambda o: cross_entropy(o, torch.tensor([1])), f), softmax)
    torch.testing.assert_close(second_derivative(lambda o: cross_entropy(o, p[None]), f), softmax)
    for score in (-30.0, 0.7, 30.0):  # also far out, where a thresholded softplus would say 0
        at = torch.tensor([score], dtype=torch.float64)
        exact = torch.exp(-at.abs()) / (1 + torch.exp(-at.abs())) ** 2
        found = second_derivative(lambda o: logistic(o, torch.ones(1, 1).double()), at)[0]
        # 1 - sigmoid(f) cancels: a rounding error of 1, not of the curvature
        torch.testing.assert_close(found, exact, rtol=0, atol=2**-52)
        assert found > 0


@pytest.mark.parametrize(
    ("loss", "outputs", "targets"),
    [
        (squared_error, torch.zeros(3), torch.zeros(3, 1)),
        (squared_error_without_half, torch.zeros(3, 1), torch.zeros(3)),
        (cross_entropy, torch.zeros(3), torch.zeros(3).long()),
        (cross_entropy, torch.zeros(3, 2), torch.zeros(3, 1).long()),
        (cross_entropy, torch.zeros(3, 2), torch.zeros(3)),
        (logistic, torch.zeros(3, 2), torch.zeros(3, 2)),
        (logistic, torch.zeros(3, 1), torch.zeros(3)),
    ],
)
def test_losses_refuse_shapes_that_would_broadcast(loss: Any, outputs: Tensor, targets: Tensor) -> None:
    with pytest.raises(InvalidArgument):
        loss(outputs, targets)
