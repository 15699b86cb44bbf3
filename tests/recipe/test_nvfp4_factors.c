/* The factors of NVFP4 matrices, NAME.scale: which ones there are, that they are the right powers of two, that what is
 * stored times the factor is the weight, and that a model with smaller weights gets the same blocks. */
#include "check.h"

#include "core/bytes.h"
#include "quant/registry.h"
#include "recipe/recipe.h"
#include "recipe/refine.h"
#include "recipe/refine_key.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROW = 64, ROWS = 8, EXPERTS = 3, MAX_TENSORS = 16, TOKENS = 100 };

typedef struct fixture {
    pare_model m;
    pare_imatrix im;
    float values[MAX_TENSORS][EXPERTS * ROWS * ROW];
} fixture;

/* peak: the largest weight of each of `matrices` is that times 4^index. */
static void add(fixture *f, const char *name, uint64_t matrices, float peak)
{
    pare_error err = {0};
    size_t at = f->m.n_tensors;
    uint32_t seed = 99u + (uint32_t)at;
    pare_tensor t = {.name = name, .type = PARE_TYPE_F32, .n_dims = matrices > 1 ? 3 : 2};
    uint64_t *dim = t.dim;
    if (matrices > 1)
        *dim++ = matrices;
    dim[0] = ROWS;
    dim[1] = ROW;
    t.data = (const uint8_t *)(const void *)f->values[at];
    CHECK_OK(pare_tensor_set_shape(&t, "model", &err), &err);
    CHECK_OK(pare_model_add(&f->m, &t, NULL, &err), &err);
    for (size_t i = 0; i < matrices * ROWS * ROW; i++) {
        seed = seed * 1664525u + 1013904223u;
        float most = peak * (float)(1 << 2 * (i / (ROWS * ROW)));
        f->values[at][i] = i % (ROWS * ROW) == 77 ? -most : most * (float)(int32_t)seed / 4294967296.0f;
    }
}

static fixture *start(const char *arch)
{
    fixture *f = calloc(1, sizeof *f);
    pare_error err = {0};
    CHECK(f != NULL);
    f->m = (pare_model){.format = PARE_FORMAT_GGUF, .path = "model", .alignment = 32, .arch = pare_arch_find(arch)};
    f->m.hp.n_layer = 1;
    CHECK_OK(pare_model_reserve(&f->m, MAX_TENSORS, &err), &err);
    CHECK_OK(pare_meta_set_str(&f->m.meta, "general.architecture", (pare_str){arch, strlen(arch)}, &err), &err);
    return f;
}

static void finish(fixture *f)
{
    pare_imatrix_close(&f->im);
    pare_model_close(&f->m);
    free(f);
}

/* small: all weights times this power of two. */
static fixture *dense(const char *arch, float small)
{
    fixture *f = start(arch);
    add(f, "output.weight", 1, 0.7f * small);
    add(f, "token_embd.weight", 1, 0.7f * small);
    add(f, "blk.0.attn_q.weight", 1, 0.2f * small);
    add(f, "blk.0.attn_k.weight", 1, 0.9f * small);
    add(f, "blk.0.attn_v.weight", 1, 0.01f * small);
    add(f, "blk.0.attn_output.weight", 1, 0.75f * small);
    add(f, "blk.0.ffn_gate.weight", 1, 0.1f * small);
    add(f, "blk.0.ffn_up.weight", 1, 0.3f * small);
    add(f, "blk.0.ffn_down.weight", 1, 3 * small);
    return f;
}

static pare_quantize_options pure(void)
{
    return (pare_quantize_options){
        .pure_type = PARE_TYPE_NVFP4, .output_type = PARE_TYPE_NONE, .embedding_type = PARE_TYPE_F32};
}

static void quantize(pare_model *q, const fixture *f, pare_quantize_options o, pare_plan *plan)
{
    pare_error err = {0};
    CHECK_OK(pare_quantize(q, &f->m, &o, plan, &err), &err);
    CHECK(plan->n == q->n_tensors);
    for (size_t i = 0; i < plan->n; i++)
        CHECK(strcmp(plan->rows[i].name, q->tensors[i].name) == 0 && plan->rows[i].bytes == q->tensors[i].n_bytes);
}

