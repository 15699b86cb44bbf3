#include "eval/collect.h"

#include "core/checked.h"
#include "core/clock.h"
#include "core/output.h"
#include "eval/collect_gram.h"
#include "model/sample.h"
#include "eval/collect_state.h"
#include "eval/windows.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char PART_SUMS[] = "sums", PART_COUNTS[] = "counts"; /* in a state, behind the matrix's name */

/* What a matrix saw so far. */
typedef struct sums {
    const pare_tensor *w;
    double *sum2, *sum; /* [n_matrices, w->row_len], device memory, one behind the other */
    uint64_t *count;    /* [n_matrices] */
    uint64_t n_matrices;
} sums;

typedef struct collector {
    const pare_model *m;
    pare_backend *b;
    const pare_tensor *output;  /* the output matrix, where it is wanted */
    pare_gram_collector *grams; /* NULL: no second-order statistics */
    bool grams_only;            /* of the run in hand only grams are of interest */
    sums *list; /* [n] of room for each tensor of the model, in the order in which the pass meets them */
    size_t n;
    pare_index by_name;
    double *pool; /* the sums of every matrix that there may be, device memory */
    size_t n_pool, n_used;
    double *host; /* room for the largest part of it, where that is not the host's memory */
    const pare_collect_options *options;
    pare_collect_point at; /* how far the text is done */
    double saved, cost;    /* when it was kept, and the seconds that this took */
    uint32_t n_unsaved;    /* batches since */
    bool has_state;        /* what is kept can be gone on from */
} collector;

static bool wanted(const collector *c, const pare_tensor *w)
{
    return strncmp(w->name, "blk.", 4) == 0 || w == c->output;
}

/* The matrix that makes the logits. An embedding that does so, too, has second-order statistics only. */
static const pare_tensor *output_of(const pare_model *m, const pare_collect_options *options)
{
    const pare_tensor *w = pare_model_find(m, "output.weight");
    if (w == NULL && options->full)
        w = pare_model_find(m, "token_embd.weight");
    return options->output_weight ? w : NULL;
}

/* Sums of w: two numbers a column of each matrix, no more than twice what the tensor has weights. */
static size_t values_of(const pare_tensor *w)
{
    return 2 * (size_t)(pare_tensor_matrices(w) * w->row_len);
}

/* All memory at once, before weights take what there is on a device. */
static pare_status open_collector(collector *c, pare_error *err)
{
    size_t bytes = 0, largest = 0;
    for (size_t i = 0; i < c->m->n_tensors; i++) {
        const pare_tensor *w = &c->m->tensors[i];
        size_t n = wanted(c, w) && w->n_dims > 1 ? values_of(w) : 0;
        c->n_pool += n;
        largest = n > largest ? n : largest;
    }
    c->list = calloc(c->m->n_tensors + 1, sizeof *c->list);
    if (!c->b->host_memory)
        c->host = malloc((largest + 1) * sizeof *c->host);
    if (c->list == NULL || (c->host == NULL && !c->b->host_memory) ||
        !pare_mul_size(c->n_pool, sizeof *c->pool, &bytes))
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for sums over %zu columns", c->m->path, c->n_pool / 2);
    if ((c->pool = c->b->alloc(c->b, bytes, err)) == NULL)
        return PARE_ERR_MEMORY;
    return c->b->clear(c->b, (float *)c->pool, 2 * c->n_pool, err); /* zeros are zeros in both types */
}

/* The sums of w, made when it is met for the first time. */
static sums *sums_of(collector *c, const pare_tensor *w, pare_error *err)
{
    pare_str name = {w->name, strlen(w->name)};
    int64_t at = pare_index_find(&c->by_name, name);
    if (at != PARE_INDEX_NONE)
        return &c->list[at];
    sums *s = &c->list[c->n];
    *s = (sums){.w = w, .n_matrices = pare_tensor_matrices(w), .sum2 = c->pool + c->n_used};
    s->sum = s->sum2 + values_of(w) / 2;
    if ((s->count = calloc((size_t)s->n_matrices, sizeof *s->count)) == NULL) {
        pare_fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory for %" PRIu64 " counts", w->name, s->n_matrices);
        return NULL;
    }
    c->n_used += values_of(w);
    c->n++;
    return pare_index_add(&c->by_name, name, (int64_t)c->n - 1, NULL, err) == PARE_OK ? s : NULL;
}

