"""Networks by hand against dense derivatives by torch.func, and against the same network by autograd."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import pytest

torch = pytest.importorskip("torch")
from torch import Tensor, nn  # noqa: E402
from torch.func import functional_call, hessian, jacrev, vmap  # noqa: E402

from sgdmodels.errors import InvalidArgument  # noqa: E402
from sgdmodels.networks.activations import activation_of  # noqa: E402
from sgdmodels.networks.budget import MemoryBudget  # noqa: E402
from sgdmodels.networks.dense_chain import DenseChain  # noqa: E402
from sgdmodels.networks.losses import cross_entropy, logistic, squared_error, squared_error_without_half  # noqa: E402
from sgdmodels.networks.module_objective import ModuleObjective  # noqa: E402
from sgdmodels.networks.objective import GAUSS_NEWTON, HESSIAN, MATRICES  # noqa: E402
from sgdmodels.networks.output_losses import OutputLoss, output_loss  # noqa: E402

SAMPLES = 7
ACTIVATIONS = {
    "relu": nn.ReLU, "leaky_relu": lambda: nn.LeakyReLU(0.2), "gelu": nn.GELU, "gelu_tanh": lambda: nn.GELU("tanh"),
    "tanh": nn.Tanh, "silu": nn.SiLU, "softplus": nn.Softplus, "softplus_beta": lambda: nn.Softplus(2.0, threshold=1.5),
    "sigmoid": nn.Sigmoid, "elu": nn.ELU, "elu_half": lambda: nn.ELU(0.5), "identity": nn.Identity,
}  # fmt: skip


def quartic(outputs: Tensor, targets: Tensor) -> Tensor:
    """A loss of nobody's list, whose second derivative depends on the outputs."""
    return (outputs - targets).pow(4).sum(1) / 4 + (outputs[:, 0] * outputs[:, -1]) * targets[:, 0]


def linear_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs * targets).sum(1)


def logistic_by_softplus(outputs: Tensor, targets: Tensor) -> Tensor:
    """The same loss: torch's logsigmoid warns in a vmap of second derivatives."""
    return nn.functional.softplus(-outputs * targets).reshape(-1)


def chain_of(act: Callable[[], nn.Module]) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 5), act(), nn.Linear(5, 3), act(), nn.Linear(3, 2))


NETS: dict[str, tuple[Callable[[], nn.Module], Callable[[Tensor, Tensor], Tensor], str]] = {
    **{name: (lambda act=act: chain_of(act), squared_error, "values") for name, act in ACTIVATIONS.items()},
    "depth_one": (lambda: nn.Sequential(nn.Linear(4, 2)), squared_error_without_half, "values"),
    "bare_layer": (lambda: nn.Linear(4, 3), cross_entropy, "labels"),
    "no_bias": (
        lambda: nn.Sequential(nn.Linear(4, 6, bias=False), nn.Tanh(), nn.Linear(6, 3)), cross_entropy, "shares"
    ),
    "output_activation": (
        lambda: nn.Sequential(nn.Linear(4, 3), nn.SiLU(), nn.Linear(3, 2, bias=False), nn.Sigmoid()), quartic, "values"
    ),
    "nested": (
        lambda: nn.Sequential(
            nn.Flatten(), nn.Sequential(nn.Linear(4, 3), nn.Identity(), nn.GELU()), nn.Dropout(0.0), nn.Linear(3, 3)
        ),
        cross_entropy, "labels",
    ),
    "logistic": (lambda: nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1)), logistic, "signs"),
    "flat_logistic": (
        lambda: nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1), nn.Flatten(0)), logistic, "flat_signs"
    ),
    "flat_squared": (
        lambda: nn.Sequential(nn.Linear(4, 3), nn.Softplus(), nn.Linear(3, 1), nn.Flatten(0)),
        squared_error_without_half, "flat_values",
    ),
    "loss_without_curvature": (lambda: chain_of(nn.Tanh), linear_loss, "values"),
    "linear_network": (lambda: nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)), quartic, "values"),
}  # fmt: skip


def made_targets(kind: str, outputs: int, generator: torch.Generator) -> Tensor:
    values = torch.randn((SAMPLES, outputs), generator=generator, dtype=torch.float64)
    return {
        "values": values, "labels": torch.randint(outputs, (SAMPLES,), generator=generator),
        "shares": values.softmax(1), "signs": values.sign(), "flat_signs": values[:, 0].sign(),
        "flat_values": values[:, 0],
    }[kind]  # fmt: skip


