/* Values rotated and keys scaled: every family says what it said before, and a cache in q4_0 costs less. */
#include "check.h"
#include "toy.h"

#include "eval/collect.h"
#include "eval/key_collect.h"
#include "eval/kv_sweep.h"
#include "formats/hf.h"
#include "quant/hadamard.h"
#include "recipe/kv_ready.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LEN = 24, VOCAB = 30, TEXT = 200, DIM = 32, WINDOW = 40 };

static float *run(const pare_model *m, size_t *n)
{
    int32_t ids[LEN];
    pare_backend *b = NULL;
    pare_forward *f = NULL;
    pare_error err = {0};
    for (int i = 0; i < LEN; i++)
        ids[i] = (i * 7 + 3) % (int)(m->hp.n_vocab < 61 ? m->hp.n_vocab : 61);
    *n = (size_t)LEN * m->hp.n_vocab;
    float *out = check_malloc(*n * sizeof *out);
    CHECK_OK(pare_backend_cpu(&b, &err), &err);
    CHECK_OK(pare_forward_open(&f, m, b, LEN, 1, &err), &err);
    CHECK_OK(pare_forward_run(f, ids, 1, LEN, &err), &err);
    CHECK_OK(pare_forward_logits(f, 0, 0, LEN, out, &err), &err);
    pare_forward_close(f);
    b->close(b);
    return out;
}

/* Factors from 1/4 to 4, alike in a pair, and in all heads where they must be. */
static void scale_at_random(pare_kv_ready *r)
{
    uint64_t seed = 1;
    for (uint32_t i = 0; i < r->n_layer; i++) {
        const pare_kv_ready_layer *l = &r->layers[i];
        for (uint32_t h = 0; h < l->n_head_kv && l->keys; h++)
            for (uint32_t d = 0; d < l->dim_k; d++) {
                const uint32_t other = pare_kv_ready_partner(l, d);
                float *s = l->scale + h * l->dim_k;
                s[d] = other < d ? s[other] : exp2f(2 * toy_random(&seed));
                if (h > 0 && l->alike)
                    s[d] = l->scale[d];
            }
    }
}

/* Rows that come one by one, in parts and all at once are the same. */
static void check_rows(const pare_model *m)
{
    pare_error err = {0};
    for (size_t i = 0; i < m->n_tensors; i++) {
        const pare_tensor *t = &m->tensors[i];
        if (t->base == NULL || t->n_dims != 2)
            continue;
        float *all = check_malloc((size_t)(t->n_rows * t->row_len) * sizeof *all);
        float *part = check_malloc((size_t)(5 * t->row_len) * sizeof *part);
        CHECK_OK(pare_tensor_read_f32(t, 0, t->n_rows, all, &err), &err);
        for (uint64_t k = 0; k < t->n_rows; k += 5) {
            const uint64_t n = t->n_rows - k < 5 ? t->n_rows - k : 5;
            CHECK_OK(pare_tensor_read_f32(t, k, n, part, &err), &err);
            CHECK(memcmp(part, all + k * t->row_len, (size_t)(n * t->row_len) * sizeof *part) == 0);
        }
        free(all);
        free(part);
    }
}

typedef struct outcome {
    uint32_t n_keys, n_values;
    char why[PARE_ERROR_TEXT]; /* what is left out, or the refusal */
} outcome;

/* Two models that say the same. */
static double largest_difference(const float *a, const float *b, size_t n)
{
    double largest = 0, size = 1;
    for (size_t i = 0; i < n; i++) {
        CHECK(isfinite(a[i]) && isfinite(b[i]));
        largest = fmax(largest, fabs((double)a[i] - (double)b[i]));
        size = fmax(size, fabs((double)a[i]));
    }
    return largest / size;
}

