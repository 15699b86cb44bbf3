/* Importances on their way to the encoders: each tensor's own, each expert's own, and statistics of another model. */
#include "check.h"
#include "model/sample.h"
#include "model/stream.h"
#include "quant/registry.h"
#include "recipe/calibration.h"
#include "recipe/recipe.h"

#include "expected_row.h"
#include "quant/row_fit.h"

#include <math.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

enum { ROW = 256, EXPERTS = 3, EXPERT_ROWS = 2, N_VALUES = EXPERTS * EXPERT_ROWS * ROW };

static float values[N_VALUES];
static char warnings[4096];

static void keep_warning(const char *text, void *user)
{
    (void)user;
    strncat(warnings, text, sizeof warnings - strlen(warnings) - 2);
    strcat(warnings, "\n");
}

static void add_tensor(pare_model *m, const char *name, uint32_t n_dims, uint64_t a, uint64_t b, uint64_t c)
{
    pare_error err = {0};
    pare_tensor t = {.name = name, .type = PARE_TYPE_F32, .n_dims = n_dims, .dim = {a, b, c}};
    t.data = (const uint8_t *)values;
    CHECK_OK(pare_tensor_set_shape(&t, "model", &err), &err);
    CHECK_OK(pare_model_add(m, &t, NULL, &err), &err);
}

static void open_model(pare_model *m)
{
    pare_error err = {0};
    uint32_t seed = 77;
    for (int i = 0; i < N_VALUES; i++) {
        seed = seed * 1664525u + 1013904223u;
        values[i] = (float)(int32_t)seed / 4294967296.0f * (i % 7 == 0 ? 0.4f : 0.1f);
    }
    *m = (pare_model){.format = PARE_FORMAT_GGUF, .path = "model", .alignment = 32};
    CHECK_OK(pare_model_reserve(m, 4, &err), &err);
    CHECK_OK(pare_meta_set_str(&m->meta, "general.architecture", (pare_str){"llama", 5}, &err), &err);
    add_tensor(m, "token_embd.weight", 2, 4, ROW, 0);
    add_tensor(m, "blk.0.attn_q.weight", 2, 4, ROW, 0);
    add_tensor(m, "blk.0.ffn_up_exps.weight", 3, EXPERTS, EXPERT_ROWS, ROW);
    warnings[0] = '\0';
    pare_set_warn_sink(keep_warning, NULL);
}

static void close_model(pare_model *m)
{
    pare_model_close(m);
    pare_set_warn_sink(NULL, NULL);
}

/* Mean squares that differ by column and expert; expert `unseen` saw no token. */
static void add_entry(pare_imatrix *im, const char *name, uint64_t n_experts, uint64_t n_columns, uint64_t unseen)
{
    pare_error err = {0};
    pare_imatrix_entry *e = NULL;
    im->path = "folder/stats.gguf";
    im->chunk_size = 512;
    im->chunk_count = 2;
    CHECK_OK(pare_imatrix_add(im, name, n_experts, n_columns, n_experts, false, &e, &err), &err);
    for (uint64_t i = 0; i < n_experts; i++) {
        e->counts[i] = i == unseen ? 0 : (double)(100 * (i + 1));
        for (uint64_t c = 0; c < n_columns && i != unseen; c++)
            e->sum2[i * n_columns + c] = (float)(1 + (c * 37 + i * 91) % 50) * (c % 16 == 3 ? 40.0f : 1.0f);
    }
}

static pare_quantize_options options_of(const char *preset, const pare_imatrix *im)
{
    return (pare_quantize_options){.preset = pare_preset_find(preset),
                                   .pure_type = PARE_TYPE_NONE,
                                   .output_type = PARE_TYPE_NONE,
                                   .embedding_type = PARE_TYPE_NONE,
                                   .imatrix = im};
}

static pare_status keep(const void *data, size_t n, void *user, pare_error *err)
{
    return pare_buf_put(user, data, n, err);
}

