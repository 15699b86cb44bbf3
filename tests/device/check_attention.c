/* Attention: with factors that are not rounded on the CPU, and in parts on a device that computes with BF16. */
#include "device_check.h"

#include "quant/registry.h"

#include <stdio.h>

typedef struct attention_kind {
    const char *name;
    uint32_t n_head, n_head_kv, dim_k, dim_v, window;
    bool causal, sinks;
    float softcap;
    pare_type type;
} attention_kind;

/* Whole sequences, the ends of others with gaps between the keys, and single queries behind many keys. */
static const pare_attention_span small_spans[] = {
    {.row = 0, .n = 1, .n_past = 0, .kv_row = 200},
    {.row = 1, .n = 37, .n_past = 33, .kv_row = 0},
    {.row = 38, .n = 70, .kv_row = 90},
    {.row = 108, .n = 1, .n_past = 64, .kv_row = 90},
};
static const pare_attention_span large_spans[] = {
    {.row = 0, .n = 1, .n_past = 0, .kv_row = 9000},
    {.row = 1, .n = 70, .n_past = 2000, .kv_row = 0},
    {.row = 71, .n = 1025, .kv_row = 2300},
    {.row = 1096, .n = 513, .kv_row = 4000},
    {.row = 1609, .n = 1, .n_past = 3001, .kv_row = 5000},
};
enum { SMALL_ROWS = 109, SMALL_KEYS = 201, LARGE_ROWS = 1610, LARGE_KEYS = 9001 };

/* Keys or values as the cache stores them, on both backends. */
static void give_keys(check *c, pare_type type, uint32_t rows, uint32_t width, const void **gpu, const void **cpu)
{
    uint64_t row_bytes = 0;
    float *x = check_noise(c, (size_t)rows * width, 1);
    void *bytes = x;
    if (!pare_row_bytes(type, width, &row_bytes))
        check_must(c, pare_fail(&c->err, PARE_ERR_RANGE, "rows of %u", width));
    if (type != PARE_TYPE_F32) {
        bytes = check_host(c, rows * row_bytes);
        check_must(c, pare_encode_rows(type, x, rows, width, NULL, PARE_EFFORT_RTN, bytes, &c->err));
    }
    *gpu = check_give(c, c->gpu, bytes, rows * row_bytes);
    *cpu = check_give(c, c->cpu, bytes, rows * row_bytes);
}

static void run_attention(check *c, const void *arg)
{
    const attention_kind *k = arg;
    uint32_t rows = c->small ? SMALL_ROWS : LARGE_ROWS, keys = c->small ? SMALL_KEYS : LARGE_KEYS;
    pare_attention a = {.spans = c->small ? small_spans : large_spans,
                        .n_spans = c->small ? sizeof small_spans / sizeof *small_spans
                                            : sizeof large_spans / sizeof *large_spans,
                        .n_head = k->n_head,
                        .n_head_kv = k->n_head_kv,
                        .head_dim_k = k->dim_k,
                        .head_dim_v = k->dim_v,
                        .window = k->window,
                        .causal = k->causal,
                        .scale = 1 / (0.2f * (float)k->dim_k),
                        .softcap = k->softcap,
                        .type_k = k->type,
                        .type_v = k->type};
    size_t n_q = (size_t)rows * k->n_head * k->dim_k, n_out = (size_t)rows * k->n_head * k->dim_v;
    const void *gpu_k, *cpu_k, *gpu_v, *cpu_v;
    float *q = check_noise(c, n_q, 3);
    check_shape(c, "%u heads over %u of %u and %u", k->n_head, k->n_head_kv, k->dim_k, k->dim_v);
    give_keys(c, k->type, keys, k->n_head_kv * k->dim_k, &gpu_k, &cpu_k);
    give_keys(c, k->type, keys, k->n_head_kv * k->dim_v, &gpu_v, &cpu_v);
    if (k->sinks) {
        float *sinks = check_kept(c, k->n_head * sizeof *sinks);
        for (uint32_t h = 0; h < k->n_head; h++)
            sinks[h] = (float)h - 2;
        a.sinks = check_tensor(c, PARE_TYPE_F32, sinks, 0, k->n_head);
    }
    pare_attention g = a;
    g.q = check_give(c, c->gpu, q, n_q * sizeof *q);
    g.k = gpu_k;
    g.v = gpu_v;
    g.out = check_poisoned(c, c->gpu, n_out * sizeof *q);
    a.q = check_give(c, c->cpu, q, n_q * sizeof *q);
    a.k = cpu_k;
    a.v = cpu_v;
    a.out = check_poisoned(c, c->cpu, n_out * sizeof *q);
    check_must(c, c->gpu->attention(c->gpu, &g, &c->err));
    check_must(c, c->cpu->attention(c->cpu, &a, &c->err));
    check_compare(c, check_take(c, c->gpu, g.out, n_out * sizeof *q), check_take(c, c->cpu, a.out, n_out * sizeof *q),
                  n_out);
}

void check_attention(check *c)
{
    static const attention_kind kinds[] = {
        {"causal", 4, 4, 64, 64, 0, true, false, 0, PARE_TYPE_F32},
        {"grouped", 8, 2, 128, 128, 0, true, false, 0, PARE_TYPE_F32},
        {"one key head", 6, 1, 32, 32, 0, true, false, 0, PARE_TYPE_F32},
        {"window 1", 2, 1, 64, 64, 1, true, false, 0, PARE_TYPE_F32},
        {"window 50", 4, 2, 64, 64, 50, true, false, 0, PARE_TYPE_F32},
        {"window 700", 4, 2, 64, 64, 700, true, false, 0, PARE_TYPE_F32},
        {"soft cap", 4, 2, 128, 128, 0, true, false, 5, PARE_TYPE_F32},
        {"soft cap, window, 256", 2, 1, 256, 256, 100, true, false, 3, PARE_TYPE_F32},
        {"sinks", 4, 2, 64, 64, 0, true, true, 0, PARE_TYPE_F32},
        {"sinks, window", 8, 2, 64, 64, 40, true, true, 0, PARE_TYPE_F32},
        {"not causal", 4, 4, 64, 64, 0, false, false, 0, PARE_TYPE_F32},
        {"not causal, window", 4, 4, 64, 64, 30, false, false, 0, PARE_TYPE_F32},
        {"latent, 192 and 128", 4, 4, 192, 128, 0, true, false, 0, PARE_TYPE_F32},
        {"odd heads, 24 and 12", 3, 3, 24, 12, 0, true, false, 0, PARE_TYPE_F32},
        {"odd heads, 80", 5, 5, 80, 80, 0, true, false, 0, PARE_TYPE_F32},
        {"odd heads, 5 and 3", 2, 1, 5, 3, 0, true, true, 2, PARE_TYPE_F32},
        {"f16 cache", 4, 2, 64, 64, 0, true, false, 0, PARE_TYPE_F16},
        {"bf16 cache", 4, 2, 128, 128, 0, true, false, 0, PARE_TYPE_BF16},
        {"q8_0 cache", 4, 2, 128, 128, 0, true, false, 0, PARE_TYPE_Q8_0},
        {"q5_1 cache", 4, 2, 64, 64, 30, true, false, 0, PARE_TYPE_Q5_1},
        {"q4_0 cache", 4, 2, 64, 64, 0, true, true, 0, PARE_TYPE_Q4_0},
    };
    char name[64];
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        snprintf(name, sizeof name, "attention %s", kinds[i].name);
        check_row(c, name, c->rounds ? 1e-4 : 1e-5, run_attention, &kinds[i]);
    }
}
