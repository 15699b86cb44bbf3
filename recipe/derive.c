#include "recipe/derive.h"
#include "core/bytes.h"
#include "core/checked.h"
#include "core/scratch.h"
#include "quant/importance.h"
#include "quant/registry.h"
#include "recipe/calibration.h"

#include <fnmatch.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Squared error and energy of one row. Summed in row order when the tensor is complete, so that the figure does not
 * depend on which thread encoded which row. */
typedef struct row_error {
    double error, energy, weighted_error, weighted_energy;
} row_error;

/* ctx of a derived tensor. */
typedef struct derived {
    const pare_tensor *source;
    const char *path; /* of the source, for messages */
    unsigned flags;
    pare_plan_row *row;
    pthread_mutex_t lock;
    bool warned;       /* of values that are not finite */
    row_error *errors; /* [n_rows] while the tensor is being encoded, else NULL */
    uint64_t n_done;
    pare_effort effort;
    bool has_importance;
    pare_imatrix_entry importance;
} derived;

static bool is_finite(float x)
{
    return (pare_f32_to_bits(x) & 0x7f800000u) != 0x7f800000u;
}

/* The place of this tensor's row errors, made by whoever comes first. */
static row_error *errors_of(derived *d, const pare_tensor *t)
{
    pthread_mutex_lock(&d->lock);
    if (d->errors == NULL) {
        size_t bytes = 0;
        d->errors = pare_mul_size((size_t)t->n_rows, sizeof *d->errors, &bytes) ? malloc(bytes) : NULL;
        d->n_done = 0;
    }
    pthread_mutex_unlock(&d->lock);
    return d->errors;
}

/* Errors of tensors whose encoding was broken off. */
static void drop_errors(pare_model *m)
{
    for (size_t i = 0; i < m->n_tensors; i++) {
        derived *d = (derived *)(uintptr_t)m->tensors[i].ctx;
        free(d->errors);
        pthread_mutex_destroy(&d->lock);
    }
}

static void rows_done(derived *d, const pare_tensor *t, uint64_t n_rows)
{
    pthread_mutex_lock(&d->lock);
    d->n_done += n_rows;
    if (d->errors != NULL && d->n_done >= t->n_rows) {
        row_error sum = {0};
        for (uint64_t r = 0; r < t->n_rows; r++) {
            sum.error += d->errors[r].error;
            sum.energy += d->errors[r].energy;
            sum.weighted_error += d->errors[r].weighted_error;
            sum.weighted_energy += d->errors[r].weighted_energy;
        }
        d->row->error = sum.energy > 0 ? sum.error / sum.energy : 0.0;
        if (d->has_importance)
            d->row->weighted_error = sum.weighted_energy > 0 ? sum.weighted_error / sum.weighted_energy : 0.0;
        free(d->errors);
        d->errors = NULL;
    }
    pthread_mutex_unlock(&d->lock);
}

/* weight: [n] importances or NULL */
static row_error compare_row(const float *x, const float *y, const float *weight, uint64_t n)
{
    row_error e = {0};
    for (uint64_t i = 0; i < n; i++) {
        if (!is_finite(x[i]))
            continue; /* kept as it is, or refused */
        double diff = (double)x[i] - (double)y[i], energy = (double)x[i] * (double)x[i];
        e.error += diff * diff;
        e.energy += energy;
        if (weight != NULL) {
            e.weighted_error += (double)weight[i] * diff * diff;
            e.weighted_energy += (double)weight[i] * energy;
        }
    }
    return e;
}

/* One warning a tensor: at this place, or before it, lies what is not finite and stays so. */
static pare_status warn_kept(derived *d, const pare_tensor *t, uint64_t row, uint64_t i, const char *what,
                             pare_error *err)
{
    pthread_mutex_lock(&d->lock);
    bool first = !d->warned;
    d->warned = true;
    pthread_mutex_unlock(&d->lock);
    if (!first)
        return PARE_OK;
    return pare_warn(err, "%s: tensor '%s': row %" PRIu64 ", column %" PRIu64 " holds %s; kept", d->path, t->name, row,
                     i, what);
}

/* What becomes of the first value of row x that is not finite, at column i: an error, zeros, or, where the target is a
 * plain float that can hold it, a warning (one a tensor) and itself. *kept says that there are such values. */
