r"""Flow on the loss that gradient descent minimises implicitly.

.. math:: \dot\theta = -\nabla\big(L + \tfrac\eta4|\nabla L|^2\big) = -\big(I + \tfrac\eta2 H\big)\nabla L

Follows gradient descent to second order in eta, and knows no edge at 2/eta. Source: Barrett and Dherin 2021.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .base import Declaration, Dynamics, Plan, checked_step_size, checked_substeps
from .gradient_flow import flow_plan
from .schedules import Schedule


@dataclass(frozen=True)
class ImplicitRegularizationFlow(Dynamics):
    """Flow on L + (eta/4) |grad L|^2, which gradient descent follows to second order.

    >>> import sgdmodels as sm
    >>> sm.ImplicitRegularizationFlow(0.1).declaration.relative_to
    'GD'
    """

    deterministic: ClassVar[bool] = True

    step_size: Schedule
    substeps: int = 10

    def __post_init__(self) -> None:
        self._set(step_size=checked_step_size(self.step_size), substeps=checked_substeps(self.substeps))

    @property
    def declaration(self) -> Declaration:
        return Declaration(
            equation=r"\dot\theta = -\nabla(L + \tfrac\eta4|\nabla L|^2)",
            weak_order=2, preserves=r"mean to order $\eta^2$", edge=r"\text{none}", cost="4 m (n G, n H)",
            reference="Barrett and Dherin 2021", relative_to="GD",
        )  # fmt: skip

    def plan(self, samples: int) -> Plan:
        return flow_plan(samples, self.step_size, None, self.substeps, mean=True, noise=False)