/* What NAME.scale holds, which stands behind the weight; NULL: there is none. */
static const float *factors_of(const pare_model *q, const char *name, uint64_t n)
{
    static float values[EXPERTS];
    pare_error err = {0};
    const pare_tensor *t = pare_model_find(q, name);
    const pare_tensor *scale = t + 1 < q->tensors + q->n_tensors ? t + 1 : NULL;
    size_t stem = strlen(name) - strlen("weight");
    CHECK(t != NULL);
    if (scale == NULL || strncmp(scale->name, name, stem) != 0 || strcmp(scale->name + stem, "scale") != 0)
        return NULL;
    CHECK(pare_model_is_factor(q, scale));
    CHECK(scale->type == PARE_TYPE_F32 && scale->n_dims == 1 && scale->dim[0] == n);
    CHECK_OK(pare_tensor_read_f32(scale, 0, 1, values, &err), &err);
    return values;
}

/* The power of two that gives the peak a scale in (128, 256] at level 6. */
static float expected(float peak)
{
    float factor = 1;
    while (peak / factor > 6 * 256)
        factor *= 2;
    while (peak / factor <= 6 * 128)
        factor /= 2;
    return factor;
}

static void each_has_the_factor_of_its_peak(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        float peak; /* of all that share */
    } rows[] = {
        {"output.weight", 0.7f},         {"blk.0.attn_q.weight", 0.9f},       {"blk.0.attn_k.weight", 0.9f},
        {"blk.0.attn_v.weight", 0.9f},   {"blk.0.attn_output.weight", 0.75f}, /* 0.75 = 1536 * 2^-11: on the border */
        {"blk.0.ffn_gate.weight", 0.3f}, {"blk.0.ffn_up.weight", 0.3f},       {"blk.0.ffn_down.weight", 3}};
    pare_model q;
    pare_plan plan;
    pare_error err = {0};
    fixture *f = dense("llama", 1);
    quantize(&q, f, pure(), &plan);
    CHECK(q.n_tensors == 9 + 8 && factors_of(&q, "token_embd.weight", 1) == NULL);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        float stored[ROWS * ROW], read[ROWS * ROW];
        const pare_tensor *t = pare_model_find(&q, rows[i].name), *from = pare_model_find(&f->m, rows[i].name);
        const float *factor = factors_of(&q, rows[i].name, 1), *x = (const float *)(const void *)from->data;
        double error = 0, energy = 0;
        CHECK(factor != NULL && *factor == expected(rows[i].peak) && t->factor != NULL && *t->factor == *factor);
        CHECK_OK(pare_tensor_read_f32(t, 0, ROWS, read, &err), &err);
        for (size_t k = 0; k < ROWS * ROW; k++) {
            double e = (double)x[k] - (double)read[k];
            error += e * e;
            energy += (double)x[k] * (double)x[k];
        }
        CHECK(error > 0 && error < 0.012 * energy);
        CHECK(fabs(plan.rows[t - q.tensors].error - error / energy) < 1e-5 * error / energy);
        CHECK_OK(pare_tensor_read_unscaled(t, 0, ROWS, stored, &err), &err);
        for (size_t k = 0; k < ROWS * ROW; k++)
            CHECK(read[k] == stored[k] * *factor);
    }
    pare_model_close(&q);
    finish(f);
}

/* Statistics in which neighbours go together, for attn_q and ffn_down. */
static void add_statistics(fixture *f)
{
    static const char *const names[] = {"blk.0.attn_q.weight", "blk.0.ffn_down.weight"};
    pare_error err = {0};
    f->im.path = "full.gguf";
    for (size_t k = 0; k < 2; k++) {
        uint8_t *to = NULL;
        pare_imatrix_entry *e = NULL;
        CHECK_OK(pare_imatrix_add(&f->im, names[k], 1, ROW, 1, false, &e, &err), &err);
        CHECK_OK(pare_grams_add(&f->im.grams, names[k], ROW, TOKENS, NULL, &to, &err), &err);
        e->counts[0] = TOKENS;
        for (size_t i = 0, at = 0; i < ROW; i++) {
            e->sum2[i] = (float)TOKENS * (float)(1 + i % 3);
            for (size_t j = 0; j <= i; j++, at++)
                pare_store_f32le(to + 4 * at, i == j ? e->sum2[i] : (float)TOKENS * powf(0.8f, (float)(i - j)));
        }
    }
}

/* Weights 2^-9 times as large: the same blocks, with and without feedback, and factors 2^-9 times as large. Without
 * factors E4M3 has no scales for them. */
