#include "quant/gram.h"

#include "core/bytes.h"
#include "core/checked.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void pare_grams_close(pare_grams *g)
{
    free(g->list);
    free(g->matrix);
    pare_index_close(&g->by_matrix);
    pare_arena_close(&g->arena);
    *g = (pare_grams){0};
}

static bool triangle(uint64_t n, uint64_t *out)
{
    uint64_t twice = 0;
    if (n == UINT64_MAX || !pare_mul_u64(n, n + 1, &twice))
        return false;
    *out = twice / 2;
    return true;
}

bool pare_gram_bytes(uint64_t n_columns, uint64_t *out)
{
    return triangle(n_columns, out) && pare_mul_u64(*out, 4, out);
}

bool pare_gram_all_bytes(const pare_gram *g, uint64_t *out)
{
    return pare_gram_bytes(g->n_columns, out) && pare_mul_u64(*out, g->n_experts > 1 ? g->n_experts : 1, out);
}

/* Room for one more element of `size` bytes. */
static pare_status grow(void *array, size_t n, size_t *cap, size_t size, pare_error *err)
{
    void **list = array, *larger = NULL;
    size_t more = *cap > 0 ? *cap : 32, bytes = 0;
    if (n < *cap)
        return PARE_OK;
    if (pare_mul_size(more, 2, &more) && pare_mul_size(more, size, &bytes))
        larger = realloc(*list, bytes);
    if (larger == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for the names of %zu matrices", n + 1);
    *list = larger;
    *cap = more;
    return PARE_OK;
}

/* Matrix `name` has statistics number `at` from now on; *copy is the name in the arena. */
static pare_status set_matrix(pare_grams *g, const char *name, size_t at, const char **copy, pare_error *err)
{
    int64_t old = PARE_INDEX_NONE;
    pare_status st = grow(&g->matrix, g->n_matrices, &g->cap_matrices, sizeof *g->matrix, err);
    if (st != PARE_OK)
        return st;
    if ((*copy = pare_arena_copy(&g->arena, name, strlen(name), err)) == NULL)
        return PARE_ERR_MEMORY;
    st = pare_index_add(&g->by_matrix, (pare_str){*copy, strlen(*copy)}, (int64_t)at, &old, err);
    if (st == PARE_OK && old != PARE_INDEX_NONE)
        st = pare_fail(err, PARE_ERR_FORMAT, "two second-order statistics for tensor '%s'", name);
    if (st == PARE_OK)
        g->matrix[g->n_matrices++] = *copy;
    return st;
}

/* A triangle in g's arena: what there is already, or zeros. */
static pare_status own_triangle(pare_grams *g, pare_gram *gram, pare_error *err)
{
    uint64_t bytes = 0;
    if (!pare_gram_all_bytes(gram, &bytes) || bytes > SIZE_MAX)
        return pare_fail(err, PARE_ERR_MEMORY, "tensor '%s': products of %" PRIu64 " columns do not fit in memory",
                         gram->name, gram->n_columns);
    if ((gram->own = pare_arena_alloc(&g->arena, (size_t)bytes, err)) == NULL)
        return PARE_ERR_MEMORY;
    if (gram->lower != NULL)
        memcpy(gram->own, gram->lower, (size_t)bytes);
    gram->lower = gram->own;
    return PARE_OK;
}

pare_status pare_grams_add(pare_grams *g, const char *name, uint64_t n_columns, double count, const uint8_t *lower,
                           uint8_t **zeros, pare_error *err)
{
    return pare_grams_add_experts(g, name, n_columns, 1, count, lower, zeros, err);
}

pare_status pare_grams_add_experts(pare_grams *g, const char *name, uint64_t n_columns, uint64_t n_experts,
                                   double count, const uint8_t *lower, uint8_t **zeros, pare_error *err)
{
    pare_gram gram = {.name = name, .n_columns = n_columns, .count = count, .n_experts = n_experts, .lower = lower};
    pare_status st = grow(&g->list, g->n, &g->cap, sizeof *g->list, err);
    if (st == PARE_OK && lower == NULL && (st = own_triangle(g, &gram, err)) == PARE_OK)
        *zeros = gram.own;
    if (st == PARE_OK)
        st = set_matrix(g, name, g->n, &gram.name, err);
    if (st != PARE_OK)
        return st;
    g->list[g->n++] = gram;
    return PARE_OK;
}

pare_status pare_grams_link(pare_grams *g, const char *matrix, const char *like, pare_error *err)
{
    const char *copy;
    int64_t at = pare_index_find(&g->by_matrix, (pare_str){like, strlen(like)});
    if (at == PARE_INDEX_NONE)
        return pare_fail(err, PARE_ERR_FORMAT,
                         "tensor '%s' is said to have the second-order statistics of '%s', which "
                         "has none",
                         matrix, like);
    return set_matrix(g, matrix, (size_t)at, &copy, err);
}

const pare_gram *pare_grams_find(const pare_grams *g, const char *matrix)
{
    int64_t at = pare_index_find(&g->by_matrix, (pare_str){matrix, strlen(matrix)});
    return at != PARE_INDEX_NONE ? &g->list[at] : NULL;
}

static pare_status take_over(pare_grams *g, const pare_grams *src, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t i = 0; i < src->n && st == PARE_OK; i++) {
        const pare_gram *from = &src->list[i];
        uint8_t *to = NULL;
        st = pare_grams_add_experts(g, from->name, from->n_columns, from->n_experts, from->count, NULL, &to, err);
        uint64_t bytes = 0;
        if (st == PARE_OK && pare_gram_all_bytes(from, &bytes))
            memcpy(to, from->lower, (size_t)bytes);
    }
    for (size_t i = 0; i < src->n_matrices && st == PARE_OK; i++) {
        const pare_gram *gram = pare_grams_find(src, src->matrix[i]);
        if (strcmp(gram->name, src->matrix[i]) != 0)
            st = pare_grams_link(g, src->matrix[i], gram->name, err);
    }
    return st;
}