@dataclasses.dataclass
class Case:
    """A network, its data, a point, and each sample's gradient and matrices there by torch.func."""

    net: nn.Module
    loss: Callable[[Tensor, Tensor], Tensor]
    inputs: Tensor
    targets: Tensor
    thetas: Tensor  # (3, d)
    matrix: str

    def chain(self, limit: int = 10**8) -> DenseChain:
        chain = DenseChain.of(self.net, self.loss, self.inputs, self.targets, MemoryBudget(limit), self.matrix)
        assert chain is not None
        return chain

    def module(self) -> ModuleObjective:
        return ModuleObjective(self.net, self.loss, self.inputs, self.targets, MemoryBudget(10**8), self.matrix)

    def all_outputs(self, theta: Tensor, inputs: Tensor | None = None) -> Tensor:
        named, start = {}, 0
        for name, p in self.net.named_parameters():
            named[name] = theta[start : start + p.numel()].view(p.shape)
            start += p.numel()
        return functional_call(self.net, named, (self.inputs if inputs is None else inputs,))

    def outputs(self, theta: Tensor, x: Tensor) -> Tensor:
        return self.all_outputs(theta, x[None])

    def dense(self, theta: Tensor, targets: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """g_i (n, d) and M_i (n, d, d)."""

        loss = logistic_by_softplus if self.loss is logistic else self.loss

        def one(t: Tensor, x: Tensor, y: Tensor) -> Tensor:
            return loss(self.outputs(t, x), y[None])[0]

        def newton(t: Tensor, x: Tensor, y: Tensor) -> Tensor:
            f = self.outputs(t, x)
            slopes = jacrev(lambda u: self.outputs(u, x).flatten())(t)
            bend = hessian(lambda u: loss(u.view(f.shape), y[None])[0])(f.flatten())
            return slopes.T @ bend @ slopes

        second = hessian(one) if self.matrix == HESSIAN else newton
        y = self.targets if targets is None else targets
        return (
            vmap(jacrev(one), (None, 0, 0))(theta, self.inputs, y), vmap(second, (None, 0, 0))(theta, self.inputs, y)
        )  # fmt: skip


def case(name: str, matrix: str = HESSIAN) -> Case:
    build, loss, kind = NETS[name]
    generator = torch.Generator().manual_seed(6)
    net = build().double()
    inputs = torch.randn((SAMPLES, 4), generator=generator, dtype=torch.float64)
    if name == "nested":
        inputs = inputs.view(SAMPLES, 2, 2)
    count = sum(p.numel() for p in net.parameters())
    thetas = 0.7 * torch.randn((3, count), generator=generator, dtype=torch.float64)
    outputs = [m for m in net.modules() if isinstance(m, nn.Linear)][-1].out_features
    return Case(net, loss, inputs, made_targets(kind, outputs, generator), thetas, matrix)


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-10) -> None:
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype
    assert not actual.requires_grad
    scale = float(expected.abs().max())
    assert float((actual - expected).abs().max()) <= tolerance * max(scale, 1e-3)


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)), dtype=torch.float64)