static void check_folder(const char *folder, outcome *out)
{
    pare_model m = {0};
    pare_kv_ready r = {0};
    pare_error err = {0};
    size_t n = 0;
    *out = (outcome){0};
    CHECK_OK(pare_hf_open(&m, folder, 0, &err), &err);
    pare_status st = pare_kv_ready_find(&r, &m, &err);
    if (st != PARE_OK) {
        CHECK(st == PARE_ERR_UNSUPPORTED && strstr(err.text, m.arch->name) != NULL && r.layers == NULL);
        snprintf(out->why, sizeof out->why, "%s", err.text);
        pare_model_close(&m);
        return;
    }
    float *was = run(&m, &n);
    scale_at_random(&r);
    CHECK_OK(pare_kv_ready_apply(&m, &r, &err), &err);
    check_rows(&m);
    float *is = run(&m, &n);
    out->n_keys = r.n_keys;
    out->n_values = r.n_values;
    snprintf(out->why, sizeof out->why, "%s", r.left != NULL ? r.left : "");
    const double difference = largest_difference(was, is, n);
    printf("%s: keys of %u layers, values of %u, largest difference %.2g; %s\n", strrchr(folder, '/') + 1,
           (unsigned)r.n_keys, (unsigned)r.n_values, difference, out->why);
    CHECK(difference > 0 && difference <= 1e-5);
    pare_kv_ready_close(&r);
    CHECK(pare_kv_ready_find(&r, &m, &err) == PARE_ERR_USAGE); /* once is enough */
    free(was);
    free(is);
    pare_model_close(&m);
}

/* What must be changed, and the word that says why the rest is not. */
static const struct {
    const char *folder;
    uint32_t n_keys, n_values;
    const char *why;
} cases[] = {
    {"qwen2_yarn", 2, 2, ""}, /* biases, halves */
    {"qwen3", 2, 2, ""},      /* norms of heads */
    {"phi3", 2, 2, ""},       /* fused */
    {"phi2", 2, 2, ""},       /* parallel, a part of the head turns */
    {"olmo3", 4, 4, ""},      /* norms of all heads together */
    {"bloom", 2, 2, ""},      /* fused, without RoPE */
    {"gemma3n", 3, 3, ""},    /* the last layers read keys of earlier ones; values have a norm */
    {"mpt", 0, 0, "clamped"},
    {"qwen3_5", 2, 0, "have gates of their own"},
    {"bitnet", 2, 0, "a norm with gains stands between them"},
    {"deepseek_v2", 0, 0, "latent attention"},
    {"bert", 0, 0, "both ways"},
};

/* Whether the folder is among them. */
static bool check_case(const char *folder, const outcome *out)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (strcmp(folder, cases[i].folder) != 0)
            continue;
        if (out->n_keys != cases[i].n_keys || out->n_values != cases[i].n_values ||
            strstr(out->why, cases[i].why) == NULL || (*cases[i].why == 0 && *out->why != 0))
            fail_msg("%s: keys of %u, values of %u, '%s'", folder, (unsigned)out->n_keys, (unsigned)out->n_values,
                     out->why);
        return true;
    }
    return false;
}

static void every_family_says_the_same(void **state)
{
    const struct dirent *entry;
    outcome out;
    char path[512];
    uint32_t n_keys = 0, n_values = 0;
    size_t n_cases = 0;
    (void)state;
    check_folder(source_path("tests/data/demo"), &out); /* llama: grouped queries, pairs next to each other */
    CHECK(out.n_keys == 2 && out.n_values == 2 && *out.why == 0);
    DIR *dir = opendir(source_path("tests/families"));
    CHECK(dir != NULL);
    while ((entry = readdir(dir)) != NULL)
        if (strchr(entry->d_name, '.') == NULL) {
            snprintf(path, sizeof path, "%s/%s", source_path("tests/families"), entry->d_name);
            check_folder(path, &out);
            n_cases += check_case(entry->d_name, &out);
            n_keys += out.n_keys;
            n_values += out.n_values;
        }
    closedir(dir);
    CHECK(n_cases == sizeof cases / sizeof *cases && n_keys > 80 && n_values > 80);
}

