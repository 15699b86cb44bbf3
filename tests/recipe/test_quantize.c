#include "check.h"
#include "core/half.h"
#include "core/threads.h"
#include "model/stream.h"
#include "quant/registry.h"
#include "recipe/recipe.h"

#include "expected_row.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A model in memory: one layer's worth of names, F32 data of small pseudo-random numbers. */
typedef struct fixture {
    pare_model m;
    float *data[8];
} fixture;

static void add_tensor(fixture *f, const char *name, uint32_t n_dims, uint64_t rows, uint64_t row_len)
{
    pare_error err = {0};
    pare_tensor t = {.name = name, .type = PARE_TYPE_F32, .n_dims = n_dims};
    t.dim[0] = n_dims == 2 ? rows : row_len;
    t.dim[1] = row_len;
    CHECK_OK(pare_tensor_set_shape(&t, "test", &err), &err);
    float *x = f->data[f->m.n_tensors] = check_malloc((size_t)t.n_bytes);
    uint32_t seed = 1234u + (uint32_t)f->m.n_tensors;
    for (uint64_t i = 0; i < t.n_rows * t.row_len; i++) {
        seed = seed * 1664525u + 1013904223u;
        x[i] = (float)(int32_t)seed / 4294967296.0f * 0.1f;
    }
    t.data = (const uint8_t *)x;
    CHECK_OK(pare_model_add(&f->m, &t, NULL, &err), &err);
}

static void open_fixture(fixture *f)
{
    pare_error err = {0};
    *f = (fixture){.m = {.format = PARE_FORMAT_GGUF, .path = "test", .alignment = 32}};
    CHECK_OK(pare_model_reserve(&f->m, 8, &err), &err);
    CHECK_OK(pare_meta_set_str(&f->m.meta, "general.architecture", (pare_str){"llama", 5}, &err), &err);
    CHECK_OK(pare_meta_set_u32(&f->m.meta, "general.file_type", 0, &err), &err);
    add_tensor(f, "output.weight", 2, 64, 256);
    add_tensor(f, "token_embd.weight", 2, 64, 256);
    add_tensor(f, "blk.0.attn_norm.weight", 1, 1, 256);
    add_tensor(f, "blk.0.attn_q.weight", 2, 256, 256);
    add_tensor(f, "blk.0.ffn_down.weight", 2, 256, 96); /* no block of 256 divides it */
}

static void close_fixture(fixture *f)
{
    for (size_t i = 0; i < f->m.n_tensors; i++)
        free(f->data[i]);
    pare_model_close(&f->m);
}

static pare_quantize_options options_of(const char *preset)
{
    return (pare_quantize_options){.preset = pare_preset_find(preset),
                                   .pure_type = PARE_TYPE_NONE,
                                   .output_type = PARE_TYPE_NONE,
                                   .embedding_type = PARE_TYPE_NONE};
}

static pare_status keep(const void *data, size_t n, void *user, pare_error *err)
{
    return pare_buf_put(user, data, n, err);
}

static const pare_plan_row *row_of(const pare_plan *plan, const char *name)
{
    for (size_t i = 0; i < plan->n; i++)
        if (strcmp(plan->rows[i].name, name) == 0)
            return &plan->rows[i];
    fail_msg("no row for %s", name);
    return NULL;
}

