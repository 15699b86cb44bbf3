#include "eval/cpu_kernels.h"

#include "core/half.h"
#include "core/vector_math.h"

#include <math.h>

/* One function, several instruction sets, chosen by the loader. The thread sanitizer's runtime is not up yet when the
 * loader chooses, so there the plain version stands alone; also with clang, whose version 14 calls the chooser
 * name.ifunc, so that no other file can link to it. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define NO_CLONES 1
#endif
#endif
#if defined(__x86_64__) && defined(__linux__) && defined(__GLIBC__) && !defined(__SANITIZE_THREAD__) &&                \
    !defined(NO_CLONES) && !defined(__clang__) && __GNUC__ >= 12
#define CLONES __attribute__((target_clones("default", "avx2", "arch=x86-64-v4")))
#else
#define CLONES
#endif

enum { LANES = 16, LANES_F64 = 8, BLOCK = 64 };

static inline float sum_lanes(const float *lane)
{
    float half[LANES / 2];
    for (int j = 0; j < LANES / 2; j++)
        half[j] = lane[j] + lane[j + LANES / 2];
    return ((half[0] + half[4]) + (half[1] + half[5])) + ((half[2] + half[6]) + (half[3] + half[7]));
}

static inline double sum_lanes_f64(const double *lane)
{
    return ((lane[0] + lane[4]) + (lane[1] + lane[5])) + ((lane[2] + lane[6]) + (lane[3] + lane[7]));
}

static inline double sum_lanes_wide(const double *lane)
{
    double half[LANES / 2];
    for (int j = 0; j < LANES / 2; j++)
        half[j] = lane[j] + lane[j + LANES / 2];
    return sum_lanes_f64(half);
}

static inline float max_of(const float *x, size_t n)
{
    float lane[LANES];
    for (int j = 0; j < LANES; j++)
        lane[j] = -INFINITY;
    size_t whole = n - n % LANES;
    for (size_t i = 0; i < whole; i += LANES)
        for (int j = 0; j < LANES; j++)
            lane[j] = x[i + (size_t)j] > lane[j] ? x[i + (size_t)j] : lane[j];
    for (size_t i = whole; i < n; i++)
        lane[0] = x[i] > lane[0] ? x[i] : lane[0];
    float max = lane[0];
    for (int j = 1; j < LANES; j++)
        max = lane[j] > max ? lane[j] : max;
    return max;
}

CLONES float pare_cpu_softmax_part(float *x, size_t n, float *max, float *sum)
{
    float before = *max, here = max_of(x, n), lane[LANES] = {0};
    float m = here > before ? here : before; /* not *max, which could lie in x for all the compiler knows */
    size_t whole = n - n % LANES;
    for (size_t i = 0; i < whole; i += LANES)
        for (int j = 0; j < LANES; j++) {
            float e = pare_exp_f32(x[i + (size_t)j] - m);
            x[i + (size_t)j] = e;
            lane[j] += e;
        }
    for (size_t i = whole; i < n; i++) {
        x[i] = pare_exp_f32(x[i] - m);
        lane[i - whole] += x[i];
    }
    float shrink = before == -INFINITY || before == m ? 1.0f : pare_exp_f32(before - m);
    *max = m;
    *sum = *sum * shrink + sum_lanes(lane);
    return shrink;
}

CLONES void pare_cpu_rms_norm(const float *x, size_t n, const float *w, float eps, float *y)
{
    double lane[LANES_F64] = {0};
    size_t whole = n - n % LANES_F64;
    for (size_t i = 0; i < whole; i += LANES_F64)
        for (int j = 0; j < LANES_F64; j++)
            lane[j] += (double)x[i + (size_t)j] * (double)x[i + (size_t)j];
    for (size_t i = whole; i < n; i++)
        lane[i - whole] += (double)x[i] * (double)x[i];
    float factor = (float)(1.0 / sqrt(sum_lanes_f64(lane) / (double)n + (double)eps));
    if (w == NULL)
        for (size_t i = 0; i < n; i++)
            y[i] = x[i] * factor;
    else
        for (size_t i = 0; i < n; i++)
            y[i] = x[i] * factor * w[i];
}

