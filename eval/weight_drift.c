#include "eval/weight_drift.h"

#include "core/checked.h"
#include "core/progress.h"
#include "core/scratch.h"
#include "core/threads.h"
#include "quant/registry.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SLICE_WEIGHTS = 1 << 16 };

double pare_weight_relative(const pare_weight_change *c)
{
    if (c->change == 0)
        return 0;
    return c->size > 0 ? sqrt(c->change / c->size) : INFINITY;
}

pare_status pare_weights_comparable(const pare_model *original, const pare_model *modified, pare_error *err)
{
    static const char key[] = "general.architecture";
    pare_str left = {0}, right = {0};
    bool found = false;
    pare_status st = pare_meta_name(&original->meta, original->path, key, &left, &found, err);
    if (st == PARE_OK)
        st = pare_meta_name(&modified->meta, modified->path, key, &right, &found, err);
    if (st != PARE_OK)
        return st;
    if (left.len == right.len && (left.len == 0 || memcmp(left.data, right.data, left.len) == 0))
        return PARE_OK;
    return pare_fail(err, PARE_ERR_UNSUPPORTED,
                     "weights are not compared: %s has the architecture '%.*s', %s has '%.*s'", original->path,
                     (int)left.len, left.data, modified->path, (int)right.len, right.data);
}

/* The differences of n values; four sums of each kind, so that additions need not wait for one another. */
static void compare_values(const float *a, const float *b, size_t n, pare_weight_change *out)
{
    double change[4] = {0}, size[4] = {0}, most = 0;
    uint64_t n_changed = 0, n_nonfinite = 0;
    for (size_t i = 0; i < n; i++) {
        const double x = a[i], d = (double)b[i] - x;
        if (!isfinite(d) || !isfinite(x)) {
            n_nonfinite++;
            n_changed += memcmp(&a[i], &b[i], sizeof a[i]) != 0;
            continue;
        }
        n_changed += d != 0;
        most = fmax(most, fabs(d));
        change[i % 4] += d * d;
        size[i % 4] += x * x;
    }
    *out = (pare_weight_change){.n_weights = n,
                                .n_changed = n_changed,
                                .n_nonfinite = n_nonfinite,
                                .max_abs = most,
                                .change = change[0] + change[1] + change[2] + change[3],
                                .size = size[0] + size[1] + size[2] + size[3]};
}

/* One after the other in the order of the slices, so that sums do not depend on the threads. */
static void add_change(pare_weight_change *sum, const pare_weight_change *part)
{
    sum->n_weights += part->n_weights;
    sum->n_changed += part->n_changed;
    sum->n_nonfinite += part->n_nonfinite;
    sum->max_abs = fmax(sum->max_abs, part->max_abs);
    sum->change += part->change;
    sum->size += part->size;
    sum->same_bytes = sum->same_bytes && part->same_bytes;
}

typedef struct slicing {
    const pare_tensor *a, *b;
    bool decoded;
    uint64_t rows;             /* of a slice; the last one may have fewer */
    pare_weight_change *parts; /* one a slice */
} slicing;

