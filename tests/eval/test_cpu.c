/* Each operation of the CPU backend against double precision. */
#include "check.h"
#include "toy.h"

#include "core/threads.h"
#include "eval/backend.h"
#include "eval/cpu_kernels.h"
#include "core/vector_math.h"
#include "quant/registry.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static pare_backend *open_cpu(void)
{
    pare_backend *b = NULL;
    pare_error err = {0};
    CHECK_OK(pare_backend_cpu(&b, &err), &err);
    return b;
}

static void exponentials_are_accurate(void **state)
{
    (void)state;
    double worst32 = 0, worst64 = 0;
    for (double x = -87; x <= 88; x += 0.00037) {
        double want = exp((double)(float)x), error = fabs((double)pare_exp_f32((float)x) - want) / want;
        worst32 = error > worst32 ? error : worst32;
    }
    for (double x = -708; x <= 709; x += 0.0021) {
        double error = fabs(pare_exp_f64(x) - exp(x)) / exp(x);
        worst64 = error > worst64 ? error : worst64;
    }
    CHECK(worst32 < 1.2e-7);
    CHECK(worst64 < 3e-16);
    CHECK(pare_exp_f32(0) == 1 && pare_exp_f64(0) == 1);
    CHECK(isnan(pare_exp_f32(NAN)) && isnan(pare_exp_f64(NAN)));
    CHECK(pare_exp_f32(-1e30f) < 2e-38f && pare_exp_f64(-1e30) < 1e-307);
}

static void check_product(const pare_tensor *w, uint64_t row, uint64_t n_rows, uint32_t n, const float *decoded)
{
    pare_backend *b = open_cpu();
    pare_error err = {0};
    uint64_t seed = 5;
    size_t k = w->row_len;
    float *x = toy_array(&seed, n * k, 1), *y = check_malloc(n * n_rows * sizeof *y);
    CHECK_OK(b->matmul(b, w, row, n_rows, x, n, y, &err), &err);
    for (uint32_t i = 0; i < n; i++)
        for (uint64_t r = 0; r < n_rows; r++) {
            double sum = 0, size = 0;
            for (size_t j = 0; j < k; j++) {
                double product = (double)x[i * k + j] * (double)decoded[(row + r) * k + j];
                sum += product;
                size += fabs(product);
            }
            CHECK(fabs((double)y[i * n_rows + r] - sum) <= 1e-6 * size);
        }
    free(x);
    free(y);
    b->close(b);
}

static void multiplies_float_weights(void **state)
{
    (void)state;
    static const uint32_t tokens[] = {1, 3, 65, 1030};
    uint64_t seed = 1;
    float *values = toy_array(&seed, 300 * 40 + 1, 1);
    pare_tensor w = toy_tensor("w", values, 300, 40);
    for (size_t i = 0; i < sizeof tokens / sizeof tokens[0]; i++) {
        check_product(&w, 0, 300, tokens[i], values);
        check_product(&w, 7, 130, tokens[i], values); /* a part of the rows, as in a fused weight */
    }
    /* the same bytes where no float can be read in place */
    uint8_t *odd = check_malloc(300 * 40 * sizeof(float) + 1);
    memcpy(odd + 1, values, 300 * 40 * sizeof(float));
    w.data = odd + 1;
    check_product(&w, 0, 300, 5, values);
    free(odd);
    free(values);
}

static void multiplies_quantized_weights(void **state)
{
    (void)state;
    static const pare_type types[] = {PARE_TYPE_F16, PARE_TYPE_BF16, PARE_TYPE_Q8_0, PARE_TYPE_Q4_0};
    enum { ROWS = 140, WIDTH = 64 };
    uint64_t seed = 2;
    float *values = toy_array(&seed, ROWS * WIDTH, 1), *decoded = check_malloc(ROWS * WIDTH * sizeof *decoded);
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        pare_error err = {0};
        pare_tensor w = toy_tensor("w", values, ROWS, WIDTH);
        w.type = types[i];
        CHECK_OK(pare_tensor_set_shape(&w, "toy", &err), &err);
        uint8_t *bytes = check_malloc(w.n_bytes);
        CHECK_OK(pare_encode_rows(w.type, values, ROWS, WIDTH, NULL, PARE_EFFORT_DEFAULT, bytes, &err), &err);
        CHECK_OK(pare_decode_rows(w.type, bytes, ROWS, WIDTH, decoded, &err), &err);
        w.data = bytes;
        check_product(&w, 0, ROWS, 9, decoded);
        check_product(&w, 3, 129, 2, decoded);
        free(bytes);
    }
    free(values);
    free(decoded);
}

