"""Every public model of SGD, with arguments that fit a loss."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ..dynamics import (
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
    OrnsteinUhlenbeck,
    PredictedDynamics,
    ReshufflingFlow,
    StochasticCentralFlow,
)
from ..errors import InvalidArgument
from ..models import Model
from .draws import batch_sizes, sampling_schemes

STEP_SIZES = st.sampled_from((0.5, 0.25, 0.1, 0.05, 0.01))
SCALES = st.sampled_from((0.1, 0.01, 1.0))
FEW = st.integers(1, 3)
SVAG_SCHEMES = ("without_replacement", "with_replacement")  # the only ones that it accepts
# `nesterov` is the look-ahead of a velocity: it means nothing without momentum
MOMENTA = st.sampled_from(((0.0, False), (0.5, False), (0.9, False), (0.5, True), (0.9, True)))


def dynamics(
    model_or_n: Model | int,
    step_size: float | SearchStrategy[float] = STEP_SIZES,
    batch_size: int | SearchStrategy[int] | None = None,
) -> SearchStrategy[Dynamics]:
    """Strategy for every public dynamics on a loss, or on n samples; SGD of batch size 1 first.

    On a loss, dynamics that refuse it are left out. (`PredictedDynamics` still looks for an edge near its start when a
    run begins, and refuses one that is far from any.)

    >>> from hypothesis import find
    >>> find(dynamics(3, step_size=0.1), lambda dynamics: dynamics.step_size > 0)
    SGD(step_size=0.1, batch_size=1, sampling='without_replacement', momentum=0.0, nesterov=False)
    """
    step = step_size if isinstance(step_size, SearchStrategy) else st.just(step_size)
    if batch_size is None:
        size: SearchStrategy[Any] = batch_sizes(model_or_n)
        plain: SearchStrategy[Any] = st.just(1)
    else:
        size = batch_size if isinstance(batch_size, SearchStrategy) else st.just(batch_size)
        plain = size
    families = _families(step, size, plain)
    fitting = [s for kind, s in families.items() if not isinstance(model_or_n, Model) or _fits(kind, model_or_n)]
    return st.one_of(fitting)


def _fits(kind: type[Dynamics], model: Model) -> bool:
    """Whether this dynamics has a meaning on the loss: it says so itself."""
    if kind is HomogenizedSGD:
        try:
            HomogenizedSGD(0.1, 1).check_model(model)
        except InvalidArgument:
            return False
    return True


def _families(
    step: SearchStrategy[float], size: SearchStrategy[Any], plain: SearchStrategy[Any]
) -> dict[type[Dynamics], SearchStrategy[Any]]:
    """Each public dynamics with a strategy for its arguments; SGD without options has a batch size of its own."""
    schemes = sampling_schemes()
    covariances = st.sampled_from(("full", "diagonal", "isotropic"))
    return {
        SGD: st.one_of(
            st.builds(SGD, step, plain), st.builds(lambda h, b, s, m: SGD(h, b, s, *m), step, size, schemes, MOMENTA)
        ),
        GD: st.builds(lambda h, m: GD(h, *m), step, MOMENTA),
        NoisyGD: st.one_of(
            st.builds(NoisyGD, step, size, covariances, refresh=FEW, sampling=schemes),
            st.builds(NoisyGD, step, size, st.just("constant"), scale=SCALES, sampling=schemes),
        ),
        SDE: st.builds(SDE, step, size, order=st.sampled_from((1, 2)), substeps=FEW, sampling=schemes),
        SVAG: st.builds(SVAG, step, size, ell=FEW, sampling=st.sampled_from(SVAG_SCHEMES)),
        LabelNoiseSGD: st.builds(LabelNoiseSGD, step, size, SCALES, schemes),
        EpochSDE: st.builds(EpochSDE, step, size, order=st.sampled_from((1, 2)), substeps=FEW),
        OrnsteinUhlenbeck: st.builds(OrnsteinUhlenbeck, step, size, substeps=FEW, sampling=schemes),
        HomogenizedSGD: st.builds(HomogenizedSGD, step, size, substeps=FEW, sampling=schemes),
        LevySDE: st.builds(LevySDE, step, alpha=st.sampled_from((2.0, 1.5, 1.8)), scale=SCALES, substeps=FEW),
        GradientFlow: st.builds(GradientFlow, step, substeps=FEW),
        ImplicitRegularizationFlow: st.builds(ImplicitRegularizationFlow, step, substeps=FEW),
        ReshufflingFlow: st.builds(ReshufflingFlow, step, size, substeps=FEW),
        CentralFlow: st.builds(CentralFlow, step),
        StochasticCentralFlow: st.builds(StochasticCentralFlow, step, size),
        PredictedDynamics: st.builds(PredictedDynamics, step, size, schemes),
    }
