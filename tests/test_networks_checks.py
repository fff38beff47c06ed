"""What cannot be measured is refused with its reason; what can is let through; nothing is changed either way."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from sgdmodels.errors import InvalidArgument
from sgdmodels.networks.checking.checks import check_mode, check_network
from sgdmodels.networks.losses import cross_entropy, logistic, squared_error, squared_error_without_half
from sgdmodels.networks.nets import cnn, mlp, resnet, transformer


def images(n: int = 12) -> Tensor:
    return torch.randn(n, 1, 4, 4, generator=torch.Generator().manual_seed(0))


def features(n: int = 12) -> Tensor:
    return images(n).flatten(1)


class Function(nn.Module):
    """A linear layer whose outputs go through a function."""

    def __init__(self, function: Callable[[Tensor], Any], outputs: int = 2) -> None:
        super().__init__()
        self.linear = nn.Linear(16, outputs)
        self.function = function

    def forward(self, inputs: Tensor) -> Any:
        return self.function(self.linear(inputs.flatten(1)))


def around(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 4), *layers, nn.Linear(4, 2))


class Fused(nn.Module):
    """Self-attention by torch's own function on (n, 1 head, 4 tokens, 4), which fused kernels take."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        tokens = self.linear(inputs)
        return nn.functional.scaled_dot_product_attention(tokens, tokens, tokens).mean((1, 2))[:, :2]


class FirstOnly(torch.autograd.Function):
    """Doubles its input; its backward can not be differentiated."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:
        return 2 * inputs

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        return 2 * slope


class WrongTwice(torch.autograd.Function):
    """x^3, whose backward is right and differentiates to half of what is right."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:
        ctx.save_for_backward(inputs)
        return inputs**3

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        (inputs,) = ctx.saved_tensors
        return 3 * inputs * inputs.detach() * slope


class Lopsided(torch.autograd.Function):
    """(x_0 x_1, x_1), whose backward forgets one of the two mixed second derivatives."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:
        ctx.save_for_backward(inputs)
        return torch.stack([inputs[:, 0] * inputs[:, 1], inputs[:, 1]], 1)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        (inputs,) = ctx.saved_tensors
        return torch.stack([inputs[:, 1].detach() * slope[:, 0], inputs[:, 0] * slope[:, 0] + slope[:, 1]], 1)


def narrowed(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """In single precision inside, as layers that normalise in float32 do."""
    return lambda inputs: function(inputs.float()).to(inputs.dtype)


class ExplicitWeightNorm(nn.Module):
    """A parametrization by length and direction, made of differentiable operations."""

    def forward(self, length: Tensor, direction: Tensor) -> Tensor:
        return length * direction / direction.norm(dim=1, keepdim=True)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return weight.norm(dim=1, keepdim=True), weight


def explicit_weight_norm() -> nn.Module:
    net = mlp([16, 4, 2], "tanh")
    nn.utils.parametrize.register_parametrization(net[0], "weight", ExplicitWeightNorm(), unsafe=True)
    return net


def weight_norm(normed: Callable[[nn.Module], nn.Module]) -> nn.Module:
    return nn.Sequential(normed(nn.Linear(16, 4)), nn.Tanh(), nn.Linear(4, 2))


def old_weight_norm(layer: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return nn.utils.weight_norm(layer)


class Counter(nn.Module):
    """Its buffer, and with it the output, grows with each call."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 2)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls += 1
        return self.calls * self.linear(inputs.flatten(1))


def state(net: nn.Module) -> tuple[Any, ...]:
    named = {name: value for name, value in net.state_dict(keep_vars=True).items() if not is_lazy(value)}
    tensors = {name: (id(value), value.detach().clone()) for name, value in named.items() if not value.is_meta}
    gradients = {name: value.grad for name, value in net.named_parameters()}
    return tensors, gradients, [module.training for module in net.modules()], torch.get_rng_state()


def check(net: Any, loss: Any, inputs: Any, targets: Any) -> None:
    """check_network, after which everything must be as before."""
    if not isinstance(net, nn.Module):
        check_network(net, loss, inputs, targets)
        return
    before = state(net)
    try:
        check_network(net, loss, inputs, targets)
    finally:
        after = state(net)
        for name, (identity, value) in before[0].items():
            assert after[0][name][0] == identity
            assert torch.equal(after[0][name][1].nan_to_num(7.0), value.nan_to_num(7.0))
        assert all(after[1][name] is gradient for name, gradient in before[1].items())
        assert after[2] == before[2]
        assert torch.equal(after[3], before[3])


LABELS = torch.tensor([0, 1] * 6)
ONE_HOT = torch.eye(2)[LABELS]


