/* Factors of keys (recipe/kv_ready_fit.c): the trial that is best by an own reckoning, and what keys are made up from.
 */
#include "check.h"
#include "toy.h"

#include "quant/kv_codec.h"
#include "recipe/kv_ready.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VOCAB = 30, HEADS = 4, KV = 2, DIM = 32, EMBD = 24, TOKENS = 48, POWERS = 8 };

/* Error of q.k of one head's keys [TOKENS, KV * DIM] divided by s, in q4_0, q2 [DIM] being queries' squares. */
static double error_of(const float *keys, const double *q2, const double *s)
{
    const pare_kv_codec *c = pare_kv_codec_find("q4_0", PARE_KV_KEYS);
    pare_error err = {0};
    uint8_t unit[64];
    float row[DIM], back[DIM];
    double sum = 0;
    for (size_t t = 0; t < TOKENS; t++) {
        for (size_t i = 0; i < DIM; i++)
            row[i] = keys[t * KV * DIM + i] / (float)s[i];
        CHECK_OK(pare_kv_encode(c, row, 1, 1, DIM, unit, &err), &err);
        pare_kv_decode(c, unit, 1, 1, DIM, back);
        for (size_t i = 0; i < DIM; i++)
            sum += pow(((double)back[i] - (double)row[i]) * s[i], 2) * q2[i];
    }
    return sum;
}

/* The best of all trials for one head, as docs/methods/KV_CACHE.md says it; pairs are next to each other. Returns
 * whether queries count in it. */
static bool best_of(const float *keys, const double *q2, double *best)
{
    double size[DIM] = {0}, query[DIM] = {0}, s[DIM], least;
    bool by_queries = false;
    for (size_t i = 0; i < DIM; i++) {
        for (size_t t = 0; t < TOKENS; t++)
            size[i & ~1u] = fmax(size[i & ~1u], fabs((double)keys[t * KV * DIM + i]));
        query[i & ~1u] += q2[i] / 2;
        best[i] = 1;
    }
    least = error_of(keys, q2, best);
    for (int how = 0; how < 2; how++)
        for (int a = 1; a <= POWERS; a++) {
            double low = INFINITY, high = 0;
            for (size_t i = 0; i < DIM; i++) {
                s[i] = pow(size[i & ~1u], a / 8.0);
                if (how == 1)
                    s[i] /= pow(sqrt(query[i & ~1u]), 1 - a / 8.0);
                low = fmin(low, s[i]);
                high = fmax(high, s[i]);
            }
            for (size_t i = 0; i < DIM; i++)
                s[i] /= sqrt(low * high);
            const double error = error_of(keys, q2, s);
            if (error < least) {
                least = error;
                by_queries = how == 1;
                memcpy(best, s, sizeof s);
            }
        }
    return by_queries;
}

/* Head 0: large keys where queries are small, so that sizes tell all; head 1: queries that keys say nothing of, in
 * pairs of unlike elements. */
static void factors_are_those_of_the_best_trial(void **state)
{
    (void)state;
    pare_model m;
    pare_kv_ready r;
    pare_key_sample samples[2] = {{0}, {0}};
    pare_error err = {0};
    double best[KV][DIM];
    bool by_queries[KV];
    uint64_t seed = 5;
    toy_llama_of(&m, VOCAB, 0, HEADS, KV, DIM);
    CHECK_OK(pare_kv_ready_find(&r, &m, &err), &err);
    for (size_t layer = 0; layer < 2; layer++) {
        pare_key_sample *s = &samples[layer];
        CHECK_OK(pare_key_sample_open(s, TOKENS, KV * DIM, &err), &err);
        s->n = TOKENS;
        for (size_t i = 0; i < KV * DIM; i++) {
            const float large = exp2f(3 * toy_random(&seed));
            const size_t pair = i / 2 % (DIM / 2);
            s->q2[i] = i < DIM ? 1 : exp2((double)pair - 8) * (i % 2 == pair % 2 ? 1.9 : 0.1);
            for (size_t t = 0; t < TOKENS; t++)
                s->k[t * KV * DIM + i] = large * (1 + 0.5f * toy_random(&seed));
        }
    }
    CHECK_OK(pare_kv_ready_fit(&r, &m, samples, &err), &err);
    for (size_t layer = 0; layer < 2; layer++)
        for (size_t h = 0; h < KV; h++) {
            by_queries[h] = best_of(samples[layer].k + h * DIM, samples[layer].q2 + h * DIM, best[h]);
            for (size_t i = 0; i < DIM; i++) {
                const double s = (double)r.layers[layer].scale[h * DIM + i];
                CHECK(fabs(s - best[h][i]) < 1e-4 * best[h][i]);
            }
            CHECK(best[h][0] != best[h][2] && by_queries[h] == (h == 1));
        }
    for (size_t layer = 0; layer < 2; layer++)
        pare_key_sample_close(&samples[layer]);
    pare_kv_ready_close(&r);
    pare_model_close(&m);
}