/* Rows as they are stored: where they lie in the mapped file, or read into *owned, which the caller frees. */
static pare_status stored_rows(const pare_tensor *t, uint64_t row, uint64_t n, void **owned, const void **out,
                               pare_error *err)
{
    const size_t bytes = (size_t)(n * t->row_bytes);
    *owned = NULL;
    if (t->data != NULL && t->read == NULL) {
        *out = t->data + row * t->row_bytes;
        return PARE_OK;
    }
    if ((*out = *owned = pare_scratch_alloc(bytes)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory for %zu bytes", t->name, bytes);
    return pare_tensor_read(t, row, n, *owned, err);
}

static pare_status compare_stored(const slicing *s, const void *a, const void *b, uint64_t row, uint64_t n,
                                  pare_weight_change *out, pare_error *err)
{
    const size_t n_weights = (size_t)(n * s->a->row_len), bytes = n_weights * sizeof(float);
    const bool same = s->a->type == s->b->type && memcmp(a, b, (size_t)(n * s->a->row_bytes)) == 0;
    const bool shared = same && s->a->factor == NULL && s->b->factor == NULL; /* the values */
    *out = (pare_weight_change){.n_weights = n_weights, .same_bytes = same};
    if (!s->decoded)
        return PARE_OK;
    float *left = pare_scratch_alloc(bytes), *right = shared ? left : pare_scratch_alloc(bytes);
    pare_status st = PARE_OK;
    if (left == NULL || right == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory for %zu bytes", s->a->name, 2 * bytes);
    if (st == PARE_OK)
        st = pare_decode_rows(s->a->type, a, (size_t)n, (size_t)s->a->row_len, left, err);
    if (st == PARE_OK && !shared)
        st = pare_decode_rows(s->b->type, b, (size_t)n, (size_t)s->b->row_len, right, err);
    if (st == PARE_OK && !shared) {
        pare_tensor_apply_factor(s->a, row, n, left);
        pare_tensor_apply_factor(s->b, row, n, right);
    }
    if (st == PARE_OK)
        compare_values(left, right, n_weights, out);
    out->same_bytes = same;
    if (right != left)
        pare_scratch_free(right, bytes);
    pare_scratch_free(left, bytes);
    return st;
}

static pare_status compare_slice(size_t i, int thread, void *ctx, pare_error *err)
{
    const slicing *s = ctx;
    const uint64_t row = i * s->rows, n = s->a->n_rows - row < s->rows ? s->a->n_rows - row : s->rows;
    void *own_a = NULL, *own_b = NULL;
    const void *a = NULL, *b = NULL;
    (void)thread;
    pare_status st = pare_check_interrupt(err);
    if (st == PARE_OK)
        st = stored_rows(s->a, row, n, &own_a, &a, err);
    if (st == PARE_OK)
        st = stored_rows(s->b, row, n, &own_b, &b, err);
    if (st == PARE_OK)
        st = compare_stored(s, a, b, row, n, &s->parts[i], err);
    pare_scratch_free(own_a, (size_t)(n * s->a->row_bytes));
    pare_scratch_free(own_b, (size_t)(n * s->b->row_bytes));
    return st;
}

/* Dimensions of 1 in front say nothing: some files have [1, n] where others have [n]. */
static bool same_shape(const pare_tensor *a, const pare_tensor *b)
{
    uint32_t i = 0, k = 0;
    while (i < a->n_dims && a->dim[i] == 1)
        i++;
    while (k < b->n_dims && b->dim[k] == 1)
        k++;
    if (a->n_dims - i != b->n_dims - k || a->row_len != b->row_len)
        return false;
    return i == a->n_dims || memcmp(a->dim + i, b->dim + k, (a->n_dims - i) * sizeof a->dim[0]) == 0;
}

static bool can_decode(const pare_tensor *t)
{
    return pare_type_get(t->type)->decode != NULL;
}

static pare_status compare_tensor(pare_weight_row *row, pare_error *err)
{
    slicing s = {.a = row->original, .b = row->modified};
    size_t bytes = 0;
    row->change.same_bytes = true;
    row->decoded = s.decoded = can_decode(s.a) && can_decode(s.b);
    if (s.a->row_len == 0 || s.a->n_rows == 0)
        return PARE_OK;
    s.rows = s.a->row_len < SLICE_WEIGHTS ? SLICE_WEIGHTS / s.a->row_len : 1;
    const uint64_t n_slices = s.a->n_rows / s.rows + (s.a->n_rows % s.rows != 0);
    if (!pare_mul_size((size_t)n_slices, sizeof *s.parts, &bytes) || (s.parts = malloc(bytes)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory to compare it", row->name);
    pare_status st = pare_parallel((size_t)n_slices, compare_slice, &s, err);
    for (size_t i = 0; i < n_slices && st == PARE_OK; i++)
        add_change(&row->change, &s.parts[i]);
    free(s.parts);
    const bool equal = row->decoded ? row->change.n_changed == 0 : row->change.same_bytes;
    row->state = equal ? PARE_WEIGHT_SAME : PARE_WEIGHT_CHANGED;
    return st;
}

static pare_status compare_row(pare_weight_row *row, pare_error *err)
{
    row->state = row->modified == NULL                       ? PARE_WEIGHT_REMOVED
                 : row->original == NULL                     ? PARE_WEIGHT_ADDED
                 : !same_shape(row->original, row->modified) ? PARE_WEIGHT_SHAPE
                                                             : PARE_WEIGHT_SAME;
    return row->state == PARE_WEIGHT_SAME ? compare_tensor(row, err) : PARE_OK;
}

static pare_status list_rows(pare_weight_drift *d, const pare_model *original, const pare_model *modified,
                             pare_error *err)
{
    size_t n = original->n_tensors;
    for (size_t i = 0; i < modified->n_tensors; i++)
        n += pare_model_find(original, modified->tensors[i].name) == NULL;
    d->rows = pare_arena_alloc(&d->arena, n * sizeof *d->rows, err);
    d->most = pare_arena_alloc(&d->arena, n * sizeof *d->most, err);
    d->kinds = pare_arena_alloc(&d->arena, n * sizeof *d->kinds, err);
    if (d->rows == NULL || d->most == NULL || d->kinds == NULL)
        return PARE_ERR_MEMORY;
    for (size_t i = 0; i < original->n_tensors; i++) {
        const pare_tensor *t = &original->tensors[i];
        d->rows[d->n_rows++] =
            (pare_weight_row){.name = t->name, .original = t, .modified = pare_model_find(modified, t->name)};
    }
    for (size_t i = 0; i < modified->n_tensors; i++) {
        const pare_tensor *t = &modified->tensors[i];
        if (pare_model_find(original, t->name) == NULL)
            d->rows[d->n_rows++] = (pare_weight_row){.name = t->name, .modified = t};
    }
    return PARE_OK;
}

/* "blk.12.attn_q.weight" -> "blk.*.attn_q.weight": the first part of digits alone. */
static char *kind_of(pare_weight_drift *d, const char *name, pare_error *err)
{
    char *kind = pare_arena_copy(&d->arena, name, strlen(name), err);
    for (char *at = kind; at != NULL && (at = strchr(at, '.')) != NULL;) {
        const size_t digits = strspn(++at, "0123456789");
        if (digits > 0 && at[digits] == '.') {
            memmove(at + 1, at + digits, strlen(at + digits) + 1);
            *at = '*';
            break;
        }
    }
    return kind;
}

static pare_status add_to_kind(pare_weight_drift *d, pare_index *by_name, const pare_weight_row *row, pare_error *err)
{
    int64_t old = PARE_INDEX_NONE;
    const char *name = kind_of(d, row->name, err);
    if (name == NULL)
        return PARE_ERR_MEMORY;
    pare_status st = pare_index_add(by_name, (pare_str){name, strlen(name)}, (int64_t)d->n_kinds, &old, err);
    if (st != PARE_OK)
        return st;
    pare_weight_kind *kind = &d->kinds[old != PARE_INDEX_NONE ? (size_t)old : d->n_kinds++];
    if (old == PARE_INDEX_NONE)
        *kind = (pare_weight_kind){.name = name, .change = {.same_bytes = true}};
    kind->n_tensors++;
    kind->n_changed += row->state == PARE_WEIGHT_CHANGED;
    add_change(&kind->change, &row->change);
    return PARE_OK;
}

/* Rows of equal change keep the order of the tensors. */
static int larger_change_first(const void *a, const void *b)
{
    const pare_weight_row *x = *(const pare_weight_row *const *)a, *y = *(const pare_weight_row *const *)b;
    const double left = pare_weight_relative(&x->change), right = pare_weight_relative(&y->change);
    return left != right ? (left < right) - (left > right) : (x > y) - (x < y);
}

pare_status pare_weight_drift_measure(pare_weight_drift *out, const pare_model *original, const pare_model *modified,
                                      pare_error *err)
{
    pare_index kinds = {0};
    *out = (pare_weight_drift){.total = {.same_bytes = true}};
    pare_status st = list_rows(out, original, modified, err);
    for (size_t i = 0; i < out->n_rows && st == PARE_OK; i++) {
        pare_weight_row *row = &out->rows[i];
        pare_progress("tensors", i, out->n_rows, row->name);
        if ((st = compare_row(row, err)) != PARE_OK)
            break;
        if (row->state == PARE_WEIGHT_CHANGED)
            out->most[out->n_most++] = row;
        if (row->state == PARE_WEIGHT_CHANGED || row->state == PARE_WEIGHT_SAME) {
            add_change(&out->total, &row->change);
            st = add_to_kind(out, &kinds, row, err);
        }
    }
    pare_index_close(&kinds);
    if (st != PARE_OK)
        pare_weight_drift_close(out);
    else if (out->n_most > 1)
        qsort(out->most, out->n_most, sizeof *out->most, larger_change_first);
    return st;
}

void pare_weight_drift_close(pare_weight_drift *d)
{
    pare_arena_close(&d->arena);
    *d = (pare_weight_drift){0};
}
