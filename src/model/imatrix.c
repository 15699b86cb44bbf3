#include "model/imatrix.h"

#include "core/checked.h"
#include "model/sample.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void pare_imatrix_close(pare_imatrix *im)
{
    free(im->entries);
    free(im->datasets);
    pare_index_close(&im->by_name);
    pare_grams_close(&im->grams);
    pare_map_close(&im->map);
    pare_spool_close(&im->spool);
    pare_arena_close(&im->arena);
    *im = (pare_imatrix){0};
}

static pare_status grow(pare_imatrix *im, pare_error *err)
{
    size_t cap = im->cap > 0 ? im->cap : 64, bytes = 0;
    if (im->n < im->cap)
        return PARE_OK;
    pare_imatrix_entry *larger = NULL;
    if (pare_mul_size(cap, 2, &cap) && pare_mul_size(cap, sizeof *larger, &bytes))
        larger = realloc(im->entries, bytes);
    if (larger == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu entries of statistics", im->n + 1);
    im->entries = larger;
    im->cap = cap;
    return PARE_OK;
}

/* n numbers of `size` bytes, zeroed; NULL with err filled. */
static void *make_array(pare_imatrix *im, const char *name, uint64_t n, size_t size, pare_error *err)
{
    size_t bytes = 0;
    if (n > SIZE_MAX || !pare_mul_size((size_t)n, size, &bytes)) {
        pare_fail(err, PARE_ERR_MEMORY, "statistics of '%s': %" PRIu64 " numbers do not fit in memory", name, n);
        return NULL;
    }
    return pare_arena_alloc(&im->arena, bytes, err);
}

pare_status pare_imatrix_add(pare_imatrix *im, const char *name, uint64_t n_experts, uint64_t n_columns,
                             uint64_t n_counts, bool with_sum, pare_imatrix_entry **out, pare_error *err)
{
    uint64_t n_values = 0;
    int64_t old = PARE_INDEX_NONE;
    pare_imatrix_entry e = {.n_experts = n_experts, .n_columns = n_columns, .n_counts = n_counts};
    if (!pare_mul_u64(n_experts, n_columns, &n_values))
        return pare_fail(err, PARE_ERR_RANGE, "statistics of '%s': %" PRIu64 " times %" PRIu64 " columns", name,
                         n_experts, n_columns);
    pare_status st = grow(im, err);
    if (st != PARE_OK)
        return st;
    if ((e.name = pare_arena_copy(&im->arena, name, strlen(name), err)) == NULL ||
        (e.sum2 = make_array(im, name, n_values, sizeof *e.sum2, err)) == NULL ||
        (e.counts = make_array(im, name, n_counts, sizeof *e.counts, err)) == NULL ||
        (with_sum && (e.sum = make_array(im, name, n_values, sizeof *e.sum, err)) == NULL))
        return PARE_ERR_MEMORY;
    st = pare_index_add(&im->by_name, (pare_str){e.name, strlen(e.name)}, (int64_t)im->n, &old, err);
    if (st == PARE_OK && old != PARE_INDEX_NONE)
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: two entries for tensor '%s'", im->path != NULL ? im->path : "imatrix",
                       name);
    if (st != PARE_OK)
        return st;
    im->entries[im->n] = e;
    *out = &im->entries[im->n++];
    return PARE_OK;
}