/* Factors by the weights: one for all heads where a gain is, of pairs alike, and not all of them 1. */
static void factors_are_alike_where_gains_are(void **state)
{
    (void)state;
    static const char *const folders[] = {"tests/families/qwen3", "tests/families/phi3"};
    for (size_t k = 0; k < 2; k++) {
        pare_model m = {0};
        pare_kv_ready r;
        pare_error err = {0};
        bool same = true, plain = true;
        CHECK_OK(pare_hf_open(&m, source_path(folders[k]), 0, &err), &err);
        CHECK_OK(pare_kv_ready_find(&r, &m, &err), &err);
        CHECK_OK(pare_kv_ready_fit(&r, &m, NULL, &err), &err);
        const pare_kv_ready_layer *l = &r.layers[0];
        CHECK(l->alike == (k == 0) && l->n_head_kv > 1);
        for (uint32_t i = 0; i < l->n_head_kv * l->dim_k; i++) {
            const uint32_t at = i % l->dim_k;
            same = same && l->scale[i] == l->scale[at];
            plain = plain && l->scale[i] == 1;
            CHECK(l->scale[i] > 0 && l->scale[i] == l->scale[i - at + pare_kv_ready_partner(l, at)]);
        }
        CHECK(same == l->alike && !plain);
        pare_kv_ready_close(&r);
        pare_model_close(&m);
    }
}

static void quantized_weights_are_refused(void **state)
{
    (void)state;
    pare_model m;
    pare_kv_ready r;
    pare_error err = {0};
    toy_llama_of(&m, VOCAB, 0, 4, 2, DIM);
    for (size_t i = 0; i < m.n_tensors; i++)
        if (strstr(m.tensors[i].name, "attn_k") != NULL || strstr(m.tensors[i].name, "attn_v") != NULL)
            m.tensors[i].packed = true;
    CHECK(pare_kv_ready_find(&r, &m, &err) == PARE_ERR_UNSUPPORTED && strstr(err.text, "quantized") != NULL);
    pare_model_close(&m);
}

/* Elements stand alone where RoPE turns none: families without it, layers without it, gains that are behind it. */
static void pairs_are_those_that_turn_together(void **state)
{
    (void)state;
    static const char *const folders[] = {"bloom", "hunyuan_dense", "smollm3", "qwen3", "phi2"};
    for (size_t k = 0; k < sizeof folders / sizeof *folders; k++) {
        pare_model m = {0};
        pare_kv_ready r;
        pare_error err = {0};
        char path[64];
        uint32_t n_alone = 0;
        snprintf(path, sizeof path, "tests/families/%s", folders[k]);
        CHECK_OK(pare_hf_open(&m, source_path(path), 0, &err), &err);
        CHECK_OK(pare_kv_ready_find(&r, &m, &err), &err);
        for (uint32_t i = 0; i < r.n_layer; i++) {
            const bool alone = k < 2 || pare_layers_have(&m.hp.no_rope, i);
            CHECK(r.layers[i].n_rot == (alone ? 0 : m.hp.n_rot));
            n_alone += alone;
        }
        CHECK(k < 2 ? n_alone == r.n_layer : (n_alone > 0 && n_alone < r.n_layer) == (k == 2));
        pare_kv_ready_close(&r);
        pare_model_close(&m);
    }
}

/* Values of heads that no rotation is made for stay as they are; keys do not mind. */
static void heads_may_be_too_large(void **state)
{
    (void)state;
    pare_error err = {0};
    for (uint32_t dim = PARE_ROTATION_MAX_DIM; dim <= PARE_ROTATION_MAX_DIM + 32; dim += 32) {
        pare_model m;
        pare_kv_ready r;
        const bool fits = dim == PARE_ROTATION_MAX_DIM;
        toy_llama_of(&m, VOCAB, 0, 2, 1, dim);
        CHECK_OK(pare_kv_ready_find(&r, &m, &err), &err);
        CHECK(r.n_keys == 2 && r.n_values == (fits ? 2 : 0) && (r.left == NULL) == fits);
        CHECK(fits || strstr(r.left, "heads are too large") != NULL);
        pare_kv_ready_close(&r);
        pare_model_close(&m);
    }
}