/* One element of attention as the definition says: query i of a span, head h. */
static void attend_slowly(const pare_attention *a, const float *sinks, const pare_attention_span *span, uint32_t i,
                          uint32_t h, double *out)
{
    uint32_t kv = h / (a->n_head / a->n_head_kv), n = span->n_past + span->n, at = span->n_past + i;
    double *s = check_malloc(n * sizeof *s), max = sinks != NULL ? (double)sinks[h] : -INFINITY, sum = 0;
    for (uint32_t j = 0; j < n; j++) {
        const float *q = a->q + (((size_t)span->row + i) * a->n_head + h) * a->head_dim_k;
        const float *k = (const float *)a->k + ((span->kv_row + j) * a->n_head_kv + kv) * a->head_dim_k;
        s[j] = 0;
        for (uint32_t d = 0; d < a->head_dim_k; d++)
            s[j] += (double)q[d] * (double)k[d];
        s[j] *= (double)a->scale;
        if (a->softcap != 0)
            s[j] = (double)a->softcap * tanh(s[j] / (double)a->softcap);
        if (a->alibi != 0) /* four heads: 2^-2, 2^-4, 2^-6, 2^-8 */
            s[j] += pow(2, -2.0 * (h + 1)) * ((double)j - (double)at);
        if ((a->causal && j > at) || (a->window != 0 && (int64_t)at - (int64_t)j >= (int64_t)a->window))
            s[j] = -INFINITY;
        max = fmax(max, s[j]);
    }
    for (uint32_t j = 0; j < n; j++)
        sum += s[j] = exp(s[j] - max);
    if (sinks != NULL)
        sum += exp((double)sinks[h] - max);
    for (uint32_t d = 0; d < a->head_dim_v; d++) {
        out[d] = 0;
        for (uint32_t j = 0; j < n; j++)
            out[d] += s[j] / sum *
                      (double)((const float *)a->v)[((span->kv_row + j) * a->n_head_kv + kv) * a->head_dim_v + d];
    }
    free(s);
}

static void check_attention(pare_attention a, const float *sinks)
{
    pare_backend *b = open_cpu();
    pare_error err = {0};
    uint64_t seed = 3;
    size_t rows = 0, kv_rows = 0;
    for (uint32_t i = 0; i < a.n_spans; i++) {
        size_t end = a.spans[i].row + (size_t)a.spans[i].n,
               kv_end = a.spans[i].kv_row + a.spans[i].n_past + a.spans[i].n;
        rows = end > rows ? end : rows;
        kv_rows = kv_end > kv_rows ? kv_end : kv_rows;
    }
    float *q = toy_array(&seed, rows * a.n_head * a.head_dim_k, 3),
          *k = toy_array(&seed, kv_rows * a.n_head_kv * a.head_dim_k, 1),
          *v = toy_array(&seed, kv_rows * a.n_head_kv * a.head_dim_v, 1),
          *out = check_malloc(rows * a.n_head * a.head_dim_v * sizeof *out);
    double *want = check_malloc(a.head_dim_v * sizeof *want);
    pare_tensor sink_tensor = sinks != NULL ? toy_tensor("sinks", sinks, 0, a.n_head) : (pare_tensor){0};
    a.q = q;
    a.k = k;
    a.v = v;
    a.out = out;
    a.sinks = sinks != NULL ? &sink_tensor : NULL;
    CHECK_OK(b->attention(b, &a, &err), &err);
    for (const pare_attention_span *s = a.spans; s < a.spans + a.n_spans; s++)
        for (uint32_t i = 0; i < s->n * a.n_head; i++) {
            attend_slowly(&a, sinks, s, i / a.n_head, i % a.n_head, want);
            for (uint32_t d = 0; d < a.head_dim_v; d++)
                CHECK(fabs((double)out[((size_t)s->row * a.n_head + i) * a.head_dim_v + d] - want[d]) < 2e-6);
        }
    free(q);
    free(k);
    free(v);
    free(out);
    free(want);
    b->close(b);
}

