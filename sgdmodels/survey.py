"""The score card's default: recipes A, C and P, SGD against its models, at several batch sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from .dynamics import (
    GD,
    SDE,
    SGD,
    SVAG,
    CentralFlow,
    Dynamics,
    EpochSDE,
    GradientFlow,
    HomogenizedSGD,
    ImplicitRegularizationFlow,
    LabelNoiseSGD,
    LevySDE,
    NoisyGD,
    ReshufflingFlow,
    StochasticCentralFlow,
)
from .recipes import Recipe, gated_quadratic, sharpening_least_squares, slow_tail_network
from .scorecard import ScoreCard, progressive_scorecard


@dataclass(frozen=True)
class Setting:
    """One recipe of the survey. `noise_trace`: of the gradient noise of one sample, where noise is constant."""

    title: str
    recipe: Callable[[int], Recipe]
    batch_sizes: tuple[int, ...]
    steps: int
    quick_steps: int
    noise_trace: float
    label_noise: float


SETTINGS: dict[str, Setting] = {
    "A": Setting("Recipe A: slow-tail linear network", slow_tail_network, (2, 8, 32), 50_000, 12_000, 1e-3, 0.01),
    "C": Setting("Recipe C: gated quadratic", gated_quadratic, (2, 8, 32), 25_000, 10_000, 1e-3, 0.01),
    "P": Setting(
        "Recipe P: progressively sharpening least squares",
        sharpening_least_squares,
        (4, 16, 64),
        20_000,
        8_000,
        0.1,
        0.02,
    ),
}
QUICK = ("SGD with epochs", "GD", "noisy GD, full", "noisy GD, isotropic", "SDE", "SVAG, ell = 4", "gradient flow")


def models_of_sgd(setting: Setting, recipe: Recipe) -> dict[str, Dynamics]:
    """The candidates, with the step size of the recipe."""
    eta, b = recipe.step_size, setting.batch_sizes[0]
    per_coordinate = float(np.sqrt(setting.noise_trace / recipe.model.dim))
    candidates: dict[str, Dynamics] = {
        "SGD with epochs": SGD(eta, b, sampling="epoch"),
        "SGD with label noise": LabelNoiseSGD(eta, b, scale=setting.label_noise),
        "noisy GD, full": NoisyGD(eta, b),
        "noisy GD, diagonal": NoisyGD(eta, b, "diagonal"),
        "noisy GD, isotropic": NoisyGD(eta, b, "isotropic"),
        "noisy GD, constant": NoisyGD(eta, b, "constant", scale=per_coordinate),
        "SDE": SDE(eta, b),
        "SDE, order 2": SDE(eta, b, order=2, substeps=4),
        "SVAG, ell = 4": SVAG(eta, b, ell=4),
        "epoch SDE": EpochSDE(eta, b),
        "Levy SDE": LevySDE(eta, alpha=1.9, scale=per_coordinate),
        "GD": GD(eta),
        "gradient flow": GradientFlow(eta, substeps=5),
        "implicit regularization flow": ImplicitRegularizationFlow(eta, substeps=10),
        "central flow": CentralFlow(eta, stride=25),
        "stochastic central flow": StochasticCentralFlow(eta, b, stride=100),
    }
    if recipe.model.samples * recipe.model.dim < 5000:  # it takes a Hessian-vector product of every sample
        candidates["reshuffling flow"] = ReshufflingFlow(eta, b, substeps=5)
    if recipe.model.squared_error:
        candidates["homogenized SGD"] = HomogenizedSGD(eta, b, sampling="without_replacement")
    return candidates


def survey(
    names: tuple[str, ...] = tuple(SETTINGS), *, quick: bool = False, seed: int = 0, replicas: int = 4,
    threads: int | None = None,
) -> Iterator[tuple[str, int, int] | ScoreCard]:  # fmt: skip
    """Score cards of the recipes `names`, one after the other; on the way (title, pieces done, pieces in all)."""
    for name in names:
        setting = SETTINGS[name]
        recipe = setting.recipe(seed)
        candidates = models_of_sgd(setting, recipe)
        if quick:
            candidates = {label: candidates[label] for label in QUICK}
        progress = progressive_scorecard(
            recipe, SGD(recipe.step_size, setting.batch_sizes[0]), candidates,
            steps=setting.quick_steps if quick else setting.steps, replicas=replicas, init=None,
            batch_sizes=setting.batch_sizes[:2] if quick else setting.batch_sizes, predictions=None, directions=None,
            interventions=True, title=setting.title, seed=seed, threads=threads, progress=False,
        )  # fmt: skip
        for step in progress:
            yield step if isinstance(step, ScoreCard) else (setting.title, *step)