/* What is not finite stays so in a sum: here are n of them, host memory, from the first one of a matrix on. */
static pare_status check_finite(const collector *c, const sums *s, const double *sum2, uint64_t n, pare_error *err)
{
    for (uint64_t k = 0; k < n; k++)
        if (!isfinite(sum2[k]))
            return pare_fail(err, PARE_ERR_NUMBER, "%s: tensor '%s': an input of column %" PRIu64 " is not finite",
                             c->m->path, s->w->name, k % s->w->row_len);
    return PARE_OK;
}

/* The sums of s in host memory, the squares first. */
static pare_status fetch(const collector *c, const sums *s, const double **out, pare_error *err)
{
    *out = c->b->host_memory ? s->sum2 : c->host;
    if (c->b->host_memory)
        return PARE_OK;
    return c->b->download(c->b, c->host, s->sum2, values_of(s->w) * sizeof *c->host, err);
}

static pare_status observe(const pare_tensor *w, uint32_t matrix, const float *x, uint32_t n, void *user,
                           pare_error *err)
{
    collector *c = user;
    pare_error inner = {0};
    pare_status st = PARE_OK;
    if (!wanted(c, w))
        return PARE_OK;
    if (c->grams != NULL && (st = pare_gram_collector_observe(c->grams, w, matrix, x, n, &inner)) != PARE_OK)
        return pare_fail(err, st, "%s: %s", c->m->path, inner.text);
    if (c->grams_only)
        return PARE_OK;
    sums *s = sums_of(c, w, &inner);
    if (s == NULL)
        return pare_fail(err, inner.status, "%s: %s", c->m->path, inner.text);
    double *sum2 = s->sum2 + matrix * w->row_len, *sum = s->sum + matrix * w->row_len;
    s->count[matrix] += n;
    st = c->b->add_columns(c->b, x, n, (uint32_t)w->row_len, sum, sum2, err);
    return st == PARE_OK && c->b->host_memory ? check_finite(c, s, sum2, w->row_len, err) : st;
}

/* Where sums are not the host's they are looked at behind a batch. What is not finite goes on to all layers behind, so
 * the last matrix that every token goes through tells whether there is something to look for. */
static pare_status check_batch(const collector *c, pare_error *err)
{
    const double *sum2;
    size_t last = c->n;
    while (last > 0 && c->list[last - 1].n_matrices > 1)
        last--;
    if (c->b->host_memory || last == 0)
        return PARE_OK;
    pare_status st = fetch(c, &c->list[last - 1], &sum2, err);
    if (st != PARE_OK || check_finite(c, &c->list[last - 1], sum2, c->list[last - 1].w->row_len, NULL) == PARE_OK)
        return st;
    for (size_t i = 0; i < last && st == PARE_OK; i++)
        if ((st = fetch(c, &c->list[i], &sum2, err)) == PARE_OK)
            st = check_finite(c, &c->list[i], sum2, values_of(c->list[i].w) / 2, err);
    return st;
}

/* What goes into the output matrix at every position of the last run. */
static pare_status observe_output(collector *c, pare_forward *f, pare_error *err)
{
    pare_score_side side;
    uint32_t n;
    pare_status st = pare_forward_score_side(f, &side, &n, err);
    return st == PARE_OK ? observe(side.w, 0, side.x, n, c, err) : st;
}

/* One batch of windows, from number `first` on; *n of them. */
static pare_status run_batch(collector *c, pare_forward *f, pare_windows *w, uint32_t first, uint32_t *n,
                             pare_error *err)
{
    *n = pare_windows_fill(w, first);
    pare_status st = pare_forward_run(f, w->batch, *n, w->n_ctx, err);
    if (st == PARE_OK && c->output != NULL)
        st = observe_output(c, f, err);
    return st == PARE_OK ? check_batch(c, err) : st;
}