INDEX = torch.tensor([[0, 3, 3, 1], [6, 5, 2, 0], [4, 4, 4, 4]])  # samples repeated within a batch


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("name", NETS)
def test_every_method_against_dense_derivatives(name: str, matrix: str) -> None:
    this = case(name, matrix)
    chain, theta = this.chain(), this.thetas[0]
    g, m = this.dense(theta)
    mean, weight = m.mean(0), random(3, 4)  # of both signs
    rows = torch.arange(SAMPLES)

    close(chain.sample_losses(theta), this.loss(this.all_outputs(theta), this.targets).detach())
    close(chain.gradients(theta[None], None, random(1, SAMPLES)), random(1, SAMPLES) @ g)
    close(chain.gradient(theta, INDEX[0]), g[INDEX[0]].mean(0))
    vectors = random(3, chain.dim)
    close(chain.operator(theta)(vectors), vectors @ mean)
    close(
        chain.operator(theta, INDEX[0], weight[0])(vectors[:1]),
        vectors[:1] @ (weight[0, :, None, None] * m[INDEX[0]]).sum(0),
    )
    for index, w in [
        (INDEX, weight),
        (INDEX, None),
        (rows[:, None], None),
        (rows.repeat(2, 3), None),
        (INDEX[:1, :2], None),
    ]:
        share = torch.full(index.shape, 1 / index.shape[1], dtype=torch.float64) if w is None else w
        gradient, curved = torch.einsum("mb,mbd->md", share, g[index]), torch.einsum("mb,mbde->mde", share, m[index])
        found = chain.batch_curvatures(theta, index, w)
        close(found.curvature, torch.einsum("md,mde,me->m", gradient, curved, gradient))
        close(found.square, gradient.square().sum(1))
    for index in (None, INDEX[0]):
        some = rows if index is None else index
        slope, curvature, mixed = chain.directional(theta, vectors[0], index)
        close(slope, g[some] @ vectors[0])
        close(curvature, vectors[0] @ m[some] @ vectors[0])
        close(mixed, torch.einsum("nd,nde,e->n", g[some], m[some], vectors[0]))
        among = m[some].mean(0)
        close(chain.gradient_curvatures(theta, index), torch.einsum("nd,de,ne->n", g[some], among, g[some]))
        close(chain.projected(theta, vectors, index), vectors @ m[some] @ vectors.T)
    close(chain.squared_gradients(theta[None]), g.square().mean(0)[None])
    _, h = dataclasses.replace(this, matrix=HESSIAN).dense(theta)
    close(chain.mean_hessian_gradient(theta), torch.einsum("nde,ne->d", h, g) / SAMPLES)


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("name", ["gelu", "nested", "output_activation", "flat_logistic", "relu"])
def test_agrees_with_automatic_differentiation(name: str, matrix: str) -> None:
    this = case(name, matrix)
    by_hand, by_autograd, theta = this.chain(), this.module(), this.thetas[0]
    weight, vectors = random(3, 4), random(2, by_hand.dim)
    for one in (by_hand, by_autograd):
        assert (one.samples, one.dim, one.dtype, one.matrix) == (SAMPLES, len(theta), torch.float64, matrix)
    close(by_hand.loss(theta), by_autograd.loss(theta).detach())
    close(by_hand.gradients(this.thetas, INDEX, weight), by_autograd.gradients(this.thetas, INDEX, weight))
    for a, b in zip(by_hand.batch_curvatures(theta, INDEX), by_autograd.batch_curvatures(theta, INDEX), strict=True):
        close(a, b)
    for a, b in zip(by_hand.directional(theta, vectors[0]), by_autograd.directional(theta, vectors[0]), strict=True):
        close(a, b)
    close(by_hand.operator(theta)(vectors), by_autograd.operator(theta)(vectors))
    close(by_hand.gradient_curvatures(theta), by_autograd.gradient_curvatures(theta))
    close(by_hand.projected(theta, vectors), by_autograd.projected(theta, vectors))
    close(by_hand.squared_gradients(this.thetas), by_autograd.squared_gradients(this.thetas))
    close(by_hand.mean_hessian_gradient(theta), by_autograd.mean_hessian_gradient(theta))