static void plans_encodes_and_measures(void **state)
{
    (void)state;
    fixture f;
    pare_model q;
    pare_plan plan;
    pare_error err = {0};
    open_fixture(&f);
    pare_quantize_options o = options_of("q4_k_m");
    CHECK_OK(pare_quantize(&q, &f.m, &o, &plan, &err), &err);
    CHECK(plan.n == 5 && plan.n_fallback == 1);
    CHECK(row_of(&plan, "output.weight")->to == PARE_TYPE_Q6_K);
    CHECK(row_of(&plan, "token_embd.weight")->to == PARE_TYPE_Q4_K);
    CHECK(row_of(&plan, "blk.0.attn_norm.weight")->to == PARE_TYPE_F32);
    const pare_plan_row *down = row_of(&plan, "blk.0.ffn_down.weight");
    CHECK(down->wanted != down->to && pare_type_get(down->to)->block_len == 32);

    const pare_tensor *t = pare_model_find(&q, "blk.0.attn_q.weight");
    CHECK(isnan(row_of(&plan, t->name)->error));
    pare_buf bytes = {0};
    CHECK_OK(pare_tensor_stream(t, keep, &bytes, &err), &err);
    CHECK(bytes.len == t->n_bytes && bytes.len == 256 * 144);
    uint8_t *direct = check_malloc(bytes.len);
    for (size_t r = 0; r < 256; r++) {
        expected_row(PARE_TYPE_Q4_K, NULL, (const float *)f.data[3] + r * 256, 256, direct + r * 144);
    }
    CHECK(memcmp(direct, bytes.data, bytes.len) == 0);
    float *y = check_malloc(256 * 256 * sizeof *y);
    CHECK_OK(pare_decode_rows(PARE_TYPE_Q4_K, direct, 256, 256, y, &err), &err);
    double e = 0, s = 0;
    for (size_t i = 0; i < 256 * 256; i++) {
        e += ((double)f.data[3][i] - y[i]) * ((double)f.data[3][i] - y[i]);
        s += (double)f.data[3][i] * f.data[3][i];
    }
    double error = row_of(&plan, t->name)->error;
    CHECK(error > 0 && fabs(error - e / s) < 1e-12 * (e / s) * 1e3);
    free(y);
    free(direct);
    pare_buf_close(&bytes);

    uint64_t u = 0;
    CHECK_OK(pare_meta_u64(&q.meta, "q", "general.file_type", 0, 99, &u, NULL, &err), &err);
    CHECK(u == 15);
    CHECK_OK(pare_meta_u64(&f.m.meta, "f", "general.file_type", 0, 99, &u, NULL, &err), &err);
    CHECK(u == 0); /* the source is left alone */
    pare_model_close(&q);
    close_fixture(&f);
}

static void overrides_beat_the_preset(void **state)
{
    (void)state;
    fixture f;
    pare_model q;
    pare_plan plan;
    pare_error err = {0};
    open_fixture(&f);
    pare_type_override overrides[] = {{"attn_q\\.", PARE_TYPE_Q8_0}, {"attn_", PARE_TYPE_Q5_0}};
    pare_quantize_options o = options_of("q4_0");
    o.overrides = overrides;
    o.n_overrides = 2;
    o.output_type = PARE_TYPE_F16;
    o.embedding_type = PARE_TYPE_Q8_0;
    CHECK_OK(pare_quantize(&q, &f.m, &o, &plan, &err), &err);
    CHECK(row_of(&plan, "blk.0.attn_q.weight")->to == PARE_TYPE_Q8_0);
    CHECK(row_of(&plan, "output.weight")->to == PARE_TYPE_F16);
    CHECK(row_of(&plan, "token_embd.weight")->to == PARE_TYPE_Q8_0);
    CHECK(row_of(&plan, "blk.0.ffn_down.weight")->to == PARE_TYPE_Q4_0);
    CHECK(row_of(&plan, "blk.0.attn_norm.weight")->to == PARE_TYPE_F32); /* never quantized, whatever the pattern */
    pare_model_close(&q);
    overrides[0].pattern = "(";
    CHECK(pare_quantize(&q, &f.m, &o, &plan, &err) == PARE_ERR_USAGE && strstr(err.text, "'('") != NULL);
    o = options_of("q4_0");
    o.preset = NULL;
    o.pure_type = PARE_TYPE_Q5_1;
    CHECK_OK(pare_quantize(&q, &f.m, &o, &plan, &err), &err);
    CHECK(row_of(&plan, "output.weight")->to == PARE_TYPE_Q5_1);
    pare_model_close(&q);
    close_fixture(&f);
}

/* As in stock: the second embedding of some models follows --embedding-type, unless a pattern names it. */
static void the_second_embedding_follows_the_first(void **state)
{
    (void)state;
    fixture f;
    pare_model q;
    pare_plan plan;
    pare_error err = {0};
    open_fixture(&f);
    add_tensor(&f, "per_layer_token_embd.weight", 2, 64, 256);
    pare_quantize_options o = options_of("q4_0");
    o.embedding_type = PARE_TYPE_Q8_0;
    CHECK_OK(pare_quantize(&q, &f.m, &o, &plan, &err), &err);
    CHECK(row_of(&plan, "per_layer_token_embd.weight")->to == PARE_TYPE_Q8_0);
    pare_model_close(&q);
    const pare_type_override both = {"token_embd", PARE_TYPE_Q5_0};
    o.overrides = &both;
    o.n_overrides = 1;
    CHECK_OK(pare_quantize(&q, &f.m, &o, &plan, &err), &err);
    CHECK(row_of(&plan, "per_layer_token_embd.weight")->to == PARE_TYPE_Q5_0);
    CHECK(row_of(&plan, "token_embd.weight")->to == PARE_TYPE_Q8_0);
    pare_model_close(&q);
    close_fixture(&f);
}

