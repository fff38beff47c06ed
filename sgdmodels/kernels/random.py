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
ONE = np.uint64(0x3FF0000000000000)  # the bits of 1.0
SQRT_HALF = np.uint64(0x3FE6A09E667F3BCD)
MANTISSA = np.uint64(0x000FFFFFFFFFFFFF)

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
def normal_radius(bits):
    """sqrt(-2 log u) for the uniform number u that the upper 52 bits make, by a polynomial in (m - 1) / (m + 1).

    The mathematical library's log, sin and cos are calls, which would keep the loops around them from running in
    vector registers. Minimax coefficients; errors of a normal number below 2e-15 (`validation/random_numbers/`).
    """
    u = np.uint64((bits >> uint64(12)) | ONE).view(np.float64) - (1.0 - 2.0**-53)
    shifted = np.float64(u).view(np.uint64) - SQRT_HALF + ONE  # u = 2^exponent m with m in [sqrt(1/2), sqrt(2))
    exponent = np.float64(int64(shifted >> uint64(52)) - int64(1023))
    m = np.uint64((shifted & MANTISSA) + SQRT_HALF).view(np.float64)
    f = (m - 1.0) / (m + 1.0)
    q = f * f
    p = -0.33675319941360976 * q - 0.36243868862430428
    p = p * q - 0.44446869095035814
    p = p * q - 0.5714283204221534
    p = p * q - 0.80000000123483228
    p = p * q - 1.3333333333310584
    p = p * q - 4.000000000000001
    return math.sqrt(p * f + exponent * -1.3862943611198906)


@inline
def direction(bits):
    """(cos, sin) of a uniform angle: that of pi x for x in (-1/2, 1/2) from the upper 52 bits, the cosine's sign from
    the lowest bit."""
    x = np.uint64((bits >> uint64(12)) | ONE).view(np.float64) - (1.5 - 2.0**-53)
    q = x * x
    sine = -2.113362735205297e-05 * q + 0.0004659870158043378
    sine = sine * q - 0.0073703643265304155
    sine = sine * q + 0.08214587881631043
    sine = sine * q - 0.599264528825224
    sine = sine * q + 2.5501640398618677
    sine = sine * q - 5.1677127800497855
    sine = sine * q + 3.1415926535897927
    cosine = 4.149564353942586e-06 * q - 0.00010456655338748738
    cosine = cosine * q + 0.0019295562724817132
    cosine = cosine * q - 0.025806888737002202
    cosine = cosine * q + 0.23533063012953284
    cosine = cosine * q - 1.335262768843447
    cosine = cosine * q + 4.058712126416497
    cosine = cosine * q - 4.934802200544676
    cosine = cosine * q + 1.0
    return np.uint64(np.float64(cosine).view(np.uint64) ^ (bits << uint64(63))).view(np.float64), sine * x


@inline
def fill_normals(first_key, second_key, base, count, out):
    """out[:count] = standard normals of counters base, base + 1, ..., and their sum; `out` has room for an even number.

    Box-Muller: counters k and k + half make the pair of numbers k and k + half, so that all is read and written side
    by side.
    """
    half = (count + 1) // 2
    total = 0.0
    lower, upper = out[:half], out[half : 2 * half]
    start = uint64(base)
    for k in range(half):
        r = normal_radius(random_bits(first_key, second_key, start + uint64(k)))
        c, s = direction(random_bits(first_key, second_key, start + uint64(half) + uint64(k)))
        lower[k] = r * c
        upper[k] = r * s
        total += r * (c + s)
    return total if count == 2 * half else total - upper[half - 1]


@inline
def standard_normal(first_key, second_key, counter):
    """One standard normal; counters 2k and 2k + 1 share a radius and use its cosine and sine."""
    pair = uint64(2) * (uint64(counter) >> uint64(1))
    r = normal_radius(random_bits(first_key, second_key, pair))
    c, s = direction(random_bits(first_key, second_key, pair + uint64(1)))
    return r * (c if uint64(counter) & uint64(1) == uint64(0) else s)