/* Whom to tell how many windows are done, of all runs over the text. */
typedef struct teller {
    pare_collect_fn each;
    void *user;
    uint32_t run, n_runs;
} teller;

/* The sums of s in host memory that stays as it is, for a state. */
static const double *hold(const collector *c, const sums *s, pare_model *state, pare_error *err)
{
    const double *values;
    if (fetch(c, s, &values, err) != PARE_OK || c->b->host_memory)
        return c->b->host_memory ? values : NULL;
    double *copy = pare_arena_alloc(&state->arena, values_of(s->w) * sizeof *copy, err);
    if (copy != NULL)
        memcpy(copy, values, values_of(s->w) * sizeof *copy);
    return copy;
}

static pare_status put_sums(const collector *c, const sums *s, pare_model *state, pare_error *err)
{
    const double *values = hold(c, s, state, err);
    double *counts = pare_arena_alloc(&state->arena, (size_t)s->n_matrices * sizeof *counts, err);
    if (values == NULL || counts == NULL)
        return err->status;
    for (uint64_t i = 0; i < s->n_matrices; i++)
        counts[i] = (double)s->count[i];
    pare_status st = pare_collect_state_add(state, s->w->name, PART_SUMS, values, values_of(s->w), err);
    return st == PARE_OK ? pare_collect_state_add(state, s->w->name, PART_COUNTS, counts, s->n_matrices, err) : st;
}

/* What cannot be kept is a warning: the run can still be finished. */
static pare_status save_state(collector *c, pare_error *err)
{
    const double began = pare_clock();
    pare_error why = {0};
    pare_model state;
    pare_status st = pare_collect_state_start(&state, c->options->state,
                                              c->m->n_tensors + pare_gram_collector_inputs(c->grams), &why);
    for (size_t i = 0; i < c->n && st == PARE_OK; i++)
        st = put_sums(c, &c->list[i], &state, &why);
    if (st == PARE_OK)
        st = pare_gram_collector_save(c->grams, &state, &why);
    if (st == PARE_OK)
        st = pare_collect_state_write(&state, &c->at, &why);
    pare_model_close(&state);
    c->has_state = c->has_state || st == PARE_OK;
    c->saved = pare_clock();
    c->n_unsaved = 0;
    c->cost = c->saved - began;
    if (st == PARE_ERR_INTERRUPTED)
        return pare_fail(err, st, "%s", why.text);
    return st == PARE_OK ? PARE_OK : pare_warn(err, "%s; an interrupted run will lose more", why.text);
}

/* A batch is done. */
static bool save_is_due(collector *c)
{
    enum { SECONDS = 60, PART = 20 };
    const double passed = pare_clock() - c->saved;
    if (c->grams == NULL || c->options->state == NULL)
        return false;
    c->n_unsaved++;
    if (c->options->state_batches > 0)
        return c->n_unsaved >= c->options->state_batches;
    return passed >= SECONDS && passed >= PART * c->cost;
}

static pare_status get_sums(collector *c, const pare_tensor *w, const pare_model *state, pare_error *err)
{
    sums *s = sums_of(c, w, err);
    if (s == NULL)
        return err->status;
    double *to = c->b->host_memory ? s->sum2 : c->host;
    pare_status st = pare_collect_state_get(state, w->name, PART_SUMS, to, values_of(w), err);
    if (st == PARE_OK && !c->b->host_memory)
        st = c->b->upload(c->b, s->sum2, to, values_of(w) * sizeof *to, err);
    return st == PARE_OK ? pare_collect_state_count(state, w->name, PART_COUNTS, s->count, s->n_matrices, err) : st;
}