/* ---- keys made up from weights ---- */

/* Factors by the weights: [2, KV * DIM]. */
static void fit(const pare_model *m, float *scale)
{
    pare_kv_ready r;
    pare_error err = {0};
    CHECK_OK(pare_kv_ready_find(&r, m, &err), &err);
    CHECK(r.n_keys == 2);
    CHECK_OK(pare_kv_ready_fit(&r, m, NULL, &err), &err);
    for (size_t i = 0; i < 2; i++)
        memcpy(scale + i * KV * DIM, r.layers[i].scale, KV * DIM * sizeof *scale);
    pare_kv_ready_close(&r);
}

static bool is_of(const char *name, const char *part)
{
    return strstr(name, part) != NULL;
}

/* Rows of another matrix in place of, or joined from, those of q, k and v. */
typedef void (*rewrite_fn)(pare_model *out, const pare_model *m, int layer, uint64_t *seed);

static void add_rows(pare_model *out, const char *format, int layer, const float *rows, uint64_t n_rows)
{
    char name[64];
    pare_error err = {0};
    float *kept = pare_arena_alloc(&out->arena, n_rows * EMBD * sizeof *kept, &err);
    CHECK(kept != NULL);
    memcpy(kept, rows, n_rows * EMBD * sizeof *kept);
    snprintf(name, sizeof name, format, layer);
    const pare_tensor t = toy_tensor(name, kept, n_rows, EMBD);
    CHECK_OK(pare_model_add(out, &t, NULL, &err), &err);
}

static const float *rows_of(const pare_model *m, const char *format, int layer)
{
    char name[64];
    snprintf(name, sizeof name, format, layer);
    return toy_values(m, name);
}

static void join(pare_model *out, const pare_model *m, int layer, uint64_t *seed)
{
    static float rows[(HEADS + 2 * KV) * DIM * EMBD];
    (void)seed;
    memcpy(rows, rows_of(m, "blk.%d.attn_q.weight", layer), HEADS * DIM * EMBD * sizeof *rows);
    memcpy(rows + HEADS * DIM * EMBD, rows_of(m, "blk.%d.attn_k.weight", layer), KV * DIM * EMBD * sizeof *rows);
    memcpy(rows + (HEADS + KV) * DIM * EMBD, rows_of(m, "blk.%d.attn_v.weight", layer), KV * DIM * EMBD * sizeof *rows);
    add_rows(out, "blk.%d.attn_qkv.weight", layer, rows, (HEADS + 2 * KV) * DIM);
}

/* Behind each head's queries as many rows of its gate, far larger. */
static void gate(pare_model *out, const pare_model *m, int layer, uint64_t *seed)
{
    static float rows[2 * HEADS * DIM * EMBD];
    const float *q = rows_of(m, "blk.%d.attn_q.weight", layer);
    for (size_t h = 0; h < HEADS; h++)
        for (size_t i = 0; i < (size_t)DIM * EMBD; i++) {
            rows[2 * h * DIM * EMBD + i] = q[h * DIM * EMBD + i];
            rows[(2 * h + 1) * DIM * EMBD + i] = exp2f(4 * toy_random(seed)) * toy_random(seed);
        }
    add_rows(out, "blk.%d.attn_q.weight", layer, rows, 2 * HEADS * DIM);
    add_rows(out, "blk.%d.attn_k.weight", layer, rows_of(m, "blk.%d.attn_k.weight", layer), KV * DIM);
    add_rows(out, "blk.%d.attn_v.weight", layer, rows_of(m, "blk.%d.attn_v.weight", layer), KV * DIM);
}

/* The same model with q, k and v rewritten; m, whose arrays it shows, must live as long. */
static void rewritten(pare_model *out, const pare_model *m, rewrite_fn rewrite)
{
    pare_error err = {0};
    uint64_t seed = 9;
    *out = (pare_model){.path = m->path, .arch = m->arch, .hp = m->hp};
    CHECK_OK(pare_model_reserve(out, m->n_tensors + 2, &err), &err);
    for (size_t i = 0; i < m->n_tensors; i++) {
        const char *name = m->tensors[i].name;
        if (!is_of(name, "attn_q.") && !is_of(name, "attn_k.") && !is_of(name, "attn_v."))
            CHECK_OK(pare_model_add(out, &m->tensors[i], NULL, &err), &err);
    }
    for (int layer = 0; layer < 2; layer++)
        rewrite(out, m, layer, &seed);
}

