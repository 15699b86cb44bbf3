/* The form of the embedding's errors against the formula in double, element by element. */
#include "check.h"

#include "core/bytes.h"
#include "formats/open.h"
#include "recipe/lookup_gram.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const readers[] = {"blk.0.attn_q.weight", "blk.0.attn_k.weight", "blk.0.attn_v.weight",
                                      "blk.0.ffn_gate.weight", "blk.0.ffn_up.weight"};
enum { N_READERS = sizeof readers / sizeof *readers, N_ATTENTION = 3 };

/* H of all readers: 1 + (i + j) % 3 / 8 and more on the diagonal, seen on 2 tokens. */
static double product(uint64_t i, uint64_t j)
{
    return (i == j ? 2.0 : 0.0) + (double)((i + j) % 3) / 8;
}

static void make_statistics(pare_imatrix *im, uint64_t n)
{
    pare_error err = {0};
    uint8_t *at = NULL;
    *im = (pare_imatrix){0};
    CHECK_OK(pare_grams_add(&im->grams, readers[0], n, 2, NULL, &at, &err), &err);
    for (uint64_t i = 0; i < n; i++)
        for (uint64_t j = 0; j <= i; j++, at += 4)
            pare_store_f32le(at, (float)(2 * product(i, j)));
    for (size_t i = 1; i < N_READERS; i++)
        CHECK_OK(pare_grams_link(&im->grams, readers[i], readers[0], &err), &err);
}

/* all += share * diag(g) W^T W diag(g) / tr(W H W^T) */
static void add_reader(const pare_model *m, const char *name, const float *gain, double share, double *all, size_t n)
{
    pare_error err = {0};
    const pare_tensor *t = pare_model_find(m, name);
    double *square = check_malloc(n * n * sizeof *square), energy = 0;
    float *row = check_malloc(n * sizeof *row);
    for (size_t k = 0; k < n * n; k++)
        square[k] = 0;
    for (uint64_t r = 0; r < t->n_rows; r++) {
        CHECK_OK(pare_tensor_read_f32(t, r, 1, row, &err), &err);
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < n; j++)
                square[i * n + j] += (double)row[i] * (double)row[j];
    }
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            energy += square[i * n + j] * product(i, j);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            all[i * n + j] += share * square[i * n + j] * (double)gain[i] * (double)gain[j] / energy;
    free(square);
    free(row);
}

/* What a norm that subtracts the mean leaves: P A P with P = 1 - 11^T / n. */
static void centre(double *a, size_t n)
{
    for (int side = 0; side < 2; side++)
        for (size_t i = 0; i < n; i++) {
            double mean = 0;
            for (size_t j = 0; j < n; j++)
                mean += a[side ? j * n + i : i * n + j] / (double)n;
            for (size_t j = 0; j < n; j++)
                a[side ? j * n + i : i * n + j] -= mean;
        }
}

/* H of the attention's output, of one token: 3 on the diagonal of even columns, 1/2 on that of odd ones, 9 beside it.
 */
static void add_output_inputs(pare_imatrix *im, const pare_model *m)
{
    pare_error err = {0};
    uint8_t *at = NULL;
    uint64_t n = pare_model_find(m, "blk.0.attn_output.weight")->row_len;
    CHECK_OK(pare_grams_add(&im->grams, "blk.0.attn_output.weight", n, 1, NULL, &at, &err), &err);
    for (uint64_t i = 0; i < n; i++)
        for (uint64_t j = 0; j <= i; j++, at += 4)
            pare_store_f32le(at, i != j ? 9 : i % 2 == 0 ? 3 : 0.5f);
}

/* The sum of squares of a matrix, those of even and odd columns multiplied. */
static double squares(const pare_model *m, const char *name, double even, double odd)
{
    pare_error err = {0};
    const pare_tensor *t = pare_model_find(m, name);
    float *row = check_malloc((size_t)t->row_len * sizeof *row);
    double sum = 0;
    for (uint64_t r = 0; r < t->n_rows; r++) {
        CHECK_OK(pare_tensor_read_f32(t, r, 1, row, &err), &err);
        for (uint64_t c = 0; c < t->row_len; c++)
            sum += (double)row[c] * (double)row[c] * (c % 2 == 0 ? even : odd);
    }
    free(row);
    return sum;
}

/* Of the mean square of what layer 0's FFN reads, by the embedding. */
static double share_of_ffn(const pare_model *m, double embd_scale, double residual_scale)
{
    const pare_tensor *t = pare_model_find(m, "token_embd.weight");
    double own = squares(m, t->name, 1, 1) / (double)t->n_rows * embd_scale * embd_scale;
    double added = squares(m, "blk.0.attn_output.weight", 3, 0.5) * residual_scale * residual_scale;
    return own / (own + added);
}

static void compare(const pare_model *m, bool centred, const char *ffn_norm, double share)
{
    size_t n = m->hp.n_embd;
    pare_error err = {0};
    pare_imatrix im;
    pare_gram g;
    bool found = false;
    float *gain = check_malloc(n * sizeof *gain);
    double *want = check_malloc(n * n * sizeof *want), mean = 0;
    make_statistics(&im, n);
    if (share != 0)
        add_output_inputs(&im, m);
    for (size_t k = 0; k < n * n; k++)
        want[k] = 0;
    for (int r = 0; r < N_READERS; r++) {
        bool ffn = r >= N_ATTENTION;
        const char *norm = ffn ? ffn_norm : "blk.0.attn_norm.weight";
        CHECK_OK(pare_tensor_read_f32(pare_model_find(m, norm), 0, 1, gain, &err), &err);
        add_reader(m, readers[r], gain, ffn ? share : 1, want, n);
    }
    if (centred)
        centre(want, n);
    for (size_t i = 0; i < n; i++)
        mean += want[i * n + i] / (double)n;
    CHECK_OK(pare_lookup_gram_open(&g, &found, m, &im, &err), &err);
    CHECK(found && g.n_columns == n && g.count == 1);
    for (size_t i = 0, k = 0; i < n; i++)
        for (size_t j = 0; j <= i; j++, k++)
            CHECK(fabs((double)pare_load_f32le(g.lower + 4 * k) - want[i * n + j]) <= 1e-6 * mean);
    pare_lookup_gram_close(&g);
    pare_imatrix_close(&im);
    free(gain);
    free(want);
}

