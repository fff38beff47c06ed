r"""How a batch of b out of n samples is drawn, and what that does to second and third moments.

For the batch mean of any per-sample quantities, with :math:`\bar x = \frac1n \sum_i x_i`,

.. math:: E[x_B \otimes y_B] = \bar x \otimes \bar y + c_2 \frac1n \sum_i (x_i - \bar x) \otimes (y_i - \bar y)

and the third central cross-moment is :math:`c_3` times the population's. Bernoulli batches (each sample enters with
probability q = b/n, the sum is divided by b, so the batch has no fixed size) obey the same with *raw* moments in
place of centred ones. Source: elementary sampling theory; tests enumerate all batches.
"""

from __future__ import annotations

from dataclasses import dataclass

from .arguments import one_of

SCHEMES = ("without_replacement", "with_replacement", "epoch", "bernoulli")


@dataclass(frozen=True)
class NoiseCoefficients:
    """Second and third moment coefficients c2, c3 of a batch mean; `raw` says that they multiply raw moments."""

    c2: float
    c3: float
    raw: bool = False


def noise_coefficients(samples: int, batch_size: int, sampling: str = "without_replacement") -> NoiseCoefficients:
    """c2 and c3 of the mean of `batch_size` draws out of `samples`.

    ``"epoch"`` has those of ``"without_replacement"``: true of every single batch of a fresh permutation, while
    the correlation between the batches of one epoch is left out.

    >>> noise_coefficients(10, 10).c2, noise_coefficients(10, 1).c2, noise_coefficients(10, 5, "with_replacement").c2
    (0.0, 1.0, 0.2)
    """
    n, b = samples, batch_size
    one_of("sampling", sampling, SCHEMES)
    if sampling == "with_replacement":
        return NoiseCoefficients(1 / b, 1 / b**2)
    if sampling == "bernoulli":
        q = b / n
        return NoiseCoefficients((1 - q) / b, (1 - q) * (1 - 2 * q) / b**2, raw=True)
    if b == n:
        return NoiseCoefficients(0.0, 0.0)
    c2 = (n - b) / (b * (n - 1))
    c3 = 0.0 if n == 2 else (n - b) * (n - 2 * b) / (b**2 * (n - 1) * (n - 2))
    return NoiseCoefficients(c2, c3)