static void attends(void **state)
{
    (void)state;
    static const float sinks[] = {0.5f, -2, 3, 1};
    /* Two whole sequences; then the ends of others, in another order than their keys, which have gaps between them. */
    static const pare_attention_span whole[] = {{.row = 0, .n = 131, .kv_row = 0},
                                                {.row = 131, .n = 131, .kv_row = 131}};
    static const pare_attention_span ends[] = {{.row = 0, .n = 1, .n_past = 0, .kv_row = 700},
                                               {.row = 1, .n = 1, .n_past = 100, .kv_row = 200},
                                               {.row = 2, .n = 70, .n_past = 90, .kv_row = 0},
                                               {.row = 72, .n = 1, .n_past = 64, .kv_row = 400}};
    for (int i = 0; i < 2; i++) {
        pare_attention a = {.spans = i == 0 ? whole : ends,
                            .n_spans = i == 0 ? 2 : 4,
                            .n_head = 4,
                            .n_head_kv = 2,
                            .head_dim_k = 12,
                            .head_dim_v = 8,
                            .causal = true,
                            .scale = 0.3f};
        check_attention(a, NULL);
        check_attention(a, sinks);
        a.softcap = 2;
        check_attention(a, NULL);
        a.softcap = 0;
        a.alibi = 8;
        check_attention(a, sinks);
        a.alibi = 0;
        for (uint32_t window = 1; window < 140; window = window * 2 + 1) {
            a.window = window;
            check_attention(a, NULL);
        }
        a.window = 0;
        a.causal = false;
        check_attention(a, NULL);
        a.n_head_kv = 1;
        a.n_spans = 1;
        check_attention(a, NULL);
    }
}

/* Behind so many keys that they are taken in parts, and by larger tiles of queries. */
static void attends_to_many_keys(void **state)
{
    (void)state;
    static const float sinks[] = {0.5f, 20};
    static const pare_attention_span spans[] = {{.row = 0, .n = 270, .n_past = 2000, .kv_row = 3},
                                                {.row = 270, .n = 600, .kv_row = 2300},
                                                {.row = 870, .n = 1, .n_past = 1500, .kv_row = 0}};
    pare_attention a = {.spans = spans,
                        .n_spans = 3,
                        .n_head = 2,
                        .n_head_kv = 1,
                        .head_dim_k = 6,
                        .head_dim_v = 4,
                        .causal = true,
                        .scale = 0.7f};
    check_attention(a, NULL);
    check_attention(a, sinks);
    a.softcap = 2;
    a.window = 700;
    check_attention(a, sinks);
    a.window = 100;
    a.softcap = 0;
    check_attention(a, NULL);
}

/* Keys and values in blocks give the bits that the floats they stand for give: blocks within a head (q8_0, q4_0 with
 * heads of 64), across heads (heads of 48 and 80), of the whole row. */
static void attends_to_stored_keys(void **state)
{
    (void)state;
    enum { N = 620, HEADS = 2, KV = 2 };
    static const struct {
        pare_type k, v;
        uint32_t dim_k, dim_v;
    } cases[] = {{PARE_TYPE_Q8_0, PARE_TYPE_Q8_0, 64, 64},
                 {PARE_TYPE_F16, PARE_TYPE_Q4_0, 5, 80},
                 {PARE_TYPE_Q5_1, PARE_TYPE_BF16, 48, 3},
                 {PARE_TYPE_Q4_K, PARE_TYPE_F32, 128, 16},
                 {PARE_TYPE_F32, PARE_TYPE_Q8_0, 7, 16}};
    static const pare_attention_span spans[] = {{.row = 0, .n = 90, .n_past = 520, .kv_row = 10}, {.row = 90, .n = 9}};
    pare_backend *b = open_cpu();
    pare_error err = {0};
    uint64_t seed = 12;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t k_row = KV * (size_t)cases[i].dim_k, v_row = KV * (size_t)cases[i].dim_v,
               n_out = 99 * HEADS * cases[i].dim_v;
        float *q = toy_array(&seed, 99 * HEADS * cases[i].dim_k, 1), *k = toy_array(&seed, N * k_row, 1),
              *v = toy_array(&seed, N * v_row, 1);
        float *out = check_malloc(n_out * sizeof *out), *want = check_malloc(n_out * sizeof *want);
        uint8_t *k_bytes = check_malloc(N * k_row * sizeof *k), *v_bytes = check_malloc(N * v_row * sizeof *v);
        CHECK_OK(pare_encode_rows(cases[i].k, k, N, k_row, NULL, PARE_EFFORT_RTN, k_bytes, &err), &err);
        CHECK_OK(pare_encode_rows(cases[i].v, v, N, v_row, NULL, PARE_EFFORT_RTN, v_bytes, &err), &err);
        CHECK_OK(pare_decode_rows(cases[i].k, k_bytes, N, k_row, k, &err), &err);
        CHECK_OK(pare_decode_rows(cases[i].v, v_bytes, N, v_row, v, &err), &err);
        pare_attention a = {.spans = spans,
                            .n_spans = 2,
                            .n_head = HEADS,
                            .n_head_kv = KV,
                            .causal = true,
                            .head_dim_k = cases[i].dim_k,
                            .head_dim_v = cases[i].dim_v,
                            .scale = 0.3f,
                            .q = q,
                            .k = k,
                            .v = v,
                            .out = want};
        CHECK_OK(b->attention(b, &a, &err), &err);
        a.k = k_bytes;
        a.v = v_bytes;
        a.type_k = cases[i].k;
        a.type_v = cases[i].v;
        a.out = out;
        CHECK_OK(b->attention(b, &a, &err), &err);
        CHECK(memcmp(out, want, n_out * sizeof *out) == 0);
        free(q);
        free(k);
        free(v);
        free(out);
        free(want);
        free(k_bytes);
        free(v_bytes);
    }
    pare_attention odd = {.spans = spans,
                          .n_spans = 2,
                          .n_head = 1,
                          .n_head_kv = 1,
                          .head_dim_k = 33,
                          .head_dim_v = 32,
                          .type_k = PARE_TYPE_Q8_0};
    CHECK(b->attention(b, &odd, &err) == PARE_ERR_RANGE && strstr(err.text, "q8_0") != NULL);
    b->close(b);
}