/* A block that does not divide the row: an error where the user asked for the type, a counted stand-in elsewhere. */
static void what_a_tensor_cannot_take(void **state)
{
    (void)state;
    fixture f;
    pare_model q;
    pare_plan plan;
    pare_error err = {0};
    open_fixture(&f);
    const pare_type_override wide = {"ffn_down", PARE_TYPE_Q6_K}, narrow = {"ffn_down", PARE_TYPE_Q5_0};
    pare_quantize_options o = options_of("q4_0");
    o.overrides = &wide;
    o.n_overrides = 1;
    CHECK(pare_quantize(&q, &f.m, &o, &plan, &err) == PARE_ERR_USAGE);
    CHECK(strstr(err.text, "tensor 'blk.0.ffn_down.weight': --tensor 'ffn_down' asks for q6_K, whose blocks of 256 do "
                           "not divide its rows of 96 weights; q8_0 fits") != NULL);
    o.overrides = &narrow;
    CHECK_OK(pare_quantize(&q, &f.m, &o, &plan, &err), &err);
    CHECK(row_of(&plan, "blk.0.ffn_down.weight")->to == PARE_TYPE_Q5_0 && plan.n_fallback == 0);
    pare_model_close(&q);
    o = options_of("q4_0");
    o.preset = NULL;
    o.pure_type = PARE_TYPE_Q6_K;
    CHECK_OK(pare_quantize(&q, &f.m, &o, &plan, &err), &err);
    CHECK(row_of(&plan, "blk.0.ffn_down.weight")->to == PARE_TYPE_Q8_0 && plan.n_fallback == 1);
    pare_model_close(&q);
    o.pure_type = PARE_TYPE_Q1_0; /* nothing stands in for it */
    CHECK(pare_quantize(&q, &f.m, &o, &plan, &err) == PARE_ERR_UNSUPPORTED && strstr(err.text, "ffn_down") != NULL);
    o.pure_type = PARE_TYPE_Q4_0;
    f.m.tensors[0].row_len = f.m.tensors[1].row_len = 96; /* the plan goes by the shape alone */
    o.output_type = PARE_TYPE_Q6_K;
    CHECK(pare_quantize(&q, &f.m, &o, &plan, &err) == PARE_ERR_USAGE && strstr(err.text, "--output-type asks") != NULL);
    o.output_type = PARE_TYPE_NONE;
    o.embedding_type = PARE_TYPE_IQ4_XS;
    CHECK(pare_quantize(&q, &f.m, &o, &plan, &err) == PARE_ERR_USAGE);
    CHECK(strstr(err.text, "--embedding-type asks for iq4_xs") != NULL && strstr(err.text, "iq4_nl fits") != NULL);
    close_fixture(&f);
}

static void rtn_is_for_types_with_a_plain_rule(void **state)
{
    (void)state;
    fixture f;
    pare_model q;
    pare_plan plan;
    pare_error err = {0};
    pare_buf bytes = {0};
    open_fixture(&f);
    pare_quantize_options o = options_of("q4_0");
    o.effort = PARE_EFFORT_RTN;
    CHECK_OK(pare_quantize(&q, &f.m, &o, &plan, &err), &err);
    CHECK_OK(pare_tensor_stream(pare_model_find(&q, "blk.0.attn_q.weight"), keep, &bytes, &err), &err);
    uint8_t *direct = check_malloc(bytes.len);
    CHECK_OK(pare_encode_rows(PARE_TYPE_Q4_0, f.data[3], 256, 256, NULL, PARE_EFFORT_RTN, direct, &err), &err);
    CHECK(memcmp(direct, bytes.data, bytes.len) == 0);
    CHECK_OK(pare_encode_rows(PARE_TYPE_Q4_0, f.data[3], 256, 256, NULL, PARE_EFFORT_DEFAULT, direct, &err), &err);
    CHECK(memcmp(direct, bytes.data, bytes.len) != 0);
    free(direct);
    pare_buf_close(&bytes);
    pare_model_close(&q);
    o.preset = pare_preset_find("iq3_s");
    CHECK(pare_quantize(&q, &f.m, &o, &plan, &err) == PARE_ERR_USAGE);
    CHECK(strstr(err.text, "--method rtn") != NULL && strstr(err.text, "iq3_s") != NULL);
    o.preset = pare_preset_find("iq4_xs");
    CHECK_OK(pare_quantize(&q, &f.m, &o, &plan, &err), &err);
    pare_model_close(&q);
    close_fixture(&f);
}