CLONES void pare_cpu_layer_norm(const float *x, size_t n, const float *w, const float *b, float eps, float *y)
{
    double lane[LANES_F64] = {0}, square[LANES_F64] = {0};
    size_t whole = n - n % LANES_F64;
    for (size_t i = 0; i < whole; i += LANES_F64)
        for (int j = 0; j < LANES_F64; j++)
            lane[j] += (double)x[i + (size_t)j];
    for (size_t i = whole; i < n; i++)
        lane[i - whole] += (double)x[i];
    double mean = sum_lanes_f64(lane) / (double)n;
    for (size_t i = 0; i < whole; i += LANES_F64)
        for (int j = 0; j < LANES_F64; j++) {
            double d = (double)x[i + (size_t)j] - mean;
            square[j] += d * d;
        }
    for (size_t i = whole; i < n; i++)
        square[i - whole] += ((double)x[i] - mean) * ((double)x[i] - mean);
    double factor = 1.0 / sqrt(sum_lanes_f64(square) / (double)n + (double)eps);
    for (size_t i = 0; i < n; i++) {
        float v = (float)(((double)x[i] - mean) * factor);
        y[i] = (w != NULL ? v * w[i] : v) + (b != NULL ? b[i] : 0.0f);
    }
}

CLONES void pare_cpu_clamped_glu(const pare_clamped_glu *op)
{
    for (size_t i = 0; i < op->n; i++) {
        float g = op->gate[i] > op->limit ? op->limit : op->gate[i], u = op->up[i];
        u = u > op->limit ? op->limit : u < -op->limit ? -op->limit : u;
        op->y[i] = g / (1.0f + pare_exp_f32(-op->alpha * g)) * (u + 1.0f);
    }
}

CLONES void pare_cpu_silu(const float *x, const float *u, size_t n, float *y)
{
    if (u == NULL)
        for (size_t i = 0; i < n; i++)
            y[i] = x[i] / (1.0f + pare_exp_f32(-x[i]));
    else
        for (size_t i = 0; i < n; i++)
            y[i] = x[i] / (1.0f + pare_exp_f32(-x[i])) * u[i];
}

/* (1 + tanh t) / 2 = 1 / (1 + e^(-2t)), which loses no digits where tanh is near -1 */
static inline float gelu_tanh(float x)
{
    float t2 = 1.5957691216057308f * (x + 0.044715f * x * x * x); /* 2 sqrt(2 / pi) */
    return x / (1.0f + pare_exp_f32(-t2));
}

CLONES void pare_cpu_gelu_tanh(const float *x, const float *u, size_t n, float *y)
{
    if (u == NULL)
        for (size_t i = 0; i < n; i++)
            y[i] = gelu_tanh(x[i]);
    else
        for (size_t i = 0; i < n; i++)
            y[i] = gelu_tanh(x[i]) * u[i];
}

CLONES void pare_cpu_rope_halves(float *x, size_t half, const float *cs)
{
    for (size_t i = 0; i < half; i++) {
        float a = x[i], b = x[i + half];
        x[i] = a * cs[2 * i] - b * cs[2 * i + 1];
        x[i + half] = a * cs[2 * i + 1] + b * cs[2 * i];
    }
}

CLONES void pare_cpu_rope_pairs(float *x, size_t half, const float *cs)
{
    for (size_t i = 0; i < half; i++) {
        float a = x[2 * i], b = x[2 * i + 1];
        x[2 * i] = a * cs[2 * i] - b * cs[2 * i + 1];
        x[2 * i + 1] = a * cs[2 * i + 1] + b * cs[2 * i];
    }
}