static void normalizes(void **state)
{
    (void)state;
    enum { N = 37, WIDTH = 100 };
    pare_backend *b = open_cpu();
    pare_error err = {0};
    uint64_t seed = 4;
    float *x = toy_array(&seed, N * WIDTH, 2), *y = check_malloc(N * WIDTH * sizeof *y);
    float *weight = toy_array(&seed, WIDTH, 1), *bias = toy_array(&seed, WIDTH, 1);
    pare_tensor w = toy_tensor("w", weight, 0, WIDTH), c = toy_tensor("b", bias, 0, WIDTH);
    for (int kind = PARE_NORM_RMS; kind <= PARE_NORM_LAYER; kind++) {
        pare_norm_op op = {.kind = (pare_norm)kind,
                           .x = x,
                           .n = N,
                           .width = WIDTH,
                           .weight = &w,
                           .eps = 1e-3f,
                           .y = y,
                           .bias = kind == PARE_NORM_LAYER ? &c : NULL};
        CHECK_OK(b->norm(b, &op, &err), &err);
        for (int i = 0; i < N; i++) {
            double mean = 0, square = 0;
            for (int j = 0; j < WIDTH; j++)
                mean += kind == PARE_NORM_LAYER ? (double)x[i * WIDTH + j] / WIDTH : 0;
            for (int j = 0; j < WIDTH; j++)
                square += pow((double)x[i * WIDTH + j] - mean, 2) / WIDTH;
            for (int j = 0; j < WIDTH; j++) {
                double want = ((double)x[i * WIDTH + j] - mean) / sqrt(square + (double)op.eps) * (double)weight[j] +
                              (op.bias != NULL ? (double)bias[j] : 0);
                CHECK(fabs((double)y[i * WIDTH + j] - want) < 1e-6);
            }
        }
        float *one = check_malloc(N * WIDTH * sizeof *one);
        memcpy(one, y, N * WIDTH * sizeof *one);
        pare_tensor each = toy_tensor("each", x, 4, WIDTH); /* a row of weights for each of four groups in turn */
        pare_norm_op heads = op;
        heads.weight = &each;
        CHECK_OK(b->norm(b, &heads, &err), &err);
        for (int i = 0; i < N * WIDTH && kind == PARE_NORM_RMS; i++)
            CHECK(fabs((double)(y[i] * weight[i % WIDTH] - one[i] * x[i / WIDTH % 4 * WIDTH + i % WIDTH])) < 1e-5);
        free(one);
        pare_norm_op short_weight = op;
        short_weight.width = WIDTH + 1;
        CHECK(b->norm(b, &short_weight, &err) == PARE_ERR_RANGE);
    }
    free(x);
    free(y);
    free(weight);
    free(bias);
    b->close(b);
}

