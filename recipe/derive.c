#include "recipe/derive.h"
#include "core/bytes.h"
#include "core/checked.h"
#include "core/exact_sum.h"
#include "core/scratch.h"
#include "core/threads.h"
#include "quant/feedback.h"
#include "quant/importance.h"
#include "quant/path_table.h"
#include "quant/registry.h"
#include "quant/row_fit.h"
#include "recipe/calibration.h"
#include "recipe/expert_gram.h"

#include <fnmatch.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_BYTES = 128 };

/* Squared error and energy of a tensor, summed exactly: the figures do not depend on which thread encoded which rows.
 */
typedef struct tensor_sums {
    pare_exact_sum error, energy, weighted_error, weighted_energy, form_before, form_after;
} tensor_sums;

/* The first weight that is not finite and stays so. */
typedef struct kept_weight {
    uint64_t row, column;
    const char *what; /* NULL: there is none */
} kept_weight;

/* What is known of rows that have been read. */
typedef struct rows_told {
    kept_weight kept;
    bool encoded; /* the rest is of rows that were */
    bool differ;  /* some do not round to the source's */
    pare_row_sums sums;
    double form_before, form_after; /* pare_feedback_rows */
} rows_told;

/* ctx of a derived tensor. */
typedef struct derived {
    const pare_tensor *source;
    const char *path; /* of the source, for messages */
    unsigned flags;
    pare_plan_row *row;
    pthread_mutex_t lock;
    uint64_t n_done;   /* rows that have been read */
    tensor_sums *sums; /* of these rows, while the tensor is being encoded, else NULL */
    bool differ;       /* some of these rows do not round to the source's */
    kept_weight kept;
    pare_effort effort;
    float slope; /* pare_importance_slope */
    bool has_importance;
    pare_imatrix_entry importance;
    float *pooled;         /* pare_imatrix_pooled of it */
    pare_factor *factor;   /* what weights are divided by; NULL: nothing */
    const pare_form *form; /* while the tensor is encoded with feedback, else NULL */
    bool own_form;         /* which is of the expert in hand, not of all */
    bool has_feedback;     /* of some rows that have been read */
    int n_sweeps;
    const pare_aim *aim;   /* then: what takes the place of the weights, or NULL */
    const uint8_t *stored; /* all bytes, made before: nothing is encoded any more. NULL: not yet */
} derived;

static bool is_finite(float x)
{
    return (pare_f32_to_bits(x) & 0x7f800000u) != 0x7f800000u;
}

/* Sums of tensors whose encoding was broken off. */
static void drop_sums(pare_model *m)
{
    for (size_t i = 0; i < m->n_tensors; i++) {
        derived *d = (derived *)(uintptr_t)m->tensors[i].ctx;
        free(d->sums);
        pthread_mutex_destroy(&d->lock);
        if (d->factor != NULL && m->tensors[i].factor == d->factor->value)
            pthread_mutex_destroy(&d->factor->lock);
    }
}

static double relative(pare_exact_sum *error, pare_exact_sum *energy)
{
    double whole = pare_exact_sum_value(energy);
    return whole > 0 ? pare_exact_sum_value(error) / whole : 0.0;
}