/* ---- the rotation ---- */

/* Every layer has signs of its own, and those behind H are not those before it: with R = D H D a second turn would undo
 * the first. */
static void signs_are_drawn_for_each_layer_and_side(void **state)
{
    (void)state;
    enum { N = 128, LAYERS = 3 };
    static float x[LAYERS][N * N];
    const pare_kv_ready_layer l = {.dim_v = N};
    for (uint32_t layer = 0; layer < LAYERS; layer++) {
        int symmetric = 0, same = 0;
        for (uint32_t i = 0; i < N; i++)
            x[layer][i * N + i] = 1;
        pare_kv_ready_turn(&l, layer, x[layer], N);
        for (uint32_t i = 0; i < N; i++)
            for (uint32_t j = 0; j < N; j++) {
                symmetric += (x[layer][i * N + j] < 0) == (x[layer][j * N + i] < 0);
                same += layer > 0 && (x[layer][i * N + j] < 0) == (x[layer - 1][i * N + j] < 0);
            }
        CHECK(symmetric > N * N / 4 && symmetric < N * N * 3 / 4);
        CHECK(layer == 0 || (same > N * N / 4 && same < N * N * 3 / 4));
    }
}

/* R is orthogonal; behind it a runtime's own rotation still spreads one element over its block. */
static void rotations_do_not_undo_each_other(void **state)
{
    (void)state;
    static const uint32_t dims[] = {64, 128, 80, 96};
    for (size_t k = 0; k < sizeof dims / sizeof *dims; k++)
        for (uint32_t layer = 0; layer < 3; layer++) {
            const uint32_t dim = dims[k];
            const pare_kv_ready_layer l = {.dim_v = dim};
            const pare_rotation llama = {dim, 64, 0}, whole = {dim, PARE_ROTATION_MAX_DIM, 0};
            float *x = check_malloc((size_t)dim * dim * sizeof *x), y[128];
            double worst = 0, worst_llama = 0, worst_whole = 0;
            memset(x, 0, (size_t)dim * dim * sizeof *x);
            for (uint32_t i = 0; i < dim; i++)
                x[i * dim + i] = 1;
            pare_kv_ready_turn(&l, layer, x, dim);
            for (uint32_t i = 0; i < dim; i++) {
                for (uint32_t j = 0; j < dim; j++) {
                    double dot = 0;
                    for (uint32_t c = 0; c < dim; c++)
                        dot += (double)x[i * dim + c] * (double)x[j * dim + c];
                    CHECK(fabs(dot - (i == j)) < 1e-6);
                    worst = fmax(worst, fabs((double)x[i * dim + j]));
                }
                memcpy(y, x + i * dim, dim * sizeof *y);
                pare_rotate(&llama, y, 1);
                for (uint32_t c = 0; c < dim; c++)
                    worst_llama = fmax(worst_llama, fabs((double)y[c]));
                memcpy(y, x + i * dim, dim * sizeof *y);
                pare_rotate(&whole, y, 1);
                for (uint32_t c = 0; c < dim; c++)
                    worst_whole = fmax(worst_whole, fabs((double)y[c]));
            }
            const bool power = (dim & (dim - 1)) == 0;
            CHECK(worst <= (power ? 1.001 / sqrt(dim) : 0.6));
            CHECK(worst_llama < 0.7 && worst_whole < 0.7);
            pare_kv_ready_turn_back(&l, layer, x, dim);
            for (uint32_t i = 0; i < dim * dim; i++)
                CHECK(fabsf(x[i] - (i % (dim + 1) == 0)) < 1e-6f);
            free(x);
        }
}

