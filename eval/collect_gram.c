#include "eval/collect_gram.h"

#include "core/bytes.h"
#include "core/checked.h"
#include "core/threads.h"
#include "eval/collect_state.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_BYTES = 64 };

/* The inputs of one matrix or of several; or of one expert, and those of the tensor's others follow. */
typedef struct input {
    const pare_tensor *w;       /* the first of them */
    uint32_t expert, n_experts; /* 1: all tokens of w */
    uint32_t matrix;            /* the one that its first look was at */
    float *look;                /* what that was given: [n_look, w->row_len], while inputs are told apart */
    uint32_t n_look;
    double *sum; /* [row_len, row_len], the lower triangle of it counts; NULL: not of this run */
    uint64_t count;
    uint64_t offset; /* of its triangle among all */
    uint8_t *own;    /* of the first expert: the triangles of all, where they lie in the memory of what is made */
} input;

typedef struct link {
    const pare_tensor *w;
    size_t input;
} link;

struct pare_gram_collector {
    pare_backend *b;
    uint64_t max_bytes;
    pare_gram_experts experts;
    input *inputs;
    size_t n_inputs, cap_inputs;
    link *links; /* every matrix that was seen */
    size_t n_links, cap_links;
    pare_index by_name; /* of links */
    bool looking;
    size_t first, end; /* inputs of this run */
    uint32_t n_runs;
    float *batch; /* [width, width], device memory: the sums of a batch */
    float *host;  /* the same in host memory, where that is another */
    uint64_t max_width;
    uint8_t *to; /* where triangles go, or NULL */
};

