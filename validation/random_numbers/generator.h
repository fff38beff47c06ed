/* C twin of sgdmodels/kernels/random.py: stream_keys and random_bits. check.py compares the two bit for bit. */
#ifndef GENERATOR_H
#define GENERATOR_H

#include <stdint.h>

static const uint64_t GOLDEN = 0x9E3779B97F4A7C15u;
static const uint64_t FIRST = 0xBF58476D1CE4E5B9u;
static const uint64_t SECOND = 0x94D049BB133111EBu;

typedef struct {
    uint64_t first, second;
} Keys;

static inline uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * FIRST;
    z = (z ^ (z >> 27)) * SECOND;
    return z ^ (z >> 31);
}

static inline Keys stream_keys(uint64_t seed, uint64_t replica, uint64_t stream) {
    uint64_t key = mix(mix(seed + GOLDEN) + replica * GOLDEN);
    key = mix(key + stream * FIRST);
    return (Keys){key, mix(key ^ SECOND)};
}

static inline uint64_t random_bits(Keys keys, uint64_t counter) {
    uint64_t z = keys.first + counter * GOLDEN;
    z = (z ^ (z >> 30)) * FIRST;
    z = (z ^ (z >> 27) ^ keys.second) * SECOND;
    return z ^ (z >> 31);
}

#endif
