"""The shapes that kernels agree on. Data of a loss travel as four arrays whose meaning the loss decides:

inputs (samples first), targets, constants, second_moment (data averaged once: X'X/n, the mean Hessian, ...)
"""

from numba import float64, int32, int64, types, uint64, void

VECTOR = float64[::1]
MATRIX = float64[:, ::1]
DATA = (MATRIX, VECTOR, VECTOR, MATRIX)

# A step of SGD may consist of several micro-steps (substeps of an SDE, SVAG); laws and walks count in micro-steps.
#
# seed, replica, stream | first micro-step, micro-steps, first micro-step of this schedule segment, micro-steps a step |
# samples, batch size, parameters | scratch (0, 1, ..., n-1), sums (n) and state (-1, -1): a law's own between two
# blocks of the same run | index, weight, count
LAW = void(
    uint64, int64, int64,
    int64, int64, int64, int64,
    int64, int64, VECTOR,
    int32[::1], VECTOR, int64[::1],
    int32[:, ::1], MATRIX, int64[::1],
)  # fmt: skip
# theta, memory (replica, .) | index, weight (replica, micro-step, k), count (replica, micro-step) | first micro-step,
# micro-steps, micro-steps a step, step size of a micro-step | samples, batch size, parameters | keys of the Gaussians
# (replica, 2) | data | work
WALK = void(
    MATRIX, MATRIX,
    int32[:, :, ::1], float64[:, :, ::1], int64[:, ::1],
    int64, int64, int64, float64,
    int64, int64, VECTOR,
    uint64[:, ::1],
    *DATA, MATRIX,
)  # fmt: skip
LAW_FUNCTION = types.FunctionType(LAW)
WALK_FUNCTION = types.FunctionType(WALK)

# Rows of the work matrix: a loss may use the first six, loops and metrics the rest.
MODEL_ROWS = 6
WORK_ROWS = 14