@pytest.mark.parametrize("name", ["gelu", "no_bias", "nested", "output_activation", "flat_squared"])
@pytest.mark.parametrize("shared", [False, True])
def test_ensembles_row_by_row(name: str, shared: bool) -> None:
    this = case(name)
    chain = this.chain()
    index = None if shared else INDEX
    weight = random(3, SAMPLES if shared else 4)
    rows = []
    for r, theta in enumerate(this.thetas):
        g, _ = this.dense(theta)
        rows.append(weight[r] @ (g if index is None else g[index[r]]))
    close(chain.gradients(this.thetas, index, weight), torch.stack(rows))
    close(chain.gradients(this.thetas[:1], None if index is None else index[:1], weight[:1]), torch.stack(rows[:1]))
    close(this.chain(limit=1).gradients(this.thetas, index, weight), torch.stack(rows))


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("name", ["gelu", "nested", "flat_squared"])
def test_targets_in_place_of_the_samples_own(name: str, members: int) -> None:
    this = case(name)
    weight, index = random(members, 4), INDEX[:members]
    other = this.targets.flip(0)
    expected = [weight[r] @ this.dense(this.thetas[r], other)[0][index[r]] for r in range(members)]
    found = this.chain().gradients(this.thetas[:members], index, weight, other[index])
    close(found, torch.stack(expected))


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e200])
@pytest.mark.parametrize("index", [None, INDEX])
def test_a_lost_member_leaves_the_others_bits_alone(bad: float, index: Tensor | None) -> None:
    this = case("gelu")
    weight = random(3, SAMPLES if index is None else 4)
    lost = this.thetas.clone()
    lost[1] = bad
    alone, together = (this.chain().gradients(thetas, index, weight) for thetas in (this.thetas, lost))
    assert torch.equal(alone[[0, 2]], together[[0, 2]])
    assert not torch.isfinite(together[1]).all()
    squares = this.chain().squared_gradients(lost)
    assert torch.equal(squares[[0, 2]], this.chain().squared_gradients(this.thetas)[[0, 2]])


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("limit", [1, 3000])
def test_pieces_of_any_size_give_the_same(limit: int, matrix: str) -> None:
    this = case("gelu", matrix)
    whole, pieces, theta, vectors = this.chain(), this.chain(limit), this.thetas[0], random(3, len(this.thetas[0]))
    many = torch.arange(SAMPLES).repeat(4, 2)
    close(pieces.sample_losses(theta), whole.sample_losses(theta), 1e-13)
    close(pieces.operator(theta)(vectors), whole.operator(theta)(vectors), 1e-13)
    close(pieces.batch_curvatures(theta, many).curvature, whole.batch_curvatures(theta, many).curvature, 1e-13)
    close(pieces.directional(theta, vectors[0]).mixed, whole.directional(theta, vectors[0]).mixed, 1e-13)
    close(pieces.gradient_curvatures(theta), whole.gradient_curvatures(theta), 1e-13)
    close(pieces.projected(theta, vectors), whole.projected(theta, vectors), 1e-13)
    close(pieces.squared_gradients(theta[None]), whole.squared_gradients(theta[None]), 1e-13)
    close(pieces.mean_hessian_gradient(theta), whole.mean_hessian_gradient(theta), 1e-13)


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("name", ["gelu", "relu", "no_bias", "flat_logistic", "output_activation"])
def test_single_precision_agrees_to_single_precision(name: str, matrix: str) -> None:
    this = case(name, matrix)
    single = dataclasses.replace(
        this, net=NETS[name][0](), inputs=this.inputs.float(), targets=this.targets.float(), thetas=this.thetas.float()
    )
    # the same numbers in both precisions, so that only rounding differs
    double = dataclasses.replace(
        this, inputs=single.inputs.double(), targets=single.targets.double(), thetas=single.thetas.double()
    )
    low, high, theta = single.chain(), double.chain(), single.thetas[0]
    at, vectors = double.thetas[0], random(2, len(theta)).float()
    pairs = [
        *zip(low.batch_curvatures(theta, INDEX), high.batch_curvatures(at, INDEX), strict=True),
        *zip(low.directional(theta, vectors[0]), high.directional(at, vectors[0].double()), strict=True),
        (
            low.gradients(theta[None], INDEX[:1], random(1, 4).float()),
            high.gradients(at[None], INDEX[:1], random(1, 4)),
        ),
        (low.operator(theta)(vectors), high.operator(at)(vectors.double())),
        (low.gradient_curvatures(theta), high.gradient_curvatures(at)),
        (low.projected(theta, vectors), high.projected(at, vectors.double())),
        (low.squared_gradients(theta[None]), high.squared_gradients(at[None])),
        (low.mean_hessian_gradient(theta), high.mean_hessian_gradient(at)),
    ]
    for found, expected in pairs:
        close(found, expected.float(), 1e-4)


def test_the_network_and_torch_are_left_as_they_were() -> None:
    this = case("gelu")
    before, state = [p.detach().clone() for p in this.net.parameters()], torch.random.get_rng_state()
    chain = this.chain()
    chain.gradients(this.thetas, INDEX, random(3, 4))
    chain.batch_curvatures(this.thetas[0], INDEX)
    assert all(torch.equal(a, b) for a, b in zip(before, this.net.parameters(), strict=True))
    assert all(p.grad is None and p.requires_grad for p in this.net.parameters())
    assert this.net.training
    assert torch.is_grad_enabled()
    assert torch.equal(state, torch.random.get_rng_state())