/* Add the sums over some rows to those of the tensor. */
static pare_status add_sums(derived *d, const pare_tensor *t, const rows_told *told, pare_error *err)
{
    const pare_row_sums *rows = &told->sums;
    if (d->sums == NULL && (d->sums = calloc(1, sizeof *d->sums)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: tensor '%s': no memory for its error", d->path, t->name);
    pare_exact_sum_add(&d->sums->error, rows->error);
    pare_exact_sum_add(&d->sums->energy, rows->energy);
    pare_exact_sum_add(&d->sums->weighted_error, rows->weighted_error);
    pare_exact_sum_add(&d->sums->weighted_energy, rows->weighted_energy);
    pare_exact_sum_add(&d->sums->form_before, told->form_before);
    pare_exact_sum_add(&d->sums->form_after, told->form_after);
    return PARE_OK;
}

static void take_sums(derived *d)
{
    if (d->sums == NULL)
        return;
    d->row->error = relative(&d->sums->error, &d->sums->energy);
    if (d->has_importance)
        d->row->weighted_error = relative(&d->sums->weighted_error, &d->sums->weighted_energy);
    if (d->has_feedback)
        d->row->feedback = relative(&d->sums->form_after, &d->sums->form_before);
    if (d->has_feedback)
        d->row->form = pare_exact_sum_value(&d->sums->form_after);
    d->row->lossless = !d->differ;
    free(d->sums);
    d->sums = NULL;
    d->has_feedback = false;
    d->differ = false;
}

/* n_rows rows have been read. When they complete the tensor, its error is known and the warning due: of the first
 * weight that is not finite and stays so, whatever the threads did. */
static pare_status rows_done(derived *d, const pare_tensor *t, uint64_t n_rows, const rows_told *told, pare_error *err)
{
    kept_weight first = {0};
    pthread_mutex_lock(&d->lock);
    pare_status st = told->encoded ? add_sums(d, t, told, err) : PARE_OK;
    d->n_done += n_rows;
    d->has_feedback = d->has_feedback || (told->encoded && d->form != NULL);
    d->differ = d->differ || told->differ;
    if (told->kept.what != NULL && (d->kept.what == NULL || told->kept.row < d->kept.row))
        d->kept = told->kept;
    if (d->n_done >= t->n_rows) {
        take_sums(d);
        first = d->kept;
        d->kept.what = NULL;
        d->n_done = 0;
    }
    pthread_mutex_unlock(&d->lock);
    if (st != PARE_OK || first.what == NULL)
        return st;
    return pare_warn(err, "%s: tensor '%s': row %" PRIu64 ", column %" PRIu64 " holds %s; kept", d->path, t->name,
                     first.row, first.column, first.what);
}

/* Where the target is a plain float: encode row x, not all of it finite, the finite values as always (one that is too
 * large for the type is an error), the others one by one. After that x and y hold zeros in their place. */
static pare_status encode_kept(const pare_tensor *t, float *x, float *y, uint8_t *dst, pare_error *err)
{
    uint32_t size = pare_type_get(t->type)->block_bytes;
    for (uint64_t i = 0; i < t->row_len; i++)
        y[i] = is_finite(x[i]) ? x[i] : 0.0f;
    pare_status st = pare_encode_rows(t->type, y, 1, (size_t)t->row_len, NULL, PARE_EFFORT_DEFAULT, dst, err);
    for (uint64_t i = 0; i < t->row_len && st == PARE_OK; i++)
        if (!is_finite(x[i])) {
            pare_encoder(t->type)(&x[i], 1, NULL, PARE_EFFORT_DEFAULT, dst + i * size);
            x[i] = 0;
        }
    if (st == PARE_OK)
        st = pare_decode_rows(t->type, dst, 1, (size_t)t->row_len, y, err);
    for (uint64_t i = 0; i < t->row_len && st == PARE_OK; i++)
        y[i] = is_finite(y[i]) ? y[i] : 0.0f;
    return st;
}

/* What rows that feedback is used on need besides: the rows as they were and the memory of pare_feedback_rows. */
typedef struct slab {
    float *x;      /* [PARE_FEEDBACK_ROWS, row_len] */
    float *factor; /* [row_len] of an expert's inputs */
    bool scaled;   /* factor is in use */
    void *scratch;
} slab;

/* What the rows of a call share: the row in hand, what is known of its inputs, and what is known of all rows. */
enum { ROW_BUFFERS = 6 };
typedef struct row_buffers {
    pare_row_buffers row;
    float *column, *mean; /* [row_len] of the expert's inputs */
    uint64_t expert;      /* that fit is for; UINT64_MAX: none yet */
    pare_row_fit fit;
    slab slab; /* x NULL: no feedback */
    rows_told told;
} row_buffers;

/* How this row is encoded: as those of its expert. */
static void fit_expert(const pare_tensor *t, const derived *d, uint64_t row, row_buffers *b)
{
    uint64_t expert = d->has_importance ? row / (t->n_rows / d->importance.n_experts) : 0;
    if (expert == b->expert)
        return;
    b->expert = expert;
    bool has_mean = d->has_importance && pare_imatrix_mean(&d->importance, expert, b->mean);
    if (d->has_importance)
        pare_imatrix_importance(&d->importance, expert, d->pooled, b->column);
    pare_row_fit_init(&b->fit, t->type, d->effort, d->slope, (size_t)t->row_len, d->has_importance ? b->column : NULL,
                      has_mean ? b->mean : NULL, &b->row);
    b->fit.source = d->source->type;
    b->slab.scaled = b->slab.x != NULL && d->importance.n_experts > 1 && !d->own_form;
    for (size_t i = 0; b->slab.scaled && i < t->row_len; i++)
        b->slab.factor[i] = pare_expert_factor(b->column[i], d->pooled[i]);
}

/* Encode the row in b. */
static pare_status encode_finite(const pare_tensor *t, const derived *d, uint64_t row, const row_buffers *b, void *dst,
                                 pare_row_sums *sums, pare_error *err)
{
    pare_error inner = {0};
    pare_status st = pare_row_fit_encode(&b->fit, &b->row, dst, sums, &inner);
    if (st != PARE_OK)
        pare_fail(err, st, "%s: tensor '%s', row %" PRIu64 ": %s", d->path, t->name, row, inner.text);
    return st;
}

/* Row x, in b, could not be encoded because it holds a NaN or an infinity, the first one in column i. That is an error,
 * or they become zeros, or, where the target is a plain float that can hold them, they stay. */
static pare_status encode_nonfinite(const pare_tensor *t, const derived *d, uint64_t row, uint64_t i, row_buffers *b,
                                    void *dst, pare_row_sums *sums, pare_error *err)
{
    float *x = b->row.x;
    const char *what = isnan(x[i]) ? "a NaN" : "an infinity";
    b->told.differ = true;
    if (d->flags & PARE_DERIVE_ZERO) {
        for (; i < t->row_len; i++)
            x[i] = is_finite(x[i]) ? x[i] : 0.0f;
        return encode_finite(t, d, row, b, dst, sums, err);
    }
    if ((d->flags & PARE_DERIVE_CHECK) || !(pare_type_get(t->type)->traits & PARE_TRAIT_FLOAT))
        return pare_fail(err, PARE_ERR_NUMBER,
                         "%s: tensor '%s': row %" PRIu64 ", column %" PRIu64 " holds %s, expected a finite number",
                         d->path, t->name, row, i, what);
    if (b->told.kept.what == NULL)
        b->told.kept = (kept_weight){row, i, what};
    pare_error inner = {0};
    pare_status st = encode_kept(t, x, b->row.y, dst, &inner);
    if (st == PARE_OK)
        *sums = pare_path_now()->compare(x, b->row.y, b->fit.column, (size_t)t->row_len);
    else
        pare_fail(err, st, "%s: tensor '%s', row %" PRIu64 ": %s", d->path, t->name, row, inner.text);
    return st;
}

/* What the weights of a row are divided by, a power of two; 1 without. */
static float factor_of(const pare_tensor *t, const derived *d, uint64_t row)
{
    return d->factor != NULL ? d->factor->value[row / (t->n_rows / pare_tensor_matrices(t))] : 1;
}

static void multiply(float *x, size_t n, float factor)
{
    for (size_t i = 0; factor != 1 && i < n; i++)
        x[i] *= factor;
}

/* Encode the row in b and add up its errors. That all values are finite, as they nearly always are, is found by the
 * encoder, and is not looked for here as well. */
static pare_status encode_read(const pare_tensor *t, const derived *d, uint64_t row, void *dst, row_buffers *b,
                               pare_row_sums *out, pare_error *err)
{
    pare_error why = {0};
    pare_row_sums sums;
    pare_status st = pare_check_interrupt(err);
    if (st != PARE_OK)
        return st;
    multiply(b->row.x, (size_t)t->row_len, 1 / factor_of(t, d, row));
    fit_expert(t, d, row, b);
    if ((st = encode_finite(t, d, row, b, dst, &sums, &why)) != PARE_OK) {
        uint64_t i = 0;
        while (i < t->row_len && is_finite(b->row.x[i]))
            i++;
        if (i < t->row_len)
            st = encode_nonfinite(t, d, row, i, b, dst, &sums, err);
        else if (err != NULL)
            *err = why;
    }
    *out = sums;
    return st;
}

/* Add one row's sums; b->row holds it and what it is decoded to, both divided by factor. */
static void add_row(row_buffers *b, const pare_tensor *t, float factor, const pare_row_sums *sums)
{
    double square = (double)factor * (double)factor;
    multiply(b->row.x, (size_t)t->row_len, factor);
    multiply(b->row.y, (size_t)t->row_len, factor);
    b->told.differ = b->told.differ || !pare_row_rounds_to(b->fit.source, b->row.x, b->row.y, (size_t)t->row_len);
    b->told.sums.error += sums->error * square;
    b->told.sums.energy += sums->energy * square;
    b->told.sums.weighted_error += sums->weighted_error * square;
    b->told.sums.weighted_energy += sums->weighted_energy * square;
}

static pare_status encode_row(const pare_tensor *t, const derived *d, uint64_t row, void *dst, row_buffers *b,
                              pare_row_sums *out, pare_error *err)
{
    pare_status st = pare_tensor_read_f32(d->source, row, 1, b->row.x, err);
    return st == PARE_OK ? encode_read(t, d, row, dst, b, out, err) : st;
}

/* The rows of a slab, or what they aim at; rows that are not all finite are left as they are, to be told of. */
static pare_status read_slab(const derived *d, uint64_t row, uint64_t n_rows, row_buffers *b, pare_error *err)
{
    pare_status st = pare_tensor_read_f32(d->source, row, n_rows, b->slab.x, err);
    if (st != PARE_OK || d->aim == NULL)
        return st;
    for (size_t i = 0; i < (size_t)n_rows * d->aim->n; i++)
        if (!is_finite(b->slab.x[i]))
            return PARE_OK;
    return pare_aim_rows(d->aim, row, (size_t)n_rows, b->slab.x, err);
}

/* n_rows rows of one expert, encoded with feedback. */
static pare_status encode_slab(const pare_tensor *t, derived *d, uint64_t row, uint64_t n_rows, uint8_t *dst,
                               row_buffers *b, pare_error *err)
{
    size_t n = (size_t)t->row_len;
    pare_row_sums sums;
    double before = 0, after = 0, factor = (double)factor_of(t, d, row);
    pare_status st = read_slab(d, row, n_rows, b, err);
    for (uint64_t i = 0; i < n_rows && st == PARE_OK; i++) {
        memcpy(b->row.x, b->slab.x + i * n, n * sizeof *b->row.x);
        st = encode_read(t, d, row + i, dst + i * t->row_bytes, b, &sums, err);
        memcpy(b->slab.x + i * n, b->row.x, n * sizeof *b->row.x);
    }
    if (st != PARE_OK)
        return st;
    pare_feedback_rows(d->form, t->type, b->slab.x, (size_t)n_rows, b->slab.scaled ? b->slab.factor : NULL, d->n_sweeps,
                       dst, b->slab.scratch, &before, &after);
    for (uint64_t i = 0; i < n_rows && st == PARE_OK; i++) {
        memcpy(b->row.x, b->slab.x + i * n, n * sizeof *b->row.x);
        st = pare_decode_rows(t->type, dst + i * t->row_bytes, 1, n, b->row.y, err);
        sums = pare_path_now()->compare(b->row.x, b->row.y, b->fit.column, n);
        add_row(b, t, (float)factor, &sums);
    }
    b->told.form_before += before * factor * factor;
    b->told.form_after += after * factor * factor;
    return st;
}

static pare_status encode_rows(const pare_tensor *t, derived *d, uint64_t row, uint64_t n_rows, uint8_t *dst,
                               row_buffers *b, pare_error *err)
{
    uint64_t in_expert = t->n_rows / (d->has_importance ? d->importance.n_experts : 1), done = 0;
    pare_row_sums sums;
    pare_status st = PARE_OK;
    for (uint64_t n; done < n_rows && st == PARE_OK; done += n) {
        uint64_t left = in_expert - (row + done) % in_expert;
        n = left < n_rows - done ? left : n_rows - done;
        n = n < PARE_FEEDBACK_ROWS ? n : PARE_FEEDBACK_ROWS;
        if (b->slab.x != NULL) {
            st = encode_slab(t, d, row + done, n, dst + done * t->row_bytes, b, err);
            continue;
        }
        n = 1;
        if ((st = encode_row(t, d, row + done, dst + done * t->row_bytes, b, &sums, err)) == PARE_OK)
            add_row(b, t, factor_of(t, d, row + done), &sums);
    }
    return st;
}

/* Floats of scratch that a call needs. */
static bool count_scratch(const pare_tensor *t, const derived *d, size_t *floats, size_t *bytes)
{
    size_t n = (size_t)t->row_len, rows = ROW_BUFFERS + (d->form != NULL ? PARE_FEEDBACK_ROWS + 1 : 0);
    return pare_mul_size(n, rows * sizeof(float), floats) && pare_add_size(*floats, (size_t)t->row_bytes + 16, bytes) &&
           (d->form == NULL || pare_add_size(*bytes, pare_feedback_scratch(t->type, n), bytes));
}

static bool copy_stored(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst)
{
    const derived *d = t->ctx;
    if (d->stored != NULL)
        memcpy(dst, d->stored + row * t->row_bytes, (size_t)(n_rows * t->row_bytes));
    return d->stored != NULL;
}

/* dst = rows [row, row + n_rows) encoded. */
static pare_status read_encoded(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    derived *d = (derived *)(uintptr_t)t->ctx; /* ours, in the arena; const only through the tensor */
    size_t n = (size_t)t->row_len, floats = 0, bytes = 0;
    float *scratch = NULL;
    if (copy_stored(t, row, n_rows, dst))
        return PARE_OK;
    if (count_scratch(t, d, &floats, &bytes))
        scratch = pare_scratch_alloc(bytes);
    if (scratch == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: tensor '%s': no memory for a row of %" PRIu64 " weights", d->path,
                         t->name, t->row_len);
    row_buffers b = {.row = {.x = scratch,
                             .y = scratch + n,
                             .weight = scratch + 2 * n,
                             .target = scratch + 3 * n,
                             .replaced = (uint8_t *)scratch + floats},
                     .column = scratch + 4 * n,
                     .mean = scratch + 5 * n,
                     .expert = UINT64_MAX,
                     .told = {.encoded = true}};
    if (d->form != NULL)
        b.slab = (slab){.x = scratch + ROW_BUFFERS * n,
                        .factor = scratch + (ROW_BUFFERS + PARE_FEEDBACK_ROWS) * n,
                        .scratch = (uint8_t *)scratch + floats + ((size_t)t->row_bytes + 15) / 16 * 16};
    pare_status st = d->factor != NULL ? pare_factor_find(d->factor, err) : PARE_OK;
    if (st == PARE_OK)
        st = encode_rows(t, d, row, n_rows, dst, &b, err);
    pare_scratch_free(scratch, bytes);
    if (st == PARE_OK)
        st = rows_done(d, t, n_rows, &b.told, err);
    pare_tensor_release(d->source, row, n_rows);
    return st;
}

/* The stored bytes as they are. What is not finite among them is an error or a warning. */
static pare_status read_kept(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    derived *d = (derived *)(uintptr_t)t->ctx;
    const pare_type_info *info = pare_type_get(t->type);
    if (copy_stored(t, row, n_rows, dst))
        return PARE_OK;
    pare_status st = pare_tensor_read(d->source, row, n_rows, dst, err);
    if (st != PARE_OK)
        return st;
    size_t bad = pare_find_nonfinite_block(t->type, dst, (size_t)(n_rows * t->row_len / info->block_len));
    pare_tensor_release(d->source, row, n_rows);
    if (bad == SIZE_MAX)
        return rows_done(d, t, n_rows, &(rows_told){0}, err);
    uint64_t at = row * t->row_len + (uint64_t)bad * info->block_len;
    const char *what = info->block_len > 1 ? "a block scale that is not finite" : "a weight that is not finite";
    if (!(d->flags & PARE_DERIVE_CHECK))
        return rows_done(d, t, n_rows, &(rows_told){.kept = {at / t->row_len, at % t->row_len, what}}, err);
    return pare_fail(err, PARE_ERR_NUMBER, "%s: tensor '%s': row %" PRIu64 ", column %" PRIu64 " holds %s", d->path,
                     t->name, at / t->row_len, at % t->row_len, what);
}

/* The factors of the tensor before. */
static pare_status read_factor(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    derived *d = (derived *)(uintptr_t)t->ctx;
    (void)row; /* one row */
    pare_status st = pare_factor_find(d->factor, err);
    for (uint64_t i = 0; st == PARE_OK && n_rows > 0 && i < t->row_len; i++)
        pare_store_f32le((uint8_t *)dst + i * sizeof(float), d->factor->value[i]);
    return st;
}

pare_status pare_derive_start(pare_model *out, const pare_model *in, pare_plan *plan, pare_error *err)
{
    *out = (pare_model){.format = PARE_FORMAT_GGUF,
                        .alignment = in->alignment,
                        .arch = in->arch,
                        .hp = in->hp,
                        .source = in,
                        .closing = drop_sums};
    *plan = (pare_plan){0};
    out->path = in->path;
    out->side_files = in->side_files;
    out->n_side_files = in->n_side_files;
    size_t bytes = 0;
    pare_status st = pare_model_reserve(out, 2 * in->n_tensors, err);
    if (st == PARE_OK)
        st = pare_meta_copy(&out->meta, &in->meta, err);
    if (st == PARE_OK && in->has_vocab)
        st = pare_vocab_from_meta(&out->vocab, &out->meta, in->path, &out->has_vocab, err);
    if (st == PARE_OK && pare_mul_size(2 * in->n_tensors, sizeof *plan->rows, &bytes) &&
        (plan->rows = pare_arena_alloc(&out->arena, bytes, err)) == NULL)
        st = PARE_ERR_MEMORY;
    if (st != PARE_OK)
        pare_model_close(out);
    return st;
}

/* Importances are for blocks; a tensor of the layers that lacks them is counted. */
static pare_status find_importance(derived *d, const pare_tensor *t, const pare_derive_how *how, pare_model *out,
                                   pare_plan *plan, pare_error *err)
{
    if (pare_type_get(how->to)->block_len == 1 || how->to == t->type)
        return PARE_OK;
    d->has_importance = pare_calibration_find(how->imatrix, t, &d->importance);
    plan->n_unweighted += !d->has_importance && how->imatrix != NULL && strncmp(t->name, "blk.", 4) == 0;
    if (!d->has_importance)
        return PARE_OK;
    if ((d->pooled = pare_arena_alloc(&out->arena, (size_t)t->row_len * sizeof *d->pooled, err)) == NULL)
        return PARE_ERR_MEMORY;
    d->has_importance = pare_imatrix_pooled(&d->importance, d->pooled);
    plan->n_meanless += d->has_importance && d->importance.sum == NULL;
    return PARE_OK;
}

static pare_status derive_one(pare_model *out, const pare_tensor *t, const pare_derive_how *how, pare_plan *plan,
                              pare_error *err)
{
    const pare_type_info *info = pare_type_get(how->to);
    bool keep = how->to == t->type;
    if (!keep && pare_encoder(how->to) == NULL)
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: tensor '%s': pare has no encoder for type %s", out->path,
                         t->name, info->name);
    derived *d = pare_arena_alloc(&out->arena, sizeof *d, err);
    if (d == NULL)
        return PARE_ERR_MEMORY;
    pare_plan_row *row = &plan->rows[plan->n++];
    *d = (derived){.source = t,
                   .path = out->path,
                   .flags = how->flags,
                   .row = row,
                   .effort = how->effort,
                   .slope = pare_importance_slope(how->to, how->lookup),
                   .factor = how->factor,
                   .lock = PTHREAD_MUTEX_INITIALIZER};
    pare_status st = find_importance(d, t, how, out, plan, err);
    if (st != PARE_OK)
        return st;
    pare_tensor copy = *t;
    copy.type = how->to;
    copy.factor = keep ? t->factor : NULL; /* what is encoded is the product */
    if (how->factor != NULL)
        copy.factor = how->factor->value;
    copy.data = NULL;
    copy.offset = 0;
    copy.ctx = d;
    copy.read = keep ? read_kept : read_encoded;
    copy.release = NULL;
    copy.base = t;
    copy.scratch_bytes = t->scratch_bytes + (size_t)t->row_bytes +
                         (ROW_BUFFERS + 1) * (size_t)t->row_len * sizeof(float); /* 1: the encoder's weights */
    pare_tensor *added = NULL;
    st = pare_tensor_set_shape(&copy, out->path, err);
    copy.scratch_bytes += (size_t)copy.row_bytes;
    if (st == PARE_OK)
        st = pare_model_add(out, &copy, &added, err);
    if (st != PARE_OK)
        return st;
    *row = (pare_plan_row){.name = added->name,
                           .from = t->type,
                           .wanted = how->wanted,
                           .to = how->to,
                           .bytes = copy.n_bytes,
                           .error = keep ? 0.0 : NAN,
                           .weighted_error = NAN,
                           .feedback = NAN,
                           .form = NAN};
    plan->n_fallback += how->wanted != how->to;
    return PARE_OK;
}

typedef struct encoding {
    const pare_tensor *t;
    uint8_t *to;
    uint64_t first, end; /* rows */
    atomic_uint_least64_t n_rows;
    pare_derive_fn each;
    void *user;
} encoding;

static pare_status encode_part(size_t i, int thread, void *ctx, pare_error *err)
{
    encoding *e = ctx;
    uint64_t row = e->first + (uint64_t)i * PARE_FEEDBACK_ROWS, left = e->end - row;
    uint64_t n = left < PARE_FEEDBACK_ROWS ? left : PARE_FEEDBACK_ROWS;
    pare_status st = read_encoded(e->t, row, n, e->to + row * e->t->row_bytes, err);
    n += atomic_fetch_add(&e->n_rows, n);
    if (thread == 0 && e->each != NULL)
        e->each(n, e->user);
    return st;
}

bool pare_derive_takes_feedback(const pare_tensor *t)
{
    const derived *d = t->ctx;
    return t->read == read_encoded && pare_feedback_unit(t->type) > 0 && d->effort != PARE_EFFORT_RTN;
}

/* Rows from e->first to before e->end under form, or without feedback (NULL). */
static pare_status encode_parts(encoding *e, const pare_form *form, bool own_form, int n_sweeps, pare_error *err)
{
    derived *d = (derived *)(uintptr_t)e->t->ctx;
    uint64_t n = e->end - e->first;
    atomic_store(&e->n_rows, e->first);
    d->form = form;
    d->own_form = own_form;
    d->n_sweeps = n_sweeps;
    pare_status st = pare_parallel((size_t)((n + PARE_FEEDBACK_ROWS - 1) / PARE_FEEDBACK_ROWS), encode_part, e, err);
    d->form = NULL;
    d->own_form = false;
    return st;
}

pare_status pare_derive_encode(const pare_tensor *t, const pare_form *form, const pare_aim *aim, int n_sweeps, void *to,
                               pare_derive_fn each, void *user, pare_error *err)
{
    derived *d = (derived *)(uintptr_t)t->ctx;
    encoding e = {.t = t, .to = to, .end = t->n_rows, .each = each, .user = user};
    d->aim = aim;
    pare_status st = encode_parts(&e, form, false, n_sweeps, err);
    d->aim = NULL;
    if (st == PARE_OK)
        pare_derive_restore(t, to);
    return st;
}

pare_status pare_derive_encode_expert(const pare_tensor *t, uint64_t expert, const pare_form *form, int n_sweeps,
                                      void *to, pare_derive_fn each, void *user, pare_error *err)
{
    uint64_t n = pare_tensor_matrices(t), rows = t->n_rows / n;
    encoding e = {.t = t, .to = to, .first = expert * rows, .end = (expert + 1) * rows, .each = each, .user = user};
    pare_status st = encode_parts(&e, form, true, n_sweeps, err);
    if (st == PARE_OK && expert + 1 == n)
        pare_derive_restore(t, to);
    return st;
}

bool pare_derive_is_stored(const pare_tensor *t)
{
    return ((const derived *)t->ctx)->stored != NULL;
}

const void *pare_derive_stored(const pare_tensor *t)
{
    return ((const derived *)t->ctx)->stored;
}

void pare_derive_restore(const pare_tensor *t, const void *bytes)
{
    derived *d = (derived *)(uintptr_t)t->ctx;
    d->stored = bytes;
}

pare_status pare_derive_find_factor(const pare_tensor *t, pare_error *err)
{
    const derived *d = t->ctx;
    return d->factor != NULL ? pare_factor_find(d->factor, err) : PARE_OK;
}

/* NAME.scale of a weight, or NULL: the name is too long, or another one. */
static const char *factor_name(char *dst, size_t size, const char *weight)
{
    static const char end[] = "weight";
    size_t n = strlen(weight), k = sizeof end - 1;
    if (n < k || n >= size || strcmp(weight + n - k, end) != 0)
        return NULL;
    snprintf(dst, size, "%.*sscale", (int)(n - k), weight);
    return dst;
}

/* The factors of t as the tensor behind it. */
static pare_status add_factor(pare_model *out, const pare_tensor *t, const pare_derive_how *how, pare_plan *plan,
                              pare_error *err)
{
    char name[NAME_BYTES];
    pare_tensor *added = NULL, factors = {.name = factor_name(name, sizeof name, t->name),
                                          .type = PARE_TYPE_F32,
                                          .n_dims = 1,
                                          .dim = {pare_tensor_matrices(t)},
                                          .file = t->file,
                                          .read = read_factor,
                                          .base = t,
                                          .scratch_bytes = t->scratch_bytes + (size_t)t->row_len * sizeof(float)};
    derived *d = pare_arena_alloc(&out->arena, sizeof *d, err);
    pare_status st = d != NULL ? pare_tensor_set_shape(&factors, out->path, err) : PARE_ERR_MEMORY;
    if (st != PARE_OK)
        return st;
    *d = (derived){.source = t, .path = out->path, .factor = how->factor, .lock = PTHREAD_MUTEX_INITIALIZER};
    factors.ctx = d;
    if ((st = pare_model_add(out, &factors, &added, err)) == PARE_OK)
        plan->rows[plan->n++] = (pare_plan_row){.name = added->name,
                                                .from = PARE_TYPE_F32,
                                                .wanted = PARE_TYPE_F32,
                                                .to = PARE_TYPE_F32,
                                                .bytes = factors.n_bytes,
                                                .weighted_error = NAN,
                                                .feedback = NAN,
                                                .form = NAN};
    return st;
}

pare_status pare_derive_store(pare_tensor *t, pare_type type, const void *bytes, pare_error *err)
{
    derived *d = (derived *)(uintptr_t)t->ctx;
    t->type = type;
    t->factor = NULL; /* the values have it */
    t->read = read_encoded;
    d->stored = bytes;
    pare_status st = pare_tensor_set_shape(t, d->path, err);
    d->row->to = d->row->wanted = type;
    d->row->bytes = t->n_bytes;
    return st;
}

pare_status pare_derive_add(pare_model *out, const pare_tensor *t, const pare_derive_how *how, pare_plan *plan,
                            pare_error *err)
{
    char name[NAME_BYTES];
    if (pare_model_is_factor(out->source, t))
        return PARE_OK; /* goes with its weight */
    pare_status st = derive_one(out, t, how, plan, err);
    if (st == PARE_OK && how->factor != NULL)
        return add_factor(out, t, how, plan, err);
    if (st != PARE_OK || t->factor == NULL || how->to != t->type || factor_name(name, sizeof name, t->name) == NULL)
        return st;
    const pare_tensor *factor = pare_model_find(out->source, name);
    const pare_derive_how keep = {.wanted = PARE_TYPE_F32, .to = PARE_TYPE_F32, .flags = how->flags};
    return factor != NULL ? derive_one(out, factor, &keep, plan, err) : PARE_OK;
}

bool pare_derive_keeps_f32(const pare_tensor *t)
{
    /* Stock's converter keeps these in float32 (conversion/base.py, prepare_tensors): readers expect it. */
    static const char *const patterns[] = {
        "*_norm.weight",      "*.ffn_gate_inp.weight", "*.ffn_gate_inp_shexp.weight", "position_embd.weight",
        "token_types.weight", "*.ssm_conv1d.weight",   "*.shortconv.conv.weight"};
    size_t len = strlen(t->name);
    if (t->n_dims <= 1 || len < 7 || strcmp(t->name + len - 7, ".weight") != 0)
        return true;
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++)
        if (fnmatch(patterns[i], t->name, 0) == 0)
            return true;
    return false;
}

uint32_t pare_derive_file_type(pare_type type)
{
    const pare_preset *preset = pare_preset_find(pare_type_get(type)->name), *other = NULL;
    size_t n = 0;
    for (size_t i = 0; (other = pare_preset_at(i)) != NULL && preset == NULL && n < 2; i++)
        n += other->base == type;
    for (size_t i = 0; n == 1 && preset == NULL; i++) /* the only one of this type has another name: mxfp4_moe */
        if (pare_preset_at(i)->base == type)
            preset = pare_preset_at(i);
    return preset != NULL ? preset->ftype : 1024; /* LLAMA_FTYPE_GUESSED */
}