static void count_any_warning(const char *line, void *user)
{
    CHECK(strstr(line, "--embedding-type") != NULL && strstr(line, "output.weight") != NULL);
    ++*(int *)user;
}

/* Types that need importances: refused in the layers, but not for a plan alone; output and embedding do without. */
static void importances_are_needed_where_there_can_be_some(void **state)
{
    (void)state;
    fixture f;
    pare_model q;
    pare_plan plan;
    pare_error err = {0};
    pare_buf bytes = {0};
    int n_warnings = 0;
    open_fixture(&f);
    pare_quantize_options o = options_of("iq2_xxs");
    CHECK(pare_quantize(&q, &f.m, &o, &plan, &err) == PARE_ERR_USAGE && strstr(err.text, "attn_q") != NULL);
    o.plan_only = true;
    CHECK_OK(pare_quantize(&q, &f.m, &o, &plan, &err), &err);
    CHECK(plan.n_needing == 1 && row_of(&plan, "blk.0.attn_q.weight")->to == PARE_TYPE_IQ2_XXS);
    pare_model_close(&q);
    const pare_type_override layers = {"blk", PARE_TYPE_Q4_0};
    static const pare_type types[] = {PARE_TYPE_IQ2_XS, PARE_TYPE_IQ1_S, PARE_TYPE_IQ1_M};
    memset(f.data[0], 0, 256 * sizeof(float)); /* a row without any weight */
    pare_set_warn_sink(count_any_warning, &n_warnings);
    for (int i = 0; i < 3; i++) {
        o = (pare_quantize_options){.pure_type = types[i],
                                    .output_type = PARE_TYPE_NONE,
                                    .embedding_type = PARE_TYPE_NONE,
                                    .overrides = &layers,
                                    .n_overrides = 1};
        CHECK_OK(pare_quantize(&q, &f.m, &o, &plan, &err), &err);
        CHECK_OK(pare_tensor_stream(pare_model_find(&q, "output.weight"), keep, &bytes, &err), &err);
        CHECK(n_warnings == i + 1 && row_of(&plan, "output.weight")->error < 0.5);
        pare_model_close(&q);
    }
    pare_set_warn_sink(NULL, NULL);
    pare_buf_close(&bytes);
    close_fixture(&f);
}

/* 16 layers with what the preset counts, in the order of the layers or against it. */
static void open_deep(pare_model *m, bool backwards)
{
    enum { N_LAYER = 16 };
    static const uint8_t zeros[256 * 4];
    pare_error err = {0};
    *m = (pare_model){.format = PARE_FORMAT_GGUF, .path = "deep", .alignment = 32};
    CHECK_OK(pare_model_reserve(m, 2 * N_LAYER, &err), &err);
    CHECK_OK(pare_meta_set_str(&m->meta, "general.architecture", (pare_str){"llama", 5}, &err), &err);
    CHECK_OK(pare_meta_set_u32(&m->meta, "llama.block_count", N_LAYER, &err), &err);
    for (int i = 0; i < N_LAYER; i++) {
        static const char *const parts[] = {"attn_v", "ffn_down"};
        for (int k = 0; k < 2; k++) {
            char name[64];
            snprintf(name, sizeof name, "blk.%d.%s.weight", backwards ? N_LAYER - 1 - i : i, parts[k]);
            pare_tensor t = {.name = name, .type = PARE_TYPE_F32, .n_dims = 2, .dim = {1, 256}, .data = zeros};
            CHECK_OK(pare_tensor_set_shape(&t, "deep", &err), &err);
            CHECK_OK(pare_model_add(m, &t, NULL, &err), &err);
        }
    }
}