pare_status pare_gram_collector_open(pare_gram_collector **out, pare_backend *b, uint64_t max_bytes,
                                     pare_gram_experts experts, pare_error *err)
{
    if ((*out = calloc(1, sizeof **out)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for second-order statistics");
    **out = (pare_gram_collector){.b = b, .max_bytes = max_bytes, .experts = experts, .looking = true};
    return PARE_OK;
}

static void drop_looks(pare_gram_collector *g)
{
    for (size_t i = 0; i < g->n_inputs; i++) {
        free(g->inputs[i].look);
        g->inputs[i].look = NULL;
    }
}

static void drop_sums(pare_gram_collector *g)
{
    for (size_t i = 0; i < g->n_inputs; i++) {
        free(g->inputs[i].sum);
        g->inputs[i].sum = NULL;
    }
}

void pare_gram_collector_close(pare_gram_collector *g)
{
    if (g == NULL)
        return;
    drop_looks(g);
    drop_sums(g);
    g->b->release(g->b, g->batch);
    free(g->host);
    free(g->inputs);
    free(g->links);
    pare_index_close(&g->by_name);
    free(g);
}

static void *grow(void *list, size_t n, size_t *cap, size_t size)
{
    if (n < *cap)
        return list;
    size_t more = *cap > 0 ? 2 * *cap : 64;
    void *larger = realloc(list, more * size);
    if (larger != NULL)
        *cap = more;
    return larger;
}

static pare_status no_memory(const pare_tensor *w, uint64_t bytes, pare_error *err)
{
    return pare_fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory for %" PRIu64 " bytes of second-order statistics",
                     w->name, bytes);
}

/* "blk.12." of both is the same. */
static bool same_layer(const char *a, const char *b)
{
    const char *end = strncmp(a, "blk.", 4) == 0 ? strchr(a + 4, '.') : NULL;
    return end != NULL && strncmp(a, b, (size_t)(end - a) + 1) == 0;
}

/* A copy of x in host memory. */
static pare_status copy_look(pare_gram_collector *g, const pare_tensor *w, const float *x, uint32_t n, float **out,
                             pare_error *err)
{
    size_t bytes = (size_t)n * (size_t)w->row_len * sizeof **out; /* x is in memory: it fits */
    if ((*out = malloc(bytes)) == NULL)
        return no_memory(w, bytes, err);
    if (g->b->host_memory)
        memcpy(*out, x, bytes);
    else
        return g->b->download(g->b, *out, x, bytes, err);
    return PARE_OK;
}

/* The input of the layer in hand that the same rows came from: a number, or n_inputs. */
static size_t find_input(const pare_gram_collector *g, const pare_tensor *w, uint32_t matrix, const float *look,
                         uint32_t n)
{
    for (size_t i = 0; i < g->n_inputs; i++) {
        const input *in = &g->inputs[i];
        if (in->look != NULL && in->w->row_len == w->row_len && in->matrix == matrix && in->n_look == n &&
            pare_tensor_matrices(in->w) == pare_tensor_matrices(w) && same_layer(in->w->name, w->name) &&
            memcmp(in->look, look, (size_t)n * (size_t)w->row_len * sizeof *look) == 0)
            return i;
    }
    return g->n_inputs;
}

/* Matrix w is met for the first time. */
static pare_status meet(pare_gram_collector *g, const pare_tensor *w, uint32_t matrix, const float *x, uint32_t n,
                        pare_error *err)
{
    float *look = NULL;
    link *links = grow(g->links, g->n_links, &g->cap_links, sizeof *links);
    if (links == NULL)
        return no_memory(w, sizeof *links, err);
    g->links = links;
    input *inputs = grow(g->inputs, g->n_inputs, &g->cap_inputs, sizeof *inputs);
    if (inputs == NULL)
        return no_memory(w, sizeof *inputs, err);
    g->inputs = inputs;
    if (g->n_inputs > 0 && !same_layer(g->inputs[g->n_inputs - 1].w->name, w->name))
        drop_looks(g);
    pare_status st = copy_look(g, w, x, n, &look, err);
    size_t at = st == PARE_OK ? find_input(g, w, matrix, look, n) : 0;
    if (st == PARE_OK && at == g->n_inputs) {
        g->inputs[g->n_inputs++] = (input){.w = w, .n_experts = 1, .matrix = matrix, .look = look, .n_look = n};
        g->max_width = w->row_len > g->max_width ? w->row_len : g->max_width;
        look = NULL;
    }
    free(look);
    if (st == PARE_OK)
        st = pare_index_add(&g->by_name, (pare_str){w->name, strlen(w->name)}, (int64_t)g->n_links, NULL, err);
    if (st == PARE_OK)
        g->links[g->n_links++] = (link){w, at};
    return st;
}

typedef struct addition {
    double *sum;
    const float *batch;
    size_t width;
} addition;

static pare_status add_rows(size_t row, int thread, void *ctx, pare_error *err)
{
    const addition *a = ctx;
    (void)thread;
    (void)err;
    for (size_t c = 0; c <= row; c++)
        a->sum[row * a->width + c] += (double)a->batch[row * a->width + c];
    return PARE_OK;
}

pare_status pare_gram_collector_observe(pare_gram_collector *g, const pare_tensor *w, uint32_t matrix, const float *x,
                                        uint32_t n, pare_error *err)
{
    pare_backend *b = g->b;
    int64_t at = pare_index_find(&g->by_name, (pare_str){w->name, strlen(w->name)});
    if (g->looking)
        return at == PARE_INDEX_NONE ? meet(g, w, matrix, x, n, err) : PARE_OK;
    input *in = at != PARE_INDEX_NONE ? &g->inputs[g->links[at].input] : NULL;
    if (in != NULL && in->n_experts > 1)
        in += matrix;
    if (in == NULL || in->sum == NULL || in->w != w) /* of another run, or counted with the first that shares it */
        return PARE_OK;
    size_t width = (size_t)w->row_len;
    pare_status st = b->clear(b, g->batch, width * width, err);
    if (st == PARE_OK)
        st = b->add_gram(b, x, n, (uint32_t)width, g->batch, err);
    if (st == PARE_OK && !b->host_memory)
        st = b->download(b, g->host, g->batch, width * width * sizeof *g->host, err);
    if (st != PARE_OK)
        return st;
    in->count += n;
    addition a = {in->sum, b->host_memory ? g->batch : g->host, width};
    return pare_parallel(width, add_rows, &a, err);
}

static uint64_t triangle_bytes(const input *in)
{
    uint64_t bytes = 0;
    return pare_gram_bytes(in->w->row_len, &bytes) ? bytes : UINT64_MAX; /* sums of twice that exist */
}

/* Where the triangles of input `at` and of the other experts of its tensor are. */
static pare_status place(pare_gram_collector *g, size_t at, pare_grams *out, uint8_t **to, pare_error *err)
{
    input *first = &g->inputs[at - g->inputs[at].expert];
    size_t bytes = 0;
    if (g->to != NULL) {
        *to = g->to + first->offset;
        return PARE_OK;
    }
    if (first->own == NULL && (!pare_mul_size((size_t)triangle_bytes(first), first->n_experts, &bytes) ||
                               (first->own = pare_arena_alloc(&out->arena, bytes, err)) == NULL))
        return no_memory(first->w, bytes, err);
    *to = first->own;
    return PARE_OK;
}

/* The triangles of input `at`, and of the experts before it, are there: put them into out, and which matrices have
 * them. */
static pare_status add_triangles(pare_gram_collector *g, size_t at, pare_grams *out, pare_error *err)
{
    const input *in = &g->inputs[at];
    uint64_t count = 0;
    uint8_t *to = NULL;
    if (in->expert + 1 < in->n_experts)
        return PARE_OK;
    for (size_t i = at - in->expert; i <= at; i++)
        count += g->inputs[i].count;
    if (count == 0) /* experts that no token reached in the runs that sum */
        return PARE_OK;
    pare_status st = place(g, at, out, &to, err);
    if (st == PARE_OK)
        st = pare_grams_add_experts(out, in->w->name, in->w->row_len, in->n_experts, (double)count, to, &to, err);
    if (st == PARE_OK)
        out->list[out->n - 1].own = to;
    for (size_t i = 0; i < g->n_links && st == PARE_OK; i++)
        if (g->links[i].input == at - in->expert && g->links[i].w != in->w)
            st = pare_grams_link(out, g->links[i].w->name, in->w->name, err);
    return st;
}

/* The sums of an input as a triangle in out. */
static pare_status deliver(pare_gram_collector *g, size_t at, pare_grams *out, pare_error *err)
{
    const input *in = &g->inputs[at];
    uint64_t n = in->w->row_len;
    uint8_t *to = NULL;
    pare_status st = place(g, at, out, &to, err);
    if (st == PARE_OK)
        to += in->expert * triangle_bytes(in);
    for (uint64_t i = 0; i < n && st == PARE_OK; i++)
        for (uint64_t j = 0; j <= i && st == PARE_OK; j++, to += 4) {
            float v = (float)in->sum[i * n + j];
            if (!isfinite(v))
                st = pare_fail(err, PARE_ERR_NUMBER,
                               "tensor '%s': the products of its inputs %" PRIu64 " and %" PRIu64
                               " add up to %.9g, no finite 32-bit float",
                               in->w->name, i, j, in->sum[i * n + j]);
            pare_store_f32le(to, v);
        }
    return st == PARE_OK ? add_triangles(g, at, out, err) : st;
}

static uint64_t sum_bytes(const input *in)
{
    uint64_t n = in->w->row_len, bytes = 0;
    return pare_mul_u64(n, n, &bytes) && pare_mul_u64(bytes, sizeof *in->sum, &bytes) ? bytes : UINT64_MAX;
}

/* The end of the run that begins with input `first`. */
static size_t run_end(const pare_gram_collector *g, size_t first)
{
    uint64_t bytes = 0;
    size_t end = first;
    while (end < g->n_inputs && pare_add_u64(bytes, sum_bytes(&g->inputs[end]), &bytes) &&
           (end == first || g->max_bytes == 0 || bytes <= g->max_bytes))
        end++;
    return end > first ? end : first + 1;
}

/* Memory that all runs use. */
static pare_status open_batch(pare_gram_collector *g, pare_error *err)
{
    size_t bytes = (size_t)g->max_width * (size_t)g->max_width * sizeof *g->batch; /* sums of twice that exist */
    if ((g->batch = g->b->alloc(g->b, bytes, err)) == NULL)
        return PARE_ERR_MEMORY;
    if (!g->b->host_memory && (g->host = malloc(bytes)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu bytes of second-order statistics", bytes);
    return PARE_OK;
}

static pare_status open_sums(pare_gram_collector *g, pare_error *err)
{
    for (size_t i = g->first; i < g->end; i++) {
        input *in = &g->inputs[i];
        uint64_t bytes = sum_bytes(in);
        if (bytes > SIZE_MAX || (in->sum = calloc(1, (size_t)bytes)) == NULL)
            return no_memory(in->w, bytes, err);
        in->count = 0;
    }
    return PARE_OK;
}

static uint64_t all_sum_bytes(const pare_gram_collector *g, bool own)
{
    uint64_t all = 0, bytes = 0;
    for (size_t i = 0; i < g->n_inputs; i++)
        if (!pare_mul_u64(sum_bytes(&g->inputs[i]), own ? pare_tensor_matrices(g->inputs[i].w) : 1, &bytes) ||
            !pare_add_u64(all, bytes, &all))
            return UINT64_MAX;
    return all;
}

/* An input for each expert. */
static pare_status split_experts(pare_gram_collector *g, pare_error *err)
{
    uint64_t n = 0;
    size_t bytes = 0, to = 0;
    input *list = NULL;
    for (size_t i = 0; i < g->n_inputs; i++)
        n += pare_tensor_matrices(g->inputs[i].w); /* no more than all tensors have rows */
    if (pare_mul_size((size_t)n, sizeof *list, &bytes))
        list = malloc(bytes);
    if (list == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %" PRIu64 " second-order statistics", n);
    for (size_t k = 0; k < g->n_links; k++) {
        size_t at = 0;
        for (size_t i = 0; i < g->links[k].input; i++)
            at += (size_t)pare_tensor_matrices(g->inputs[i].w);
        g->links[k].input = at;
    }
    for (size_t i = 0; i < g->n_inputs; i++)
        for (uint32_t e = 0, m = (uint32_t)pare_tensor_matrices(g->inputs[i].w); e < m; e++) {
            list[to] = g->inputs[i];
            list[to].n_experts = m;
            list[to++].expert = e;
        }
    free(g->inputs);
    g->inputs = list;
    g->n_inputs = g->cap_inputs = to;
    return PARE_OK;
}

/* What is known once all inputs are: whether experts have their own, where triangles go, and the number of runs. The
 * looks are dropped. */
static pare_status lay_out(pare_gram_collector *g, pare_error *err)
{
    uint64_t offset = 0, bytes = 0;
    bool own = g->experts == PARE_GRAM_EXPERTS_OWN ||
               (g->experts == PARE_GRAM_EXPERTS_AUTO && (g->max_bytes == 0 || all_sum_bytes(g, true) <= g->max_bytes));
    pare_status st = own ? split_experts(g, err) : PARE_OK;
    if (st != PARE_OK)
        return st;
    for (size_t i = 0; i < g->n_inputs; i++) {
        g->inputs[i].offset = offset;
        if (!pare_gram_bytes(g->inputs[i].w->row_len, &bytes) || !pare_add_u64(offset, bytes, &offset))
            return no_memory(g->inputs[i].w, UINT64_MAX, err);
    }
    for (size_t at = 0; at < g->n_inputs; at = run_end(g, at))
        g->n_runs++;
    return g->n_inputs > 0 ? open_batch(g, err) : PARE_OK;
}

pare_status pare_gram_collector_next(pare_gram_collector *g, pare_grams *out, bool *more, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t i = g->first; i < g->end && st == PARE_OK; i++)
        st = deliver(g, i, out, err);
    drop_looks(g);
    drop_sums(g);
    if (st == PARE_OK && g->looking)
        st = lay_out(g, err);
    g->looking = false;
    g->first = g->end;
    g->end = g->first < g->n_inputs ? run_end(g, g->first) : g->first;
    *more = g->end > g->first;
    return st == PARE_OK ? open_sums(g, err) : st;
}

uint32_t pare_gram_collector_runs(const pare_gram_collector *g)
{
    return g->n_runs;
}

uint64_t pare_gram_collector_bytes(const pare_gram_collector *g)
{
    uint64_t all = 0, bytes = 0;
    for (size_t i = 0; i < g->n_inputs; i++)
        if (!pare_gram_bytes(g->inputs[i].w->row_len, &bytes) || !pare_add_u64(all, bytes, &all))
            return UINT64_MAX;
    return all;
}

uint64_t pare_gram_collector_sum_bytes(const pare_gram_collector *g)
{
    uint64_t largest = 0;
    for (size_t at = 0, end; at < g->n_inputs; at = end) {
        uint64_t bytes = 0;
        end = run_end(g, at);
        for (size_t i = at; i < end; i++)
            if (!pare_add_u64(bytes, sum_bytes(&g->inputs[i]), &bytes))
                return UINT64_MAX;
        largest = bytes > largest ? bytes : largest;
    }
    return largest;
}

void pare_gram_collector_place(pare_gram_collector *g, uint8_t *to)
{
    g->to = to;
}

size_t pare_gram_collector_inputs(const pare_gram_collector *g)
{
    return g->n_inputs;
}

enum { PART_BYTES = 24 };

/* In a state, behind the name of the first matrix: "gram3" for the sums of expert 3, "gram_n3" for its tokens. */
static void name_parts(const input *in, char sum[PART_BYTES], char count[PART_BYTES])
{
    snprintf(sum, PART_BYTES, "gram%" PRIu32, in->expert);
    snprintf(count, PART_BYTES, "gram_n%" PRIu32, in->expert);
}

pare_status pare_gram_collector_save(const pare_gram_collector *g, pare_model *state, pare_error *err)
{
    double *counts = pare_arena_alloc(&state->arena, (g->end + 1) * sizeof *counts, err);
    char sum[PART_BYTES], count[PART_BYTES];
    pare_status st = counts != NULL ? PARE_OK : PARE_ERR_MEMORY;
    for (size_t i = 0; i < g->end && st == PARE_OK; i++) {
        const input *in = &g->inputs[i];
        uint64_t n = in->w->row_len;
        counts[i] = (double)in->count;
        name_parts(in, sum, count);
        st = pare_collect_state_add(state, in->w->name, count, &counts[i], 1, err);
        if (st == PARE_OK && i >= g->first)
            st = pare_collect_state_add(state, in->w->name, sum, in->sum, n * n, err);
    }
    return st;
}

pare_status pare_gram_collector_load(pare_gram_collector *g, const pare_model *state, uint32_t run, pare_grams *out,
                                     pare_error *err)
{
    char sum[PART_BYTES], count[PART_BYTES];
    drop_sums(g);
    for (uint32_t i = 0; i < run; i++) {
        g->first = g->end;
        g->end = run_end(g, g->first);
    }
    pare_status st = open_sums(g, err);
    for (size_t i = 0; i < g->end && st == PARE_OK; i++) {
        input *in = &g->inputs[i];
        uint64_t n = in->w->row_len;
        name_parts(in, sum, count);
        st = pare_collect_state_count(state, in->w->name, count, &in->count, 1, err);
        if (st == PARE_OK && i >= g->first)
            st = pare_collect_state_get(state, in->w->name, sum, in->sum, n * n, err);
        else if (st == PARE_OK)
            st = add_triangles(g, i, out, err);
    }
    return st;
}
