r"""The mean path of SGD that reshuffles the data every epoch, as a flow.

.. math:: \dot\theta = -\nabla\big(L + \tfrac\eta4(|\nabla L|^2 + \tfrac{K-1}{n-1}\mathrm{tr}\Sigma)\big)

with epochs of K = n // b batches without replacement. Where b divides n the factor is c2 and the bracket is the mean
of :math:`|\nabla L_B|^2` over batches B. The mean over an epoch is right to second order in eta. Source: Smith et al.
2021.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .base import Declaration, Dynamics, Plan, checked_batch_size, checked_step_size, checked_substeps
from .gradient_flow import flow_plan
from .schedules import Schedule


@dataclass(frozen=True)
class ReshufflingFlow(Dynamics):
    """Flow on L + (eta/4) E|grad L_B|^2: the mean path of SGD that reshuffles the data every epoch.

    >>> import sgdmodels as sm
    >>> sm.ReshufflingFlow(0.1, batch_size=4).declaration.relative_to
    'SGD(sampling="epoch")'
    """

    deterministic: ClassVar[bool] = True

    step_size: Schedule
    batch_size: Schedule
    substeps: int = 10

    def __post_init__(self) -> None:
        self._set(
            step_size=checked_step_size(self.step_size), batch_size=checked_batch_size(self.batch_size),
            substeps=checked_substeps(self.substeps),
        )  # fmt: skip

    @property
    def declaration(self) -> Declaration:
        return Declaration(
            equation=r"\dot\theta = -\nabla(L + \tfrac\eta4(|\nabla L|^2 + \tfrac{K-1}{n-1}\mathrm{tr}\Sigma))",
            weak_order=2, preserves=r"mean over an epoch to order $\eta^2$", edge=r"\text{none}",
            cost="4 m (2n G, 2n H)", reference="Smith et al. 2021", relative_to='SGD(sampling="epoch")',
        )  # fmt: skip

    def plan(self, samples: int) -> Plan:
        return flow_plan(samples, self.step_size, self.batch_size, self.substeps, mean=True, noise=True)
