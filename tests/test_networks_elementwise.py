"""Activations and losses of dense networks, closed forms against automatic differentiation."""

from __future__ import annotations

from collections.abc import Callable

import pytest

torch = pytest.importorskip("torch")
from torch import Tensor  # noqa: E402
from torch.func import hessian, vmap  # noqa: E402

from sgdmodels.networks.losses import cross_entropy, logistic, squared_error, squared_error_without_half  # noqa: E402
from sgdmodels.networks.objectives.activations import activation_of  # noqa: E402
from sgdmodels.networks.objectives.output_losses import OutputLoss, output_loss  # noqa: E402

from .dense_networks import ACTIVATIONS, SAMPLES, close, logistic_by_softplus, made_targets, random  # noqa: E402


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