static void rotates(void **state)
{
    (void)state;
    enum { ROWS = 10, N = 5, HEADS = 3, DIM = 12, ROT = 8 };
    static const int32_t positions[ROWS] = {0, 1, 2, 3, 4, 3, 0, 4, 4, 1};
    pare_backend *b = open_cpu();
    pare_error err = {0};
    for (int layout = PARE_ROPE_INTERLEAVED; layout <= PARE_ROPE_HALVES; layout++) {
        uint64_t seed = 6;
        float *x = toy_array(&seed, ROWS * HEADS * DIM, 1), *turned = toy_array(&seed, ROWS * HEADS * DIM, 1);
        float table[N * ROT];
        memcpy(turned, x, ROWS * HEADS * DIM * sizeof *x);
        for (int t = 0; t < N; t++)
            for (int i = 0; i < ROT / 2; i++) {
                table[t * ROT + 2 * i] = (float)cos(t * pow(100, -2.0 * i / ROT));
                table[t * ROT + 2 * i + 1] = (float)sin(t * pow(100, -2.0 * i / ROT));
            }
        pare_rope r = {.positions = positions,
                       .n = ROWS,
                       .n_head = HEADS,
                       .head_dim = DIM,
                       .n_rot = ROT,
                       .layout = (pare_rope_layout)layout,
                       .cos_sin = table};
        CHECK_OK(b->rope(b, &r, turned, &err), &err);
        for (int row = 0; row < ROWS * HEADS; row++) {
            const float *was = x + row * DIM, *is = turned + row * DIM;
            int t = positions[row / HEADS];
            for (int i = 0; i < ROT / 2; i++) {
                int first = layout == PARE_ROPE_HALVES ? i : 2 * i,
                    second = layout == PARE_ROPE_HALVES ? i + ROT / 2 : 2 * i + 1;
                double angle = t * pow(100, -2.0 * i / ROT);
                CHECK(fabs((double)is[first] - ((double)was[first] * cos(angle) - (double)was[second] * sin(angle))) <
                      3e-7);
                CHECK(fabs((double)is[second] - ((double)was[first] * sin(angle) + (double)was[second] * cos(angle))) <
                      3e-7);
            }
            CHECK(memcmp(was + ROT, is + ROT, (DIM - ROT) * sizeof *is) == 0);
        }
        free(x);
        free(turned);
    }
    b->close(b);
}

static double activation(pare_activation act, double x)
{
    switch (act) {
    case PARE_ACT_SILU:
        return x / (1 + exp(-x));
    case PARE_ACT_GELU_ERF:
        return x * 0.5 * erfc(-x / sqrt(2));
    case PARE_ACT_GELU_TANH:
        return x * 0.5 * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case PARE_ACT_RELU:
        return x > 0 ? x : 0;
    case PARE_ACT_RELU2:
        return x > 0 ? x * x : 0;
    case PARE_ACT_SIGMOID:
        return 1 / (1 + exp(-x));
    case PARE_ACT_CLAMPED_GLU:
        break; /* an operation of its own */
    }
    return NAN;
}

static void computes_the_clamped_glu(void **state)
{
    (void)state;
    enum { N = 20001 };
    pare_backend *b = open_cpu();
    pare_error err = {0};
    uint64_t seed = 8;
    float *gate = toy_array(&seed, N, 12), *up = toy_array(&seed, N, 12), *y = check_malloc(N * sizeof *y);
    const double alpha = 1.702, limit = 7;
    for (int in_place = 0; in_place < 2; in_place++) {
        memcpy(y, up, N * sizeof *y);
        const pare_clamped_glu op = {gate, in_place ? y : up, N, (float)alpha, (float)limit, y};
        CHECK_OK(b->clamped_glu(b, &op, &err), &err);
        for (int i = 0; i < N; i++) {
            double g = fmin((double)gate[i], limit), u = fmax(-limit, fmin((double)up[i], limit));
            double want = g / (1 + exp(-(double)op.alpha * g)) * (u + 1);
            CHECK(fabs((double)y[i] - want) <= 2e-6 * fabs(want) + 1e-7);
        }
    }
    free(gate);
    free(up);
    free(y);
    b->close(b);
}

static void activates(void **state)
{
    (void)state;
    enum { N = 40001 };
    pare_backend *b = open_cpu();
    pare_error err = {0};
    uint64_t seed = 7;
    float *gate = toy_array(&seed, N, 12), *up = toy_array(&seed, N, 2), *y = check_malloc(N * sizeof *y);
    for (int act = PARE_ACT_SILU; act <= PARE_ACT_SIGMOID; act++) {
        CHECK_OK(b->activate(b, (pare_activation)act, gate, up, N, y, &err), &err);
        for (int i = 0; i < N; i++) {
            double want = activation((pare_activation)act, (double)gate[i]) * (double)up[i];
            CHECK(fabs((double)y[i] - want) <= 1e-6 * fabs(want) + 1e-7);
        }
        memcpy(y, gate, N * sizeof *y);
        CHECK_OK(b->activate(b, (pare_activation)act, NULL, y, N, y, &err), &err);
        for (int i = 0; i < N; i++) {
            double want = activation((pare_activation)act, (double)gate[i]);
            CHECK(fabs((double)y[i] - want) <= 1e-6 * fabs(want) + 1e-7);
        }
    }
    CHECK(b->activate(b, (pare_activation)99, gate, up, N, y, &err) == PARE_ERR_UNSUPPORTED);
    free(gate);
    free(up);
    free(y);
    b->close(b);
}

