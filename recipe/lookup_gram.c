#include "recipe/lookup_gram.h"

#include "core/bytes.h"
#include "core/checked.h"
#include "core/scratch.h"
#include "core/threads.h"
#include "quant/path_table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PANEL = 64, ROWS = 4 };

/* What reads the stream in layer 0. */
static const struct reader {
    pare_weight weight, norm;
    bool is_ffn;
} readers[] = {
    {PARE_W_ATTN_Q, PARE_W_ATTN_NORM, false},   {PARE_W_ATTN_K, PARE_W_ATTN_NORM, false},
    {PARE_W_ATTN_V, PARE_W_ATTN_NORM, false},   {PARE_W_ATTN_QKV, PARE_W_ATTN_NORM, false},
    {PARE_W_ATTN_Q_A, PARE_W_ATTN_NORM, false}, {PARE_W_ATTN_KV_A, PARE_W_ATTN_NORM, false},
    {PARE_W_FFN_GATE, PARE_W_FFN_NORM, true},   {PARE_W_FFN_UP, PARE_W_FFN_NORM, true},
};

typedef struct work {
    const pare_model *m;
    const pare_imatrix *im;
    size_t n;
    double *square;    /* [n, n] minus W^T W of the reader in hand, its lower triangle */
    double *all;       /* [n, n] the form, its lower triangle */
    double *panel;     /* [PANEL, n] rows of W */
    double *turned;    /* [n, PANEL] the same, transposed */
    float *row, *gain; /* [n] */
    size_t n_panel;
    bool centred; /* norms subtract the mean first */
    bool found;
} work;

static pare_status update_rows(size_t i, int thread, void *ctx, pare_error *err)
{
    const work *w = ctx;
    size_t r = i * ROWS, n_rows = w->n - r < ROWS ? w->n - r : ROWS;
    (void)thread;
    (void)err;
    pare_path_now()->form_update(w->square + r * w->n, w->n, n_rows, r + n_rows, w->turned + r * PANEL, PANEL, w->panel,
                                 w->n, w->n_panel);
    return PARE_OK;
}

/* square = - W^T W */
static pare_status multiply(work *w, const pare_tensor *t, pare_error *err)
{
    pare_status st = PARE_OK;
    memset(w->square, 0, w->n * w->n * sizeof *w->square);
    for (uint64_t row = 0; row < t->n_rows && st == PARE_OK; row += w->n_panel) {
        w->n_panel = t->n_rows - row < PANEL ? (size_t)(t->n_rows - row) : PANEL;
        for (size_t k = 0; k < w->n_panel && st == PARE_OK; k++) {
            st = pare_tensor_read_f32(t, row + k, 1, w->row, err);
            for (size_t i = 0; i < w->n; i++)
                w->panel[k * w->n + i] = w->turned[i * PANEL + k] = (double)w->row[i];
        }
        if (st == PARE_OK && (st = pare_check_interrupt(err)) == PARE_OK)
            st = pare_parallel((w->n + ROWS - 1) / ROWS, update_rows, w, err);
    }
    pare_tensor_release(t, 0, t->n_rows);
    return st;
}

/* Sum over i, j of (W^T W)_ij H_ij, which is tr(W H W^T): the mean square of what W makes of its inputs. */
static double energy_of(const work *w, const pare_gram *g)
{
    const uint8_t *at = g->lower;
    double sum = 0;
    for (size_t i = 0; i < w->n; i++)
        for (size_t j = 0; j <= i; j++, at += 4)
            sum -= (i == j ? 1 : 2) * w->square[i * w->n + j] * (double)pare_load_f32le(at);
    return sum / g->count;
}

/* Before a norm that subtracts the mean of its inputs, errors that all are the same cost nothing: A - 1 a^T - a 1^T + b
 * with the means a of A's rows and b of all. */
static void centre(work *w, double *mean)
{
    double all = 0;
    size_t n = w->n;
    memset(mean, 0, n * sizeof *mean);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j <= i; j++) {
            double v = w->square[i * n + j] / (double)n;
            mean[i] += v;
            mean[j] += i != j ? v : 0;
        }
    for (size_t i = 0; i < n; i++)
        all += mean[i] / (double)n;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j <= i; j++)
            w->square[i * n + j] += all - mean[i] - mean[j];
}

