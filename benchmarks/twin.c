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

/* Euler-Maruyama of dtheta = -grad L dt + sqrt(step_size Sigma_b) dW, `substeps` a step, full noise.
 *
 * A substep is theta -= h sum_i (1/n + s (xi_i - mean xi)) g_i, h = step_size / substeps, s = sqrt(substeps c / n),
 * c = (n - b) / (b (n - 1)). Normals by Box-Muller with polynomials (minimax, errors below 4e-16), because calls
 * of log, sin and cos would keep the loops out of vector registers. They are not the normals of sgdmodels.
 */
#define LANES 8 /* replicas walked in step by sde_product */
#define TILE 8  /* samples taken at once */

typedef double lanes __attribute__((vector_size(8 * LANES)));

static inline double as_double(uint64_t bits) {
    double x;
    __builtin_memcpy(&x, &bits, 8);
    return x;
}

static inline uint64_t as_bits(double x) {
    uint64_t bits;
    __builtin_memcpy(&bits, &x, 8);
    return bits;
}

static inline keys noise_keys(uint64_t seed, uint64_t replica) {
    keys k;
    k.first = mix(mix(mix(seed + GOLDEN) + replica * GOLDEN) + FIRST);
    k.second = mix(k.first ^ SECOND);
    return k;
}

static inline uint64_t random_bits(uint64_t first, uint64_t second, uint64_t counter) {
    uint64_t z = first + counter * GOLDEN;
    z = (z ^ (z >> 30)) * FIRST;
    z = (z ^ (z >> 27) ^ second) * SECOND;
    return z ^ (z >> 31);
}

/* sqrt(-2 log u) for u of 52 bits in (0, 1), by u = 2^e m with m in [sqrt(1/2), sqrt(2)), log m = 2 atanh f. */
static inline double radius(uint64_t bits) {
    const uint64_t half = 0x3FE6A09E667F3BCDull; /* sqrt(1/2) */
    double u = as_double((bits >> 12) | 0x3FF0000000000000ull) - (1.0 - 0x1p-53);
    uint64_t t = as_bits(u) - half + (1023ull << 52);
    double e = as_double((t >> 52) | 0x4330000000000000ull) - (0x1p52 + 1023.0);
    double m = as_double((t & 0x000FFFFFFFFFFFFFull) + half);
    double f = (m - 1.0) / (m + 1.0), z = f * f, p = -0.33675319941360976;
    p = p * z - 0.36243868862430428;
    p = p * z - 0.44446869095035814;
    p = p * z - 0.5714283204221534;
    p = p * z - 0.80000000123483228;
    p = p * z - 1.3333333333310584;
    p = p * z - 4.000000000000001;
    return __builtin_sqrt(p * f + e * -1.3862943611198906);
}

/* A point of the unit circle: sin(pi x) and +-cos(pi x), x in (-1/2, 1/2) of 52 bits, the sign from another bit. */
static inline void circle(uint64_t bits, double *first, double *second) {
    double x = as_double((bits >> 12) | 0x3FF0000000000000ull) - (1.5 - 0x1p-53), z = x * x;
    double s = -2.113362735205297e-05, c = 4.149564353942586e-06;
    s = s * z + 0.0004659870158043378;
    s = s * z - 0.0073703643265304155;
    s = s * z + 0.08214587881631043;
    s = s * z - 0.599264528825224;
    s = s * z + 2.5501640398618677;
    s = s * z - 5.1677127800497855;
    s = s * z + 3.1415926535897927;
    c = c * z - 0.00010456655338748738;
    c = c * z + 0.0019295562724817132;
    c = c * z - 0.025806888737002202;
    c = c * z + 0.23533063012953284;
    c = c * z - 1.335262768843447;
    c = c * z + 4.058712126416497;
    c = c * z - 4.934802200544676;
    c = c * z + 1.0;
    *first = as_double(as_bits(c) ^ (bits << 63));
    *second = s * x;
}

/* `count` (even) normals from counter `base`; returns their sum. */
static inline double normals(double *restrict xi, keys k, uint64_t base, long count) {
    double total = 0;
    for (long i = 0; i < count / 2; i++) {
        double a, b, r = radius(random_bits(k.first, k.second, base + i));
        circle(random_bits(k.first, k.second, base + count / 2 + i), &a, &b);
        xi[i] = r * a;
        xi[count / 2 + i] = r * b;
        total += r * (a + b);
    }
    return total;
}

/* For checks: the numbers themselves, of replicas 0, 1, ... */
void normal_numbers(double *numbers, long replicas, long count, uint64_t seed) {
    for (long r = 0; r < replicas; r++) normals(numbers + r * count, noise_keys(seed, r), 0, count);
}