static void each_expert_is_encoded_with_its_own(void **state)
{
    (void)state;
    pare_model m, q;
    pare_plan plan;
    pare_error err = {0};
    pare_imatrix im = {0};
    pare_buf bytes = {0};
    open_model(&m);
    add_entry(&im, "blk.0.attn_q.weight", 1, ROW, 9);
    add_entry(&im, "blk.0.ffn_up_exps.weight", EXPERTS, ROW, 1);
    pare_quantize_options o = options_of("q4_k_s", &im);
    CHECK_OK(pare_quantize(&q, &m, &o, &plan, &err), &err);
    CHECK(strstr(warnings, "layer 0: 1 of 3 experts saw no token; they get the mean importances of the others: 1") !=
          NULL);
    CHECK(plan.n_unweighted == 0 && plan.n_meanless == 2 && plan.rows[2].to == PARE_TYPE_Q4_K);
    CHECK_OK(pare_tensor_stream(&q.tensors[2], keep, &bytes, &err), &err);
    uint8_t direct[144];
    for (uint64_t i = 0; i < EXPERTS * EXPERT_ROWS; i++) {
        float pooled[ROW], column[ROW];
        const float *x = values + i * ROW;
        const pare_imatrix_entry *e = pare_imatrix_find(&im, q.tensors[2].name);
        CHECK(pare_imatrix_pooled(e, pooled));
        pare_imatrix_importance(e, i / EXPERT_ROWS, pooled, column);
        expected_row(PARE_TYPE_Q4_K, column, x, ROW, direct);
        CHECK(memcmp(direct, bytes.data + i * sizeof direct, sizeof direct) == 0);
        CHECK_OK(pare_encode_rows(PARE_TYPE_Q4_K, x, 1, ROW, NULL, PARE_EFFORT_DEFAULT, direct, &err), &err);
        CHECK(memcmp(direct, bytes.data + i * sizeof direct, sizeof direct) != 0);
    }
    CHECK(plan.rows[2].weighted_error > 0 && plan.rows[2].weighted_error < plan.rows[2].error);
    CHECK(isnan(plan.rows[0].weighted_error));
    uint64_t n = 0;
    pare_str file = {0};
    CHECK_OK(pare_meta_u64(&q.meta, "q", "quantize.imatrix.entries_count", 0, 9, &n, NULL, &err), &err);
    CHECK(n == 2);
    CHECK_OK(pare_meta_u64(&q.meta, "q", "quantize.imatrix.chunks_count", 0, 9, &n, NULL, &err), &err);
    CHECK(n == 2);
    CHECK_OK(pare_meta_name(&q.meta, "q", "quantize.imatrix.file", &file, NULL, &err), &err);
    CHECK(pare_str_equal(file, "stats.gguf") && pare_meta_find(&q.meta, "quantize.imatrix.dataset") == NULL);
    pare_buf_close(&bytes);
    pare_model_close(&q);
    pare_imatrix_close(&im);
    close_model(&m);
}

/* With sums in the file each expert's rows also keep their product with its own mean input; one that saw few tokens has
 * none. */
static void each_expert_keeps_its_mean(void **state)
{
    (void)state;
    pare_model m, q;
    pare_plan plan;
    pare_error err = {0};
    pare_imatrix im = {.path = "stats.gguf", .chunk_size = 512, .chunk_count = 2};
    pare_imatrix_entry *e = NULL;
    pare_buf bytes = {0};
    size_t n_moved = 0;
    open_model(&m);
    const char *name = m.tensors[2].name;
    CHECK_OK(pare_imatrix_add(&im, name, EXPERTS, ROW, EXPERTS, true, &e, &err), &err);
    for (uint64_t i = 0; i < EXPERTS; i++) {
        e->counts[i] = i == 0 ? PARE_MEAN_TOKENS - 1 : PARE_MEAN_TOKENS;
        for (uint64_t c = 0; c < ROW; c++) {
            double mean = (double)((c * 29 + i * 17) % 40) / 20 - 0.5;
            e->sum[i * ROW + c] = (float)(mean * e->counts[i]);
            e->sum2[i * ROW + c] = (float)((mean * mean + 0.5) * e->counts[i]);
        }
    }
    pare_quantize_options o = options_of("q4_k_s", &im);
    CHECK_OK(pare_quantize(&q, &m, &o, &plan, &err), &err);
    CHECK(plan.n_meanless == 0);
    CHECK_OK(pare_tensor_stream(&q.tensors[2], keep, &bytes, &err), &err);
    float x[ROW], y[ROW], weight[ROW], target[ROW], column[ROW], mean[ROW], pooled[ROW];
    uint8_t replaced[144], direct[144], plain[144];
    pare_row_buffers b = {.x = x, .y = y, .weight = weight, .target = target, .replaced = replaced};
    for (uint64_t i = 0; i < EXPERTS * EXPERT_ROWS; i++) {
        pare_row_fit fit;
        pare_row_sums sums;
        float slope = pare_importance_slope(PARE_TYPE_Q4_K, false);
        memcpy(x, values + i * ROW, sizeof x);
        CHECK(pare_imatrix_pooled(e, pooled));
        pare_imatrix_importance(e, i / EXPERT_ROWS, pooled, column);
        CHECK(pare_imatrix_mean(e, i / EXPERT_ROWS, mean) == (i / EXPERT_ROWS > 0));
        bool has_mean = i / EXPERT_ROWS > 0;
        pare_row_fit_init(&fit, PARE_TYPE_Q4_K, PARE_EFFORT_DEFAULT, slope, ROW, column, has_mean ? mean : NULL, &b);
        CHECK_OK(pare_row_fit_encode(&fit, &b, direct, &sums, &err), &err);
        CHECK(memcmp(direct, bytes.data + i * sizeof direct, sizeof direct) == 0);
        expected_row(PARE_TYPE_Q4_K, column, x, ROW, plain);
        bool moved = memcmp(direct, plain, sizeof plain) != 0;
        CHECK(!moved || has_mean);
        n_moved += moved;
    }
    CHECK(n_moved >= 2);
    pare_buf_close(&bytes);
    pare_model_close(&q);
    pare_imatrix_close(&im);
    close_model(&m);
}