/* Add `share` of what W costs. */
static pare_status add_reader(work *w, const pare_tensor *t, double share, pare_error *err)
{
    const pare_gram *g = t != NULL ? pare_grams_find(&w->im->grams, t->name) : NULL;
    if (g == NULL || t->row_len != w->n || g->n_columns != w->n || pare_tensor_matrices(t) > 1)
        return PARE_OK;
    pare_status st = multiply(w, t, err);
    double energy = st == PARE_OK ? energy_of(w, g) : 0;
    if (st != PARE_OK || !(energy > 0) || !isfinite(energy))
        return st;
    for (size_t i = 0; i < w->n; i++)
        for (size_t j = 0; j <= i; j++)
            w->square[i * w->n + j] *= (double)w->gain[i] * (double)w->gain[j];
    if (w->centred)
        centre(w, w->panel);
    for (size_t i = 0; i < w->n; i++)
        for (size_t j = 0; j <= i; j++)
            w->all[i * w->n + j] -= share * w->square[i * w->n + j] / energy;
    w->found = true;
    return PARE_OK;
}

/* The gain of the norm that layer 0's readers read the stream through. Without one, the FFN reads what attention reads.
 */
static pare_status load_gain(work *w, pare_weight norm, pare_error *err)
{
    const pare_tensor *t = pare_model_weight(w->m, norm, 0, "weight");
    if (t == NULL)
        t = pare_model_weight(w->m, PARE_W_ATTN_NORM, 0, "weight");
    for (size_t i = 0; i < w->n; i++)
        w->gain[i] = 1; /* a layer without a norm before it reads the stream as it is */
    return t != NULL && t->row_len == w->n ? pare_tensor_read_f32(t, 0, 1, w->gain, err) : PARE_OK;
}

/* The mean square of the table's elements. */
static pare_status mean_square(work *w, const pare_tensor *t, double *out, pare_error *err)
{
    pare_status st = PARE_OK;
    *out = 0;
    for (uint64_t row = 0; row < t->n_rows && st == PARE_OK; row++) {
        double sum = 0;
        st = pare_tensor_read_f32(t, row, 1, w->row, err);
        for (size_t i = 0; i < w->n; i++)
            sum += (double)w->row[i] * (double)w->row[i];
        *out += sum / (double)w->n / (double)t->n_rows;
    }
    pare_tensor_release(t, 0, t->n_rows);
    return st;
}

/* The mean square, all columns together, of what layer 0's attention adds to the stream: the sum over its output
 * matrix's columns of their squares times the mean squares of their inputs. *known: false without these. */