static void small_weights_lose_nothing(void **state)
{
    (void)state;
    const float small = 1.0f / 512;
    for (int fed = 0; fed < 2; fed++) {
        pare_model q[2];
        pare_plan plan[2];
        pare_state state_of[2] = {{0}};
        fixture *f[2] = {dense("llama", 1), dense("llama", small)};
        for (int k = 0; k < 2; k++) {
            char beside[1024];
            pare_error err = {0};
            pare_refine_report report = {0};
            pare_quantize_options o = pure();
            snprintf(beside, sizeof beside, "%s/q%d.gguf", temp_dir(), k);
            add_statistics(f[k]);
            o.imatrix = &f[k]->im;
            quantize(&q[k], f[k], o, &plan[k]);
            if (fed) {
                const pare_refine_settings settings = {.output = beside};
                CHECK_OK(pare_refine(&q[k], &o, &plan[k], &settings, &state_of[k], &report, &err), &err);
                CHECK(report.n_tensors == 2 && report.mean_ratio < 0.9);
            }
        }
        for (size_t i = 0; i < q[0].n_tensors; i++) {
            uint8_t bytes[2][ROWS * ROW * 4];
            pare_error err = {0};
            for (int k = 0; k < 2; k++)
                CHECK_OK(pare_tensor_read(&q[k].tensors[i], 0, q[k].tensors[i].n_rows, bytes[k], &err), &err);
            if (q[0].tensors[i].type == PARE_TYPE_NVFP4)
                CHECK(memcmp(bytes[0], bytes[1], (size_t)q[0].tensors[i].n_bytes) == 0);
            else
                CHECK(pare_load_f32le(bytes[0]) * small == pare_load_f32le(bytes[1]));
            CHECK(plan[0].rows[i].error == plan[1].rows[i].error);
            CHECK(isnan(plan[0].rows[i].weighted_error) ||
                  plan[0].rows[i].weighted_error == plan[1].rows[i].weighted_error);
            CHECK(isnan(plan[0].rows[i].feedback) || plan[0].rows[i].feedback == plan[1].rows[i].feedback);
        }
        for (int k = 0; k < 2; k++) {
            pare_model_close(&q[k]);
            pare_state_close(&state_of[k]);
            finish(f[k]);
        }
    }
}

static void experts_have_one_each(void **state)
{
    (void)state;
    pare_model q;
    pare_plan plan;
    pare_error err = {0};
    fixture *f = start("qwen3moe");
    pare_quantize_options o = pure();
    o.embedding_type = PARE_TYPE_NONE;
    add(f, "blk.0.ffn_gate_exps.weight", EXPERTS, 0.1f);
    add(f, "blk.0.ffn_up_exps.weight", EXPERTS, 0.01f);
    add(f, "blk.0.ffn_down_exps.weight", EXPERTS, 0.003f);
    quantize(&q, f, o, &plan);
    CHECK(q.n_tensors == 6);
    for (size_t i = 0; i < EXPERTS; i++) {
        float scale = (float)(1 << 2 * i);
        CHECK(factors_of(&q, "blk.0.ffn_gate_exps.weight", EXPERTS)[i] == expected(0.1f * scale));
        CHECK(factors_of(&q, "blk.0.ffn_up_exps.weight", EXPERTS)[i] == expected(0.1f * scale));
        CHECK(factors_of(&q, "blk.0.ffn_down_exps.weight", EXPERTS)[i] == expected(0.003f * scale));
    }
    const pare_tensor *down = pare_model_find(&q, "blk.0.ffn_down_exps.weight");
    double error = 0, energy = 0;
    for (uint64_t row = 0; row < EXPERTS * ROWS; row++) {
        float y[ROW];
        CHECK_OK(pare_tensor_read_f32(down, row, 1, y, &err), &err);
        for (size_t c = 0; c < ROW; c++) {
            double w = (double)f->values[2][row * ROW + c];
            error += (w - (double)y[c]) * (w - (double)y[c]);
            energy += w * w;
        }
    }
    CHECK(error < 0.012 * energy);
    CHECK(fabs(plan.rows[down - q.tensors].error - error / energy) < 1e-5 * error / energy);
    pare_model_close(&q);
    finish(f);
}