static void adds_scales_caps_and_embeds(void **state)
{
    (void)state;
    enum { N = 6, WIDTH = 9 };
    static const int32_t ids[N] = {3, 0, 6, 6, 1, 5};
    pare_backend *b = open_cpu();
    pare_error err = {0};
    uint64_t seed = 8;
    float *table = toy_array(&seed, 7 * WIDTH, 1), *bias = toy_array(&seed, WIDTH + 2, 1), x[N * WIDTH], y[N * WIDTH];
    pare_tensor w = toy_tensor("w", table, 7, WIDTH), c = toy_tensor("b", bias, 0, WIDTH + 2);
    CHECK_OK(b->embed(b, &w, ids, N, x, &err), &err);
    memcpy(y, x, sizeof y);
    CHECK_OK(b->add(b, x, y, 0.5f, N * WIDTH, &err), &err);
    CHECK_OK(b->add_row(b, x, &c, 2, N, WIDTH, &err), &err);
    CHECK_OK(b->scale(b, x, 3, N * WIDTH, &err), &err);
    CHECK_OK(b->clamp(b, x, 1.75f, N * WIDTH, &err), &err);
    CHECK_OK(b->softcap(b, x, 2, N * WIDTH, &err), &err);
    for (int i = 0; i < N; i++)
        for (int j = 0; j < WIDTH; j++) {
            CHECK(y[i * WIDTH + j] == table[ids[i] * WIDTH + j]);
            double sum = 3 * (1.5 * (double)y[i * WIDTH + j] + (double)bias[j + 2]);
            sum = fmin(fmax(sum, -1.75), 1.75);
            CHECK(fabs((double)x[i * WIDTH + j] - 2 * tanh(sum / 2)) < 1e-6);
        }
    CHECK(b->add_row(b, x, &c, 3, N, WIDTH, &err) == PARE_ERR_RANGE);
    free(table);
    free(bias);
    b->close(b);
}

static void works_on_whole_rows(void **state)
{
    (void)state;
    enum { ROWS = 3, WIDE = 40, STRIDE = 2 };
    pare_backend *b = open_cpu();
    pare_error err = {0};
    uint64_t seed = 12;
    float *x = toy_array(&seed, ROWS * WIDE, 1), *y = toy_array(&seed, ROWS * WIDE, 1), was[ROWS * WIDE];
    float *k = toy_array(&seed, ROWS * STRIDE, 1), *w = toy_array(&seed, WIDE, 1);
    pare_tensor columns = toy_tensor("w", w, 0, WIDE);
    memcpy(was, x, sizeof was);
    CHECK_OK(b->add_weighted(b, x, y, k + 1, STRIDE, 2, ROWS, WIDE, &err), &err);
    CHECK_OK(b->scale_columns(b, x, &columns, ROWS, WIDE, &err), &err);
    for (int i = 0; i < ROWS * WIDE; i++)
        CHECK(fabs((double)x[i] - (double)w[i % WIDE] *
                                      ((double)was[i] + ((double)k[i / WIDE * STRIDE + 1] + 2) * (double)y[i])) < 1e-5);
    memset(x, 0, WIDE * sizeof *x); /* its square counts as least */
    x[3] = 1e-4f;
    memcpy(was, x, sizeof was);
    CHECK_OK(b->match_rms(b, x, y, 0.25f, ROWS, WIDE, &err), &err);
    for (int r = 0; r < ROWS; r++) {
        double own = 0, other = 0;
        for (int c = 0; c < WIDE; c++) {
            own += (double)was[r * WIDE + c] * (double)was[r * WIDE + c] / WIDE;
            other += (double)y[r * WIDE + c] * (double)y[r * WIDE + c] / WIDE;
        }
        for (int c = 0; c < WIDE; c++)
            CHECK(fabs((double)x[r * WIDE + c] - (double)was[r * WIDE + c] * sqrt(other / fmax(own, 0.25))) < 1e-5);
    }
    memcpy(was, y, sizeof was);
    CHECK_OK(b->sparsify(b, y, 0.5f, ROWS, WIDE, &err), &err);
    for (int r = 0; r < ROWS; r++) {
        double mean = 0, square = 0;
        for (int c = 0; c < WIDE; c++)
            mean += (double)was[r * WIDE + c] / WIDE;
        for (int c = 0; c < WIDE; c++)
            square += ((double)was[r * WIDE + c] - mean) * ((double)was[r * WIDE + c] - mean) / WIDE;
        for (int c = 0; c < WIDE; c++)
            CHECK(fabs((double)y[r * WIDE + c] - fmax(0, (double)was[r * WIDE + c] - mean - 0.5 * sqrt(square))) <
                  1e-6);
    }
    free(x);
    free(y);
    free(k);
    free(w);
    b->close(b);
}