static double *read_matrix(const pare_model *m, const char *name, uint64_t *n_rows, uint64_t *row_len)
{
    const pare_tensor *t = pare_model_find(m, name);
    pare_error err = {0};
    const size_t n = (size_t)(t->n_rows * t->row_len);
    float *x = check_malloc(n * sizeof *x);
    double *out = check_malloc(n * sizeof *out);
    CHECK_OK(pare_tensor_read_f32(t, 0, t->n_rows, x, &err), &err);
    for (size_t i = 0; i < n; i++)
        out[i] = (double)x[i];
    *n_rows = t->n_rows;
    *row_len = t->row_len;
    free(x);
    return out;
}

/* In double: what a head makes of its inputs, O V and Q^T K pair by pair, is the same but for rounding to float32. */
static void products_are_the_same_in_double(void **state)
{
    (void)state;
    enum { HEADS = 4, KV = 2 };
    pare_model m;
    pare_kv_ready r;
    pare_error err = {0};
    double *made[2][4], size[2] = {0}, worst[2] = {0};
    uint64_t rows, n_embd = 0, n;
    static const char *const names[] = {"blk.1.attn_output.weight", "blk.1.attn_v.weight", "blk.1.attn_q.weight",
                                        "blk.1.attn_k.weight"};
    toy_llama_of(&m, VOCAB, 0, HEADS, KV, DIM);
    CHECK_OK(pare_kv_ready_find(&r, &m, &err), &err);
    for (int now = 0; now < 2; now++) {
        for (int i = 0; i < 4; i++)
            made[now][i] = read_matrix(&m, names[i], &rows, i == 0 ? &n : &n_embd);
        scale_at_random(&r);
        if (now == 0)
            CHECK_OK(pare_kv_ready_apply(&m, &r, &err), &err);
    }
    for (uint32_t h = 0; h < HEADS; h++)
        for (uint64_t a = 0; a < n_embd; a++)
            for (uint64_t c = 0; c < n_embd; c++) {
                double ov[2] = {0}, qk[2] = {0};
                for (int now = 0; now < 2; now++)
                    for (uint32_t d = 0; d < DIM; d++) {
                        const uint64_t q = h * DIM + d, k = h / (HEADS / KV) * DIM + d;
                        ov[now] += made[now][0][a * HEADS * DIM + q] * made[now][1][k * n_embd + c];
                        /* one pair, which RoPE turns as one */
                        qk[now] += d < 2 ? made[now][2][q * n_embd + a] * made[now][3][k * n_embd + c] : 0;
                    }
                worst[0] = fmax(worst[0], fabs(ov[1] - ov[0]));
                worst[1] = fmax(worst[1], fabs(qk[1] - qk[0]));
                size[0] = fmax(size[0], fabs(ov[0]));
                size[1] = fmax(size[1], fabs(qk[0]));
            }
    printf("O V: %.2g, Q^T K: %.2g\n", worst[0] / size[0], worst[1] / size[1]);
    CHECK(worst[0] > 0 && worst[0] < 3e-7 * size[0] && worst[1] > 0 && worst[1] < 2e-7 * size[1]);
    for (int i = 0; i < 8; i++)
        free(made[i / 4][i % 4]);
    pare_kv_ready_close(&r);
    pare_model_close(&m);
}

/* ---- statistics ---- */

static float product(const pare_gram *g, uint64_t i)
{
    return pare_load_f32le(g->lower + 4 * i);
}

static void open_text(pare_backend **b, int32_t ids[TEXT])
{
    pare_error err = {0};
    uint64_t seed = 3;
    CHECK_OK(pare_backend_cpu(b, &err), &err);
    for (int i = 0; i < TEXT; i++)
        ids[i] = (int32_t)((toy_random(&seed) + 1) / 2 * (VOCAB - 1));
}

/* As if so many times as many tokens had been seen by sums and squares as by products. */
static void repeat(pare_imatrix *im, float times)
{
    for (size_t i = 0; i < im->n; i++) {
        const pare_imatrix_entry *e = &im->entries[i];
        *e->counts *= times;
        for (uint64_t c = 0; c < e->n_columns; c++) {
            e->sum[c] *= times;
            e->sum2[c] *= times;
        }
    }
}

