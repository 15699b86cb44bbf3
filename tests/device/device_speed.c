/* How fast the operations are that take the time of an evaluation, by the wall clock around batches that end when the
 * device is done. A row's rate is the median of the batches. */
#include "device_check.h"

#include "core/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCHES = 7, KV_HEADS = 8, KV_DIM = 128 };
static const double BATCH_SECONDS = 0.06;

typedef struct work {
    pare_status (*run)(check *c, const struct work *w);
    const char *unit; /* of `amount` a second, in units of `per` */
    double amount, per;
    const pare_tensor *weight;
    const float *x;
    float *y;
    uint32_t n;
    pare_attention attention;
    pare_score_side side;
    const int32_t *targets;
    pare_position_score *scores;
    size_t bytes;
    const pare_kv_codec *codec;
    pare_turn turn;
} work;

static void finish(check *c, const work *w)
{
    float one;
    check_must(c, c->gpu->download(c->gpu, &one, w->y, sizeof one, &c->err));
}

static double seconds_of(check *c, const work *w, int times)
{
    double start = pare_clock();
    for (int i = 0; i < times; i++)
        check_must(c, w->run(c, w));
    finish(c, w);
    return (pare_clock() - start) / times;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(check *c, const char *name, const work *w)
{
    double each[BATCHES];
    seconds_of(c, w, 1); /* loads weights and kernels */
    double guess = seconds_of(c, w, 2);
    int times = guess > 0 && guess < BATCH_SECONDS ? (int)(BATCH_SECONDS / guess) : 1;
    for (int i = 0; i < (c->small ? 1 : BATCHES); i++)
        each[i] = seconds_of(c, w, c->small ? 1 : times);
    qsort(each, c->small ? 1 : BATCHES, sizeof *each, ascending);
    double median = each[c->small ? 0 : BATCHES / 2];
    printf("speed: %-42s %10.4f ms  %9.1f %s\n", name, median * 1e3, w->amount / w->per / median, w->unit);
    fflush(stdout);
}

static pare_status run_matmul(check *c, const work *w)
{
    return c->gpu->matmul(c->gpu, w->weight, 0, w->weight->n_rows, w->x, w->n, w->y, &c->err);
}

static pare_status run_attention(check *c, const work *w)
{
    return c->gpu->attention(c->gpu, &w->attention, &c->err);
}

static pare_status run_score(check *c, const work *w)
{
    return c->gpu->score(c->gpu, &w->side, 1, NULL, w->targets, w->n, w->scores, &c->err);
}

static pare_status run_gram(check *c, const work *w)
{
    return c->gpu->add_gram(c->gpu, w->x, w->n, c->small ? 64 : 4096, w->y, &c->err);
}

static pare_status run_copy(check *c, const work *w)
{
    return c->gpu->copy(c->gpu, w->y, w->x, w->bytes, &c->err);
}

static pare_status run_encode(check *c, const work *w)
{
    return c->gpu->kv_encode(c->gpu, w->codec, w->x, w->n / w->codec->group, KV_HEADS, KV_DIM, w->y, &c->err);
}

static pare_status run_decode(check *c, const work *w)
{
    return c->gpu->kv_decode(c->gpu, w->codec, w->x, w->n / w->codec->group, KV_HEADS, KV_DIM, w->y, &c->err);
}

static pare_status run_turn(check *c, const work *w)
{
    return c->gpu->turn(c->gpu, &w->turn, &c->err);
}

/* Noise on the device that is not a repetition for caches or for the power that products draw, from little noise of the
 * host: copies of one stretch at shifted places. */
static float *device_noise(check *c, size_t n)
{
    enum { STRETCH = 1 << 22 };
    size_t stretch = n < STRETCH ? n : STRETCH;
    float *noise = check_noise(c, stretch, 1), *p = check_give(c, c->gpu, noise, stretch * sizeof *noise);
    if (stretch == n)
        return p;
    float *all = check_poisoned(c, c->gpu, n * sizeof *all);
    for (size_t at = 0; at < n; at += stretch)
        check_must(c, c->gpu->copy(c->gpu, all + at, p, (n - at < stretch ? n - at : stretch) * sizeof *all, &c->err));
    return all;
}

typedef struct gemm_shape {
    pare_type type;
    uint32_t n;
    uint64_t rows, width;
} gemm_shape;

static void time_matmul(check *c, const void *arg)
{
    const gemm_shape *s = arg;
    uint32_t shrink = c->small ? 64 : 1;
    uint64_t rows = s->rows / shrink, width = s->width / (c->small ? 16 : 1);
    uint32_t n = s->n / shrink;
    char name[96];
    work w = {.run = run_matmul,
              .unit = "TFLOP/s",
              .per = 1e12,
              .amount = 2.0 * n * (double)rows * (double)width,
              .weight = check_weights(c, s->type, rows, width),
              .x = device_noise(c, (size_t)n * width),
              .y = check_poisoned(c, c->gpu, (size_t)n * rows * sizeof(float)),
              .n = n};
    snprintf(name, sizeof name, "matmul %s, %u x %llu x %llu", pare_type_get(s->type)->name, n,
             (unsigned long long)rows, (unsigned long long)width);
    report(c, name, &w);
}

/* 32 heads over 8 of 128, as in models of 8B. */
static void time_attention(check *c, const void *arg)
{
    const uint32_t n_ctx = *(const uint32_t *)arg / (c->small ? 256 : 1), tokens = c->small ? n_ctx : 8192, heads = 32;
    uint32_t n_spans = tokens / n_ctx;
    pare_attention_span *spans = check_host(c, n_spans * sizeof *spans);
    for (uint32_t i = 0; i < n_spans; i++)
        spans[i] = (pare_attention_span){.row = i * n_ctx, .n = n_ctx, .kv_row = (size_t)i * n_ctx};
    work w = {.run = run_attention, .unit = "TFLOP/s", .per = 1e12, .n = tokens};
    w.amount = 4.0 * 128 * heads * (double)n_spans * n_ctx * (n_ctx + 1.0) / 2;
    w.y = check_poisoned(c, c->gpu, (size_t)tokens * heads * 128 * sizeof(float));
    w.attention = (pare_attention){.spans = spans,
                                   .n_spans = n_spans,
                                   .n_head = heads,
                                   .n_head_kv = 8,
                                   .head_dim_k = 128,
                                   .head_dim_v = 128,
                                   .causal = true,
                                   .scale = 0.088f,
                                   .q = device_noise(c, (size_t)tokens * heads * 128),
                                   .k = device_noise(c, (size_t)tokens * 8 * 128),
                                   .v = device_noise(c, (size_t)tokens * 8 * 128),
                                   .out = w.y};
    char name[96];
    snprintf(name, sizeof name, "attention, %u windows of %u", n_spans, n_ctx);
    report(c, name, &w);
}

static void time_score(check *c, const void *arg)
{
    const uint32_t n = c->small ? 8 : 4096, width = c->small ? 64 : 4096, vocab = c->small ? 500 : 128256;
    work w = {.run = run_score, .unit = "TFLOP/s", .per = 1e12, .amount = 2.0 * n * (double)width * vocab, .n = n};
    (void)arg;
    w.y = device_noise(c, (size_t)n * width);
    w.side = (pare_score_side){.x = w.y, .w = check_weights(c, PARE_TYPE_BF16, vocab, width), .scale = 0.1f};
    w.targets = check_ids(c, n, vocab);
    w.scores = check_host(c, n * sizeof *w.scores);
    char name[96];
    snprintf(name, sizeof name, "score, %u x %u x %u", n, vocab, width);
    report(c, name, &w);
}

static void time_gram(check *c, const void *arg)
{
    const uint32_t n = c->small ? 8 : 4096, width = c->small ? 64 : 4096;
    work w = {.run = run_gram, .unit = "TFLOP/s", .per = 1e12, .amount = 2.0 * n * width * (double)width, .n = n};
    (void)arg;
    w.x = device_noise(c, (size_t)n * width);
    w.y = device_noise(c, (size_t)width * width);
    report(c, "add_gram, 4096 tokens, width 4096", &w);
}

static void time_copy(check *c, const void *arg)
{
    work w = {.run = run_copy, .unit = "GB/s read and written", .per = 1e9, .bytes = c->small ? 1 << 16 : 1u << 30};
    (void)arg;
    w.amount = 2.0 * (double)w.bytes;
    w.x = device_noise(c, w.bytes / sizeof(float));
    w.y = check_poisoned(c, c->gpu, w.bytes);
    report(c, "copy in device memory", &w);
}

/* Keys of 8 heads of 128, as in models of 8B, far more than a cache of the device holds: bytes read and written. */
static void time_codec(check *c, const void *arg)
{
    const char *codec = arg;
    work w = {.run = run_encode, .unit = "GB/s read and written", .per = 1e9, .n = c->small ? 64 : 1 << 17};
    const size_t values = (size_t)w.n * KV_HEADS * KV_DIM;
    char name[96];
    w.codec = pare_kv_codec_find(codec, PARE_KV_KEYS);
    const size_t bytes = w.n / w.codec->group * KV_HEADS * pare_kv_unit_bytes(w.codec, KV_DIM);
    w.amount = (double)(values * sizeof(float) + bytes);
    float *x = device_noise(c, values), *coded = check_poisoned(c, c->gpu, bytes);
    w.x = x;
    w.y = coded;
    snprintf(name, sizeof name, "kv_encode %s, %u tokens", codec, w.n);
    report(c, name, &w);
    w.run = run_decode;
    w.x = coded;
    w.y = x;
    snprintf(name, sizeof name, "kv_decode %s, %u tokens", codec, w.n);
    report(c, name, &w);
}

static void time_turn(check *c, const void *arg)
{
    const uint32_t dim = *(const uint32_t *)arg;
    work w = {.run = run_turn, .unit = "GB/s read and written", .per = 1e9, .n = c->small ? 64 : 1 << 17};
    const size_t values = (size_t)w.n * KV_HEADS * KV_DIM;
    const uint32_t n = (uint32_t)(values / dim);
    char name[96];
    w.amount = 2.0 * (double)(n * (size_t)dim) * sizeof(float);
    w.y = device_noise(c, values);
    w.turn = (pare_turn){{dim, PARE_ROTATION_MAX_DIM, 7}, NULL, w.y, n, 1, dim, false};
    snprintf(name, sizeof name, "turn, %u heads of %u", n, dim);
    report(c, name, &w);
}

int device_speed(check *c)
{
    static const gemm_shape gemms[] = {
        {PARE_TYPE_BF16, 8192, 8192, 8192},     {PARE_TYPE_BF16, 4096, 4096, 4096},
        {PARE_TYPE_BF16, 4096, 14336, 4096},    {PARE_TYPE_BF16, 4096, 4096, 14336},
        {PARE_TYPE_F16, 4096, 14336, 4096},     {PARE_TYPE_Q8_0, 4096, 14336, 4096},
        {PARE_TYPE_Q6_K, 4096, 14336, 4096},    {PARE_TYPE_Q4_K, 4096, 14336, 4096},
        {PARE_TYPE_Q4_0, 4096, 14336, 4096},    {PARE_TYPE_Q2_K, 4096, 14336, 4096},
        {PARE_TYPE_IQ4_XS, 4096, 14336, 4096},  {PARE_TYPE_IQ3_S, 4096, 14336, 4096},
        {PARE_TYPE_IQ2_XXS, 4096, 14336, 4096}, {PARE_TYPE_MXFP4, 4096, 14336, 4096},
        {PARE_TYPE_NVFP4, 4096, 14336, 4096},
    };
    static const uint32_t contexts[] = {512, 2048, 8192}, turned[] = {64, 80, 128, 256, 1024};
    static const char *const codecs[] = {"f16", "q8_0", "q4_0", "q4_1r", "midrise4", "turbo3", "turbo3p", "kivi2"};
    check_timed(c, "copy", time_copy, NULL);
    for (size_t i = 0; i < sizeof gemms / sizeof *gemms; i++)
        check_timed(c, "matmul", time_matmul, &gemms[i]);
    for (size_t i = 0; i < sizeof contexts / sizeof *contexts; i++)
        check_timed(c, "attention", time_attention, &contexts[i]);
    if (c->gpu->score != NULL)
        check_timed(c, "score", time_score, NULL);
    check_timed(c, "add_gram", time_gram, NULL);
    for (size_t i = 0; i < sizeof codecs / sizeof *codecs; i++)
        check_timed(c, "kv", time_codec, codecs[i]);
    for (size_t i = 0; i < sizeof turned / sizeof *turned; i++)
        check_timed(c, "kv turn", time_turn, &turned[i]);
    return c->n_failed > 0 ? 1 : 0;
}
