"""What networks are timed against: the published code's methods and plain torch, written as one would write them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse.linalg as sparse
import torch
from torch import Tensor, nn

Product = Callable[[Tensor], Tensor]  # vectors (k, d) -> (k, d)


def looped_curvatures(net: nn.Module, loss: Any, x: Tensor, y: Tensor, batches: Tensor) -> list[tuple[float, float]]:
    """g'Hg and |g|^2 of one batch after the other, by double backward passes: the published code's way."""
    parameters = list(net.parameters())
    found = []
    for index in batches:
        value = loss(net(x[index]), y[index]).mean()
        gradient = torch.autograd.grad(value, parameters, create_graph=True)
        fixed = [g.detach() for g in gradient]
        slope = torch.stack([(g * v).sum() for g, v in zip(gradient, fixed, strict=True)]).sum()
        products = torch.autograd.grad(slope, parameters)
        curvature = sum(float((h * v).sum()) for h, v in zip(products, fixed, strict=True))
        found.append((curvature, sum(float((v * v).sum()) for v in fixed)))
    return found


class Counted:
    """A product that counts the vectors it is given."""

    def __init__(self, product: Product) -> None:
        self.product, self.products = product, 0

    def __call__(self, vectors: Tensor) -> Tensor:
        self.products += len(vectors)
        return self.product(vectors)


def orthonormal(row: Tensor, others: Tensor) -> Tensor:
    """`row` without its share in the orthonormal `others`, of length 1."""
    for _ in range(3):
        row = row - (others @ row) @ others
        row = row / torch.linalg.vector_norm(row)
    return row


def published_lobpcg(product: Product, start: Tensor, tolerance: float, most: int = 200) -> tuple[float, Tensor]:
    """LOBPCG of JAX's `lobpcg_standard` for one eigenvector: A times X, P and R in every step, and X once more."""
    x = start / torch.linalg.vector_norm(start)
    generator = torch.Generator().manual_seed(0)
    p = orthonormal(torch.randn(x.shape, generator=generator, dtype=x.dtype), x[None])
    image = product(x[None])[0]
    for _ in range(most):
        value = torch.dot(x, image)
        r = image - value * x
        if torch.linalg.vector_norm(r) <= tolerance * abs(value):
            break
        space = torch.stack([x, p, orthonormal(r, torch.stack([x, p]))])
        small = space @ product(space).T
        top = torch.linalg.eigh((small + small.T) / 2).eigenvectors[:, -1]
        new = top @ space
        new = new / torch.linalg.vector_norm(new)
        p, x = orthonormal(top[1:] @ space[1:], new[None]), new
        image = product(x[None])[0]
    return float(torch.dot(x, image)), x


def lobpcg_with_images(product: Product, start: Tensor, tolerance: float, most: int = 200) -> tuple[float, Tensor]:
    """The same search, but the images of X and P are combinations of what is known: one product a step."""
    x = start / torch.linalg.vector_norm(start)
    space, images = x[None], product(x[None])
    for _ in range(most):
        small = space @ images.T
        top = torch.linalg.eigh((small + small.T) / 2).eigenvectors[:, -1]
        x, image = top @ space, top @ images
        value = torch.dot(x, image) / torch.dot(x, x)
        r = image - value * x
        if torch.linalg.vector_norm(r) <= tolerance * abs(value) * torch.linalg.vector_norm(x):
            break
        pair, pair_images = x[None], image[None]
        if len(space) > 1:  # the direction of the last change, orthogonal to x
            p, p_image = top[1:] @ space[1:], top[1:] @ images[1:]
            share = torch.dot(p, x) / torch.dot(x, x)
            p, p_image = p - share * x, p_image - share * image
            size = torch.linalg.vector_norm(p)
            pair, pair_images = torch.stack([x, p / size]), torch.stack([image, p_image / size])
        new = orthonormal(r, torch.linalg.qr(pair.T).Q.T)
        space, images = torch.cat([pair, new[None]]), torch.cat([pair_images, product(new[None])])
        triangle = torch.linalg.qr(space.T)
        space, images = triangle.Q.T, torch.linalg.solve_triangular(triangle.R.T, images, upper=False)
    return float(value), x / torch.linalg.vector_norm(x)


def scipy_lobpcg(product: Product, start: Tensor, tolerance: float, most: int = 200) -> tuple[float, Tensor]:
    """scipy's LOBPCG, whose tolerance is absolute: the scale is that of the start's Rayleigh quotient (one product)."""
    x = start / torch.linalg.vector_norm(start)
    scale = abs(float(torch.dot(x, product(x[None])[0])))

    def times(block: np.ndarray) -> np.ndarray:
        columns = torch.from_numpy(np.ascontiguousarray(block.reshape(len(x), -1).T))
        return product(columns).T.numpy().reshape(block.shape)

    operator = sparse.LinearOperator((len(x), len(x)), matvec=times, matmat=times, dtype=np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it says so where it stopped short of the tolerance
        values, vectors = sparse.lobpcg(operator, x.numpy()[:, None], tol=tolerance * scale, maxiter=most, largest=True)
    return float(values[0]), torch.from_numpy(vectors[:, 0].copy())


def plain_training(net: nn.Module, loss: Any, x: Tensor, y: Tensor, step_size: float, b: int, steps: int) -> None:
    """One network by torch.optim.SGD, as one writes it."""
    optimizer = torch.optim.SGD(net.parameters(), lr=step_size)
    for _ in range(steps):
        index = torch.randperm(len(x))[:b]
        optimizer.zero_grad()
        loss(net(x[index]), y[index]).mean().backward()
        optimizer.step()
