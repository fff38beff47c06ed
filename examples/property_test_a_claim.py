"""State a claim about SGD in ten lines and attack it; then test one that is true.

Run with `python examples/property_test_a_claim.py`; takes about half a minute. Needs hypothesis.
"""

from hypothesis import settings

from sgdmodels.testing import Claim, least_squares, points

search = settings(max_examples=200, derandomize=True, database=None)  # the same search in every run

claim = Claim(
    "lambda_max <= BS",
    "Batch Sharpness is never below the sharpness of the full loss.",
    sides=lambda point: (point.lambda_max, point.batch_sharpness),
    region=lambda: points(least_squares(features=1)),
    defined=lambda point: point.gradients.any(axis=1).all(),
)
found = claim.attack(search, by=0.05)
print(f"{claim.statement}\nFALSE at {found}")
print(f"where lambda_max = {found.lambda_max:.4g} and BS = {found.batch_sharpness:.4g}\n")

claim = Claim(
    "lambda_max <= E lambda_max(H_B)",
    "The sharpness of batches is on average never below the sharpness of the full loss.",
    # the third is a size: below 1e-9 of it, a difference is rounding
    sides=lambda point: (point.lambda_max, point.minibatch_lambda_max, abs(point.hessians).max()),
    region=points,
)
survived = claim.test(search)
print(f"{claim.statement}\nSurvived {survived.points} points; smallest margin {survived.smallest_margin:.0e}.")