/* shared: the second layer reads values of the first, and its output what the first layer's rotation made. */
static void check_statistics(bool shared, float times)
{
    pare_model m;
    pare_backend *b;
    pare_kv_ready r;
    pare_imatrix before = {0}, after = {0}, plain = {0};
    pare_error err = {0};
    int32_t ids[TEXT];
    uint32_t n_spread = 9;
    char beside[512];
    pare_collect_options options = {.n_ctx = WINDOW, .full = true};
    snprintf(beside, sizeof beside, "%s/x", temp_dir());
    toy_llama_of(&m, VOCAB, 0, 4, 2, DIM);
    m.hp.n_layer_shared_kv = shared ? 1 : 0;
    open_text(&b, ids);
    CHECK_OK(pare_collect(&before, &m, b, ids, TEXT, -1, &options, NULL, NULL, &err), &err);
    options.full = false;
    CHECK_OK(pare_collect(&plain, &m, b, ids, TEXT, -1, &options, NULL, NULL, &err), &err);
    options.full = true;
    CHECK_OK(pare_kv_ready_find(&r, &m, &err), &err);
    scale_at_random(&r);
    repeat(&before, times);
    CHECK_OK(pare_kv_ready_statistics(&r, &m, &before, beside, &n_spread, &err), &err);
    CHECK(n_spread == 0);
    CHECK_OK(pare_kv_ready_statistics(&r, &m, &plain, beside, &n_spread, &err), &err);
    CHECK(n_spread == 2);
    CHECK_OK(pare_kv_ready_apply(&m, &r, &err), &err);
    CHECK_OK(pare_collect(&after, &m, b, ids, TEXT, -1, &options, NULL, NULL, &err), &err);
    CHECK(before.n == after.n && before.grams.n == after.grams.n && after.grams.n > 0);
    for (size_t i = 0; i < after.n; i++) {
        const pare_imatrix_entry *x = &after.entries[i], *y = pare_imatrix_find(&before, x->name),
                                 *z = pare_imatrix_find(&plain, x->name);
        const pare_gram *g = pare_grams_find(&after.grams, x->name), *h = pare_grams_find(&before.grams, x->name);
        double size = 0, sum2[2] = {0};
        CHECK(y != NULL && z != NULL && (g != NULL) == (h != NULL));
        for (uint64_t c = 0; c < x->n_columns; c++)
            size = fmax(size, (double)x->sum2[c]);
        for (uint64_t c = 0; c < x->n_columns; c++) {
            CHECK(fabs((double)x->sum2[c] - (double)(y->sum2[c] / times)) <= 1e-4 * size);
            CHECK(fabs((double)x->sum[c] - (double)(y->sum[c] / times)) <= 1e-4 * sqrt(size * x->counts[0]));
            CHECK(fabs((double)x->sum[c] - (double)z->sum[c]) <= 1e-4 * sqrt(size * x->counts[0]));
            sum2[0] += (double)x->sum2[c];
            sum2[1] += (double)z->sum2[c];
        }
        CHECK(fabs(sum2[0] - sum2[1]) <= 1e-3 * sum2[0]); /* spread, and none lost */
        for (uint64_t c = 0; g != NULL && c < g->n_columns * (g->n_columns + 1) / 2; c++)
            CHECK(fabs((double)product(g, c) - (double)product(h, c)) <= 1e-4 * size);
    }
    pare_imatrix_close(&before);
    pare_imatrix_close(&after);
    pare_imatrix_close(&plain);
    pare_kv_ready_close(&r);
    pare_model_close(&m);
    b->close(b);
}

/* Those that were made before and changed are those that are made afterwards. */
static void statistics_are_those_of_the_changed_model(void **state)
{
    (void)state;
    check_statistics(false, 1);
    check_statistics(true, 1);
    check_statistics(false, 3);
}

/* ---- the cache ---- */