/* A file without experts' counts holds all their columns in one row. */
static void one_long_row_is_cut_into_experts(void **state)
{
    (void)state;
    pare_model m;
    pare_imatrix im = {0};
    pare_imatrix_entry e;
    pare_error err = {0};
    open_model(&m);
    add_entry(&im, "blk.0.ffn_up_exps.weight", 1, EXPERTS * ROW, 9);
    CHECK_OK(pare_calibration_check(&im, &m, &err), &err);
    CHECK(pare_calibration_find(&im, &m.tensors[2], &e) && e.n_experts == EXPERTS && e.n_columns == ROW);
    CHECK(!pare_calibration_find(&im, &m.tensors[1], &e) && !pare_calibration_find(NULL, &m.tensors[1], &e));
    pare_imatrix_close(&im);
    close_model(&m);
}

/* A model is known again when its embedding is quantized to two bits, and not when it has other weights. */
static void the_model_is_known_by_its_weights(void **state)
{
    (void)state;
    pare_model m, q, other;
    pare_plan plan;
    pare_error err = {0};
    pare_imatrix im = {0}, sum = {.chunk_size = 512};
    float sample[PARE_SAMPLE_SIZE], rest[PARE_SAMPLE_SIZE];
    bool known = false;
    open_model(&m);
    CHECK_OK(pare_model_sample(&m, sample, &known, &err), &err);
    CHECK(known && sample[0] == values[3 * ROW] && sample[9] == values[2 * ROW + ROW / 8]);
    add_entry(&im, "blk.0.attn_q.weight", 1, ROW, 9);
    CHECK_OK(pare_imatrix_set_sample(&im, sample, &err), &err);
    pare_quantize_options o = options_of("q2_k", &im);
    o.embedding_type = PARE_TYPE_TQ2_0;
    CHECK_OK(pare_quantize(&q, &m, &o, &plan, &err), &err);
    CHECK_OK(pare_model_sample(&q, rest, &known, &err), &err);
    CHECK(known && pare_sample_difference(sample, rest) > 0.1 && !pare_sample_differs(sample, rest));
    CHECK_OK(pare_calibration_check(&im, &q, &err), &err);
    CHECK_OK(pare_imatrix_merge(&sum, &im, &err), &err);
    CHECK(sum.sample != NULL && sum.sample != im.sample && memcmp(sum.sample, sample, sizeof sample) == 0);
    pare_model_close(&q);
    static float others[4 * ROW];
    for (int i = 0; i < 4 * ROW; i++)
        others[i] = values[4 * ROW - 1 - i];
    other = m;
    other.tensors[0].data = (const uint8_t *)others;
    CHECK(pare_quantize(&q, &other, &o, &plan, &err) == PARE_ERR_RANGE);
    CHECK(strstr(err.text,
                 "stats.gguf: they are of another model: its token embedding differs from that of model by") != NULL);
    others[3 * ROW] = NAN;
    CHECK_OK(pare_model_sample(&other, rest, &known, &err), &err);
    CHECK(!known);
    pare_imatrix_close(&im);
    pare_imatrix_close(&sum);
    close_model(&m);
}

