"""The names that templates leave open until `bind` or `rebind` puts the device functions of one loss in their place."""

from __future__ import annotations

from typing import Any


class Hole:
    """Stands in a template for a device function that is not chosen yet."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *arguments: Any) -> Any:
        raise TypeError(f"{self.name} is a hole in a template; bind the template to a loss first")


# What a loss offers (models.base.LossKernels).
split = Hole("split")
mean_loss = Hole("mean_loss")
add_gradient = Hole("add_gradient")
add_hvp = Hole("add_hvp")
begin_mean = Hole("begin_mean")
add_mean_hvp = Hole("add_mean_hvp")

# What a loss with a linear predictor offers its family (models.linear_predictor).
weights = Hole("weights")
pull = Hole("pull")
push = Hole("push")
curve = Hole("curve")
offset = Hole("offset")
tilt = Hole("tilt")
correlate = Hole("correlate")
pick = Hole("pick")
point_loss = Hole("point_loss")
slope = Hole("slope")
bend = Hole("bend")
fused_predict = Hole("fused_predict")
add_batch_gradient = Hole("add_batch_gradient")

# What a loss that is given sample by sample offers its family (models.sample_by_sample).
add_parts = Hole("add_parts")
sample_loss = Hole("sample_loss")
add_sample_gradient = Hole("add_sample_gradient")
add_sample_hvp = Hole("add_sample_hvp")
