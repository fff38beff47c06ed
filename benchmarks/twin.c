/* The same runs in plain C: same random numbers, same batches, same updates, no records and no divergence checks.
 *
 * All functions share one signature, so that the runner can treat them alike. Replicas run one after the other,
 * except in product_single_by_four, which walks four replicas in step as sgdmodels does. quadratic_single_by_columns
 * is a second way to multiply by a symmetric matrix.
 */
#include <stdint.h>
#include <stdlib.h>

#define GOLDEN 0x9E3779B97F4A7C15ull
#define FIRST 0xBF58476D1CE4E5B9ull
#define SECOND 0x94D049BB133111EBull
#define ARGUMENTS                                                                                                      \
    double *theta, const double *inputs, const double *targets, long replicas, long samples, long size, long batch,   \
        long steps, double step_size, uint64_t seed

typedef struct {
    uint64_t first, second;
} keys;

static inline uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * FIRST;
    z = (z ^ (z >> 27)) * SECOND;
    return z ^ (z >> 31);
}

static inline keys batch_keys(uint64_t seed, uint64_t replica) {
    keys k;
    k.first = mix(mix(mix(seed + GOLDEN) + replica * GOLDEN));
    k.second = mix(k.first ^ SECOND);
    return k;
}

/* Draw `counter` of a stream as an integer in 0..n-1. */
static inline long draw(keys k, uint64_t counter, uint64_t n) {
    uint64_t z = k.first + counter * GOLDEN;
    z = (z ^ (z >> 30)) * FIRST;
    z = (z ^ (z >> 27) ^ k.second) * SECOND;
    z ^= z >> 31;
    return (long)(((unsigned __int128)z * n) >> 64);
}

static void *scratch(long bytes) { return aligned_alloc(64, (bytes + 63) / 64 * 64); }

/* One step of f = (u * v) . x on one sample. */
static inline void product_step(
    double *restrict u, double *restrict v, const double *restrict x, double y, long size, double step_size) {
    double r = 0;
    for (long k = 0; k < size; k++) r += x[k] * (u[k] * v[k]);
    r = step_size * (r - y);
    for (long k = 0; k < size; k++) {
        double g = r * x[k], a = u[k], b = v[k];
        u[k] = a - g * b;
        v[k] = b - g * a;
    }
}

void product_single(ARGUMENTS) {
    for (long r = 0; r < replicas; r++) {
        double *u = theta + r * 2 * size, *v = u + size;
        keys k = batch_keys(seed, r);
        for (long s = 0; s < steps; s++) {
            long i = draw(k, (uint64_t)s * samples, samples);
            product_step(u, v, inputs + i * size, targets[i], size, step_size);
        }
    }
}

/* `replicas` is a multiple of four. */
void product_single_by_four(ARGUMENTS) {
    for (long group = 0; group < replicas; group += 4) {
        keys k[4];
        for (long j = 0; j < 4; j++) k[j] = batch_keys(seed, group + j);
        for (long s = 0; s < steps; s++)
            for (long j = 0; j < 4; j++) {
                double *u = theta + (group + j) * 2 * size, *v = u + size;
                long i = draw(k[j], (uint64_t)s * samples, samples);
                product_step(u, v, inputs + i * size, targets[i], size, step_size);
            }
    }
}

/* Batches without replacement: a partial Fisher-Yates shuffle of `order`, undone after the draws. */
static inline void draw_batch(int *restrict order, int *restrict chosen, keys k, uint64_t base, long samples, long batch) {
    for (long m = 0; m < batch; m++) {
        long j = m + draw(k, base + m, samples - m);
        int i = order[j];
        order[j] = order[m];
        order[m] = i;
        chosen[m] = i;
    }
    for (long m = 0; m < batch; m++) {
        order[chosen[m]] = chosen[m];
        order[m] = m;
    }
}

void product_batch(ARGUMENTS) {
    int *order = scratch(samples * sizeof(int)), *chosen = scratch(batch * sizeof(int));
    double *restrict w = scratch(size * sizeof(double)), *restrict q = scratch(size * sizeof(double));
    for (long i = 0; i < samples; i++) order[i] = i;
    for (long r = 0; r < replicas; r++) {
        double *restrict u = theta + r * 2 * size, *restrict v = u + size;
        keys k = batch_keys(seed, r);
        for (long s = 0; s < steps; s++) {
            draw_batch(order, chosen, k, (uint64_t)s * samples, samples, batch);
            for (long j = 0; j < size; j++) {
                w[j] = u[j] * v[j];
                q[j] = 0;
            }
            for (long m = 0; m < batch; m++) {
                const double *restrict x = inputs + chosen[m] * size;
                double p = 0;
                for (long j = 0; j < size; j++) p += x[j] * w[j];
                p = step_size / batch * (p - targets[chosen[m]]);
                for (long j = 0; j < size; j++) q[j] += p * x[j];
            }
            for (long j = 0; j < size; j++) {
                double a = u[j], b = v[j];
                u[j] = a - q[j] * b;
                v[j] = b - q[j] * a;
            }
        }
    }
    free(order), free(chosen), free(w), free(q);
}

/* Per-sample quadratics, batches of one: inputs are n stacked Hessians, targets n centres. */
void quadratic_single(ARGUMENTS) {
    double *restrict shift = scratch(size * sizeof(double)), *restrict g = scratch(size * sizeof(double));
    for (long r = 0; r < replicas; r++) {
        double *restrict x = theta + r * size;
        keys k = batch_keys(seed, r);
        for (long s = 0; s < steps; s++) {
            long i = draw(k, (uint64_t)s * samples, samples);
            const double *restrict hessian = inputs + i * size * size, *restrict center = targets + i * size;
            for (long j = 0; j < size; j++) shift[j] = x[j] - center[j];
            for (long j = 0; j < size; j++) {
                double total = 0;
                for (long c = 0; c < size; c++) total += hessian[j * size + c] * shift[c];
                g[j] = total;
            }
            for (long j = 0; j < size; j++) x[j] -= step_size * g[j];
        }
    }
    free(shift), free(g);
}

/* The same by columns, that is (H being symmetric) by scaled rows: no sums across the lanes of a vector. */
void quadratic_single_by_columns(ARGUMENTS) {
    double *restrict g = scratch(size * sizeof(double));
    for (long r = 0; r < replicas; r++) {
        double *restrict x = theta + r * size;
        keys k = batch_keys(seed, r);
        for (long s = 0; s < steps; s++) {
            long i = draw(k, (uint64_t)s * samples, samples);
            const double *restrict hessian = inputs + i * size * size, *restrict center = targets + i * size;
            for (long j = 0; j < size; j++) g[j] = 0;
            for (long c = 0; c < size; c++) {
                double shift = x[c] - center[c];
                for (long j = 0; j < size; j++) g[j] += shift * hessian[c * size + j];
            }
            for (long j = 0; j < size; j++) x[j] -= step_size * g[j];
        }
    }
    free(g);
}