@pytest.mark.parametrize(
    ("net", "loss", "targets"),
    [
        (nn.Sequential(nn.Flatten(), mlp([16, 8, 2])), squared_error, ONE_HOT),
        (nn.Sequential(nn.Flatten(), mlp([16, 8, 2], "relu")), squared_error_without_half, ONE_HOT),
        (cnn((1, 4, 4), 2), cross_entropy, LABELS),
        (resnet((1, 4, 4), 2), cross_entropy, ONE_HOT),
        (transformer((1, 4, 4), 2, patch=2), nn.CrossEntropyLoss(reduction="none"), LABELS),
        (Function(lambda x: x[:, 0]), logistic, 2.0 * LABELS - 1),
        (Function(lambda x: x, outputs=1), logistic, 2.0 * LABELS[:, None] - 1),
        (around(nn.BatchNorm1d(4)).eval(), squared_error, ONE_HOT),
        (around(nn.Dropout(0.5)).eval(), squared_error, ONE_HOT),
        (around(nn.Dropout(0.0)), squared_error, ONE_HOT),
        (nn.Sequential(nn.InstanceNorm2d(1), nn.Flatten(), nn.Linear(16, 2)), squared_error, ONE_HOT),
        (nn.Sequential(nn.GroupNorm(1, 1), nn.Flatten(), nn.Linear(16, 2)), squared_error, ONE_HOT),
        (nn.Sequential(nn.Flatten(), explicit_weight_norm()), squared_error, ONE_HOT),
        (nn.Sequential(nn.Flatten(), mlp([16, 300, 300, 2], "relu")), squared_error, ONE_HOT),
        (around(nn.ReLU(inplace=True)), squared_error, ONE_HOT),
        (Function(lambda x: x.abs().clamp(0.1, 0.5)), squared_error, ONE_HOT),
        (Function(narrowed(lambda x: x.relu() * torch.rsqrt(x.square().mean(1, True) + 1e-3))), squared_error, ONE_HOT),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_can_be_measured_passes(net: nn.Module, loss: Any, targets: Tensor, dtype: torch.dtype) -> None:
    net = net.to(dtype)
    for value in net.parameters():
        value.grad = torch.ones_like(value)
    check(net, loss, images().to(dtype), targets.to(dtype) if targets.is_floating_point() else targets)
    assert all((value.grad == 1).all() for value in net.parameters())


def test_integer_tokens_single_samples_and_no_grad_pass() -> None:
    tokens = torch.randint(5, (12, 3), generator=torch.Generator().manual_seed(0))
    check(transformer((3,), 2, width=4, vocabulary=5), cross_entropy, tokens, LABELS)
    check(mlp([16, 2]), squared_error, features(1), ONE_HOT[:1])
    with torch.no_grad():
        check(mlp([16, 2]), squared_error, features(), ONE_HOT)


def test_padding_passes_and_sparse_gradients_are_refused() -> None:
    tokens = torch.randint(5, (12, 3), generator=torch.Generator().manual_seed(0))
    for options in ({}, {"padding_idx": 0}):
        check(
            nn.Sequential(nn.Embedding(5, 2, **options), nn.Tanh(), nn.Flatten(), nn.Linear(6, 2)),
            squared_error,
            tokens,
            ONE_HOT,
        )
    with pytest.raises(InvalidArgument, match=r"gradients of 0\.weight are sparse.*sparse=False"):
        check(
            nn.Sequential(nn.Embedding(5, 2, sparse=True), nn.Flatten(), nn.Linear(6, 2)),
            squared_error,
            tokens,
            ONE_HOT,
        )


def test_data_come_out_as_they_went_in() -> None:
    inputs, targets = features(), ONE_HOT.clone()
    for net, loss in (
        (Function(lambda x: x), lambda f, y: (f - y.mul_(2)).square().sum(1)),
        (nn.Sequential(nn.Hardtanh(inplace=True), nn.Linear(16, 2)), squared_error),
    ):
        with pytest.raises(InvalidArgument, match=r"writes into its .* changes your data"):
            check(net, loss, inputs, targets)
    assert torch.equal(inputs, features())
    assert torch.equal(targets, ONE_HOT)


def test_inference_mode_is_refused() -> None:
    with torch.inference_mode(), pytest.raises(InvalidArgument, match="inference_mode is on"):
        check_mode(mlp([16, 2]))
    with torch.inference_mode():
        inputs = features()
    with pytest.raises(InvalidArgument, match=r"inputs were made under.*inputs\.clone\(\)"):
        check(mlp([16, 2]), squared_error, inputs, ONE_HOT)


def test_the_mode_can_be_asked_again() -> None:
    net = around(nn.BatchNorm1d(4), nn.Dropout(0.5)).eval()
    check_mode(net)
    with pytest.raises(InvalidArgument, match="batch, so that the loss"):
        check_mode(net.train())


def test_interpolating_nets_pass() -> None:
    """Losses of rounding size, which differ between a sample alone and in a batch by as much as they are large."""
    net = nn.Linear(16, 2)
    with torch.no_grad():
        check(net, squared_error, features(), net(features()))


def with_nan(net: nn.Module) -> nn.Module:
    next(net.parameters()).data[0] = float("nan")
    return net


def frozen() -> nn.Module:
    net = mlp([16, 4, 2])
    net[0].weight.requires_grad_(False)
    return net


def unused() -> nn.Module:
    net = Function(lambda x: x)
    net.spare = nn.Linear(3, 3)
    return net


def mixed() -> nn.Module:
    return nn.Sequential(nn.Linear(16, 4), nn.Linear(4, 2).double())


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (lambda x: x, "must be a torch.nn.Module, got function"),
        (nn.Identity, "create an instance"),
        (nn.Identity(), "no parameters"),
        (around(nn.BatchNorm1d(4)), r"2 \(BatchNorm1d\).*net.eval\(\).*GroupNorm or LayerNorm"),
        (around(nn.SyncBatchNorm(4)), "SyncBatchNorm"),
        (around(nn.BatchNorm1d(4, track_running_stats=False)).eval(), "use GroupNorm"),
        (nn.Sequential(nn.InstanceNorm2d(1, track_running_stats=True), nn.Flatten(), nn.Linear(16, 2)), "running stat"),
        (around(nn.Dropout(0.1)), r"dropout is on in 2 \(Dropout, p = 0\.1\)"),
        (around(nn.AlphaDropout(0.1)), "AlphaDropout"),
        (nn.Sequential(nn.Dropout2d(0.1), nn.Flatten(), nn.Linear(16, 2)), "Dropout2d"),
        (nn.MultiheadAttention(4, 2, dropout=0.1), "MultiheadAttention, p = 0.1"),
        (nn.TransformerEncoderLayer(4, 2, dim_feedforward=4), "dropout"),
        (nn.LSTM(4, 2, num_layers=2, dropout=0.1), "LSTM"),
        (frozen(), r"parameters 0\.weight have requires_grad=False"),
        (unused(), r"does not depend on parameters spare\.weight, spare\.bias"),
        (mixed(), r"different dtypes: torch.float32 \(0\.bias\), torch.float64 \(1\.bias\)"),
        (nn.Sequential(nn.Linear(16, 4), nn.Linear(4, 2, device="meta")), "different devices"),
        (mlp([16, 2]).half(), "float16: fewer digits"),
        (mlp([16, 2]).bfloat16(), "bfloat16: fewer digits"),
        (nn.Bilinear(2, 2, 2, dtype=torch.complex64), "complex64"),
        (with_nan(mlp([16, 2])), r"parameters 0\.weight hold NaN"),
        (nn.LazyLinear(2), "no shape yet"),
        (Function(lambda x: nn.functional.dropout(x, 0.5)), "two forward passes"),
        (Function(lambda x: x + 1e-3 * torch.randn_like(x)), "two forward passes"),
        (Counter(), "two forward passes"),
        (Function(lambda x: x - x.mean(0)), "influence each other"),
        (Function(lambda x: x - x.mean(0).detach()), "influence each other"),
        (Function(lambda x: (x,)), "one tensor, got tuple"),
        (Function(lambda x: x.sum()), "one row per sample"),
        (Function(lambda x: x.bfloat16()), "turn off autocast"),
        (Function(lambda x: x / 0), "outputs are not finite"),
        (Function(lambda x: x.detach()), "depends on no parameter"),
        (Function(FirstOnly.apply), "no second derivatives"),
        (weight_norm(old_weight_norm), r"differ from finite differences.*parameters 0\.weight_.*weight_norm"),
        (weight_norm(nn.utils.parametrizations.weight_norm), r"finite differences.*parameters 0\.parametrizations"),
        (Function(WrongTwice.apply), r"finite differences.*by 0\.\d+ of their size.*autograd\.Function"),
        (Function(narrowed(Lopsided.apply)), "not symmetric"),
        (Function(lambda x: x + (x.round() - x).detach()), "finite differences"),
        (
            nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(16, 2)),
            "writes into its inputs.*without inplace",
        ),
        (mlp([15, 2]), r"fails on inputs of shape \(8, 16\)"),
    ],
)
def test_nets_are_refused_with_the_reason(net: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        check(net, squared_error, features() if not isinstance(net, nn.Sequential) else shaped(net), ONE_HOT)


def shaped(net: nn.Sequential) -> Tensor:
    """Images for nets that begin with an image layer."""
    return features() if isinstance(net[0], nn.Linear) else images()


def test_fused_attention_is_refused_where_it_has_no_second_derivative() -> None:
    tokens = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    fused = nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)
    (slope,) = torch.autograd.grad(fused.square().sum(), tokens, create_graph=True)
    try:
        torch.autograd.grad(slope.sum(), tokens)
    except RuntimeError:
        with pytest.raises(InvalidArgument, match=r"no second derivatives.*matmul and softmax"):
            check(Fused(), squared_error, images(), ONE_HOT)
    else:
        check(Fused(), squared_error, images(), ONE_HOT)