/* Index of the first value that equals v, which is there. */
static inline size_t find_first(const float *x, size_t n, float v)
{
    size_t i = 0;
    for (; i + BLOCK <= n; i += BLOCK) { /* a block without a branch a value */
        int hit = 0;
        for (size_t j = 0; j < BLOCK; j++)
            hit |= x[i + j] == v;
        if (hit)
            break;
    }
    while (i + 1 < n && x[i] != v)
        i++;
    return i;
}

CLONES bool pare_cpu_peak(const float *x, size_t n, pare_peak *out)
{
    float zero[LANES] = {0}; /* stays 0 while all values are finite: v - v is NaN for NaN and infinities */
    size_t whole = n - n % LANES;
    for (size_t i = 0; i < whole; i += LANES)
        for (int j = 0; j < LANES; j++)
            zero[j] += x[i + (size_t)j] - x[i + (size_t)j];
    for (size_t i = whole; i < n; i++)
        zero[0] += x[i] - x[i];
    if (!(sum_lanes(zero) == 0.0f) || n == 0)
        return false;
    out->value = max_of(x, n);
    out->at = find_first(x, n, out->value);
    return true;
}

CLONES double pare_cpu_log_sum_exp(const float *x, size_t n, float max)
{
    double lane[LANES] = {0};
    size_t whole = n - n % LANES;
    for (size_t i = 0; i < whole; i += LANES)
        for (int j = 0; j < LANES; j++)
            lane[j] += pare_exp_f64((double)x[i + (size_t)j] - (double)max);
    for (size_t i = whole; i < n; i++)
        lane[i - whole] += pare_exp_f64((double)x[i] - (double)max);
    return (double)max + log(sum_lanes_wide(lane));
}

/* With a = x - max x, b = y - max y, P = sum e^a and Q = sum e^b:
 *
 *   sum p (ln p - ln q) = sum e^a (a - b) / P - (ln P - ln Q)
 *   sum q (ln q - ln p) = (ln P - ln Q) - sum e^b (a - b) / Q
 *
 * so one pass with one e^x a value gives both; equal rows give exactly 0. */
CLONES pare_divergence pare_cpu_divergence(const float *x, float x_max, const float *y, float y_max, size_t n)
{
    double p[LANES] = {0}, q[LANES] = {0}, p_diff[LANES] = {0}, q_diff[LANES] = {0};
    size_t whole = n - n % LANES;
    for (size_t i = 0; i < whole; i += LANES)
        for (int j = 0; j < LANES; j++) {
            double a = (double)x[i + (size_t)j] - (double)x_max, b = (double)y[i + (size_t)j] - (double)y_max;
            double e_a = pare_exp_f64(a), e_b = pare_exp_f64(b);
            p[j] += e_a;
            q[j] += e_b;
            p_diff[j] += e_a * (a - b);
            q_diff[j] += e_b * (a - b);
        }
    for (size_t i = whole; i < n; i++) {
        double a = (double)x[i] - (double)x_max, b = (double)y[i] - (double)y_max;
        double e_a = pare_exp_f64(a), e_b = pare_exp_f64(b);
        p[i - whole] += e_a;
        q[i - whole] += e_b;
        p_diff[i - whole] += e_a * (a - b);
        q_diff[i - whole] += e_b * (a - b);
    }
    double p_sum = sum_lanes_wide(p), q_sum = sum_lanes_wide(q), ln_p = log(p_sum), ln_q = log(q_sum);
    return (pare_divergence){.x_lse = (double)x_max + ln_p,
                             .y_lse = (double)y_max + ln_q,
                             .xy = sum_lanes_wide(p_diff) / p_sum - (ln_p - ln_q),
                             .yx = (ln_p - ln_q) - sum_lanes_wide(q_diff) / q_sum};
}

CLONES void pare_cpu_to_bf16(const float *x, size_t n, uint16_t *y)
{
    for (size_t i = 0; i < n; i++)
        y[i] = pare_f32_to_bf16(x[i]);
}