static pare_status meet_nonfinite(derived *d, const pare_tensor *t, uint64_t row, uint64_t i, float *x, bool *kept,
                                  pare_error *err)
{
    const char *what = isnan(x[i]) ? "a NaN" : "an infinity";
    if (d->flags & PARE_DERIVE_ZERO) {
        for (; i < t->row_len; i++)
            x[i] = is_finite(x[i]) ? x[i] : 0.0f;
        return PARE_OK;
    }
    if ((d->flags & PARE_DERIVE_CHECK) || !(pare_type_get(t->type)->traits & PARE_TRAIT_FLOAT))
        return pare_fail(err, PARE_ERR_NUMBER,
                         "%s: tensor '%s': row %" PRIu64 ", column %" PRIu64 " holds %s, expected a finite number",
                         d->path, t->name, row, i, what);
    *kept = true;
    return warn_kept(d, t, row, i, what, err);
}

/* Encode row x of plain floats that are not all finite: the finite ones as always (a value too large for the type is an
 * error), the others one by one. z has room for a row. */
static pare_status encode_kept(const pare_tensor *t, const float *x, float *z, uint8_t *dst, pare_error *err)
{
    uint32_t size = pare_type_get(t->type)->block_bytes;
    for (uint64_t i = 0; i < t->row_len; i++)
        z[i] = is_finite(x[i]) ? x[i] : 0.0f;
    pare_status st = pare_encode_rows(t->type, z, 1, (size_t)t->row_len, NULL, PARE_EFFORT_DEFAULT, dst, err);
    for (uint64_t i = 0; i < t->row_len && st == PARE_OK; i++)
        if (!is_finite(x[i]))
            pare_encoder(t->type)(&x[i], 1, NULL, PARE_EFFORT_DEFAULT, dst + i * size);
    return st;
}

/* What the rows of a call share: the row in hand, its decoded form, the importances of its columns and its weights. */
enum { ROW_BUFFERS = 4 };
typedef struct row_buffers {
    float *x, *y, *column, *weight; /* [row_len] */
    uint64_t expert;                /* whose importances are in column; UINT64_MAX: nobody's */
} row_buffers;

/* The importances of the columns for this row: NULL when all count alike. */
static const float *columns_of(const pare_tensor *t, const derived *d, uint64_t row, row_buffers *b)
{
    if (!d->has_importance)
        return NULL;
    uint64_t expert = row / (t->n_rows / d->importance.n_experts);
    if (expert != b->expert)
        pare_imatrix_importance(&d->importance, expert, b->column); /* there are some: pare_calibration_find */
    b->expert = expert;
    return b->column;
}

/* Encode one row and measure it. */
static pare_status encode_row(const pare_tensor *t, derived *d, uint64_t row, void *dst, row_buffers *b, row_error *e,
                              pare_error *err)
{
    float *x = b->x, *y = b->y;
    const float *column = columns_of(t, d, row, b), *weight = NULL;
    bool kept = false;
    uint64_t i = 0;
    pare_error inner = {0};
    pare_status st = pare_tensor_read_f32(d->source, row, 1, x, err);
    while (st == PARE_OK && i < t->row_len && is_finite(x[i]))
        i++;
    if (st == PARE_OK && i < t->row_len)
        st = meet_nonfinite(d, t, row, i, x, &kept, err);
    if (st != PARE_OK)
        return st;
    if (!kept && pare_importance_of_weights(t->type, column, x, (size_t)t->row_len, b->weight))
        weight = b->weight;
    st = kept ? encode_kept(t, x, y, dst, &inner)
              : pare_encode_rows(t->type, x, 1, (size_t)t->row_len, weight, d->effort, dst, &inner);
    if (st != PARE_OK)
        return pare_fail(err, st, "%s: tensor '%s', row %" PRIu64 ": %s", d->path, t->name, row, inner.text);
    if ((st = pare_decode_rows(t->type, dst, 1, (size_t)t->row_len, y, err)) == PARE_OK)
        *e = compare_row(x, y, column, t->row_len);
    return st;
}

static pare_status read_encoded(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    derived *d = (derived *)(uintptr_t)t->ctx; /* ours, in the arena; const only through the tensor */
    row_error *errors = errors_of(d, t);
    size_t bytes = 0;
    float *scratch =
        pare_mul_size((size_t)t->row_len, ROW_BUFFERS * sizeof *scratch, &bytes) ? pare_scratch_alloc(bytes) : NULL;
    if (scratch == NULL || errors == NULL) {
        pare_scratch_free(scratch, bytes);
        return pare_fail(err, PARE_ERR_MEMORY, "%s: tensor '%s': no memory for a row of %" PRIu64 " weights", d->path,
                         t->name, t->row_len);
    }
    row_buffers b = {scratch, scratch + t->row_len, scratch + 2 * t->row_len, scratch + 3 * t->row_len, UINT64_MAX};
    pare_status st = PARE_OK;
    for (uint64_t i = 0; i < n_rows && st == PARE_OK; i++)
        st = encode_row(t, d, row + i, (uint8_t *)dst + i * t->row_bytes, &b, &errors[row + i], err);
    pare_scratch_free(scratch, bytes);
    if (st == PARE_OK) {
        pare_tensor_release(d->source, row, n_rows);
        rows_done(d, t, n_rows);
    }
    return st;
}

