r"""Least squares on Gaussian data with fresh batches: every expectation over data and batches in closed form.

For :math:`a\sim N(0, H)`, :math:`y = a^Tx^* + \varepsilon` with :math:`\mathrm{Var}\,\varepsilon = \sigma^2`, and the
error :math:`x = \theta - x^*`: with :math:`q_k = x^TH^kx`, :math:`t_k = \mathrm{tr}H^k`, :math:`m = q_1 + \sigma^2`,

.. math:: E|g_B|^2 = (1+\tfrac1b)q_2 + \tfrac1bmt_1, \qquad
          E[g_B^T\bar Hg_B] = (1+\tfrac1b)q_3 + \tfrac1bmt_2, \qquad |\bar g|^2 = q_2,

.. math:: b^2E[g_B^TH_Bg_B] = m(t_1^2+2t_2) + 4t_1q_2 + 8q_3 + (b-1)(6q_3 + mt_2 + 2t_1q_2) + (b-1)(b-2)q_3,

and along eigenvectors of H second moments :math:`p_i = E[x_i^2]` go by

.. math:: p_i^+ = p_i\big(1 - 2\eta\lambda_i + \eta^2(1+\tfrac1b)\lambda_i^2\big)
          + \tfrac{\eta^2}b\lambda_i\big(\textstyle\sum_j\lambda_jp_j + \sigma^2\big),

the Volterra recursion (`volterra`) plus the sample's coupling to itself. The edge is `gaussian_max_step_size`.
Source: Isserlis' theorem.
"""

from __future__ import annotations

from numpy.typing import ArrayLike

from ..arguments import FloatArray, float_array, integer, real
from .gradient_expectations import GradientExpectations
from .volterra import checked_spectrum, checked_squares, losses_of


def gaussian_expectations(
    error: ArrayLike, eigenvalues: ArrayLike, batch_size: int, noise_variance: float = 0.0
) -> GradientExpectations:
    """Batch Sharpness, IAS and GNI over the population, and what they are made of, at one `error` x.

    `error` (d,) in the eigenbasis of H, `eigenvalues` (d,) of H, `noise_variance` of the targets. Raises
    InvalidArgument.

    >>> gaussian_expectations([1.0], [1.0], batch_size=1).batch_sharpness  # E[a^6] / E[a^4] = 15 / 3
    5.0
    """
    v = checked_spectrum(eigenvalues)
    x = float_array("error", error, v.shape)
    b = integer("batch_size", batch_size, 1)
    q1, q2, q3 = (float(x**2 @ v**k) for k in (1, 2, 3))
    t1, t2 = float(v.sum()), float((v**2).sum())
    m = q1 + real("noise_variance", noise_variance)
    alone = m * (t1**2 + 2 * t2) + 4 * t1 * q2 + 8 * q3
    pairs = 6 * q3 + m * t2 + 2 * t1 * q2
    return GradientExpectations(
        mean_gradient_square=q2,
        batch_gradient_square=(1 + 1 / b) * q2 + m * t1 / b,
        mean_curvature=q3,
        interaction=(1 + 1 / b) * q3 + m * t2 / b,
        batch_curvature=(alone + (b - 1) * pairs + (b - 1) * (b - 2) * q3) / b**2,
    )


def gaussian_loss(
    squares: ArrayLike,
    eigenvalues: ArrayLike,
    step_size: float,
    batch_size: int,
    steps: int,
    noise_variance: float = 0.0,
) -> FloatArray:
    """The expected population loss at steps 0..steps, shape (steps+1,), in every dimension; as of `volterra_loss`.

    `squares` (d,): E[x_i^2] at the start in the eigenbasis of the Hessian. Divergence is data. Raises InvalidArgument.

    >>> gaussian_loss([1.0], [1.0], step_size=0.5, batch_size=1, steps=1).tolist()  # E(1 - a^2 / 2)^2 = 1 - 1 + 3 / 4
    [0.5, 0.375]
    """
    v = checked_spectrum(eigenvalues)
    p = checked_squares(squares, v)
    eta, b = real("step_size", step_size), integer("batch_size", batch_size, 1)
    shrink = 1 - 2 * eta * v + eta**2 * (1 + 1 / b) * v**2
    return losses_of(p, v, shrink, eta**2 / b * v, integer("steps", steps, 0), real("noise_variance", noise_variance))