/* Rows of unlike sizes, so that each has its own factor. */
static void spread(pare_model *m, const char *format, size_t n_rows)
{
    uint64_t seed = 21;
    for (int layer = 0; layer < 2; layer++) {
        float *rows = (float *)(uintptr_t)rows_of(m, format, layer);
        for (size_t i = 0; i < n_rows; i++) {
            const float times = exp2f(3 * toy_random(&seed));
            for (size_t c = 0; c < EMBD; c++)
                rows[i * EMBD + c] *= times;
        }
    }
}

/* Fused rows, and queries with gates between them, are the same keys and queries. */
static void rows_are_found_where_they_are(void **state)
{
    (void)state;
    pare_model m, other;
    float want[2 * KV * DIM], got[2 * KV * DIM];
    toy_llama_of(&m, VOCAB, 0, HEADS, KV, DIM);
    spread(&m, "blk.%d.attn_k.weight", KV * DIM);
    spread(&m, "blk.%d.attn_q.weight", HEADS * DIM);
    fit(&m, want);
    rewritten(&other, &m, join);
    fit(&other, got);
    CHECK(memcmp(got, want, sizeof got) == 0);
    pare_model_close(&other);
    rewritten(&other, &m, gate);
    pare_arch gated = *m.arch;
    gated.wiring.attn_gated = true;
    other.arch = &gated;
    fit(&other, got);
    CHECK(memcmp(got, want, sizeof got) == 0);
    pare_model_close(&other);
    pare_model_close(&m);
}

/* Biases (b, 0) and (b, b) / sqrt(2) of a pair are the same behind RoPE, which turns the pair by any angle: the same
 * factor, but for what is random. Rows of queries are all as large. */
static void made_up_pairs_are_turned(void **state)
{
    (void)state;
    pare_model m;
    float scale[2 * KV * DIM];
    uint64_t seed = 1;
    toy_llama_of(&m, VOCAB, 0, HEADS, KV, DIM);
    for (int layer = 0; layer < 2; layer++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%d.attn_k.bias", layer);
        toy_add(&m, &seed, name, 0, KV * DIM, 0, 0);
        float *bias = toy_values(&m, name), *q = (float *)(uintptr_t)rows_of(&m, "blk.%d.attn_q.weight", layer);
        for (size_t i = 0; i < (size_t)HEADS * DIM * EMBD; i++)
            q[i] = copysignf(0.4f, q[i]);
        for (size_t i = 0; i < KV * DIM; i += 4) {
            const float b = 50 * exp2f((float)(i / 4 % 8) / 2);
            bias[i] = b;
            bias[i + 2] = bias[i + 3] = b * 0.70710678f;
        }
    }
    fit(&m, scale);
    for (size_t i = 0; i < 2 * KV * DIM; i += 4)
        CHECK(scale[i] == scale[i + 1] && fabsf(scale[i] / scale[i + 2] - 1) < 0.1f);
    CHECK(scale[28] / scale[0] > 3); /* sizes differ by 11 */
    pare_model_close(&m);
}

/* One gain for all heads of queries or of keys makes all factors alike, wherever it is. */
static void one_gain_for_all_heads_makes_factors_alike(void **state)
{
    (void)state;
    static const uint32_t gains[][3] = {{DIM, HEADS * DIM, true},
                                        {KV * DIM, DIM, true},
                                        {DIM, DIM, true},
                                        {KV * DIM, HEADS * DIM, false}}; /* of keys, of queries */
    for (size_t k = 0; k < sizeof gains / sizeof gains[0]; k++) {
        pare_model m;
        pare_kv_ready r;
        pare_error err = {0};
        uint64_t seed = 2;
        toy_llama_of(&m, VOCAB, 0, HEADS, KV, DIM);
        for (int layer = 0; layer < 2; layer++)
            for (int side = 0; side < 2; side++) {
                char name[64];
                snprintf(name, sizeof name, "blk.%d.attn_%c_norm.weight", layer, side == 0 ? 'k' : 'q');
                toy_add(&m, &seed, name, 0, gains[k][side], 0.5f, 1);
            }
        CHECK_OK(pare_kv_ready_find(&r, &m, &err), &err);
        CHECK(r.n_keys == 2 && r.layers[0].alike == (gains[k][2] != 0) && r.layers[1].alike == r.layers[0].alike);
        pare_kv_ready_close(&r);
        pare_model_close(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(factors_are_those_of_the_best_trial),
        cmocka_unit_test(rows_are_found_where_they_are),
        cmocka_unit_test(made_up_pairs_are_turned),
        cmocka_unit_test(one_gain_for_all_heads_makes_factors_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