/* Types by layer do not depend on the order of the file, nor on a tensor of another layer that has a type of its own.
 */
static void layers_keep_their_types(void **state)
{
    (void)state;
    pare_model m, q;
    pare_plan plan;
    pare_error err = {0};
    pare_type_override own = {"blk\\.[03]\\.(attn_v|ffn_down)", PARE_TYPE_Q8_0};
    for (int variant = 0; variant < 3; variant++) {
        pare_quantize_options o = options_of("q4_k_m");
        open_deep(&m, variant == 1);
        o.overrides = &own;
        o.n_overrides = variant == 2;
        CHECK_OK(pare_quantize(&q, &m, &o, &plan, &err), &err);
        for (int layer = 0; layer < 16; layer++) {
            bool more = layer < 2 || layer >= 14 || (layer - 2) % 3 == 2; /* docs/PRESETS.md, "more bits" */
            pare_type wanted = variant == 2 && (layer == 0 || layer == 3) ? PARE_TYPE_Q8_0
                               : more                                     ? PARE_TYPE_Q6_K
                                                                          : PARE_TYPE_Q4_K;
            char name[64];
            snprintf(name, sizeof name, "blk.%d.attn_v.weight", layer);
            assert_int_equal(row_of(&plan, name)->to, wanted);
            snprintf(name, sizeof name, "blk.%d.ffn_down.weight", layer);
            assert_int_equal(row_of(&plan, name)->to, wanted);
        }
        pare_model_close(&q);
        pare_model_close(&m);
    }
}

static void names_what_is_not_finite(void **state)
{
    (void)state;
    fixture f;
    pare_model q;
    pare_plan plan;
    pare_error err = {0};
    pare_buf bytes = {0};
    open_fixture(&f);
    f.data[3][5 * 256 + 17] = NAN;
    pare_quantize_options o = options_of("q4_k_m");
    CHECK_OK(pare_quantize(&q, &f.m, &o, &plan, &err), &err);
    CHECK(pare_tensor_stream(pare_model_find(&q, "blk.0.attn_q.weight"), keep, &bytes, &err) == PARE_ERR_NUMBER);
    CHECK(strstr(err.text, "blk.0.attn_q.weight") != NULL && strstr(err.text, "row 5") != NULL &&
          strstr(err.text, "column 17") != NULL);
    pare_model_close(&q);
    o.allow_nonfinite = true;
    CHECK_OK(pare_quantize(&q, &f.m, &o, &plan, &err), &err);
    CHECK_OK(pare_tensor_stream(pare_model_find(&q, "blk.0.attn_q.weight"), keep, &bytes, &err), &err);
    f.data[3][5 * 256 + 17] = 3e38f; /* its square is no float */
    CHECK(pare_tensor_stream(pare_model_find(&q, "blk.0.attn_q.weight"), keep, &bytes, &err) == PARE_ERR_NUMBER);
    CHECK(strstr(err.text, "row 5: column 17: 3") != NULL && strstr(err.text, "too large for the scale") != NULL);
    pare_model_close(&q);
    f.data[3][5 * 256 + 17] = 0;
    f.data[2][9] = INFINITY; /* in a tensor that is copied */
    o.allow_nonfinite = false;
    CHECK_OK(pare_quantize(&q, &f.m, &o, &plan, &err), &err);
    CHECK(pare_tensor_stream(pare_model_find(&q, "blk.0.attn_norm.weight"), keep, &bytes, &err) == PARE_ERR_NUMBER);
    CHECK(strstr(err.text, "attn_norm") != NULL && strstr(err.text, "column 9") != NULL);
    pare_model_close(&q);
    pare_buf_close(&bytes);
    close_fixture(&f);
}