static void gathers_and_scatters_rows(void **state)
{
    (void)state;
    enum { ROWS = 900, WIDTH = 70, N = 500 }; /* more than one piece of work */
    static int32_t ids[N];
    static float weights[N], x[ROWS * WIDTH], some[N * WIDTH], y[ROWS * WIDTH];
    pare_backend *b = open_cpu();
    pare_error err = {0};
    for (int i = 0; i < ROWS * WIDTH; i++) {
        x[i] = (float)i;
        y[i] = NAN;
    }
    for (int i = 0; i < N; i++) {
        ids[i] = (i * 7 + 3) % ROWS; /* 7 and 900 share no factor: all different */
        weights[i] = (float)(i % 4) / 2;
    }
    CHECK_OK(b->gather(b, x, ids, N, WIDTH, some, &err), &err);
    CHECK_OK(b->clear(b, y, ROWS * WIDTH, &err), &err);
    CHECK_OK(b->scatter_add(b, some, ids, weights, N, WIDTH, y, &err), &err);
    CHECK_OK(b->scatter_add(b, some, ids, weights, 2, WIDTH, y, &err), &err);
    for (int i = 0; i < N; i++)
        for (int j = 0; j < WIDTH; j++) {
            CHECK(some[i * WIDTH + j] == x[ids[i] * WIDTH + j]);
            CHECK(y[ids[i] * WIDTH + j] == (i < 2 ? 2 : 1) * weights[i] * x[ids[i] * WIDTH + j]);
            y[ids[i] * WIDTH + j] = 0;
        }
    for (int i = 0; i < ROWS * WIDTH; i++)
        CHECK(y[i] == 0);
    b->close(b);
}

static void copies_columns(void **state)
{
    (void)state;
    enum { ROWS = 900, FROM = 70, TO = 50, WIDTH = 41 };
    static float x[ROWS * FROM], y[ROWS * TO];
    pare_backend *b = open_cpu();
    pare_error err = {0};
    for (int i = 0; i < ROWS * FROM; i++)
        x[i] = (float)i;
    CHECK_OK(b->copy_columns(b, x, FROM, 29, ROWS, WIDTH, y, TO, 9, &err), &err);
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < TO; j++)
            CHECK(y[i * TO + j] == (j >= 9 ? x[i * FROM + 29 + j - 9] : 0));
    CHECK_OK(b->copy_columns(b, x, FROM, FROM, ROWS, 0, NULL, TO, 0, &err), &err);
    b->close(b);
}

static void sums_logits(void **state)
{
    (void)state;
    uint64_t seed = 9;
    for (size_t n = 1; n < 300; n = n * 2 + 1) {
        float *x = toy_array(&seed, n, 20), *y = toy_array(&seed, n, 20);
        double x_sum = 0, y_sum = 0, kld = 0, reverse = 0;
        pare_peak x_peak, y_peak;
        CHECK(pare_cpu_peak(x, n, &x_peak) && pare_cpu_peak(y, n, &y_peak));
        pare_divergence d = pare_cpu_divergence(x, x_peak.value, y, y_peak.value, n);
        CHECK(d.x_lse == pare_cpu_log_sum_exp(x, n, x_peak.value) &&
              d.y_lse == pare_cpu_log_sum_exp(y, n, y_peak.value));
        for (size_t i = 0; i < n; i++) {
            x_sum += exp((double)x[i]);
            y_sum += exp((double)y[i]);
        }
        CHECK(fabs(d.x_lse - log(x_sum)) < 1e-13 && fabs(d.y_lse - log(y_sum)) < 1e-13);
        for (size_t i = 0; i < n; i++) {
            double difference = (double)x[i] - log(x_sum) - (double)y[i] + log(y_sum);
            kld += exp((double)x[i]) / x_sum * difference;
            reverse -= exp((double)y[i]) / y_sum * difference;
        }
        CHECK(fabs(d.xy - kld) < 1e-12 && fabs(d.yx - reverse) < 1e-12);
        d = pare_cpu_divergence(x, x_peak.value, x, x_peak.value, n);
        CHECK(d.xy == 0 && d.yx == 0);
        size_t best = n / 2;
        x[best] = 50;
        x[n - 1] = 50;
        CHECK(pare_cpu_peak(x, n, &x_peak) && x_peak.at == best && x_peak.value == 50);
        x[n - 1] = 51;
        CHECK(pare_cpu_peak(x, n, &x_peak) && x_peak.at == n - 1);
        x[n / 3] = INFINITY;
        CHECK(!pare_cpu_peak(x, n, &x_peak));
        x[n / 3] = NAN;
        CHECK(!pare_cpu_peak(x, n, &x_peak) && !pare_cpu_peak(x, 0, &x_peak));
        free(x);
        free(y);
    }
}

