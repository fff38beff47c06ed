"""Networks by hand against dense derivatives by torch.func, and against the same network by autograd."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import Tensor, nn  # noqa: E402

from sgdmodels.errors import InvalidArgument  # noqa: E402
from sgdmodels.networks.losses import squared_error  # noqa: E402
from sgdmodels.networks.nets import mlp  # noqa: E402
from sgdmodels.networks.objectives.budget import MemoryBudget  # noqa: E402
from sgdmodels.networks.objectives.dense_chain import DenseChain  # noqa: E402
from sgdmodels.networks.objectives.module_objective import ModuleObjective  # noqa: E402
from sgdmodels.networks.objectives.objective import GAUSS_NEWTON, HESSIAN, MATRICES  # noqa: E402

from .dense_networks import NETS, SAMPLES, Case, case, close, random  # noqa: E402

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


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: the same formulas on another device")
def test_another_device_gives_the_same() -> None:
    this = case("gelu")
    moved = Case(this.net.cuda(), this.loss, this.inputs.cuda(), this.targets.cuda(), this.thetas.cuda(), this.matrix)
    here, there = case("gelu").chain(), moved.chain()
    weight, vectors, index = random(3, 4), random(2, here.dim), INDEX.cuda()
    close(there.gradients(moved.thetas, index, weight.cuda()).cpu(), here.gradients(this.thetas, INDEX, weight))
    found, expected = there.batch_curvatures(moved.thetas[0], index), here.batch_curvatures(this.thetas[0], INDEX)
    close(found.curvature.cpu(), expected.curvature)
    close(there.operator(moved.thetas[0])(vectors.cuda()).cpu(), here.operator(this.thetas[0])(vectors))
    close(there.gradient_curvatures(moved.thetas[0]).cpu(), here.gradient_curvatures(this.thetas[0]))


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


def test_shapes_that_a_loss_refuses_are_refused_by_the_chain() -> None:
    net = nn.Sequential(nn.Linear(4, 1))
    chain = DenseChain.of(net, squared_error, torch.zeros(5, 4), torch.zeros(5), MemoryBudget(10**6))
    assert chain is not None
    with pytest.raises(InvalidArgument, match="same shape"):
        chain.gradient(torch.zeros(5))


def test_what_is_kept_of_a_point_serves_that_point_only() -> None:
    """Batches that cover more than all samples share one pass, also between calls, until the parameters change."""
    rng = np.random.default_rng(0)
    x, y = torch.from_numpy(rng.standard_normal((9, 4))), torch.from_numpy(rng.standard_normal((9, 2)))
    net = mlp([4, 5, 2], "tanh", seed=0, dtype=torch.float64)
    budget = MemoryBudget(10**8)
    chain = DenseChain.of(net, squared_error, x, y, budget)
    assert chain is not None
    theta = torch.cat([p.detach().reshape(-1) for p in net.parameters()])
    index = torch.from_numpy(rng.integers(0, 9, (12, 3)))
    first = chain.batch_curvatures(theta, index)
    assert all(torch.equal(one, other) for one, other in zip(first, chain.batch_curvatures(theta, index), strict=True))
    theta.mul_(0.5)
    exact = ModuleObjective(net, squared_error, x, y, budget).batch_curvatures(theta, index)
    for one, other in zip(chain.batch_curvatures(theta, index), exact, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=0)