/* Gate and up of the shared expert share a factor, with nobody else. */
static void shared_experts_have_their_own(void **state)
{
    (void)state;
    pare_model q;
    pare_plan plan;
    fixture *f = start("qwen35moe");
    pare_quantize_options o = pure();
    o.embedding_type = PARE_TYPE_NONE;
    add(f, "blk.0.ffn_gate_exps.weight", EXPERTS, 0.1f);
    add(f, "blk.0.ffn_up_exps.weight", EXPERTS, 0.01f);
    add(f, "blk.0.ffn_gate_shexp.weight", 1, 0.003f);
    add(f, "blk.0.ffn_up_shexp.weight", 1, 0.5f);
    quantize(&q, f, o, &plan);
    CHECK(q.n_tensors == 8);
    CHECK(*factors_of(&q, "blk.0.ffn_gate_shexp.weight", 1) == expected(0.5f));
    CHECK(*factors_of(&q, "blk.0.ffn_up_shexp.weight", 1) == expected(0.5f));
    CHECK(*factors_of(&q, "blk.0.ffn_gate_exps.weight", EXPERTS) == expected(0.1f));
    pare_model_close(&q);
    finish(f);
}

static size_t count_factors(fixture *f, pare_quantize_options o)
{
    pare_model q;
    pare_plan plan;
    quantize(&q, f, o, &plan);
    size_t n = q.n_tensors - f->m.n_tensors;
    for (size_t i = 0; i < q.n_tensors; i++)
        CHECK((q.tensors[i].factor != NULL) == (factors_of(&q, q.tensors[i].name, 1) != NULL));
    pare_model_close(&q);
    return n;
}

static void where_nobody_multiplies_there_is_none(void **state)
{
    (void)state;
    pare_quantize_options o = pure(), rtn = pure(), off = pure(), other = pure(), mixed = pure();
    const pare_type_override q8 = {"ffn_(gate|up)", PARE_TYPE_Q8_0};
    rtn.effort = PARE_EFFORT_RTN;
    off.no_factors = true;
    other.pure_type = PARE_TYPE_MXFP4;
    mixed.overrides = &q8;
    mixed.n_overrides = 1;
    fixture *f = dense("llama", 1);
    CHECK(count_factors(f, o) == 8);
    CHECK(count_factors(f, rtn) == 0);
    CHECK(count_factors(f, off) == 0);
    CHECK(count_factors(f, other) == 0);
    CHECK(count_factors(f, mixed) == 6);
    add(f, "blk.0.ffn_down.bias", 1, 1);
    CHECK(count_factors(f, o) == 7); /* would be multiplied, too */
    finish(f);
    f = dense("qwen2", 1);
    CHECK(count_factors(f, o) == 5); /* its FFN has no use for them */
    finish(f);
    f = dense("unheard_of", 1);
    CHECK(count_factors(f, o) == 0);
    finish(f);
}

/* Of attn_q, whose factor is up to attn_k, too. */
static pare_state_key key_of(fixture *f, pare_quantize_options o)
{
    pare_model q;
    pare_plan plan;
    pare_state_key key = {0};
    pare_error err = {0};
    o.imatrix = &f->im;
    quantize(&q, f, o, &plan);
    CHECK_OK(pare_refine_key(&key, pare_model_find(&q, "blk.0.attn_q.weight"), &f->im,
                             pare_grams_find(&f->im.grams, "blk.0.attn_q.weight"), &err),
             &err);
    pare_model_close(&q);
    return key;
}

static void what_is_kept_of_another_factor_is_not_used(void **state)
{
    (void)state;
    pare_quantize_options off = pure();
    off.no_factors = true;
    fixture *f[2] = {dense("llama", 1), dense("llama", 1)};
    add_statistics(f[0]);
    add_statistics(f[1]);
    pare_state_key a = key_of(f[0], pure()), b = key_of(f[1], pure());
    CHECK(memcmp(&a, &b, sizeof a) == 0);
    f[1]->values[3][77] *= 4; /* of attn_k */
    b = key_of(f[1], pure());
    CHECK(memcmp(&a, &b, sizeof a) != 0);
    a = key_of(f[0], off);
    b = key_of(f[1], off);
    CHECK(memcmp(&a, &b, sizeof a) == 0);
    finish(f[0]);
    finish(f[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_has_the_factor_of_its_peak),
        cmocka_unit_test(small_weights_lose_nothing),
        cmocka_unit_test(experts_have_one_each),
        cmocka_unit_test(shared_experts_have_their_own),
        cmocka_unit_test(what_is_kept_of_another_factor_is_not_used),
        cmocka_unit_test(where_nobody_multiplies_there_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