static void refuses_to_requantize_unless_told(void **state)
{
    (void)state;
    fixture f;
    pare_model once, twice;
    pare_plan plan;
    pare_error err = {0};
    open_fixture(&f);
    pare_quantize_options o = options_of("q8_0");
    CHECK_OK(pare_quantize(&once, &f.m, &o, &plan, &err), &err);
    o = options_of("q4_0");
    CHECK(pare_quantize(&twice, &once, &o, &plan, &err) == PARE_ERR_USAGE &&
          strstr(err.text, "--allow-requantize") != NULL);
    o.allow_requantize = true;
    CHECK_OK(pare_quantize(&twice, &once, &o, &plan, &err), &err);
    CHECK(row_of(&plan, "blk.0.attn_q.weight")->from == PARE_TYPE_Q8_0);
    pare_model_close(&twice);
    o = options_of("q8_0"); /* nothing is encoded anew */
    CHECK_OK(pare_quantize(&twice, &once, &o, &plan, &err), &err);
    CHECK(row_of(&plan, "blk.0.attn_q.weight")->error == 0);
    pare_model_close(&twice);
    pare_model_close(&once);
    close_fixture(&f);
}

static void bytes_do_not_depend_on_threads(void **state)
{
    (void)state;
    fixture f;
    pare_error err = {0};
    pare_buf first = {0};
    double first_error = 0;
    open_fixture(&f);
    for (int threads = 1; threads <= 5; threads += 2) {
        pare_model q;
        pare_plan plan;
        pare_buf bytes = {0};
        pare_set_threads(threads);
        pare_quantize_options o = options_of("q3_k_m");
        CHECK_OK(pare_quantize(&q, &f.m, &o, &plan, &err), &err);
        for (size_t i = 0; i < q.n_tensors; i++)
            CHECK_OK(pare_tensor_stream(&q.tensors[i], keep, &bytes, &err), &err);
        double error = row_of(&plan, "blk.0.attn_q.weight")->error;
        if (threads == 1) {
            first = bytes;
            first_error = error;
        } else {
            CHECK(bytes.len == first.len && memcmp(bytes.data, first.data, first.len) == 0);
            CHECK(memcmp(&error, &first_error, sizeof error) == 0);
            pare_buf_close(&bytes);
        }
        pare_model_close(&q);
    }
    pare_set_threads(0);
    pare_buf_close(&first);
    close_fixture(&f);
}

static void converts_types_as_stock_does(void **state)
{
    (void)state;
    fixture f;
    pare_model c;
    pare_plan plan;
    pare_error err = {0};
    uint64_t u = 0;
    open_fixture(&f);
    CHECK_OK(pare_convert(&c, &f.m, PARE_TYPE_BF16, &plan, &err), &err);
    CHECK(row_of(&plan, "blk.0.attn_q.weight")->to == PARE_TYPE_BF16);
    CHECK(row_of(&plan, "blk.0.attn_norm.weight")->to == PARE_TYPE_F32);
    CHECK_OK(pare_meta_u64(&c.meta, "c", "general.file_type", 0, 99, &u, NULL, &err), &err);
    CHECK(u == 32);
    pare_model_close(&c);
    CHECK_OK(pare_convert(&c, &f.m, PARE_TYPE_NONE, &plan, &err), &err);
    for (size_t i = 0; i < plan.n; i++)
        CHECK(plan.rows[i].to == PARE_TYPE_F32 && plan.rows[i].error == 0.0);
    pare_model_close(&c);
    close_fixture(&f);
}

static void count_warning(const char *line, void *user)
{
    CHECK(strstr(line, "blk.0.attn_norm.weight") != NULL && strstr(line, "column 9") != NULL);
    ++*(int *)user;
}

/* Also where the stored bytes are copied: one warning a tensor. */
static void conversion_warns_of_nonfinite_copies(void **state)
{
    (void)state;
    fixture f;
    pare_model c;
    pare_plan plan;
    pare_error err = {0};
    pare_buf bytes = {0};
    int n_warnings = 0;
    open_fixture(&f);
    f.data[2][9] = INFINITY;
    f.data[2][11] = NAN;
    pare_set_warn_sink(count_warning, &n_warnings);
    CHECK_OK(pare_convert(&c, &f.m, PARE_TYPE_NONE, &plan, &err), &err);
    const pare_tensor *t = pare_model_find(&c, "blk.0.attn_norm.weight");
    CHECK_OK(pare_tensor_stream(t, keep, &bytes, &err), &err);
    CHECK(n_warnings == 1 && memcmp(bytes.data, f.data[2], bytes.len) == 0);
    pare_set_warn_sink(NULL, NULL);
    pare_model_close(&c);
    CHECK_OK(pare_convert(&c, &f.m, PARE_TYPE_NONE, &plan, &err), &err);
    pare_set_strict(true);
    CHECK(pare_tensor_stream(pare_model_find(&c, "blk.0.attn_norm.weight"), keep, &bytes, &err) == PARE_ERR_FORMAT);
    pare_set_strict(false);
    pare_model_close(&c);
    pare_buf_close(&bytes);
    close_fixture(&f);
}