static void statistics_of_another_model_are_refused(void **state)
{
    (void)state;
    pare_model m, q;
    pare_plan plan;
    pare_error err = {0};
    pare_imatrix im = {0}, stranger = {0};
    open_model(&m);
    add_entry(&im, "blk.0.attn_q.weight", 1, ROW / 2, 9);
    pare_quantize_options o = options_of("q4_k_m", &im);
    CHECK(pare_quantize(&q, &m, &o, &plan, &err) == PARE_ERR_RANGE);
    CHECK(strstr(err.text, "stats.gguf: tensor 'blk.0.attn_q.weight'") != NULL && strstr(err.text, "128") != NULL);
    pare_imatrix_close(&im);
    add_entry(&im, "blk.0.ffn_up_exps.weight", EXPERTS - 1, ROW, 9);
    CHECK(pare_quantize(&q, &m, &o, &plan, &err) == PARE_ERR_RANGE && strstr(err.text, "2 times 256") != NULL);
    add_entry(&stranger, "blk.7.attn_q.weight", 1, ROW, 9);
    o.imatrix = &stranger;
    CHECK(pare_quantize(&q, &m, &o, &plan, &err) == PARE_ERR_RANGE &&
          strstr(err.text, "none of its 1 entries") != NULL);
    add_entry(&stranger, "blk.0.attn_q.weight", 1, ROW, 9);
    CHECK_OK(pare_quantize(&q, &m, &o, &plan, &err), &err);
    CHECK(strstr(warnings, "1 of 2 entries name no tensor of model, the first is 'blk.7.attn_q.weight'") != NULL);
    CHECK(strstr(warnings, "no importances for 1 of the tensors") != NULL && plan.n_unweighted == 1);
    pare_model_close(&q);
    pare_imatrix_close(&stranger);
    pare_imatrix_close(&im);
    close_model(&m);
}

/* Stock keeps 127 bytes of a name; a character that does not fit goes as a whole. */
static void long_names_are_cut_between_characters(void **state)
{
    (void)state;
    pare_model m, q;
    pare_plan plan;
    pare_error err = {0};
    pare_imatrix im = {0};
    pare_str file;
    char path[160] = "folder/";
    open_model(&m);
    add_entry(&im, "blk.0.attn_q.weight", 1, ROW, 9);
    memset(path + 7, 'a', 126);
    strcpy(path + 7 + 126, "\xc3\xa9.gguf");
    im.path = path;
    pare_quantize_options o = options_of("q4_k_m", &im);
    CHECK_OK(pare_quantize(&q, &m, &o, &plan, &err), &err);
    CHECK_OK(pare_meta_name(&q.meta, "q", "quantize.imatrix.file", &file, NULL, &err), &err);
    CHECK(file.len == 126 && file.data[125] == 'a');
    pare_model_close(&q);
    pare_imatrix_close(&im);
    close_model(&m);
}

static void zeros_are_said(void **state)
{
    (void)state;
    pare_model m, q;
    pare_plan plan;
    pare_error err = {0};
    pare_imatrix im = {0};
    pare_imatrix_entry *e, found;
    open_model(&m);
    add_entry(&im, "blk.0.attn_q.weight", 1, ROW, 9);
    add_entry(&im, "blk.0.ffn_up_exps.weight", EXPERTS, ROW, 9);
    e = &im.entries[0];
    memset(e->sum2, 0, 5 * sizeof *e->sum2);
    CHECK_OK(pare_calibration_check(&im, &m, &err), &err);
    CHECK(strstr(warnings, "tensor 'blk.0.attn_q.weight': 5 of 256 columns have no importance") != NULL);
    memset(e->sum2, 0, ROW * sizeof *e->sum2);
    CHECK_OK(pare_calibration_check(&im, &m, &err), &err);
    CHECK(strstr(warnings, "tensor 'blk.0.attn_q.weight': every importance is zero") != NULL);
    CHECK(!pare_calibration_find(&im, &m.tensors[1], &found));
    memset(im.entries[1].sum2 + ROW, 0, 4 * sizeof *e->sum2); /* of the second expert */
    CHECK_OK(pare_calibration_check(&im, &m, &err), &err);
    char of_all[64];
    snprintf(of_all, sizeof of_all, "4 of %d columns have no importance", EXPERTS * ROW);
    CHECK(strstr(warnings, of_all) != NULL);
    pare_set_strict(true);
    CHECK(pare_calibration_check(&im, &m, &err) == PARE_ERR_FORMAT);
    pare_set_strict(false);
    pare_quantize_options o = options_of("iq2_xxs", &im);
    CHECK(pare_quantize(&q, &m, &o, &plan, &err) == PARE_ERR_USAGE);
    CHECK(strstr(err.text, "iq2_xxs needs importances, and the imatrix has none") != NULL);
    o.imatrix = NULL;
    CHECK(pare_quantize(&q, &m, &o, &plan, &err) == PARE_ERR_USAGE && strstr(err.text, "--imatrix") != NULL);
    pare_imatrix_close(&im);
    close_model(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_expert_is_encoded_with_its_own),
        cmocka_unit_test(each_expert_keeps_its_mean),
        cmocka_unit_test(one_long_row_is_cut_into_experts),
        cmocka_unit_test(the_model_is_known_by_its_weights),
        cmocka_unit_test(statistics_of_another_model_are_refused),
        cmocka_unit_test(long_names_are_cut_between_characters),
        cmocka_unit_test(zeros_are_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