@pytest.mark.parametrize(
    ("loss", "targets", "message"),
    [
        (nn.CrossEntropyLoss(), LABELS, 'reduction="none"'),
        (nn.MSELoss(reduction="sum"), ONE_HOT, 'reduction="none"'),
        (nn.MSELoss(reduction="none"), ONE_HOT, r"got shape \(8, 2\).*flatten\(1\)\.sum\(1\)"),
        (lambda f, y: (f[:, :1] - y).square(), ONE_HOT[:, 0], "broadcast"),
        (lambda f, y: (f[:, :1] - y).square().mean(1), ONE_HOT[:, 0], "depends on the others"),
        (lambda f, y: (f - y).square().sum(1) / len(f), ONE_HOT, "depends on the others"),
        (lambda f, y: (f - y).sum().item(), ONE_HOT, "got float"),
        (lambda f, y: (f - y).square().sum(1).detach(), ONE_HOT, "depends on no parameter"),
        (lambda f, y: (f - y).square().sum(1).log() * torch.inf, ONE_HOT, "not finite"),
        (lambda f, y: 1 / 0, ONE_HOT, "the loss fails"),
        (squared_error, LABELS, "same shape"),
        (squared_error, ONE_HOT[:, :1], "same shape"),
        (cross_entropy, LABELS + 1, r"labels in 0\.\.1 \(the outputs\), got 1\.\.2"),
        (logistic, 2 * ONE_HOT - 1, "one output a sample"),
    ],
)
def test_losses_are_refused_with_the_reason(loss: Any, targets: Tensor, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        check(mlp([16, 2]), loss, features(), targets)


def test_logistic_labels_are_signs() -> None:
    with pytest.raises(InvalidArgument, match=r"labels -1 and 1, got 0\.\.1; use 2 \* labels - 1"):
        check(mlp([16, 1]), logistic, features(), 1.0 * LABELS[:, None])


@pytest.mark.parametrize(
    ("inputs", "targets", "message"),
    [
        (features().numpy(), ONE_HOT, r"inputs must be a torch tensor, got ndarray; use torch\.as_tensor"),
        (features(), ONE_HOT.tolist(), "targets must be a torch tensor"),
        (features(), ONE_HOT[:5], "got 12 and 5"),
        (features()[:0], ONE_HOT[:0], "at least one sample"),
        (torch.tensor(1.0), ONE_HOT, "at least one sample"),
        (features() / 0, ONE_HOT, "inputs must be finite"),
        (features(), ONE_HOT / 0, "targets must be finite"),
        (features().double(), ONE_HOT, r"inputs are torch.float64 .* use inputs.to\(torch.float32\)"),
        (features(), ONE_HOT.double(), "targets are torch.float64"),
        (features().to("meta"), ONE_HOT, 'inputs are on meta .* use inputs.to\\("cpu"\\)'),
        (features(), ONE_HOT.to("meta"), "targets are on meta"),
        (features().to(torch.complex64), ONE_HOT, "complex64"),
        (features().to(torch.uint8), ONE_HOT, r"integers suit embeddings only, use inputs.float\(\)"),
    ],
)
def test_data_are_refused_with_the_reason(inputs: Any, targets: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        check(mlp([16, 2]), squared_error, inputs, targets)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_cuda_the_random_state_is_kept() -> None:
    net, before = transformer((1, 4, 4), 2, patch=2, device="cuda"), torch.cuda.get_rng_state()
    check(net, squared_error, images().cuda(), ONE_HOT.cuda())
    with pytest.raises(InvalidArgument, match="two forward passes"):
        check(Function(lambda x: x + torch.randn_like(x)).cuda(), squared_error, images().cuda(), ONE_HOT.cuda())
    assert torch.equal(torch.cuda.get_rng_state(), before)
