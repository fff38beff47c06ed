"""
A score card of one's own
=========================

Which models of SGD keep which predictions? A small score card on a loss of one's own, from Python. ``sgdmodels
scorecard`` does the same for recipes A, C and P and all models.

Run with ``python examples/score_card.py [figure.png]``; prints the card and draws where each model settles.
``card.to_html("score_card.html")`` writes the page.
"""

import sys

import numpy as np

import sgdmodels as sm

# Progressively sharpening least squares: labels without a linear part, and a force that raises the curvature.
rng = np.random.default_rng(0)
inputs = rng.standard_normal((60, 8))
labels = rng.standard_normal(60)
labels -= inputs @ np.linalg.lstsq(inputs, labels, rcond=None)[0]
model = sm.models.SharpeningLeastSquares(inputs, 0.05 * labels, drift=0.02)
start = np.append(0.05 * rng.standard_normal(8), 1.0)

step_size = 0.02
card = sm.scorecard(
    model,
    reference=sm.SGD(step_size, batch_size=8),
    candidates={
        "full covariance": sm.NoisyGD(step_size, 8),
        "isotropic": sm.NoisyGD(step_size, 8, covariance="isotropic"),
        "SDE": sm.SDE(step_size, 8),
        "held at S_ms = 2/eta": sm.StochasticCentralFlow(step_size, 8),
    },
    steps=20_000,
    replicas=4,
    init=start,
    batch_sizes=[4, 16],
    directions=inputs,  # the curvature is v^2 x_i x_i', so the edge has a closed form
    title="Progressively sharpening least squares",
)
print(card.to_markdown())
card.plot().savefig(sys.argv[1] if len(sys.argv) > 1 else "score_card.png", dpi=150)
levels = card.table.value.sel(prediction="MS2", batch_size=[4, 16])  # lambda_max over its closed form
print(levels.to_pandas().round(3))
