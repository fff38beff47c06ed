/* Write random bits to standard output, as 64-bit words in machine order, until the reader closes the pipe.
 *
 *     emit ORDERING SEED   an endless stream: step t = 0, 1, ... of every member of the ordering in turn
 *     emit twin 0          for each (seed, replica, stream, counter) read from standard input, its random bits
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "generator.h"

enum { BUFFER = 8192, MOST_MEMBERS = 256 };

typedef enum { NOTHING, SEEDS, REPLICAS, STREAMS, OFFSETS } Varied;

typedef struct {
    const char *name;
    Varied varied;   /* what distinguishes the members that are interleaved */
    int members;
    uint64_t stride; /* counters from one step to the next */
    int reversed;    /* the order of the 64 bits */
} Ordering;

static const Ordering ORDERINGS[] = {
    {"consecutive", NOTHING, 1, 1, 0}, {"reversed", NOTHING, 1, 1, 1},  {"replicas", REPLICAS, 256, 64, 0},
    {"seeds", SEEDS, 256, 64, 0},      {"stride", NOTHING, 1, 100, 0}, {"streams", STREAMS, 3, 64, 0},
    {"control", OFFSETS, 256, 64, 0},
};

static uint64_t reverse(uint64_t z) {
    z = (z >> 1 & 0x5555555555555555u) | (z & 0x5555555555555555u) << 1;
    z = (z >> 2 & 0x3333333333333333u) | (z & 0x3333333333333333u) << 2;
    z = (z >> 4 & 0x0F0F0F0F0F0F0F0Fu) | (z & 0x0F0F0F0F0F0F0F0Fu) << 4;
    return __builtin_bswap64(z);
}

/* OFFSETS are wrong on purpose: one key, so that member m is member 0 from m counters on. */
static Keys member_keys(Varied varied, uint64_t seed, uint64_t m) {
    switch (varied) {
    case SEEDS: return stream_keys(seed + m, 0, 0);
    case REPLICAS: return stream_keys(seed, m, 0);
    case STREAMS: return stream_keys(seed, 0, m);
    case OFFSETS: return (Keys){mix(seed) + m * GOLDEN, 0};
    default: return stream_keys(seed, 0, 0);
    }
}

static void emit(const Ordering *o, uint64_t seed) {
    static uint64_t buffer[BUFFER];
    Keys keys[MOST_MEMBERS];
    for (int m = 0; m < o->members; m++)
        keys[m] = member_keys(o->varied, seed, m);
    int member = 0;
    uint64_t counter = 0;
    do {
        for (int i = 0; i < BUFFER; i++) {
            uint64_t bits = random_bits(keys[member], counter);
            buffer[i] = o->reversed ? reverse(bits) : bits;
            if (++member == o->members) {
                member = 0;
                counter += o->stride;
            }
        }
    } while (fwrite(buffer, sizeof buffer, 1, stdout) == 1);
}

static void twin(void) {
    uint64_t row[4];
    while (fread(row, sizeof row, 1, stdin) == 1) {
        uint64_t bits = random_bits(stream_keys(row[0], row[1], row[2]), row[3]);
        fwrite(&bits, sizeof bits, 1, stdout);
    }
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "twin") == 0) {
        twin();
        return 0;
    }
    for (size_t i = 0; argc == 3 && i < sizeof ORDERINGS / sizeof *ORDERINGS; i++)
        if (strcmp(argv[1], ORDERINGS[i].name) == 0) {
            emit(&ORDERINGS[i], strtoull(argv[2], NULL, 0));
            return 0;
        }
    fprintf(stderr, "usage: emit consecutive|reversed|replicas|seeds|stride|streams|control|twin SEED\n");
    return 2;
}
