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
from numba import uint64

from .compile import inline

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
FIRST = np.uint64(0xBF58476D1CE4E5B9)
SECOND = np.uint64(0x94D049BB133111EB)
LOW = np.uint64(0xFFFFFFFF)

# Streams: what the numbers are used for. Training and measurement never share one.
BATCHES = 0
GAUSSIANS = 1
MEASUREMENT = 2


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
def standard_normal(first_key, second_key, counter):
    """One standard normal by Box-Muller; counters 2k and 2k+1 share a radius and use its cosine and sine."""
    pair = uint64(counter) >> uint64(1)
    radius = math.sqrt(-2.0 * math.log(uniform(random_bits(first_key, second_key, uint64(2) * pair))))
    angle = 2.0 * math.pi * uniform(random_bits(first_key, second_key, uint64(2) * pair + uint64(1)))
    return radius * (math.cos(angle) if uint64(counter) & uint64(1) == uint64(0) else math.sin(angle))