/* Divergence of a model with keys and values in q4_0, not rotated, from itself with floats. */
static double cost_of(const pare_model *m, pare_backend *b, const int32_t *ids)
{
    const pare_kv_form form = {.k = pare_kv_codec_find("q4_0", PARE_KV_KEYS),
                               .v = pare_kv_codec_find("q4_0", PARE_KV_VALUES)};
    const pare_kv_sweep_job job = {
        .m = m, .b = b, .ids = ids, .n = TEXT, .bos = -1, .windows = {.n_ctx = WINDOW}, .forms = &form, .n_forms = 1};
    pare_eval_result out;
    pare_error err = {0};
    CHECK_OK(pare_kv_sweep(&job, &out, &err), &err);
    return out.kld_mean.value;
}

/* Keys of three pairs a head 8, 16 and 24 times as large, the queries smaller: the same model. */
static void make_outliers(pare_model *m)
{
    pare_kv_ready r;
    pare_error err = {0};
    CHECK_OK(pare_kv_ready_find(&r, m, &err), &err);
    for (uint32_t i = 0; i < r.n_layer; i++) {
        pare_kv_ready_layer *l = &r.layers[i];
        l->values = false;
        for (uint32_t h = 0; h < l->n_head_kv; h++)
            for (uint32_t p = 0; p < 3; p++) {
                const uint32_t at = 2 * ((5 * h + 4 * p + i) % (DIM / 2));
                l->scale[h * DIM + at] = l->scale[h * DIM + at + 1] = 1 / (8.0f * (float)(p + 1));
            }
    }
    CHECK_OK(pare_kv_ready_apply(m, &r, &err), &err);
    CHECK(pare_meta_remove(&m->meta, PARE_KV_READY_KEY));
    pare_kv_ready_close(&r);
}

static void a_cache_in_four_bits_costs_less(void **state)
{
    (void)state;
    pare_model m;
    pare_backend *b;
    pare_kv_ready r;
    pare_error err = {0};
    pare_key_sample samples[2] = {{0}, {0}};
    const pare_window_plan plan = {.n_ctx = WINDOW};
    int32_t ids[TEXT];
    double cost[4];
    open_text(&b, ids);
    for (int how = 0; how < 4; how++) { /* as it is, with outliers, ready by its weights, by a text */
        toy_llama_of(&m, VOCAB, 0, 4, 2, DIM);
        if (how > 0)
            make_outliers(&m);
        if (how > 1) {
            CHECK_OK(pare_kv_ready_find(&r, &m, &err), &err);
            if (how == 3)
                CHECK_OK(pare_key_collect(samples, &m, b, ids, TEXT, -1, &plan, &err), &err);
            CHECK_OK(pare_kv_ready_fit(&r, &m, how == 3 ? samples : NULL, &err), &err);
            CHECK(r.mean_ratio > 0 && r.mean_ratio < 0.2);
            CHECK_OK(pare_kv_ready_apply(&m, &r, &err), &err);
            pare_kv_ready_close(&r);
        }
        cost[how] = cost_of(&m, b, ids);
        pare_model_close(&m);
    }
    printf("plain %.2g, outliers %.2g, ready %.2g, by a text %.2g\n", cost[0], cost[1], cost[2], cost[3]);
    CHECK(cost[1] > 5 * cost[0] && cost[2] < 1.5 * cost[0] && cost[3] < 1.5 * cost[0]);
    CHECK(samples[0].n == TEXT && samples[0].width == 2 * DIM); /* 5 windows, fewer than are kept */
    pare_key_sample_close(&samples[0]);
    pare_key_sample_close(&samples[1]);
    b->close(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_family_says_the_same),      cmocka_unit_test(factors_are_alike_where_gains_are),
        cmocka_unit_test(quantized_weights_are_refused),   cmocka_unit_test(rotations_do_not_undo_each_other),
        cmocka_unit_test(products_are_the_same_in_double), cmocka_unit_test(statistics_are_those_of_the_changed_model),
        cmocka_unit_test(a_cache_in_four_bits_costs_less), cmocka_unit_test(pairs_are_those_that_turn_together),
        cmocka_unit_test(heads_may_be_too_large),          cmocka_unit_test(signs_are_drawn_for_each_layer_and_side),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