/* A conversion to a plain float keeps what is not finite, and says so; a value that the type cannot hold is refused. */
static void conversion_keeps_nonfinite_values(void **state)
{
    (void)state;
    fixture f;
    pare_model c;
    pare_plan plan;
    pare_error err = {0};
    pare_buf bytes = {0};
    open_fixture(&f);
    f.data[3][3] = INFINITY;
    f.data[3][5] = -NAN;
    CHECK_OK(pare_convert(&c, &f.m, PARE_TYPE_F16, &plan, &err), &err);
    const pare_tensor *t = pare_model_find(&c, "blk.0.attn_q.weight");
    CHECK_OK(pare_tensor_stream(t, keep, &bytes, &err), &err);
    float y[256];
    CHECK_OK(pare_decode_rows(PARE_TYPE_F16, bytes.data, 1, 256, y, &err), &err);
    CHECK(isinf(y[3]) && y[3] > 0 && isnan(y[5]) && fabsf(y[4] - f.data[3][4]) < 1e-4f);
    CHECK(row_of(&plan, t->name)->error < 1e-6);
    f.data[3][7] = 70000.0f; /* above the largest binary16 */
    CHECK(pare_tensor_stream(t, keep, &bytes, &err) == PARE_ERR_NUMBER && strstr(err.text, "attn_q") != NULL);
    pare_model_close(&c);
    CHECK_OK(pare_convert(&c, &f.m, PARE_TYPE_Q8_0, &plan, &err), &err);
    CHECK(pare_tensor_stream(pare_model_find(&c, "blk.0.attn_q.weight"), keep, &bytes, &err) == PARE_ERR_NUMBER);
    CHECK(strstr(err.text, "column 3") != NULL);
    pare_model_close(&c);
    pare_buf_close(&bytes);
    close_fixture(&f);
}

/* Codes times a binary16, rounded to bfloat16: nothing that is good for other rows moves these off their grid. */
static void rounded_grids_come_back(void **state)
{
    (void)state;
    enum { ROWS = 64, N = 256 };
    static uint16_t bits[ROWS][N];
    fixture f;
    pare_model q;
    pare_plan plan;
    pare_error err = {0};
    pare_buf bytes = {0};
    open_fixture(&f);
    add_tensor(&f, "blk.0.attn_v.weight", 2, ROWS, N);
    pare_tensor *t = &f.m.tensors[f.m.n_tensors - 1];
    uint32_t seed = 5;
    for (size_t i = 0; i < ROWS * N; i++) {
        seed = seed * 1664525u + 1013904223u;
        float d = pare_f16_to_f32((uint16_t)(0x1800 + (i / 32) % 1024)),
              code = i % 32 == 0 ? -8 : (float)(seed >> 28) - 8;
        bits[i / N][i % N] = pare_f32_to_bf16(code * d);
    }
    t->type = PARE_TYPE_BF16;
    t->data = (const uint8_t *)bits;
    CHECK_OK(pare_tensor_set_shape(t, "test", &err), &err);
    pare_quantize_options o = options_of("q4_0");
    CHECK_OK(pare_quantize(&q, &f.m, &o, &plan, &err), &err);
    const pare_tensor *v = pare_model_find(&q, "blk.0.attn_v.weight");
    for (int pass = 0; pass < 2; pass++) { /* a second reading finds the same */
        CHECK_OK(pare_tensor_stream(v, keep, &bytes, &err), &err);
        CHECK(row_of(&plan, v->name)->lossless && row_of(&plan, v->name)->error < 1e-5);
    }
    static float y[ROWS * N];
    CHECK_OK(pare_decode_rows(PARE_TYPE_Q4_0, bytes.data, ROWS, N, y, &err), &err);
    for (size_t i = 0; i < ROWS * N; i++)
        CHECK(pare_f32_to_bf16(y[i]) == bits[i / N][i % N]);
    CHECK_OK(pare_tensor_stream(pare_model_find(&q, "blk.0.attn_q.weight"), keep, &bytes, &err), &err);
    CHECK(!row_of(&plan, "blk.0.attn_q.weight")->lossless);
    bits[3][5] ^= 0x55; /* in the first half of the rows, read by halves */
    double error[2];
    for (int pass = 0; pass < 2; pass++) {
        for (uint64_t row = 0; row < ROWS; row += ROWS / 2)
            CHECK_OK(pare_tensor_read(v, row, ROWS / 2, bytes.data, &err), &err);
        error[pass] = row_of(&plan, v->name)->error;
        CHECK(!row_of(&plan, v->name)->lossless);
    }
    CHECK(error[0] == error[1]);
    pare_buf_close(&bytes);
    pare_model_close(&q);
    close_fixture(&f);
}