/* Whether both know the same matrices and let the same ones share. */
static bool alike(const pare_grams *a, const pare_grams *b)
{
    if (a->n != b->n || a->n_matrices != b->n_matrices)
        return false;
    for (size_t i = 0; i < a->n_matrices; i++) {
        const pare_gram *x = pare_grams_find(a, a->matrix[i]), *y = pare_grams_find(b, a->matrix[i]);
        if (y == NULL || pare_grams_find(b, x->name) != y || x->n_experts != y->n_experts)
            return false;
    }
    return true;
}

static pare_status add_up(pare_grams *all, pare_gram *g, const pare_gram *src, pare_error *err)
{
    uint64_t n = 0;
    if (g->n_columns != src->n_columns)
        return pare_fail(err, PARE_ERR_RANGE,
                         "second-order statistics of tensor '%s': %" PRIu64 " columns cannot be added to %" PRIu64
                         ": they are of different models",
                         g->name, src->n_columns, g->n_columns);
    pare_status st = g->own == NULL ? own_triangle(all, g, err) : PARE_OK;
    if (st != PARE_OK)
        return st;
    uint8_t *to = g->own;
    bool fits = triangle(g->n_columns, &n) && pare_mul_u64(n, g->n_experts, &n), finite = true;
    for (uint64_t i = 0; fits && i < n; i++) {
        float sum = (float)((double)pare_load_f32le(to + 4 * i) + (double)pare_load_f32le(src->lower + 4 * i));
        finite = finite && isfinite(sum);
        pare_store_f32le(to + 4 * i, sum);
    }
    g->count += src->count;
    return finite ? PARE_OK
                  : pare_fail(err, PARE_ERR_RANGE,
                              "second-order statistics of tensor '%s': a sum is too large for a 32-bit float", g->name);
}

pare_status pare_grams_merge(pare_grams *g, const pare_grams *src, bool *kept, pare_error *err)
{
    pare_status st = PARE_OK;
    *kept = true;
    if (g->n == 0)
        return take_over(g, src, err);
    if (!alike(g, src)) {
        *kept = false;
        pare_grams_close(g);
        return PARE_OK;
    }
    for (size_t i = 0; i < g->n && st == PARE_OK; i++)
        st = add_up(g, &g->list[i], pare_grams_find(src, g->list[i].name), err);
    return st;
}
