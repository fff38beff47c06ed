"""Counter-based random numbers: a number is a pure function of (seed; replica, stream, counter).

No generator state exists, so results do not depend on the number of threads, on how a run is cut into
chunks, or on which replicas are simulated together, and any step can be drawn again. The mixer is the
splitmix64 finaliser (Steele, Lea, Flood 2014) over a Weyl sequence, with a second key folded in between its
rounds: with one key, two replicas would walk the *same* cycle from different places.
`validation/random_numbers/` records the statistical batteries it passed.
"""

from __future__ import annotations

import math

import numpy as np
from numba import int64, uint64

from .compile import inline

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
FIRST = np.uint64(0xBF58476D1CE4E5B9)
SECOND = np.uint64(0x94D049BB133111EB)
LOW = np.uint64(0xFFFFFFFF)
SQRT_HALF = np.int64(0x3FE6A09E667F3BCD)  # the bits of sqrt(1/2)
MANTISSA = np.int64(0x000FFFFFFFFFFFFF)

# Streams: what the numbers are used for. Training and measurement never share one.
BATCHES = 0
GAUSSIANS = 1
MEASUREMENT = 2
SECOND_BATCHES = 3


@inline
def mix(z):
    """The splitmix64 finaliser: a bijection of 64 bits in which every input bit moves every output bit."""
    z = (z ^ (z >> uint64(30))) * FIRST
    z = (z ^ (z >> uint64(27))) * SECOND
    return z ^ (z >> uint64(31))


@inline
def stream_keys(seed, replica, stream):
    """Two 64-bit keys for one stream of one replica."""
    key = mix(mix(uint64(seed) + GOLDEN) + uint64(replica) * GOLDEN)
    key = mix(key + uint64(stream) * FIRST)
    return key, mix(key ^ SECOND)


@inline
def random_bits(first_key, second_key, counter):
    """64 random bits."""
    z = first_key + uint64(counter) * GOLDEN
    z = (z ^ (z >> uint64(30))) * FIRST
    z = (z ^ (z >> uint64(27)) ^ second_key) * SECOND
    return z ^ (z >> uint64(31))


@inline
def below(bits, n):
    """An integer in 0..n-1 (n < 2**32) by the high half of a 64 x 32 bit product; bias below n / 2**64."""
    n = uint64(n)
    return ((bits >> uint64(32)) * n + (((bits & LOW) * n) >> uint64(32))) >> uint64(32)


@inline
def uniform(bits):
    """A float in (0, 1), never 0 or 1."""
    return (np.float64(bits >> uint64(12)) + 0.5) * 2.0**-52


@inline
def radius_and_turn(u, v):
    """(sqrt(-2 log u) cos(2 pi v), sqrt(-2 log u) sin(2 pi v)) for u, v in (0, 1), by polynomials.

    The mathematical library's log, sin and cos are calls, which would keep the loops around them from running in
    vector registers. Same polynomials as fdlibm (errors below 1 ulp of each function).
    """
    bits = np.float64(u).view(np.int64) - SQRT_HALF  # u = 2^exponent m with m in [sqrt(1/2), sqrt(2))
    exponent = np.float64(bits >> int64(52))
    m = np.int64((bits & MANTISSA) + SQRT_HALF).view(np.float64)
    f = m - 1.0
    s = f / (2.0 + f)
    z = s * s
    tail = 0.1531383769920937332 + z * 0.1479819860511658591
    tail = 0.2222219843214978396 + z * (0.1818357216161805012 + z * tail)
    tail = z * (0.6666666666666735130 + z * (0.3999999999940941908 + z * (0.2857142874366239149 + z * tail)))
    log = exponent * 0.6931471805599453094 + (f - s * (f - tail))
    radius = math.sqrt(-2.0 * log)
    quarters = math.floor(4.0 * v + 0.5)  # the nearest quarter turn: what is left lies in [-pi/4, pi/4]
    angle = (v - 0.25 * quarters) * 6.2831853071795864769
    z = angle * angle
    sine = 2.75573137070700676789e-06 + z * (-2.50507602534068634195e-08 + z * 1.58969099521155010221e-10)
    sine = -1.66666666666666324348e-01 + z * (8.33333333332248946124e-03 + z * (-1.98412698298579493134e-04 + z * sine))
    sine = angle + angle * z * sine
    cosine = -2.75573143513906633035e-07 + z * (2.08757232129817482790e-09 + z * -1.13596475577881948265e-11)
    cosine = 4.16666666666666019037e-02 + z * (-1.38888888888741095749e-03 + z * (2.48015872894767294178e-05 + z * cosine))
    cosine = 1.0 - 0.5 * z + z * z * cosine
    quarter = int64(quarters) & int64(3)
    odd = quarter & int64(1)
    first, second = (sine, cosine) if odd else (cosine, sine)
    first = -first if (quarter == 1 or quarter == 2) else first
    second = -second if quarter >= 2 else second
    return radius * first, radius * second


@inline
def fill_normals(first_key, second_key, base, count, out):
    """out[:count] = standard normals of counters base, base + 1, ...; `out` has room for an even number.

    Box-Muller: numbers k and k + half share a radius, so that both halves are written side by side in memory.
    """
    half = (count + 1) // 2
    for k in range(half):
        counter = uint64(base) + uint64(2 * k)
        u = uniform(random_bits(first_key, second_key, counter))
        v = uniform(random_bits(first_key, second_key, counter + uint64(1)))
        out[k], out[half + k] = radius_and_turn(u, v)


@inline
def standard_normal(first_key, second_key, counter):
    """One standard normal; counters 2k and 2k + 1 share a radius and use its cosine and sine."""
    pair = uint64(2) * (uint64(counter) >> uint64(1))
    u = uniform(random_bits(first_key, second_key, pair))
    v = uniform(random_bits(first_key, second_key, pair + uint64(1)))
    first, second = radius_and_turn(u, v)
    return first if uint64(counter) & uint64(1) == uint64(0) else second