/* The stored bytes as they are. What is not finite among them is an error or a warning. */
static pare_status read_kept(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    derived *d = (derived *)(uintptr_t)t->ctx;
    const pare_type_info *info = pare_type_get(t->type);
    pare_status st = pare_tensor_read(d->source, row, n_rows, dst, err);
    if (st != PARE_OK)
        return st;
    size_t bad = pare_find_nonfinite_block(t->type, dst, (size_t)(n_rows * t->row_len / info->block_len));
    pare_tensor_release(d->source, row, n_rows);
    if (bad == SIZE_MAX)
        return PARE_OK;
    uint64_t at = row * t->row_len + (uint64_t)bad * info->block_len;
    const char *what = info->block_len > 1 ? "a block scale that is not finite" : "a weight that is not finite";
    if (!(d->flags & PARE_DERIVE_CHECK))
        return warn_kept(d, t, at / t->row_len, at % t->row_len, what, err);
    return pare_fail(err, PARE_ERR_NUMBER, "%s: tensor '%s': row %" PRIu64 ", column %" PRIu64 " holds %s", d->path,
                     t->name, at / t->row_len, at % t->row_len, what);
}

pare_status pare_derive_start(pare_model *out, const pare_model *in, pare_plan *plan, pare_error *err)
{
    *out = (pare_model){.format = PARE_FORMAT_GGUF,
                        .alignment = in->alignment,
                        .arch = in->arch,
                        .hp = in->hp,
                        .source = in,
                        .closing = drop_errors};
    *plan = (pare_plan){0};
    out->path = in->path;
    out->side_files = in->side_files;
    out->n_side_files = in->n_side_files;
    size_t bytes = 0;
    pare_status st = pare_model_reserve(out, in->n_tensors, err);
    if (st == PARE_OK)
        st = pare_meta_copy(&out->meta, &in->meta, err);
    if (st == PARE_OK && in->has_vocab)
        st = pare_vocab_from_meta(&out->vocab, &out->meta, in->path, &out->has_vocab, err);
    if (st == PARE_OK && pare_mul_size(in->n_tensors, sizeof *plan->rows, &bytes) &&
        (plan->rows = pare_arena_alloc(&out->arena, bytes, err)) == NULL)
        st = PARE_ERR_MEMORY;
    if (st != PARE_OK)
        pare_model_close(out);
    return st;
}

/* Importances are for blocks; a tensor of the layers that lacks them is counted. */
static void find_importance(derived *d, const pare_tensor *t, const pare_derive_how *how, pare_plan *plan)
{
    if (pare_type_get(how->to)->block_len == 1 || how->to == t->type)
        return;
    d->has_importance = pare_calibration_find(how->imatrix, t, &d->importance);
    plan->n_unweighted += !d->has_importance && how->imatrix != NULL && strncmp(t->name, "blk.", 4) == 0;
}

pare_status pare_derive_add(pare_model *out, const pare_tensor *t, const pare_derive_how *how, pare_plan *plan,
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
                   .lock = PTHREAD_MUTEX_INITIALIZER};
    find_importance(d, t, how, plan);
    pare_tensor copy = *t;
    copy.type = how->to;
    copy.data = NULL;
    copy.offset = 0;
    copy.ctx = d;
    copy.read = keep ? read_kept : read_encoded;
    copy.base = t;
    copy.scratch_bytes = t->scratch_bytes + (size_t)t->row_bytes + ROW_BUFFERS * (size_t)t->row_len * sizeof(float);
    pare_tensor *added = NULL;
    pare_status st = pare_tensor_set_shape(&copy, out->path, err);
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
                           .weighted_error = NAN};
    plan->n_fallback += how->wanted != how->to;
    return PARE_OK;
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
    const pare_preset *preset = pare_preset_find(pare_type_get(type)->name);
    return preset != NULL ? preset->ftype : 1024; /* LLAMA_FTYPE_GUESSED */
}