static pare_status added_square(const work *w, double *out, bool *known, pare_error *err)
{
    const pare_tensor *t = pare_model_weight(w->m, PARE_W_ATTN_OUT, 0, "weight");
    const pare_gram *g = t != NULL ? pare_grams_find(&w->im->grams, t->name) : NULL;
    double scale = w->m->hp.residual_scale != 0 ? (double)w->m->hp.residual_scale : 1;
    *known = g != NULL && g->n_columns == t->row_len && pare_tensor_matrices(t) == 1;
    *out = 0;
    float *row = *known ? malloc((size_t)t->row_len * sizeof *row) : NULL;
    if (*known && row == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory for a row", t->name);
    pare_status st = PARE_OK;
    for (uint64_t r = 0; *known && r < t->n_rows && st == PARE_OK; r++) {
        st = pare_tensor_read_f32(t, r, 1, row, err);
        const uint8_t *at = g->lower;
        for (uint64_t c = 0; c < t->row_len && st == PARE_OK; at += 4 * (++c + 1)) /* from diagonal to diagonal */
            *out += (double)row[c] * (double)row[c] * (double)pare_load_f32le(at) / g->count * scale * scale;
    }
    if (*known)
        pare_tensor_release(t, 0, t->n_rows);
    free(row);
    return st;
}

/* How much of the mean square of what the FFN reads is still the embedding: attention has added to it, unless both read
 * the same. */
static pare_status share_of_ffn(work *w, double *out, pare_error *err)
{
    const pare_hparams *hp = &w->m->hp;
    double own = 0, added = 0, scale = hp->embd_scale != 0 ? (double)hp->embd_scale : 1;
    bool known = false;
    *out = w->m->arch->wiring.parallel_residual && !hp->residual_in_turn;
    if (*out > 0)
        return PARE_OK;
    pare_status st = mean_square(w, pare_model_find(w->m, "token_embd.weight"), &own, err);
    if (st == PARE_OK)
        st = added_square(w, &added, &known, err);
    own *= (double)w->n * scale * scale;
    *out = known && own > 0 ? own / (own + added) : 0;
    return st;
}

static pare_status add_readers(work *w, pare_error *err)
{
    double ffn = 0;
    pare_status st = share_of_ffn(w, &ffn, err);
    for (size_t r = 0; r < sizeof readers / sizeof *readers && st == PARE_OK; r++) {
        st = load_gain(w, readers[r].norm, err);
        if (st == PARE_OK)
            st = add_reader(w, pare_model_weight(w->m, readers[r].weight, 0, "weight"), readers[r].is_ffn ? ffn : 1,
                            err);
    }
    return st;
}

/* A table that makes the logits, too: an error changes one of them by e h. Both costs are half the mean square of what
 * changes: of logits here, of parts of what the readers say there, where a norm has made the row's size one. */
static pare_status add_output(work *w, const pare_tensor *t, const pare_gram *g, pare_error *err)
{
    const pare_hparams *hp = &w->m->hp;
    const uint8_t *at = g->lower;
    double mean = 0, scale = hp->logit_scale != 0 ? (double)hp->logit_scale : 1;
    scale /= hp->logit_divisor != 0 ? (double)hp->logit_divisor : 1;
    pare_status st = mean_square(w, t, &mean, err);
    double factor = mean * scale * scale / g->count;
    for (size_t i = 0; i < w->n && st == PARE_OK; i++)
        for (size_t j = 0; j <= i; j++, at += 4)
            w->all[i * w->n + j] += factor * (double)pare_load_f32le(at);
    return st;
}

static pare_status deliver(const work *w, pare_gram *out, pare_error *err)
{
    uint64_t bytes = 0;
    if (!pare_gram_bytes(w->n, &bytes) || (out->lower = malloc((size_t)bytes)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory for products of %zu columns", out->name, w->n);
    uint8_t *to = (uint8_t *)(uintptr_t)out->lower;
    for (size_t i = 0; i < w->n; i++)
        for (size_t j = 0; j <= i; j++, to += 4)
            pare_store_f32le(to, (float)w->all[i * w->n + j]);
    return PARE_OK;
}

/* A table that nothing but the layers' norms comes behind. */
static bool is_plain(const pare_model *m, const pare_tensor *t)
{
    return t != NULL && m->arch != NULL && t->row_len == m->hp.n_embd && pare_tensor_matrices(t) == 1 &&
           pare_model_find(m, "token_embd_norm.weight") == NULL;
}

pare_status pare_lookup_gram_open(pare_gram *out, bool *found, const pare_model *m, const pare_imatrix *im,
                                  pare_error *err)
{
    const pare_tensor *t = pare_model_find(m, "token_embd.weight");
    work w = {.m = m, .im = im};
    size_t squares = 0, bytes = 0;
    *out = (pare_gram){.name = "token_embd.weight", .count = 1};
    *found = false;
    const pare_gram *output = pare_grams_find(&im->grams, out->name);
    bool tied = pare_model_find(m, "output.weight") == NULL;
    if (!is_plain(m, t) || im->grams.n == 0 || (tied && (output == NULL || output->n_columns != t->row_len)))
        return PARE_OK;
    w.n = (size_t)t->row_len;
    w.centred = m->arch->wiring.norm == PARE_NORM_LAYER;
    out->n_columns = t->row_len;
    out->n_experts = 1;
    double *memory = NULL;
    if (pare_mul_size(w.n, 2 * w.n + 2 * PANEL + 1, &squares) && pare_mul_size(squares, sizeof *memory, &bytes))
        memory = pare_scratch_alloc(bytes);
    if (memory == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory for products of %zu columns", out->name, w.n);
    w.square = memory;
    w.all = w.square + w.n * w.n;
    w.panel = w.all + w.n * w.n;
    w.turned = w.panel + PANEL * w.n;
    w.row = (float *)(w.turned + PANEL * w.n);
    w.gain = w.row + w.n;
    memset(w.all, 0, w.n * w.n * sizeof *w.all);
    pare_status st = add_readers(&w, err);
    if (st == PARE_OK && w.found && tied)
        st = add_output(&w, t, output, err);
    if (st == PARE_OK && w.found)
        st = deliver(&w, out, err);
    pare_scratch_free(memory, bytes);
    *found = st == PARE_OK && w.found;
    return st;
}

void pare_lookup_gram_close(pare_gram *g)
{
    free((void *)(uintptr_t)g->lower);
    *g = (pare_gram){0};
}
