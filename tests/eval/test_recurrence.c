/* Linear attention on the CPU against the formulas in double precision, whole and in parts. */
#include "check.h"

#include "eval/backend.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { HEADS_K = 2, HEADS_V = 6, DIM_K = 5, DIM_V = 7, WIDTH = 2 * HEADS_K * DIM_K + HEADS_V * DIM_V, KERNEL = 4 };
enum { ROWS = 19, STATE = HEADS_V * DIM_K * DIM_V };

static float noise(uint64_t *seed, float size)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return size * ((float)(*seed >> 40) / (1 << 23) - 1);
}

static float *noise_array(uint64_t seed, size_t n, float size)
{
    float *x = check_malloc(n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = noise(&seed, size);
    return x;
}

static pare_tensor tensor(const float *data, uint64_t n_rows, uint64_t row_len)
{
    return (pare_tensor){.name = "t",
                         .n_dims = 2,
                         .dim = {n_rows, row_len},
                         .row_len = row_len,
                         .n_rows = n_rows,
                         .row_bytes = row_len * sizeof(float),
                         .n_bytes = n_rows * row_len * sizeof(float),
                         .data = (const uint8_t *)data};
}

static void check_near(const float *got, const double *want, size_t n)
{
    double largest = 0;
    for (size_t i = 0; i < n; i++) {
        CHECK(isfinite(got[i]));
        largest = fmax(largest, fabs((double)got[i] - want[i]));
    }
    CHECK(largest < 2e-6);
}

/* Two sequences of ROWS tokens at the same time: whole; and cut into parts of which each goes on where the one before
 * ended, in other slots. */
static const pare_attention_span whole[] = {{0, ROWS, 0, 0}, {ROWS, ROWS, 0, 0}};
static const uint32_t cuts[] = {0, 1, 3, 4, 9, ROWS};

static void convolves(void **state)
{
    (void)state;
    float *x = noise_array(1, 2 * ROWS * WIDTH, 1), *w = noise_array(2, WIDTH * KERNEL, 1);
    float *y = check_malloc(2 * ROWS * WIDTH * sizeof *y),
          *past = check_malloc(3 * (KERNEL - 1) * WIDTH * sizeof *past);
    double *want = check_malloc(2 * ROWS * WIDTH * sizeof *want);
    for (int s = 0; s < 2; s++)
        for (int t = 0; t < ROWS; t++)
            for (int c = 0; c < WIDTH; c++) {
                double sum = 0;
                for (int k = 0; k < KERNEL; k++)
                    if (t - (KERNEL - 1) + k >= 0)
                        sum += (double)w[c * KERNEL + k] * (double)x[(s * ROWS + t - (KERNEL - 1) + k) * WIDTH + c];
                want[(s * ROWS + t) * WIDTH + c] = sum / (1 + exp(-sum));
            }
    pare_backend *b = NULL;
    pare_error err = {0};
    CHECK_OK(pare_backend_cpu(&b, &err), &err);
    pare_tensor weight = tensor(w, WIDTH, KERNEL);
    pare_conv job = {whole, (const int32_t[]){-1, -1}, 2, WIDTH, KERNEL, x, &weight, NULL, y};
    CHECK_OK(b->conv(b, &job, &err), &err);
    check_near(y, want, 2 * ROWS * WIDTH);
    memset(y, 0xff, 2 * ROWS * WIDTH * sizeof *y);
    memset(past, 0xff, 3 * (KERNEL - 1) * WIDTH * sizeof *past);
    for (size_t i = 0; i + 1 < sizeof cuts / sizeof *cuts; i++) {
        uint32_t at = cuts[i], n = cuts[i + 1] - at;
        pare_conv part = job;
        part.spans = (const pare_attention_span[]){{at, n, at, 0}, {ROWS + at, n, at, 0}};
        part.slots = (const int32_t[]){2, 0};
        part.past = past;
        CHECK_OK(b->conv(b, &part, &err), &err);
    }
    check_near(y, want, 2 * ROWS * WIDTH);
    weight = tensor(w, 1, WIDTH * KERNEL - 1);
    CHECK(b->conv(b, &job, &err) == PARE_ERR_RANGE);
    b->close(b);
    free(x);
    free(w);
    free(y);
    free(past);
    free(want);
}

/* One sequence by the formulas. */
static void delta_reference(const pare_delta *d, const float *a, const float *dt, size_t row, double *out)
{
    for (uint32_t h = 0; h < HEADS_V; h++) {
        uint32_t h_k = d->tiled ? h % HEADS_K : h / (HEADS_V / HEADS_K);
        double s[DIM_K][DIM_V] = {{0}};
        for (size_t t = row; t < row + ROWS; t++) {
            const float *q = d->qkv + t * WIDTH + h_k * DIM_K, *k = q + HEADS_K * DIM_K,
                        *v = d->qkv + t * WIDTH + 2 * HEADS_K * DIM_K + h * DIM_V;
            double qq = 0, kk = 0, pace = (double)d->alpha[t * HEADS_V + h] + (double)dt[h];
            double decay = exp((double)a[h] * log1p(exp(pace))),
                   beta = 1 / (1 + exp(-(double)d->beta[t * HEADS_V + h]));
            for (int i = 0; i < DIM_K; i++) {
                qq += (double)q[i] * (double)q[i];
                kk += (double)k[i] * (double)k[i];
            }
            for (int j = 0; j < DIM_V; j++) {
                double known = 0, o = 0;
                for (int i = 0; i < DIM_K; i++) {
                    s[i][j] *= decay;
                    known += s[i][j] * (double)k[i] / sqrt(kk + 1e-6);
                }
                for (int i = 0; i < DIM_K; i++) {
                    s[i][j] += (double)k[i] / sqrt(kk + 1e-6) * beta * ((double)v[j] - known);
                    o += s[i][j] * (double)q[i] / sqrt((qq + 1e-6) * DIM_K);
                }
                out[(t * HEADS_V + h) * DIM_V + (size_t)j] = o;
            }
        }
    }
}

static void follows_the_delta_rule(void **state)
{
    (void)state;
    float *qkv = noise_array(3, 2 * ROWS * WIDTH, 1), *alpha = noise_array(4, 2 * ROWS * HEADS_V, 2),
          *beta = noise_array(5, 2 * ROWS * HEADS_V, 2), *a = noise_array(6, HEADS_V, 0.5f),
          *dt = noise_array(7, HEADS_V, 1);
    size_t n_out = 2 * ROWS * HEADS_V * DIM_V;
    float *out = check_malloc(n_out * sizeof *out), *kept = check_malloc(3 * STATE * sizeof *kept);
    double *want = check_malloc(n_out * sizeof *want);
    pare_backend *b = NULL;
    pare_error err = {0};
    CHECK_OK(pare_backend_cpu(&b, &err), &err);
    for (int h = 0; h < HEADS_V; h++)
        a[h] = -fabsf(a[h]);
    pare_tensor pace = tensor(a, 1, HEADS_V), offset = tensor(dt, 1, HEADS_V);
    for (int tiled = 0; tiled < 2; tiled++) {
        pare_delta d = {.spans = whole,
                        .slots = (const int32_t[]){-1, -1},
                        .n_spans = 2,
                        .n_head_k = HEADS_K,
                        .n_head_v = HEADS_V,
                        .dim_k = DIM_K,
                        .dim_v = DIM_V,
                        .tiled = tiled == 1,
                        .qkv = qkv,
                        .alpha = alpha,
                        .beta = beta,
                        .a = &pace,
                        .dt = &offset,
                        .out = out};
        delta_reference(&d, a, dt, 0, want);
        delta_reference(&d, a, dt, ROWS, want);
        CHECK_OK(b->delta(b, &d, &err), &err);
        check_near(out, want, n_out);
        memset(out, 0xff, n_out * sizeof *out);
        memset(kept, 0xff, 3 * STATE * sizeof *kept);
        d.state = kept;
        for (size_t i = 0; i + 1 < sizeof cuts / sizeof *cuts; i++) {
            uint32_t at = cuts[i], n = cuts[i + 1] - at;
            d.spans = (const pare_attention_span[]){{at, n, at, 0}, {ROWS + at, n, at, 0}};
            d.slots = (const int32_t[]){2, 0};
            CHECK_OK(b->delta(b, &d, &err), &err);
        }
        check_near(out, want, n_out);
    }
    b->close(b);
    free(qkv);
    free(alpha);
    free(beta);
    free(a);
    free(dt);
    free(out);
    free(kept);
    free(want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(convolves), cmocka_unit_test(follows_the_delta_rule)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