static pare_status load_sums(collector *c, pare_windows *w, const pare_model *state, pare_grams *grams,
                             const pare_collect_point *at, pare_error *err)
{
    pare_status st = pare_collect_state_check(c->options->state, at, &c->at, err);
    if (st == PARE_OK && (at->run >= pare_gram_collector_runs(c->grams) || at->n_windows >= w->n_windows ||
                          at->n_windows % w->n_seq > 0))
        st = pare_fail(err, PARE_ERR_RANGE, "%s: %" PRIu32 " windows in run %" PRIu32 ": it is damaged",
                       c->options->state, at->n_windows, at->run + 1);
    for (size_t i = 0; i < c->m->n_tensors && st == PARE_OK; i++) {
        const pare_tensor *t = &c->m->tensors[i];
        if (wanted(c, t) && pare_collect_state_has(state, t->name, PART_SUMS))
            st = get_sums(c, t, state, err);
    }
    return st == PARE_OK ? pare_gram_collector_load(c->grams, state, at->run, grams, err) : st;
}

static pare_status load_state(collector *c, pare_windows *w, pare_grams *grams, pare_error *err)
{
    pare_model state;
    pare_collect_point at;
    pare_status st = pare_collect_state_open(&state, c->options->state, &at, err);
    if (st != PARE_OK)
        return st;
    if ((st = load_sums(c, w, &state, grams, &at, err)) == PARE_OK)
        c->at = at;
    pare_model_close(&state);
    return st;
}

/* What the first batch gave says which model this is. The sums begin anew. */
static pare_status mark_model(collector *c, pare_error *err)
{
    pare_hasher hasher = {0};
    pare_digest digest = {0};
    const double *values;
    pare_status st = pare_hasher_open(&hasher, PARE_HASH_XXH3, err);
    for (size_t i = 0; i < c->n && st == PARE_OK; i++) {
        sums *s = &c->list[i];
        if ((st = fetch(c, s, &values, err)) == PARE_OK)
            st = pare_hasher_add(&hasher, values, values_of(s->w) * sizeof *values, err);
        memset(s->count, 0, (size_t)s->n_matrices * sizeof *s->count);
    }
    if (st == PARE_OK)
        st = pare_hasher_finish(&hasher, &digest, err);
    pare_hasher_close(&hasher);
    pare_hex(c->at.model, digest.xxh3_128, sizeof digest.xxh3_128);
    return st == PARE_OK ? c->b->clear(c->b, (float *)c->pool, 2 * c->n_pool, err) : st;
}

static pare_status mark_text(collector *c, const pare_windows *w, pare_error *err)
{
    pare_digest digest;
    char ids[PARE_XXH3_HEX];
    pare_status st = pare_hash_bytes(w->ids, w->n_tokens * sizeof *w->ids, PARE_HASH_XXH3, &digest, err);
    if (st != PARE_OK)
        return st;
    pare_hex(ids, digest.xxh3_128, sizeof digest.xxh3_128);
    snprintf(c->at.what, sizeof c->at.what,
             "tokens %s in %" PRIu32 " windows of %" PRIu32 " by %" PRIu32 ", token 0 %" PRId64
             ", output matrix %s, %" PRIu64 " bytes of sums at once of %zu inputs",
             ids, w->n_windows, w->n_ctx, w->n_seq, w->bos, c->output != NULL ? c->output->name : "left out",
             c->options->full_bytes, pare_gram_collector_inputs(c->grams));
    return PARE_OK;
}

/* A place for triangles, and room for all that will be written: output, triangles and a state, of which there are two
 * while one takes the other's place. */