pare_status pare_imatrix_add_dataset(pare_imatrix *im, pare_str name, pare_error *err)
{
    pare_str *larger = realloc(im->datasets, (im->n_datasets + 1) * sizeof *larger);
    if (larger == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu names of texts", im->n_datasets + 1);
    im->datasets = larger;
    const char *copy = pare_arena_copy(&im->arena, name.data, name.len, err);
    if (copy == NULL)
        return PARE_ERR_MEMORY;
    im->datasets[im->n_datasets++] = (pare_str){copy, name.len};
    return PARE_OK;
}

pare_status pare_imatrix_set_sample(pare_imatrix *im, const float *sample, pare_error *err)
{
    im->sample = pare_arena_alloc(&im->arena, PARE_SAMPLE_SIZE * sizeof *sample, err);
    if (im->sample == NULL)
        return PARE_ERR_MEMORY;
    memcpy(im->sample, sample, PARE_SAMPLE_SIZE * sizeof *sample);
    return PARE_OK;
}

static pare_imatrix_entry *find(const pare_imatrix *im, const char *name)
{
    int64_t at = pare_index_find(&im->by_name, (pare_str){name, strlen(name)});
    return at != PARE_INDEX_NONE ? &im->entries[at] : NULL;
}

const pare_imatrix_entry *pare_imatrix_find(const pare_imatrix *im, const char *name)
{
    return find(im, name);
}

/* dst += scale * src. False when a sum is no longer finite. */
static bool add_sums(float *dst, const float *src, double scale, uint64_t n)
{
    bool finite = true;
    for (uint64_t i = 0; i < n; i++) {
        dst[i] = (float)((double)dst[i] + scale * (double)src[i]);
        finite = finite && isfinite(dst[i]);
    }
    return finite;
}

/* One count that all experts share becomes one for each. */
static pare_status spread_counts(pare_imatrix *im, pare_imatrix_entry *e, pare_error *err)
{
    if (e->n_counts == e->n_experts)
        return PARE_OK;
    double *counts = make_array(im, e->name, e->n_experts, sizeof *counts, err);
    if (counts == NULL)
        return PARE_ERR_MEMORY;
    for (uint64_t i = 0; i < e->n_experts; i++)
        counts[i] = e->counts[0];
    e->counts = counts;
    e->n_counts = e->n_experts;
    return PARE_OK;
}

bool pare_imatrix_reshape(pare_imatrix_entry *e, uint64_t n_experts, uint64_t n_columns)
{
    uint64_t n_values = 0;
    if (e->n_experts == n_experts && e->n_columns == n_columns)
        return true;
    if (e->n_experts != 1 || !pare_mul_u64(n_experts, n_columns, &n_values) || n_values != e->n_columns)
        return false;
    e->n_experts = n_experts;
    e->n_columns = n_columns;
    return true;
}

static pare_status merge_entry(pare_imatrix *im, pare_imatrix_entry *src, double scale, pare_error *err)
{
    pare_status st = PARE_OK;
    pare_imatrix_entry *e = find(im, src->name);
    if (e == NULL)
        st = pare_imatrix_add(im, src->name, src->n_experts, src->n_columns, src->n_counts, src->sum != NULL, &e, err);
    if (st != PARE_OK)
        return st;
    if (!pare_imatrix_reshape(e, src->n_experts, src->n_columns) &&
        !pare_imatrix_reshape(src, e->n_experts, e->n_columns))
        return pare_fail(err, PARE_ERR_RANGE,
                         "statistics of tensor '%s': %" PRIu64 " times %" PRIu64 " columns cannot be added to %" PRIu64
                         " times %" PRIu64 ": they are of different models",
                         src->name, src->n_experts, src->n_columns, e->n_experts, e->n_columns);
    if (src->n_counts > e->n_counts && (st = spread_counts(im, e, err)) != PARE_OK)
        return st;
    if (src->sum == NULL)
        e->sum = NULL;
    uint64_t n = e->n_experts * e->n_columns;
    if (!add_sums(e->sum2, src->sum2, scale, n) || (e->sum != NULL && !add_sums(e->sum, src->sum, scale, n)))
        return pare_fail(err, PARE_ERR_RANGE, "statistics of tensor '%s': a sum is too large for a 32-bit float",
                         src->name);
    for (uint64_t i = 0; i < e->n_counts; i++)
        e->counts[i] += scale * src->counts[src->n_counts == 1 ? 0 : i];
    return PARE_OK;
}

/* Before the entries: whether im has any tells if there was a text that lacks them. */
static pare_status merge_grams(pare_imatrix *im, const pare_imatrix *src, pare_error *err)
{
    bool kept = im->n == 0 || im->grams.n > 0 || src->grams.n == 0;
    pare_status st = PARE_OK;
    if (kept && (im->n == 0 || im->grams.n > 0))
        st = pare_grams_merge(&im->grams, &src->grams, &kept, err);
    if (st != PARE_OK || kept)
        return st;
    return pare_warn(err,
                     "%s: only some of the statistics that are added up hold the same second-order ones "
                     "(--full): the sum has none",
                     src->path != NULL ? src->path : "imatrix");
}

pare_status pare_imatrix_merge(pare_imatrix *im, const pare_imatrix *src, pare_error *err)
{
    pare_status st = merge_grams(im, src, err);
    double scale = src->chunk_size == 0 ? im->chunk_size : 1;
    assert(im->chunk_size > 0);
    if (st == PARE_OK && im->sample == NULL && src->sample != NULL)
        st = pare_imatrix_set_sample(im, src->sample, err);
    for (size_t i = 0; i < src->n && st == PARE_OK; i++) {
        pare_imatrix_entry e = src->entries[i];
        st = merge_entry(im, &e, scale, err);
    }
    for (size_t i = 0; i < src->n_datasets && st == PARE_OK; i++)
        st = pare_imatrix_add_dataset(im, src->datasets[i], err);
    uint64_t chunks = (uint64_t)im->chunk_count + src->chunk_count;
    im->chunk_count = chunks < INT32_MAX ? (uint32_t)chunks : INT32_MAX;
    return st;
}

static double count_of(const pare_imatrix_entry *e, uint64_t expert)
{
    return e->counts[e->n_counts == 1 ? 0 : expert];
}

bool pare_imatrix_pooled(const pare_imatrix_entry *e, float *out)
{
    double count = 0;
    bool any = false;
    for (uint64_t i = 0; i < e->n_experts; i++)
        count += count_of(e, i);
    for (uint64_t c = 0; count > 0 && c < e->n_columns; c++) {
        double sum = 0;
        for (uint64_t i = 0; i < e->n_experts; i++)
            sum += (double)e->sum2[i * e->n_columns + c];
        out[c] = (float)(sum / count);
        any = any || out[c] > 0;
    }
    return any;
}

void pare_imatrix_importance(const pare_imatrix_entry *e, uint64_t expert, const float *pooled, float *out)
{
    const float *own = e->sum2 + expert * e->n_columns;
    double count = count_of(e, expert), own_size = 0, pooled_size = 0, prior = 0;
    for (uint64_t c = 0; c < e->n_columns; c++) {
        own_size += (double)own[c];
        pooled_size += (double)pooled[c];
    }
    bool unseen = !(count > 0) || !(own_size > 0);
    if (e->n_experts > 1 && e->n_counts == e->n_experts) /* else nobody knows how many tokens were an expert's */
        prior = PARE_PRIOR_TOKENS;
    double scale = unseen ? 1 : prior * (own_size / count) / pooled_size, total = unseen ? 1 : count + prior;
    for (uint64_t c = 0; c < e->n_columns; c++)
        out[c] = (float)(((unseen ? 0 : (double)own[c]) + scale * (double)pooled[c]) / total);
}

bool pare_imatrix_mean(const pare_imatrix_entry *e, uint64_t expert, float *out)
{
    double count = count_of(e, expert);
    if (e->sum == NULL || !(count >= PARE_MEAN_TOKENS))
        return false;
    for (uint64_t c = 0; c < e->n_columns; c++)
        out[c] = (float)((double)e->sum[expert * e->n_columns + c] / count);
    return true;
}

/* The layer of a tensor of experts with counts of their own; false: it is no such entry. */
static bool experts_layer(const pare_imatrix_entry *e, uint32_t *layer)
{
    return e->n_experts > 1 && e->n_counts == e->n_experts && sscanf(e->name, "blk.%" SCNu32 ".", layer) == 1;
}

const pare_imatrix_entry *pare_imatrix_next_experts(const pare_imatrix *im, size_t *at, uint32_t *layer)
{
    while (*at < im->n) {
        size_t i = (*at)++;
        const pare_imatrix_entry *e = &im->entries[i];
        bool told = false;
        uint32_t other;
        if (!experts_layer(e, layer))
            continue;
        for (size_t j = i; j > 0 && !told; j--) {
            const pare_imatrix_entry *before = &im->entries[j - 1];
            told = experts_layer(before, &other) && other == *layer && before->n_experts == e->n_experts &&
                   memcmp(before->counts, e->counts, (size_t)e->n_counts * sizeof *e->counts) == 0;
        }
        if (!told)
            return e;
    }
    return NULL;
}

pare_status pare_imatrix_unseen(const pare_imatrix_entry *e, uint64_t *n, pare_buf *list, pare_error *err)
{
    pare_status st = PARE_OK;
    *n = 0;
    for (uint64_t i = 0, end = 0; i < e->n_counts && st == PARE_OK; i = end + 1) {
        for (end = i; end < e->n_counts && !(e->counts[end] > 0);)
            end++;
        const char *comma = *n > 0 ? ", " : "";
        *n += end - i;
        if (list == NULL || end == i)
            continue;
        st = end - i == 1 ? pare_buf_printf(list, err, "%s%" PRIu64, comma, i)
                          : pare_buf_printf(list, err, "%s%" PRIu64 "-%" PRIu64, comma, i, end - 1);
    }
    return st;
}