static void rename_tensor(pare_model *m, const char *from, const char *to)
{
    pare_error err = {0};
    for (size_t i = 0; i < m->n_tensors; i++)
        if (pare_model_find(m, from) == &m->tensors[i])
            m->tensors[i].name = to;
    pare_index_close(&m->by_name);
    for (size_t i = 0; i < m->n_tensors; i++)
        CHECK_OK(pare_index_add(&m->by_name, (pare_str){m->tensors[i].name, strlen(m->tensors[i].name)}, (int64_t)i,
                                NULL, &err),
                 &err);
}

static void follows_the_readers(void **state)
{
    (void)state;
    pare_model m;
    pare_error err = {0};
    CHECK_OK(pare_model_open(&m, source_path("tests/data/demo"), 0, &err), &err);
    CHECK(pare_model_find(&m, "output.weight") != NULL);
    double share = share_of_ffn(&m, 1, 1);
    CHECK(share > 0 && share < 1);
    compare(&m, false, "blk.0.ffn_norm.weight", share);
    compare(&m, false, "blk.0.ffn_norm.weight", 0); /* nothing is known of what attention adds */
    m.hp.embd_scale = 3;
    m.hp.residual_scale = 0.25f;
    compare(&m, false, "blk.0.ffn_norm.weight", share_of_ffn(&m, 3, 0.25));
    pare_arch other = *m.arch;
    other.wiring.norm = PARE_NORM_LAYER;
    other.wiring.parallel_residual = true;
    m.arch = &other;
    compare(&m, true, "blk.0.ffn_norm.weight", 1);
    rename_tensor(&m, "blk.0.ffn_norm.weight", "other.weight");
    compare(&m, true, "blk.0.attn_norm.weight", 1);
    pare_model_close(&m);
}

/* With inputs of the output matrix that are 3 in the mean square and do not go together, and logits that are halved,
 * the diagonal grows by 3/4 of the table's mean square and nothing else changes. */
static void counts_the_output(void **state)
{
    (void)state;
    pare_model m;
    pare_error err = {0};
    pare_imatrix im;
    pare_gram alone, tied;
    bool found;
    uint8_t *at = NULL;
    double mean = 0;
    CHECK_OK(pare_model_open(&m, source_path("tests/data/demo"), 0, &err), &err);
    size_t n = m.hp.n_embd;
    float *row = check_malloc(n * sizeof *row);
    const pare_tensor *t = pare_model_find(&m, "token_embd.weight");
    for (uint64_t r = 0; r < t->n_rows; r++) {
        CHECK_OK(pare_tensor_read_f32(t, r, 1, row, &err), &err);
        for (size_t i = 0; i < n; i++)
            mean += (double)row[i] * (double)row[i] / (double)(n * t->n_rows);
    }
    make_statistics(&im, n);
    CHECK_OK(pare_lookup_gram_open(&alone, &found, &m, &im, &err), &err);
    CHECK_OK(pare_grams_add(&im.grams, "token_embd.weight", n, 10, NULL, &at, &err), &err);
    for (size_t i = 0; i < n; i++)
        pare_store_f32le(at + 4 * (i * (i + 1) / 2 + i), 30);
    rename_tensor(&m, "output.weight", "other.weight"); /* the embedding has to do for it */
    m.hp.logit_scale = 0.5f;
    CHECK_OK(pare_lookup_gram_open(&tied, &found, &m, &im, &err), &err);
    CHECK(found);
    for (size_t i = 0, k = 0; i < n; i++)
        for (size_t j = 0; j <= i; j++, k++) {
            double more = (double)pare_load_f32le(tied.lower + 4 * k) - (double)pare_load_f32le(alone.lower + 4 * k);
            CHECK(fabs(more - (i == j ? 0.75 * mean : 0)) <= 1e-5 * mean);
        }
    pare_lookup_gram_close(&alone);
    pare_lookup_gram_close(&tied);
    pare_imatrix_close(&im);
    pare_model_close(&m);
    free(row);
}

/* Nothing is made without statistics: of the readers, or of a table that is the output matrix, too, as such. */
static void says_when_it_cannot(void **state)
{
    (void)state;
    pare_model m;
    pare_error err = {0};
    pare_imatrix im = {0};
    pare_gram g;
    bool found = true;
    CHECK_OK(pare_model_open(&m, source_path("tests/data/demo"), 0, &err), &err);
    CHECK_OK(pare_lookup_gram_open(&g, &found, &m, &im, &err), &err);
    CHECK(!found && g.lower == NULL);
    make_statistics(&im, m.hp.n_embd);
    rename_tensor(&m, "output.weight", "other.weight"); /* the embedding has to do for it */
    found = true;
    CHECK_OK(pare_lookup_gram_open(&g, &found, &m, &im, &err), &err);
    CHECK(!found && g.lower == NULL);
    pare_imatrix_close(&im);
    pare_model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(follows_the_readers), cmocka_unit_test(counts_the_output),
                                       cmocka_unit_test(says_when_it_cannot)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