static pare_status open_triangles(collector *c, pare_imatrix *im, pare_error *err)
{
    const pare_collect_options *o = c->options;
    uint64_t size = pare_gram_collector_bytes(c->grams), sums = pare_gram_collector_sum_bytes(c->grams), need = size;
    bool fits = pare_add_u64(sums, c->n_pool * sizeof *c->pool, &sums) && pare_add_u64(need, sums, &need) &&
                (o->resume || (pare_add_u64(need, sums, &need) && pare_add_u64(need, size, &need)));
    if (o->state == NULL || size == 0)
        return PARE_OK;
    bool reused = false;
    char *path = pare_collect_state_triangles(o->state, err);
    pare_status st = path == NULL ? PARE_ERR_MEMORY : PARE_OK;
    if (st == PARE_OK)
        st = pare_output_check_room(o->output, fits ? need : UINT64_MAX, err);
    if (st == PARE_OK && o->resume && access(path, F_OK) != 0)
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: is not there, beside %s", path, o->state);
    if (st == PARE_OK)
        st = pare_spool_open_named(&im->spool, path, size, o->resume, &reused, err);
    if (st == PARE_OK && o->resume && !reused)
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: is empty, beside %s", path, o->state);
    if (st == PARE_OK && im->spool.size != size)
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: has %" PRIu64 " bytes instead of %" PRIu64, path, im->spool.size,
                       size);
    if (st == PARE_OK)
        pare_gram_collector_place(c->grams, im->spool.data);
    free(path);
    return st;
}

static pare_status run(collector *c, pare_forward *f, pare_windows *w, const teller *t, pare_error *err)
{
    pare_status st = PARE_OK;
    for (uint32_t first = c->at.n_windows, n = 0; first < w->n_windows && st == PARE_OK; first += n) {
        st = run_batch(c, f, w, first, &n, err);
        c->at.n_windows = first + n;
        if (st == PARE_OK && t->each != NULL)
            t->each(t->run * w->n_windows + first + n, t->n_runs * w->n_windows, t->user);
        if (st == PARE_OK && first + n < w->n_windows && save_is_due(c))
            st = save_state(c, err);
    }
    return st;
}

static pare_status next_grams(collector *c, pare_grams *grams, bool *more, pare_error *err)
{
    pare_status st = pare_gram_collector_next(c->grams, grams, more, err);
    return st == PARE_OK ? st : pare_fail_in(err, st, c->m->path);
}

/* A run over the text, or what is left of one, is complete: its triangles and its end are kept before the next one. */
static pare_status end_run(collector *c, pare_imatrix *im, bool *more, pare_error *err)
{
    pare_status st = next_grams(c, &im->grams, more, err);
    c->at.run++;
    c->at.n_windows = 0;
    c->grams_only = true;
    if (st == PARE_OK && *more && c->options->state != NULL &&
        (st = pare_spool_sync(&im->spool, c->options->state, err)) == PARE_OK)
        st = save_state(c, err);
    return st;
}

/* A batch to find out which inputs there are and which model this is. */
static pare_status begin_full(collector *c, pare_forward *f, pare_windows *w, pare_imatrix *im, bool *more,
                              pare_error *err)
{
    uint32_t n = 0;
    pare_status st = run_batch(c, f, w, 0, &n, err);
    if (st == PARE_OK)
        st = mark_model(c, err);
    if (st == PARE_OK)
        st = next_grams(c, &im->grams, more, err);
    if (st == PARE_OK)
        st = mark_text(c, w, err);
    if (st == PARE_OK)
        st = open_triangles(c, im, err);
    if (st == PARE_OK && c->options->resume)
        st = load_state(c, w, &im->grams, err);
    c->has_state = st == PARE_OK && c->options->resume;
    c->grams_only = c->at.run > 0;
    c->saved = pare_clock();
    return st;
}

/* Runs over the whole text until all inputs have been summed. */
static pare_status run_full(collector *c, pare_forward *f, pare_windows *w, teller *t, pare_imatrix *im,
                            pare_error *err)
{
    bool more = false;
    pare_status st = begin_full(c, f, w, im, &more, err);
    t->n_runs = pare_gram_collector_runs(c->grams);
    for (t->run = c->at.run; st == PARE_OK && (more || t->run == 0); t->run++) {
        st = run(c, f, w, t, err);
        if (st == PARE_OK)
            st = end_run(c, im, &more, err);
    }
    if (st != PARE_OK && c->options->state != NULL && !c->has_state && !c->options->resume)
        pare_collect_state_remove(c->options->state); /* triangles alone are of no use */
    return st;
}