def test_matrix_is_changed_on_a_copy() -> None:
    chain = case("gelu").chain()
    other = chain.with_matrix(GAUSS_NEWTON)
    assert (chain.matrix, other.matrix) == (HESSIAN, GAUSS_NEWTON)
    assert chain.with_matrix(HESSIAN) is chain


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_derivatives(name: str, dtype: torch.dtype) -> None:
    module = ACTIVATIONS[name]()
    activation = activation_of(module)
    assert activation is not None
    generator = torch.Generator().manual_seed(1)
    special = torch.tensor([0.0, 1e-8, -1e-8, 15.0, -15.0, 60.0, -60.0, 1e4, -1e4], dtype=dtype)
    z = torch.cat([3 * torch.randn(200, generator=generator, dtype=dtype), special])
    rough = z.clone().requires_grad_()
    value = module(rough)
    (slope,) = torch.autograd.grad(value.sum(), rough)
    assert torch.equal(activation.value(z), value.detach())
    assert torch.equal(activation.pull(torch.ones_like(z), z, value.detach()), slope)

    fine = z.double().requires_grad_()  # second derivatives of either precision against those of the finer one
    (graph,) = torch.autograd.grad(module(fine).sum(), fine, create_graph=True)
    bend = torch.zeros_like(fine)
    if graph.requires_grad:
        (bend,) = torch.autograd.grad(graph.sum(), fine, materialize_grads=True)
    tolerance = {torch.float32: 4e-6, torch.float64: 1e-13}[dtype]  # autograd's own GELU loses 3e-14 to cancellation
    torch.testing.assert_close(activation.bend(z, value.detach()).double(), bend, rtol=tolerance, atol=tolerance)
    assert activation.curved or not bend.any()
    assert not activation.straight or (slope == 1).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_second_derivatives_vanish_far_out(name: str, dtype: torch.dtype) -> None:
    activation = activation_of(ACTIVATIONS[name]())
    assert activation is not None
    far = torch.finfo(dtype).max / 8
    z = torch.tensor([far, -far, 1e20, -1e20], dtype=dtype)
    assert torch.equal(activation.bend(z, activation.value(z)), torch.zeros_like(z))


@pytest.mark.parametrize(
    ("loss", "kind", "outputs", "flat"),
    [
        (squared_error, "values", 3, False), (squared_error_without_half, "values", 3, False),
        (cross_entropy, "labels", 3, False), (cross_entropy, "values", 3, False), (logistic, "signs", 1, False),
        (logistic, "flat_values", 1, True), (squared_error, "flat_values", 1, True),
        (squared_error, "values", 1, False),
    ],
)  # fmt: skip
def test_closed_forms_of_losses_against_the_general_one(
    loss: Callable[..., Tensor], kind: str, outputs: int, flat: bool
) -> None:
    generator = torch.Generator().manual_seed(2)
    f = 3 * torch.randn((SAMPLES, outputs), generator=generator, dtype=torch.float64)
    y = made_targets(kind, outputs, generator)
    closed, general = output_loss(loss, f, y, flat), OutputLoss(loss, flat)
    assert type(closed) is not OutputLoss
    vectors = random(2, SAMPLES, outputs)
    close(closed.values(f, y), general.values(f, y))
    close(closed.slope(f, y), general.slope(f, y), 1e-14)
    close(closed.bent(f, y, vectors), general.bent(f, y, vectors), 1e-14)
    truth = logistic_by_softplus if loss is logistic else loss
    second = vmap(lambda u, t: hessian(lambda o: truth(o if flat else o[None], t[None])[0])(u))(f, y)
    close(general.bent(f, y, vectors), torch.einsum("nkl,vnl->vnk", second, vectors), 1e-14)
    close(closed.slope(f.view(1, SAMPLES, -1), y[None])[0], general.slope(f, y), 1e-14)


def test_shapes_that_a_loss_refuses_are_refused_by_the_chain() -> None:
    net = nn.Sequential(nn.Linear(4, 1))
    chain = DenseChain.of(net, squared_error, torch.zeros(5, 4), torch.zeros(5), MemoryBudget(10**6))
    assert chain is not None
    with pytest.raises(InvalidArgument, match="same shape"):
        chain.gradient(torch.zeros(5))


def recognised(net: nn.Module, inputs: Tensor | None = None) -> bool:
    x = torch.zeros(3, 4) if inputs is None else inputs
    return DenseChain.of(net, squared_error, x, torch.zeros(len(x), 2), MemoryBudget(10**6)) is not None


def test_chains_are_recognised() -> None:
    assert recognised(nn.Linear(4, 2))
    assert recognised(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), torch.zeros(3, 1, 2, 2))
    assert recognised(nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5), nn.ReLU(inplace=True), nn.Linear(3, 2)).eval())
    shared = nn.Tanh()  # has no parameters: may well be used twice
    assert recognised(nn.Sequential(nn.Linear(4, 3), shared, nn.Linear(3, 2), shared))
    assert recognised(nn.Sequential(nn.Linear(4, 3), nn.Sequential(nn.GELU()), nn.Sequential(nn.Linear(3, 2))))