/* Embeddings that are looked up are encoded for other errors than those that also make the logits. */
static void tied_embeddings_are_a_matrix(void **state)
{
    (void)state;
    for (int tied = 0; tied < 2; tied++) {
        fixture f = {.m = {.format = PARE_FORMAT_GGUF, .path = "test", .alignment = 32}};
        pare_model q;
        pare_plan plan;
        pare_error err = {0};
        pare_buf bytes = {0};
        uint8_t row[144];
        CHECK_OK(pare_model_reserve(&f.m, 2, &err), &err);
        add_tensor(&f, "token_embd.weight", 2, 8, 256);
        if (!tied)
            add_tensor(&f, "output.weight", 2, 8, 256);
        pare_quantize_options o = options_of("q4_k_m");
        o.embedding_type = PARE_TYPE_Q4_K;
        CHECK_OK(pare_quantize(&q, &f.m, &o, &plan, &err), &err);
        CHECK_OK(pare_tensor_stream(pare_model_find(&q, "token_embd.weight"), keep, &bytes, &err), &err);
        expected_row(PARE_TYPE_Q4_K, NULL, f.data[0], 256, row);
        CHECK((memcmp(row, bytes.data, sizeof row) == 0) == (tied == 1));
        pare_buf_close(&bytes);
        pare_model_close(&q);
        close_fixture(&f);
    }
}

/* Presets go by the head counts of families that pare cannot run as well. Their name is a view into a file, without
 * an end mark. */
static void reads_the_shape_of_unknown_families(void **state)
{
    (void)state;
    static const char bytes[] = "phi3.attention";
    fixture f;
    pare_model q;
    pare_plan plan;
    pare_error err = {0};
    open_fixture(&f);
    f.m.meta.values[0].v.s = (pare_str){bytes, 4};
    CHECK_OK(pare_meta_set_u32(&f.m.meta, "phi3.attention.head_count", 8, &err), &err);
    CHECK_OK(pare_meta_set_u32(&f.m.meta, "phi3.attention.head_count_kv", 2, &err), &err);
    add_tensor(&f, "blk.0.attn_v.weight", 2, 64, 256);
    pare_quantize_options o = options_of("q2_k");
    CHECK_OK(pare_quantize(&q, &f.m, &o, &plan, &err), &err);
    CHECK(row_of(&plan, "blk.0.attn_v.weight")->to == PARE_TYPE_Q4_K); /* Q3_K with fewer queries a value */
    pare_model_close(&q);
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plans_encodes_and_measures),
        cmocka_unit_test(overrides_beat_the_preset),
        cmocka_unit_test(reads_the_shape_of_unknown_families),
        cmocka_unit_test(rounded_grids_come_back),
        cmocka_unit_test(tied_embeddings_are_a_matrix),
        cmocka_unit_test(the_second_embedding_follows_the_first),
        cmocka_unit_test(what_a_tensor_cannot_take),
        cmocka_unit_test(rtn_is_for_types_with_a_plain_rule),
        cmocka_unit_test(importances_are_needed_where_there_can_be_some),
        cmocka_unit_test(layers_keep_their_types),
        cmocka_unit_test(names_what_is_not_finite),
        cmocka_unit_test(refuses_to_requantize_unless_told),
        cmocka_unit_test(bytes_do_not_depend_on_threads),
        cmocka_unit_test(converts_types_as_stock_does),
        cmocka_unit_test(conversion_keeps_nonfinite_values),
        cmocka_unit_test(conversion_warns_of_nonfinite_copies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