static pare_status finish_one(const collector *c, const sums *s, pare_imatrix *im, pare_error *err)
{
    uint64_t n = s->n_matrices, width = s->w->row_len;
    pare_imatrix_entry *e = NULL;
    const double *sum2;
    pare_status st = pare_imatrix_add(im, s->w->name, n, width, n, true, &e, err);
    if (st == PARE_OK)
        st = fetch(c, s, &sum2, err);
    if (st == PARE_OK)
        st = check_finite(c, s, sum2, n * width, err);
    for (uint64_t i = 0; i < n && st == PARE_OK; i++)
        e->counts[i] = (double)s->count[i];
    for (uint64_t k = 0; k < n * width && st == PARE_OK; k++) {
        e->sum2[k] = (float)sum2[k];
        e->sum[k] = (float)sum2[n * width + k];
        if (!isfinite(e->sum2[k]))
            st = pare_fail(err, PARE_ERR_NUMBER,
                           "%s: tensor '%s': the squares of the inputs of column %" PRIu64
                           " add up to %.9g, too large for a 32-bit float",
                           c->m->path, e->name, k % width, sum2[k]);
    }
    return st;
}

static pare_status finish(const collector *c, pare_imatrix *im, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t i = 0; i < c->n && st == PARE_OK; i++)
        st = finish_one(c, &c->list[i], im, err);
    return st;
}

static void close_collector(collector *c)
{
    pare_gram_collector_close(c->grams);
    for (size_t i = 0; i < c->n; i++)
        free(c->list[i].count);
    free(c->list);
    free(c->host);
    c->b->release(c->b, c->pool);
    pare_index_close(&c->by_name);
}

/* So that quantize knows the model again. */
static pare_status remember_model(pare_imatrix *im, const pare_model *m, pare_error *err)
{
    float sample[PARE_SAMPLE_SIZE];
    bool known = false;
    pare_status st = pare_model_sample(m, sample, &known, err);
    return st == PARE_OK && known ? pare_imatrix_set_sample(im, sample, err) : st;
}

pare_status pare_collect(pare_imatrix *im, const pare_model *m, pare_backend *b, const int32_t *ids, size_t n,
                         int64_t bos, const pare_collect_options *options, pare_collect_fn each, void *user,
                         pare_error *err)
{
    collector c = {.m = m, .b = b, .output = output_of(m, options), .options = options};
    const pare_window_plan plan = {
        .n_ctx = options->n_ctx, .n_chunks = options->n_chunks, .batch_tokens = b->batch_tokens};
    teller t = {.each = each, .user = user, .n_runs = 1};
    pare_windows w;
    pare_forward *f = NULL;
    *im = (pare_imatrix){0};
    pare_status st = pare_windows_open(&w, ids, n, bos, &plan, err);
    if (st == PARE_OK && w.n_windows == 0)
        st = pare_fail(err, PARE_ERR_USAGE, "the text has %zu tokens; one window needs %" PRIu32, n, w.n_ctx);
    if (st == PARE_OK)
        st = pare_forward_open(&f, m, b, w.n_ctx, w.n_seq, err);
    if (st == PARE_OK)
        st = open_collector(&c, err);
    if (st == PARE_OK && options->full)
        st = pare_gram_collector_open(&c.grams, b, options->full_bytes, options->experts, err);
    if (st == PARE_OK) {
        pare_forward_observe(f, observe, &c);
        st = options->full ? run_full(&c, f, &w, &t, im, err) : run(&c, f, &w, &t, err);
    }
    if (st == PARE_OK)
        st = finish(&c, im, err);
    if (st == PARE_OK)
        st = remember_model(im, m, err);
    im->chunk_count = w.n_windows;
    im->chunk_size = w.n_ctx;
    if (st != PARE_OK)
        pare_imatrix_close(im);
    pare_forward_close(f);
    pare_windows_close(&w);
    close_collector(&c);
    return st;
}