class Doubled(nn.Linear):
    def forward(self, inputs: Tensor) -> Tensor:
        return 2 * super().forward(inputs)


class Skipping(nn.Sequential):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + super().forward(inputs)


def with_hook(module: nn.Module, register: str) -> nn.Module:
    getattr(module, register)(lambda *arguments: None)
    return module


def with_forward(module: nn.Module) -> nn.Module:
    module.forward = torch.sin
    return module


def with_own_parameter(net: nn.Module) -> nn.Module:
    net.scale = nn.Parameter(torch.ones(1))
    return net


def tied() -> nn.Module:
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight
    return nn.Sequential(first, nn.Tanh(), second)


def sharing_memory() -> nn.Module:
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = nn.Parameter(first.weight.data)
    return nn.Sequential(first, nn.Tanh(), second)


def used_twice() -> nn.Module:
    layer = nn.Linear(4, 4)
    return nn.Sequential(layer, nn.Tanh(), layer)


def renamed() -> nn.Module:
    layer = nn.Linear(4, 2)
    weight = layer.weight
    del layer.weight
    layer.weight = weight  # now registered after the bias
    return layer


REFUSED: dict[str, Callable[[], nn.Module]] = {
    "convolution": lambda: nn.Sequential(nn.Conv1d(4, 2, 1)),
    "batch_norm": lambda: nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2)),
    "layer_norm": lambda: nn.Sequential(nn.Linear(4, 2), nn.LayerNorm(2)),
    "unknown_activation": lambda: nn.Sequential(nn.Linear(4, 2), nn.Mish()),
    "activation_on_inputs": lambda: nn.Sequential(nn.Tanh(), nn.Linear(4, 2)),
    "two_activations": lambda: nn.Sequential(nn.Linear(4, 2), nn.Tanh(), nn.ReLU()),
    "softmax": lambda: nn.Sequential(nn.Linear(4, 2), nn.Softmax(1)),
    "dropout_on": lambda: nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5), nn.Linear(3, 2)),
    "subclass_of_a_layer": lambda: Doubled(4, 2),
    "subclass_of_sequential": lambda: Skipping(nn.Linear(4, 4)),
    "forward_replaced": lambda: nn.Sequential(with_forward(nn.Linear(4, 2))),
    "own_parameter": lambda: with_own_parameter(nn.Sequential(nn.Linear(4, 2))),
    "layer_with_another_parameter": lambda: nn.Sequential(with_own_parameter(nn.Linear(4, 2))),
    "activation_with_a_parameter": lambda: nn.Sequential(nn.Linear(4, 2), with_own_parameter(nn.Tanh())),
    "forward_hook": lambda: with_hook(nn.Linear(4, 2), "register_forward_hook"),
    "forward_pre_hook": lambda: nn.Sequential(with_hook(nn.Linear(4, 2), "register_forward_pre_hook")),
    "backward_hook": lambda: nn.Sequential(nn.Linear(4, 2), with_hook(nn.Tanh(), "register_full_backward_hook")),
    "parametrised": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(4, 2)),
    "spectral": lambda: nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(4, 2))),
    "tied": tied,
    "sharing_memory": sharing_memory,
    "used_twice": used_twice,
    "bias_before_weight": renamed,
    "other_dtype": lambda: nn.Linear(4, 2).double(),
    "half_precision": lambda: nn.Linear(4, 2).bfloat16(),
    "sizes_that_do_not_fit": lambda: nn.Sequential(nn.Linear(4, 3), nn.Linear(2, 2)),
    "wrong_input_size": lambda: nn.Linear(5, 2),
    "nothing": lambda: nn.Sequential(),
    "no_layer": lambda: nn.Sequential(nn.Flatten()),
    "flattened_samples": lambda: nn.Sequential(nn.Linear(4, 2), nn.Flatten(0)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_anything_else_is_refused(name: str) -> None:
    assert not recognised(REFUSED[name]())


def test_refusals_that_depend_on_the_inputs() -> None:
    assert not recognised(nn.Linear(4, 2), torch.zeros(3, 5, 4))  # a layer applied to each of five rows
    assert not recognised(nn.Linear(4, 2), torch.zeros(0, 4))
    assert not recognised(nn.Linear(4, 2).double(), torch.zeros(3, 4))