/* A replica after the other, four samples at a time; `samples` is a multiple of four. */
void sde_product_by_replica(ARGUMENTS, long substeps) {
    double *restrict xi = scratch(samples * sizeof(double));
    double *restrict w = scratch(size * sizeof(double)), *restrict q = scratch(size * sizeof(double));
    double mean = step_size / substeps / samples;
    double scale = mean * __builtin_sqrt(substeps * (double)(samples - batch) / batch / (samples - 1.0) * samples);
    for (long r = 0; r < replicas; r++) {
        double *restrict u = theta + r * 2 * size, *restrict v = u + size;
        keys k = noise_keys(seed, r);
        for (long s = 0; s < steps * substeps; s++) {
            double shift = mean - scale / samples * normals(xi, k, (uint64_t)s * samples, samples);
            for (long j = 0; j < size; j++) {
                w[j] = u[j] * v[j];
                q[j] = 0;
            }
            for (long i = 0; i < samples; i += 4) {
                const double *restrict a = inputs + i * size, *restrict b = a + size;
                const double *restrict c = b + size, *restrict d = c + size;
                double pa = -targets[i], pb = -targets[i + 1], pc = -targets[i + 2], pd = -targets[i + 3];
                for (long j = 0; j < size; j++) {
                    pa += a[j] * w[j];
                    pb += b[j] * w[j];
                    pc += c[j] * w[j];
                    pd += d[j] * w[j];
                }
                pa *= scale * xi[i] + shift;
                pb *= scale * xi[i + 1] + shift;
                pc *= scale * xi[i + 2] + shift;
                pd *= scale * xi[i + 3] + shift;
                for (long j = 0; j < size; j++) q[j] += (pa * a[j] + pb * b[j]) + (pc * c[j] + pd * d[j]);
            }
            for (long j = 0; j < size; j++) {
                double a = u[j], b = v[j];
                u[j] = a - q[j] * b;
                v[j] = b - q[j] * a;
            }
        }
    }
    free(xi), free(w), free(q);
}

/* Eight replicas in step, one per vector lane, so that no sum runs across lanes and an input is loaded once for eight
 * replicas; tiles of eight samples, whose residuals stay in registers. `replicas` and `samples` are multiples of eight.
 */
void sde_product(ARGUMENTS, long substeps) {
    double *restrict x = scratch(samples * size * sizeof(double));
    lanes *restrict xi = scratch(samples * sizeof(lanes)), *restrict w = scratch(size * sizeof(lanes));
    lanes *restrict u = scratch(size * sizeof(lanes)), *restrict v = scratch(size * sizeof(lanes));
    lanes *restrict q = scratch(size * sizeof(lanes)), total;
    double mean = step_size / substeps / samples;
    double scale = mean * __builtin_sqrt(substeps * (double)(samples - batch) / batch / (samples - 1.0) * samples);
    for (long i = 0; i < samples; i += TILE) /* tile by tile, feature by feature */
        for (long j = 0; j < size; j++)
            for (long t = 0; t < TILE; t++) x[i * size + j * TILE + t] = inputs[(i + t) * size + j];
    for (long group = 0; group < replicas; group += LANES) {
        uint64_t first[LANES] __attribute__((aligned(64))), second[LANES] __attribute__((aligned(64)));
        double *start = theta + group * 2 * size;
        for (long l = 0; l < LANES; l++) {
            keys k = noise_keys(seed, group + l);
            first[l] = k.first;
            second[l] = k.second;
            for (long j = 0; j < size; j++) {
                u[j][l] = start[l * 2 * size + j];
                v[j][l] = start[l * 2 * size + size + j];
            }
        }
        for (long s = 0; s < steps * substeps; s++) {
            uint64_t base = (uint64_t)s * samples;
            total = (lanes){0};
            for (long i = 0; i < samples; i += 2) {
                double *restrict even = (double *)(xi + i), *restrict odd = even + LANES, *sum = (double *)&total;
                for (long l = 0; l < LANES; l++) { /* one vector */
                    double a, b, r = radius(random_bits(first[l], second[l], base + i));
                    circle(random_bits(first[l], second[l], base + i + 1), &a, &b);
                    even[l] = r * a;
                    odd[l] = r * b;
                    sum[l] += r * (a + b);
                }
            }
            total = mean - scale / samples * total;
            for (long j = 0; j < size; j++) {
                w[j] = u[j] * v[j];
                q[j] = (lanes){0};
            }
            for (long i = 0; i < samples; i += TILE) {
                const double *restrict tile = x + i * size;
                lanes p[TILE];
                for (long t = 0; t < TILE; t++) p[t] = (lanes){0} - targets[i + t];
                for (long j = 0; j < size; j++)
                    for (long t = 0; t < TILE; t++) p[t] += tile[j * TILE + t] * w[j];
                for (long t = 0; t < TILE; t++) p[t] *= scale * xi[i + t] + total;
                for (long j = 0; j < size; j++)
                    for (long t = 0; t < TILE; t++) q[j] += tile[j * TILE + t] * p[t];
            }
            for (long j = 0; j < size; j++) {
                lanes a = u[j], b = v[j];
                u[j] = a - q[j] * b;
                v[j] = b - q[j] * a;
            }
        }
        for (long l = 0; l < LANES; l++)
            for (long j = 0; j < size; j++) {
                start[l * 2 * size + j] = u[j][l];
                start[l * 2 * size + size + j] = v[j][l];
            }
    }
    free(x), free(xi), free(w), free(u), free(v), free(q);
}