/* Twice, onto what is there; columns around the sizes of pieces and tiles. */
static void sums_columns_and_their_products(void **state)
{
    (void)state;
    static const uint32_t widths[] = {1, 63, 64, 65, 256, 300};
    enum { N = 19 };
    pare_backend *b = open_cpu();
    pare_error err = {0};
    for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++) {
        uint64_t seed = i + 1;
        size_t width = widths[i];
        float *x = toy_array(&seed, N * width, 1), *h = toy_array(&seed, width * width, 0);
        double *sums = check_malloc(4 * width * sizeof *sums), *want = sums + 2 * width;
        for (size_t c = 0; c < 4 * width; c++)
            sums[c] = 0.25;
        for (int round = 0; round < 2; round++) {
            CHECK_OK(b->add_columns(b, x, N, (uint32_t)width, sums, sums + width, &err), &err);
            CHECK_OK(b->add_gram(b, x, N, (uint32_t)width, h, &err), &err);
            for (size_t t = 0; t < N; t++)
                for (size_t c = 0; c < width; c++) {
                    double v = (double)x[t * width + c];
                    want[c] += v;
                    want[width + c] += v * v;
                }
        }
        CHECK(memcmp(sums, want, 2 * width * sizeof *sums) == 0);
        for (size_t r = 0; r < width; r++)
            for (size_t c = 0; c < width; c++) {
                double sum = 0;
                for (size_t t = 0; t < N; t++)
                    sum += 2 * (double)x[t * width + r] * (double)x[t * width + c];
                CHECK(fabs((double)h[r * width + c] - sum) <= 1e-6 * N);
                CHECK(h[r * width + c] == h[c * width + r]);
            }
        free(x);
        free(h);
        free(sums);
    }
    b->close(b);
}

static void nan_reaches_the_output_of_attention(void **state)
{
    (void)state;
    float row[40] = {0};
    row[17] = NAN;
    float max = -INFINITY, sum = 0;
    CHECK(pare_cpu_softmax_part(row, 30, &max, &sum) == 1 && isnan(sum));
    row[30] = 5;
    pare_cpu_softmax_part(row + 30, 10, &max, &sum);
    CHECK(isnan(sum));
}

static void threads_do_not_change_bits(void **state)
{
    (void)state;
    enum { N = 700, ROWS = 300, WIDTH = 96, HEADS = 4, DIM = 24 };
    pare_backend *b = open_cpu();
    pare_error err = {0};
    uint64_t seed = 10;
    float *x = toy_array(&seed, N * WIDTH, 1), *values = toy_array(&seed, ROWS * WIDTH, 1);
    float *y[3], *o[3];
    pare_tensor w = toy_tensor("w", values, ROWS, WIDTH);
    for (int t = 0; t < 3; t++) {
        pare_set_threads(t + 1);
        y[t] = check_malloc(N * ROWS * sizeof(float));
        o[t] = check_malloc(N * WIDTH * sizeof(float));
        CHECK_OK(b->matmul(b, &w, 0, ROWS, x, N, y[t], &err), &err);
        const pare_attention_span span = {.n = N};
        pare_attention a = {.spans = &span,
                            .n_spans = 1,
                            .n_head = HEADS,
                            .n_head_kv = HEADS,
                            .head_dim_k = DIM,
                            .head_dim_v = DIM,
                            .causal = true,
                            .scale = 0.2f,
                            .q = x,
                            .k = x,
                            .v = x,
                            .out = o[t]};
        CHECK_OK(b->attention(b, &a, &err), &err);
        CHECK(memcmp(y[0], y[t], N * ROWS * sizeof(float)) == 0);
        CHECK(memcmp(o[0], o[t], N * WIDTH * sizeof(float)) == 0);
    }
    pare_set_threads(0);
    for (int t = 0; t < 3; t++) {
        free(y[t]);
        free(o[t]);
    }
    free(x);
    free(values);
    b->close(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exponentials_are_accurate),
        cmocka_unit_test(multiplies_float_weights),
        cmocka_unit_test(multiplies_quantized_weights),
        cmocka_unit_test(attends),
        cmocka_unit_test(attends_to_many_keys),
        cmocka_unit_test(attends_to_stored_keys),
        cmocka_unit_test(normalizes),
        cmocka_unit_test(rotates),
        cmocka_unit_test(activates),
        cmocka_unit_test(computes_the_clamped_glu),
        cmocka_unit_test(adds_scales_caps_and_embeds),
        cmocka_unit_test(works_on_whole_rows),
        cmocka_unit_test(gathers_and_scatters_rows),
        cmocka_unit_test(copies_columns),
        cmocka_unit_test(sums_logits),
        cmocka_unit_test(sums_columns_and_their_products),
        cmocka_unit_test(nan_reaches_the_output_of_attention),
        cmocka_unit_test(threads_do_not_change_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
